//! A recorded conversation with nim-sds, replayed: what it sent reaches us, and what we sent reached it.
//!
//! `tests/vectors/nim/conversation.json` was recorded live with an earlier version of this library. Its packets are
//! those of both, so a replay hands our channel what the other side really sent, lost and repeated, at the times of the
//! recording; what our channel sends today need not be what it sent then.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reliable_channel::channel::{Channel, Config, Context, Event, Input, Join};
use reliable_channel::types::{Dialect, Limits, Message, MessageKind, RunningTime, WallTime};
use reliable_channel::wire;
use serde_json::Value;

struct Recording {
    whole: Value,
    packets: Vec<Bytes>,
}

impl Recording {
    fn read() -> Self {
        let whole: Value = serde_json::from_str(include_str!("vectors/nim/conversation.json")).unwrap();
        let packets = list(&whole["packets"]).iter().map(|packet| stretched(packet.as_str().unwrap())).collect();
        Self { whole, packets }
    }

    fn steps(&self) -> &[Value] {
        list(&self.whole["steps"])
    }

    fn ids(&self, what: &str, peer: &str) -> BTreeSet<String> {
        list(&self.whole[what][peer]).iter().map(text).collect()
    }

    /// What this peer transmitted, and what it called it.
    fn sent_by(&self, peer: &str) -> Vec<(String, Message)> {
        let outs = self.steps().iter().filter(|step| step["peer"] == peer).flat_map(|step| list(&step["events"]));
        let outs = outs.filter(|event| event["ev"] == "out");
        outs.map(|out| (text(&out["kind"]), self.message(&out["packet"]).1)).collect()
    }

    fn message(&self, index: &Value) -> (&Bytes, Message) {
        let packet = &self.packets[usize::try_from(index.as_u64().unwrap()).unwrap()];
        let (message, dialect) = wire::decode(packet, &Limits::default()).unwrap();
        assert_eq!(dialect, Dialect::NimSds);
        (packet, message)
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Hex in which `(n)` stands for n bytes of 0.
fn stretched(packet: &str) -> Bytes {
    let mut bytes = Vec::new();
    for part in packet.split('(') {
        let hexes = match part.split_once(')') {
            Some((zeros, rest)) => {
                bytes.resize(bytes.len() + zeros.parse::<usize>().unwrap(), 0);
                rest
            }
            None => part,
        };
        bytes.extend(hex::decode(hexes).unwrap());
    }
    bytes.into()
}

/// What became of our channel in a replay.
#[derive(Default)]
struct Replay {
    delivered: Vec<Message>,
    acknowledged: BTreeSet<String>,
    log: Vec<String>,
}

/// Plays this peer's part with a channel of ours: it sends what was sent and hears what the network brought, when it did.
fn replay(recording: &Recording, peer: &str) -> Replay {
    let mut config = Config::of(Dialect::NimSds);
    config.join = Join::Backfill(u64::MAX);
    (config.t_min, config.t_max) = (Duration::from_secs(1), Duration::from_secs(5));
    let start = recording.whole["start_ms"].as_u64().unwrap();
    let context = |now: u64| {
        Context::new(WallTime::from_millis(now), RunningTime::from_millis(now), now.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    };
    let mut channel = Channel::new("room", peer, Arc::new(config), &context(start)).unwrap();
    let (mut replayed, mut received) = (Replay::default(), Vec::new());
    for step in recording.steps().iter().filter(|step| step["peer"] == peer) {
        let command = &step["cmd"];
        let input = match command["cmd"].as_str().unwrap() {
            "send" => {
                let sent = list(&step["events"]).iter().find(|event| event["ev"] == "out").unwrap();
                let id = Some(sent["id"].as_str().unwrap().into());
                Input::Send { content: text(&command["text"]).into(), id }
            }
            "receive" => {
                let (_, message) = recording.message(&command["packet"]);
                received.push(message.clone());
                Input::Receive(message)
            }
            "sweep" => Input::Timeout,
            other => panic!("{other}"),
        };
        let step = channel.handle(&context(step["now_ms"].as_u64().unwrap()), input);
        step.outcome.unwrap();
        for event in step.events {
            match event {
                Event::MessageDelivered(delivery) => {
                    assert_eq!(delivery.missing, [], "delivered without what it refers to");
                    let id = &delivery.body.key.id;
                    replayed.delivered.push(received.iter().find(|message| message.id == *id).unwrap().clone());
                }
                Event::MessageAcknowledged { id, .. } => drop(replayed.acknowledged.insert(id.to_string())),
                Event::DependencyLost { .. } | Event::StateMended { .. } | Event::TooOld { .. } => panic!("{event:?}"),
                _ => {}
            }
        }
    }
    replayed.log = channel.log().map(|logged| logged.body.key.id.to_string()).collect();
    replayed
}

/// Each once, with its content, after everything of the other's that it refers to.
fn assert_in_order(delivered: &[Message], expected: &[Message]) {
    let mut seen = BTreeSet::new();
    let all: BTreeSet<_> = expected.iter().map(|message| message.id.clone()).collect();
    for message in delivered {
        let sent = expected.iter().find(|sent| sent.id == message.id).unwrap();
        assert_eq!((&message.content, message.lamport), (&sent.content, sent.lamport));
        for entry in message.causal_history.iter().filter(|entry| all.contains(&entry.id)) {
            assert!(seen.contains(&entry.id), "{} came before {}", message.id, entry.id);
        }
        assert!(seen.insert(message.id.clone()), "{} came twice", message.id);
    }
    assert_eq!(seen, all);
}

fn contents(sent: Vec<(String, Message)>) -> Vec<Message> {
    sent.into_iter().filter(|(kind, _)| kind == "content").map(|(_, message)| message).collect()
}

#[test]
fn what_nim_sds_sent_is_delivered_in_order_and_nothing_is_lost() {
    let recording = Recording::read();
    let expected = contents(recording.sent_by("nim0"));
    assert_eq!(expected.len(), 21);
    let replayed = replay(&recording, "rust");
    assert_in_order(&replayed.delivered, &expected);
    assert_eq!(replayed.acknowledged, recording.ids("acknowledged", "rust"), "all that was acknowledged then");
    assert_eq!(replayed.log, list(&recording.whole["final_log"]).iter().map(text).collect::<Vec<_>>());
}

#[test]
fn what_ours_sent_is_what_nim_sds_delivered() {
    let recording = Recording::read();
    let sent = contents(recording.sent_by("rust"));
    let delivered = recording.steps().iter().filter(|step| step["peer"] == "nim0");
    let delivered = delivered.flat_map(|step| list(&step["events"])).filter(|event| event["ev"] == "delivered");
    let mut count = 0;
    for event in delivered {
        let ours = sent.iter().find(|message| message.id.as_str() == event["id"].as_str()).unwrap();
        assert_eq!(hex::encode(&ours.content), text(&event["hex"]));
        assert_eq!(ours.lamport.unwrap().0, event["lamport"].as_u64().unwrap() * 1_000);
        assert_eq!(event["sender"], "rust");
        count += 1;
    }
    assert_eq!((count, sent.len()), (21, 21), "each once");
    // A channel of ours in nim's place delivers the same from the same packets, in order.
    assert_in_order(&replay(&recording, "nim0").delivered, &sent);
}

/// What nim-sds took from us then, we write today, byte for byte; and so what it wrote itself.
#[test]
fn every_packet_is_written_again_as_it_was_sent() {
    let recording = Recording::read();
    for index in 0..recording.packets.len() {
        let (packet, message) = recording.message(&index.into());
        assert_eq!(message.kind(), Some(MessageKind::Content));
        // A message without a filter, as a repair answer is, has an empty field.
        assert_eq!(wire::encode(&message, Dialect::NimSds).as_ref(), Ok(packet), "packet {index}");
    }
    assert_eq!(recording.packets.len(), 59);
}
