//! What a manager tells by itself, until the host asks for it.
//!
//! What: [`Polled`], a queue with an end, waited for by condition variable, and by a [`Signal`] where the host has an event
//! loop. Why the signal is set and cleared under the lock: else one that is set for a new event could be cleared by whoever
//! took the one before. How it moves: whoever is slow loses the oldest, and is told how many.

use std::collections::VecDeque;
use std::time::Duration;

use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError, wait_within};

/// Events that wait for one manager's host; beyond, the oldest are given up.
pub(crate) const MAX_WAITING: usize = 65_536;
/// Bytes of such events.
pub(crate) const MAX_WAITING_BYTES: usize = 64 << 20;

/// Seen by an event loop: set while there is something to ask for.
pub(crate) trait Signal {
    /// There is.
    fn set(&self);
    /// There is not.
    fn clear(&self);
}

/// A queue of `E`.
#[derive(Debug)]
pub(crate) struct Polled<E, S> {
    state: Mutex<State<E, S>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<E, S> {
    waiting: VecDeque<(E, usize)>,
    bytes: usize,
    given_up: u64,
    closed: bool,
    signal: Option<S>,
}

/// What there was to ask for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked<E> {
    /// An event.
    Event(E),
    /// So many older events were given up before the next one.
    GivenUp(u64),
    /// Nothing in that time.
    Nothing,
    /// Nothing any more.
    Ended,
}

impl<E, S: Signal> Polled<E, S> {
    pub(crate) fn new() -> Self {
        let state = State { waiting: VecDeque::new(), bytes: 0, given_up: 0, closed: false, signal: None };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Queues an event of so many bytes.
    pub(crate) fn push(&self, event: E, bytes: usize) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        state.waiting.push_back((event, bytes));
        state.bytes += bytes;
        while state.waiting.len() > 1 && (state.waiting.len() > MAX_WAITING || state.bytes > MAX_WAITING_BYTES) {
            let oldest = state.waiting.pop_front();
            state.bytes -= oldest.map_or(0, |(_, bytes)| bytes);
            state.given_up += 1;
        }
        state.show();
        self.changed.notify_one();
    }

    /// What is next, without waiting.
    pub(crate) fn try_next(&self) -> Asked<E> {
        self.lock().take()
    }

    /// What is next, waited for until it is there.
    pub(crate) fn next(&self) -> Asked<E> {
        let mut state = self.lock();
        loop {
            match state.take() {
                Asked::Nothing => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                other => return other,
            }
        }
    }

    /// What is next, waited for during this time at most.
    pub(crate) fn next_within(&self, time: Duration) -> Asked<E> {
        let state = self.lock();
        wait_within(&self.changed, state, time, State::is_quiet).take()
    }

    /// Nothing is queued any more; what waits can still be asked for.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.show();
        self.changed.notify_all();
    }

    /// The signal, made where there was none, as `read` sees it.
    pub(crate) fn signal<T, F>(&self, make: impl FnOnce() -> Result<S, F>, read: impl FnOnce(&S) -> T) -> Result<T, F> {
        let mut state = self.lock();
        let signal = match state.signal.take() {
            Some(signal) => signal,
            None => make()?,
        };
        let seen = read(&signal);
        state.signal = Some(signal);
        state.show();
        Ok(seen)
    }

    fn lock(&self) -> MutexGuard<'_, State<E, S>> {
        // Nothing under this lock panics halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E, S: Signal> State<E, S> {
    fn is_quiet(&mut self) -> bool {
        self.waiting.is_empty() && self.given_up == 0 && !self.closed
    }

    fn take(&mut self) -> Asked<E> {
        let asked = match std::mem::take(&mut self.given_up) {
            0 => match self.waiting.pop_front() {
                Some((event, bytes)) => {
                    self.bytes -= bytes;
                    Asked::Event(event)
                }
                None if self.closed => Asked::Ended,
                None => Asked::Nothing,
            },
            given_up => Asked::GivenUp(given_up),
        };
        self.show();
        asked
    }

    fn show(&mut self) {
        let quiet = self.is_quiet();
        if let Some(signal) = &self.signal {
            if quiet { signal.clear() } else { signal.set() }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    impl Signal for Rc<Cell<bool>> {
        fn set(&self) {
            Cell::set(self, true);
        }

        fn clear(&self) {
            Cell::set(self, false);
        }
    }

    type Queue = Polled<u32, Rc<Cell<bool>>>;

    #[test]
    fn events_come_in_order_and_then_the_end() {
        let queue = Queue::new();
        assert_eq!(queue.try_next(), Asked::Nothing);
        assert_eq!(queue.next_within(Duration::from_millis(1)), Asked::Nothing);
        for event in [1, 2] {
            queue.push(event, 1);
        }
        queue.close();
        queue.push(3, 1);
        assert_eq!(
            [queue.next(), queue.next_within(Duration::MAX), queue.next()],
            [Asked::Event(1), Asked::Event(2), Asked::Ended]
        );
    }

    #[test]
    fn the_oldest_are_given_up_over_either_limit_and_that_is_told_first() {
        let queue = Queue::new();
        for event in 0..=MAX_WAITING as u32 {
            queue.push(event, 1);
        }
        assert_eq!([queue.try_next(), queue.try_next()], [Asked::GivenUp(1), Asked::Event(1)]);
        queue.push(7, MAX_WAITING_BYTES);
        let rest = MAX_WAITING as u64 - 1;
        assert_eq!(
            [queue.try_next(), queue.try_next(), queue.try_next()],
            [Asked::GivenUp(rest), Asked::Event(7), Asked::Nothing]
        );
    }

    #[test]
    fn the_signal_says_whether_there_is_something() {
        let queue = Queue::new();
        queue.push(1, 1);
        let signal = queue.signal(|| Ok::<_, ()>(Rc::default()), Rc::clone).unwrap();
        let seen = || signal.get();
        assert!(seen(), "what came before is seen");
        queue.try_next();
        assert!(!seen());
        queue.push(2, 1);
        assert!(seen());
        queue.try_next();
        queue.close();
        assert!(seen(), "the end is something");
        queue.try_next();
        assert!(seen(), "and stays");
    }
}
