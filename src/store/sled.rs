//! A store on disk on the `sled` engine, hardened (feature `sled`).
//!
//! What: [`SledPersistence`], a directory `channels.sled` and a lock beside it. Why sled: it was asked for. Why
//! hardened: sled 0.34 never syncs on Linux, and a kill while it opens can leave a file that blocks every later open.
//! How it moves: the tree is in [`engine`], files and their order in [`files`], the calls in
//! [`on_disk`](super::on_disk).

mod chunks;
mod engine;
mod files;

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;

use self::engine::SledEngine;
use super::encoded::{Write, channel_prefix};
use super::engine_thread::{EngineThread, StoreStatistics};
use super::on_disk::{Options, store_on_disk};
use super::{Capabilities, Durability, Persistence, PersistenceError, PersistenceErrorKind};
use crate::state::{ChannelData, ChannelMeta, Commit, HistoryUpdate};
use crate::types::{ChannelId, MessageId};

store_on_disk! {
    /// Keeps channels in a sled database: [`Durability::Immediate`] and [`Durability::Batched`], one sled `Batch` a
    /// commit.
    ///
    /// Every sync is our own, and values over 64 KiB are kept in parts, for sled keeps larger ones in files that it
    /// never syncs. Choose another store where power cuts are to be expected: see docs/persistence.md for what sled
    /// survives. [`open_read_only`](Self::open_read_only) looks at a copy in the temporary directory: sled writes when
    /// it opens.
    ///
    /// Damage within a value is noticed, damage of sled's log is not always: sled cuts its log at the first entry that
    /// it cannot read, and what came after is gone without an error. So it does not declare
    /// [`checksummed`](Capabilities::checksummed).
    SledPersistence, SledEngine, "channels.sled", checksummed: false
}
