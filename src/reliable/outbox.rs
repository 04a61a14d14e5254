//! What waits for the network of a channel.
//!
//! What: [`Outbox`]. Why own requests are never dropped: their number is bounded where they are made; what goes out by
//! itself comes again by itself, so that is dropped above a limit. How it moves: in order, one at a time.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::events::RequestId;

/// Bytes that wait before transmissions are dropped.
const MAX_BYTES: usize = 4 << 20;

/// A message to be published.
pub(super) struct Outgoing {
    pub(super) bytes: Bytes,
    /// The request, or the segment of one, that it carries for the first time.
    pub(super) request: Option<RequestId>,
}

#[derive(Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    queue: VecDeque<Outgoing>,
    bytes: usize,
    ended: bool,
}

impl Outbox {
    pub(super) fn put(&self, outgoing: Outgoing) {
        let mut waiting = self.lock();
        let bytes = waiting.bytes.saturating_add(outgoing.bytes.len());
        if waiting.ended || outgoing.request.is_none() && bytes > MAX_BYTES {
            return;
        }
        waiting.bytes = bytes;
        waiting.queue.push_back(outgoing);
        drop(waiting);
        self.changed.notify_one();
    }

    /// Takes nothing more; what waits may still go.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_one();
    }

    /// The next message, for the one task that publishes; `None` after the last.
    pub(super) async fn next(&self) -> Option<Outgoing> {
        loop {
            {
                let mut waiting = self.lock();
                if let Some(outgoing) = waiting.queue.pop_front() {
                    waiting.bytes -= outgoing.bytes.len();
                    return Some(outgoing);
                }
                if waiting.ended {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing under this lock panics halfway.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
