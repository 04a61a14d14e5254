//! What a manager tells by itself, until the host has heard it.
//!
//! What: [`Events`], a queue for each manager, and who hears it. Why a queue: a host's callback may take its time, wait, or
//! call in again, so no call of the host and no timer may run it. How it moves: whoever pushes to a queue that nobody empties
//! starts somebody who does, on a thread of the runtime; so a manager's events are told in order, one at a time.

use std::collections::VecDeque;

use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Events that wait for one manager's host; beyond, the oldest are given up.
pub(crate) const MAX_WAITING: usize = 65_536;
/// Bytes of such events.
pub(crate) const MAX_WAITING_BYTES: usize = 64 << 20;

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
    waiting: VecDeque<(E, usize)>,
    bytes: usize,
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

/// What became of an event that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// The caller must have [`Events::empty`] called.
    pub(crate) start: bool,
    /// Older events that were given up for it.
    pub(crate) given_up: usize,
}

impl<C: Clone, E> Events<C, E> {
    pub(crate) fn new() -> Self {
        let state = State {
            hearer: None,
            waiting: VecDeque::new(),
            bytes: 0,
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

    /// Queues an event of so many bytes. Without a hearer it is nothing.
    pub(crate) fn push(&self, event: E, bytes: usize) -> Pushed {
        let mut state = self.lock();
        let mut pushed = Pushed { start: false, given_up: 0 };
        if state.hearer.is_none() {
            return pushed;
        }
        state.waiting.push_back((event, bytes));
        state.bytes += bytes;
        while state.waiting.len() > 1 && (state.waiting.len() > MAX_WAITING || state.bytes > MAX_WAITING_BYTES) {
            let oldest = state.waiting.pop_front();
            state.bytes -= oldest.map_or(0, |(_, bytes)| bytes);
            pushed.given_up += 1;
        }
        pushed.start = !std::mem::replace(&mut state.emptying, true);
        pushed
    }

    /// Tells what waits, until nothing does, unless another one does so. Called after a push said so, once.
    pub(crate) fn empty(&self, call: impl Fn(&C, &E)) {
        if std::mem::replace(&mut self.lock().running, true) {
            return;
        }
        loop {
            let (hearer, event) = {
                let mut state = self.lock();
                match (state.hearer.clone(), state.waiting.pop_front()) {
                    (Some(hearer), Some((event, bytes))) => {
                        state.bytes -= bytes;
                        state.calling = true;
                        state.calls += 1;
                        (hearer, event)
                    }
                    _ => {
                        state.forget_waiting();
                        (state.emptying, state.running) = (false, false);
                        return;
                    }
                }
            };
            call(&hearer, &event);
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
                state.forget_waiting();
            }
        }
        self.wait_for_call(state, wait);
    }

    /// Ends the telling for good, as [`hear`](Self::hear) with nobody.
    pub(crate) fn close(&self, wait: bool) {
        let mut state = self.lock();
        state.closed = true;
        state.hearer = None;
        state.forget_waiting();
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
        // Nothing under this lock panics halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C, E> State<C, E> {
    fn forget_waiting(&mut self) {
        self.waiting = VecDeque::new();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn heard(events: &Events<char, u32>) -> Vec<(char, u32)> {
        let heard = RefCell::new(Vec::new());
        events.empty(|hearer, event| heard.borrow_mut().push((*hearer, *event)));
        heard.into_inner()
    }

    #[test]
    fn one_push_starts_and_all_are_told_in_order() {
        let events = Events::new();
        events.hear(Some('a'), true);
        let starts: Vec<bool> = (0..3).map(|number| events.push(number, 1).start).collect();
        assert_eq!(starts, [true, false, false]);
        assert_eq!(heard(&events), [('a', 0), ('a', 1), ('a', 2)]);
        assert!(events.push(3, 1).start, "whoever emptied it is gone");
    }

    #[test]
    fn two_who_were_started_do_not_tell_at_the_same_time() {
        let events = Events::new();
        events.hear(Some('a'), true);
        assert!(events.push(0, 1).start);
        events.not_started();
        assert!(events.push(1, 1).start, "the first was not started, they said");
        let told = RefCell::new(Vec::new());
        events.empty(|_, event| {
            told.borrow_mut().push(*event);
            events.empty(|_, event| told.borrow_mut().push(10 + event));
        });
        assert_eq!(told.into_inner(), [0, 1]);
        assert!(events.push(2, 1).start);
        assert_eq!(heard(&events), [('a', 2)]);
    }

    #[test]
    fn what_nobody_hears_is_not_kept() {
        let events = Events::new();
        assert_eq!(events.push(0, 1), Pushed { start: false, given_up: 0 });
        events.hear(Some('a'), true);
        events.push(1, 1);
        events.hear(None, true);
        events.hear(Some('b'), true);
        assert_eq!(heard(&events), [], "the second is for nobody either");
        events.push(2, 1);
        assert_eq!(heard(&events), [('b', 2)]);
        events.close(true);
        events.hear(Some('c'), true);
        assert_eq!(events.push(3, 1), Pushed { start: false, given_up: 0 });
        assert!(!events.are_heard());
    }

    #[test]
    fn the_oldest_are_given_up_over_either_limit() {
        let events = Events::new();
        events.hear(Some('a'), true);
        for number in 0..=MAX_WAITING as u32 {
            assert_eq!(events.push(number, 1).given_up, usize::from(number == MAX_WAITING as u32));
        }
        assert_eq!(events.push(0, MAX_WAITING_BYTES).given_up, MAX_WAITING, "but never the newest");
        assert_eq!(heard(&events), [('a', 0)]);
        assert_eq!(events.push(1, MAX_WAITING_BYTES).given_up, 0, "what was told counts no more");
    }

    #[test]
    fn the_hearer_may_change_and_end_it_from_inside() {
        let events = Events::new();
        events.hear(Some('a'), true);
        for number in 0..4 {
            events.push(number, 1);
        }
        let heard = RefCell::new(Vec::new());
        events.empty(|hearer, event| {
            heard.borrow_mut().push((*hearer, *event));
            match event {
                0 => events.hear(Some('b'), false),
                2 => events.close(false),
                _ => {}
            }
        });
        assert_eq!(heard.into_inner(), [('a', 0), ('b', 1), ('b', 2)]);
    }
}
