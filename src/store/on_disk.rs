//! What all stores on disk have in common: the [`Persistence`](super::Persistence) face of an engine thread.
//!
//! What: [`Options`] and the macro that makes a public store out of an [`Engine`](super::engine_thread::Engine). Why a
//! macro: the stores differ in their engine and their documentation alone, and the engine's type stays private. How it
//! moves: each call is encoded here, on the caller's task, and sent to the thread, whose transactions many calls share.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::Durability;
use super::anchor::{Anchor, must_exist};
use super::engine_thread::Failure;

/// How to open a store, again and again.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) dir: PathBuf,
    pub(super) read_only: bool,
    pub(super) durability: Durability,
    /// The file that was opened for writing at the first time.
    anchor: OnceLock<Arc<Anchor>>,
}

impl Options {
    /// With `None` for looking only.
    pub(super) fn new(dir: PathBuf, durability: Option<Durability>) -> Self {
        let (read_only, durability) = (durability.is_none(), durability.unwrap_or_default());
        Self { dir, read_only, durability, anchor: OnceLock::new() }
    }

    /// For a store of the same engine in another directory, whose writes are durable after a sync.
    pub(super) fn elsewhere(dir: &Path) -> Self {
        Self::new(dir.to_owned(), Some(Durability::Batched { max_delay: Duration::MAX }))
    }

    /// This file of an open store, which must be the one that was opened at the first time.
    pub(super) fn anchor(&self, file: &Path) -> Result<Arc<Anchor>, Failure> {
        if let Some(anchor) = self.anchor.get() {
            return anchor.check().map(|()| anchor.clone());
        }
        let anchor = Arc::new(Anchor::new(file)?);
        Ok(self.anchor.get_or_init(|| anchor).clone())
    }

    /// For opening again: what is gone is not made anew, and what lies in its place is not taken for it.
    pub(super) fn must_be_there(&self, file: &Path) -> Result<(), Failure> {
        self.anchor.get().map_or_else(|| must_exist(file), |anchor| anchor.check())
    }
}

macro_rules! store_on_disk {
    ($(#[$documentation:meta])* $name:ident, $engine:ty, $thread:literal, checksummed: $checksummed:literal) => {
        $(#[$documentation])*
        ///
        /// Dropping it does what is queued and waits for that; [`close`](Self::close) does so without blocking a task.
        /// See the [example](crate::store#example).
        #[derive(Debug)]
        pub struct $name {
            thread: EngineThread,
            durability: Option<Durability>,
        }

        impl $name {
            /// Opens the store in this directory with [`Durability::Immediate`], creating both where they are not
            /// there. Blocks while it does; after a crash that can take as long as reading the store. A store that is in
            /// use is waited for a quarter of a second: its last handle may just be dropped by another task.
            ///
            /// # Errors
            /// `Locked` when somebody else has it open, `UnknownVersion` when a newer version of this library wrote it
            /// (it is left as it is), `Corrupt` when it is no such store, `Io` and `StorageFull` from the medium.
            pub fn open(dir: impl AsRef<Path>) -> Result<Self, PersistenceError> {
                Self::open_with(dir, Durability::Immediate)
            }

            /// Opens the store as [`open`](Self::open) does, with a durability of choice.
            ///
            /// # Errors
            /// As [`open`](Self::open); `Unsupported` when the engine cannot keep that promise.
            pub fn open_with(dir: impl AsRef<Path>, durability: Durability) -> Result<Self, PersistenceError> {
                Self::start(dir.as_ref(), Some(durability))
            }

            /// Opens the store in this directory for looking only: no file of it is written or created, and all calls
            /// that would write say `Unsupported`.
            ///
            /// # Errors
            /// As [`open`](Self::open); `Io` when nothing is there.
            pub fn open_read_only(dir: impl AsRef<Path>) -> Result<Self, PersistenceError> {
                Self::start(dir.as_ref(), None)
            }

            fn start(dir: &Path, durability: Option<Durability>) -> Result<Self, PersistenceError> {
                let io = |error| PersistenceError::new("open", None, PersistenceErrorKind::Io).with_source(error);
                // The same one also when the process changes its directory.
                let dir = std::path::absolute(dir).map_err(io)?;
                let options = Options::new(dir, durability);
                let thread = EngineThread::start::<$engine>($thread, options.durability, options)?;
                Ok(Self { thread, durability })
            }

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
            /// came after something that it has not. It is synced when this returns, and for its owner alone; until it
            /// is whole it is in `to` with `.partial` behind the name. Calls in between wait for a channel or two to be
            /// copied. A caller that stops waiting does not end it; closing or dropping the store waits for it.
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
                match self.durability {
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
                Capabilities {
                    atomic: true,
                    durability: self.durability,
                    checksummed: $checksummed,
                    exclusive: true,
                    max_value_bytes: Some(MAX_VALUE_BYTES),
                }
            }
        }
    };
}
pub(super) use store_on_disk;

/// A test of every engine: what reopens finds its store, under this name in its directory, or says that it is gone.
#[cfg(test)]
pub(super) fn assert_gone_is_not_made_anew<E: super::engine_thread::Engine<Options = Options>>(name: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options::new(dir.path().to_owned(), Some(Durability::Immediate));
    drop(E::open(&options).expect("a new store"));
    let store = options.dir.join(name);
    if store.is_dir() { std::fs::remove_dir_all(&store) } else { std::fs::remove_file(&store) }.expect("it is there");
    assert!(E::reopen(&options).is_err_and(|failure| failure.kind == super::PersistenceErrorKind::Gone));
    assert!(!store.exists());
}
