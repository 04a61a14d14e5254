//! [`ReliabilityManager`]: many channels on tokio.
//!
//! What: everything an application calls. Why the only module with tasks, locks and timers: [`Channel`] has none, so
//! all of its behaviour is tested without them. How it moves: an input enters its channel's slot under a short lock,
//! its step queues there, and is carried out in order: saved, then transmitted, then told. Channels never wait for each
//! other; a caller that stops waiting (a dropped future) undoes nothing and breaks nothing.
//!
//! # Example
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use reliable_channel::manager::ReliabilityManager;
//!
//! let manager = ReliabilityManager::builder("alice").build()?;
//! # let _ = &manager;
//! # Ok::<(), reliable_channel::manager::ManagerError>(()) }).unwrap();
//! ```
//!
//! # Crashes
//! What a call or an event tells was saved before (see [`OnSaveFailure`] for stores that fail). A crash between the two
//! leaves messages that are saved as delivered but were not told. So an application keeps the
//! [`cursor`](crate::channel::Delivery::cursor) of the last delivery it has dealt with, and after a start asks
//! [`deliveries_since`](ReliabilityManager::deliveries_since) it: each delivery reaches it at least once. Where the store
//! is an older copy, the answer says from where on nobody can tell what was dealt with.

mod archiving;
mod builder;
mod callbacks;
mod calls;
mod cell;
mod clock;
mod directory;
mod error;
mod events;
mod history;
mod observer;
mod periodic;
mod pool;
mod read;
mod relief;
mod shared;
mod storing;
mod timers;

use std::sync::{Arc, Weak};

use bytes::Bytes;

pub use builder::ManagerBuilder;
pub use callbacks::Callbacks;
pub use clock::{Clock, ManualClock, ScaledClock, SystemClock};
pub use directory::ShutdownReport;
pub use error::{Fault, ManagerError};
pub use events::{EventStream, Lagged, ManagerEvent, Transmission, TransmitStream};
pub use observer::Observer;

#[cfg(doc)]
use crate::channel::Channel;
use crate::channel::{Config, Fate, Input, Outcome, Received};
use crate::executor::{Answer, Order};
pub use crate::executor::{OnSaveFailure, Unfinished};
use crate::types::{ChannelId, Dialect, Message, MessageId, ParticipantId};
use crate::wire;
use cell::Cell;
use shared::Shared;

/// Makes messages reliable in any number of channels (see the module page). A cheap handle: clones are the same
/// manager, which ends with the last one.
///
/// See the [example](crate::manager#example).
#[derive(Clone, Debug)]
pub struct ReliabilityManager {
    shared: Arc<Shared>,
}

/// A message to broadcast to its channel. Only the caller gets it; resends come as [`Transmission`]s.
///
/// See the [example](crate::manager#example).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wrapped {
    /// The message's id.
    pub id: MessageId,
    /// The message as it goes over the network.
    pub bytes: Bytes,
}

/// A received message and what became of it.
///
/// See the [example](crate::manager#example).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Unwrapped {
    /// The message. Its content reaches the application by events alone, once and in order.
    pub message: Message,
    /// What became of it.
    pub fate: Fate,
    /// Messages delivered now, in order, itself included.
    pub released: Vec<MessageId>,
}

/// A message passed on.
///
/// See the [example](crate::manager#example).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Relayed {
    /// What to broadcast; `None` where there is nothing to pass on, as for a duplicate.
    pub bytes: Option<Bytes>,
    /// What became of the message here.
    pub received: Received,
}

impl ReliabilityManager {
    /// Options for a manager of this participant: one id for each device, the same after every restart.
    pub fn builder(participant: impl Into<ParticipantId>) -> ManagerBuilder {
        ManagerBuilder::new(participant.into())
    }

    /// Inside a callback: the manager that runs it.
    #[must_use]
    pub fn current() -> Option<Self> {
        callbacks::current()
    }

    /// A handle that does not keep the manager alive.
    #[must_use]
    pub fn downgrade(&self) -> WeakManager {
        WeakManager(Arc::downgrade(&self.shared))
    }

    /// Who this manager speaks for.
    #[must_use]
    pub fn participant(&self) -> &ParticipantId {
        &self.shared.common.options.participant
    }

    /// Options of channels opened without their own.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        &self.shared.config
    }

    fn from_shared(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

/// A handle that does not keep its manager alive.
///
/// See the [example](crate::manager#example).
#[derive(Clone, Debug)]
pub struct WeakManager(Weak<Shared>);

impl WeakManager {
    /// The manager, while it lives.
    #[must_use]
    pub fn upgrade(&self) -> Option<ReliabilityManager> {
        self.0.upgrade().map(ReliabilityManager::from_shared)
    }
}

/// Channels come and go.
impl ReliabilityManager {
    /// Opens a channel with the manager's options, loading what was saved of it; one that is open stays as it is.
    /// Concurrent calls share one load. A failed load leaves nothing behind, and the next call tries again.
    ///
    /// # Errors
    /// [`ManagerError::Persistence`] when the store cannot load it, [`ManagerError::TooManyChannels`],
    /// [`ManagerError::Restore`] for an id that is refused.
    pub async fn ensure_channel(&self, channel: impl Into<ChannelId>) -> Result<(), ManagerError> {
        self.shared.open(&channel.into(), &self.shared.config).await
    }

    /// As [`ensure_channel`](Self::ensure_channel), with options of its own, which count only if it is not open yet.
    ///
    /// # Errors
    /// As there, and [`ManagerError::Config`] for options that are refused.
    pub async fn ensure_channel_with(
        &self,
        channel: impl Into<ChannelId>,
        mut config: Config,
    ) -> Result<(), ManagerError> {
        config.confirm_deliveries |= self.shared.callbacks.hear_deliveries();
        config.authenticator = config.authenticator.or_else(|| self.shared.config.authenticator.clone());
        config.validate()?;
        builder::fits(&config, self.shared.max_value_bytes)?;
        self.shared.open(&channel.into(), &Arc::new(config)).await
    }

    /// Wipes a channel, from memory and from the store, whether it is open or not. What is queued in it is discarded,
    /// and it does not come back: opened again, it is new.
    ///
    /// # Errors
    /// [`ManagerError::Persistence`] when the store may still have it. The channel is gone all the same; removing or
    /// opening it again wipes it first.
    pub async fn remove_channel(&self, channel: impl Into<ChannelId>) -> Result<(), ManagerError> {
        self.shared.remove(&channel.into()).await
    }

    /// Carries out what is queued in a channel and forgets it; what the store has of it stays.
    ///
    /// # Errors
    /// [`ManagerError::UnknownChannel`]; [`ManagerError::Persistence`] when its last changes cannot be saved: then it
    /// stays open.
    pub async fn close_channel(&self, channel: impl Into<ChannelId>) -> Result<(), ManagerError> {
        self.shared.close(&channel.into()).await
    }

    /// Removes all channels, also those the store knows and that are not open.
    ///
    /// # Errors
    /// The first one; the other channels are removed all the same. [`ManagerError::Persistence`] when the store cannot name
    /// its channels, or does not come back within the [end timeout](ManagerBuilder::end_timeout): then none is removed.
    pub async fn reset(&self) -> Result<(), ManagerError> {
        let mut outcome = Ok(());
        for channel in self.shared.all_channels().await? {
            outcome = outcome.and(self.shared.remove(&channel).await);
        }
        outcome
    }

    /// The channels that are open, in id order.
    #[must_use]
    pub fn channels(&self) -> Vec<ChannelId> {
        let mut channels: Vec<ChannelId> = self
            .shared
            .directory
            .cells()
            .iter()
            .filter(|cell| cell.look(|lane| lane.is_open()))
            .map(|cell| cell.id.clone())
            .collect();
        channels.sort();
        channels
    }

    /// Ends the manager: refuses further calls, stops its timers, carries out what is queued, tries once more to save
    /// what is owed, and flushes the store. Streams end after their last item. Reading stays possible.
    /// All calls get the same report. It waits for the callbacks to end, unless it is called from inside one.
    pub async fn shutdown(&self) -> ShutdownReport {
        self.shared.shut_down().await
    }
}

/// Messages.
impl ReliabilityManager {
    /// Makes a message of this content, for the caller to broadcast. Its id is a hash as LIP-173 defines it.
    ///
    /// # Errors
    /// [`ManagerError::UnknownChannel`]; [`ManagerError::Channel`] for content that is refused, or when too many
    /// own messages are neither acknowledged nor given up; [`ManagerError::Persistence`] with [`OnSaveFailure::Fail`].
    pub async fn wrap_outgoing(
        &self,
        channel: impl Into<ChannelId>,
        content: impl Into<Bytes>,
    ) -> Result<Wrapped, ManagerError> {
        self.wrap(channel.into(), Input::Send { content: content.into(), id: None }).await
    }

    /// As [`wrap_outgoing`](Self::wrap_outgoing), under an id of the caller's choice.
    ///
    /// # Errors
    /// As there, and [`ManagerError::Channel`] when a message with this id is known.
    pub async fn wrap_outgoing_with_id(
        &self,
        channel: impl Into<ChannelId>,
        id: impl Into<MessageId>,
        content: impl Into<Bytes>,
    ) -> Result<Wrapped, ManagerError> {
        self.wrap(channel.into(), Input::Send { content: content.into(), id: Some(id.into()) }).await
    }

    /// Makes a message that is not kept: no order, no acknowledgement, no resend.
    ///
    /// # Errors
    /// As [`wrap_outgoing`](Self::wrap_outgoing).
    pub async fn wrap_ephemeral(
        &self,
        channel: impl Into<ChannelId>,
        content: impl Into<Bytes>,
    ) -> Result<Wrapped, ManagerError> {
        self.wrap(channel.into(), Input::SendEphemeral { content: content.into() }).await
    }

    /// Takes in a message from the network. Its channel is found by the id it carries; one that is not open is opened
    /// where [`auto_create`](ManagerBuilder::auto_create) is set. Deliveries are told by events, not by the answer.
    ///
    /// # Errors
    /// [`ManagerError::Wire`] and [`ManagerError::Channel`] for messages that are refused,
    /// [`ManagerError::UnknownChannel`]; where channels are created, the errors of [`ensure_channel`](Self::ensure_channel);
    /// [`ManagerError::Persistence`] with [`OnSaveFailure::Fail`].
    pub async fn unwrap_received(&self, bytes: impl Into<Bytes>) -> Result<Unwrapped, ManagerError> {
        self.unwrap(None, bytes.into()).await
    }

    /// As [`unwrap_received`](Self::unwrap_received), from a network that carries this channel: another one's message is
    /// refused by the channel.
    pub(crate) async fn unwrap_in(&self, channel: &ChannelId, bytes: Bytes) -> Result<Unwrapped, ManagerError> {
        self.unwrap(Some(channel), bytes).await
    }

    async fn unwrap(&self, channel: Option<&ChannelId>, bytes: Bytes) -> Result<Unwrapped, ManagerError> {
        let (message, dialect) = wire::decode(&bytes, &self.shared.config.limits)?;
        let channel = channel.unwrap_or(&message.channel);
        let answer = self.enter(channel, Input::Receive(message.clone()), Some(dialect)).await?;
        let Received { fate, released, .. } = received(answer.outcome, message.id.clone());
        Ok(Unwrapped { message, fate, released })
    }

    /// Takes another participant's message in and passes it on unchanged, for bridges between networks.
    ///
    /// # Errors
    /// As [`unwrap_received`](Self::unwrap_received).
    pub async fn relay(&self, message: Message) -> Result<Relayed, ManagerError> {
        let (channel, id) = (message.channel.clone(), message.id.clone());
        let Answer { outcome, own, .. } = self.enter(&channel, Input::Relay(message), None).await?;
        let bytes = own.map(|(message, dialect)| wire::encode(&message, dialect)).transpose()?;
        Ok(Relayed { bytes, received: received(outcome, id) })
    }

    /// Declares that these dependencies need not be waited for.
    ///
    /// # Errors
    /// [`ManagerError::UnknownChannel`]; [`ManagerError::Persistence`] with [`OnSaveFailure::Fail`].
    pub async fn mark_dependencies_met(
        &self,
        channel: impl Into<ChannelId>,
        ids: impl IntoIterator<Item = MessageId>,
    ) -> Result<(), ManagerError> {
        let input = Input::DependenciesMet(ids.into_iter().collect());
        self.call(&channel.into(), input).await.map(|_| ())
    }

    /// Confirms that the application has dealt with all deliveries up to this number. Only with
    /// [`Config::confirm_deliveries`], where a registered `on_event` or `on_message_ready` confirms by itself when it
    /// returns. What was not confirmed stays in the log and is delivered again after a restart.
    ///
    /// # Errors
    /// As [`mark_dependencies_met`](Self::mark_dependencies_met).
    pub async fn confirm_deliveries(&self, channel: impl Into<ChannelId>, number: u64) -> Result<(), ManagerError> {
        self.call(&channel.into(), Input::DeliveriesTold(number)).await.map(|_| ())
    }

    /// Sends an own message again as if it had been sent now, also one that was given up. It comes as a [`Transmission`], as
    /// all resends do.
    ///
    /// # Errors
    /// As [`mark_dependencies_met`](Self::mark_dependencies_met), and [`ManagerError::Channel`] for a message that is not
    /// known, not an own one, or acknowledged already, and when too many messages are pending.
    pub async fn resend(&self, channel: impl Into<ChannelId>, id: impl Into<MessageId>) -> Result<(), ManagerError> {
        self.call(&channel.into(), Input::Resend(id.into())).await.map(|_| ())
    }

    /// Takes an own message back that nobody has acknowledged: it leaves the log and the store, is not sent again, and is
    /// named in nothing that is sent from now on. Who received it without our knowing of it keeps it.
    ///
    /// # Errors
    /// As [`mark_dependencies_met`](Self::mark_dependencies_met), and [`ManagerError::Channel`] for a message that is not
    /// known, not an own one, or acknowledged already.
    pub async fn withdraw(&self, channel: impl Into<ChannelId>, id: impl Into<MessageId>) -> Result<(), ManagerError> {
        self.call(&channel.into(), Input::Withdraw(id.into())).await.map(|_| ())
    }

    /// Erases the content of a message, an own one or not, for good: from log, store and archive. The message keeps its place
    /// in the order; nobody is sent it, and a copy that comes later is not taken in. Others are told nothing of it. A
    /// message need not be here: its id is remembered. Docs/protocol.md section 16.
    ///
    /// # Errors
    /// As [`mark_dependencies_met`](Self::mark_dependencies_met).
    pub async fn erase(&self, channel: impl Into<ChannelId>, id: impl Into<MessageId>) -> Result<(), ManagerError> {
        self.call(&channel.into(), Input::Erase(id.into())).await.map(|_| ())
    }

    /// Keeps what helps others to fetch a message from elsewhere; it goes out with references to the message.
    ///
    /// # Errors
    /// As [`mark_dependencies_met`](Self::mark_dependencies_met), and [`ManagerError::Channel`] for an unknown message
    /// or a hint that is too large.
    pub async fn set_retrieval_hint(
        &self,
        channel: impl Into<ChannelId>,
        id: impl Into<MessageId>,
        hint: impl Into<Bytes>,
    ) -> Result<(), ManagerError> {
        self.call(&channel.into(), Input::SetHint { id: id.into(), hint: hint.into() }).await.map(|_| ())
    }

    async fn wrap(&self, channel: ChannelId, input: Input) -> Result<Wrapped, ManagerError> {
        let Answer { outcome, own, .. } = self.call(&channel, input).await?;
        match (outcome, own) {
            (Outcome::Sent(id), Some((message, dialect))) => {
                Ok(Wrapped { id, bytes: wire::encode(&message, dialect)? })
            }
            // A channel answers what is sent with `Sent` and the message; anything else is its defect.
            _ => Err(ManagerError::ChannelFailed(channel)),
        }
    }

    /// Makes messages of these contents, all or none.
    pub(crate) async fn wrap_many(
        &self,
        channel: &ChannelId,
        contents: Vec<Bytes>,
    ) -> Result<Vec<Wrapped>, ManagerError> {
        let Answer { own, further, .. } = self.call(channel, Input::SendMany(contents)).await?;
        let Some((first, dialect)) = own else { return Ok(Vec::new()) };
        let messages = std::iter::once(*first).chain(further);
        messages.map(|message| Ok(Wrapped { bytes: wire::encode(&message, dialect)?, id: message.id })).collect()
    }

    async fn call(&self, channel: &ChannelId, input: Input) -> Result<Answer, ManagerError> {
        let cell = self.cell_to_enter(channel)?;
        self.enter_cell(&cell, input, None).await
    }

    /// Hands in what came from outside: its channel is opened where that is allowed.
    async fn enter(&self, channel: &ChannelId, input: Input, heard: Option<Dialect>) -> Result<Answer, ManagerError> {
        let cell = match self.cell_to_enter(channel) {
            Ok(cell) if !self.shared.auto_create || cell.look(|lane| lane.is_open()) => cell,
            Ok(_) | Err(ManagerError::UnknownChannel(_)) if self.shared.auto_create => {
                self.shared.open(channel, &self.shared.config).await?;
                self.cell_to_enter(channel)?
            }
            other => other?,
        };
        self.enter_cell(&cell, input, heard).await
    }

    async fn enter_cell(&self, cell: &Arc<Cell>, input: Input, heard: Option<Dialect>) -> Result<Answer, ManagerError> {
        let answer = cell.enter(&self.shared, Order::Enter { input, heard }).await;
        relief::relieve(&self.shared);
        answer
    }

    fn cell(&self, channel: &ChannelId) -> Result<Arc<Cell>, ManagerError> {
        self.shared.directory.cell(channel)
    }

    fn cell_to_enter(&self, channel: &ChannelId) -> Result<Arc<Cell>, ManagerError> {
        if self.shared.directory.is_shut_down() {
            return Err(ManagerError::ShutDown);
        }
        self.cell(channel)
    }
}

/// A channel answers what is received with `Received`; `Done` can only mean that nothing came of it.
fn received(outcome: Outcome, id: MessageId) -> Received {
    match outcome {
        Outcome::Received(received) => received,
        _ => Received { id, fate: Fate::Duplicate, released: Vec::new() },
    }
}
