//! What a channel owes its store after a failed save, and when to try again.
//!
//! Commits pile up unmerged and are merged pairwise when a save is tried: with every operation while little is owed, then
//! each time it has grown by an eighth, and whenever the timer says so. Merging them at each operation would make a store
//! that is down for an hour cost ever more. What came and went during the outage leaves its keys behind, so that what is
//! owed grows with traffic; beyond a bound it is forgotten, and the channel is written anew as a whole
//! ([`rewrite`]) against what the store then has.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::step::bytes_of;
use crate::state::{ChannelData, Commit, HistoryUpdate, Row, RowKey};
use crate::store::PersistenceError;
use crate::types::RunningTime;

/// Below this many rows a save is tried with every operation.
const SMALL: usize = 64;
/// Rows that may be owed whatever the size of the channel.
const MANY: usize = 1_024;
/// Bytes that may be owed whatever the size of the channel.
const MANY_BYTES: usize = 1 << 20;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Commits not saved, oldest first.
#[derive(Debug, Default)]
pub(super) struct Owed {
    oldest: Option<Commit>,
    later: Vec<Commit>,
    rows: usize,
    bytes: usize,
    /// Rows owed when a save was last tried.
    tried: usize,
    /// The channel as a whole is owed, instead of commits.
    everything: bool,
}

impl Owed {
    pub(super) fn is_empty(&self) -> bool {
        self.oldest.is_none() && !self.everything
    }

    /// Whether only a [`rewrite`] will do.
    pub(super) fn is_everything(&self) -> bool {
        self.everything
    }

    /// Adds what a later operation changed.
    pub(super) fn push(&mut self, later: Commit) {
        if !later.is_empty() && !self.everything {
            self.rows += size(&later);
            self.bytes += bytes_of(&later);
            match self.oldest {
                None => self.oldest = Some(later),
                Some(_) => self.later.push(later),
            }
        }
    }

    /// Puts back what [`take`](Self::take) gave: it is older than all that was added since.
    pub(super) fn give_back(&mut self, older: Commit) {
        if !self.everything {
            self.rows += size(&older);
            self.bytes += bytes_of(&older);
            if let Some(second) = self.oldest.replace(older) {
                self.later.insert(0, second);
            }
        }
    }

    /// Owes the channel as a whole from now on.
    pub(super) fn owe_everything(&mut self) {
        *self = Self { everything: true, ..Self::default() };
    }

    /// Whether so much is owed that a channel of this many rows and bytes is better written anew.
    pub(super) fn exceeds(&self, rows: usize, bytes: usize) -> bool {
        self.rows > MANY.saturating_add(rows.saturating_mul(4))
            || self.bytes > MANY_BYTES.saturating_add(bytes.saturating_mul(2))
    }

    /// Whether an operation should try to save, without being asked to by the timer.
    pub(super) fn is_due(&self) -> bool {
        !self.everything && (self.rows <= SMALL || self.rows >= self.tried.saturating_add(self.tried / 8))
    }

    /// Everything owed as one commit.
    pub(super) fn take(&mut self) -> Commit {
        let mut commits = std::mem::take(&mut self.later);
        let mut all = self.oldest.take().unwrap_or_default();
        while commits.len() > 1 {
            let mut pairs = Vec::with_capacity(commits.len().div_ceil(2));
            let mut rest = commits.into_iter();
            while let Some(mut earlier) = rest.next() {
                if let Some(later) = rest.next() {
                    earlier.merge(later);
                }
                pairs.push(earlier);
            }
            commits = pairs;
        }
        if let Some(later) = commits.pop() {
            all.merge(later);
        }
        (self.rows, self.bytes) = (0, 0);
        self.tried = size(&all);
        all
    }
}

/// The commit that makes `stored` into `now`.
pub(super) fn rewrite(stored: &ChannelData, now: ChannelData) -> Commit {
    let keep: BTreeSet<RowKey> = now.rows.iter().map(Row::key).collect();
    let delete = stored.rows.iter().map(Row::key).filter(|key| !keep.contains(key)).collect();
    Commit { meta: now.meta, history: HistoryUpdate { put: now.rows, delete }, hints: now.hints }
}

fn size(commit: &Commit) -> usize {
    usize::from(commit.meta.is_some()) + commit.history.put.len() + commit.history.delete.len() + commit.hints.len()
}

/// A channel whose last save failed.
#[derive(Debug)]
pub(super) struct Failing {
    pub(super) error: Arc<PersistenceError>,
    pub(super) retry_at: RunningTime,
    wait: Duration,
}

impl Failing {
    /// After another failure, or the first one where there was none before: waits double, from 1 s to 60 s.
    pub(super) fn after(before: Option<&Self>, error: Arc<PersistenceError>, now: RunningTime) -> Self {
        match before {
            None => Self { error, retry_at: now.after(FIRST_WAIT), wait: FIRST_WAIT },
            // An operation's own attempt before the retry was due does not put the retry off.
            Some(before) if now < before.retry_at => Self { error, retry_at: before.retry_at, wait: before.wait },
            Some(before) => {
                let wait = before.wait.saturating_mul(2).min(LONGEST_WAIT);
                Self { error, retry_at: now.after(wait), wait }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{HistoryUpdate, Mark, MarkKind, Place, Row, RowKey};
    use crate::store::PersistenceErrorKind;
    use crate::types::Lamport;
    use bytes::Bytes;

    fn mark(id: &str, sequence: u64) -> Row {
        Row::Mark(Mark { id: id.into(), kind: MarkKind::Lost, sequence })
    }

    fn put(id: &str, sequence: u64) -> Commit {
        Commit { history: HistoryUpdate { put: vec![mark(id, sequence)], delete: vec![] }, ..Commit::default() }
    }

    #[test]
    fn later_wins_whatever_the_number_of_commits() {
        let mut owed = Owed::default();
        for sequence in 0..7 {
            owed.push(put("a", sequence));
        }
        owed.push(put("b", 100));
        assert_eq!(owed.take().history.put, vec![mark("a", 6), mark("b", 100)]);
        assert!(owed.is_empty());
    }

    #[test]
    fn what_is_given_back_is_older_than_what_came_since() {
        let mut owed = Owed::default();
        owed.push(put("a", 1));
        let tried = owed.take();
        owed.push(put("a", 2));
        owed.give_back(tried);
        assert_eq!(owed.take().history.put, vec![mark("a", 2)]);
    }

    #[test]
    fn a_hint_goes_with_its_message() {
        let body = RowKey { place: Place::Body, lamport: Lamport(1), id: "m".into() };
        let hint = |text: &'static str| Commit { hints: vec![("m".into(), Bytes::from(text))], ..Commit::default() };
        let mut owed = Owed::default();
        owed.push(hint("old"));
        owed.push(Commit { history: HistoryUpdate { put: vec![], delete: vec![body] }, ..Commit::default() });
        assert_eq!(owed.take().hints, vec![]);
        owed.push(hint("new"));
        assert_eq!(owed.take().hints.len(), 1);
    }

    #[test]
    fn a_large_debt_is_tried_only_as_it_grows() {
        let mut owed = Owed::default();
        let mut tries = 0;
        for number in 0..10_000 {
            owed.push(put(&number.to_string(), number));
            if owed.is_due() {
                tries += 1;
                let all = owed.take();
                owed.give_back(all);
            }
        }
        assert!((64..150).contains(&tries), "{tries}");
    }

    #[test]
    fn a_rewrite_leaves_what_the_channel_has_and_nothing_else() {
        let stored = ChannelData { rows: vec![mark("gone", 1), mark("stays", 2)], ..ChannelData::default() };
        let now = ChannelData { rows: vec![mark("new", 4), mark("stays", 3)], ..ChannelData::default() };
        let commit = rewrite(&stored, now.clone());
        assert_eq!(commit.history.put, now.rows);
        assert_eq!(commit.history.delete, [RowKey::by_id(Place::Mark, &"gone".into())]);
    }

    #[test]
    fn traffic_beyond_a_multiple_of_the_channel_is_forgotten() {
        let mut owed = Owed::default();
        for number in 0..1_500 {
            owed.push(put(&number.to_string(), number));
        }
        assert!(!owed.exceeds(120, usize::MAX) && owed.exceeds(110, usize::MAX));
        owed.owe_everything();
        owed.push(put("more", 1));
        owed.give_back(put("before", 1));
        assert!(owed.is_everything() && !owed.is_due() && owed.oldest.is_none());
    }

    #[test]
    fn large_messages_beyond_a_multiple_of_the_channel_are_forgotten_too() {
        let mut owed = Owed::default();
        let hint = |number: u64| (number.to_string().as_str().into(), Bytes::from(vec![7; 100_000]));
        for number in 0..21 {
            owed.push(Commit { hints: vec![hint(number)], ..Commit::default() });
        }
        assert!(!owed.exceeds(1_000, 600_000) && owed.exceeds(1_000, 500_000));
        let all = owed.take();
        assert!(!owed.exceeds(0, 0));
        owed.give_back(all);
        assert!(owed.exceeds(1_000, 500_000));
    }

    #[test]
    fn waits_double_to_a_minute() {
        let error = Arc::new(PersistenceError::new("commit", None, PersistenceErrorKind::Io));
        let mut now = RunningTime::default();
        let mut failing = Failing::after(None, error.clone(), now);
        let mut waits = vec![];
        for _ in 0..8 {
            waits.push(failing.retry_at.since(now).as_secs());
            let early = Failing::after(Some(&failing), error.clone(), now);
            assert_eq!(early.retry_at, failing.retry_at);
            now = failing.retry_at;
            failing = Failing::after(Some(&failing), error.clone(), now);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
