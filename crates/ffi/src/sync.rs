//! Locks, in one place: `tests/models.rs` builds `handles.rs`, `events.rs` and `rc/polled.rs` with those of a model checker
//! instead.

use std::time::Duration;

pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Waits while it is quiet, during this time at most.
pub(crate) fn wait_within<'a, T>(
    changed: &Condvar,
    guard: MutexGuard<'a, T>,
    time: Duration,
    quiet: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    changed.wait_timeout_while(guard, time, quiet).unwrap_or_else(PoisonError::into_inner).0
}
