//! What all stores on disk have in common: the [`Persistence`](super::Persistence) face of an engine thread.
//!
//! What: [`Options`] and the macro that makes a public store out of an [`Engine`](super::engine_thread::Engine). Why a
//! macro: the stores differ in their engine and their documentation alone, and the engine's type stays private. How it
//! moves: each call is encoded here, on the caller's task, and sent to the thread, whose transactions many calls share.

use std::path::PathBuf;

use super::Durability;

/// How to open a store, again and again.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) dir: PathBuf,
    pub(super) read_only: bool,
    pub(super) durability: Durability,
}

macro_rules! store_on_disk {
    ($(#[$documentation:meta])* $name:ident, $engine:ty, $thread:literal, checksummed: $checksummed:literal) => {
        $(#[$documentation])*
        ///
        /// Dropping it does what is queued and waits for that; [`close`](Self::close) does so without blocking a task.
        #[derive(Debug)]
        pub struct $name {
            thread: EngineThread,
            durability: Option<Durability>,
        }

        impl $name {
            /// Opens the store in this directory with [`Durability::Immediate`], creating both where they are not
            /// there. Blocks while it does; after a crash that can take as long as reading the store.
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
                let options = Options {
                    dir: dir.to_owned(),
                    read_only: durability.is_none(),
                    durability: durability.unwrap_or_default(),
                };
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
    let (dir, durability) = (dir.path().to_owned(), Durability::Immediate);
    let options = Options { dir, read_only: false, durability };
    drop(E::open(&options).expect("a new store"));
    let store = options.dir.join(name);
    if store.is_dir() { std::fs::remove_dir_all(&store) } else { std::fs::remove_file(&store) }.expect("it is there");
    assert!(E::reopen(&options).is_err_and(|failure| failure.kind == super::PersistenceErrorKind::Io));
    assert!(!store.exists());
}
