//! What goes into the executor and what comes out of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::memory::Memory;
use super::told::Telling;
use crate::channel::{self, ChannelError, Config, Erasure, Outcome, RestoreError};
use crate::reconcile::{Item, Rid};
use crate::state::{Body, ChannelData, Commit, LogKey};
use crate::store::PersistenceError;
use crate::types::{ChannelId, Dialect, Message, ParticipantId, RunningTime, WallTime, split_mix};

/// The time at which an input comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Wall-clock time.
    pub wall: WallTime,
    /// Monotonic time.
    pub running: RunningTime,
}

/// Names an order to the driver, which finds by it who waits for the [`Answer`]. Unique among the orders of a channel
/// that wait; `u64::MAX` is the executor's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Under which the answer is given.
    pub call: CallId,
    /// The order comes from inside a callback, which cannot end before the answer: nothing of it may wait for callbacks.
    pub inside: bool,
}

/// One opening of a channel, or one wiping of it. No two have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub(super) u64);

impl Generation {
    /// Later than all there are.
    pub(super) const LAST: Self = Self(u64::MAX);
}

/// What is asked of a channel. Each is answered once with [`Effect::Answer`].
#[derive(Clone, Debug)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant, reason = "orders are given, carried out and gone")]
pub enum Order {
    /// Load it; nothing to do where it is open.
    Open(Arc<Config>),
    /// Hand an input in and carry its step out.
    Enter {
        /// The input.
        input: channel::Input,
        /// The dialect a received message came in.
        heard: Option<Dialect>,
    },
    /// Carry out what is queued, wait for the callbacks, and forget it.
    Close,
    /// Discard what is queued, and wipe it from the store.
    Remove,
    /// As [`Order::Close`], but it stays readable, and is never opened again.
    ShutDown,
}

/// All that can happen to a [`Lane`](super::Lane).
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// Somebody asks something of it.
    Order {
        /// Who waits for the answer, if anybody does.
        caller: Option<Caller>,
        /// What is asked.
        order: Order,
    },
    /// How [`Effect::Load`] ended.
    Loaded {
        /// Of which opening.
        generation: Generation,
        /// What the store has.
        result: Result<ChannelData, Arc<PersistenceError>>,
    },
    /// How [`Effect::Commit`] ended.
    Saved {
        /// Of which opening.
        generation: Generation,
        /// Whether it was saved.
        result: Result<(), Arc<PersistenceError>>,
    },
    /// How [`Effect::Archive`] ended.
    Archived {
        /// Of which opening.
        generation: Generation,
        /// What the archive answered.
        result: Result<ArchiveAnswer, Arc<PersistenceError>>,
    },
    /// How [`Effect::Drop`] ended.
    Dropped {
        /// Of which wiping.
        generation: Generation,
        /// Whether it was wiped.
        result: Result<(), Arc<PersistenceError>>,
    },
    /// The callbacks of [`Effect::CallBack`] have returned.
    Returned {
        /// Of which opening.
        generation: Generation,
        /// The retrieval hint that was asked for.
        hint: Option<Bytes>,
    },
    /// This caller's patience has ended: it is answered now, with what keeps it waiting.
    GiveUp(CallId),
    /// This caller is gone. Its order is not begun if it was not yet.
    Forget(CallId),
    /// Do what is due.
    Timeout,
    /// The driver carries nothing out any more, as when its runtime has ended. Who waits is answered, and nothing can be
    /// ordered from now on.
    Abandon,
}

/// What the driver has to do, in the order given. It must not wait for one before it begins the next.
///
/// It is exhaustive, and stays so: a driver must see at compile time that there is something new to carry out.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "effects are made, carried out and gone")]
pub enum Effect {
    /// Load a channel from the store, and hand in [`Input::Loaded`].
    Load {
        /// The channel.
        channel: ChannelId,
        /// To be handed in with the result.
        generation: Generation,
    },
    /// Save, and hand in [`Input::Saved`].
    Commit {
        /// The channel.
        channel: ChannelId,
        /// To be handed in with the result.
        generation: Generation,
        /// What to save.
        commit: Arc<Commit>,
    },
    /// Call the archive, and hand in [`Input::Archived`]. Only where [`Options::archive`] says that there is one.
    Archive {
        /// The channel.
        channel: ChannelId,
        /// To be handed in with the result.
        generation: Generation,
        /// What is wanted of it.
        call: ArchiveCall,
    },
    /// Wipe a channel from the store and from the archive, and hand in [`Input::Dropped`].
    Drop {
        /// The channel.
        channel: ChannelId,
        /// To be handed in with the result.
        generation: Generation,
    },
    /// Flush the store, and call [`Executor::flushed`](super::Executor::flushed).
    Flush,
    /// Transmit this, and tell it to whoever reads streams.
    Tell {
        /// The channel.
        channel: ChannelId,
        /// What to transmit and to tell.
        telling: Arc<Telling>,
    },
    /// Run the callbacks, elsewhere, and hand in [`Input::Returned`].
    CallBack {
        /// The channel.
        channel: ChannelId,
        /// To be handed in when they have returned.
        generation: Generation,
        /// What to tell them.
        telling: Arc<Telling>,
    },
    /// Answer an order.
    Answer {
        /// The channel.
        channel: ChannelId,
        /// Whose order.
        call: CallId,
        /// The answer.
        result: Result<Answer, ExecutorError>,
    },
    /// Everything is shut down.
    ShutDown {
        /// Who asked for it.
        calls: Vec<CallId>,
        /// What could not be saved.
        report: Report,
    },
}

/// What is wanted of an archive. One call at a time for a channel.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ArchiveCall {
    /// Keep these messages, each with what stands for it; some may be there already.
    Put(Vec<(Rid, Arc<Body>)>),
    /// Name what is there behind this message, in order.
    List {
        /// From the beginning where there is none.
        after: Option<LogKey>,
        /// So many at most; fewer are the last ones.
        limit: usize,
    },
    /// Read these messages.
    Get(Vec<Item>),
    /// Put messages without their contents in the place of these, as [`erased`](crate::channel::erased) makes them.
    Erase(Erasure),
}

/// What an archive answered.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ArchiveAnswer {
    /// They are kept.
    Put,
    /// These are there, in order.
    Listed(Vec<(LogKey, Rid)>),
    /// What is there of the first `looked` messages.
    Got {
        /// In any order.
        bodies: Vec<Arc<Body>>,
        /// So many were looked for.
        looked: usize,
    },
    /// None of them has its content any more.
    Erased,
}

/// The answer to an order that was carried out.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// What the channel answered.
    pub outcome: Outcome,
    /// The message for the caller to broadcast, and the dialect to encode it in.
    pub own: Option<(Box<Message>, Dialect)>,
    /// Those that follow it, where several were sent as one.
    pub further: Vec<Message>,
}

impl Answer {
    pub(super) const DONE: Self = Self { outcome: Outcome::Done, own: None, further: Vec::new() };
}

/// What shutting down could not save.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Channels whose last changes are not on stable storage, and why.
    pub unsaved: Vec<(ChannelId, ExecutorError)>,
    /// Why the store's flush failed.
    pub flush: Option<Arc<PersistenceError>>,
}

/// Why an order was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutorError {
    /// The channel is not open, or was removed or closed meanwhile.
    #[error("the channel is not open")]
    UnknownChannel,
    /// Too many channels are open.
    #[error("{max} channels are open, more are not allowed")]
    TooManyChannels {
        /// Channels allowed.
        max: usize,
    },
    /// Everything was shut down.
    #[error("everything was shut down")]
    ShutDown,
    /// The channel's id or options are refused.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The channel refused the input.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The store failed.
    #[error(transparent)]
    Persistence(#[from] Arc<PersistenceError>),
    /// A defect made the channel panic.
    #[error("the channel stopped because of a defect in this library")]
    ChannelFailed,
    /// The caller's patience ended first. What was begun goes on.
    #[error("{0}")]
    Unfinished(Unfinished),
}

/// What kept a caller waiting for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Unfinished {
    /// A call to the store did not come back.
    #[error("the store's {0} has not come back yet")]
    Store(&'static str),
    /// A call to the archive did not come back.
    #[error("the archive's {0} has not come back yet")]
    Archive(&'static str),
    /// A callback did not return.
    #[error("a callback has not returned yet")]
    Callback,
}

/// What happens to an operation whose state cannot be saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnSaveFailure {
    /// It succeeds. [`PersistenceFailed`](super::Told::PersistenceFailed) tells it once; what is owed is saved
    /// with the next operation or by the timer. A crash before that loses it.
    #[default]
    Degrade,
    /// It fails, and nothing leaves: no bytes, no transmissions, no events. The state in memory has
    /// changed all the same: the message wrapped or received is there, and its transmissions and events follow once
    /// what is owed is saved, so do not wrap the same content again. Until then every further call on the channel
    /// first tries to save, and fails without changing anything if that fails.
    Fail,
}

/// Which callbacks there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wants {
    /// Some are called with events.
    pub events: bool,
    /// Some are called with deliveries among the events, which are confirmed when they return.
    pub deliveries: bool,
    /// Some are called with transmissions.
    pub transmissions: bool,
    /// One is asked for retrieval hints.
    pub hints: bool,
}

/// Options of an executor.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Who speaks.
    pub participant: ParticipantId,
    /// What happens to an operation that cannot be saved.
    pub on_save_failure: OnSaveFailure,
    /// There is an archive, for what the logs have no more.
    pub archive: bool,
    /// Channels open at a time.
    pub max_channels: usize,
    /// Which callbacks there are.
    pub callbacks: Wants,
    /// Bytes of log that all channels together should not exceed.
    pub max_log_bytes: u64,
    /// Bytes of parked messages that all channels together should not exceed.
    pub max_parked_bytes: u64,
    /// Where random choices start.
    pub seed: u64,
}

impl Options {
    /// The defaults for this participant: 10,000 channels, 256 MiB of log and as much of parked messages.
    #[must_use]
    pub fn new(participant: impl Into<ParticipantId>, seed: u64) -> Self {
        Self {
            participant: participant.into(),
            on_save_failure: OnSaveFailure::default(),
            archive: false,
            max_channels: 10_000,
            callbacks: Wants::default(),
            max_log_bytes: 256 << 20,
            max_parked_bytes: 256 << 20,
            seed,
        }
    }
}

/// What all lanes of one participant share.
#[derive(Debug)]
pub struct Common {
    pub(crate) options: Options,
    pub(crate) memory: Arc<Memory>,
    numbers: AtomicU64,
    /// The next step of any channel panics once it has changed the channel, as a defect would.
    #[cfg(feature = "testing")]
    pub(super) defect: std::sync::atomic::AtomicBool,
}

impl Common {
    pub(crate) fn new(options: Options) -> Self {
        let memory = Arc::new(Memory::new(options.max_log_bytes, options.max_parked_bytes));
        Self {
            options,
            memory,
            numbers: AtomicU64::new(0),
            #[cfg(feature = "testing")]
            defect: false.into(),
        }
    }

    #[cfg(feature = "testing")]
    pub(super) fn panic_if_asked_to(&self) {
        if self.defect.swap(false, Ordering::Relaxed) {
            // Without the message that a panic prints: worlds have thousands of them.
            std::panic::resume_unwind(Box::new("a defect"));
        }
    }

    /// A generation that no other has.
    pub(super) fn generation(&self) -> Generation {
        Generation(self.numbers.fetch_add(1, Ordering::Relaxed))
    }

    /// The start of an opening's own random choices.
    pub(super) fn entropy(&self, generation: Generation) -> u64 {
        let mut state = self.options.seed ^ generation.0;
        split_mix(&mut state)
    }
}
