//! What an input may use of what is around its lane.

use super::effect::{Answer, CallId, Common, Effect, ExecutorError, Moment};
use super::step::Waiting;
use super::told::Callbacks;
use crate::channel::Context;
use crate::types::{ChannelId, split_mix};

/// What an input may use of what is around it.
pub(super) struct Turn<'a> {
    pub(super) id: &'a ChannelId,
    pub(super) common: &'a Common,
    pub(super) moment: &'a Moment,
    pub(super) callbacks: &'a mut Callbacks,
    pub(super) effects: &'a mut Vec<Effect>,
}

impl Turn<'_> {
    pub(super) fn answer(&mut self, call: CallId, result: Result<Answer, ExecutorError>) {
        self.effects.push(Effect::Answer { channel: self.id.clone(), call, result });
    }

    pub(super) fn refuse(&mut self, order: &Waiting, error: ExecutorError) {
        if let Some(caller) = order.caller {
            self.answer(caller.call, Err(error));
        }
    }

    /// What a channel is given with an input; `entropy` is its opening's.
    pub(super) fn context(&self, entropy: &mut u64) -> Context {
        Context { wall: self.moment.wall, running: self.moment.running, entropy: split_mix(entropy) }
    }
}
