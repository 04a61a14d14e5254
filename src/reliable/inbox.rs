//! What waits for the reader of a channel's events.
//!
//! What: [`Inbox`]. Why it drops the newest and not the oldest: what was told first stays in order, and one number says
//! where something is missing. How it moves: the router puts events in, the reader polls them out.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::events::ChannelEvent;

/// Events that wait.
const MAX_EVENTS: usize = 4_096;
/// Bytes of messages in them.
const MAX_BYTES: usize = 16 << 20;

#[derive(Default)]
pub(super) struct Inbox(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    events: VecDeque<ChannelEvent>,
    bytes: usize,
    /// Dropped after what waits.
    missed: u64,
    ended: bool,
    /// Nobody will read.
    abandoned: bool,
    waker: Option<Waker>,
}

/// What a reader finds.
pub(super) enum Next {
    Event(ChannelEvent),
    Missed(u64),
    End,
}

impl Inbox {
    pub(super) fn put(&self, event: ChannelEvent) {
        let mut waiting = self.lock();
        if waiting.ended || waiting.abandoned {
            return;
        }
        let bytes = waiting.bytes.saturating_add(event.bytes());
        let is_full = waiting.events.len() >= MAX_EVENTS || bytes > MAX_BYTES && !waiting.events.is_empty();
        if waiting.missed > 0 || is_full {
            waiting.missed += 1;
        } else {
            waiting.bytes = bytes;
            waiting.events.push_back(event);
        }
        wake(waiting);
    }

    /// Nothing is told after what waits.
    pub(super) fn end(&self) {
        let mut waiting = self.lock();
        waiting.ended = true;
        wake(waiting);
    }

    pub(super) fn abandon(&self) {
        let mut waiting = self.lock();
        waiting.abandoned = true;
        waiting.events.clear();
    }

    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<Next> {
        let mut waiting = self.lock();
        if let Some(event) = waiting.events.pop_front() {
            waiting.bytes -= event.bytes();
            return Poll::Ready(Next::Event(event));
        }
        match std::mem::take(&mut waiting.missed) {
            0 if waiting.ended => Poll::Ready(Next::End),
            0 => {
                waiting.waker = Some(context.waker().clone());
                Poll::Pending
            }
            missed => Poll::Ready(Next::Missed(missed)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing under this lock panics halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the reader outside of the lock, which it takes next.
fn wake(mut waiting: MutexGuard<'_, Waiting>) {
    let waker = waiting.waker.take();
    drop(waiting);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_at_the_end_is_told_and_nothing_after() {
        let inbox = Inbox::default();
        let mut context = Context::from_waker(Waker::noop());
        inbox.put(ChannelEvent::Connected);
        inbox.end();
        inbox.put(ChannelEvent::Connected);
        assert!(matches!(inbox.poll(&mut context), Poll::Ready(Next::Event(_))));
        assert!(matches!(inbox.poll(&mut context), Poll::Ready(Next::End)));
    }

    #[test]
    fn nothing_waits_for_a_reader_who_has_gone() {
        let inbox = Inbox::default();
        inbox.put(ChannelEvent::Connected);
        inbox.abandon();
        inbox.put(ChannelEvent::Connected);
        assert!(inbox.lock().events.is_empty());
    }
}
