//! [`Calls`]: who waits for an answer of a channel.
//!
//! Answers come in about the order of the calls, so a queue finds them at its front. One that is taken from the middle, as
//! when its caller is gone, leaves its place empty until the front comes there, or until most places are empty.

use std::collections::VecDeque;

use tokio::sync::oneshot::Sender;

use crate::executor::{Answer, CallId, ExecutorError};

/// Calls for which an idle channel keeps room.
const KEPT: usize = 16;

/// What a call is answered with.
pub(super) type Reply = Result<Answer, ExecutorError>;

/// Calls not answered yet, in the order they were made.
#[derive(Debug, Default)]
pub(super) struct Calls {
    places: VecDeque<(CallId, Option<Sender<Reply>>)>,
    waiting: usize,
    made: u64,
}

impl Calls {
    /// Gives the call an id that no other has.
    pub(super) fn add(&mut self, sender: Sender<Reply>) -> CallId {
        let call = CallId(self.made);
        self.made += 1;
        self.places.push_back((call, Some(sender)));
        self.waiting += 1;
        call
    }

    /// Takes a call out; `None` when it was taken before.
    pub(super) fn take(&mut self, call: CallId) -> Option<Sender<Reply>> {
        let position = self.places.binary_search_by_key(&call, |(known, _)| *known).ok()?;
        let sender = self.places.get_mut(position)?.1.take()?;
        self.waiting -= 1;
        while self.places.front().is_some_and(|(_, sender)| sender.is_none()) {
            self.places.pop_front();
        }
        if self.places.len() > KEPT + 2 * self.waiting {
            // Moves as many as were taken since the last time, at most.
            self.places.retain(|(_, sender)| sender.is_some());
        }
        if self.places.is_empty() && self.places.capacity() > KEPT {
            self.places = VecDeque::new();
        }
        Some(sender)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::split_mix;
    use tokio::sync::oneshot;

    #[test]
    fn each_call_is_taken_once_in_whatever_order_and_an_idle_channel_keeps_little() {
        let mut calls = Calls::default();
        let made: Vec<CallId> = (0..1_000).map(|_| calls.add(oneshot::channel().0)).collect();
        for call in made.iter().rev().step_by(2).chain(made.iter().step_by(2)) {
            assert!(calls.take(*call).is_some());
            assert!(calls.take(*call).is_none());
        }
        assert_eq!((calls.places.len(), calls.places.capacity()), (0, 0));
        assert!(calls.take(CallId(1_000)).is_none(), "never made");
    }

    /// Where each that is taken from the middle moves the others, this takes twenty seconds, and not one.
    #[test]
    fn hundreds_of_thousands_that_are_taken_in_random_order_leave_few_empty_places() {
        let mut calls = Calls::default();
        let mut made: Vec<CallId> = (0..400_000).map(|_| calls.add(oneshot::channel().0)).collect();
        let mut random = 7;
        while !made.is_empty() {
            let which = usize::try_from(split_mix(&mut random) % made.len() as u64).unwrap_or_default();
            let call = made.swap_remove(which);
            assert!(calls.take(call).is_some());
            assert!(calls.waiting == made.len() && calls.places.len() <= KEPT + 2 * made.len());
        }
    }

    #[test]
    fn one_that_is_never_answered_keeps_no_place_for_those_after_it() {
        let mut calls = Calls::default();
        let first = calls.add(oneshot::channel().0);
        for _ in 0..10_000 {
            let call = calls.add(oneshot::channel().0);
            assert!(calls.take(call).is_some());
        }
        assert!(calls.places.len() <= KEPT + 2 && calls.take(first).is_some());
    }
}
