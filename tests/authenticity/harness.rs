//! A few members whose packets go through the wire, and a stranger without a key.

use std::sync::Arc;

use bytes::Bytes;
use reliable_channel::authenticity::{Ed25519, PublicKey, SharedAuthenticator};
use reliable_channel::channel::{Channel, ChannelError, Config, Context, Event, Input, Join, Outcome, Transmit};
use reliable_channel::state::{ChannelData, Commit, Row, RowKey};
use reliable_channel::types::{
    ChannelId, Dialect, HistoryEntry, Lamport, Limits, Message, ParticipantId, RunningTime, WallTime,
};
use reliable_channel::wire;

/// Wall time of running time 0, in milliseconds.
pub const EPOCH: u64 = 1_700_000_000_000;

const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];

fn secret(name: &str) -> [u8; 32] {
    [NAMES.iter().position(|known| *known == name).map_or(99, |at| at as u8); 32]
}

/// The authenticator of a member, who knows all members' keys.
pub fn keys_of(name: &str) -> SharedAuthenticator {
    let keys: Vec<(ParticipantId, PublicKey)> = NAMES
        .iter()
        .map(|name| (ParticipantId::from(*name), Ed25519::self_certifying(&secret(name)).public_key()))
        .collect();
    let of = move |name: &ParticipantId| keys.iter().find(|(known, _)| known == name).map(|(_, key)| *key);
    SharedAuthenticator::new(Ed25519::with_keys(&secret(name), of))
}

/// Whether members sign and check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    With,
    Without,
}

pub struct Member {
    pub channel: Channel,
    pub now: u64,
    entropy: u64,
    pub saved: ChannelData,
    pub transmitted: Vec<Transmit>,
    pub events: Vec<Event>,
}

pub fn member(name: &str, keys: Keys) -> Member {
    member_with(name, keys, |_| {})
}

pub fn member_with(name: &str, keys: Keys, change: impl FnOnce(&mut Config)) -> Member {
    let mut config = Config::default();
    config.join = Join::Backfill(u64::MAX);
    config.authenticator = (keys == Keys::With).then(|| keys_of(name));
    change(&mut config);
    open(name, config, ChannelData::default(), 0)
}

fn open(name: &str, config: Config, data: ChannelData, now: u64) -> Member {
    let context = Context::new(WallTime::from_millis(EPOCH + now), RunningTime::from_millis(now), 0x5eed);
    let (channel, step) =
        Channel::restore(ChannelId::from("c"), name.into(), Arc::new(config), data.clone(), &context).unwrap();
    let mut member = Member { channel, now, entropy: 1, saved: data, transmitted: Vec::new(), events: step.events };
    member.apply(&step.save);
    member
}

impl Member {
    pub fn input(&mut self, input: Input) -> Result<Outcome, ChannelError> {
        self.entropy = self.entropy.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wall = WallTime::from_millis(EPOCH + self.now);
        let step = self.channel.handle(&Context::new(wall, RunningTime::from_millis(self.now), self.entropy), input);
        self.apply(&step.save);
        self.transmitted.extend(step.transmit);
        self.events.extend(step.events);
        step.outcome
    }

    /// Sends, and says what went out.
    pub fn send(&mut self, text: &str) -> Message {
        self.input(Input::Send { content: Bytes::copy_from_slice(text.as_bytes()), id: None }).unwrap();
        self.transmitted.pop().unwrap().message
    }

    pub fn send_sync(&mut self) -> Message {
        self.input(Input::SendSync).unwrap();
        self.transmitted.pop().unwrap().message
    }

    /// Receives a message as it comes through the wire.
    pub fn receive(&mut self, message: &Message) -> Result<Outcome, ChannelError> {
        let bytes = wire::encode(message, Dialect::Lip109).unwrap();
        let (message, _) = wire::decode(&bytes, &Limits::default()).unwrap();
        self.input(Input::Receive(message))
    }

    /// Lets time pass; says what went out, and when.
    pub fn run_for(&mut self, millis: u64) -> Vec<(u64, Message)> {
        let end = self.now + millis;
        let mut out = Vec::new();
        while let Some(due) = self.channel.poll_timeout().map(RunningTime::as_millis).filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.input(Input::Timeout).unwrap();
            out.extend(self.transmitted.drain(..).map(|sent| (self.now, sent.message)));
        }
        self.now = end;
        out
    }

    /// Closes the channel and opens it again from what it saved.
    pub fn restart_with(&mut self, change: impl FnOnce(&mut Config)) {
        let mut config = (**self.channel.config()).clone();
        change(&mut config);
        let name = self.channel.participant().to_string();
        *self = open(&name, config, self.saved.clone(), self.now);
    }

    /// What was delivered, in order.
    pub fn delivered(&self) -> Vec<String> {
        let delivered = self.events.iter().filter_map(|event| match event {
            Event::MessageDelivered(delivery) => Some(String::from_utf8_lossy(&delivery.body.content).into_owned()),
            _ => None,
        });
        delivered.collect()
    }

    pub fn was_told(&self, is: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(is)
    }

    fn apply(&mut self, commit: &Commit) {
        let mut rows: std::collections::BTreeMap<RowKey, Row> =
            std::mem::take(&mut self.saved.rows).into_iter().map(|row| (row.key(), row)).collect();
        commit.history.delete.iter().for_each(|key| drop(rows.remove(key)));
        rows.extend(commit.history.put.iter().map(|row| (row.key(), row.clone())));
        self.saved.rows = rows.into_values().collect();
        self.saved.hints.extend(commit.hints.iter().cloned());
        if commit.meta.is_some() {
            self.saved.meta.clone_from(&commit.meta);
        }
    }
}

/// A content message that a stranger makes up: at `EPOCH + lamport`, its content its id.
pub fn forged(sender: &str, id: &str, lamport: u64, depends_on: &[&str]) -> Message {
    let mut message = Message::new(id.into(), sender.into(), "c".into());
    message.lamport = Some(Lamport(EPOCH + lamport));
    message.causal_history = depends_on.iter().map(|id| HistoryEntry::new(*id)).collect();
    message.content = Bytes::copy_from_slice(id.as_bytes());
    message
}

/// A sync message that a stranger makes up.
pub fn forged_sync(sender: &str, lamport: u64, names: &[&str], asks_for: &[&str]) -> Message {
    let mut message = forged(sender, &format!("sync-{sender}-{lamport}"), lamport, names);
    message.content = Bytes::new();
    message.repair_request = asks_for.iter().map(|id| HistoryEntry::new(*id)).collect();
    message
}
