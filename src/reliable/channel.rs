//! [`ReliableChannel`]: one channel that a node has joined, from joining to closing.
//!
//! How it moves: [`join`] registers the channel's mailboxes before it is opened, so that no event is missed; then two tasks
//! keep the network's end. [`close`] undoes that in turn: no more input, what is queued goes out, then silence.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::builder::Joining;
use super::encryption::Encryption;
use super::events::{Events, RequestId};
use super::link::{self, Link};
use super::outbox::{Outgoing, What};
use super::requests::Split;
use super::wholes::{self, Entry};
use super::{Inner, NodeError, retrieval, segmentation};
use crate::channel::{ChannelError, DeliveryState};
use crate::manager::{ManagerError, Wrapped};
use crate::segment;
use crate::state::Logged;
use crate::types::{ChannelId, MessageId, ParticipantId};

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

    /// Says something to all. When this returns, it is saved and on its way; what becomes of it is told under the id. What
    /// is too large for one message goes in segments, see [`Segmentation`](super::Segmentation).
    ///
    /// # Errors
    /// [`NodeError::TooLarge`], [`NodeError::NotJoined`], [`NodeError::Manager`] for content that is empty, when too many
    /// own messages are open, and for a store that fails where that was asked for.
    pub async fn send(&self, content: impl Into<Bytes>) -> Result<RequestId, NodeError> {
        let link = self.link()?;
        let (messages, needed) = self.wrap(&link, content.into()).await?;
        let ids: Vec<_> = messages.iter().map(|message| message.id.clone()).collect();
        let first = ids.first().cloned().ok_or_else(|| NodeError::NotJoined(self.id.clone()))?;
        // Followed before it goes out, or what is told of its first segments would be told of no request.
        let split = (ids.len() > 1).then(|| link.parts.add(Split::new(ids, needed, BTreeSet::new()))).flatten();
        for message in messages {
            link.outbox.put(Outgoing { bytes: message.bytes, what: What::Request(RequestId::new(message.id)) });
        }
        Ok(split.unwrap_or_else(|| RequestId::new(first)))
    }

    /// The messages that carry a payload, and how many of them its data takes.
    async fn wrap(&self, link: &Link, payload: Bytes) -> Result<(Vec<Wrapped>, usize), NodeError> {
        let (manager, mut room) = (&self.node.manager, link.room);
        loop {
            let mut contents = link.segmentation.split(&payload, room)?;
            let (outcome, needed) = match contents.len() {
                1 => {
                    let wrapped = manager.wrap_outgoing(self.id.clone(), contents.remove(0)).await;
                    (wrapped.map(|wrapped| vec![wrapped]), 1)
                }
                _ => {
                    let needed = contents.first().map_or(0, segment::data_segments);
                    (manager.wrap_many(&self.id, contents).await, needed)
                }
            };
            match outcome {
                // Names of others that go with it are longer than was thought: then its pieces are smaller.
                Err(ManagerError::Channel(ChannelError::TooLarge { len, max, .. }))
                    if link.segmentation.splits() && (max + 1..max.saturating_add(room)).contains(&len) =>
                {
                    room -= len - max;
                }
                outcome => return Ok((outcome?, needed)),
            }
        }
    }

    /// Says something that is not kept: no order, no answer, no repetition.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_ephemeral(&self, content: impl Into<Bytes>) -> Result<(), NodeError> {
        let (link, content) = (self.link()?, content.into());
        let mut contents = link.segmentation.split(&content, link.room)?;
        if contents.len() > 1 {
            return Err(NodeError::TooLarge { bytes: content.len(), max: link.room });
        }
        let wrapped = self.node.manager.wrap_ephemeral(self.id.clone(), contents.remove(0)).await?;
        link.outbox.put(Outgoing { bytes: wrapped.bytes, what: What::Ephemeral });
        Ok(())
    }

    /// How far a request has come, also one of an earlier run; `None` for one that is not known any more.
    ///
    /// # Errors
    /// [`NodeError::NotJoined`].
    pub fn request(&self, request: &RequestId) -> Result<Option<RequestState>, NodeError> {
        if let Some(split) = self.link()?.parts.request(request) {
            return self.state(&split);
        }
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

    /// How far a request of several segments has come.
    fn state(&self, split: &Split) -> Result<Option<RequestState>, NodeError> {
        let by: Vec<ParticipantId> = split.has_all().cloned().collect();
        if !by.is_empty() || split.was_delivered() {
            return Ok(Some(RequestState::Delivered { by }));
        }
        let (mut failed, mut pending, mut certain) = (false, false, 1.0);
        for segment in &split.segments {
            match self.node.manager.delivery_state(&self.id, segment)? {
                None => return Ok(None),
                Some(DeliveryState::Failed) => failed = true,
                Some(DeliveryState::PossiblyAcknowledged { chance }) => certain *= 1.0 - chance,
                // That somebody has one segment says nothing of who has all.
                Some(DeliveryState::Unacknowledged | DeliveryState::Acknowledged) => pending = true,
            }
        }
        Ok(Some(match (failed, pending) {
            (true, _) => RequestState::Failed,
            (false, true) => RequestState::Pending,
            (false, false) => RequestState::PossiblyDelivered { chance: 1.0 - certain },
        }))
    }

    /// The log, own messages among it, in the order that all participants share. What an event tells may be in it already.
    /// Payloads of several segments stand in the place of the last; those that are not whole, or were erased, are left out.
    ///
    /// # Errors
    /// [`NodeError::NotJoined`].
    pub fn history(&self) -> Result<Vec<Logged>, NodeError> {
        Ok(self.entries()?.into_iter().filter_map(Entry::read).collect())
    }

    /// As [`history`](Self::history), each payload to be read when it is wanted: to show a long log at once.
    ///
    /// # Errors
    /// [`NodeError::NotJoined`].
    pub fn entries(&self) -> Result<Vec<Entry>, NodeError> {
        let splits = self.link()?.segmentation.splits();
        Ok(wholes::of_log(self.node.manager.log(&self.id)?, splits))
    }

    /// Erases what was said, by its id in the log, for good: here, and not at others
    /// ([`ReliabilityManager::erase`](crate::manager::ReliabilityManager::erase)). Of a payload in segments, all those that
    /// the log has. It is in [`history`](Self::history) no more.
    ///
    /// # Errors
    /// [`NodeError::NotJoined`]; [`NodeError::Manager`] as erasing says.
    pub async fn erase(&self, id: &MessageId) -> Result<(), NodeError> {
        self.link()?;
        for id in wholes::parts_of(&self.node.manager.log(&self.id)?, id) {
            self.node.manager.erase(self.id.clone(), id).await?;
        }
        Ok(())
    }

    /// Bytes of the largest payload that [`send`](Self::send) takes, in segments where these are allowed.
    ///
    /// # Errors
    /// [`NodeError::NotJoined`].
    pub fn max_payload(&self) -> Result<usize, NodeError> {
        let link = self.link()?;
        Ok(link.segmentation.max_payload(link.room))
    }

    /// Seals with this key from now on, if its epoch is the highest, and opens with it what was sealed in that epoch. All members
    /// must have a key before anybody seals with it: what they cannot open is lost to them until it is repaired.
    ///
    /// # Errors
    /// [`NodeError::NotJoined`]; [`NodeError::Overhead`] for a key that takes more of a message than those given when the
    /// channel was joined, of which there may be none.
    pub fn set_encryption(&self, epoch: u32, key: impl Encryption) -> Result<(), NodeError> {
        self.link()?.keys.set(epoch, Arc::new(key))
    }

    /// Messages that arrived since the channel was joined and that no key here opened.
    ///
    /// # Errors
    /// [`NodeError::NotJoined`].
    pub fn unopened(&self) -> Result<u64, NodeError> {
        Ok(self.link()?.keys.unopened())
    }

    /// Leaves the channel: carries out and sends what is queued, waiting a second for the network, and unsubscribes. Its
    /// events end after what was told before; nothing is published any more. What the store has of it stays.
    ///
    /// # Errors
    /// [`NodeError::NotJoined`]; [`NodeError::Manager`] when its last changes cannot be saved: then it stays joined.
    pub async fn close(&self) -> Result<(), NodeError> {
        close(&self.node, &self.id).await
    }

    fn link(&self) -> Result<Arc<Link>, NodeError> {
        self.node.router.link(&self.id).ok_or_else(|| NodeError::NotJoined(self.id.clone()))
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
    joining: Joining,
) -> Result<(ReliableChannel, Events), NodeError> {
    let Joining { topic, config, segmentation, keys, waits } = joining;
    let room = segmentation::room(&config, &id, node.manager.participant());
    let link = Arc::new(Link::new(segmentation, keys, room, node.pacer.clone()));
    if !node.router.register(&id, &link) {
        return Err(NodeError::AlreadyJoined(id));
    }
    // Undone if the caller stops waiting, too.
    let registered = Registered { node, id: &id, link: &link, kept: false };
    node.manager.ensure_channel_with(id.clone(), config).await?;
    let cursor = node.manager.cursor(&id)?;
    let has = |message: &MessageId| {
        matches!(node.manager.delivery_state(&id, message), Ok(Some(DeliveryState::Acknowledged)))
    };
    link.parts.open(node.manager.log(&id)?, has, &mut |event| link.inbox.put(event));
    let events = Events::new(link.clone(), node.manager.downgrade(), id.clone(), cursor);
    let (tried, first) = oneshot::channel();
    let publishing =
        link::publish(link.clone(), node.transport.clone(), topic.clone(), node.manager.clone(), id.clone());
    let retrieving =
        retrieval::retrieve(link.clone(), node.transport.clone(), topic.clone(), node.manager.clone(), id.clone());
    let listening = link::listen(link.clone(), node.transport.clone(), topic, node.manager.clone(), id.clone(), tried);
    link.run(publishing, listening, retrieving);
    if waits && let Ok(Ok(Err(error))) = tokio::time::timeout(FIRST_ANSWER, first).await {
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
