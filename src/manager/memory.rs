//! How much memory all channels of a manager take together.
//!
//! What: two sums, of log and of parked bytes, with a bound each. Why: 10,000 channels of 8 MiB would be 80 GB. How it
//! moves: every input's growth is added; when a sum is over its bound, the channel that grew gives the excess up, but
//! keeps at least an equal share. So the sums stay below twice their bounds, whoever grows.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::channel::Stats;

/// Bytes one channel takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Footprint {
    pub(super) log: u64,
    pub(super) parked: u64,
}

impl From<Stats> for Footprint {
    fn from(stats: Stats) -> Self {
        Self { log: stats.log_bytes as u64, parked: stats.parked_bytes as u64 }
    }
}

/// The sums and their bounds.
#[derive(Debug)]
pub(super) struct Memory {
    log: Sum,
    parked: Sum,
    channels: AtomicUsize,
}

impl Memory {
    pub(super) fn new(max_log: u64, max_parked: u64) -> Self {
        Self { log: Sum::new(max_log), parked: Sum::new(max_parked), channels: AtomicUsize::new(0) }
    }

    /// Counts a channel that takes no memory yet.
    pub(super) fn enter(&self) {
        self.channels.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a channel out.
    pub(super) fn leave(&self, footprint: Footprint) {
        self.channels.fetch_sub(1, Ordering::Relaxed);
        self.change(footprint, Footprint::default());
    }

    pub(super) fn change(&self, from: Footprint, to: Footprint) {
        self.log.change(from.log, to.log);
        self.parked.change(from.parked, to.parked);
    }

    /// To what a channel that grew must shrink, where it must: log and parked bytes.
    pub(super) fn excess(&self, from: Footprint, to: Footprint) -> Option<(usize, usize)> {
        let channels = self.channels.load(Ordering::Relaxed).max(1) as u64;
        let log = self.log.bound(from.log, to.log, channels);
        let parked = self.parked.bound(from.parked, to.parked, channels);
        (log.is_some() || parked.is_some())
            .then(|| (log.map_or(usize::MAX, to_usize), parked.map_or(usize::MAX, to_usize)))
    }
}

#[derive(Debug)]
struct Sum {
    now: AtomicU64,
    max: u64,
}

impl Sum {
    fn new(max: u64) -> Self {
        Self { now: AtomicU64::new(0), max }
    }

    fn change(&self, from: u64, to: u64) {
        if to >= from {
            self.now.fetch_add(to - from, Ordering::Relaxed);
        } else {
            self.now.fetch_sub(from - to, Ordering::Relaxed);
        }
    }

    fn bound(&self, from: u64, to: u64, channels: u64) -> Option<u64> {
        let excess = self.now.load(Ordering::Relaxed).saturating_sub(self.max);
        let bound = to.saturating_sub(excess).max(self.max / channels);
        (excess > 0 && to > from && bound < to).then_some(bound)
    }
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_grows_over_the_bound_gives_the_excess_but_keeps_its_share() {
        let memory = Memory::new(1_000, 1_000);
        for _ in 0..4 {
            memory.enter();
        }
        let hog = Footprint { log: 900, parked: 0 };
        memory.change(Footprint::default(), hog);
        assert_eq!(memory.excess(Footprint::default(), hog), None);

        let small = Footprint { log: 200, parked: 0 };
        memory.change(Footprint::default(), small);
        assert_eq!(memory.excess(Footprint::default(), small), None, "below its share of 250");

        let grown = Footprint { log: 1_000, parked: 0 };
        memory.change(hog, grown);
        assert_eq!(memory.excess(hog, grown), Some((800, usize::MAX)));

        memory.leave(grown);
        memory.leave(small);
        assert_eq!(memory.log.now.load(Ordering::Relaxed), 0);
    }
}
