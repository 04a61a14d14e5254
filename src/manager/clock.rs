//! The clocks: the only place of the library that asks what time it is.
//!
//! What: the [`Clock`] trait and three of them. Why a trait: tests move time by hand, demonstrations run it faster.
//! How it moves: the manager reads a clock once per input, and its timer task sleeps for [`Clock::until`].

#![allow(clippy::disallowed_methods)] // of all files, this one may read the clock

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::types::{RunningTime, WallTime, millis};

/// Tells the manager the time.
///
/// # To ensure correctness
/// Running time never goes back. Wall time may do what it likes.
///
/// See the [example](crate::manager#example).
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time.
    fn wall(&self) -> WallTime;

    /// Monotonic time since an arbitrary start.
    fn running(&self) -> RunningTime;

    /// How long to sleep, in real time, before it is worth looking again whether `deadline` has come.
    fn until(&self, deadline: RunningTime) -> Duration;
}

/// The machine's clocks. Running time follows tokio's, so that a paused runtime pauses the manager too.
///
/// See the [example](crate::manager#example).
#[derive(Clone, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose running time starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> WallTime {
        wall_now()
    }

    fn running(&self) -> RunningTime {
        RunningTime::from_millis(millis(self.start.elapsed()))
    }

    fn until(&self, deadline: RunningTime) -> Duration {
        Duration::from_millis(deadline.as_millis()).saturating_sub(self.start.elapsed())
    }
}

/// The machine's clocks, a whole number of times faster: an hour of a conversation in a minute.
///
/// See the [example](crate::manager#example).
#[derive(Clone, Debug)]
pub struct ScaledClock {
    start: Instant,
    wall_start: WallTime,
    factor: u32,
}

impl ScaledClock {
    /// A clock that runs `factor` times faster than the machine's; 0 counts as 1.
    #[must_use]
    pub fn new(factor: u32) -> Self {
        Self { start: Instant::now(), wall_start: wall_now(), factor: factor.max(1) }
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed().saturating_mul(self.factor)
    }
}

impl Clock for ScaledClock {
    fn wall(&self) -> WallTime {
        WallTime::from_nanos(self.wall_start.as_nanos().saturating_add(nanos(self.elapsed())))
    }

    fn running(&self) -> RunningTime {
        RunningTime::from_millis(millis(self.elapsed()))
    }

    fn until(&self, deadline: RunningTime) -> Duration {
        Duration::from_millis(deadline.as_millis()).saturating_sub(self.elapsed()) / self.factor
    }
}

/// A clock that stands still until it is moved. Clones show the same time.
///
/// See the [example](crate::manager#example).
#[derive(Clone, Debug)]
pub struct ManualClock {
    wall: Arc<AtomicU64>,
    running: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that stands at this wall time and at running time 0.
    #[must_use]
    pub fn new(wall: WallTime) -> Self {
        Self { wall: Arc::new(AtomicU64::new(wall.as_nanos())), running: Arc::default() }
    }

    /// Moves both times forward. A running timer task notices within 10 ms of real time.
    pub fn advance(&self, by: Duration) {
        self.wall.fetch_add(nanos(by), Ordering::SeqCst);
        self.running.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// Sets the wall clock, as an operator or a time server does.
    pub fn set_wall(&self, wall: WallTime) {
        self.wall.store(wall.as_nanos(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> WallTime {
        WallTime::from_nanos(self.wall.load(Ordering::SeqCst))
    }

    fn running(&self) -> RunningTime {
        RunningTime::from_millis(self.running.load(Ordering::SeqCst))
    }

    fn until(&self, deadline: RunningTime) -> Duration {
        deadline.since(self.running()).min(Duration::from_millis(10))
    }
}

fn wall_now() -> WallTime {
    WallTime::from_nanos(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
