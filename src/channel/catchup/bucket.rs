//! How much is done for others' catch-up: a budget that fills with time.

use crate::types::{RunningTime, millis};

/// A budget of units, full at first.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: u64,
    most: u64,
    /// Thousandths of units.
    left: u64,
    at: RunningTime,
}

impl Bucket {
    pub(super) fn new(per_second: u64, most: u64, now: RunningTime) -> Self {
        Self { per_second, most, left: most.saturating_mul(1_000), at: now }
    }

    /// What may be spent now.
    pub(super) fn left(&mut self, now: RunningTime) -> u64 {
        let gained = millis(now.since(self.at)).saturating_mul(self.per_second);
        self.left = self.left.saturating_add(gained).min(self.most.saturating_mul(1_000));
        self.at = self.at.max(now);
        self.left / 1_000
    }

    /// Spends units; no more than are left.
    pub(super) fn spend(&mut self, units: u64) {
        self.left = self.left.saturating_sub(units.saturating_mul(1_000));
    }

    /// Spends one unit, if there is one.
    pub(super) fn take(&mut self, now: RunningTime) -> bool {
        let some = self.left(now) > 0;
        if some {
            self.spend(1);
        }
        some
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_what_it_holds_and_then_what_comes_in() {
        let at = RunningTime::from_millis;
        let mut bucket = Bucket::new(2, 3, at(0));
        assert_eq!((0..9).filter(|_| bucket.take(at(0))).count(), 3);
        assert!(!bucket.take(at(499)));
        assert!(bucket.take(at(500)));
        assert_eq!((0..9).filter(|_| bucket.take(at(60_000))).count(), 3, "no more than it holds");
    }
}
