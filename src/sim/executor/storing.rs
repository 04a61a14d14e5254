//! What a store does with the calls of a world, and what a crash leaves of them.

use std::sync::Arc;

use super::{Bug, Happening, PATIENCE_MS, World, check};
use crate::executor::{Generation, Input};
use crate::state::Commit;
use crate::store::{Archive, Persistence, PersistenceError, PersistenceErrorKind};
use crate::types::{ChannelId, split_mix};

/// How a call to the store ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Well,
    Fails,
    /// The driver catches that, and hands it in as a failure.
    Panics,
}

#[derive(Debug)]
pub(super) enum Verb {
    Load,
    Commit(Arc<Commit>),
    Drop,
}

impl World {
    pub(super) fn store(
        &mut self,
        member: usize,
        channel: ChannelId,
        generation: Generation,
        verb: Verb,
    ) -> Result<(), String> {
        let end = self.draw_end();
        let run = self.members[member].run;
        if end == End::Panics && self.random.percent(50) {
            // Before there is anything to wait for.
            return self.stored(member, run, &channel, generation, verb, end);
        }
        let happening = Happening::Stored { member, run, channel, generation, verb, end };
        if !self.resting && self.random.percent(self.hangs) {
            self.tally.hung += 1;
            self.members[member].hung.push(happening);
            self.later(20_000, Happening::Heal { member });
        } else {
            let slow = if self.random.percent(20) { 3_000 } else { 50 };
            self.later(slow, happening);
        }
        Ok(())
    }

    fn draw_end(&mut self) -> End {
        if self.resting {
            End::Well
        } else if self.random.percent(self.fails) {
            End::Fails
        } else if self.random.percent(self.panics) {
            End::Panics
        } else {
            End::Well
        }
    }

    pub(super) fn stored(
        &mut self,
        member: usize,
        run: u64,
        channel: &ChannelId,
        generation: Generation,
        verb: Verb,
        end: End,
    ) -> Result<(), String> {
        let who = &mut self.members[member];
        if who.run != run {
            return Ok(());
        }
        self.tally.failed += u64::from(end == End::Fails);
        self.tally.panics += u64::from(end == End::Panics);
        if end == End::Panics && self.bug == Some(Bug::PanickedCallIsLost) {
            return Ok(());
        }
        who.watch.came_back(channel);
        let fails = end != End::Well;
        let error = || error("call", Some(channel), end);
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
                    who.archiving.iter().for_each(|it| _ = check::now(it.kept.drop_channel(channel)));
                }
                Input::Dropped { generation, result: if fails { Err(error()) } else { Ok(()) } }
            }
        };
        self.hand_in(member, channel, input)
    }

    pub(super) fn flush(&mut self, member: usize) -> Result<(), String> {
        let (run, end) = (self.members[member].run, self.draw_end());
        if !self.resting && self.random.percent(self.hangs) {
            // Its driver waits no longer than anybody.
            self.tally.hung += 1;
            self.at(self.now + PATIENCE_MS, Happening::Flushed { member, run, end: End::Fails });
        } else if end == End::Panics {
            return self.flushed(member, end);
        } else {
            self.later(500, Happening::Flushed { member, run, end });
        }
        Ok(())
    }

    pub(super) fn flushed(&mut self, member: usize, end: End) -> Result<(), String> {
        self.tally.failed += u64::from(end == End::Fails);
        self.tally.panics += u64::from(end == End::Panics);
        let result = if end == End::Well { Ok(()) } else { Err(error("flush", None, end)) };
        let effects = self.members[member].executor.flushed(result);
        self.carry_out(member, effects)
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

pub(super) fn error(verb: &'static str, channel: Option<&ChannelId>, end: End) -> Arc<PersistenceError> {
    let kind = match end {
        End::Panics => PersistenceErrorKind::Backend("the store panicked".into()),
        _ => PersistenceErrorKind::Io,
    };
    Arc::new(PersistenceError::new(verb, channel, kind))
}
