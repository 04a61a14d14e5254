//! Closures an application registers instead of reading the streams.
//!
//! What: [`Callbacks`], thin closures over the same events and transmissions. Why run apart: a callback may call any
//! method of the manager, wait for it, or take its time. How it moves: after a step was carried out, its callbacks run
//! on a thread where blocking is allowed, one at a time and in order for each channel, and under no lock.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use tracing::warn;

use super::ReliabilityManager;
use super::events::{ManagerEvent, Transmission};
use crate::channel::{Delivery, Event};
use crate::executor::Wants;
use crate::types::{ChannelId, HistoryEntry, MessageId, ParticipantId};

/// The closures to call; several of a kind are called in the order they were registered.
///
/// They run on threads of the manager's own, as many as there are callbacks in progress, one at a time and in order for each channel; a slow one delays the
/// callbacks of its own channel alone (and, once 1,024 steps wait for it, that channel's calls). They may call the
/// manager, see [`ReliabilityManager::current`], and wait for it with `Handle::current().block_on(..)`.
/// A closure must not keep a [`ReliabilityManager`], which would then never be dropped; a
/// [`WeakManager`](super::WeakManager) is fine. A panic in a closure is logged and goes no further; it
/// counts as having returned.
///
/// See the [example](crate::manager#example).
#[derive(Clone, Default)]
pub struct Callbacks {
    events: Vec<Arc<Listener<ManagerEvent>>>,
    transmissions: Vec<Arc<Listener<Transmission>>>,
    hints: Option<Arc<HintProvider>>,
    hear_deliveries: bool,
}

type Listener<T> = dyn Fn(&T) + Send + Sync;
type HintProvider = dyn Fn(&ChannelId, &MessageId) -> Option<Bytes> + Send + Sync;

impl Callbacks {
    /// No closures.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Called with every event.
    #[must_use]
    pub fn on_event(mut self, call: impl Fn(&ManagerEvent) + Send + Sync + 'static) -> Self {
        self.events.push(Arc::new(call));
        self.hear_deliveries = true;
        self
    }

    /// Called with every message delivered.
    #[must_use]
    pub fn on_message_ready(mut self, call: impl Fn(&ChannelId, &Delivery) + Send + Sync + 'static) -> Self {
        self.hear_deliveries = true;
        self.on_channel_event(move |channel, event| {
            if let Event::MessageDelivered(delivery) = event {
                call(channel, delivery);
            }
        })
    }

    /// Called when somebody received an own message: which, and who.
    #[must_use]
    pub fn on_message_acknowledged(
        self,
        call: impl Fn(&ChannelId, &MessageId, &ParticipantId) + Send + Sync + 'static,
    ) -> Self {
        self.on_channel_event(move |channel, event| {
            if let Event::MessageAcknowledged { id, by, .. } = event {
                call(channel, id, by);
            }
        })
    }

    /// Called when an own message was given up; the flag says that there was some evidence of receipt.
    #[must_use]
    pub fn on_delivery_failed(self, call: impl Fn(&ChannelId, &MessageId, bool) + Send + Sync + 'static) -> Self {
        self.on_channel_event(move |channel, event| {
            if let Event::DeliveryFailed { id, possibly } = event {
                call(channel, id, *possibly);
            }
        })
    }

    /// Called when a message waits for others that were never received.
    #[must_use]
    pub fn on_missing_dependencies(
        self,
        call: impl Fn(&ChannelId, &MessageId, &[HistoryEntry]) + Send + Sync + 'static,
    ) -> Self {
        self.on_channel_event(move |channel, event| {
            if let Event::MissingDependencies { id, missing } = event {
                call(channel, id, missing);
            }
        })
    }

    /// Called with every message that is not kept: its sender and content.
    #[must_use]
    pub fn on_ephemeral(self, call: impl Fn(&ChannelId, &ParticipantId, &Bytes) + Send + Sync + 'static) -> Self {
        self.on_channel_event(move |channel, event| {
            if let Event::EphemeralReceived { sender, content, .. } = event {
                call(channel, sender, content);
            }
        })
    }

    /// Called with every message that must go out by itself.
    #[must_use]
    pub fn on_transmit(mut self, call: impl Fn(&Transmission) + Send + Sync + 'static) -> Self {
        self.transmissions.push(Arc::new(call));
        self
    }

    /// Asked once for the retrieval hint of each own message, after it was wrapped (LIP-173). One that answers
    /// `None` may call [`set_retrieval_hint`](ReliabilityManager::set_retrieval_hint) later. The last one registered counts.
    #[must_use]
    pub fn on_retrieval_hint(
        mut self,
        call: impl Fn(&ChannelId, &MessageId) -> Option<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.hints = Some(Arc::new(call));
        self
    }

    fn on_channel_event(mut self, call: impl Fn(&ChannelId, &Event) + Send + Sync + 'static) -> Self {
        self.events.push(Arc::new(move |event: &ManagerEvent| {
            if let ManagerEvent::Channel { channel, event } = event {
                call(channel, event);
            }
        }));
        self
    }

    /// Whether one of the closures is called with deliveries, and so confirms them by returning.
    pub(super) fn hear_deliveries(&self) -> bool {
        self.hear_deliveries
    }

    pub(super) fn want_events(&self) -> bool {
        !self.events.is_empty()
    }

    pub(super) fn want_transmissions(&self) -> bool {
        !self.transmissions.is_empty()
    }

    pub(super) fn wants(&self) -> Wants {
        Wants {
            events: self.want_events(),
            deliveries: self.hear_deliveries,
            transmissions: self.want_transmissions(),
            hints: self.hints.is_some(),
        }
    }

    pub(super) fn tell_event(&self, event: &ManagerEvent) {
        for call in &self.events {
            guarded(|| call(event));
        }
    }

    pub(super) fn tell_transmission(&self, transmission: &Transmission) {
        for call in &self.transmissions {
            guarded(|| call(transmission));
        }
    }

    pub(super) fn ask_hint(&self, channel: &ChannelId, id: &MessageId) -> Option<Bytes> {
        let provider = self.hints.as_ref()?;
        guarded(|| provider(channel, id)).flatten()
    }
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks")
            .field("events", &self.events.len())
            .field("transmissions", &self.transmissions.len())
            .field("hints", &self.hints.is_some())
            .finish()
    }
}

tokio::task_local! {
    static CURRENT: ReliabilityManager;
}

/// Runs callbacks so that the manager knows its own calls made from inside.
pub(super) fn run_inside<R>(manager: ReliabilityManager, run: impl FnOnce() -> R) -> R {
    CURRENT.sync_scope(manager, run)
}

/// The manager whose callback is running on this thread.
pub(super) fn current() -> Option<ReliabilityManager> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Whether a callback is running on this thread: its calls must not wait for what waits for it.
pub(super) fn is_inside() -> bool {
    CURRENT.try_with(|_| ()).is_ok()
}

pub(super) fn guarded<R>(call: impl FnOnce() -> R) -> Option<R> {
    let outcome = catch_unwind(AssertUnwindSafe(call));
    if outcome.is_err() {
        warn!("a callback panicked");
    }
    outcome.ok()
}
