//! The ids that a [`RollingFilter`](super::RollingFilter) holds, by id and by the time they were last heard.
//!
//! What: [`Held`]. Why two orders: an id is looked up with every message, and the oldest leave. Why a queue for the
//! second: times grow, so that an id heard goes to its end; one that leaves its middle leaves a gap, and when gaps are
//! more than ids the queue is written anew, so that an operation costs a logarithm, gaps included. How it moves:
//! [`hear`](Held::hear) and [`remove`](Held::remove) take out by id, [`drop_oldest`](Held::drop_oldest) by age.

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};

use super::IdHash;
use crate::types::{MessageId, RunningTime};

/// Ids, each with its hash and the time it was last heard.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    /// A part of the hash comes first, because it is compared faster.
    by_id: BTreeMap<(u64, MessageId), Age>,
    /// In the order of their ages. The first is no gap.
    by_age: VecDeque<Aged>,
    next_sequence: u64,
}

/// When an id was last heard; ties in the order of the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Age {
    heard: RunningTime,
    sequence: u64,
}

#[derive(Clone, Debug)]
struct Aged {
    age: Age,
    /// `None` is a gap.
    id: Option<(IdHash, MessageId)>,
}

impl Held {
    /// Holds the id, or refreshes it. Whether it is new.
    pub(super) fn hear(&mut self, id: &MessageId, hash: IdHash, now: RunningTime) -> bool {
        let age = Age { heard: now, sequence: self.next_sequence };
        let known = match self.by_id.entry((hash.part(), id.clone())) {
            Entry::Vacant(entry) => {
                entry.insert(age);
                None
            }
            Entry::Occupied(entry) if entry.get().heard >= now => return false,
            Entry::Occupied(mut entry) => Some(entry.insert(age)),
        };
        self.next_sequence += 1;
        if let Some(earlier) = known {
            self.leave_gap(earlier);
        }
        let aged = Aged { age, id: Some((hash, id.clone())) };
        if self.by_age.back().is_none_or(|newest| newest.age < age) {
            self.by_age.push_back(aged);
        } else {
            // The caller's clock went back, which a channel's never does.
            let at = self.by_age.partition_point(|other| other.age < age);
            self.by_age.insert(at, aged);
        }
        if known.is_some() {
            self.tidy();
        }
        known.is_none()
    }

    /// Takes an id out; whether it was held.
    pub(super) fn remove(&mut self, id: &MessageId, hash: IdHash) -> bool {
        let Some(age) = self.by_id.remove(&(hash.part(), id.clone())) else { return false };
        self.leave_gap(age);
        self.tidy();
        true
    }

    pub(super) fn last_heard(&self, id: &MessageId, hash: IdHash) -> Option<RunningTime> {
        self.by_id.get(&(hash.part(), id.clone())).map(|age| age.heard)
    }

    /// When the oldest was last heard.
    pub(super) fn oldest(&self) -> Option<RunningTime> {
        self.by_age.front().map(|oldest| oldest.age.heard)
    }

    pub(super) fn drop_oldest(&mut self) {
        if let Some((hash, id)) = self.by_age.pop_front().and_then(|oldest| oldest.id) {
            self.by_id.remove(&(hash.part(), id));
        }
        self.tidy();
    }

    /// The hashes of all, oldest first.
    pub(super) fn hashes(&self) -> impl Iterator<Item = IdHash> {
        self.by_age.iter().filter_map(|aged| aged.id.as_ref()).map(|(hash, _)| *hash)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    fn leave_gap(&mut self, age: Age) {
        if let Ok(at) = self.by_age.binary_search_by_key(&age, |aged| aged.age) {
            self.by_age[at].id = None;
        }
    }

    /// Drops the gaps in front, all when they are more than the ids, and memory when most of it is empty.
    fn tidy(&mut self) {
        while self.by_age.front().is_some_and(|aged| aged.id.is_none()) {
            self.by_age.pop_front();
        }
        if self.by_age.len() > 2 * self.by_id.len() + SMALL {
            self.by_age.retain(|aged| aged.id.is_some());
        }
        if self.by_age.capacity() > 4 * self.by_age.len() + SMALL {
            self.by_age.shrink_to(2 * self.by_age.len());
        }
    }
}

/// Places in the queue that are not worth an effort.
const SMALL: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What [`Held`] is to do, said with one list in the order of ages.
    #[derive(Default)]
    struct Model(Vec<(RunningTime, u8)>);

    impl Model {
        fn at(&self, id: u8) -> Option<usize> {
            self.0.iter().position(|(_, other)| *other == id)
        }

        fn hear(&mut self, id: u8, now: RunningTime) -> bool {
            let at = self.at(id);
            if at.is_some_and(|at| self.0[at].0 >= now) {
                return false;
            }
            at.map(|at| self.0.remove(at));
            let later = self.0.iter().position(|(heard, _)| *heard > now).unwrap_or(self.0.len());
            self.0.insert(later, (now, id));
            at.is_none()
        }
    }

    #[derive(Clone, Debug)]
    enum Call {
        /// After this many milliseconds, of which a few are negative.
        Hear(u8, i64),
        Remove(u8),
        DropOldest,
    }

    fn any_call() -> impl Strategy<Value = Call> {
        let passed = prop_oneof![8 => 0..3_i64, 1 => -5..0_i64];
        prop_oneof![
            6 => (any::<u8>(), passed).prop_map(|(id, passed)| Call::Hear(id, passed)),
            2 => any::<u8>().prop_map(Call::Remove),
            1 => Just(Call::DropOldest),
        ]
    }

    proptest! {
        #[test]
        fn ids_are_held_as_in_a_list(calls in prop::collection::vec(any_call(), 0..1_000), few in 1..=u8::MAX) {
            let (mut held, mut model, mut now) = (Held::default(), Model::default(), 1_000_i64);
            let id = |n: u8| MessageId::new([n]);
            let hashes: Vec<_> = (0..=u8::MAX).map(|n| IdHash::of(&id(n))).collect();
            let hash = |n: u8| hashes[usize::from(n)];
            for call in calls {
                match call {
                    Call::Hear(n, passed) => {
                        now += passed;
                        let (n, now) = (n % few, RunningTime::from_millis(now.unsigned_abs()));
                        prop_assert_eq!(held.hear(&id(n), hash(n), now), model.hear(n, now));
                    }
                    Call::Remove(n) => {
                        let at = model.at(n % few);
                        prop_assert_eq!(held.remove(&id(n % few), hash(n % few)), at.is_some());
                        at.map(|at| model.0.remove(at));
                    }
                    Call::DropOldest => {
                        held.drop_oldest();
                        if !model.0.is_empty() {
                            model.0.remove(0);
                        }
                    }
                }
                let all = model.0.iter().map(|(_, n)| hash(*n));
                prop_assert!(held.hashes().eq(all));
                prop_assert_eq!(held.len(), model.0.len());
                prop_assert_eq!(held.oldest(), model.0.first().map(|(heard, _)| *heard));
                prop_assert!(held.by_age.len() <= 2 * held.len() + SMALL);
            }
            for n in 0..=u8::MAX {
                let heard = model.at(n).map(|at| model.0[at].0);
                prop_assert_eq!(held.last_heard(&id(n), hash(n)), heard);
            }
        }
    }
}
