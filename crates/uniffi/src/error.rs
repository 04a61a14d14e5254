//! Why a call failed, by what can be done about it.

use reliable_channel::channel::ChannelError as Core;
use reliable_channel::manager::{Fault, ManagerError};
use reliable_channel::reliable::NodeError;
use reliable_channel::store::PersistenceError;
use reliable_channel::types::with_causes;
use reliable_channel_udp::UdpError;

/// Why a call failed. `reason` is for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, uniffi::Error)]
pub enum ChannelError {
    /// The caller's fault: the options do not go together.
    #[error("{reason}")]
    Options {
        /// What is wrong with them.
        reason: String,
    },
    /// The caller's fault: this channel is not joined, or not any more.
    #[error("{reason}")]
    NotJoined {
        /// Which.
        reason: String,
    },
    /// The caller's fault: this message is not known.
    #[error("{reason}")]
    UnknownMessage {
        /// Which.
        reason: String,
    },
    /// The caller's fault: more bytes than can be sent.
    #[error("{reason}")]
    TooLarge {
        /// How many.
        reason: String,
    },
    /// For now: too much is open already; try again when some of it is acknowledged.
    #[error("{reason}")]
    Full {
        /// What.
        reason: String,
    },
    /// The caller's fault: it cannot be done for another reason.
    #[error("{reason}")]
    Refused {
        /// Which.
        reason: String,
    },
    /// A peer's fault: these bytes are no message that can be taken in. Nothing changed.
    #[error("{reason}")]
    Peer {
        /// What is wrong with them.
        reason: String,
    },
    /// The store's fault.
    #[error("{reason}")]
    Store {
        /// What it said.
        reason: String,
    },
    /// The network's fault.
    #[error("{reason}")]
    Network {
        /// What it said.
        reason: String,
    },
    /// The system's fault: no thread, or no random bits.
    #[error("{reason}")]
    System {
        /// What it said.
        reason: String,
    },
    /// A defect of this library.
    #[error("{reason}")]
    Defect {
        /// What happened.
        reason: String,
    },
}

impl From<ManagerError> for ChannelError {
    fn from(error: ManagerError) -> Self {
        let reason = with_causes(&error);
        match &error {
            ManagerError::UnknownChannel(_) | ManagerError::ShutDown => Self::NotJoined { reason },
            ManagerError::Config(_) | ManagerError::Restore(_) => Self::Options { reason },
            ManagerError::TooManyChannels { .. } | ManagerError::Channel(Core::OutgoingFull) => Self::Full { reason },
            ManagerError::Channel(Core::TooLarge { .. }) => Self::TooLarge { reason },
            ManagerError::Channel(Core::UnknownMessage(_)) => Self::UnknownMessage { reason },
            ManagerError::Entropy(_) | ManagerError::NoRuntime | ManagerError::NoTimeDriver => Self::System { reason },
            _ => match error.fault() {
                Fault::Peer => Self::Peer { reason },
                Fault::Caller => Self::Refused { reason },
                Fault::Backend => Self::Store { reason },
                _ => Self::Defect { reason },
            },
        }
    }
}

impl From<NodeError> for ChannelError {
    fn from(error: NodeError) -> Self {
        let reason = with_causes(&error);
        match error {
            NodeError::Manager(error) => error.into(),
            NodeError::NotJoined(_) => Self::NotJoined { reason },
            NodeError::TooLarge { .. } => Self::TooLarge { reason },
            NodeError::Transport(_) => Self::Network { reason },
            _ => Self::Refused { reason },
        }
    }
}

impl From<PersistenceError> for ChannelError {
    fn from(error: PersistenceError) -> Self {
        Self::Store { reason: with_causes(&error) }
    }
}

impl From<UdpError> for ChannelError {
    fn from(error: UdpError) -> Self {
        Self::Network { reason: error.to_string() }
    }
}
