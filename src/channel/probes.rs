//! Open messages by number, side by side, so that a filter is tested against a thousand of them fast.
//!
//! What: [`Probes`] numbers messages as they are added, and gives their hashes as slices. Why not a map: to walk one and
//! to fetch what it holds takes longer than to test it. How it moves: [`Probes::remove`] leaves a gap, because numbers
//! stay; gaps are closed when they are half of all, and before what they are in is tested, so that a removal costs as
//! much as two more messages tested.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use crate::filter::IdHash;
use crate::state::LogKey;

#[derive(Debug, Default)]
pub(super) struct Probes {
    /// By number, which only grows.
    ids: Vec<(u64, IdHash)>,
    /// Of which message each is; `None` in a gap.
    keys: Vec<Option<LogKey>>,
    gaps: usize,
    next: u64,
    /// Of these, a miss may take something back.
    with_evidence: BTreeSet<u64>,
}

impl Probes {
    /// Adds a message and says its number.
    pub(super) fn add(&mut self, hash: IdHash, key: LogKey, evidence: bool) -> u64 {
        let number = self.next;
        self.next += 1;
        self.ids.push((number, hash));
        self.keys.push(Some(key));
        self.set_evidence(number, evidence);
        number
    }

    pub(super) fn remove(&mut self, number: u64) {
        let Some(at) = self.at(number) else { return };
        self.keys[at] = None;
        self.gaps += 1;
        self.set_evidence(number, false);
        if self.gaps * 2 > self.ids.len() {
            self.close_gaps(0);
            self.ids.shrink_to(2 * self.ids.len());
            self.keys.shrink_to(2 * self.keys.len());
        }
    }

    /// The number that the next message gets.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// A message with this number, while it is open.
    pub(super) fn get(&self, number: u64) -> Option<(&LogKey, IdHash)> {
        let at = self.at(number)?;
        self.keys[at].as_ref().map(|key| (key, self.ids[at].1))
    }

    /// Those of the messages numbered `due` that are open, and all from the number `from` on.
    pub(super) fn select(&mut self, due: &[u64], from: u64) -> Cow<'_, [(u64, IdHash)]> {
        let start = self.ids.partition_point(|(number, _)| *number < from);
        self.close_gaps(start);
        if due.is_empty() {
            return Cow::Borrowed(&self.ids[start..]);
        }
        let open = due.iter().filter_map(|number| self.get(*number).map(|(_, hash)| (*number, hash)));
        open.chain(self.ids[start..].iter().copied()).collect()
    }

    /// How many messages there are from the number `from` on, gaps among them.
    pub(super) fn count(&self, from: u64) -> usize {
        self.ids.len() - self.ids.partition_point(|(number, _)| *number < from)
    }

    /// Those of the messages numbered `due`, and of those numbered `range`, of which a miss may take something back.
    pub(super) fn with_evidence(&self, due: &[u64], range: Range<u64>) -> Vec<u64> {
        let due = due.iter().filter(|number| self.with_evidence.contains(number));
        due.chain(self.with_evidence.range(range)).copied().collect()
    }

    pub(super) fn set_evidence(&mut self, number: u64, evidence: bool) {
        if evidence {
            self.with_evidence.insert(number);
        } else {
            self.with_evidence.remove(&number);
        }
    }

    fn at(&self, number: u64) -> Option<usize> {
        let at = self.ids.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        self.keys[at].is_some().then_some(at)
    }

    /// From this place on.
    fn close_gaps(&mut self, from: usize) {
        if self.gaps == 0 {
            return;
        }
        let mut end = from;
        for at in from..self.ids.len() {
            if self.keys[at].is_some() {
                self.ids.swap(end, at);
                self.keys.swap(end, at);
                end += 1;
            }
        }
        self.gaps -= self.ids.len() - end;
        self.ids.truncate(end);
        self.keys.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::types::{Lamport, MessageId, split_mix};

    fn key(n: u64) -> LogKey {
        LogKey { lamport: Lamport(n), id: MessageId::from(format!("m{n}")) }
    }

    #[test]
    fn numbers_stay_whatever_is_removed() {
        let mut random = 7;
        let mut draw = |below: u64| split_mix(&mut random) % below;
        let (mut probes, mut expected) = (Probes::default(), BTreeMap::new());
        for _ in 0..5_000 {
            let evidence = draw(4) == 0;
            let hash = IdHash::of(&key(probes.next()).id);
            let number = probes.add(hash, key(probes.next()), evidence);
            assert!(expected.insert(number, (hash, evidence)).is_none());
            // Now fewer come than go, now more.
            for _ in 0..if number / 500 % 2 == 0 { draw(2) } else { draw(4) } {
                let gone = number.saturating_sub(draw(400));
                probes.remove(gone);
                expected.remove(&gone);
            }
            assert!(probes.ids.len() <= 2 * expected.len(), "half of all are gaps at most");
            if draw(5) == 0 {
                let (from, due) = (number.saturating_sub(draw(300)), [number.saturating_sub(draw(900) + 300)]);
                let due = if draw(2) == 0 { &due[..] } else { &[] };
                let is_meant = |number: &&u64| **number >= from || due.contains(*number);
                let meant: Vec<u64> = expected.keys().filter(is_meant).copied().collect();
                let selected = probes.select(due, from).into_owned();
                assert_eq!(selected, meant.iter().map(|number| (*number, expected[number].0)).collect::<Vec<_>>());
                let doubted: Vec<u64> = meant.into_iter().filter(|number| expected[number].1).collect();
                assert_eq!(probes.with_evidence(due, from..probes.next()), doubted);
            }
            let some = draw(number + 1);
            let found = probes.get(some).map(|(found, hash)| (found.clone(), hash));
            assert_eq!(found, expected.get(&some).map(|(hash, _)| (key(some), *hash)));
        }
        assert_eq!(probes.ids.len() - probes.gaps, expected.len());
    }
}
