//! Locks, in one place: `tests/models.rs` builds `handles.rs` and `events.rs` with those of a model checker instead.

pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
