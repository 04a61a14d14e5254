//! Every kind of message of ours, with filters of 0, 1, 100 and 10,000 ids, is taken by a real @waku/sds; and it reads
//! from the filter what we have, and nothing else.
//!
//! Our side is the library's `Channel` here: 10,000 messages through a pipe would only be slow.

use std::sync::Arc;

use bytes::Bytes;
use reliable_channel::channel::{Config, Join, Transmit, TransmitKind};
use reliable_channel::types::{HistoryEntry, Lamport, Limits, Message, MessageId, RunningTime, WallTime};
use reliable_channel::{Channel, Context, Input, wire};
use serde_json::{Value, json};
use tap::Tap as _;

use crate::bytes::{CAUSAL_HISTORY, without};
use crate::common::lines::{Program, all, only};
use crate::js::{CHANNEL, LIBRARY_DIALECT, NOW, driver};

#[test]
fn every_kind_with_an_empty_filter() {
    every_kind(0);
}

#[test]
fn every_kind_with_one_id_in_the_filter() {
    every_kind(1);
}

#[test]
fn every_kind_with_100_ids_in_the_filter() {
    every_kind(100);
}

#[test]
fn every_kind_with_10_000_ids_in_the_filter() {
    every_kind(10_000);
}

fn every_kind(ids: usize) {
    let Some(js) = driver(&[]) else { return };
    let mut talk = Talk::new(js);
    // One of the ids is js's own message, another message of js's never arrives.
    (1..ids).for_each(|number| talk.fill(number));
    let heard = (ids > 0).then(|| talk.js_says("heard"));
    talk.js_says("not heard");

    talk.at(1_000);
    let (content, id) = talk.one(Input::Send { content: "content".into(), id: None }, TransmitKind::Content);
    assert_eq!(talk.told(&content, "delivered")["id"], id);

    let (ephemeral, _) = talk.one(Input::SendEphemeral { content: "typing".into() }, TransmitKind::Ephemeral);
    assert_eq!(talk.told(&ephemeral, "ephemeral")["text"], "typing");

    let (sync, _) = talk.one(Input::SendSync, TransmitKind::Sync);
    assert_eq!(talk.told(&sync, "sync_received")["sender"], "rust");

    let (_, id) = talk.one(Input::Send { content: "lost at first".into(), id: None }, TransmitKind::Content);
    talk.at(20_000);
    let resends = talk.timeout(TransmitKind::Resend);
    let resend = &resends.iter().find(|(_, resent)| *resent == id).unwrap().0;
    assert_eq!(talk.told(resend, "delivered")["id"], id);

    let relayed = talk.foreign("relayed", "carol");
    let (relay, id) = talk.one(Input::Relay(relayed), TransmitKind::Relay);
    assert_eq!(talk.told(&relay, "delivered")["id"], id);

    let asked = talk.foreign("asked for", "carol");
    let id = json!(asked.id.to_string());
    let request = talk.foreign("a sync message", "dave").tap_mut(|it| {
        it.content = Bytes::new();
        it.repair_request = vec![HistoryEntry::new(asked.id.clone()).tap_mut(|it| it.sender = Some("carol".into()))];
    });
    talk.handle(Input::Receive(asked));
    talk.at(100_000);
    talk.handle(Input::Receive(request));
    talk.at(400_000);
    let answers = talk.timeout(TransmitKind::Repair);
    assert_eq!((answers.len(), &answers[0].1), (1, &id));
    assert_eq!(talk.told(&answers[0].0, "delivered")["id"], id);

    // js believes the second filter that has an id.
    assert_eq!(talk.acknowledged, heard.into_iter().collect::<Vec<_>>());
}

struct Talk {
    ours: Channel,
    js: Program,
    now: u64,
    /// What js took for acknowledged.
    acknowledged: Vec<Value>,
}

impl Talk {
    fn new(js: Program) -> Self {
        let config = Config::of(LIBRARY_DIALECT).tap_mut(|it| it.join = Join::Backfill(u64::MAX));
        let context = context(NOW);
        let ours = Channel::new(CHANNEL, "rust", Arc::new(config), &context).unwrap();
        Self { ours, js, now: NOW, acknowledged: Vec::new() }
    }

    fn at(&mut self, ms: u64) {
        self.now = NOW + ms;
        self.js.tell(json!({"cmd": "clock", "ms": self.now}));
    }

    /// A message of js's. We get the first one only.
    fn js_says(&mut self, text: &str) -> Value {
        let told = self.js.tell(json!({"cmd": "send", "text": text}));
        let out = only(&told, "out");
        if text == "heard" {
            let bytes = Bytes::from(hex::decode(out["hex"].as_str().unwrap()).unwrap());
            let (message, _) = wire::decode(&bytes, &Limits::default()).unwrap();
            self.handle(Input::Receive(message));
        }
        out["id"].clone()
    }

    /// A message that we hear and js does not.
    fn fill(&mut self, number: usize) {
        let message = self.foreign(&format!("filler {number}"), "filler");
        self.handle(Input::Receive(message));
    }

    fn foreign(&self, text: &str, sender: &str) -> Message {
        Message::new(MessageId::from(text), sender.into(), CHANNEL.into()).tap_mut(|it| {
            it.lamport = Some(Lamport(self.now));
            it.content = Bytes::copy_from_slice(text.as_bytes());
        })
    }

    fn handle(&mut self, input: Input) -> Vec<Transmit> {
        let step = self.ours.handle(&context(self.now), input);
        step.outcome.unwrap();
        step.transmit
    }

    /// The one message of this kind that an input leads to, as bytes, and its id.
    #[track_caller]
    fn one(&mut self, input: Input, kind: TransmitKind) -> (String, Value) {
        let transmit = self.handle(input);
        assert_eq!(transmit.iter().map(|transmit| transmit.kind).collect::<Vec<_>>(), [kind]);
        encoded(&transmit[0])
    }

    /// The messages of this kind that time leads to.
    fn timeout(&mut self, kind: TransmitKind) -> Vec<(String, Value)> {
        self.handle(Input::Timeout).iter().filter(|transmit| transmit.kind == kind).map(encoded).collect()
    }

    /// What js says to a message. It never heard what the message depends on, so that is taken out; not the filter.
    #[track_caller]
    fn told(&mut self, hex: &str, ev: &str) -> Value {
        let told = self.js.tell(json!({"cmd": "receive", "hex": without(hex, CAUSAL_HISTORY)}));
        self.acknowledged.extend(all(&told, "acked").iter().map(|acked| acked["id"].clone()));
        only(&told, ev).clone()
    }
}

fn encoded(transmit: &Transmit) -> (String, Value) {
    let bytes = wire::encode(&transmit.message, LIBRARY_DIALECT).unwrap();
    (hex::encode(bytes), json!(transmit.message.id.to_string()))
}

fn context(now: u64) -> Context {
    Context::new(WallTime::from_millis(now), RunningTime::from_millis(now), now)
}
