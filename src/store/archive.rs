//! Where messages are kept that the log has no more: the trait [`Archive`] and its bundled implementations.
//!
//! What: per channel messages in the order of the log, each with its rid. Why a trait: an application that keeps all
//! messages anyway can serve others from there. How it moves: the manager gives every message that is delivered or
//! acknowledged to [`Archive::put`] once it is saved, names what is there to the channel when that is opened, and reads
//! what others ask for (docs/protocol.md section 13.6).
//!
//! The stores on disk are archives too, in the same file: the same `Arc` may be the manager's store and its archive.

#[cfg(feature = "testing")]
pub mod conformance;

#[cfg(feature = "blocking")]
mod encoded;
mod memory;
#[cfg(feature = "blocking")]
pub(super) mod on_thread;

use std::sync::Arc;

use async_trait::async_trait;

#[cfg(feature = "blocking")]
pub(super) use self::encoded::bodies_or_rids;
pub use self::memory::MemoryArchive;
use super::PersistenceError;
use crate::reconcile::{Item, Rid};
use crate::state::{Body, LogKey};
use crate::types::ChannelId;

/// Keeps messages beyond the log (see the module page for what, why and how).
///
/// An archive may fail, hang and lose what it has: the channel goes on, asks again, and says of nothing that it is here
/// before the archive said so. `store::archive::conformance` (feature `testing`) has the rules as tests.
///
/// See the [example](crate::store::MemoryArchive#example).
#[async_trait]
pub trait Archive: Send + Sync + 'static {
    /// Keeps messages, each with its rid, which stands for it in what other participants ask.
    ///
    /// # To ensure correctness
    /// A message put twice is there once; another one in the same place of the log replaces it. What this returned for
    /// stays, as durable as the archive says.
    ///
    /// # Errors
    /// A [`PersistenceError`] when not all may have been kept.
    async fn put(&self, channel: &ChannelId, messages: &[(Rid, Arc<Body>)]) -> Result<(), PersistenceError>;

    /// Names what is there behind this place, in the order of the log; `limit` of them, or fewer only where those are the
    /// last.
    ///
    /// # Errors
    /// A [`PersistenceError`] when not all can be named.
    async fn list(
        &self,
        channel: &ChannelId,
        after: Option<&LogKey>,
        limit: usize,
    ) -> Result<Vec<(LogKey, Rid)>, PersistenceError>;

    /// Those of these messages that are there, in any order; 256 are asked for at most.
    ///
    /// # Errors
    /// A [`PersistenceError`] when it cannot be said of all whether they are there.
    async fn get(&self, channel: &ChannelId, items: &[Item]) -> Result<Vec<Arc<Body>>, PersistenceError>;

    /// The newest messages before this place, the newest first: at least one where there is one, `limit` at most.
    ///
    /// # Errors
    /// A [`PersistenceError`] when they cannot be given.
    async fn page(
        &self,
        channel: &ChannelId,
        before: Option<&LogKey>,
        limit: usize,
    ) -> Result<Vec<Arc<Body>>, PersistenceError>;

    /// Wipes a channel. Where the same store keeps its state too, that may go with it.
    ///
    /// # To ensure correctness
    /// All or nothing; other channels untouched; idempotent.
    ///
    /// # Errors
    /// A [`PersistenceError`] when something of it may still be there.
    async fn drop_channel(&self, channel: &ChannelId) -> Result<(), PersistenceError>;
}
