//! What an archive keeps of the channel, below what its log has (docs/protocol.md section 13.6).
//!
//! Of each message the archive has there is its Lamport time and its rid, no more. Those at or below the log's floor are in
//! the set; of those above, the log alone says what is here: what only the archive has there was never delivered, as after
//! a restored backup, and is still fetched.

use std::collections::BTreeSet;

use crate::channel::known::Keyed;
use crate::channel::wide_map::WideMap;
use crate::reconcile::{Item, Rid};
use crate::state::LogKey;
use crate::types::Lamport;

use super::set::Held;

/// Messages of an archive that are in the set, the newest: with 200 bytes each, 20 MB.
pub(super) const MAX_ARCHIVED: usize = 100_000;

/// What an archive has.
#[derive(Debug)]
pub(super) struct Archived {
    places: WideMap<Rid, Lamport>,
    /// Those of them that lie above the log's floor.
    above: BTreeSet<Item>,
    /// Those of them that are in the set lie above this time.
    low: Lamport,
}

impl Archived {
    fn new(keys: Keyed, low: Lamport) -> Self {
        Self { places: WideMap::new(keys), above: BTreeSet::new(), low }
    }

    pub(super) fn low(&self) -> Lamport {
        self.low
    }

    pub(super) fn forget(&mut self, item: &Item) {
        self.places.remove(&item.rid);
        self.above.remove(item);
    }
}

impl Held {
    /// Whether there is an archive.
    pub(super) fn has_archive(&self) -> bool {
        self.archived.is_some()
    }

    /// The archive has these. The first call, also without any, says that there is one.
    pub(super) fn add_archived(&mut self, items: &[Item], floor: Lamport) {
        self.move_floor(floor);
        let keys = self.keys.keys();
        self.archived.get_or_insert_with(|| Box::new(Archived::new(keys, floor)));
        items.iter().for_each(|item| self.add_one(*item));
    }

    fn add_one(&mut self, item: Item) {
        let Some(archived) = &mut self.archived else { return };
        // No message on the wire has the highest time, and so the index takes none.
        if item.lamport == Lamport(u64::MAX) || archived.places.contains_key(&item.rid) {
            return;
        }
        if archived.places.len() >= MAX_ARCHIVED {
            if item.lamport <= archived.low {
                return;
            }
            let Some(lowest) = self.index.first().filter(|first| first.lamport <= self.floor) else { return };
            archived.low = lowest.lamport;
            while let Some(first) = self.index.first().filter(|first| first.lamport <= lowest.lamport) {
                self.index.remove(&first);
                archived.places.remove(&first.rid);
            }
            if item.lamport <= archived.low {
                return;
            }
        }
        archived.places.insert(item.rid, item.lamport);
        if item.lamport > self.floor {
            archived.above.insert(item);
        } else {
            self.index.insert(item);
            archived.low = archived.low.min(Lamport(item.lamport.0.saturating_sub(1)));
        }
    }

    /// A message that only the archive has.
    pub(super) fn archived_item(&self, rid: &Rid) -> Option<Item> {
        let lamport = *self.archived.as_ref()?.places.get(rid)?;
        (lamport <= self.floor).then_some(Item { lamport, rid: *rid })
    }

    /// Whether the archive may have a message of which the log has no more than its place.
    pub(super) fn may_be_archived(&self, key: &LogKey) -> bool {
        self.archived.is_some() && key.lamport > self.floor()
    }

    /// The archive has it no more.
    pub(super) fn forget_archived(&mut self, item: &Item) {
        if let Some(archived) = &mut self.archived {
            archived.forget(item);
            if item.lamport <= self.floor {
                self.index.remove(item);
            }
        }
    }

    /// Whether the archive has this message, wherever it lies.
    pub(super) fn is_archived(&self, rid: &Rid) -> bool {
        self.archived.as_ref().is_some_and(|archived| archived.places.contains_key(rid))
    }

    /// As the floor moves, messages leave the log, and those that the archive has stay in the set.
    pub(super) fn move_floor_over_archive(&mut self, floor: Lamport) {
        let Some(archived) = &mut self.archived else { return };
        let (low, high) = (floor.min(self.floor), floor.max(self.floor));
        let first = |lamport: Lamport| Item { lamport: Lamport(lamport.0.saturating_add(1)), rid: Rid([0; 32]) };
        let moved: Vec<Item> = {
            let places = self.index.rank(&first(low))..self.index.rank(&first(high));
            self.index.range(places).collect()
        };
        for item in moved {
            self.index.remove(&item);
            if self.keys.remove(&item.rid).is_none() {
                archived.above.insert(item);
            }
        }
        while let Some(item) = archived.above.first().copied().filter(|item| item.lamport <= floor) {
            archived.above.remove(&item);
            self.index.insert(item);
        }
        if self.index.first().is_none_or(|lowest| lowest.lamport > floor) {
            archived.low = floor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(lamport: u64) -> Item {
        let mut rid = [0; 32];
        rid[..8].copy_from_slice(&lamport.to_be_bytes());
        Item { lamport: Lamport(lamport), rid: Rid(rid) }
    }

    fn times(set: &Held) -> Vec<u64> {
        set.index.range(0..set.index.len()).map(|item| item.lamport.0).collect()
    }

    #[test]
    fn below_the_floor_is_what_the_archive_has_and_above_it_what_the_log_has() {
        let mut set = Held::new(Keyed::new(1));
        set.add_archived(&[item(3), item(7), item(12)], Lamport(10));
        assert_eq!((times(&set), set.floor()), (vec![3, 7], Lamport(2)));
        assert!(set.has(&item(3).rid) && !set.has(&item(12).rid));
        // What was above it is in the set once the log has it no more.
        set.move_floor(Lamport(15));
        assert_eq!(times(&set), [3, 7, 12]);
        set.move_floor(Lamport(5));
        assert_eq!((times(&set), set.log_floor()), (vec![3], Lamport(5)));
        set.move_floor(Lamport(15));
        set.forget_archived(&item(7));
        assert_eq!((times(&set), set.archived_item(&item(7).rid)), (vec![3, 12], None));
    }

    #[test]
    fn of_more_than_a_hundred_thousand_the_newest_stay() {
        let mut set = Held::new(Keyed::new(1));
        let all: Vec<Item> = (1..=MAX_ARCHIVED as u64 + 10).map(item).collect();
        all.chunks(4_096).for_each(|page| set.add_archived(page, Lamport(1 << 40)));
        assert_eq!((set.index.len(), set.floor()), (MAX_ARCHIVED, Lamport(10)));
        // What is older than all of them is not taken in, however often it is named.
        set.add_archived(&[item(5)], Lamport(1 << 40));
        assert_eq!((set.index.len(), set.has(&item(5).rid), set.has(&item(11).rid)), (MAX_ARCHIVED, false, true));
    }
}
