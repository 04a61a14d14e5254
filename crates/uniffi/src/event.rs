//! What happens in channels.

use reliable_channel::channel::{Event as Core, SyncStatus as CoreStatus};
use reliable_channel::manager::ManagerEvent;
use reliable_channel::reliable::ChannelEvent;
use reliable_channel::types::with_causes;

use crate::Message;

/// How far catching up is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum SyncStatus {
    /// Nothing is known to be missing.
    InSync,
    /// Missing messages are being fetched.
    Syncing {
        /// Messages fetched so far.
        received: u64,
        /// Messages known to be missing still.
        missing: u64,
    },
    /// Messages are missing, and nobody gives them now. There will be another try.
    Behind,
}

impl From<CoreStatus> for SyncStatus {
    fn from(status: CoreStatus) -> Self {
        match status {
            CoreStatus::Syncing { received, missing } => Self::Syncing { received, missing },
            CoreStatus::Behind => Self::Behind,
            _ => Self::InSync,
        }
    }
}

/// What happened in a channel. Later versions may tell more.
#[derive(Clone, Debug, PartialEq, uniffi::Enum)]
pub enum Event {
    /// A message of another participant, once and in causal order.
    Received {
        /// Where.
        channel: String,
        /// The message.
        message: Message,
    },
    /// Another participant has an own message.
    Delivered {
        /// Where.
        channel: String,
        /// The message.
        id: String,
        /// Who has it.
        by: String,
        /// It was told as failed before.
        after_failure: bool,
    },
    /// Another participant probably has an own message.
    PossiblyDelivered {
        /// Where.
        channel: String,
        /// The message.
        id: String,
        /// Who.
        by: String,
        /// The chance of an error.
        chance: f64,
    },
    /// An own message was given up. It may still be delivered.
    Failed {
        /// Where.
        channel: String,
        /// The message.
        id: String,
        /// There was some evidence of receipt.
        possibly: bool,
    },
    /// These bytes must be broadcast. A manager alone tells it.
    Transmit {
        /// Where.
        channel: String,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A message that is not kept.
    Ephemeral {
        /// Where.
        channel: String,
        /// Who sent it.
        sender: String,
        /// What it says.
        content: Vec<u8>,
    },
    /// A message waits for others.
    Waits {
        /// Where.
        channel: String,
        /// The message.
        id: String,
        /// What it waits for.
        missing: Vec<String>,
    },
    /// Messages went ahead without what they refer to.
    Gap {
        /// Where.
        channel: String,
        /// The first message after the gap.
        before: String,
        /// So many are missing at least.
        missing: u64,
    },
    /// How far catching up is.
    Sync {
        /// Where.
        channel: String,
        /// How far.
        status: SyncStatus,
    },
    /// The network took an own message for the first time.
    Sent {
        /// Where.
        channel: String,
        /// The message.
        id: String,
    },
    /// The network refused an own message for good.
    SendError {
        /// Where.
        channel: String,
        /// The message.
        id: String,
        /// Why.
        reason: String,
    },
    /// The network is not there; it is tried again.
    Disconnected {
        /// Where.
        channel: String,
        /// What it said.
        reason: String,
    },
    /// The network is back.
    Connected {
        /// Where.
        channel: String,
    },
    /// Whoever reads was too slow, and so many events were given up. The log has the messages among them.
    Missed {
        /// How many.
        events: u64,
    },
    /// The channel could not be saved; it is tried again.
    StoreFailed {
        /// Where.
        channel: String,
        /// What the store said.
        reason: String,
    },
    /// Everything was saved since.
    StoreRecovered {
        /// Where.
        channel: String,
    },
    /// Something else.
    Other {
        /// Where.
        channel: String,
        /// For people.
        what: String,
    },
}

impl Event {
    pub(crate) fn of_manager(event: &ManagerEvent) -> Self {
        let channel = event.channel().to_string();
        match event {
            ManagerEvent::Channel { event, .. } => Self::of_core(channel, event),
            ManagerEvent::PersistenceFailed { error, .. } => {
                Self::StoreFailed { channel, reason: with_causes(&**error) }
            }
            ManagerEvent::PersistenceRecovered { .. } => Self::StoreRecovered { channel },
            other => Self::Other { channel, what: format!("{other:?}") },
        }
    }

    fn of_core(channel: String, event: &Core) -> Self {
        match event {
            Core::MessageDelivered(delivery) => Self::Received { channel, message: Message::of_delivery(delivery) },
            Core::MessageAcknowledged { id, by, after_failure } => {
                Self::Delivered { channel, id: id.to_string(), by: by.to_string(), after_failure: *after_failure }
            }
            Core::AlsoAcknowledged { id, by } => {
                Self::Delivered { channel, id: id.to_string(), by: by.to_string(), after_failure: false }
            }
            Core::MessagePossiblyAcknowledged { id, by, chance } => {
                Self::PossiblyDelivered { channel, id: id.to_string(), by: by.to_string(), chance: *chance }
            }
            Core::DeliveryFailed { id, possibly } => Self::Failed { channel, id: id.to_string(), possibly: *possibly },
            Core::EphemeralReceived { sender, content, .. } => {
                Self::Ephemeral { channel, sender: sender.to_string(), content: content.to_vec() }
            }
            Core::MissingDependencies { id, missing } => {
                let missing = missing.iter().map(|entry| entry.id.to_string()).collect();
                Self::Waits { channel, id: id.to_string(), missing }
            }
            Core::HistoryGap { missing, before, .. } => {
                Self::Gap { channel, before: before.id.to_string(), missing: *missing }
            }
            Core::SyncStatus(status) => Self::Sync { channel, status: (*status).into() },
            other => Self::Other { channel, what: format!("{other:?}") },
        }
    }

    pub(crate) fn of_channel(channel: String, event: ChannelEvent) -> Self {
        match event {
            ChannelEvent::Received(delivery) => Self::Received { channel, message: Message::of_delivery(&delivery) },
            ChannelEvent::Sent { request } => Self::Sent { channel, id: request.to_string() },
            ChannelEvent::SendError { request, error, .. } => {
                Self::SendError { channel, id: request.to_string(), reason: error.to_string() }
            }
            ChannelEvent::Delivered { request, by, after_error } => {
                Self::Delivered { channel, id: request.to_string(), by: by.to_string(), after_failure: after_error }
            }
            ChannelEvent::DeliveryError { request, possibly } => {
                Self::Failed { channel, id: request.to_string(), possibly }
            }
            ChannelEvent::Disconnected { error } => Self::Disconnected { channel, reason: error.to_string() },
            ChannelEvent::Connected => Self::Connected { channel },
            ChannelEvent::Missed { events, .. } => Self::Missed { events },
            ChannelEvent::PersistenceFailed(error) => Self::StoreFailed { channel, reason: with_causes(&*error) },
            ChannelEvent::PersistenceRecovered => Self::StoreRecovered { channel },
            ChannelEvent::Other(event) => Self::of_core(channel, &event),
            other => Self::Other { channel, what: format!("{other:?}") },
        }
    }
}
