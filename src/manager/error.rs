//! Why the manager could not do what it was asked, grouped by whose fault it is.
//!
//! What: [`ManagerError`] and [`Fault`]. Why cloneable: callers that wait for one load or one save share its error.
//! How it moves: it is what every method of the manager returns; events carry failures nobody waits for.

use std::sync::Arc;

use crate::channel::{ChannelError, ConfigError, Renumbered, RestoreError};
use crate::executor::{ExecutorError, Unfinished};
use crate::store::PersistenceError;
use crate::types::ChannelId;
use crate::wire::WireError;

/// Why a call failed; [`fault`](Self::fault) says whose fault it is.
///
/// See the [example](crate::manager#example).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManagerError {
    /// The caller's fault: this channel is not open, or was removed or closed meanwhile.
    #[error("channel {0} is not open")]
    UnknownChannel(ChannelId),
    /// The caller's fault: close some channel first.
    #[error("{max} channels are open, more are not allowed")]
    TooManyChannels {
        /// Channels allowed.
        max: usize,
    },
    /// The caller's fault: the manager, or the runtime it was built in, has ended.
    #[error("the manager was shut down")]
    ShutDown,
    /// The caller's fault: a manager must be built inside a tokio runtime, whose tasks it uses from then on.
    #[error("a manager must be built inside a tokio runtime")]
    NoRuntime,
    /// The caller's fault: the runtime has no time driver; build it with `enable_time` or `enable_all`.
    #[error("the tokio runtime has no time driver")]
    NoTimeDriver,
    /// The caller's fault: an option is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The caller's fault: the channel's id or options are refused.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The caller's or the peer's fault, as the inner error says. Nothing changed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The peer's fault: these bytes are no message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The store's fault: it is an older copy, or lost what it had not saved.
    #[error(transparent)]
    Renumbered(#[from] Renumbered),
    /// The store's fault.
    #[error(transparent)]
    Persistence(#[from] Arc<PersistenceError>),
    /// The store's or a callback's fault: what was asked for had not ended after
    /// [`end_timeout`](super::ManagerBuilder::end_timeout). It goes on; asking again waits for it again.
    #[error("channel {channel}: {what}")]
    Unfinished {
        /// The channel.
        channel: ChannelId,
        /// What it waited for.
        what: Unfinished,
    },
    /// The system's fault: it has no random bits to give.
    #[error("no entropy: {0}")]
    Entropy(String),
    /// This library's fault: a defect made the channel panic. Close it and open it again, or remove it.
    #[error("channel {0} stopped because of a defect in this library")]
    ChannelFailed(ChannelId),
}

/// Whose fault an error is.
///
/// See the [example](crate::manager#example).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The application asked for something that cannot be done.
    Caller,
    /// Another participant sent something that cannot be taken in.
    Peer,
    /// The store or the system did not do its part.
    Backend,
    /// A defect of this library.
    Library,
}

impl ManagerError {
    /// The error with the channel's name.
    pub(super) fn of(channel: &ChannelId, error: ExecutorError) -> Self {
        match error {
            ExecutorError::UnknownChannel => Self::UnknownChannel(channel.clone()),
            ExecutorError::TooManyChannels { max } => Self::TooManyChannels { max },
            ExecutorError::ShutDown => Self::ShutDown,
            ExecutorError::Restore(error) => Self::Restore(error),
            ExecutorError::Channel(error) => Self::Channel(error),
            ExecutorError::Persistence(error) => Self::Persistence(error),
            ExecutorError::ChannelFailed => Self::ChannelFailed(channel.clone()),
            ExecutorError::Unfinished(what) => Self::Unfinished { channel: channel.clone(), what },
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Wire(_)
            | Self::Channel(
                ChannelError::WrongChannel
                | ChannelError::NoKind
                | ChannelError::PeerLimit { .. }
                | ChannelError::ClockDrift { .. },
            ) => Fault::Peer,
            Self::Persistence(_) | Self::Renumbered(_) | Self::Entropy(_) | Self::Unfinished { .. } => Fault::Backend,
            Self::ChannelFailed(_) => Fault::Library,
            Self::UnknownChannel(_)
            | Self::TooManyChannels { .. }
            | Self::ShutDown
            | Self::NoRuntime
            | Self::NoTimeDriver
            | Self::Config(_)
            | Self::Restore(_)
            | Self::Channel(_) => Fault::Caller,
        }
    }
}

impl From<PersistenceError> for ManagerError {
    fn from(error: PersistenceError) -> Self {
        Self::Persistence(Arc::new(error))
    }
}
