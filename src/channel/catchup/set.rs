//! The set of one channel: what is delivered here above a Lamport time, for digests and sessions (docs/protocol.md
//! section 13).
//!
//! A rid hashes a whole message, so it is never computed on the way of a send or a receive: what enters the log is noted,
//! and taken into the index in slices when a digest or a frame needs it. What leaves at the lower end is dropped by its
//! time alone.

use std::collections::HashMap;
use std::ops::Range;

use sha2::{Digest as _, Sha256};

use crate::channel::known::{IdMap, Keyed};
use crate::channel::log::Log;
use crate::reconcile::{Item, Rid, SetIndex, Summary, rid_of};
use crate::state::{Body, LogKey};
use crate::types::{ChannelId, DigestRange, Lamport, MessageId};

/// Bytes hashed in one slice; one message more may be.
pub(super) const SLICE_BYTES: usize = 512 << 10;
/// What a message costs beside its content, in bytes hashed.
const MESSAGE_BYTES: usize = 1_024;
/// Of more than so many noted messages it is as well to walk the log.
const MOST_NOTED: usize = 16_384;
/// Noted messages that do not wait for a digest to need them.
const MANY: usize = 1_024;

/// The set.
#[derive(Debug)]
pub(super) struct Held {
    index: SetIndex,
    keys: IdMap<Rid, LogKey>,
    /// All in it lies above.
    floor: Lamport,
    /// The log is still to be walked, from behind this place.
    walk: Option<LogKey>,
    /// What has entered the log since.
    noted: Vec<LogKey>,
}

impl Held {
    pub(super) fn new(keys: Keyed) -> Self {
        Self {
            index: SetIndex::new(),
            keys: HashMap::with_hasher(keys),
            floor: Lamport(0),
            walk: Some(before_all(Lamport(0))),
            noted: Vec::new(),
        }
    }

    /// A message has entered the log.
    pub(super) fn note(&mut self, key: &LogKey) {
        if self.noted.len() >= MOST_NOTED {
            self.noted.clear();
            self.walk = Some(before_all(self.floor));
        }
        self.noted.push(key.clone());
    }

    /// A message has left the log elsewhere than at its lower end.
    pub(super) fn remove(&mut self, channel: &ChannelId, body: &Body) {
        self.noted.retain(|noted| *noted != body.key);
        let item = item_of(channel, body);
        self.index.remove(&item);
        self.keys.remove(&item.rid);
    }

    /// Takes a slice of what is missing in; says whether nothing is any more.
    pub(super) fn advance(&mut self, channel: &ChannelId, log: &Log, floor: Lamport) -> bool {
        self.move_floor(floor);
        let mut left = SLICE_BYTES;
        while left > 0 {
            let body = match (&self.walk, self.noted.last()) {
                (Some(after), _) => log.after(after).next().map(|logged| logged.body.clone()),
                (None, Some(_)) => {
                    let Some(key) = self.noted.pop() else { break };
                    let Some(logged) = log.get(&key).filter(|_| key.lamport > self.floor) else { continue };
                    Some(logged.body.clone())
                }
                (None, None) => break,
            };
            let Some(body) = body else {
                self.walk = None;
                continue;
            };
            if self.walk.is_some() {
                self.walk = Some(body.key.clone());
            }
            left = left.saturating_sub(hashed_bytes(&body));
            let item = item_of(channel, &body);
            if self.index.insert(item) {
                self.keys.insert(item.rid, body.key.clone());
            }
        }
        if self.noted.is_empty() {
            // A burst must not keep its room for ever.
            self.noted.shrink_to(MANY);
        }
        self.is_ready()
    }

    /// Whether all of the log is in it.
    pub(super) fn is_ready(&self) -> bool {
        self.walk.is_none() && self.noted.is_empty()
    }

    /// Whether so much is noted that it is taken in before anything needs it.
    pub(super) fn is_behind(&self) -> bool {
        self.walk.is_some() || self.noted.len() >= MANY
    }

    pub(super) fn index(&self) -> &SetIndex {
        &self.index
    }

    pub(super) fn floor(&self) -> Lamport {
        self.floor
    }

    /// The place of a message in the log.
    pub(super) fn key(&self, rid: &Rid) -> Option<&LogKey> {
        self.keys.get(rid)
    }

    /// Places of what lies above one time and not above the other.
    pub(super) fn places(&self, lower: Lamport, upper: Lamport) -> Range<usize> {
        let start = self.index.rank(&first_above(lower));
        start..self.index.rank(&first_above(upper)).max(start)
    }

    /// What a digest says of a range.
    pub(super) fn range(&self, lower: Lamport, upper: Lamport) -> DigestRange {
        let summary = self.summary(lower, upper);
        DigestRange::new(lower, summary.count, summary.fingerprint())
    }

    /// Count and sum of a range.
    pub(super) fn summary(&self, lower: Lamport, upper: Lamport) -> Summary {
        self.index.summary(self.places(lower, upper))
    }

    fn move_floor(&mut self, floor: Lamport) {
        if floor < self.floor {
            self.walk = Some(before_all(floor));
        }
        while let Some(first) = self.index.first().filter(|first| first.lamport <= floor) {
            self.index.remove(&first);
            self.keys.remove(&first.rid);
        }
        if self.floor == Lamport(0) && self.walk.is_some() && self.index.is_empty() {
            self.walk = Some(before_all(floor));
        }
        self.floor = floor;
    }
}

/// What hashing a message costs, in bytes.
pub(super) fn hashed_bytes(body: &Body) -> usize {
    MESSAGE_BYTES + body.content.len()
}

/// The item that stands for a message.
pub(super) fn item_of(channel: &ChannelId, body: &Body) -> Item {
    let content = Sha256::digest(&body.content).into();
    let causal = body.causal_history.iter().map(|entry| &entry.id);
    let rid = rid_of(channel, &body.key.id, &body.sender, body.key.lamport, causal, &content);
    Item { lamport: body.key.lamport, rid }
}

fn first_above(lamport: Lamport) -> Item {
    Item { lamport: Lamport(lamport.0.saturating_add(1)), rid: Rid([0; 32]) }
}

/// Before all messages above this time: no message has an empty id.
fn before_all(floor: Lamport) -> LogKey {
    LogKey { lamport: Lamport(floor.0.saturating_add(1)), id: MessageId::new("") }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::channel::known::Known;
    use crate::state::Logged;
    use crate::types::WallTime;

    struct Kept {
        channel: ChannelId,
        log: Log,
        known: Known,
        set: Held,
    }

    impl Kept {
        fn new() -> Self {
            let keys = Keyed::new(7);
            Self { channel: "c".into(), log: Log::default(), known: Known::new(keys), set: Held::new(keys) }
        }

        /// A message enters the log, and is noted.
        fn put(&mut self, lamport: u64, content: usize) -> Arc<Body> {
            let key = LogKey { lamport: Lamport(lamport), id: MessageId::from(format!("m{lamport}")) };
            let content = vec![b'x'; content].into();
            let body = Arc::new(Body { key: key.clone(), sender: "s".into(), causal_history: Vec::new(), content });
            let logged = Logged {
                body: body.clone(),
                delivery: Some(1),
                seen: WallTime::default(),
                late: false,
                below_floor: false,
                missing: Vec::new(),
            };
            self.log.insert(logged, &mut self.known);
            self.set.note(&key);
            body
        }

        fn advance(&mut self, floor: u64) -> bool {
            self.set.advance(&self.channel, &self.log, Lamport(floor))
        }

        /// The Lamport times in the set, each of which leads to its message.
        fn times(&self) -> Vec<u64> {
            let index = self.set.index();
            let items: Vec<_> = index.range(0..index.len()).collect();
            let found = |item: &Item| self.set.key(&item.rid).is_some_and(|key| key.lamport == item.lamport);
            assert!(items.iter().all(found) && self.set.keys.len() == items.len());
            items.iter().map(|item| item.lamport.0).collect()
        }
    }

    #[test]
    fn the_set_is_the_log_above_the_floor_wherever_messages_enter_and_leave() {
        let mut kept = Kept::new();
        for lamport in [5, 1, 9, 3] {
            kept.put(lamport, 10);
        }
        assert!(kept.advance(0));
        assert_eq!(kept.times(), [1, 3, 5, 9]);
        let seven = kept.put(7, 10);
        assert!(!kept.set.is_ready() && kept.advance(3));
        assert_eq!(kept.times(), [5, 7, 9]);
        kept.log.remove(&seven.key, &mut kept.known);
        kept.set.remove(&kept.channel, &seven);
        kept.put(2, 10);
        let eight = kept.put(8, 10);
        kept.log.remove(&eight.key, &mut kept.known);
        kept.set.remove(&kept.channel, &eight);
        assert!(kept.advance(3));
        assert_eq!(kept.times(), [5, 9], "two lies below, eight left before it was taken in");
        assert!(kept.advance(1), "the floor was lowered");
        assert_eq!(kept.times(), [2, 3, 5, 9]);
    }

    #[test]
    fn a_large_log_is_taken_in_in_slices() {
        let mut kept = Kept::new();
        (1..=40).for_each(|lamport| drop(kept.put(lamport, 64 << 10)));
        let slices = (1..99).find(|_| kept.advance(0)).unwrap();
        // Forty times 65 KiB, twice: once from the log, once as noted since.
        assert!((5..=12).contains(&slices), "{slices}");
        assert_eq!(kept.times(), (1..=40).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_noted_is_bounded() {
        let mut kept = Kept::new();
        assert!(kept.advance(0));
        for lamport in 0..100_000 {
            kept.set.note(&LogKey { lamport: Lamport(lamport), id: "m".into() });
            assert!(kept.set.noted.len() <= MOST_NOTED);
        }
        kept.put(100_000, 10);
        while !kept.advance(0) {}
        assert_eq!(kept.times(), [100_000]);
    }
}
