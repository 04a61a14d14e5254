//! [`Calls`]: who waits for an answer of a channel.
//!
//! Answers come in about the order of the calls, so a queue finds them at its front.

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
    waiting: VecDeque<(CallId, Sender<Reply>)>,
    made: u64,
}

impl Calls {
    /// Gives the call an id that no other has.
    pub(super) fn add(&mut self, sender: Sender<Reply>) -> CallId {
        let call = CallId(self.made);
        self.made += 1;
        self.waiting.push_back((call, sender));
        call
    }

    /// Takes a call out; `None` when it was taken before.
    pub(super) fn take(&mut self, call: CallId) -> Option<Sender<Reply>> {
        let position = self.waiting.binary_search_by_key(&call, |(waiting, _)| *waiting).ok()?;
        let (_, sender) = self.waiting.remove(position)?;
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT {
            self.waiting = VecDeque::new();
        }
        Some(sender)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[test]
    fn each_call_is_taken_once_in_whatever_order_and_an_idle_channel_keeps_little() {
        let mut calls = Calls::default();
        let made: Vec<CallId> = (0..1_000).map(|_| calls.add(oneshot::channel().0)).collect();
        for call in made.iter().rev().step_by(2).chain(made.iter().step_by(2)) {
            assert!(calls.take(*call).is_some());
            assert!(calls.take(*call).is_none());
        }
        assert_eq!((calls.waiting.len(), calls.waiting.capacity()), (0, 0));
        assert!(calls.take(CallId(1_000)).is_none(), "never made");
    }
}
