//! What all channels of a manager share: options, store, clock, listeners. Nothing here makes one channel wait for
//! another.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use tokio::runtime::Handle;

use super::callbacks::Callbacks;
use super::clock::Clock;
use super::directory::{Directory, ShutDown};
use super::events::Feeds;
use super::observer::Observer;
use super::pool::Pool;
use super::timers::Timers;
use crate::channel::Config;
use crate::executor::{Common, Moment};
use crate::store::{Archive, Persistence};

/// The insides of a manager.
pub(super) struct Shared {
    pub(super) common: Common,
    pub(super) config: Arc<Config>,
    /// Given up at the end of a shutdown, so that whoever waits for that may open the store again.
    pub(super) store: RwLock<Option<Arc<dyn Persistence>>>,
    /// Given up with it.
    pub(super) archive: RwLock<Option<Arc<dyn Archive>>>,
    pub(super) max_value_bytes: Option<usize>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) callbacks: Callbacks,
    pub(super) observer: Option<Arc<dyn Observer>>,
    pub(super) pool: Arc<Pool>,
    pub(super) auto_create: bool,
    pub(super) end_timeout: Option<Duration>,
    pub(super) relieving: AtomicBool,
    pub(super) feeds: Feeds,
    pub(super) timers: Timers,
    pub(super) directory: Directory,
    pub(super) shut_down: OnceLock<ShutDown>,
    /// Where tasks run, whoever calls.
    pub(super) runtime: Handle,
    pub(super) cells: AtomicU64,
}

impl Shared {
    /// A number no other cell has.
    pub(super) fn number(&self) -> u64 {
        self.cells.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn moment(&self) -> Moment {
        Moment { wall: self.clock.wall(), running: self.clock.running() }
    }

    /// The store; `None` after a shutdown.
    pub(super) fn store(&self) -> Option<Arc<dyn Persistence>> {
        self.store.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The archive, if there is one; `None` after a shutdown.
    pub(super) fn archive(&self) -> Option<Arc<dyn Archive>> {
        self.archive.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn give_up_store(&self) {
        let store = self.store.write().unwrap_or_else(PoisonError::into_inner).take();
        let archive = self.archive.write().unwrap_or_else(PoisonError::into_inner).take();
        drop((store, archive));
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("participant", &self.common.options.participant).finish_non_exhaustive()
    }
}
