//! What a manager tells by itself, until the host has heard it.
//!
//! What: [`Events`], a queue for each manager, and who hears it. Why a queue: a host's callback may take its time, wait, or
//! call in again, so no call of the host and no timer may run it. How it moves: whoever pushes to a queue that nobody empties
//! starts somebody who does, on a thread of the runtime; so a manager's events are told in order, one at a time.

use crate::queue::{Next, Queue};
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError, lock};

/// Events of type `E`, heard by a `C`.
#[derive(Debug)]
pub(crate) struct Events<C, E> {
    state: Mutex<State<C, E>>,
    /// A call has ended.
    ended: Condvar,
}

#[derive(Debug)]
struct State<C, E> {
    hearer: Option<C>,
    waiting: Queue<E>,
    /// Somebody empties the queue, or was started to.
    emptying: bool,
    /// Somebody empties it: one who was said not to have been started may have been all the same.
    running: bool,
    /// The hearer is being called.
    calling: bool,
    /// Calls begun.
    calls: u64,
    /// Nobody hears anything any more.
    closed: bool,
}

impl<C: Clone, E> Events<C, E> {
    pub(crate) fn new() -> Self {
        let state = State {
            hearer: None,
            waiting: Queue::new(),
            emptying: false,
            running: false,
            calling: false,
            calls: 0,
            closed: false,
        };
        Self { state: Mutex::new(state), ended: Condvar::new() }
    }

    /// Whether anybody hears: what nobody hears need not be made.
    pub(crate) fn are_heard(&self) -> bool {
        self.lock().hearer.is_some()
    }

    /// Queues an event of so many bytes; without a hearer it is nothing. Returns whether the caller must have
    /// [`empty`](Self::empty) called.
    #[must_use]
    pub(crate) fn push(&self, event: E, bytes: usize) -> bool {
        let mut state = self.lock();
        if state.hearer.is_none() {
            return false;
        }
        state.waiting.push(event, bytes);
        !std::mem::replace(&mut state.emptying, true)
    }

    /// Tells what waits, until nothing does, unless another one does so. Called after a push said so, once.
    pub(crate) fn empty(&self, call: impl Fn(&C, Next<E>)) {
        if std::mem::replace(&mut self.lock().running, true) {
            return;
        }
        loop {
            let (hearer, next) = {
                let mut state = self.lock();
                match (state.hearer.clone(), state.waiting.pop()) {
                    (Some(hearer), Some(next)) => {
                        state.calling = true;
                        state.calls += 1;
                        (hearer, next)
                    }
                    _ => {
                        state.waiting = Queue::new();
                        (state.emptying, state.running) = (false, false);
                        return;
                    }
                }
            };
            call(&hearer, next);
            self.lock().calling = false;
            self.ended.notify_all();
        }
    }

    /// The push that said to start somebody could not: the next one says it again.
    pub(crate) fn not_started(&self) {
        self.lock().emptying = false;
    }

    /// From now on this one hears, and the one before is not called any more; with `wait`, nor is it being called when this
    /// returns. Who is itself being called must not wait.
    pub(crate) fn hear(&self, hearer: Option<C>, wait: bool) {
        let mut state = self.lock();
        if !state.closed {
            state.hearer = hearer;
            if state.hearer.is_none() {
                state.waiting = Queue::new();
            }
        }
        self.wait_for_call(state, wait);
    }

    /// Ends the telling for good, as [`hear`](Self::hear) with nobody.
    pub(crate) fn close(&self, wait: bool) {
        let mut state = self.lock();
        state.closed = true;
        state.hearer = None;
        state.waiting = Queue::new();
        self.wait_for_call(state, wait);
    }

    /// Waits for the call in progress, not for those after it.
    fn wait_for_call(&self, mut state: MutexGuard<'_, State<C, E>>, wait: bool) {
        let calls = state.calls;
        while wait && state.calling && state.calls == calls {
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<C, E>> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::queue::MAX_WAITING;

    fn event_of(next: Next<u32>) -> u32 {
        let Next::Event(event) = next else { panic!("{next:?}") };
        event
    }

    fn heard(events: &Events<char, u32>) -> Vec<(char, u32)> {
        let heard = RefCell::new(Vec::new());
        events.empty(|hearer, next| heard.borrow_mut().push((*hearer, event_of(next))));
        heard.into_inner()
    }

    #[test]
    fn one_push_starts_and_all_are_told_in_order() {
        let events = Events::new();
        events.hear(Some('a'), true);
        let starts: Vec<bool> = (0..3).map(|number| events.push(number, 1)).collect();
        assert_eq!(starts, [true, false, false]);
        assert_eq!(heard(&events), [('a', 0), ('a', 1), ('a', 2)]);
        assert!(events.push(3, 1), "whoever emptied it is gone");
    }

    #[test]
    fn two_who_were_started_do_not_tell_at_the_same_time() {
        let events = Events::new();
        events.hear(Some('a'), true);
        assert!(events.push(0, 1));
        events.not_started();
        assert!(events.push(1, 1), "the first was not started, they said");
        let told = RefCell::new(Vec::new());
        events.empty(|_, next| {
            told.borrow_mut().push(event_of(next));
            events.empty(|_, next| told.borrow_mut().push(10 + event_of(next)));
        });
        assert_eq!(told.into_inner(), [0, 1]);
        assert!(events.push(2, 1));
        assert_eq!(heard(&events), [('a', 2)]);
    }

    #[test]
    fn what_nobody_hears_is_not_kept() {
        let events = Events::new();
        assert!(!events.push(0, 1));
        events.hear(Some('a'), true);
        assert!(events.push(1, 1));
        events.hear(None, true);
        events.hear(Some('b'), true);
        assert_eq!(heard(&events), [], "the second is for nobody either");
        assert!(events.push(2, 1));
        assert_eq!(heard(&events), [('b', 2)]);
        events.close(true);
        events.hear(Some('c'), true);
        assert!(!events.push(3, 1));
        assert!(!events.are_heard());
    }

    #[test]
    fn what_was_given_up_is_told_first() {
        let events = Events::new();
        events.hear(Some('a'), true);
        let starts = (0..=MAX_WAITING as u32).filter(|number| events.push(*number, 1)).count();
        assert_eq!(starts, 1);
        let told = RefCell::new(Vec::new());
        events.empty(|_, next| told.borrow_mut().push(next));
        let told = told.into_inner();
        assert_eq!((told.len(), &told[..2]), (MAX_WAITING + 1, &[Next::GivenUp(1), Next::Event(1)][..]));
    }

    #[test]
    fn the_hearer_may_change_and_end_it_from_inside() {
        let events = Events::new();
        events.hear(Some('a'), true);
        assert_eq!((0..4).filter(|number| events.push(*number, 1)).count(), 1);
        let heard = RefCell::new(Vec::new());
        events.empty(|hearer, next| {
            let event = event_of(next);
            heard.borrow_mut().push((*hearer, event));
            match event {
                0 => events.hear(Some('b'), false),
                2 => events.close(false),
                _ => {}
            }
        });
        assert_eq!(heard.into_inner(), [('a', 0), ('b', 1), ('b', 2)]);
    }
}
