//! How much memory all channels together take: sums of log, of parked bytes, and of what is queued, with a bound each.
//!
//! 10,000 channels of 32 MiB would be 320 GB. Every input's growth is added; when a sum is over its bound, the channel that
//! grew gives the excess up, but keeps an equal share. If it has no more than that, a pass over all channels takes from
//! those that have, until an eighth of the bound is free, so that passes are rare.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::channel::{Input, Stats};

/// Bytes that steps and callbacks of all channels together may keep while they wait.
const MAX_QUEUED: u64 = 256 << 20;

/// Bytes that may wait to be kept by archives.
const MAX_ARCHIVE: u64 = 64 << 20;

/// Bytes one channel takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Of the log, and of what is remembered besides it.
    pub log: u64,
    /// Of parked messages.
    pub parked: u64,
}

impl From<Stats> for Footprint {
    fn from(stats: Stats) -> Self {
        Self { log: (stats.log_bytes + stats.remembered_bytes) as u64, parked: stats.parked_bytes as u64 }
    }
}

/// The sums and their bounds.
#[derive(Debug)]
pub struct Memory {
    log: Sum,
    parked: Sum,
    queued: Sum,
    archive: Sum,
    channels: AtomicUsize,
}

impl Memory {
    pub(super) fn new(max_log: u64, max_parked: u64) -> Self {
        Self {
            log: Sum::new(max_log),
            parked: Sum::new(max_parked),
            queued: Sum::new(MAX_QUEUED),
            archive: Sum::new(MAX_ARCHIVE),
            channels: AtomicUsize::new(0),
        }
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

    /// What waits to be kept by an archive changes, in bytes.
    pub(super) fn archive_changes(&self, from: usize, to: usize) {
        self.archive.change(from as u64, to as u64);
    }

    /// Whether no more may wait to be kept by an archive.
    pub(super) fn is_archive_full(&self) -> bool {
        self.archive.excess(self.archive.max) > 0
    }

    /// Whether what is queued in all channels exceeds its bound: channels that have something queued take no more.
    pub(super) fn is_queue_full(&self) -> bool {
        self.queued.excess(self.queued.max) > 0
    }

    /// Whether something must be given up.
    pub(crate) fn is_over(&self) -> bool {
        self.log.excess(self.log.max) > 0 || self.parked.excess(self.parked.max) > 0
    }

    /// What a channel that takes this much is asked to give up: what exceeds an equal share of the bounds, less an eighth.
    pub(crate) fn relief(&self, footprint: Footprint) -> Option<Input> {
        let channels = self.channels.load(Ordering::Relaxed).max(1) as u64;
        let (log, parked) = (self.log.target() / channels, self.parked.target() / channels);
        (footprint.log > log || footprint.parked > parked)
            .then(|| Input::Shrink { log_bytes: to_usize(log), parked_bytes: to_usize(parked) })
    }

    /// Whether an eighth is free again.
    pub(crate) fn is_relieved(&self) -> bool {
        self.log.excess(self.log.target()) == 0 && self.parked.excess(self.parked.target()) == 0
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

/// What one channel has queued, counted into the sum.
#[derive(Debug, Default)]
pub(super) struct Queued {
    bytes: u64,
    memory: Option<Arc<Memory>>,
}

impl Queued {
    pub(super) fn set(&mut self, memory: &Arc<Memory>, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes as u64);
        if before != self.bytes {
            memory.queued.change(before, self.bytes);
            self.memory.get_or_insert_with(|| memory.clone());
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        if let Some(memory) = &self.memory {
            memory.queued.change(self.bytes, 0);
        }
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

    fn excess(&self, over: u64) -> u64 {
        self.now.load(Ordering::Relaxed).saturating_sub(over)
    }

    fn target(&self) -> u64 {
        self.max - self.max / 8
    }

    fn bound(&self, from: u64, to: u64, channels: u64) -> Option<u64> {
        let excess = self.excess(self.max);
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
