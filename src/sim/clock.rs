//! A participant's clocks: the wall clock drifts and jumps, the running clock does neither.

use crate::executor::Moment;
use crate::types::{RunningTime, WallTime};

/// Wall time at which every world begins, in milliseconds.
pub const EPOCH_MS: u64 = 1_700_000_000_000;

/// The clocks of one machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// How far the wall clock is off, in milliseconds.
    pub offset_ms: i64,
    /// How fast it goes wrong, in milliseconds per million.
    pub drift_ppm: i64,
    /// Virtual time at which its running clock began.
    pub(super) began_ms: u64,
}

impl Clock {
    /// Wall time at this virtual time, in milliseconds.
    #[must_use]
    pub fn wall_ms(&self, now_ms: u64) -> u64 {
        let true_ms = i64::try_from(EPOCH_MS + now_ms).unwrap_or(i64::MAX);
        let drifted = i64::try_from(now_ms).unwrap_or(i64::MAX).saturating_mul(self.drift_ppm) / 1_000_000;
        u64::try_from(true_ms.saturating_add(drifted).saturating_add(self.offset_ms)).unwrap_or(0)
    }

    pub(super) fn moment(&self, now_ms: u64) -> Moment {
        Moment {
            wall: WallTime::from_millis(self.wall_ms(now_ms)),
            running: RunningTime::from_millis(now_ms.saturating_sub(self.began_ms)),
        }
    }

    /// The virtual time of a running time.
    pub(super) fn virtual_ms(&self, running: RunningTime) -> u64 {
        self.began_ms.saturating_add(running.as_millis())
    }
}
