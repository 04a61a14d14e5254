//! What an engine thread counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// What an engine thread has done since it was started.
///
/// See the [example](crate::store#example).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStatistics {
    /// Writes (commits and drops of channels) made.
    pub writes: u64,
    /// Transactions they took: fewer, when callers shared.
    pub transactions: u64,
    /// Transactions and windows that were synced: none for transactions that were not.
    pub syncs: u64,
    /// Bytes of keys and values handed to the engine in those writes.
    pub bytes: u64,
    /// Times the engine was opened again after a failure.
    pub reopened: u64,
}

/// The same, shared with the thread.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) writes: AtomicU64,
    pub(super) transactions: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) reopened: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> StoreStatistics {
        let Self { writes, transactions, syncs, bytes, reopened } = self;
        StoreStatistics {
            writes: writes.load(Ordering::Relaxed),
            transactions: transactions.load(Ordering::Relaxed),
            syncs: syncs.load(Ordering::Relaxed),
            bytes: bytes.load(Ordering::Relaxed),
            reopened: reopened.load(Ordering::Relaxed),
        }
    }
}
