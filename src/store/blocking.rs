//! A database as a store: bytes under keys, in calls that block. For whoever has a database and wants channels in it.
//!
//! [`BlockingStore`] is what a database does: it makes writes, gives a channel's values back, and lists channels. It never
//! sees what a value means. [`BlockingPersistence`] makes a [`Persistence`] of it: on a thread of its own, where writes
//! that wait at the same time share a transaction and its sync, values are encoded and checked, and a database that
//! failed is opened again. The stores on disk of this library are such stores; `examples/custom_backend.rs` is another.

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;

pub use super::encoded::{
    Change, Raw, SCAN_BYTES, Scan, Scanned, Table, Write, above, channel_of_key, channels_by_seeking,
};
use super::encoded::{MAX_VALUE_BYTES, channel_prefix};
pub use super::engine_thread::Failure;
use super::engine_thread::{EngineThread, StoreStatistics};
use super::{Capabilities, Durability, Persistence, PersistenceError, PersistenceErrorKind};
use crate::state::{ChannelData, ChannelMeta, Commit, HistoryUpdate};
use crate::types::{ChannelId, MessageId};

/// A database that blocks, owned by one thread. Panics are failures that make it unusable.
///
/// # To ensure correctness
/// What [`apply`](Self::apply) made is there after a crash, as [`Durability`] says, and writes are never there in part.
/// Whoever opens the database a second time is to be refused with `Locked`; a store that cannot says so in its
/// capabilities (`exclusive`). See `examples/custom_backend.rs`.
pub trait BlockingStore: Sized + Send + 'static {
    /// What it takes to open it, again and again.
    type Options: Send + 'static;

    /// Opens it.
    ///
    /// # Errors
    /// [`PersistenceErrorKind::Locked`] when somebody else has it; this is tried again for a quarter of a second.
    fn open(options: &Self::Options) -> Result<Self, Failure>;

    /// Opens it after it was dropped: unlike at the first time, a store that is not there is an error, for to make an
    /// empty one in its place would lose everything silently.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    fn reopen(options: &Self::Options) -> Result<Self, Failure> {
        Self::open(options)
    }

    /// What it takes to open a store of this kind in another directory, whose writes are durable after a sync; `None`,
    /// as provided, where that cannot be, and then it cannot be backed up this way.
    fn elsewhere(options: &Self::Options, dir: &Path) -> Option<Self::Options> {
        let _ = (options, dir);
        None
    }

    /// Whether it can keep such a promise. Provided: all but [`Durability::OsBuffered`].
    fn keeps(durability: Durability) -> bool {
        matches!(durability, Durability::Immediate | Durability::Batched { .. })
    }

    /// What it promises, opened with this durability. Provided: all that [`Capabilities`] has.
    fn capabilities(durability: Durability) -> Capabilities {
        Capabilities { durability: Some(durability), ..Capabilities::blocking() }
    }

    /// Makes these writes in order, each whole or not at all and none without those before it; as durable on return as
    /// its options say, where with [`Durability::Batched`] that is not yet.
    ///
    /// # Errors
    /// What kept it from being so. [`Failure::unusable`] where it must be opened again first.
    fn apply(&mut self, writes: &[Write]) -> Result<(), Failure>;

    /// Everything under a channel's prefix but its archive, of one moment, in the order of keys.
    ///
    /// # Errors
    /// Where not everything can be given.
    fn load(&mut self, prefix: &[u8]) -> Result<Raw, Failure>;

    /// A range of [`Table::Archive`]: as many values as are wanted, or fewer where they have more than [`SCAN_BYTES`]; at
    /// least one where there is one. Provided: that it keeps no archive.
    ///
    /// # Errors
    /// Where it cannot be read; `Unsupported` where there can be none.
    fn scan(&mut self, scan: &Scan) -> Result<Scanned, Failure> {
        let _ = scan;
        Err(Failure::new(PersistenceErrorKind::Unsupported))
    }

    /// The channels that have anything, in id order.
    ///
    /// # Errors
    /// Where not all can be given.
    fn list(&mut self) -> Result<Vec<ChannelId>, Failure>;

    /// Returns when everything applied is on stable storage. Provided: at once.
    ///
    /// # Errors
    /// Where something may not be.
    fn sync(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// A [`BlockingStore`] as a [`Persistence`], on a thread of its own. See `examples/custom_backend.rs`.
///
/// Dropping it does what is queued and waits for that.
#[derive(Debug)]
pub struct BlockingPersistence {
    thread: EngineThread,
    capabilities: Capabilities,
}

impl BlockingPersistence {
    /// Opens a store and starts its thread, which has this name. Blocks while it does. The durability is what the store is asked
    /// to promise ([`BlockingStore::capabilities`]); how durable a write is, its own options say.
    ///
    /// # Errors
    /// As [`BlockingStore::open`]; `Unsupported` when it cannot keep this durability.
    pub fn open<S: BlockingStore>(
        name: &str,
        durability: Durability,
        options: S::Options,
    ) -> Result<Self, PersistenceError> {
        let capabilities =
            Capabilities { checksummed: true, max_value_bytes: Some(MAX_VALUE_BYTES), ..S::capabilities(durability) };
        Ok(Self { thread: EngineThread::start::<S>(name, durability, options)?, capabilities })
    }
}

impl Capabilities {
    /// What a store on an engine thread promises but for its durability.
    pub(super) fn blocking() -> Self {
        Self {
            atomic: true,
            durability: None,
            checksummed: true,
            exclusive: true,
            max_value_bytes: Some(MAX_VALUE_BYTES),
        }
    }
}

/// What a store with an engine thread and a durability has of [`Persistence`].
macro_rules! persistence_on_thread {
    ($name:ident) => {
        impl $name {
            /// Does what is queued, frees the files and ends the thread. Later calls say `Closed`; closing again is
            /// fine.
            ///
            /// # Errors
            /// What kept the store from being closed cleanly. What was acknowledged is as safe as its durability says.
            pub async fn close(&self) -> Result<(), PersistenceError> {
                self.thread.close().await
            }

            /// Copies the store, while it is open and written to, to a new one in the directory `to`, which must not be
            /// there. The copy has all that was acknowledged before this call, and of what came meanwhile nothing that
            /// came after something that it has not; of an archive also what is put before its end is copied. It is
            /// synced when this returns, and for its owner alone; until it is whole it is in `to` with `.partial` behind
            /// the name. Calls in between wait for a channel or two to be copied, one behind a drop for an archive. A
            /// caller that stops waiting does not end it; closing or dropping the store waits for it.
            ///
            /// # Errors
            /// `Io` when `to` or `to.partial` is there already; else what kept the store from being read, or the copy
            /// from being written. Then nothing is left but perhaps `to.partial`.
            pub async fn backup(&self, to: impl AsRef<Path> + Send) -> Result<(), PersistenceError> {
                self.thread.backup("backup", to.as_ref()).await
            }

            /// What was done since the store was opened.
            #[must_use]
            pub fn statistics(&self) -> StoreStatistics {
                self.thread.statistics()
            }
        }

        #[async_trait]
        impl Persistence for $name {
            async fn save_channel_meta(&self, channel: &ChannelId, meta: &ChannelMeta) -> Result<(), PersistenceError> {
                self.thread.write("save_channel_meta", channel, Write::meta_alone(channel, meta)).await
            }

            async fn update_history(
                &self,
                channel: &ChannelId,
                update: &HistoryUpdate,
            ) -> Result<(), PersistenceError> {
                self.thread.write("update_history", channel, Write::history_alone(channel, update)).await
            }

            async fn load_channel(&self, channel: &ChannelId) -> Result<ChannelData, PersistenceError> {
                let fail = |kind| PersistenceError::new("load_channel", Some(channel), kind);
                let prefix = channel_prefix(channel).map_err(fail)?;
                self.thread.load("load_channel", channel, prefix).await?.decode(channel).map_err(fail)
            }

            async fn drop_channel(&self, channel: &ChannelId) -> Result<(), PersistenceError> {
                self.thread.write("drop_channel", channel, Write::drop_channel(channel)).await?;
                match self.capabilities.durability {
                    Some(Durability::Immediate) => Ok(()),
                    _ => self.thread.flush("drop_channel").await,
                }
            }

            async fn set_retrieval_hint(
                &self,
                channel: &ChannelId,
                id: &MessageId,
                hint: &Bytes,
            ) -> Result<(), PersistenceError> {
                self.thread.write("set_retrieval_hint", channel, Write::hint_alone(channel, id, hint)).await
            }

            async fn commit(&self, channel: &ChannelId, commit: &Commit) -> Result<(), PersistenceError> {
                self.thread.write("commit", channel, Write::commit(channel, commit)).await
            }

            async fn flush(&self) -> Result<(), PersistenceError> {
                self.thread.flush("flush").await
            }

            async fn list_channels(&self) -> Result<Vec<ChannelId>, PersistenceError> {
                self.thread.list("list_channels").await
            }

            fn capabilities(&self) -> Capabilities {
                self.capabilities.clone()
            }
        }

        $crate::store::archive::on_thread::archive_on_thread!($name);
    };
}
#[cfg(any(feature = "redb", feature = "sled", feature = "sqlite"))]
pub(super) use persistence_on_thread;

persistence_on_thread!(BlockingPersistence);
