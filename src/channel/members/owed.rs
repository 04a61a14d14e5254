//! When a member owes the others a digest (docs/protocol.md section 15.3).
//!
//! Others' traffic keeps most members from sending any sync message. So whoever holds something that its last digest does
//! not cover sends one after a time that nothing cancels, and again, ever more rarely, until all know that all have it.

use std::time::Duration;

use crate::types::{Lamport, RunningTime, millis};

/// A digest is owed so long after something came that the last one does not cover; and so long a member.
const WAIT: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(1));
/// The longest wait between two.
const MAX_WAIT: Duration = Duration::from_secs(15 * 60);

/// The next digest.
#[derive(Debug, Default)]
pub(in crate::channel) struct Owed {
    /// The last one spoke of what lies at or below.
    covered: Lamport,
    due: Option<RunningTime>,
    wait: Duration,
}

impl Owed {
    /// A message is here, or was sent.
    pub(in crate::channel) fn entered(&mut self, lamport: Lamport, members: usize, now: RunningTime, random: u64) {
        let wait = first_wait(members);
        if lamport > self.covered && self.due.is_none_or(|due| due > now.after(wait)) {
            self.wait = wait;
            self.due = Some(now.after(spread(wait, random)));
        }
    }

    /// A digest went out that speaks of what lies at or below `upper`, of a log up to `newest`.
    pub(in crate::channel) fn sent(
        &mut self,
        (upper, newest): (Lamport, Lamport),
        members: usize,
        now: RunningTime,
        random: u64,
    ) {
        self.covered = self.covered.max(upper);
        let again = newest <= self.covered;
        let longer = if again { self.wait.saturating_mul(2).min(MAX_WAIT) } else { Duration::ZERO };
        self.wait = longer.max(first_wait(members));
        self.due = Some(now.after(spread(self.wait, random)));
    }

    /// There was nothing to say yet, and perhaps never will be.
    pub(in crate::channel) fn put_off(&mut self, now: RunningTime) {
        if self.is_due(now) {
            self.wait = self.wait.saturating_mul(2).min(MAX_WAIT);
            self.due = Some(now.after(self.wait.max(Duration::from_secs(1))));
        }
    }

    /// All know that all have everything.
    pub(in crate::channel) fn end(&mut self) {
        self.due = None;
    }

    /// The next sync message is to have a digest.
    pub(in crate::channel) fn is_owed(&self) -> bool {
        self.due.is_some()
    }

    pub(in crate::channel) fn is_due(&self, now: RunningTime) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    pub(in crate::channel) fn next_due(&self) -> Option<RunningTime> {
        self.due
    }
}

fn first_wait(members: usize) -> Duration {
    WAIT.0.max(WAIT.1.saturating_mul(u32::try_from(members).unwrap_or(u32::MAX)))
}

/// Three quarters of a wait to all of it.
fn spread(wait: Duration, random: u64) -> Duration {
    let quarter = millis(wait) / 4;
    wait.saturating_sub(Duration::from_millis(random % (quarter + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_that_covers_all_is_repeated_ever_more_rarely_also_where_nothing_came_before_it() {
        let (mut owed, mut now, mut waits) = (Owed::default(), RunningTime::from_millis(5), Vec::new());
        for _ in 0..6 {
            owed.sent((Lamport(9), Lamport(9)), 2, now, 0);
            let due = owed.next_due().unwrap();
            waits.push(due.since(now).as_secs());
            now = due;
        }
        assert_eq!(waits, [60, 120, 240, 480, 900, 900]);
        owed.sent((Lamport(9), Lamport(10)), 2, now, 0);
        assert_eq!(owed.next_due(), Some(now.after(Duration::from_secs(60))), "what came since is owed as at first");
    }
}
