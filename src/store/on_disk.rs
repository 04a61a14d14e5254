//! What all stores on disk have in common: the [`Persistence`](super::Persistence) face of an engine thread.
//!
//! What: [`Options`] and the macro that makes a public store out of an [`BlockingStore`](super::blocking::BlockingStore). Why a
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
            capabilities: Capabilities,
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
                let checksummed = $checksummed;
                Ok(Self { thread, capabilities: Capabilities { durability, checksummed, ..Capabilities::blocking() } })
            }
        }

        $crate::store::blocking::persistence_on_thread!($name);
    };
}
pub(super) use store_on_disk;

/// A test of every engine: what reopens finds its store, under this name in its directory, or says that it is gone.
#[cfg(test)]
pub(super) fn assert_gone_is_not_made_anew<E: super::blocking::BlockingStore<Options = Options>>(name: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options::new(dir.path().to_owned(), Some(Durability::Immediate));
    drop(E::open(&options).expect("a new store"));
    let store = options.dir.join(name);
    if store.is_dir() { std::fs::remove_dir_all(&store) } else { std::fs::remove_file(&store) }.expect("it is there");
    assert!(E::reopen(&options).is_err_and(|failure| failure.kind == super::PersistenceErrorKind::Gone));
    assert!(!store.exists());
}
