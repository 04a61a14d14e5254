//! What callbacks do in a world: they order, wait for the answer, return or panic.

use bytes::Bytes;

use super::{Bug, Call, Happening, World};
use crate::channel::Input as ChannelInput;
use crate::executor::{Generation, Input, Order};
use crate::types::ChannelId;

impl World {
    /// A callback that waited for this answer goes on.
    pub(super) fn wake(&mut self, member: usize, asked: Call) {
        if let Some(channel) = asked.for_callback {
            let run = self.members[member].run;
            self.later(500, Happening::GoOn { member, run, channel });
        }
    }

    pub(super) fn go_on(&mut self, member: usize, of: ChannelId) -> Result<(), String> {
        let Some(running) = self.members[member].running.get_mut(&of) else { return Err("no such callback".into()) };
        let generation = running.generation;
        if running.orders_left > 0 && !self.resting {
            running.orders_left -= 1;
            let channel = if self.random.percent(70) { of.clone() } else { self.channel() };
            let order = self.any_order();
            let inside = !(self.strangers && self.random.percent(30));
            let is_input = matches!(order, Order::Enter { .. });
            let Some(call) = self.order(member, channel.clone(), order, inside, Some(of.clone()))? else {
                return Ok(());
            };
            let who = &mut self.members[member];
            if !who.watch.waits(&channel, call) || !self.random.percent(self.panics) {
                return Ok(());
            }
            // It panics while it waits: nobody waits for the answer any more.
            who.watch.forgotten(&channel, call);
            if is_input {
                self.hand_in(member, &channel, Input::Forget(call))?;
            }
            return self.end_callback(member, &of, generation, true);
        }
        let panics = self.random.percent(self.panics);
        self.end_callback(member, &of, generation, panics)
    }

    /// A callback has returned, or panicked, which ends it as well.
    fn end_callback(
        &mut self,
        member: usize,
        of: &ChannelId,
        generation: Generation,
        panics: bool,
    ) -> Result<(), String> {
        let who = &mut self.members[member];
        self.tally.panics += u64::from(panics);
        if panics && self.bug == Some(Bug::PanickedCallbackIsLost) {
            return Ok(());
        }
        who.running.remove(of);
        let last = who.watch.returns(of, generation);
        self.tally.callbacks += 1;
        let hint = (!panics && self.random.percent(50)).then(|| Bytes::from_static(b"hint"));
        self.hand_in(member, of, Input::Returned { generation, hint })?;
        if self.bug == Some(Bug::ConfirmsNextOpening) {
            let order = Order::Enter { input: ChannelInput::DeliveriesTold(last), heard: None };
            self.hand_in(member, of, Input::Order { caller: None, order })?;
        }
        let who = &self.members[member];
        who.watch.confirmed(of, &who.executor)
    }
}
