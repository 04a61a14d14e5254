//! What a manager tells by itself, until the host asks for it.
//!
//! What: [`Polled`], a queue with an end, waited for by condition variable, and by a [`Signal`] where the host has an event
//! loop. Why the signal is set and cleared under the lock: else one that is set for a new event could be cleared by whoever
//! took the one before.

use std::time::Duration;

use crate::queue::{Next, Queue};
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError, lock, wait_within};

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
    waiting: Queue<E>,
    closed: bool,
    signal: Option<S>,
    /// The signal is set.
    shown: bool,
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
        let state = State { waiting: Queue::new(), closed: false, signal: None, shown: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Queues an event of so many bytes.
    pub(crate) fn push(&self, event: E, bytes: usize) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        state.waiting.push(event, bytes);
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
        lock(&self.state)
    }
}

impl<E, S: Signal> State<E, S> {
    fn is_quiet(&mut self) -> bool {
        self.waiting.is_empty() && !self.closed
    }

    fn take(&mut self) -> Asked<E> {
        let asked = match self.waiting.pop() {
            Some(Next::Event(event)) => Asked::Event(event),
            Some(Next::GivenUp(count)) => Asked::GivenUp(count),
            None if self.closed => Asked::Ended,
            None => Asked::Nothing,
        };
        self.show();
        asked
    }

    fn show(&mut self) {
        let show = !self.is_quiet();
        // A system call: only where it changes anything.
        if let Some(signal) = self.signal.as_ref().filter(|_| show != self.shown) {
            if show {
                signal.set()
            } else {
                signal.clear()
            }
            self.shown = show;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    /// Whether it is set, and how often it was changed.
    #[derive(Clone, Default)]
    struct Light(Rc<Cell<(bool, u32)>>);

    impl Light {
        fn put(&self, on: bool) {
            let (_, changes) = self.0.get();
            self.0.set((on, changes + 1));
        }
    }

    impl Signal for Light {
        fn set(&self) {
            self.put(true);
        }

        fn clear(&self) {
            self.put(false);
        }
    }

    type Queue = Polled<u32, Light>;

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
    fn the_signal_says_whether_there_is_something() {
        let queue = Queue::new();
        queue.push(1, 1);
        let light = queue.signal(|| Ok::<_, ()>(Light::default()), Light::clone).unwrap();
        let seen = || light.0.get().0;
        assert!(seen(), "what came before is seen");
        queue.try_next();
        assert!(!seen());
        queue.push(2, 1);
        assert!(seen());
        queue.push(3, 1);
        assert_eq!(light.0.get().1, 3, "set, cleared, set: it is changed where it changes anything");
        queue.try_next();
        assert!(seen(), "there is one more");
        queue.try_next();
        assert!(!seen());
        queue.close();
        assert!(seen(), "the end is something");
        queue.try_next();
        assert!(seen(), "and stays");
    }
}
