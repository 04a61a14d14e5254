//! The local log in (lamport, id) order: heads, tail, retention, and the stubs of what was evicted
//! (docs/protocol.md sections 4 and 6).
//!
//! How it moves: [`Log::insert`] on delivery and on send, [`Log::candidate`] and [`Log::remove`] on eviction. A message
//! that another buffer still needs is pinned; pinned messages neither leave nor count against the limits.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::segment::{self, Place};
use crate::state::{Body, LogKey, Logged, Stub};
use crate::types::{HistoryEntry, MessageId, ParticipantId};

use super::known::{Known, Standing};

/// Bytes of bookkeeping charged for every message kept, beyond its own bytes.
const OVERHEAD: usize = 128;

/// Bytes of an entry of a causal history: its own, those of an allocation for its id, and of its place in the index of ids.
const ENTRY: usize = 160;

/// Bytes of the allocation of a signature beyond its own.
const SIGNATURE: usize = 32;

/// Bytes of what is left of an erased content.
const HASH: usize = 64;

/// What a body costs in memory, in bytes.
pub(super) fn cost(body: &Body) -> usize {
    let entries: usize = body
        .causal_history
        .iter()
        .map(|entry| {
            let (hint, sender) = (entry.hint.as_ref(), entry.sender.as_ref());
            ENTRY + entry.id.len() + hint.map_or(0, bytes::Bytes::len) + sender.map_or(0, ParticipantId::len)
        })
        .sum();
    let signature = body.signature.as_ref().map_or(0, |signature| SIGNATURE + signature.as_bytes().len());
    let erased = body.erased.as_ref().map_or(0, |_| HASH);
    OVERHEAD + body.key.id.len() + body.sender.len() + body.content.len() + entries + signature + erased
}

fn stub_cost(key: &LogKey, sender: &ParticipantId) -> usize {
    OVERHEAD + key.id.len() + sender.len()
}

#[derive(Debug)]
struct Kept {
    logged: Logged,
    pins: u32,
    weight: Weight,
}

/// What counts against the limits of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    /// Messages, a payload of several segments once.
    pub(super) messages: usize,
    /// Bytes of messages that are no segments.
    pub(super) bytes: usize,
    /// Segments of such payloads.
    pub(super) segments: usize,
    /// Their bytes.
    pub(super) file_bytes: usize,
}

impl Weight {
    fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.segments += other.segments;
        self.file_bytes += other.file_bytes;
    }

    fn take(&mut self, other: Self) {
        self.messages -= other.messages;
        self.bytes -= other.bytes;
        self.segments -= other.segments;
        self.file_bytes -= other.file_bytes;
    }
}

/// Delivered and sent messages in log order.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: BTreeMap<LogKey, Kept>,
    heads: BTreeSet<LogKey>,
    stubs: BTreeMap<LogKey, ParticipantId>,
    stub_bytes: usize,
    /// Segments are counted apart.
    files_apart: bool,
    all: Weight,
    pinned: Weight,
    /// All messages below are pinned, but for those in `loose`.
    cursor: Option<LogKey>,
    loose: BTreeSet<LogKey>,
}

impl Log {
    /// Nothing yet. Segments of large payloads may count apart from messages.
    pub(super) fn new(files_apart: bool) -> Self {
        Self { files_apart, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.all.bytes + self.all.file_bytes
    }

    /// What counts against the limits.
    pub(super) fn unpinned(&self) -> Weight {
        let mut unpinned = self.all;
        unpinned.take(self.pinned);
        unpinned
    }

    pub(super) fn get(&self, key: &LogKey) -> Option<&Logged> {
        self.entries.get(key).map(|kept| &kept.logged)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Logged> {
        self.entries.values().map(|kept| &kept.logged)
    }

    /// Messages after this place, lowest first.
    pub(super) fn after(&self, key: &LogKey) -> impl Iterator<Item = &Logged> {
        self.entries.range::<LogKey, _>((Bound::Excluded(key), Bound::Unbounded)).map(|(_, kept)| &kept.logged)
    }

    /// Places between two others, neither of them included.
    pub(super) fn between<'a>(
        &'a self,
        after: Option<&'a LogKey>,
        before: &'a LogKey,
    ) -> impl DoubleEndedIterator<Item = &'a LogKey> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = after.is_none_or(|after| after < before);
        let range = range.then(|| self.entries.range::<LogKey, _>((from, Bound::Excluded(before))));
        range.into_iter().flatten().map(|(key, _)| key)
    }

    pub(super) fn oldest(&self) -> Option<&LogKey> {
        self.entries.first_key_value().map(|(key, _)| key)
    }

    pub(super) fn newest(&self) -> Option<&LogKey> {
        self.entries.last_key_value().map(|(key, _)| key)
    }

    /// The message directly after this place.
    pub(super) fn successor(&self, key: &LogKey) -> Option<&MessageId> {
        // Mostly there is none, which is told without a search.
        self.newest().filter(|newest| key < *newest)?;
        let after = (Bound::Excluded(key), Bound::Unbounded);
        self.entries.range::<LogKey, _>(after).next().map(|(key, _)| &key.id)
    }

    /// The newest heads, the newest first.
    pub(super) fn newest_heads(&self, max: usize) -> impl Iterator<Item = &LogKey> {
        self.heads.iter().rev().take(max)
    }

    /// The message before this place.
    pub(super) fn predecessor(&self, key: &LogKey) -> Option<&LogKey> {
        self.entries.range::<LogKey, _>((Bound::Unbounded, Bound::Excluded(key))).next_back().map(|(key, _)| key)
    }

    /// Puts a message where it belongs and keeps heads and references right.
    pub(super) fn insert(&mut self, logged: Logged, known: &mut Known) {
        let body = logged.body.clone();
        for id in references(&body) {
            if let Some(key) = known.refer(id) {
                self.heads.remove(&key);
            }
        }
        if known.set(&body.key, Standing::Delivered) == 0 {
            self.heads.insert(body.key.clone());
        }
        let weight = self.weight(&body);
        self.all.add(weight);
        if self.cursor.as_ref().is_some_and(|cursor| body.key < *cursor) {
            self.loose.insert(body.key.clone());
        }
        self.entries.insert(body.key.clone(), Kept { logged, pins: 0, weight });
    }

    fn weight(&self, body: &Body) -> Weight {
        let bytes = cost(body);
        match Some(&body.content).filter(|_| self.files_apart).and_then(segment::place) {
            None => Weight { messages: 1, bytes, ..Weight::default() },
            Some(place) => {
                Weight { messages: usize::from(place == Place::First), segments: 1, file_bytes: bytes, bytes: 0 }
            }
        }
    }

    /// Takes a message out; heads and references follow.
    pub(super) fn remove(&mut self, key: &LogKey, known: &mut Known) -> Option<Logged> {
        let kept = self.entries.remove(key)?;
        self.all.take(kept.weight);
        if kept.pins > 0 {
            self.pinned.take(kept.weight);
        }
        self.loose.remove(key);
        self.heads.remove(key);
        for id in references(&kept.logged.body) {
            // Mostly it was evicted before.
            if let Some(bare) = known.unrefer(id)
                && self.oldest().is_some_and(|oldest| bare >= *oldest)
                && self.entries.contains_key(&bare)
            {
                self.heads.insert(bare);
            }
        }
        Some(kept.logged)
    }

    /// Puts another body in the place of a message's; says what is kept there now.
    pub(super) fn replace(&mut self, body: Arc<Body>, known: &mut Known) -> Option<Logged> {
        let key = body.key.clone();
        let pins = self.entries.get(&key)?.pins;
        let logged = Logged { body, ..self.remove(&key, known)? };
        self.insert(logged.clone(), known);
        (0..pins).for_each(|_| self.pin(&key));
        Some(logged)
    }

    /// Keeps a message until it is unpinned as often as it was pinned.
    pub(super) fn pin(&mut self, key: &LogKey) {
        if let Some(kept) = self.entries.get_mut(key) {
            kept.pins += 1;
            if kept.pins == 1 {
                self.pinned.add(kept.weight);
                self.loose.remove(key);
            }
        }
    }

    pub(super) fn unpin(&mut self, key: &LogKey) {
        let Some(kept) = self.entries.get_mut(key).filter(|kept| kept.pins > 0) else { return };
        kept.pins -= 1;
        if kept.pins == 0 {
            self.pinned.take(kept.weight);
            if self.cursor.as_ref().is_some_and(|cursor| key < cursor) {
                self.loose.insert(key.clone());
            }
        }
    }

    /// The lowest message that may leave.
    pub(super) fn candidate(&mut self) -> Option<LogKey> {
        if let Some((key, _)) = self.entries.first_key_value().filter(|(_, kept)| kept.pins == 0) {
            return Some(key.clone());
        }
        if let Some(key) = self.loose.first() {
            return Some(key.clone());
        }
        let from = self.cursor.take().map_or(Bound::Unbounded, Bound::Included);
        let next =
            self.entries.range((from, Bound::Unbounded)).find(|(_, kept)| kept.pins == 0).map(|(key, _)| key.clone());
        // With nothing to evict the cursor rests behind the newest message, so that no pinned one is passed twice.
        self.cursor = next.clone().or_else(|| self.newest().cloned());
        next
    }

    /// The causal history of the next message: the two newest heads, then the oldest up to `max_heads`; then what
    /// of the log's last `tail` messages is not among them; all of them messages that may be `named`.
    ///
    /// A sync message takes no head away by naming it. So it brings a `turn`, from which on the rest of its heads is
    /// taken, or those in the middle would never be named while nobody sends content.
    pub(super) fn causal_history(
        &self,
        max_heads: usize,
        tail: usize,
        turn: Option<u64>,
        known: &Known,
        named: impl Fn(&LogKey) -> bool,
    ) -> Vec<LogKey> {
        // What may not be named is from the future, and so among the newest.
        let all_named = self.heads.last().is_none_or(&named);
        let heads = if all_named { Cow::Borrowed(&self.heads) } else { Cow::Owned(self.named_heads(known, &named)) };
        let newest = turn.map_or(max_heads, |_| max_heads - 1).min(2);
        let mut keys: Vec<LogKey> = heads.iter().rev().take(newest).cloned().collect();
        let rest = heads.len() - keys.len();
        let room = rest.min(max_heads - keys.len());
        let first = turn.filter(|_| rest > 0).map_or(0, |turn| usize::try_from(turn % rest as u64).unwrap_or(0));
        keys.extend(heads.iter().take(rest).skip(first).chain(heads.iter().take(first)).take(room).cloned());
        for key in self.entries.keys().rev().filter(|key| named(key)).take(tail) {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        keys
    }

    /// Heads that may be named, and in place of the others what they refer to, as far back as needed.
    fn named_heads(&self, known: &Known, named: impl Fn(&LogKey) -> bool) -> BTreeSet<LogKey> {
        let mut heads: BTreeSet<LogKey> = self.heads.iter().filter(|key| named(key)).cloned().collect();
        let mut hidden: Vec<LogKey> = self.heads.iter().filter(|key| !named(key)).cloned().collect();
        let mut seen: BTreeSet<LogKey> = BTreeSet::new();
        while let Some(kept) = hidden.pop().and_then(|key| self.entries.get(&key)) {
            for key in references(&kept.logged.body).filter_map(|id| known.key(id)) {
                if !self.entries.contains_key(&key) || !seen.insert(key.clone()) {
                    continue;
                }
                if named(&key) {
                    heads.insert(key);
                } else {
                    hidden.push(key);
                }
            }
        }
        heads
    }

    /// Whether no message in the log refers to this one.
    pub(super) fn is_head(&self, id: &MessageId, known: &Known) -> bool {
        known.key(id).is_some_and(|key| self.heads.contains(&key))
    }

    /// Whether these entries name every head.
    pub(super) fn heads_are_in(&self, entries: &[HistoryEntry], known: &Known) -> bool {
        let head = |entry: &HistoryEntry| known.key(&entry.id).filter(|key| self.heads.contains(key));
        self.heads.len() <= entries.len()
            && entries.iter().filter_map(head).collect::<BTreeSet<_>>().len() == self.heads.len()
    }

    /// Remembers an evicted message.
    pub(super) fn add_stub(&mut self, stub: &Stub) {
        self.stub_bytes += stub_cost(&stub.key, &stub.sender);
        if let Some(before) = self.stubs.insert(stub.key.clone(), stub.sender.clone()) {
            self.stub_bytes -= stub_cost(&stub.key, &before);
        }
    }

    pub(super) fn stub_sender(&self, key: &LogKey) -> Option<&ParticipantId> {
        self.stubs.get(key)
    }

    pub(super) fn stubs(&self) -> impl Iterator<Item = Stub> {
        self.stubs.iter().map(|(key, sender)| Stub { key: key.clone(), sender: sender.clone() })
    }

    pub(super) fn stubs_len(&self) -> usize {
        self.stubs.len()
    }

    /// What the stubs take, with their part of the index of ids.
    pub(super) fn stub_bytes(&self) -> usize {
        self.stub_bytes
    }

    /// Drops the lowest stub.
    pub(super) fn drop_stub(&mut self) -> Option<LogKey> {
        let (key, sender) = self.stubs.pop_first()?;
        self.stub_bytes -= stub_cost(&key, &sender);
        Some(key)
    }
}

/// The ids a body refers to, itself excepted.
pub(super) fn references(body: &Body) -> impl Iterator<Item = &MessageId> {
    body.causal_history.iter().map(|entry| &entry.id).filter(|id| **id != body.key.id)
}
