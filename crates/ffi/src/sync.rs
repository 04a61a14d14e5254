//! Locks, in one place: `tests/models.rs` builds `handles.rs`, `queue.rs`, `events.rs` and `rc/polled.rs` with those of a model checker
//! instead.

use std::time::Duration;

pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The guard. What is under a lock of this package is whole at every step, so a panic under it has harmed nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits while it is quiet, during this time at most.
pub(crate) fn wait_within<'a, T>(
    changed: &Condvar,
    guard: MutexGuard<'a, T>,
    time: Duration,
    quiet: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    changed.wait_timeout_while(guard, time, quiet).unwrap_or_else(PoisonError::into_inner).0
}
