//! What all channels of a manager share: options, store, clock, listeners. Nothing here makes one channel wait for
//! another.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;

use super::callbacks::Callbacks;
use super::clock::Clock;
use super::directory::{Directory, ShutDown};
use super::events::Feeds;
use super::memory::Memory;
use super::timers::Timers;
use crate::channel::Config;
use crate::store::Persistence;
use crate::types::{ParticipantId, split_mix};

/// What happens to an operation whose state cannot be saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnSaveFailure {
    /// It succeeds. [`PersistenceFailed`](super::ManagerEvent::PersistenceFailed) tells it once; what is owed is saved
    /// with the next operation or by the timer. A crash before that loses it.
    #[default]
    Degrade,
    /// It fails, and nothing leaves the manager: no bytes, no transmissions, no events. The state in memory has
    /// changed all the same: the message wrapped or received is there, and its transmissions and events follow once
    /// what is owed is saved, so do not wrap the same content again. Until then every further call on the channel
    /// first tries to save, and fails without changing anything if that fails.
    Fail,
}

/// The insides of a manager.
pub(super) struct Shared {
    pub(super) participant: ParticipantId,
    pub(super) config: Arc<Config>,
    pub(super) store: Arc<dyn Persistence>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) callbacks: Callbacks,
    pub(super) on_save_failure: OnSaveFailure,
    pub(super) auto_create: bool,
    pub(super) max_channels: usize,
    pub(super) memory: Arc<Memory>,
    pub(super) feeds: Feeds,
    pub(super) timers: Timers,
    pub(super) directory: Directory,
    pub(super) shut_down: OnceLock<ShutDown>,
    /// Where drainers, dispatchers and the timer task run, whoever calls.
    pub(super) runtime: Handle,
    pub(super) seed: u64,
    pub(super) slots: AtomicU64,
}

impl Shared {
    /// A number no other slot has.
    pub(super) fn number(&self) -> u64 {
        self.slots.fetch_add(1, Ordering::Relaxed)
    }

    /// The start of a generator of its own.
    pub(super) fn seed(&self) -> u64 {
        let mut state = self.seed ^ self.number();
        split_mix(&mut state)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("participant", &self.participant).finish_non_exhaustive()
    }
}
