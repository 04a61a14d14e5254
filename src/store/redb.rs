//! The default store on disk, on the `redb` engine.
//!
//! What: [`RedbPersistence`], one file `channels.redb` in a directory of its own. Why redb: in power cuts and
//! kills it lost nothing, it is loud about damage, and it is one dependency without C. How it moves: each call is
//! encoded here and sent to the [engine thread](super::engine_thread), whose transactions many calls share.

mod engine;
mod overlay;

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;

use self::engine::{Options, RedbEngine};
use super::encoded::{MAX_VALUE_BYTES, Write, channel_prefix};
use super::engine_thread::{EngineThread, StoreStatistics};
use super::{Capabilities, Durability, Persistence, PersistenceError};
use crate::state::{ChannelData, ChannelMeta, Commit, HistoryUpdate};
use crate::types::{ChannelId, MessageId};

/// The store's file within its directory.
const FILE: &str = "channels.redb";

/// Keeps channels in a redb database ([`Durability::Immediate`], one transaction a commit).
///
/// Dropping it does what is queued and waits for that; [`close`](Self::close) does so without blocking a task.
/// Disk use is at most about four times live data plus 4 MiB: pages are copied on write and freed by later commits.
#[derive(Debug)]
pub struct RedbPersistence {
    thread: EngineThread,
    read_only: bool,
}

impl RedbPersistence {
    /// Opens the store in this directory, creating both where they are not there. Blocks while it does; after a
    /// crash that can take as long as reading the file.
    ///
    /// # Errors
    /// `Locked` when somebody else has it open, `UnknownVersion` when a newer version of this library wrote it
    /// (it is left as it is), `Corrupt` when it is no such store, `Io` and `StorageFull` from the medium.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, PersistenceError> {
        Self::start(dir.as_ref(), false)
    }

    /// Opens the store in this directory for looking only: nothing is written or created, and all calls that
    /// would write say `Unsupported`. Many may look at once; but repairs that a
    /// crash left to be made are made in memory, by one at a time.
    ///
    /// # Errors
    /// As [`open`](Self::open); `Io` when nothing is there.
    pub fn open_read_only(dir: impl AsRef<Path>) -> Result<Self, PersistenceError> {
        Self::start(dir.as_ref(), true)
    }

    fn start(dir: &Path, read_only: bool) -> Result<Self, PersistenceError> {
        let options = Options { file: dir.join(FILE), read_only };
        Ok(Self { thread: EngineThread::start::<RedbEngine>("channels.redb", options)?, read_only })
    }

    /// Does what is queued, frees the file and ends the thread. Later calls say `Closed`; closing again is fine.
    ///
    /// # Errors
    /// What kept the file from being closed cleanly. Everything acknowledged is safe all the same.
    pub async fn close(&self) -> Result<(), PersistenceError> {
        self.thread.close().await
    }

    /// What was done since the store was opened.
    #[must_use]
    pub fn statistics(&self) -> StoreStatistics {
        self.thread.statistics()
    }
}

#[async_trait]
impl Persistence for RedbPersistence {
    async fn save_channel_meta(&self, channel: &ChannelId, meta: &ChannelMeta) -> Result<(), PersistenceError> {
        self.thread.write("save_channel_meta", channel, Write::meta_alone(channel, meta)).await
    }

    async fn update_history(&self, channel: &ChannelId, update: &HistoryUpdate) -> Result<(), PersistenceError> {
        self.thread.write("update_history", channel, Write::history_alone(channel, update)).await
    }

    async fn load_channel(&self, channel: &ChannelId) -> Result<ChannelData, PersistenceError> {
        let fail = |kind| PersistenceError::new("load_channel", Some(channel), kind);
        let prefix = channel_prefix(channel).map_err(fail)?;
        self.thread.load("load_channel", channel, prefix).await?.decode(channel).map_err(fail)
    }

    async fn drop_channel(&self, channel: &ChannelId) -> Result<(), PersistenceError> {
        self.thread.write("drop_channel", channel, Write::drop_channel(channel)).await
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
        Capabilities {
            atomic: true,
            durability: (!self.read_only).then_some(Durability::Immediate),
            checksummed: true,
            max_value_bytes: Some(MAX_VALUE_BYTES),
        }
    }
}
