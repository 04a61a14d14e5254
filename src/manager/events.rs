//! What the manager tells without being asked: events, and messages that must go out by themselves.
//!
//! What: [`ManagerEvent`] and [`Transmission`], and a stream of each. Why bounded: a reader that sleeps must not cost
//! memory without end; it is told how many items it missed. How it moves: a channel's drainer puts them in, in the
//! channel's order, after what they speak of was saved; every stream gets all of them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tracing::debug;

use crate::channel::{Event, Transmit, TransmitKind};
use crate::executor::{Telling, Told};
use crate::store::PersistenceError;
use crate::types::{ChannelId, Dialect, MessageId, ParticipantId};
use crate::wire;

/// What happened, and in which channel.
///
/// See the [example](crate::manager#example).
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
    /// The channel's archive could not be used, and it is tried again. Told once, until
    /// [`ArchiveRecovered`](Self::ArchiveRecovered). All else goes on.
    ArchiveFailed {
        /// The channel.
        channel: ChannelId,
        /// Why.
        error: Arc<PersistenceError>,
    },
    /// The archive works again since [`ArchiveFailed`](Self::ArchiveFailed).
    ArchiveRecovered {
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
    /// What a step tells.
    pub(super) fn of(channel: &ChannelId, telling: &Telling) -> Vec<Self> {
        let event = |told: &Told| {
            let channel = channel.clone();
            match told.clone() {
                Told::Event(event) => Self::Channel { channel, event },
                Told::PersistenceFailed(error) => Self::PersistenceFailed { channel, error },
                Told::PersistenceRecovered => Self::PersistenceRecovered { channel },
                Told::ArchiveFailed(error) => Self::ArchiveFailed { channel, error },
                Told::ArchiveRecovered => Self::ArchiveRecovered { channel },
                Told::ForeignDialect { heard, configured } => Self::ForeignDialect { channel, heard, configured },
            }
        };
        telling.told.iter().map(event).collect()
    }

    /// The channel it happened in.
    #[must_use]
    pub fn channel(&self) -> &ChannelId {
        match self {
            Self::Channel { channel, .. }
            | Self::PersistenceFailed { channel, .. }
            | Self::PersistenceRecovered { channel }
            | Self::ArchiveFailed { channel, .. }
            | Self::ArchiveRecovered { channel }
            | Self::ForeignDialect { channel, .. } => channel,
        }
    }
}

/// A message that must go out by itself: a resend, a sync message, the answer to a repair request, or a step of catch-up.
///
/// See the [example](crate::manager#example).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transmission {
    /// The channel it belongs to.
    pub channel: ChannelId,
    /// The message's id.
    pub id: MessageId,
    /// The encoded message, to be broadcast to the channel.
    pub bytes: Bytes,
    /// Why it goes out.
    pub kind: TransmitKind,
    /// Whom it is for; nobody else needs it. A transport that cannot reach one participant alone broadcasts it.
    pub to: Option<ParticipantId>,
}

impl ManagerEvent {
    /// Bytes of messages it keeps in memory.
    fn bytes(&self) -> usize {
        match self {
            Self::Channel { event: Event::MessageDelivered(delivery), .. } => {
                let entries = delivery.body.causal_history.len() + delivery.missing.len();
                delivery.body.content.len() + entries.saturating_mul(ITEM_BYTES)
            }
            Self::Channel { event: Event::EphemeralReceived { content, .. }, .. } => content.len(),
            _ => 0,
        }
    }
}

impl Transmission {
    /// What a step transmits.
    pub(super) fn of(channel: &ChannelId, telling: &Telling) -> Vec<Self> {
        let encode = |transmit: &Transmit| match wire::encode(&transmit.message, telling.dialect) {
            Ok(bytes) => {
                let (id, kind, to) = (transmit.message.id.clone(), transmit.kind, transmit.to.clone());
                Some(Self { channel: channel.clone(), id, bytes, kind, to })
            }
            Err(error) => {
                debug!(%channel, kind = ?transmit.kind, %error, "cannot encode");
                None
            }
        };
        telling.transmit.iter().filter_map(encode).collect()
    }
}

/// The reader was too slow: this many items were dropped unread, one after the other where they were too large together. Deliveries among them can be read again
/// with [`deliveries_since`](super::ReliabilityManager::deliveries_since); transmissions repeat by themselves.
///
/// See the [example](crate::manager#example).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} items were missed")]
pub struct Lagged(pub u64);

/// All events of all channels, from the moment the stream was asked for.
///
/// See the [example](crate::manager#example).
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
///
/// See the [example](crate::manager#example).
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
    events: Feed<ManagerEvent>,
    transmissions: Feed<Transmission>,
    ended: AtomicBool,
}

impl Feeds {
    pub(super) fn new(capacity: usize, max_bytes: usize) -> Self {
        Self {
            events: Feed::new(capacity, max_bytes),
            transmissions: Feed::new(capacity, max_bytes),
            ended: AtomicBool::new(false),
        }
    }

    pub(super) fn events(&self) -> EventStream {
        EventStream(self.tail(&self.events))
    }

    pub(super) fn transmissions(&self) -> TransmitStream {
        TransmitStream(self.tail(&self.transmissions))
    }

    fn tail<T: Clone>(&self, feed: &Feed<T>) -> Tail<T> {
        // Subscribed first: either it gets the end, or it sees that the end was.
        let receiver = feed.sender.subscribe();
        Tail { receiver, ended: self.ended.load(Ordering::SeqCst) }
    }

    pub(super) fn want_events(&self) -> bool {
        self.events.sender.receiver_count() > 0
    }

    pub(super) fn want_transmissions(&self) -> bool {
        self.transmissions.sender.receiver_count() > 0
    }

    pub(super) fn event(&self, event: ManagerEvent) {
        let bytes = event.bytes();
        self.events.send(event, bytes);
    }

    pub(super) fn transmission(&self, transmission: Transmission) {
        let bytes = transmission.bytes.len();
        self.transmissions.send(transmission, bytes);
    }

    /// Ends the streams that exist, and those that will be asked for.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = self.events.sender.send(Item::End);
        let _ = self.transmissions.sender.send(Item::End);
    }
}

/// What an item takes beyond the bytes of its message.
const ITEM_BYTES: usize = 256;

/// Items to all readers. What lies unread is bounded in number by the sender, in bytes by emptying the oldest.
#[derive(Debug)]
struct Feed<T> {
    sender: broadcast::Sender<Item<T>>,
    unread: Mutex<Unread<T>>,
    max_bytes: usize,
}

#[derive(Debug)]
struct Unread<T> {
    /// Oldest first; those that all have read, or that nobody will, are dead.
    items: VecDeque<(Weak<Mutex<Option<T>>>, usize)>,
    bytes: usize,
}

#[derive(Clone, Debug)]
enum Item<T> {
    /// `None` where it was given up unread.
    Value(Arc<Mutex<Option<T>>>),
    End,
}

impl<T: Clone> Feed<T> {
    fn new(capacity: usize, max_bytes: usize) -> Self {
        let unread = Mutex::new(Unread { items: VecDeque::new(), bytes: 0 });
        Self { sender: broadcast::Sender::new(capacity), unread, max_bytes }
    }

    /// Without a reader, or with one that is gone by now, this does nothing.
    fn send(&self, value: T, bytes: usize) {
        let bytes = bytes.saturating_add(ITEM_BYTES);
        let item = Arc::new(Mutex::new(Some(value)));
        let mut unread = lock(&self.unread);
        unread.items.push_back((Arc::downgrade(&item), bytes));
        unread.bytes += bytes;
        let _ = self.sender.send(Item::Value(item));
        while let Some((oldest, bytes)) = unread.items.pop_front() {
            let given_up = unread.bytes > self.max_bytes && !unread.items.is_empty();
            match oldest.upgrade() {
                Some(item) if given_up => drop(lock(&item).take()),
                Some(_) => {
                    unread.items.push_front((oldest, bytes));
                    break;
                }
                None => {}
            }
            unread.bytes -= bytes;
        }
    }
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
            Ok(Item::Value(item)) => Some(taken(&item)),
            Err(RecvError::Lagged(missed)) => Some(Err(Lagged(missed))),
            Ok(Item::End) | Err(RecvError::Closed) => self.end(),
        }
    }

    fn try_next(&mut self) -> Option<Result<T, Lagged>> {
        if self.ended {
            return None;
        }
        match self.receiver.try_recv() {
            Ok(Item::Value(item)) => Some(taken(&item)),
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

fn taken<T: Clone>(item: &Mutex<Option<T>>) -> Result<T, Lagged> {
    lock(item).clone().ok_or(Lagged(1))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks panics halfway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_unread_is_bounded_in_bytes_and_what_was_given_up_is_told() {
        let feeds = Feeds::new(4_096, 10_000);
        let (mut slow, mut quick) = (feeds.transmissions(), feeds.transmissions());
        let send = |kilobytes: usize| {
            let bytes = Bytes::from(vec![0; kilobytes * 1_000]);
            feeds.transmission(Transmission {
                channel: "a".into(),
                id: "m".into(),
                bytes,
                kind: TransmitKind::Sync,
                to: None,
            });
        };
        for _ in 0..100 {
            send(1);
            assert!(quick.try_next().is_some_and(|item| item.is_ok()), "who keeps up misses nothing");
        }
        let read: Vec<_> = std::iter::from_fn(|| slow.try_next()).collect();
        assert_eq!(read.iter().filter(|item| item.is_err()).count(), 93);
        assert_eq!(read.iter().filter(|item| item.is_ok()).count(), 7);
        send(20);
        assert!(slow.try_next().is_some_and(|item| item.is_ok()), "one that is too large by itself is not lost");
        assert_eq!(lock(&feeds.transmissions.unread).items.len(), 1);
    }
}
