//! [`Node`]: join a channel over a network, send, hear, and know what became of it.
//!
//! What: one participant on one [`Transport`], in any number of channels, with one store. Why besides the manager: that
//! makes bytes and takes bytes, and most applications have a network and want a conversation. How it moves:
//! [`Node::join`] opens a channel and subscribes; a task of each channel publishes what goes out, another takes in what
//! arrives, and all that happens is told on the channel's [`Events`].
//!
//! # Example
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use reliable_channel::reliable::{ChannelEvent, Node};
//! use reliable_channel::transport::MemoryNetwork;
//!
//! let network = MemoryNetwork::new();
//! let alice = Node::builder("alice/phone").transport(network.member()).build()?;
//! let bob = Node::builder("bob/laptop").transport(network.member()).build()?;
//! let (lobby, mut told) = alice.join("lobby").await?;
//! let (_lobby, mut heard) = bob.join("lobby").await?;
//!
//! let request = lobby.send("hello").await?;
//! while let Some(event) = heard.next().await {
//!     if let ChannelEvent::Received(delivery) = event {
//!         assert_eq!(delivery.body.content, "hello");
//!         break;
//!     }
//! }
//! while let Some(event) = told.next().await {
//!     // Within four seconds: bob's acknowledgement.
//!     if let ChannelEvent::Delivered { request: of, by, .. } = event {
//!         assert_eq!((of, by), (request, "bob/laptop".into()));
//!         break;
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # Restarts
//! What [`ReliableChannel::send`] returned for and what an event told is saved, with a store that keeps its promise. A crash
//! may come between saving and telling. So after a start an application shows [`ReliableChannel::history`], which has
//! everything, and then goes on with the events; or it keeps the cursor of the last delivery it has dealt with, and asks
//! the [`manager`](Node::manager) for `deliveries_since` it.
//!
//! # Large payloads
//! What the network does not carry in one message is sent in segments (LIP-243), up to 255 of them. It is received once, whole,
//! in the place of its last segment. All segments are saved in one commit before [`ReliableChannel::send`] returns, and
//! those received are rows of the log: a restart of either side in between loses nothing. [`Segmentation`] has the options.
//! In the log a payload counts as one message, and its bytes count apart, up to 64 MiB: where there is more, the lowest places
//! leave the log, the conversation before the oldest file among them.
//!
//! After a restart nobody knows any more *who* had acknowledged a segment before it, only that somebody had. Such segments
//! count for everybody then: among two participants that is exact, among more `Delivered` may name one who lacks some of them.
//!
//! # Encryption
//! With [`ChannelBuilder::encryption`] each message is sealed on its way out and opened on its way in ([`Encryption`]). Members
//! change keys by [`ReliableChannel::set_encryption`]: a number travels with each message, and keys of lower numbers go on to
//! open what was sealed with them.
//!
//! # Rate limits
//! With [`NodeBuilder::rate_limit`] no more than so many messages go out in an epoch, also across restarts ([`RateLimit`]). What
//! waits is not sent again before it was sent, and its answers are waited for from then on.

mod builder;
mod channel;
mod encryption;
mod events;
mod link;
mod outbox;
mod pace;
mod parts;
mod rate_limit;
mod requests;
mod retrieval;
mod router;
mod segmentation;
mod wholes;

use std::fmt;
use std::sync::Arc;

pub use builder::{ChannelBuilder, NodeBuilder};
pub use channel::{ReliableChannel, RequestState};
pub use encryption::{Encryption, EncryptionError};
pub use events::{ChannelEvent, Events, RequestId};
pub use pace::Lease;
pub use rate_limit::{Ledger, LedgerFile, RateLimit};
pub use segmentation::Segmentation;
pub use wholes::Entry;

use crate::channel::{ChannelError, Config};
use crate::manager::{ManagerError, ReliabilityManager, ShutdownReport};
use crate::transport::{Transport, TransportError};
use crate::types::{ChannelId, ParticipantId};
use rate_limit::Pacer;
use router::Router;

/// One participant, one device, on one network. A cheap handle: clones are the same node, which ends with the last one and
/// the last of its channels.
///
/// See the [example](crate::reliable#example).
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    manager: ReliabilityManager,
    transport: Arc<dyn Transport>,
    router: Arc<Router>,
    pacer: Arc<Pacer>,
    /// As given, for channels without options of their own.
    config: Config,
    segmentation: Segmentation,
}

impl Node {
    /// Options of a node of this participant: one id for each device, the same after every restart.
    pub fn builder(participant: impl Into<ParticipantId>) -> NodeBuilder {
        NodeBuilder::new(participant.into())
    }

    /// Joins a channel under the topic of its name: opens it, with what the store has of it, and subscribes. Where the
    /// network is not there, it is joined all the same, [`ChannelEvent::Disconnected`] is told, and it is tried again. The
    /// events begin with this call.
    ///
    /// # Errors
    /// [`NodeError::AlreadyJoined`]; [`NodeError::Manager`] when the store cannot load it; [`NodeError::Transport`] when
    /// the network refuses for good.
    pub async fn join(&self, channel: impl Into<ChannelId>) -> Result<(ReliableChannel, Events), NodeError> {
        self.channel(channel).join().await
    }

    /// As [`join`](Self::join), with options.
    pub fn channel(&self, channel: impl Into<ChannelId>) -> ChannelBuilder {
        ChannelBuilder::new(self.clone(), channel.into())
    }

    /// Who this node speaks for.
    #[must_use]
    pub fn participant(&self) -> &ParticipantId {
        self.inner.manager.participant()
    }

    /// The manager behind it, for what this face does not offer. Whoever opens, closes or sends there is not heard here.
    #[must_use]
    pub fn manager(&self) -> &ReliabilityManager {
        &self.inner.manager
    }

    /// Leaves all channels and ends: what is queued is saved and sent, streams end after their last item.
    pub async fn shutdown(&self) -> ShutdownReport {
        for channel in self.inner.router.channels() {
            // What keeps one from closing is in the report.
            let _ = channel::close(&self.inner, &channel).await;
        }
        let report = self.inner.manager.shutdown().await;
        self.inner.router.end();
        report
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.router.end();
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("participant", self.participant()).finish_non_exhaustive()
    }
}

/// Why a node could not do what it was asked.
///
/// See the [example](crate::reliable#example).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The caller's fault: a node needs a transport.
    #[error("a node needs a transport")]
    NoTransport,
    /// The caller's fault: this node is in this channel already.
    #[error("channel {0} is joined already")]
    AlreadyJoined(ChannelId),
    /// The caller's fault: this node is not in this channel, or not any more.
    #[error("channel {0} is not joined")]
    NotJoined(ChannelId),
    /// The caller's fault: the message is larger than what can be sent, in segments where these are allowed. Send less.
    #[error("the message takes {bytes} bytes, and at most {max} can be sent; send it in pieces")]
    TooLarge {
        /// Bytes of the message.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The caller's fault: a key adds more bytes to a message than the keys that the channel was joined with, of which there may
    /// be none.
    #[error("the key takes {bytes} bytes of a message, and {max} are kept free; join the channel anew with this key")]
    Overhead {
        /// Bytes that it takes.
        bytes: usize,
        /// Bytes that messages leave free.
        max: usize,
    },
    /// The caller's fault, or that of its ledger: this rate limit cannot be kept.
    #[error("the rate limit cannot be kept: {0}")]
    RateLimit(String),
    /// The network's fault.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Anything else; [`ManagerError::fault`] says whose fault it is.
    #[error(transparent)]
    Manager(ManagerError),
}

impl From<ManagerError> for NodeError {
    fn from(error: ManagerError) -> Self {
        match error {
            ManagerError::Channel(ChannelError::TooLarge { len, max, .. }) => Self::TooLarge { bytes: len, max },
            ManagerError::UnknownChannel(channel) => Self::NotJoined(channel),
            other => Self::Manager(other),
        }
    }
}
