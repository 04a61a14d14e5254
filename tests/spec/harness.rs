//! One channel under manual time, messages made by hand, and what came of them.
#![allow(dead_code, reason = "each section uses what it needs")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reliable_channel::channel::{
    Channel, ChannelError, Config, Context, Event, Fate, Input, Join, Outcome, Received, Transmit, TransmitKind,
};
use reliable_channel::state::{ChannelData, Commit, Row, RowKey};
use reliable_channel::types::{
    ChannelId, FilterField, HistoryEntry, Lamport, Message, MessageId, ParticipantId, RunningTime, WallTime,
};

/// Wall time of running time 0, in milliseconds.
pub const EPOCH: u64 = 1_700_000_000_000;

/// A channel that keeps what it saved, transmitted and told.
pub struct Peer {
    pub channel: Channel,
    /// Running time in milliseconds.
    pub now: u64,
    /// Wall time minus running time, in milliseconds.
    pub wall_offset: u64,
    pub entropy: u64,
    pub saved: ChannelData,
    /// Commits that were not empty.
    pub commits: Vec<Commit>,
    pub transmitted: Vec<Transmit>,
    pub events: Vec<Event>,
}

/// A founding participant (everything it misses counts) in channel "c" with default options.
pub fn peer(name: &str) -> Peer {
    peer_with(name, |_| {})
}

/// The same with options changed.
pub fn peer_with(name: &str, change: impl FnOnce(&mut Config)) -> Peer {
    let mut config = Config { join: Join::Backfill(u64::MAX), ..Config::default() };
    change(&mut config);
    open(name, config, ChannelData::default(), 0, EPOCH)
}

fn open(name: &str, config: Config, data: ChannelData, now: u64, wall_offset: u64) -> Peer {
    let context = Context {
        wall: WallTime::from_millis(wall_offset + now),
        running: RunningTime::from_millis(now),
        entropy: 0x5eed,
    };
    let (channel, step) =
        Channel::restore(ChannelId::from("c"), ParticipantId::from(name), Arc::new(config), data.clone(), &context)
            .unwrap();
    let mut peer = Peer {
        channel,
        now,
        wall_offset,
        entropy: 1,
        saved: data,
        commits: Vec::new(),
        transmitted: Vec::new(),
        events: Vec::new(),
    };
    peer.apply(&step.save);
    peer.events = step.events;
    assert!(step.transmit.is_empty(), "restoring transmits nothing");
    peer
}

impl Peer {
    pub fn context(&mut self) -> Context {
        self.entropy = self.entropy.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Context {
            wall: WallTime::from_millis(self.wall_offset + self.now),
            running: RunningTime::from_millis(self.now),
            entropy: self.entropy,
        }
    }

    /// Any input; the step is carried out.
    pub fn input(&mut self, input: Input) -> Result<Outcome, ChannelError> {
        let context = self.context();
        let step = self.channel.handle(&context, input);
        self.apply(&step.save);
        self.transmitted.extend(step.transmit);
        self.events.extend(step.events);
        assert_eq!(self.saved, self.channel.data(), "what was saved is the state");
        step.outcome
    }

    pub fn send(&mut self, text: &str) -> Message {
        self.send_as(None, text)
    }

    pub fn send_as(&mut self, id: Option<&str>, text: &str) -> Message {
        let content = Bytes::copy_from_slice(text.as_bytes());
        let outcome = self.input(Input::Send { content, id: id.map(MessageId::from) });
        assert!(matches!(outcome, Ok(Outcome::Sent(_))), "{outcome:?}");
        let sent = self.transmitted.pop().unwrap();
        assert_eq!(sent.kind, TransmitKind::Content);
        sent.message
    }

    pub fn send_sync(&mut self) -> Message {
        self.input(Input::SendSync).unwrap();
        let sent = self.transmitted.pop().expect("there is something to say");
        assert_eq!(sent.kind, TransmitKind::Sync);
        sent.message
    }

    pub fn receive(&mut self, message: &Message) -> Received {
        match self.input(Input::Receive(message.clone())) {
            Ok(Outcome::Received(received)) => received,
            other => panic!("not received: {other:?}"),
        }
    }

    pub fn fate(&mut self, message: &Message) -> Fate {
        self.receive(message).fate
    }

    pub fn refuse(&mut self, message: &Message) -> ChannelError {
        self.input(Input::Receive(message.clone())).unwrap_err()
    }

    /// Lets running and wall time pass, waking the channel whenever it asks for it; returns what went out.
    pub fn run_for(&mut self, millis: u64) -> Vec<Transmit> {
        let end = self.now + millis;
        while let Some(due) = self.channel.poll_timeout().map(RunningTime::as_millis).filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.input(Input::Timeout).unwrap();
            let next = self.channel.poll_timeout().map(RunningTime::as_millis);
            assert!(next > Some(self.now), "after a timeout, the next lies later than now");
        }
        self.now = end;
        std::mem::take(&mut self.transmitted)
    }

    /// Time passes while nobody wakes the channel.
    pub fn sleep(&mut self, millis: u64) {
        self.now += millis;
    }

    /// Drops the channel and opens it again from what it saved.
    pub fn restart(&mut self) {
        self.restart_with(|_| {});
    }

    pub fn restart_with(&mut self, change: impl FnOnce(&mut Config)) {
        let mut config = (**self.channel.config()).clone();
        change(&mut config);
        let name = self.channel.participant().to_string();
        *self = open(&name, config, self.saved.clone(), self.now, self.wall_offset);
    }

    pub fn log(&self) -> Vec<String> {
        self.channel.log().map(|logged| logged.body.key.id.to_string()).collect()
    }

    /// Takes the ids delivered since the last call, in the order told.
    pub fn delivered(&mut self) -> Vec<String> {
        let told = std::mem::take(&mut self.events);
        let (delivered, rest): (Vec<_>, Vec<_>) =
            told.into_iter().partition(|event| matches!(event, Event::MessageDelivered(_)));
        self.events = rest;
        delivered
            .into_iter()
            .map(|event| match event {
                Event::MessageDelivered(delivery) => delivery.body.key.id.to_string(),
                _ => unreachable!(),
            })
            .collect()
    }

    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn apply(&mut self, commit: &Commit) {
        use std::collections::BTreeMap;
        if commit.is_empty() {
            return;
        }
        self.commits.push(commit.clone());
        let mut rows: BTreeMap<RowKey, Row> =
            std::mem::take(&mut self.saved.rows).into_iter().map(|row| (row.key(), row)).collect();
        let mut hints: BTreeMap<_, _> = std::mem::take(&mut self.saved.hints).into_iter().collect();
        for key in &commit.history.delete {
            rows.remove(key);
            if key.place == reliable_channel::state::Place::Body {
                hints.remove(&key.id);
            }
        }
        rows.extend(commit.history.put.iter().map(|row| (row.key(), row.clone())));
        hints.extend(commit.hints.iter().cloned());
        self.saved.rows = rows.into_values().collect();
        self.saved.hints = hints.into_iter().collect();
        if commit.meta.is_some() {
            self.saved.meta.clone_from(&commit.meta);
        }
    }
}

/// A content message made by hand: Lamport time is `EPOCH + lamport`, content is the id.
pub fn message(sender: &str, id: &str, lamport: u64, depends_on: &[&str]) -> Message {
    Message {
        id: MessageId::from(id),
        sender: ParticipantId::from(sender),
        channel: ChannelId::from("c"),
        lamport: Some(Lamport(EPOCH + lamport)),
        causal_history: depends_on.iter().map(|id| HistoryEntry::new(*id)).collect(),
        filter: FilterField::Absent,
        repair_request: Vec::new(),
        content: Bytes::copy_from_slice(id.as_bytes()),
    }
}

/// A sync message made by hand.
pub fn sync(sender: &str, lamport: u64, names: &[&str], asks_for: &[&str]) -> Message {
    Message {
        content: Bytes::new(),
        repair_request: asks_for.iter().map(|id| HistoryEntry::new(*id)).collect(),
        ..message(sender, &format!("sync-{sender}-{lamport}"), lamport, names)
    }
}

/// The ids a message depends on.
pub fn history(message: &Message) -> Vec<String> {
    message.causal_history.iter().map(|entry| entry.id.to_string()).collect()
}

/// The ids a message asks for.
pub fn requests(message: &Message) -> Vec<String> {
    message.repair_request.iter().map(|entry| entry.id.to_string()).collect()
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Lets time pass by that the machine slept through or nobody asked about, then wakes the channel once.
pub fn wake(peer: &mut Peer) -> Vec<Transmit> {
    peer.input(Input::Timeout).unwrap();
    std::mem::take(&mut peer.transmitted)
}

/// T_req of a missing message in running milliseconds, if it is in the outgoing repair buffer.
pub fn t_req(peer: &Peer, id: &str) -> Option<u64> {
    let requests = peer.channel.requests();
    requests.iter().find(|request| request.entry.id == MessageId::from(id)).map(|request| request.due.as_millis())
}

/// T_resp of a message in running milliseconds, if it is in the incoming repair buffer.
pub fn t_resp(peer: &Peer, id: &str) -> Option<u64> {
    let responses = peer.channel.responses();
    responses.iter().find(|response| response.id == MessageId::from(id)).map(|response| response.due.as_millis())
}

/// The ids that wait for an answer.
pub fn answering(peer: &Peer) -> Vec<String> {
    peer.channel.responses().iter().map(|response| response.id.to_string()).collect()
}

/// The ids in the outgoing repair buffer, in id order.
pub fn missing(peer: &Peer) -> Vec<String> {
    let mut ids: Vec<_> = peer.channel.requests().iter().map(|request| request.entry.id.to_string()).collect();
    ids.sort();
    ids
}

/// The messages rebroadcast among these.
pub fn repairs(transmitted: &[Transmit]) -> Vec<String> {
    let repairs = transmitted.iter().filter(|transmit| transmit.kind == TransmitKind::Repair);
    repairs.map(|transmit| transmit.message.id.to_string()).collect()
}

/// SplitMix64: the same numbers for the same seed, everywhere.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
