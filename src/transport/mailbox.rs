//! [`Mailbox`]: what waits for one reader.
//!
//! What: a queue that is bounded and never waited for. Why it drops the newest and not the oldest: what came first stays in
//! order, and one number says where something is missing. How it moves: a writer puts items in, the reader polls them out.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use super::lock;

/// Bytes of messages in them.
pub(crate) const MAX_BYTES: usize = 16 << 20;

/// What takes room in a mailbox.
pub(crate) trait Weigh {
    /// Items that wait.
    const MAX_ITEMS: usize = 4_096;

    /// Bytes of messages it keeps in memory.
    fn bytes(&self) -> usize;
}

#[derive(Debug)]
pub(crate) struct Mailbox<T>(Mutex<Waiting<T>>);

#[derive(Debug)]
struct Waiting<T> {
    items: VecDeque<T>,
    bytes: usize,
    /// Dropped after what waits.
    missed: u64,
    ended: bool,
    waker: Option<Waker>,
}

/// What a reader finds.
pub(crate) enum Next<T> {
    Item(T),
    Missed(u64),
    End,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self(Mutex::new(Waiting { items: VecDeque::new(), bytes: 0, missed: 0, ended: false, waker: None }))
    }
}

impl<T: Weigh> Mailbox<T> {
    pub(crate) fn put(&self, item: T) {
        let mut waiting = lock(&self.0);
        if waiting.ended {
            return;
        }
        let bytes = waiting.bytes.saturating_add(item.bytes());
        // Once something was dropped, all is, until the reader has come so far: then one number tells it where.
        if waiting.missed > 0 || waiting.items.len() >= T::MAX_ITEMS || bytes > MAX_BYTES {
            waiting.missed += 1;
        } else {
            waiting.bytes = bytes;
            waiting.items.push_back(item);
        }
        wake(waiting);
    }

    /// Whether it is less than half full.
    pub(crate) fn has_room(&self) -> bool {
        let waiting = lock(&self.0);
        waiting.ended || waiting.items.len() < T::MAX_ITEMS / 2 && waiting.bytes < MAX_BYTES / 2
    }

    /// Nothing is told after what waits.
    pub(crate) fn end(&self) {
        let mut waiting = lock(&self.0);
        waiting.ended = true;
        wake(waiting);
    }

    /// Nobody will read.
    pub(crate) fn abandon(&self) {
        let mut waiting = lock(&self.0);
        waiting.ended = true;
        waiting.items.clear();
    }

    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Next<T>> {
        let mut waiting = lock(&self.0);
        if let Some(item) = waiting.items.pop_front() {
            waiting.bytes -= item.bytes();
            return Poll::Ready(Next::Item(item));
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
}

/// Wakes the reader outside of the lock, which it takes next.
fn wake<T>(mut waiting: MutexGuard<'_, Waiting<T>>) {
    let waker = waiting.waker.take();
    drop(waiting);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Incoming;
    use super::*;

    #[test]
    fn what_waited_at_the_end_is_told_and_nothing_after() {
        let mailbox = Mailbox::default();
        let mut context = Context::from_waker(Waker::noop());
        mailbox.put(Incoming::new("x"));
        mailbox.end();
        mailbox.put(Incoming::new("x"));
        assert!(matches!(mailbox.poll(&mut context), Poll::Ready(Next::Item(_))));
        assert!(matches!(mailbox.poll(&mut context), Poll::Ready(Next::End)));
    }

    #[test]
    fn nothing_waits_for_a_reader_who_has_gone() {
        let mailbox = Mailbox::default();
        mailbox.put(Incoming::new("x"));
        mailbox.abandon();
        mailbox.put(Incoming::new("x"));
        assert!(lock(&mailbox.0).items.is_empty());
    }
}
