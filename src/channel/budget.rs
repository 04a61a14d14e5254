//! What looking into the filters of others may cost (docs/protocol.md section 7).
//!
//! A filter of a few bytes may be tested against ten thousand open messages, and hit all of them. So each message has an
//! allowance by its size, and all of them together one a second, of which nobody has more than a quarter. What is not
//! tested now is tested first with a later filter.

use std::time::Duration;

use crate::types::{ParticipantId, RunningTime};

/// Tests that every filter may cause.
const PER_FILTER: u64 = 512;
/// And for each of its bytes.
const PER_BYTE: u64 = 64;
/// But no more than these: they are one step.
const MOST: u64 = 1 << 16;
/// Tests that all filters of a second may cause: about a hundredth of the time there is.
const PER_SECOND: u64 = 1 << 20;
/// Changes of evidence that every filter may cause, and one more for each of its bytes: it holds no more ids than that.
const CHANGES: u64 = 64;
/// Senders whose share of a second is counted apart; all others have one share together.
const MAX_SENDERS: usize = 64;

/// What one filter may cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    /// Units of testing; one test takes as many as the filter says.
    pub(super) tests: u64,
    /// Hits that are believed, and beliefs that are taken back.
    pub(super) changes: u64,
}

/// What was spent in the present second.
#[derive(Debug, Default)]
pub(super) struct Budget {
    since: RunningTime,
    spent: u64,
    senders: Vec<(ParticipantId, u64)>,
    others: u64,
}

impl Budget {
    /// What a filter of so many bytes may cause now.
    pub(super) fn allow(&mut self, sender: &ParticipantId, bytes: usize, now: RunningTime) -> Allowance {
        if now.since(self.since) >= Duration::from_secs(1) {
            *self = Self { since: now, ..Self::default() };
        }
        let bytes = bytes as u64;
        let share = (PER_SECOND / 4).saturating_sub(*self.share(sender));
        let left = share.min(PER_SECOND.saturating_sub(self.spent));
        Allowance { tests: left.min(PER_FILTER + PER_BYTE * bytes).min(MOST), changes: CHANGES + bytes }
    }

    pub(super) fn spend(&mut self, sender: &ParticipantId, tests: u64) {
        self.spent += tests;
        *self.share(sender) += tests;
    }

    fn share(&mut self, sender: &ParticipantId) -> &mut u64 {
        let at = self.senders.iter().position(|(name, _)| name == sender);
        let at = at.or_else(|| {
            let room = self.senders.len() < MAX_SENDERS;
            room.then(|| self.senders.push((sender.clone(), 0))).map(|()| self.senders.len() - 1)
        });
        match at {
            Some(at) => &mut self.senders[at].1,
            None => &mut self.others,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u64) -> ParticipantId {
        ParticipantId::new(n.to_string())
    }

    #[test]
    fn a_filter_may_cause_tests_by_its_size() {
        let (mut budget, now) = (Budget::default(), RunningTime::from_millis(5));
        assert_eq!(budget.allow(&name(1), 1, now), Allowance { tests: 512 + 64, changes: 65 });
        assert_eq!(budget.allow(&name(1), 300, now), Allowance { tests: 512 + 19_200, changes: 364 });
        assert_eq!(budget.allow(&name(1), 60_000, now).tests, 65_536, "one step");
    }

    #[test]
    fn a_sender_has_a_quarter_of_a_second_and_all_of_them_the_whole() {
        let (mut budget, now) = (Budget::default(), RunningTime::from_millis(5));
        for sender in 0..4 {
            assert_eq!(budget.allow(&name(sender), 60_000, now).tests, 65_536);
            budget.spend(&name(sender), 262_143);
            assert_eq!(budget.allow(&name(sender), 60_000, now).tests, 1);
        }
        assert_eq!(budget.allow(&name(9), 60_000, now).tests, 4, "the others spent the rest");
        let later = RunningTime::from_millis(1_005);
        assert_eq!(budget.allow(&name(1), 60_000, later).tests, 65_536);
    }

    #[test]
    fn many_names_have_no_more_than_a_few() {
        let (mut budget, now) = (Budget::default(), RunningTime::from_millis(5));
        for sender in 0..10_000 {
            budget.allow(&name(sender), 1, now);
            assert!(budget.senders.len() <= MAX_SENDERS);
        }
        budget.spend(&name(5_000), 262_144);
        assert_eq!(budget.allow(&name(9_999), 1, now).tests, 0, "they share one account");
        assert_eq!(budget.allow(&name(1), 1, now).tests, 576);
    }
}
