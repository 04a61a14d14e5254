//! A member that means harm: what it sends, made from what it has heard.

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::filter::{IdHash, RollingFilter, RollingFilterConfig};
use crate::types::{
    CatchUpField, Dialect, FilterField, HistoryEntry, JS_FILTER_BYTES, Lamport, Message, MessageId, ParticipantId,
    RunningTime, Signature,
};
use crate::wire;

use super::net::between;
use super::oracle::Registry;
use super::{EPOCH_MS, World};

/// What a hostile member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Bytes that are no message, or half of one.
    Garbage,
    /// More causal history than is allowed.
    Oversized,
    /// A timestamp days ahead.
    FarFuture,
    /// A timestamp a few minutes ahead, which is allowed.
    NearFuture,
    /// A message under an honest name that acknowledges everything it heard of.
    Forged,
    /// A filter with every bit set.
    AllOnes,
    /// As many repair requests as fit.
    Flood,
    /// Dependencies that never existed.
    FakeHistory,
    /// Other content under a known id.
    Contest,
    /// Two messages that depend on each other.
    Cycle,
}

impl Attack {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Garbage,
        Self::Oversized,
        Self::FarFuture,
        Self::NearFuture,
        Self::Forged,
        Self::AllOnes,
        Self::Flood,
        Self::FakeHistory,
        Self::Contest,
        Self::Cycle,
    ];
}

impl World {
    /// Lets a hostile member, which hears everything, attack once.
    pub fn attack(&mut self, attack: Attack) {
        let (now, channel) = (self.now_ms(), self.channel.clone());
        let nonce = self.rng.next_u64();
        let blank = Message {
            id: MessageId::from(format!("h{nonce:x}")),
            sender: ParticipantId::from("h0"),
            channel,
            lamport: Some(Lamport(EPOCH_MS + now)),
            causal_history: Vec::new(),
            filter: FilterField::Absent,
            repair_request: Vec::new(),
            content: Bytes::from(format!("hostile {nonce:x}")),
            catch_up: CatchUpField::Absent,
            author_signature: None,
            sender_signature: None,
        };
        let known = some_known(&mut self.rng, &self.oracle.registry, 64);
        let entries = || known.iter().cloned().map(HistoryEntry::new).collect::<Vec<_>>();
        let fake = |n: u64| HistoryEntry::new(MessageId::from(format!("fake{nonce:x}-{n}")));
        let day = 24 * 60 * 60 * 1_000;
        match attack {
            Attack::Garbage => {
                let mut bytes = self.encode(&Message { causal_history: entries(), ..blank }).to_vec();
                bytes.truncate(usize::try_from(nonce % 64).unwrap_or(0));
                bytes.extend(nonce.to_le_bytes());
                self.inject(bytes.into());
            }
            Attack::Oversized => {
                self.inject(self.encode(&Message { causal_history: (0..5_000).map(fake).collect(), ..blank }));
            }
            Attack::FarFuture => {
                let ahead = between(&mut self.rng, (3 * day, 3_000 * day));
                self.inject(self.encode(&Message { lamport: Some(Lamport(EPOCH_MS + now + ahead)), ..blank.clone() }));
                self.inject(self.encode(&Message {
                    lamport: Some(Lamport(u64::MAX)),
                    id: MessageId::from("max"),
                    ..blank
                }));
            }
            Attack::NearFuture => {
                let ahead = between(&mut self.rng, (1_000, 300_000));
                self.inject(self.encode(&Message { lamport: Some(Lamport(EPOCH_MS + now + ahead)), ..blank }));
            }
            Attack::Forged => {
                let honest = self.rng.next_u64() % self.nodes().len().max(1) as u64;
                let honest = self.node(usize::try_from(honest).unwrap_or(0));
                let sender = honest.channel().participant().clone();
                self.inject(self.encode(&Message { sender, causal_history: entries(), ..blank }));
            }
            Attack::AllOnes => {
                let ones = |bytes| Bytes::from(vec![0xFF; bytes]);
                let filter = match self.dialect() {
                    Dialect::JsWaku => FilterField::Unspecified(ones(JS_FILTER_BYTES)),
                    _ => FilterField::Compact { k: 7, seed: nonce.to_le_bytes(), bits: ones(128) },
                };
                self.inject(self.encode(&Message { filter, content: Bytes::new(), ..blank }));
            }
            Attack::Flood => {
                self.inject(self.encode(&Message { repair_request: entries(), content: Bytes::new(), ..blank }));
            }
            Attack::FakeHistory => {
                let count = nonce % 12 + 1;
                self.inject(self.encode(&Message { causal_history: (0..count).map(fake).collect(), ..blank }));
            }
            Attack::Contest => {
                if let Some(id) = known.first().cloned() {
                    self.inject(self.encode(&Message { id, ..blank }));
                }
            }
            Attack::Cycle => {
                let (a, b) = (fake(1), fake(2));
                let first = Message { id: a.id.clone(), causal_history: vec![b.clone()], ..blank.clone() };
                self.inject(self.encode(&first));
                self.inject(self.encode(&Message { id: b.id, causal_history: vec![a], ..blank }));
            }
        }
    }

    /// Sends a genuine message once more, as if its sender had everything and asked for everything.
    pub fn replay(&mut self) {
        let node = usize::try_from(self.rng.next_u64() % self.nodes().len().max(1) as u64).unwrap_or(0);
        let mut said = self.node(node).own_messages();
        // What a crash kept in has been heard by nobody.
        said.retain(|message| self.oracle.registry.is_sent(&message.id));
        let drawn = usize::try_from(self.rng.next_u64()).unwrap_or(0) % said.len().max(1);
        let Some(mut message) = said.get(drawn).cloned() else { return };
        let known = some_known(&mut self.rng, &self.oracle.registry, 64);
        let mut filter = RollingFilter::new(RollingFilterConfig::of(self.dialect()));
        for id in &known {
            filter.insert(id, IdHash::in_dialect(id, self.dialect()), RunningTime::default());
        }
        filter.reseed(RunningTime::default(), self.rng.next_u64().to_be_bytes());
        message.filter = filter.field();
        message.repair_request = known.into_iter().map(HistoryEntry::new).collect();
        message.sender_signature = Some(Signature::new([0x5A; 16]));
        let bytes = self.encode(&message);
        self.inject(bytes);
    }

    /// As it goes out; where members sign, some of what is hostile has signatures, too.
    pub(super) fn encode(&self, message: &Message) -> Bytes {
        let mut message = message.clone();
        if self.signs() && message.id.as_bytes().last().is_some_and(|last| last % 2 == 1) {
            message.author_signature.get_or_insert_with(|| Signature::new([0xA5; 16]));
            message.sender_signature.get_or_insert_with(|| Signature::new([0xA5; 16]));
        }
        wire::encode(&message, self.dialect()).expect("ids are text")
    }
}

/// Up to `max` ids of messages that were sent, the newest among them.
fn some_known(rng: &mut ChaCha8Rng, registry: &Registry, max: usize) -> Vec<MessageId> {
    let mut ids: Vec<MessageId> = registry.all_sent().map(|(_, message)| message.id.clone()).collect();
    let excess = ids.len().saturating_sub(max);
    ids.drain(..excess);
    if !ids.is_empty() {
        let by = usize::try_from(rng.next_u64() % ids.len() as u64).unwrap_or(0);
        ids.rotate_left(by);
    }
    ids
}
