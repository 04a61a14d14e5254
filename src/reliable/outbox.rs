//! What waits for the network of a channel.
//!
//! What: [`Outbox`]. Why own requests are never dropped: their number is bounded where they are made; what goes out by
//! itself comes again by itself, so that is dropped above a limit. Why a resend of what still waits is dropped: nothing is
//! sent again before it was sent. How it moves: by priority, then in order, one at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::events::RequestId;
use super::pace::Priority;
use crate::channel::TransmitKind;
use crate::manager::Transmission;
use crate::types::MessageId;

/// Bytes that wait before transmissions are dropped.
const MAX_BYTES: usize = 4 << 20;

/// A message to be published.
pub(super) struct Outgoing {
    pub(super) bytes: Bytes,
    pub(super) what: What,
}

/// What a message is.
pub(super) enum What {
    /// A request, or the segment of one, for the first time.
    Request(RequestId),
    /// Something for those who listen now.
    Ephemeral,
    /// What the channel sends by itself.
    Transmission { id: MessageId, kind: TransmitKind },
}

impl Outgoing {
    pub(super) fn of(transmission: &Transmission) -> Self {
        let (id, kind) = (transmission.id.clone(), transmission.kind);
        Self { bytes: transmission.bytes.clone(), what: What::Transmission { id, kind } }
    }

    /// The request that it carries for the first time.
    pub(super) fn request(&self) -> Option<&RequestId> {
        match &self.what {
            What::Request(request) => Some(request),
            _ => None,
        }
    }

    /// The message of this participant that it carries.
    pub(super) fn own(&self) -> Option<&MessageId> {
        match &self.what {
            What::Request(request) => Some(request.message()),
            What::Transmission { id, kind: TransmitKind::Resend } => Some(id),
            _ => None,
        }
    }

    pub(super) fn priority(&self) -> Priority {
        match &self.what {
            What::Transmission { kind: TransmitKind::Sync | TransmitKind::Repair, .. } => Priority::Answer,
            What::Transmission { kind: TransmitKind::CatchUp, .. } => Priority::CatchUp,
            _ => Priority::Own,
        }
    }

    fn is_sync(&self) -> bool {
        matches!(self.what, What::Transmission { kind: TransmitKind::Sync, .. })
    }
}

#[derive(Default)]
pub(super) struct Outbox {
    /// Whether not all may go at once.
    limited: bool,
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    queues: BTreeMap<Priority, VecDeque<Outgoing>>,
    bytes: usize,
    ended: bool,
    /// Messages that wait to be sent for the first time, and whether they should have been sent again meanwhile.
    unsent: BTreeMap<MessageId, bool>,
    /// Messages whose next resend is dropped.
    sent_now: BTreeSet<MessageId>,
}

impl Outbox {
    /// An outbox in which what is urgent overtakes, if not all may go at once.
    pub(super) fn new(limited: bool) -> Self {
        Self { limited, ..Self::default() }
    }

    pub(super) fn put(&self, outgoing: Outgoing) {
        let mut waiting = self.lock();
        let bytes = waiting.bytes.saturating_add(outgoing.bytes.len());
        let is_own = matches!(outgoing.what, What::Request(_) | What::Ephemeral);
        if waiting.ended || !is_own && bytes > MAX_BYTES {
            return;
        }
        match &outgoing.what {
            What::Request(request) => drop(waiting.unsent.insert(request.message().clone(), false)),
            What::Transmission { id, kind: TransmitKind::Resend } => {
                if waiting.sent_now.remove(id) {
                    return;
                }
                if let Some(is_due) = waiting.unsent.get_mut(id) {
                    *is_due = true;
                    return;
                }
            }
            _ => {}
        }
        let priority = if self.limited { outgoing.priority() } else { Priority::Own };
        waiting.bytes = bytes;
        if self.limited && outgoing.is_sync() {
            waiting.drop_syncs(priority);
        }
        waiting.queues.entry(priority).or_default().push_back(outgoing);
        drop(waiting);
        self.changed.notify_one();
    }

    /// Takes nothing more; what waits may still go.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_one();
    }

    /// Whether this was not sent yet.
    pub(super) fn has_unsent(&self, message: &MessageId) -> bool {
        self.lock().unsent.contains_key(message)
    }

    /// Whether the resend of this message that comes next is to be dropped, because it was sent just now.
    pub(super) fn drop_resend(&self, message: &MessageId, drop: bool) {
        let mut waiting = self.lock();
        match drop {
            true => waiting.sent_now.insert(message.clone()),
            false => waiting.sent_now.remove(message),
        };
    }

    /// The highest priority that waits, for the one task that publishes; `None` after the last.
    pub(super) async fn first(&self) -> Option<Priority> {
        loop {
            {
                let waiting = self.lock();
                if let Some(priority) = waiting.highest() {
                    return Some(priority);
                }
                if waiting.ended {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Waits until something waits that goes before this.
    pub(super) async fn before(&self, priority: Priority) {
        while self.lock().highest().is_none_or(|highest| highest >= priority) {
            self.changed.notified().await;
        }
    }

    /// The next message.
    pub(super) fn take(&self) -> Option<Outgoing> {
        let mut waiting = self.lock();
        let outgoing = waiting.queues.values_mut().find_map(VecDeque::pop_front)?;
        waiting.bytes -= outgoing.bytes.len();
        Some(outgoing)
    }

    /// The network has taken this for the first time, or never will. Says whether it should have been sent again meanwhile.
    pub(super) fn end_wait(&self, message: &MessageId) -> bool {
        self.lock().unsent.remove(message).unwrap_or(false)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing under this lock panics halfway.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// A newer sync message acknowledges all that these do, and what they ask for is asked for again.
    fn drop_syncs(&mut self, priority: Priority) {
        let Some(queue) = self.queues.get_mut(&priority) else { return };
        let bytes = &mut self.bytes;
        queue.retain(|other| {
            let is_sync = other.is_sync();
            *bytes -= if is_sync { other.bytes.len() } else { 0 };
            !is_sync
        });
    }

    fn highest(&self) -> Option<Priority> {
        self.queues.iter().find(|(_, queue)| !queue.is_empty()).map(|(priority, _)| *priority)
    }
}
