//! [`ReliableChannel`]: one channel that a node has joined, from joining to closing.
//!
//! How it moves: [`join`] registers the channel's mailboxes before it is opened, so that no event is missed; then two tasks
//! keep the network's end. [`close`] undoes that in turn: no more input, what is queued goes out, then silence.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::events::{Events, RequestId};
use super::link::{self, Link};
use super::outbox::Outgoing;
use super::{Inner, NodeError};
use crate::channel::{Config, DeliveryState};
use crate::state::Logged;
use crate::transport::Topic;
use crate::types::{ChannelId, ParticipantId};

/// How long joining waits for the first answer of the network. It is asked on.
const FIRST_ANSWER: Duration = Duration::from_secs(2);
/// How long closing waits for the network to take what is queued.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A channel that a [`Node`](super::Node) has joined. Clones are the same channel. It stays joined when the last one is
/// dropped; [`close`](Self::close) leaves it.
///
/// See the [example](crate::reliable#example).
#[derive(Clone)]
pub struct ReliableChannel {
    node: Arc<Inner>,
    id: ChannelId,
}

/// How far a request has come.
///
/// See the [example](crate::reliable#example).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RequestState {
    /// Nobody is known to have it. It is sent again when it is time to.
    Pending,
    /// Somebody probably has it.
    PossiblyDelivered {
        /// The chance that this is an error.
        chance: f64,
    },
    /// Somebody has it.
    Delivered {
        /// Who is known to, since the channel was joined.
        by: Vec<ParticipantId>,
    },
    /// Nobody answered; it is not sent any more, and a late answer is still told.
    Failed,
}

impl ReliableChannel {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &ChannelId {
        &self.id
    }

    /// Says something to all. When this returns, it is saved and on its way; what becomes of it is told under the id.
    ///
    /// # Errors
    /// [`NodeError::TooLarge`], [`NodeError::NotJoined`], [`NodeError::Manager`] for content that is empty, when too many
    /// own messages are open, and for a store that fails where that was asked for.
    pub async fn send(&self, content: impl Into<Bytes>) -> Result<RequestId, NodeError> {
        let wrapped = self.node.manager.wrap_outgoing(self.id.clone(), content).await?;
        let request = RequestId::new(wrapped.id);
        self.put(Outgoing { bytes: wrapped.bytes, request: Some(request.clone()) })?;
        Ok(request)
    }

    /// Says something that is not kept: no order, no answer, no repetition.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_ephemeral(&self, content: impl Into<Bytes>) -> Result<(), NodeError> {
        let wrapped = self.node.manager.wrap_ephemeral(self.id.clone(), content).await?;
        self.put(Outgoing { bytes: wrapped.bytes, request: None })
    }

    /// How far a request has come, also one of an earlier run; `None` for one that is not known any more.
    ///
    /// # Errors
    /// [`NodeError::NotJoined`].
    pub fn request(&self, request: &RequestId) -> Result<Option<RequestState>, NodeError> {
        let manager = &self.node.manager;
        let by = || manager.acknowledged_by(&self.id, request.message());
        Ok(match manager.delivery_state(&self.id, request.message())? {
            None => None,
            Some(DeliveryState::Unacknowledged) => Some(RequestState::Pending),
            Some(DeliveryState::PossiblyAcknowledged { chance }) => Some(RequestState::PossiblyDelivered { chance }),
            Some(DeliveryState::Acknowledged) => Some(RequestState::Delivered { by: by()? }),
            Some(DeliveryState::Failed) => Some(RequestState::Failed),
        })
    }

    /// The log, own messages among it, in the order that all participants share. What an event tells may be in it already.
    ///
    /// # Errors
    /// [`NodeError::NotJoined`].
    pub fn history(&self) -> Result<Vec<Logged>, NodeError> {
        Ok(self.node.manager.log(&self.id)?)
    }

    /// Leaves the channel: carries out and sends what is queued, waiting a second for the network, and unsubscribes. Its
    /// events end after what was told before; nothing is published any more. What the store has of it stays.
    ///
    /// # Errors
    /// [`NodeError::NotJoined`]; [`NodeError::Manager`] when its last changes cannot be saved: then it stays joined.
    pub async fn close(&self) -> Result<(), NodeError> {
        close(&self.node, &self.id).await
    }

    fn put(&self, outgoing: Outgoing) -> Result<(), NodeError> {
        let link = self.node.router.link(&self.id).ok_or_else(|| NodeError::NotJoined(self.id.clone()))?;
        link.outbox.put(outgoing);
        Ok(())
    }
}

impl std::fmt::Debug for ReliableChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReliableChannel").field("id", &self.id).finish_non_exhaustive()
    }
}

pub(super) async fn join(
    node: &Arc<Inner>,
    id: ChannelId,
    topic: Topic,
    config: Option<Config>,
) -> Result<(ReliableChannel, Events), NodeError> {
    let link = Arc::new(Link::default());
    if !node.router.register(&id, &link) {
        return Err(NodeError::AlreadyJoined(id));
    }
    // Undone if the caller stops waiting, too.
    let registered = Registered { node, id: &id, link: &link, kept: false };
    match config {
        Some(config) => node.manager.ensure_channel_with(id.clone(), config).await?,
        None => node.manager.ensure_channel(id.clone()).await?,
    }
    let cursor = node.manager.cursor(&id)?;
    let events = Events::new(link.clone(), node.manager.downgrade(), id.clone(), cursor);
    let (tried, first) = oneshot::channel();
    let publishing =
        link::publish(link.clone(), node.transport.clone(), topic.clone(), node.manager.clone(), id.clone());
    let listening = link::listen(link.clone(), node.transport.clone(), topic, node.manager.clone(), id.clone(), tried);
    link.run(publishing, listening);
    if let Ok(Ok(Err(error))) = tokio::time::timeout(FIRST_ANSWER, first).await {
        // It was opened by this call, so that closing it takes nothing from anybody.
        node.manager.close_channel(id.clone()).await?;
        return Err(error.into());
    }
    registered.keep();
    Ok((ReliableChannel { node: node.clone(), id }, events))
}

pub(super) async fn close(node: &Arc<Inner>, id: &ChannelId) -> Result<(), NodeError> {
    let link = node.router.link(id).ok_or_else(|| NodeError::NotJoined(id.clone()))?;
    node.manager.close_channel(id.clone()).await?;
    link.outbox.end();
    link.finish(LAST_WORDS).await;
    node.router.remove(id, &link);
    Ok(())
}

struct Registered<'a> {
    node: &'a Inner,
    id: &'a ChannelId,
    link: &'a Arc<Link>,
    kept: bool,
}

impl Registered<'_> {
    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.node.router.remove(self.id, self.link);
        }
    }
}
