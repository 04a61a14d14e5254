//! A queue of bounded length: whoever is slow loses the oldest, and is told how many.

use std::collections::VecDeque;

/// Events that wait for one manager's host; beyond, the oldest are given up.
pub(crate) const MAX_WAITING: usize = 65_536;
/// Bytes of such events.
pub(crate) const MAX_WAITING_BYTES: usize = 64 << 20;

/// Events, each with the bytes that it takes.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    waiting: VecDeque<(E, usize)>,
    bytes: usize,
    given_up: u64,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next<E> {
    /// An event.
    Event(E),
    /// So many events were given up before the next one.
    GivenUp(u64),
}

impl<E> Queue<E> {
    pub(crate) fn new() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, given_up: 0 }
    }

    pub(crate) fn push(&mut self, event: E, bytes: usize) {
        self.waiting.push_back((event, bytes));
        self.bytes += bytes;
        while self.waiting.len() > 1 && (self.waiting.len() > MAX_WAITING || self.bytes > MAX_WAITING_BYTES) {
            let oldest = self.waiting.pop_front();
            self.bytes -= oldest.map_or(0, |(_, bytes)| bytes);
            self.given_up += 1;
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Next<E>> {
        if self.given_up > 0 {
            return Some(Next::GivenUp(std::mem::take(&mut self.given_up)));
        }
        let (event, bytes) = self.waiting.pop_front()?;
        self.bytes -= bytes;
        Some(Next::Event(event))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.given_up == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order() {
        let mut queue = Queue::new();
        assert!(queue.is_empty());
        queue.push('a', 1);
        queue.push('b', 1);
        assert!(!queue.is_empty());
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some(Next::Event('a')), Some(Next::Event('b')), None]);
    }

    #[test]
    fn the_oldest_are_given_up_over_either_limit_and_that_is_told_first() {
        let mut queue = Queue::new();
        for event in 0..=MAX_WAITING as u32 {
            queue.push(event, 1);
        }
        assert_eq!([queue.pop(), queue.pop()], [Some(Next::GivenUp(1)), Some(Next::Event(1))]);
        queue.push(7, MAX_WAITING_BYTES);
        let rest = MAX_WAITING as u64 - 1;
        let all = [queue.pop(), queue.pop(), queue.pop()];
        assert_eq!(all, [Some(Next::GivenUp(rest)), Some(Next::Event(7)), None], "but never the newest");
        queue.push(8, MAX_WAITING_BYTES);
        assert_eq!([queue.pop(), queue.pop()], [Some(Next::Event(8)), None], "what was taken counts no more");
    }
}
