//! The default store on disk, on the `redb` engine.
//!
//! What: [`RedbPersistence`], one file `channels.redb` in a directory of its own. Why redb: in power cuts and
//! kills it lost nothing, it is loud about damage, and it is one dependency without C. How it moves: the tables are in
//! [`engine`], the calls in [`on_disk`](super::on_disk).

mod engine;
mod overlay;

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;

use self::engine::RedbEngine;
use super::encoded::{Write, channel_prefix};
use super::engine_thread::{EngineThread, StoreStatistics};
use super::on_disk::{Options, store_on_disk};
use super::{Capabilities, Durability, Persistence, PersistenceError, PersistenceErrorKind};
use crate::state::{ChannelData, ChannelMeta, Commit, HistoryUpdate};
use crate::types::{ChannelId, MessageId};

store_on_disk! {
    /// Keeps channels in a redb database: [`Durability::Immediate`] and [`Durability::Batched`], one transaction a
    /// commit.
    ///
    /// Disk use is at most about four times live data plus 4 MiB: pages are copied on write and freed by later commits.
    /// Many may look at once with [`open_read_only`](Self::open_read_only); but repairs that a crash left to be made
    /// are made in memory, by one at a time.
    RedbPersistence, RedbEngine, "channels.redb", checksummed: true
}
