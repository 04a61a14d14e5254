//! What a channel tells: [`ChannelEvent`], and the stream of them.
//!
//! How it moves: the manager tells the router, which puts events into the channel's inbox; [`Events`] takes them out. A
//! reader who was too slow hears how many it missed, and then the deliveries among them from the log.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::link::Link;
use super::wholes;
use crate::channel::{Cursor, Delivery, Event};
use crate::manager::{ManagerEvent, WeakManager};
use crate::segment::{Abandoned, Progress};
use crate::store::PersistenceError;
use crate::transport::TransportError;
use crate::transport::mailbox::{self, Next, Weigh};
use crate::types::{ChannelId, MessageId, ParticipantId};

/// One thing that was asked to be sent.
///
/// See the [example](crate::reliable#example).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(MessageId);

impl RequestId {
    /// The request that sent this message, as an application kept it.
    #[must_use]
    pub fn new(message: impl Into<MessageId>) -> Self {
        Self(message.into())
    }

    /// The message that carries it.
    #[must_use]
    pub fn message(&self) -> &MessageId {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What happened in a channel.
///
/// See the [example](crate::reliable#example).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ChannelEvent {
    /// A message of another participant: once, in causal order.
    Received(Delivery),
    /// The network took a request for the first time.
    Sent {
        /// The request.
        request: RequestId,
    },
    /// The network took some of the segments of a request. Told in about 32 steps.
    Sending {
        /// The request.
        request: RequestId,
        /// Segments sent for the first time.
        sent: usize,
        /// Segments in all.
        of: usize,
    },
    /// Some of the segments of a large payload are here; [`Received`](Self::Received) follows once it is whole. Told in about 32
    /// steps.
    Receiving {
        /// Who sends it.
        sender: ParticipantId,
        /// What of it is here. Its hash tells apart what one sender sends at a time.
        progress: Progress,
    },
    /// A payload whose segments never came, or were not what they say, was given up: it is not kept in memory any longer.
    Abandoned(Abandoned),
    /// A message that is a segment as no member makes it. Nothing else comes of it.
    SegmentRefused {
        /// The message.
        id: MessageId,
        /// Its sender.
        sender: ParticipantId,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The network refused a request for good. Nothing is lost: it stays in the log, and others may repair it from there.
    SendError {
        /// The request.
        request: RequestId,
        /// Which of its segments, from 0, where it is of several: told for each that is refused.
        segment: Option<usize>,
        /// Why.
        error: TransportError,
    },
    /// Another participant has a request, all of it. Told for each who is known to have it, up to 32.
    Delivered {
        /// The request.
        request: RequestId,
        /// Who has it.
        by: ParticipantId,
        /// [`DeliveryError`](Self::DeliveryError) was told before.
        after_error: bool,
    },
    /// Nobody answered, and a request is not sent any more. `Delivered` may still follow.
    DeliveryError {
        /// The request.
        request: RequestId,
        /// There was some evidence of receipt.
        possibly: bool,
    },
    /// The network is not there. Told once; it is tried again, and what is said meanwhile waits.
    Disconnected {
        /// What it said.
        error: TransportError,
    },
    /// The network is back.
    Connected,
    /// The reader was too slow, and so many events were dropped. The messages among them follow, from the log.
    Missed {
        /// How many.
        events: u64,
        /// So many messages at most had left the log already.
        lost: u64,
    },
    /// The channel could not be saved, and it is tried again.
    PersistenceFailed(Arc<PersistenceError>),
    /// Everything was saved since.
    PersistenceRecovered,
    /// The archive could not be used, and it is tried again. All else goes on.
    ArchiveFailed(Arc<PersistenceError>),
    /// The archive works again.
    ArchiveRecovered,
    /// Anything else that a channel tells: gaps, limits, repair.
    Other(Event),
}

impl ChannelEvent {
    /// What the manager told, if it concerns applications.
    pub(super) fn of(event: &ManagerEvent) -> Option<Self> {
        Some(match event {
            ManagerEvent::Channel { event, .. } => Self::of_channel(event.clone()),
            ManagerEvent::PersistenceFailed { error, .. } => Self::PersistenceFailed(error.clone()),
            ManagerEvent::PersistenceRecovered { .. } => Self::PersistenceRecovered,
            ManagerEvent::ArchiveFailed { error, .. } => Self::ArchiveFailed(error.clone()),
            ManagerEvent::ArchiveRecovered { .. } => Self::ArchiveRecovered,
            ManagerEvent::ForeignDialect { .. } => return None,
        })
    }

    fn of_channel(event: Event) -> Self {
        match event {
            Event::MessageDelivered(delivery) => Self::Received(delivery),
            Event::MessageAcknowledged { id, by, after_failure } => {
                Self::Delivered { request: RequestId(id), by, after_error: after_failure }
            }
            Event::AlsoAcknowledged { id, by } => Self::Delivered { request: RequestId(id), by, after_error: false },
            Event::DeliveryFailed { id, possibly } => Self::DeliveryError { request: RequestId(id), possibly },
            other => Self::Other(other),
        }
    }
}

impl Weigh for ChannelEvent {
    fn bytes(&self) -> usize {
        let bytes = match self {
            Self::Received(delivery) => delivery.body.content.len(),
            Self::Other(Event::EphemeralReceived { content, .. }) => content.len(),
            _ => 0,
        };
        // One that is too large by itself is told where nothing of weight waits before it.
        bytes.min(mailbox::MAX_BYTES)
    }
}

/// What happens in a channel, from its joining to its closing. Up to 4,096 events or 16 MiB wait for a reader.
///
/// See the [example](crate::reliable#example).
pub struct Events {
    link: Arc<Link>,
    manager: WeakManager,
    channel: ChannelId,
    /// The last delivery told.
    last: Cursor,
    /// Deliveries up to this one were told from the log.
    refilled: Option<Cursor>,
    /// Told next.
    again: VecDeque<ChannelEvent>,
}

impl Events {
    pub(super) fn new(link: Arc<Link>, manager: WeakManager, channel: ChannelId, last: Cursor) -> Self {
        Self { link, manager, channel, last, refilled: None, again: VecDeque::new() }
    }

    /// The next event; `None` when the channel was left. Nothing is lost when the wait is given up.
    pub async fn next(&mut self) -> Option<ChannelEvent> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<ChannelEvent>> {
        loop {
            if let Some(event) = self.again.pop_front() {
                return self.tell(event);
            }
            match self.link.inbox.poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Next::End) => return Poll::Ready(None),
                Poll::Ready(Next::Missed(events)) => self.refill(events),
                Poll::Ready(Next::Item(event)) if self.is_told(&event) => {}
                Poll::Ready(Next::Item(event)) => return self.tell(event),
            }
        }
    }

    fn tell(&mut self, event: ChannelEvent) -> Poll<Option<ChannelEvent>> {
        if let ChannelEvent::Received(delivery) = &event {
            self.last = delivery.cursor();
        }
        Poll::Ready(Some(event))
    }

    /// Reads what was missed from the log.
    fn refill(&mut self, events: u64) {
        let manager = self.manager.upgrade();
        // Read before what was missed, so that nothing is in both.
        let log = manager.as_ref().filter(|_| self.link.parts.splits());
        let log = log.and_then(|manager| manager.log(&self.channel).ok()).unwrap_or_default();
        let missed = manager.and_then(|manager| manager.deliveries_since(&self.channel, self.last).ok());
        // Where the log cannot be read any more, nobody can say how many of them were messages.
        let (mut deliveries, lost) = missed.map_or((Vec::new(), events), |missed| (missed.deliveries, missed.evicted));
        self.refilled = deliveries.last().map(Delivery::cursor);
        if self.link.parts.splits() {
            deliveries = wholes::of_deliveries(log, deliveries);
        }
        self.again.push_back(ChannelEvent::Missed { events, lost });
        self.again.extend(deliveries.into_iter().map(ChannelEvent::Received));
    }

    /// Whether it came into the inbox while the log was read.
    fn is_told(&self, event: &ChannelEvent) -> bool {
        match (event, self.refilled) {
            (ChannelEvent::Received(delivery), Some(refilled)) => {
                delivery.incarnation == refilled.incarnation && delivery.number <= refilled.number
            }
            _ => false,
        }
    }
}

impl Stream for Events {
    type Item = ChannelEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<ChannelEvent>> {
        self.poll(context)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.link.inbox.abandon();
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("channel", &self.channel).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Position;
    use crate::manager::ReliabilityManager;
    use crate::state::{Body, LogKey};
    use crate::types::Lamport;

    fn received(number: u64) -> ChannelEvent {
        let key = LogKey { lamport: Lamport(number), id: "a".into() };
        ChannelEvent::Received(Delivery {
            number,
            incarnation: 3,
            body: Arc::new(Body::new(key, "bob".into(), "x".into())),
            position: Position::Newest,
            late: false,
            missing: Vec::new(),
            history: false,
            from_member: true,
            below_stable: false,
        })
    }

    #[tokio::test]
    async fn what_came_while_the_log_was_read_is_not_told_again() {
        let manager = ReliabilityManager::builder("alice").build().unwrap();
        let mut events = Events::new(Arc::default(), manager.downgrade(), "a".into(), Cursor::default());
        events.refilled = Some(Cursor::new(3, 5));
        for number in [4, 5, 6] {
            events.link.inbox.put(received(number));
        }
        let Some(ChannelEvent::Received(delivery)) = events.next().await else { panic!("not a delivery") };
        assert_eq!(delivery.number, 6);
    }
}
