//! What a store does with the calls of a world, and what a crash leaves of them.

use std::sync::Arc;

use super::{Bug, Happening, World, check};
use crate::executor::{Generation, Input};
use crate::state::Commit;
use crate::store::{Persistence, PersistenceError, PersistenceErrorKind};
use crate::types::{ChannelId, split_mix};

#[derive(Debug)]
pub(super) enum Verb {
    Load,
    Commit(Arc<Commit>),
    Drop,
}

impl World {
    pub(super) fn store(&mut self, member: usize, channel: ChannelId, generation: Generation, verb: Verb) {
        let fails = !self.resting && self.random.percent(self.fails);
        let run = self.members[member].run;
        let happening = Happening::Stored { member, run, channel, generation, verb, fails };
        if !self.resting && self.random.percent(self.hangs) {
            self.tally.hung += 1;
            self.members[member].hung.push(happening);
            self.later(20_000, Happening::Heal { member });
        } else {
            let slow = if self.random.percent(20) { 3_000 } else { 50 };
            self.later(slow, happening);
        }
    }

    pub(super) fn stored(
        &mut self,
        member: usize,
        run: u64,
        channel: &ChannelId,
        generation: Generation,
        verb: Verb,
        fails: bool,
    ) -> Result<(), String> {
        let who = &mut self.members[member];
        if who.run != run {
            return Ok(());
        }
        who.watch.came_back(channel);
        self.tally.failed += u64::from(fails);
        let error = || Arc::new(PersistenceError::new("call", Some(channel), PersistenceErrorKind::Io));
        // One that fails may have happened all the same.
        let happens = !fails || self.random.percent(30);
        let input = match verb {
            Verb::Load => {
                let result = if fails { Err(error()) } else { check::load(&who.disk, channel).map(Ok)? };
                if let Ok(data) = &result {
                    who.watch.loaded(channel, generation, data);
                }
                Input::Loaded { generation, result }
            }
            Verb::Commit(commit) => {
                if happens {
                    check::now(who.disk.commit(channel, &commit));
                }
                let fails = fails && self.bug != Some(Bug::FailureIsSuccess);
                Input::Saved { generation, result: if fails { Err(error()) } else { Ok(()) } }
            }
            Verb::Drop => {
                if happens {
                    check::now(who.disk.drop_channel(channel));
                }
                Input::Dropped { generation, result: if fails { Err(error()) } else { Ok(()) } }
            }
        };
        self.hand_in(member, channel, input)
    }

    /// The process ends at once; what the store was doing may have happened.
    pub(super) fn crash(&mut self, member: usize) -> Result<(), String> {
        let run = self.members[member].run;
        for happening in self.happenings.values() {
            if let Happening::Stored { member: of, run: then, channel, verb: Verb::Commit(commit), .. } = happening
                && (*of, *then) == (member, run)
                && split_mix(&mut self.random.0).is_multiple_of(2)
            {
                let disk = &self.members[member].disk;
                if self.bug == Some(Bug::Torn) {
                    check::now(disk.update_history(channel, &commit.history));
                } else {
                    check::now(disk.commit(channel, commit));
                }
            }
        }
        self.tally.restarts += 1;
        self.restart(member);
        Ok(())
    }
}
