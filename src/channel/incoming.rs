//! Messages that wait for their dependencies, and who waits for whom (docs/protocol.md section 5).
//!
//! How it moves: [`Incoming::park`] puts a message in with what it waits for; [`Incoming::met`] strikes one
//! dependency off for all who wait for it; [`Incoming::pop_ready`] hands out the lowest message that waits for nothing.
//! Each dependency of each message is struck once: N messages in reverse order cost O(N log N) in all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use crate::state::{LogKey, Parked};
use crate::types::{MessageId, ParticipantId};

use super::known::{IdMap, Keyed};
use super::log::cost;
use super::wide_map::WideMap;

/// Bytes of a message's places in the five indices.
const PLACES: usize = 256;
/// Bytes of one dependency that is waited for: its place among those of its message, and a list of who waits for it, which
/// is seldom shared by many.
const AWAITED: usize = 400;

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) parked: Parked,
    /// Dependencies not met: unknown ones and parked ones.
    pub(super) unmet: BTreeSet<MessageId>,
    /// When it is looked at for a cycle, in channel age.
    expiry: u64,
    /// What it takes in memory, in bytes, as it was parked.
    cost: usize,
}

/// The incoming buffer.
#[derive(Debug)]
pub(super) struct Incoming {
    waiting: BTreeMap<LogKey, Waiting>,
    waiters: WideMap<MessageId, BTreeSet<LogKey>>,
    ready: BTreeSet<LogKey>,
    senders: IdMap<ParticipantId, (usize, BTreeSet<LogKey>)>,
    ranking: BTreeSet<(usize, ParticipantId)>,
    /// When each message is looked at for a cycle, in channel age.
    expiry: BTreeSet<(u64, LogKey)>,
    bytes: usize,
}

impl Incoming {
    pub(super) fn new(keys: Keyed) -> Self {
        Self {
            waiting: BTreeMap::new(),
            waiters: WideMap::new(keys),
            ready: BTreeSet::new(),
            senders: HashMap::with_hasher(keys),
            ranking: BTreeSet::new(),
            expiry: BTreeSet::new(),
            bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, key: &LogKey) -> Option<&Waiting> {
        self.waiting.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.values()
    }

    /// Parked messages above `after`, which is not above `to`, up to and including `to`.
    pub(super) fn between<'a>(
        &'a self,
        after: Option<&LogKey>,
        to: &LogKey,
    ) -> impl Iterator<Item = (&'a LogKey, &'a Waiting)> {
        self.waiting.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Included(to)))
    }

    /// Whether somebody waits for this message.
    pub(super) fn is_awaited(&self, id: &MessageId) -> bool {
        self.waiters.contains_key(id)
    }

    /// Messages after this one, lowest first.
    pub(super) fn after(&self, key: Option<&LogKey>) -> impl Iterator<Item = (&LogKey, &Waiting)> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.waiting.range::<LogKey, _>((from, Bound::Unbounded))
    }

    /// Who waits for this message, lowest first.
    pub(super) fn waiters(&self, id: &MessageId) -> impl Iterator<Item = &LogKey> {
        self.waiters.get(id).into_iter().flatten()
    }

    /// The highest message that waits for this one.
    pub(super) fn last_waiter(&self, id: &MessageId) -> Option<&LogKey> {
        self.waiters.get(id)?.last()
    }

    /// Puts a message in until `unmet` is empty, which it may be already; to be looked at again at age `expiry`.
    pub(super) fn park(&mut self, parked: Parked, unmet: BTreeSet<MessageId>, expiry: u64) {
        let key = parked.body.key.clone();
        for id in &unmet {
            self.waiters.or_insert(id.clone(), BTreeSet::new()).insert(key.clone());
        }
        if unmet.is_empty() {
            self.ready.insert(key.clone());
        }
        let cost = cost(&parked.body) + PLACES + unmet.len() * AWAITED;
        self.bytes += cost;
        self.charge(&parked.body.sender, |bytes, keys| {
            *bytes += cost;
            keys.insert(key.clone());
        });
        self.expiry.insert((expiry, key.clone()));
        self.waiting.insert(key, Waiting { parked, unmet, expiry, cost });
    }

    /// Takes a message out.
    pub(super) fn remove(&mut self, key: &LogKey) -> Option<Waiting> {
        let waiting = self.waiting.remove(key)?;
        waiting.unmet.iter().for_each(|id| self.unlist(key, id));
        self.ready.remove(key);
        self.expiry.remove(&(waiting.expiry, key.clone()));
        let cost = waiting.cost;
        self.bytes -= cost;
        self.charge(&waiting.parked.body.sender, |bytes, keys| {
            *bytes -= cost;
            keys.remove(key);
        });
        Some(waiting)
    }

    /// Strikes a dependency off for everyone who waits for it; returns how many did.
    pub(super) fn met(&mut self, id: &MessageId) -> usize {
        let waiters = self.waiters.remove(id).unwrap_or_default();
        self.waiters.tidy(id);
        for key in &waiters {
            self.strike(key, id);
        }
        waiters.len()
    }

    /// Strikes a dependency off for one message alone.
    pub(super) fn met_for(&mut self, key: &LogKey, id: &MessageId) {
        self.unlist(key, id);
        self.strike(key, id);
    }

    /// Whether some message waits for nothing.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes out the lowest message that waits for nothing.
    pub(super) fn pop_ready(&mut self) -> Option<Waiting> {
        let key = self.ready.pop_first()?;
        self.remove(&key)
    }

    /// The highest message of the sender that holds most bytes.
    pub(super) fn costliest(&self) -> Option<LogKey> {
        let (_, sender) = self.ranking.last()?;
        self.senders.get(sender)?.1.last().cloned()
    }

    /// The next message to look at for a cycle, and when.
    pub(super) fn next_expiry(&self) -> Option<&(u64, LogKey)> {
        self.expiry.first()
    }

    pub(super) fn set_expiry(&mut self, key: &LogKey, age: u64) {
        let Some(waiting) = self.waiting.get_mut(key) else { return };
        self.expiry.remove(&(waiting.expiry, key.clone()));
        waiting.expiry = age;
        self.expiry.insert((age, key.clone()));
    }

    /// This message is not among those that wait for that one any more.
    fn unlist(&mut self, key: &LogKey, id: &MessageId) {
        let Some(waiters) = self.waiters.get_mut(id) else { return };
        waiters.remove(key);
        if waiters.is_empty() {
            self.waiters.remove(id);
            self.waiters.tidy(id);
        }
    }

    fn strike(&mut self, key: &LogKey, id: &MessageId) {
        if let Some(waiting) = self.waiting.get_mut(key) {
            waiting.unmet.remove(id);
            if waiting.unmet.is_empty() {
                self.ready.insert(key.clone());
            }
        }
    }

    fn charge(&mut self, sender: &ParticipantId, change: impl FnOnce(&mut usize, &mut BTreeSet<LogKey>)) {
        let account = self.senders.entry(sender.clone()).or_default();
        self.ranking.remove(&(account.0, sender.clone()));
        change(&mut account.0, &mut account.1);
        if account.1.is_empty() {
            self.senders.remove(sender);
        } else {
            self.ranking.insert((account.0, sender.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::state::Body;
    use crate::types::{Lamport, WallTime};

    #[test]
    fn what_was_awaited_leaves_no_memory() {
        let mut incoming = Incoming::new(Keyed::new(1));
        let id = |n: u64| MessageId::new(n.to_be_bytes());
        let keys: Vec<LogKey> = (0..3).map(|n| LogKey { lamport: Lamport(n), id: id(n) }).collect();
        for (key, first) in keys.iter().zip([100, 1_000_100, 2_000_100]) {
            let body = Arc::new(Body::new(key.clone(), "bob".into(), Bytes::new()));
            let parked = Parked { body, seen: WallTime::default(), parked_at_age_ms: 0 };
            incoming.park(parked, (first..first + 10_000).map(id).collect(), 0);
        }
        // Each way out.
        incoming.remove(&keys[0]);
        (1_000_100..1_010_100).for_each(|n| assert_eq!(incoming.met(&id(n)), 1));
        (2_000_100..2_010_100).for_each(|n| incoming.met_for(&keys[2], &id(n)));
        assert!(incoming.waiters.is_empty());
        assert!(incoming.waiters.capacity() < 500, "room for {}", incoming.waiters.capacity());
    }
}
