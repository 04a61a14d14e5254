//! A store on disk on SQLite (feature `sqlite`).
//!
//! What: [`SqlitePersistence`], one file `channels.sqlite` with its write-ahead log. Why SQLite: it survived every
//! power cut too, goes on after a full disk, makes the smallest files, and keeps what it wrote when the process dies
//! even without a sync. How it moves: the tables are in [`engine`], the calls in [`on_disk`](super::on_disk).

mod engine;

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;

use self::engine::SqliteEngine;
use super::encoded::{Write, channel_prefix};
use super::engine_thread::{EngineThread, StoreStatistics};
use super::on_disk::{Options, store_on_disk};
use super::{Capabilities, Durability, Persistence, PersistenceError, PersistenceErrorKind};
use crate::state::{ChannelData, ChannelMeta, Commit, HistoryUpdate};
use crate::types::{ChannelId, MessageId};

store_on_disk! {
    /// Keeps channels in an SQLite database (compiled in, write-ahead log): every [`Durability`], one transaction a
    /// commit.
    ///
    /// Disk use is at most about twice the most that ever lived at once, plus a log of 4 MiB (more while one
    /// transaction is larger). It is locked for one process; with [`open_read_only`](Self::open_read_only) many may
    /// look at once, but after a crash one at a time.
    SqlitePersistence, SqliteEngine, "channels.sqlite", checksummed: true
}
