//! What stays different: messages that are refused here, and those that another participant does not take.
//!
//! A refused message (a conflict, a limit, a time in the far future) is in its sender's set for ever. Without this, each
//! digest would differ, and each session would bring it again. How it moves: a session notes what it brought in vain; when
//! it is over, what is still different is remembered of the other side, and later digests are compared without that.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::reconcile::{Rid, Summary};
use crate::types::{Lamport, RunningTime};

use super::set::Held;

/// Refused messages remembered.
const MAX_REFUSED: usize = 4_096;
/// Of more differences, none are remembered of a participant: they may not be all.
const MAX_APART: usize = 256;
/// The longest that anything of it is remembered.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// Messages that were refused here.
#[derive(Debug, Default)]
pub(super) struct Refused(BTreeMap<Rid, (Lamport, RunningTime)>);

impl Refused {
    /// A message was refused, and will be until so much time has passed; `None` where time alone changes nothing.
    pub(super) fn note(&mut self, rid: Rid, lamport: Lamport, wait: Option<Duration>, now: RunningTime) {
        if self.0.len() >= MAX_REFUSED {
            self.0.retain(|_, (_, until)| now < *until);
        }
        if self.0.len() < MAX_REFUSED {
            self.0.insert(rid, (lamport, now.after(wait.unwrap_or(REMEMBERED).min(REMEMBERED))));
        }
    }

    /// Whether a message is not worth asking for.
    pub(super) fn has(&self, rid: &Rid, now: RunningTime) -> bool {
        self.get(rid, now).is_some()
    }

    fn get(&self, rid: &Rid, now: RunningTime) -> Option<(Lamport, RunningTime)> {
        self.0.get(rid).copied().filter(|(_, until)| now < *until)
    }
}

/// What a session found that only one side has, as far as it was compared.
#[derive(Debug, Default)]
pub(super) struct Difference {
    only_here: Vec<Rid>,
    only_there: Vec<Rid>,
}

impl Difference {
    pub(super) fn extend(&mut self, only_here: &[Rid], only_there: &[Rid]) {
        for (all, more) in [(&mut self.only_here, only_here), (&mut self.only_there, only_there)] {
            let room = (MAX_APART + 1).saturating_sub(all.len());
            all.extend(more.iter().take(room));
        }
    }

    /// What of it stays, now that the session is over: what they have is refused here, what we have they did not take.
    pub(super) fn that_stays(&self, set: &Held, refused: &Refused, now: RunningTime) -> Apart {
        if self.only_here.len().max(self.only_there.len()) > MAX_APART {
            return Apart::default();
        }
        let lacking = self.only_there.iter().filter(|rid| !set.has(rid));
        let (mut theirs, mut until) = (BTreeMap::new(), now.after(REMEMBERED));
        for (rid, (lamport, end)) in lacking.filter_map(|rid| Some((*rid, refused.get(rid, now)?))) {
            theirs.insert(rid, lamport);
            until = until.min(end);
        }
        let ours = self.only_here.iter().filter_map(|rid| Some((*rid, set.key(rid)?.lamport))).collect();
        Apart { theirs, ours, until }
    }
}

/// What is known to differ between another participant's set and ours.
#[derive(Debug, Default)]
pub(super) struct Apart {
    theirs: BTreeMap<Rid, Lamport>,
    ours: BTreeMap<Rid, Lamport>,
    until: RunningTime,
}

impl Apart {
    /// Whether it holds something that is refused here.
    pub(super) fn has_refused(&self) -> bool {
        !self.theirs.is_empty()
    }

    /// Whether it did not take this message of ours.
    pub(super) fn lacks(&self, rid: &Rid) -> bool {
        self.ours.contains_key(rid)
    }

    /// What it does not take.
    pub(super) fn lacking(&self) -> impl Iterator<Item = &Rid> {
        self.ours.keys()
    }

    /// What its set must be like, where ours is like this between these times; `None` where that is no other.
    pub(super) fn seen_from_there(
        &self,
        ours: &Summary,
        (lower, upper): (Lamport, Lamport),
        set: &Held,
        now: RunningTime,
    ) -> Option<Summary> {
        if now >= self.until {
            return None;
        }
        let within = |(_, lamport): &(&Rid, &Lamport)| **lamport > lower && **lamport <= upper;
        let mut summary = *ours;
        for (rid, _) in self.ours.iter().filter(within).filter(|(rid, _)| set.key(rid).is_some()) {
            summary.subtract(&Summary::of(rid));
        }
        for (rid, _) in self.theirs.iter().filter(within).filter(|(rid, _)| !set.has(rid)) {
            summary.add(&Summary::of(rid));
        }
        (summary != *ours).then_some(summary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rid(n: usize) -> Rid {
        let mut rid = [0; 32];
        rid[..8].copy_from_slice(&(n as u64).to_be_bytes());
        Rid(rid)
    }

    #[test]
    fn what_was_refused_is_remembered_until_its_time_comes_or_for_a_day_and_no_more_than_so_much_of_it() {
        let (mut refused, at) = (Refused::default(), RunningTime::from_millis);
        refused.note(rid(0), Lamport(7), Some(Duration::from_millis(500)), at(0));
        assert_eq!((refused.has(&rid(0), at(499)), refused.has(&rid(0), at(500))), (true, false));
        for n in 1..=MAX_REFUSED {
            refused.note(rid(n), Lamport(7), None, at(0));
        }
        assert!(!refused.has(&rid(MAX_REFUSED), at(0)), "there was no room");
        let day = 24 * 60 * 60 * 1_000;
        assert_eq!((refused.has(&rid(1), at(day - 1)), refused.has(&rid(1), at(day))), (true, false));
        refused.note(rid(0), Lamport(8), None, at(day));
        assert_eq!((refused.has(&rid(0), at(day)), refused.0.len()), (true, 1));
    }
}
