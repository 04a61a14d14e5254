//! Where channels are saved: the five-method trait [`Persistence`] and its bundled implementations.
//!
//! What: a store keeps [`ChannelMeta`], [`Row`](crate::state::Row)s and retrieval hints per channel. Why a trait: an application
//! that already has a database should be able to use it, in an hour. How it moves: the manager calls
//! [`Persistence::commit`] once per operation, before that operation's transmissions and events go out;
//! [`Persistence::load_channel`] gives everything back.
//!
//! - `blocking` (feature `blocking`): a database of your own as a store, of bytes under keys
//! - [`snapshot`]: the codec, for these stores and for one of your own
//! - [`MemoryPersistence`], [`NoPersistence`]: without a disk
//! - `RedbPersistence` (feature `redb`): the default on disk
//! - `SledPersistence` (feature `sled`), `SqlitePersistence` (feature `sqlite`): two more; docs/persistence.md compares
//! - [`nim`]: reads what nim-sds saved
//! - [`archive`]: where messages are kept that the log has no more
//! - `FaultyPersistence` (feature `testing`): fails on command
//! - `conformance` (feature `testing`): the rules below, each as a test for a store of your own

//!
//! # Example
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use reliable_channel::state::{ChannelMeta, Commit};
//! use reliable_channel::store::{MemoryPersistence, Persistence};
//! use reliable_channel::types::ChannelId;
//!
//! let store = MemoryPersistence::default();
//! let lobby = ChannelId::from("lobby");
//! // What `Step::save` holds.
//! let commit = Commit { meta: Some(ChannelMeta::default()), ..Commit::default() };
//! store.commit(&lobby, &commit).await?;
//! // What `Channel::restore` takes.
//! let data = store.load_channel(&lobby).await?;
//! assert_eq!(data.meta, commit.meta);
//! # Ok::<(), reliable_channel::store::PersistenceError>(()) }).unwrap();
//! ```
//! A store on disk is opened with its directory: `RedbPersistence::open("chat")?`. One of your own is
//! in `examples/custom_backend.rs`.

pub mod archive;
#[cfg(feature = "blocking")]
pub mod blocking;
#[cfg(feature = "testing")]
pub mod conformance;
pub mod nim;

#[cfg(any(feature = "redb", feature = "sled", feature = "sqlite"))]
mod anchor;
#[cfg(feature = "blocking")]
mod encoded;
#[cfg(feature = "blocking")]
mod engine_thread;
#[cfg(feature = "testing")]
mod faulty;
#[cfg(feature = "blocking")]
#[cfg_attr(not(any(feature = "redb", feature = "sled", feature = "sqlite")), allow(dead_code))]
mod medium;
mod memory;
#[cfg(any(feature = "redb", feature = "sled", feature = "sqlite"))]
mod on_disk;
#[cfg(feature = "blocking")]
#[cfg_attr(not(any(feature = "redb", feature = "sled", feature = "sqlite")), allow(dead_code))]
mod owner_only;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "sled")]
mod sled;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use self::archive::{Archive, MemoryArchive};
#[cfg(feature = "blocking")]
pub use self::engine_thread::StoreStatistics;
#[cfg(feature = "testing")]
pub use self::faulty::{CallCounts, Fault, FaultyPersistence, Method, Rule};
pub use self::memory::{MemoryPersistence, NoPersistence};
#[cfg(feature = "redb")]
pub use self::redb::RedbPersistence;
#[cfg(feature = "sled")]
pub use self::sled::SledPersistence;
#[cfg(feature = "sqlite")]
pub use self::sqlite::SqlitePersistence;

pub use crate::snapshot;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::state::{ChannelData, ChannelMeta, Commit, HistoryUpdate};
use crate::types::{ChannelId, MessageId};

/// Keeps the state of channels (see the module page for what, why and how).
///
/// # To ensure correctness
/// - **Atomic**: the writes of one [`commit`](Self::commit) appear together or not at all
///   (where the default is kept: each of its calls by itself, and [`Capabilities::atomic`] is false).
/// - **Prefix**: after any crash a channel is in the state after some prefix of its operations.
/// - **Durable as named**: what [`Capabilities::durability`] says, holds when the future resolves.
/// - **Never silent**: damage is an error that names the channel and what; never a panic, never a shorter log passed off as whole.
/// - **Isolated**: one damaged channel does not stop the others.
/// - **Final**: a dropped channel never comes back.
/// - **Retryable**: after an I/O error the store works again by itself; a repeated commit changes nothing.
/// - **Bounded**: disk use is at most a stated multiple of live data.
///
/// See the [example](crate::store#example).
#[async_trait]
pub trait Persistence: Send + Sync + 'static {
    /// Stores the meta, replacing what was there.
    ///
    /// # To ensure correctness
    /// Idempotent; all or nothing; never overtaken by an earlier call.
    ///
    /// To use it correctly: whoever calls this and [`update_history`](Self::update_history) instead of
    /// [`commit`](Self::commit) leaves the meta's counts fitting the rows, for a store may check that on load
    /// ([`ChannelData::check`]).
    ///
    /// # Errors
    /// A [`PersistenceError`] when the meta may not have been stored.
    async fn save_channel_meta(&self, channel: &ChannelId, meta: &ChannelMeta) -> Result<(), PersistenceError>;

    /// Puts and deletes rows.
    ///
    /// # To ensure correctness
    /// One atomic batch, deletions first; a put under a known key replaces; deleting an unknown key is fine; a key both
    /// deleted and put stays; twice equals once. Deleting a body row deletes its message's retrieval hint, also where
    /// the row is put again.
    ///
    /// # Errors
    /// A [`PersistenceError`] when the batch may not have been stored.
    async fn update_history(&self, channel: &ChannelId, update: &HistoryUpdate) -> Result<(), PersistenceError>;

    /// Gives everything saved of a channel back: rows in [`RowKey`](crate::state::RowKey) order, hints in id order.
    ///
    /// # To ensure correctness
    /// An unknown channel is empty data, not an error; damage and unknown versions are errors, never a shorter log.
    ///
    /// # Errors
    /// A [`PersistenceError`] when not everything can be given back.
    async fn load_channel(&self, channel: &ChannelId) -> Result<ChannelData, PersistenceError>;

    /// Wipes a channel, hints included, from stable storage.
    ///
    /// # To ensure correctness
    /// All or nothing; other channels untouched; idempotent.
    ///
    /// # Errors
    /// A [`PersistenceError`] when the channel may still be there.
    async fn drop_channel(&self, channel: &ChannelId) -> Result<(), PersistenceError>;

    /// Keeps the retrieval hint of a message (LIP-173 requires the map to persist).
    ///
    /// # To ensure correctness
    /// Comes back from [`load_channel`](Self::load_channel), also when the message's row comes later or never;
    /// goes when its message's body row is deleted. A loss of it is noticed where the meta counts it, as after a
    /// [`commit`](Self::commit).
    ///
    /// # Errors
    /// A [`PersistenceError`] when the hint may not have been stored.
    async fn set_retrieval_hint(
        &self,
        channel: &ChannelId,
        id: &MessageId,
        hint: &Bytes,
    ) -> Result<(), PersistenceError>;

    /// Stores what one operation changed. Provided: rows, then hints, then meta; a store that can do it in one
    /// transaction should.
    ///
    /// # Errors
    /// A [`PersistenceError`] when not all may have been stored.
    async fn commit(&self, channel: &ChannelId, commit: &Commit) -> Result<(), PersistenceError> {
        if !commit.history.is_empty() {
            self.update_history(channel, &commit.history).await?;
        }
        for (id, hint) in &commit.hints {
            self.set_retrieval_hint(channel, id, hint).await?;
        }
        match &commit.meta {
            Some(meta) => self.save_channel_meta(channel, meta).await,
            None => Ok(()),
        }
    }

    /// Returns when everything acknowledged so far is on stable storage. Provided: at once, right for stores
    /// whose calls are durable when they return.
    ///
    /// # Errors
    /// A [`PersistenceError`] when something may not be.
    async fn flush(&self) -> Result<(), PersistenceError> {
        Ok(())
    }

    /// The channels that have saved state, in id order.
    ///
    /// # Errors
    /// [`PersistenceErrorKind::Unsupported`] unless provided by the store.
    async fn list_channels(&self) -> Result<Vec<ChannelId>, PersistenceError> {
        Err(PersistenceError::new("list_channels", None, PersistenceErrorKind::Unsupported))
    }

    /// What this store promises. Provided: nothing beyond the required methods.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }
}

/// When a write counts as done: a future resolves when this promise holds, not when the write is queued.
///
/// See the [example](crate::store#example).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// Nothing acknowledged is lost, in a process crash or a power cut. Calls that wait at the same time share a sync.
    #[default]
    Immediate,
    /// A process crash or a power cut loses at most what was acknowledged in the last `max_delay` (and while a sync
    /// takes), always the newest. An input/output error that the store recovers from loses nothing.
    Batched {
        /// The longest a write waits for its sync; 50 ms is a good one.
        max_delay: Duration,
    },
    /// A process crash loses nothing, a power cut the newest that the operating system had not written yet.
    OsBuffered,
}

/// What a store promises beyond the required methods.
///
/// See the [example](crate::store#example).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// [`Persistence::commit`] is one transaction.
    pub atomic: bool,
    /// The durability kept; `None` where nothing outlives the process.
    pub durability: Option<Durability>,
    /// Damage to stored values is detected.
    pub checksummed: bool,
    /// Whoever opens the store a second time is refused with [`PersistenceErrorKind::Locked`].
    pub exclusive: bool,
    /// The largest value stored, in bytes; `None` where only memory limits it.
    pub max_value_bytes: Option<usize>,
}

/// Why a store could not do what it was asked.
///
/// See the [example](crate::store#example).
#[derive(Debug, thiserror::Error)]
#[error("{verb}{}: {kind}", channel.as_ref().map(|channel| format!(" of channel {channel}")).unwrap_or_default())]
#[non_exhaustive]
pub struct PersistenceError {
    /// The call that failed.
    pub verb: &'static str,
    /// The channel concerned.
    pub channel: Option<ChannelId>,
    /// What went wrong.
    pub kind: PersistenceErrorKind,
    /// The engine's own error.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Kinds of [`PersistenceError`].
///
/// See the [example](crate::store#example).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PersistenceErrorKind {
    /// The medium failed.
    #[error("input/output error")]
    Io,
    /// No space is left.
    #[error("no space left")]
    StorageFull,
    /// Another process or handle has the store open.
    #[error("the store is in use")]
    Locked,
    /// Stored bytes are not what was written.
    #[error("damaged: {what}")]
    Corrupt {
        /// What is damaged.
        what: String,
    },
    /// Written by a newer version of this library.
    #[error("version {found} is not known, this library reads up to {known}")]
    UnknownVersion {
        /// The version found.
        found: u32,
        /// The newest version this library reads.
        known: u32,
    },
    /// A value is larger than the store takes.
    #[error("value too large")]
    TooLarge,
    /// The engine is in a state that only reopening ends.
    #[error("the engine must be reopened")]
    Poisoned,
    /// The store's files were removed, moved away or replaced while it was open. They are used again when the same files
    /// are back; others in their place are used only by a store that is opened anew.
    #[error("the store's files are not there any more")]
    Gone,
    /// The store was shut down.
    #[error("the store is closed")]
    Closed,
    /// The store does not do this.
    #[error("not supported")]
    Unsupported,
    /// Anything else, in the store's own words.
    #[error("{0}")]
    Backend(String),
}

impl From<snapshot::SnapshotError> for PersistenceErrorKind {
    fn from(error: snapshot::SnapshotError) -> Self {
        match error {
            snapshot::SnapshotError::Corrupt { what } => Self::Corrupt { what },
            snapshot::SnapshotError::UnknownVersion { found, known } => Self::UnknownVersion { found, known },
        }
    }
}

impl PersistenceError {
    /// An error without an engine's error behind it.
    #[must_use]
    pub fn new(verb: &'static str, channel: Option<&ChannelId>, kind: PersistenceErrorKind) -> Self {
        Self { verb, channel: channel.cloned(), kind, source: None }
    }

    /// The same error with the engine's error behind it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Whether the same call may succeed later without anybody mending anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        use PersistenceErrorKind::{Backend, Gone, Io, Locked, Poisoned, StorageFull};
        matches!(self.kind, Io | StorageFull | Locked | Poisoned | Gone | Backend(_))
    }
}
