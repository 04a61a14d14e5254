//! How much one step may do (docs/protocol.md section 11).
//!
//! One message may set ten thousand others free, and messages may wait for each other in a million ways. What is over a
//! slice waits for the next input, or for a timeout a millisecond later, so that a step takes a few milliseconds.

use std::time::Duration;

use crate::types::RunningTime;

/// Units of a step; one is about a dependency struck off.
const UNITS: u64 = 8_000;
/// Units of a delivery, its dependencies apart.
pub(super) const DELIVERY: u64 = 8;
/// Before what is left is gone on with.
pub(super) const PAUSE: Duration = Duration::from_millis(1);

/// What is left of the present step.
#[derive(Debug)]
pub(super) struct Slice {
    left: u64,
    /// When to go on with what the last steps left.
    at: Option<RunningTime>,
}

impl Default for Slice {
    fn default() -> Self {
        Self { left: UNITS, at: None }
    }
}

impl Slice {
    /// A new step.
    pub(super) fn begin(&mut self) {
        self.left = UNITS;
    }

    /// All that was left is looked at now.
    pub(super) fn go_on(&mut self) {
        self.at = None;
    }

    pub(super) fn spend(&mut self, units: u64) {
        self.left = self.left.saturating_sub(units);
    }

    /// Whether this step may do more.
    pub(super) fn is_open(&self) -> bool {
        self.left > 0
    }

    /// Something is left for a later step.
    pub(super) fn leave(&mut self, now: RunningTime) {
        self.at.get_or_insert(now.after(PAUSE));
    }

    pub(super) fn next_due(&self) -> Option<RunningTime> {
        self.at
    }
}
