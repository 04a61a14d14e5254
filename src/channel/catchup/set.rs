//! The set of one channel: what is delivered here above a Lamport time, for digests and sessions (docs/protocol.md
//! section 13).
//!
//! A rid hashes a whole message, so it is never computed on the way of a send or a receive: the log is walked, in slices,
//! when a digest or a frame needs the index. What enters the log above the place that the walk has come to is only
//! counted, what enters below it is noted. What leaves at the lower end is dropped by its time alone.

use std::ops::Range;

use crate::channel::erase;
use crate::channel::known::Keyed;
use crate::channel::log::Log;
use crate::channel::wide_map::WideMap;
use crate::reconcile::{Item, Rid, SetIndex, Summary, rid_of};
use crate::state::{Body, LogKey};
use crate::types::{ChannelId, DigestRange, Lamport};

use super::archived::Archived;

/// Bytes hashed in one slice; one message more may be.
pub(super) const SLICE_BYTES: usize = 512 << 10;
/// What a message costs beside its content, in bytes hashed.
const MESSAGE_BYTES: usize = 1_024;
/// Where more than so many entered below the place of the walk, it begins anew.
const MOST_NOTED: usize = 16_384;
/// So many messages do not wait for a digest to need them.
const MANY: usize = 1_024;

/// The set.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) index: SetIndex,
    pub(super) keys: WideMap<Rid, LogKey>,
    /// What is logged at or below this time is not in it.
    pub(super) floor: Lamport,
    /// What an archive keeps below; none without one.
    pub(super) archived: Option<Box<Archived>>,
    /// The log was walked up to this place.
    walked: LogKey,
    /// How many messages entered above it since, or more.
    above: usize,
    /// What entered the log at or below it since.
    noted: Vec<LogKey>,
}

impl Held {
    pub(super) fn new(keys: Keyed) -> Self {
        Self {
            index: SetIndex::new(),
            keys: WideMap::new(keys),
            floor: Lamport(0),
            archived: None,
            walked: LogKey::first_above(Lamport(0)),
            above: MANY,
            noted: Vec::new(),
        }
    }

    /// A message has entered the log.
    pub(super) fn note(&mut self, key: &LogKey) {
        if *key > self.walked {
            self.above += 1;
        } else if self.noted.len() < MOST_NOTED {
            self.noted.push(key.clone());
        } else {
            self.walk_from(self.floor);
        }
    }

    /// A message has left the log elsewhere than at its lower end.
    pub(super) fn remove(&mut self, channel: &ChannelId, body: &Body) {
        self.noted.retain(|noted| *noted != body.key);
        let item = item_of(channel, body);
        self.index.remove(&item);
        self.keys.remove(&item.rid);
        if let Some(archived) = &mut self.archived {
            archived.forget(&item);
        }
    }

    /// Takes a slice of what is missing in; says whether nothing is any more.
    pub(super) fn advance(&mut self, channel: &ChannelId, log: &Log, floor: Lamport) -> bool {
        self.move_floor(floor);
        let mut left = SLICE_BYTES;
        while left > 0 {
            let body = if self.above > 0 {
                let Some(logged) = log.after(&self.walked).next() else {
                    self.above = 0;
                    continue;
                };
                self.walked = logged.body.key.clone();
                logged.body.clone()
            } else {
                let Some(key) = self.noted.pop() else { break };
                let Some(logged) = log.get(&key).filter(|_| key.lamport > self.floor) else { continue };
                logged.body.clone()
            };
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
        self.above == 0 && self.noted.is_empty()
    }

    /// Whether so much is missing that it is taken in before anything needs it.
    pub(super) fn is_behind(&self) -> bool {
        self.above >= MANY || self.noted.len() >= MANY
    }

    pub(super) fn index(&self) -> &SetIndex {
        &self.index
    }

    /// Where it begins: lower with an archive.
    pub(super) fn floor(&self) -> Lamport {
        self.archived.as_ref().map_or(self.floor, |archived| archived.low().min(self.floor))
    }

    /// Where what can be taken in begins: what lies below has no place in the log.
    pub(super) fn log_floor(&self) -> Lamport {
        self.floor
    }

    /// Whether a message is in it.
    pub(super) fn has(&self, rid: &Rid) -> bool {
        self.keys.contains_key(rid) || self.archived_item(rid).is_some()
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

    pub(super) fn move_floor(&mut self, floor: Lamport) {
        match &self.archived {
            Some(_) => self.move_floor_over_archive(floor),
            None => self.drop_up_to(floor),
        }
        if floor < self.floor || self.walked < LogKey::first_above(floor) {
            self.walk_from(floor);
        }
        self.floor = floor;
    }

    fn drop_up_to(&mut self, floor: Lamport) {
        while let Some(first) = self.index.first().filter(|first| first.lamport <= floor) {
            self.index.remove(&first);
            self.keys.remove(&first.rid);
        }
    }

    /// The log is walked once more, from this time on.
    fn walk_from(&mut self, floor: Lamport) {
        self.noted.clear();
        self.walked = LogKey::first_above(floor);
        self.above = self.above.max(MANY);
    }
}

/// What hashing a message costs, in bytes.
pub(super) fn hashed_bytes(body: &Body) -> usize {
    MESSAGE_BYTES + body.content.len()
}

/// The item that stands for a message.
pub(in crate::channel) fn item_of(channel: &ChannelId, body: &Body) -> Item {
    let content = erase::content_hash(body);
    let causal = body.causal_history.iter().map(|entry| &entry.id);
    let rid = rid_of(channel, &body.key.id, &body.sender, body.key.lamport, causal, &content);
    Item { lamport: body.key.lamport, rid }
}

fn first_above(lamport: Lamport) -> Item {
    Item { lamport: Lamport(lamport.0.saturating_add(1)), rid: Rid([0; 32]) }
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
            let key = LogKey { lamport: Lamport(lamport), id: format!("m{lamport}").into() };
            let content = vec![b'x'; content].into();
            let body = Arc::new(Body::new(key.clone(), "s".into(), content));
            let logged = Logged {
                body: body.clone(),
                delivery: Some(1),
                seen: WallTime::default(),
                late: false,
                below_floor: false,
                missing: Vec::new(),
                below_stable: false,
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
    fn what_enters_at_the_end_is_counted_and_noted_only_below_it() {
        let mut kept = Kept::new();
        (1..=20).for_each(|lamport| drop(kept.put(lamport * 2, 10)));
        assert!(kept.advance(0));
        (21..=40).for_each(|lamport| drop(kept.put(lamport * 2, 10)));
        assert_eq!((kept.set.above, kept.set.noted.len()), (20, 0));
        kept.put(3, 10);
        assert_eq!((kept.set.above, kept.set.noted.len()), (20, 1));
        // Where all that was walked has left, the walk goes on above the floor.
        assert!(kept.advance(50));
        assert_eq!(kept.times(), (26..=40).map(|lamport| lamport * 2).collect::<Vec<_>>());
        assert!(!kept.set.is_behind());
    }

    #[test]
    fn a_large_log_is_taken_in_in_slices() {
        let mut kept = Kept::new();
        (1..=40).for_each(|lamport| drop(kept.put(lamport, 64 << 10)));
        let slices = (1..99).find(|_| kept.advance(0)).unwrap();
        // Forty times 65 KiB.
        assert!((5..=7).contains(&slices), "{slices}");
        assert_eq!(kept.times(), (1..=40).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_noted_is_bounded() {
        let mut kept = Kept::new();
        kept.put(100_001, 10);
        assert!(kept.advance(0));
        let mut most = 0;
        for lamport in 0..100_000 {
            kept.set.note(&LogKey { lamport: Lamport(lamport), id: "m".into() });
            most = most.max(kept.set.noted.len());
        }
        assert_eq!(most, MOST_NOTED);
        kept.put(100_000, 10);
        while !kept.advance(0) {}
        assert_eq!(kept.times(), [100_000, 100_001]);
    }
}
