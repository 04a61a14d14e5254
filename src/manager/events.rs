//! What the manager tells without being asked: events, and messages that must go out by themselves.
//!
//! What: [`ManagerEvent`] and [`Transmission`], and a stream of each. Why bounded: a reader that sleeps must not cost
//! memory without end; it is told how many items it missed. How it moves: a channel's drainer puts them in, in the
//! channel's order, after what they speak of was saved; every stream gets all of them.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::channel::{Event, TransmitKind};
use crate::store::PersistenceError;
use crate::types::{ChannelId, Dialect};

/// What happened, and in which channel.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ManagerEvent {
    /// Something happened in a channel.
    Channel {
        /// The channel.
        channel: ChannelId,
        /// What happened.
        event: Event,
    },
    /// A channel's state could not be saved. Told once; the manager keeps trying until
    /// [`PersistenceRecovered`](Self::PersistenceRecovered).
    PersistenceFailed {
        /// The channel.
        channel: ChannelId,
        /// Why.
        error: Arc<PersistenceError>,
    },
    /// Everything owed to the store since [`PersistenceFailed`](Self::PersistenceFailed) was saved.
    PersistenceRecovered {
        /// The channel.
        channel: ChannelId,
    },
    /// Somebody in this channel speaks a dialect of another family than it was configured for: their messages are taken
    /// in, but they cannot read ours. Told once while it is open.
    ForeignDialect {
        /// The channel.
        channel: ChannelId,
        /// The dialect heard.
        heard: Dialect,
        /// The dialect configured.
        configured: Dialect,
    },
}

impl ManagerEvent {
    /// The channel it happened in.
    #[must_use]
    pub fn channel(&self) -> &ChannelId {
        match self {
            Self::Channel { channel, .. }
            | Self::PersistenceFailed { channel, .. }
            | Self::PersistenceRecovered { channel }
            | Self::ForeignDialect { channel, .. } => channel,
        }
    }
}

/// A message that must go out by itself: a resend, a sync message or the answer to a repair request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmission {
    /// The channel it belongs to.
    pub channel: ChannelId,
    /// The encoded message, to be broadcast to the channel.
    pub bytes: Bytes,
    /// Why it goes out.
    pub kind: TransmitKind,
}

/// The reader was too slow: this many items were dropped unread. Deliveries among them can be read again
/// with [`deliveries_since`](super::ReliabilityManager::deliveries_since); transmissions repeat by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} items were missed")]
pub struct Lagged(pub u64);

/// All events of all channels, from the moment the stream was asked for.
#[derive(Debug)]
pub struct EventStream(Tail<ManagerEvent>);

impl EventStream {
    /// The next event, or how many were missed; `None` when the manager has ended. Safe to cancel.
    pub async fn next(&mut self) -> Option<Result<ManagerEvent, Lagged>> {
        self.0.next().await
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<Result<ManagerEvent, Lagged>> {
        self.0.try_next()
    }
}

/// All transmissions of all channels, in each channel's order, from the moment the stream was asked for.
#[derive(Debug)]
pub struct TransmitStream(Tail<Transmission>);

impl TransmitStream {
    /// The next transmission, or how many were missed; `None` when the manager has ended. Safe to cancel.
    pub async fn next(&mut self) -> Option<Result<Transmission, Lagged>> {
        self.0.next().await
    }

    /// The next transmission if there is one already.
    pub fn try_next(&mut self) -> Option<Result<Transmission, Lagged>> {
        self.0.try_next()
    }
}

/// Both streams' writing ends.
#[derive(Debug)]
pub(super) struct Feeds {
    events: broadcast::Sender<Item<ManagerEvent>>,
    transmissions: broadcast::Sender<Item<Transmission>>,
}

impl Feeds {
    pub(super) fn new(capacity: usize) -> Self {
        Self { events: broadcast::Sender::new(capacity), transmissions: broadcast::Sender::new(capacity) }
    }

    pub(super) fn events(&self) -> EventStream {
        EventStream(Tail { receiver: self.events.subscribe(), ended: false })
    }

    pub(super) fn transmissions(&self) -> TransmitStream {
        TransmitStream(Tail { receiver: self.transmissions.subscribe(), ended: false })
    }

    pub(super) fn want_events(&self) -> bool {
        self.events.receiver_count() > 0
    }

    pub(super) fn want_transmissions(&self) -> bool {
        self.transmissions.receiver_count() > 0
    }

    /// Without a reader, or with one that is gone by now, this does nothing.
    pub(super) fn event(&self, event: &ManagerEvent) {
        let _ = self.events.send(Item::Value(event.clone()));
    }

    /// Without a reader, or with one that is gone by now, this does nothing.
    pub(super) fn transmission(&self, transmission: &Transmission) {
        let _ = self.transmissions.send(Item::Value(transmission.clone()));
    }

    /// Ends the streams that exist.
    pub(super) fn end(&self) {
        let _ = self.events.send(Item::End);
        let _ = self.transmissions.send(Item::End);
    }
}

#[derive(Clone, Debug)]
enum Item<T> {
    Value(T),
    End,
}

#[derive(Debug)]
struct Tail<T> {
    receiver: broadcast::Receiver<Item<T>>,
    ended: bool,
}

impl<T: Clone> Tail<T> {
    async fn next(&mut self) -> Option<Result<T, Lagged>> {
        if self.ended {
            return None;
        }
        match self.receiver.recv().await {
            Ok(Item::Value(value)) => Some(Ok(value)),
            Err(RecvError::Lagged(missed)) => Some(Err(Lagged(missed))),
            Ok(Item::End) | Err(RecvError::Closed) => self.end(),
        }
    }

    fn try_next(&mut self) -> Option<Result<T, Lagged>> {
        if self.ended {
            return None;
        }
        match self.receiver.try_recv() {
            Ok(Item::Value(value)) => Some(Ok(value)),
            Err(TryRecvError::Lagged(missed)) => Some(Err(Lagged(missed))),
            Err(TryRecvError::Empty) => None,
            Ok(Item::End) | Err(TryRecvError::Closed) => self.end(),
        }
    }

    fn end(&mut self) -> Option<Result<T, Lagged>> {
        self.ended = true;
        None
    }
}
