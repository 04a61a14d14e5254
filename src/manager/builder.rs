//! What a manager is made of.
//!
//! What: [`ManagerBuilder`]. Why the participant comes first: it is the one thing without a default. How it moves:
//! [`ReliabilityManager::builder`], options, [`build`](ManagerBuilder::build).

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use tokio::runtime::Handle;

use super::ReliabilityManager;
use super::callbacks::Callbacks;
use super::clock::{Clock, SystemClock};
use super::directory::Directory;
use super::error::ManagerError;
use super::events::Feeds;
use super::observer::Observer;
use super::pool::Pool;
use super::shared::Shared;
use super::timers::Timers;
use crate::authenticity::SharedAuthenticator;
use crate::channel::{Config, ConfigError};
use crate::executor::{Common, OnSaveFailure, Options};
use crate::store::{Archive, NoPersistence, Persistence};
use crate::types::ParticipantId;

/// What a saved message has beyond its own bytes, at most.
const ROW_BYTES: usize = 4_096;

/// Options of a [`ReliabilityManager`].
///
/// One participant id a *device*: whoever takes part from a phone and a laptop takes part twice, under two ids, each with
/// a store of its own. Two devices under one id read each other's messages like anybody's, but nobody can say how far
/// those have come (`Event::SharedIdentity`).
///
/// See the [example](crate::manager#example).
#[must_use = "options do nothing before `build`"]
pub struct ManagerBuilder {
    participant: ParticipantId,
    config: Config,
    authenticator: Option<SharedAuthenticator>,
    store: Arc<dyn Persistence>,
    archive: Option<Arc<dyn Archive>>,
    clock: Option<Arc<dyn Clock>>,
    callbacks: Callbacks,
    observer: Option<Arc<dyn Observer>>,
    on_save_failure: OnSaveFailure,
    auto_create: bool,
    max_channels: usize,
    max_log_bytes: u64,
    max_parked_bytes: u64,
    stream_capacity: usize,
    stream_bytes: usize,
    end_timeout: Option<Duration>,
    seed: Option<u64>,
}

impl ManagerBuilder {
    pub(super) fn new(participant: ParticipantId) -> Self {
        Self {
            participant,
            config: Config::default(),
            authenticator: None,
            store: Arc::new(NoPersistence),
            archive: None,
            clock: None,
            callbacks: Callbacks::default(),
            observer: None,
            on_save_failure: OnSaveFailure::default(),
            auto_create: false,
            max_channels: 10_000,
            max_log_bytes: 256 << 20,
            max_parked_bytes: 256 << 20,
            stream_capacity: 4_096,
            stream_bytes: 64 << 20,
            end_timeout: Some(Duration::from_secs(30)),
            seed: None,
        }
    }

    /// Options of every channel that is opened without its own, and the limits every received message is held to.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Signs and checks the messages of every channel whose own options name no other ([`Config::authenticator`]). Default: none.
    pub fn authenticator(mut self, authenticator: impl Into<SharedAuthenticator>) -> Self {
        self.authenticator = Some(authenticator.into());
        self
    }

    /// Where channels are saved. Default: nowhere, so nothing is known any more after a restart.
    pub fn persistence(mut self, store: Arc<dyn Persistence>) -> Self {
        self.store = store;
        self
    }

    /// Where messages are kept that the log has no more: others are sent them from there when they ask, and
    /// [`history`](ReliabilityManager::history) reads them. A store on disk is an archive too, and may be both at once.
    /// What it takes is saved first; where it fails, that is told
    /// ([`ArchiveFailed`](super::ManagerEvent::ArchiveFailed)), tried again, and nothing waits for it. It grows without a
    /// bound. Default: none. Without [`Config::catch_up`] it keeps nothing.
    pub fn archive(mut self, archive: Arc<dyn Archive>) -> Self {
        self.archive = Some(archive);
        self
    }

    /// What tells the time. Default: a [`SystemClock`].
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Closures to call. Default: none. With `on_event` or `on_message_ready`, deliveries are confirmed when these
    /// return, and what was not confirmed is delivered again after a crash ([`Config::confirm_deliveries`]).
    pub fn callbacks(mut self, callbacks: Callbacks) -> Self {
        self.callbacks = callbacks;
        self
    }

    /// Who hears events and transmissions at once, on the thread that carries a step out. Default: nobody. For language
    /// bindings and others with a queue of their own; applications read the streams or register callbacks.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// What happens to an operation that cannot be saved. Default: [`OnSaveFailure::Degrade`].
    pub fn on_save_failure(mut self, on_save_failure: OnSaveFailure) -> Self {
        self.on_save_failure = on_save_failure;
        self
    }

    /// Whether a message received for a channel that is not open opens it. Default: no.
    /// With it, strangers can open up to [`max_channels`](Self::max_channels).
    pub fn auto_create(mut self, auto_create: bool) -> Self {
        self.auto_create = auto_create;
        self
    }

    /// Channels open at a time. Default 10,000.
    pub fn max_channels(mut self, max_channels: usize) -> Self {
        self.max_channels = max_channels;
        self
    }

    /// Bytes of log in memory that all channels together should not exceed. Default 256 MiB. The channel that grows
    /// beyond gives its oldest messages up, but keeps an equal share; those with more than theirs follow.
    pub fn max_log_bytes(mut self, bytes: u64) -> Self {
        self.max_log_bytes = bytes;
        self
    }

    /// The same for parked messages. Default 256 MiB.
    pub fn max_parked_bytes(mut self, bytes: u64) -> Self {
        self.max_parked_bytes = bytes;
        self
    }

    /// Items a stream's reader may be behind before it misses some. Default 4,096.
    pub fn stream_capacity(mut self, items: usize) -> Self {
        self.stream_capacity = items;
        self
    }

    /// Bytes that items unread by some reader of the events, and of the transmissions, keep in memory, whatever the log has
    /// given up. Beyond, the oldest are given up, and their readers are told. Default 64 MiB each.
    pub fn stream_bytes(mut self, bytes: usize) -> Self {
        self.stream_bytes = bytes;
        self
    }

    /// How long closing and removing a channel, and shutting down, wait for a store or a callback that does not come
    /// back, before they answer what they wait for. What was begun goes on. `None`: for ever. Default 30 s.
    pub fn end_timeout(mut self, patience: Option<Duration>) -> Self {
        self.end_timeout = patience;
        self
    }

    /// Where the manager's random choices (filter seeds, the spread of timers) start. Default: from the system, which is
    /// right everywhere but in runs to be repeated exactly: together with a [`ManualClock`](super::ManualClock), the same
    /// seed and calls give the same bytes.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The manager. Its tasks run in the tokio runtime this is called in; its methods may be awaited anywhere.
    ///
    /// # Errors
    /// [`ManagerError::Config`] for options that are refused, [`ManagerError::NoRuntime`] outside a runtime,
    /// [`ManagerError::Entropy`] where the system gives no random bits.
    pub fn build(mut self) -> Result<ReliabilityManager, ManagerError> {
        self.config.confirm_deliveries |= self.callbacks.hear_deliveries();
        if let Some(authenticator) = self.authenticator {
            self.config.authenticator = Some(authenticator);
        }
        self.config.validate()?;
        let max = self.config.limits.max_id_bytes;
        let len = self.participant.len();
        if !self.config.dialect.allows_id(self.participant.as_bytes(), max) {
            return Err(ConfigError::ParticipantId { len, max }.into());
        }
        for (name, zero) in [("max_channels", self.max_channels == 0), ("stream_capacity", self.stream_capacity == 0)] {
            if zero {
                return Err(ConfigError::Zero(name).into());
            }
        }
        // Room for all items is taken now; too much would be a panic.
        if self.stream_capacity > 1 << 24 {
            return Err(ConfigError::OutOfRange { name: "stream_capacity", rule: "at most 16,777,216" }.into());
        }
        let runtime = Handle::try_current().map_err(|_| ManagerError::NoRuntime)?;
        // There is no other way to ask.
        if catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO))).is_err() {
            return Err(ManagerError::NoTimeDriver);
        }
        let max_value_bytes = self.store.capabilities().max_value_bytes;
        fits(&self.config, max_value_bytes)?;
        let seed = match self.seed {
            Some(seed) => seed,
            None => getrandom::u64().map_err(|error| ManagerError::Entropy(error.to_string()))?,
        };
        let options = Options {
            on_save_failure: self.on_save_failure,
            archive: self.archive.is_some(),
            max_channels: self.max_channels,
            callbacks: self.callbacks.wants(),
            max_log_bytes: self.max_log_bytes,
            max_parked_bytes: self.max_parked_bytes,
            ..Options::new(self.participant, seed)
        };
        Ok(ReliabilityManager::from_shared(Arc::new(Shared {
            common: Common::new(options),
            config: Arc::new(self.config),
            store: RwLock::new(Some(self.store)),
            archive: RwLock::new(self.archive),
            max_value_bytes,
            clock: self.clock.unwrap_or_else(|| Arc::new(SystemClock::new())),
            callbacks: self.callbacks,
            observer: self.observer,
            pool: Arc::new(Pool::default()),
            auto_create: self.auto_create,
            end_timeout: self.end_timeout,
            relieving: AtomicBool::new(false),
            feeds: Feeds::new(self.stream_capacity, self.stream_bytes),
            timers: Timers::default(),
            directory: Directory::default(),
            shut_down: OnceLock::new(),
            runtime,
            cells: AtomicU64::new(0),
        })))
    }
}

/// Checks that a message as large as the limits allow can be saved.
pub(super) fn fits(config: &Config, max_value_bytes: Option<usize>) -> Result<(), ConfigError> {
    match max_value_bytes {
        Some(max) if config.limits.max_message_bytes.saturating_add(ROW_BYTES) > max => {
            Err(ConfigError::OutOfRange { name: "limits.max_message_bytes", rule: "below what the store can hold" })
        }
        _ => Ok(()),
    }
}
