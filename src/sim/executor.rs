//! Worlds for the [`Executor`]: stores that are slow, fail, hang and panic, callbacks that call anything at any moment and
//! panic, and channels that panic.
//!
//! Two participants with a few channels each; tasks and callbacks order at random, a callback waits for each answer
//! before it goes on, or panics while it waits. A panic comes to the executor as its driver tells it: of a store's call as
//! its failure, at once where the call panicked before there was anything to wait for; of a callback as its return.
//! Everything comes from one seed. [`run`] checks while it runs:
//!
//! - one call to the store at a time for a channel, and what is loaded fits together;
//! - after *closed* no commit, and nothing told or transmitted, and, for a caller from outside, no callback still running;
//! - callbacks of a channel one at a time, deliveries in order, each once an opening;
//! - a delivery counts as confirmed once a callback of this opening has returned from it;
//! - what was answered *Ok* is stored: at once with [`OnSaveFailure::Fail`], else when the channel is closed;
//! - every order is answered, once; in worlds where callbacks wait for nobody but themselves without any patience ending;
//! - closed channels leave nothing behind.
//!
//! Half of the participants have an archive with the same faults; `executor/archiving.rs` says what must hold of it.

mod archiving;
mod bug;
mod calling;
mod check;
mod happening;
mod ordering;
mod storing;
mod tally;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use self::archiving::Archiving;
pub use self::bug::Bug;
use self::check::{Call, Kind, Watch};
use self::happening::Happening;
use self::storing::Verb;
pub use self::tally::Tally;
use crate::channel::{Config, Input as ChannelInput, Join};
use crate::executor::{
    CallId, Caller, Effect, Executor, Generation, Input, Moment, OnSaveFailure, Options, Order, Telling, Wants,
};
use crate::sim::EPOCH_MS;
use crate::state::ChannelData;
use crate::store::MemoryPersistence;
use crate::types::{ChannelId, Message, RunningTime, WallTime, split_mix};

/// How long tasks make orders, in milliseconds.
const BUSY_MS: u64 = 40_000;
/// When an outside caller loses patience, where it has some.
const PATIENCE_MS: u64 = 30_000;
/// Happenings after which a world that does not come to rest is a defect.
const MAX_HAPPENINGS: u64 = 200_000;
const CHANNELS: [&str; 3] = ["a", "b", "c"];

/// Runs the world of this seed.
///
/// # Errors
/// What was broken.
pub fn run(seed: u64) -> Result<Tally, String> {
    run_with(seed, None)
}

/// Runs the world of this seed with a known bug put back: a check that never reports it is blind.
///
/// # Errors
/// What was broken.
pub fn run_with(seed: u64, bug: Option<Bug>) -> Result<Tally, String> {
    let mut world = World::new(seed);
    world.bug = bug;
    world.run().map_err(|what| format!("seed {seed}, {} ms: {what}", world.now))?;
    Ok(world.tally)
}

struct World {
    bug: Option<Bug>,
    random: Random,
    now: u64,
    sequence: u64,
    /// Messages that were sent under a number of theirs.
    named: u64,
    happenings: BTreeMap<(u64, u64), Happening>,
    members: Vec<Member>,
    /// Callbacks also wait for tasks of the application, which nobody can know; so callers have patience.
    strangers: bool,
    /// Share of store calls that fail, in percent.
    fails: u64,
    hangs: u64,
    /// Share of store calls, and of what callbacks do, that panic.
    panics: u64,
    resting: bool,
    tally: Tally,
}

struct Member {
    executor: Executor,
    options: Options,
    disk: MemoryPersistence,
    /// What happens to an earlier run is nothing.
    run: u64,
    running: BTreeMap<ChannelId, Running>,
    watch: Watch,
    hung: Vec<Happening>,
    next_call: u64,
    /// To be carried out, in this order.
    effects: VecDeque<Effect>,
    carrying: bool,
    /// For a bug that makes it again.
    last_commit: BTreeMap<ChannelId, Effect>,
    archiving: Option<Archiving>,
}

/// A callback in progress.
struct Running {
    generation: Generation,
    orders_left: u64,
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        split_mix(&mut self.0) % bound
    }

    fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let strangers = random.percent(25);
        let (fails, hangs, panics) = (random.below(3) * 10, random.below(2) * 3, random.below(3) * 4);
        let members = (0..2)
            .map(|member| {
                let mut options = Options::new(format!("member {member}"), seed.wrapping_mul(2).wrapping_add(member));
                if random.percent(50) {
                    options.on_save_failure = OnSaveFailure::Fail;
                }
                if random.percent(80) {
                    let deliveries = random.percent(80);
                    options.callbacks = Wants { events: true, deliveries, transmissions: true, hints: true };
                }
                options.max_channels = 2 + usize::from(random.percent(50));
                Member::new(options)
            })
            .collect();
        let mut world = Self {
            bug: None,
            random,
            now: 0,
            sequence: 0,
            named: 0,
            happenings: BTreeMap::new(),
            members,
            strangers,
            fails,
            hangs,
            panics,
            resting: false,
            tally: Tally::default(),
        };
        for member in 0..2 {
            for _ in 0..6 {
                world.later(5_000, Happening::Task { member });
            }
        }
        world
    }

    fn run(&mut self) -> Result<(), String> {
        self.go_until(BUSY_MS)?;
        self.resting = true;
        for member in 0..2 {
            self.happen(Happening::Heal { member })?;
        }
        self.go_until(BUSY_MS + 3 * PATIENCE_MS)?;
        let mut end = BUSY_MS + 3 * PATIENCE_MS;
        self.members.iter().try_for_each(archiving::while_open)?;
        for member in 0..2 {
            for channel in CHANNELS {
                self.order(member, channel.into(), Order::Close, false, None)?;
            }
            // What could not be wiped is, before it is opened again.
            for channel in CHANNELS {
                for order in [Order::Open(config()), Order::Close] {
                    end += 20_000;
                    self.go_until(end)?;
                    self.order(member, channel.into(), order, false, None)?;
                }
            }
        }
        self.go_until(u64::MAX)?;
        for member in &self.members {
            member.watch.at_rest(&member.executor, &member.disk)?;
            archiving::at_rest(member)?;
        }
        Ok(())
    }

    /// Lets everything happen that is due until then.
    fn go_until(&mut self, end: u64) -> Result<(), String> {
        for _ in 0..MAX_HAPPENINGS {
            let next = self.happenings.first_key_value().map(|(at, _)| at.0);
            let timer = |member: &Member| member.executor.poll_timeout().map(RunningTime::as_millis);
            let due = self.members.iter().filter_map(timer).min();
            let Some(at) = [next, due].into_iter().flatten().min().filter(|at| *at <= end) else { return Ok(()) };
            self.now = self.now.max(at);
            if next == Some(at)
                && let Some((_, happening)) = self.happenings.pop_first()
            {
                self.happen(happening)?;
            } else {
                let moment = self.moment();
                for member in 0..self.members.len() {
                    let effects = self.members[member].executor.timeout(&moment);
                    self.carry_out(member, effects)?;
                }
            }
        }
        Err("it does not come to rest".into())
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Stored { member, run, channel, generation, verb, end } => {
                self.stored(member, run, &channel, generation, verb, end)
            }
            Happening::Archived { member, run, channel, generation, call, end } if self.members[member].run == run => {
                self.archived(member, &channel, generation, call, end)
            }
            Happening::Flushed { member, run, end } if self.members[member].run == run => self.flushed(member, end),
            Happening::CarryOut { member, run, effect } if self.members[member].run == run => {
                self.carry_out_one(member, effect)
            }
            Happening::GoOn { member, run, channel } if self.members[member].run == run => self.go_on(member, channel),
            Happening::GiveUp { member, run, channel, call } if self.members[member].run == run => {
                self.hand_in(member, &channel, Input::GiveUp(call))
            }
            Happening::Forget { member, run, channel, call } if self.members[member].run == run => {
                self.members[member].watch.forgotten(&channel, call);
                self.hand_in(member, &channel, Input::Forget(call))
            }
            Happening::Arrive { member, message } => {
                let channel = message.channel.clone();
                let order = Order::Enter { input: ChannelInput::Receive(message), heard: None };
                self.order(member, channel, order, false, None).map(|_| ())
            }
            Happening::Task { member } => {
                if self.resting {
                    return Ok(());
                }
                self.later(4_000, Happening::Task { member });
                if self.random.percent(1) {
                    return self.crash(member);
                }
                let channel = self.channel();
                let order = self.any_order();
                let call = self.order(member, channel.clone(), order, false, None)?;
                if let Some(call) = call
                    && self.random.percent(5)
                {
                    let run = self.members[member].run;
                    self.later(1_000, Happening::Forget { member, run, channel, call });
                }
                Ok(())
            }
            Happening::Heal { member } => {
                for happening in std::mem::take(&mut self.members[member].hung) {
                    self.later(1_000, happening);
                }
                Ok(())
            }
            Happening::Restart { member, run } if self.members[member].run == run => {
                if self.members[member].running.is_empty() {
                    self.members[member].watch.ended()?;
                    self.restart(member);
                } else {
                    self.later(1_000, Happening::Restart { member, run });
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Anybody's order to a channel; `None` as order shuts everything down.
    fn order(
        &mut self,
        member: usize,
        channel: ChannelId,
        order: Order,
        inside: bool,
        for_callback: Option<ChannelId>,
    ) -> Result<Option<CallId>, String> {
        let moment = self.moment();
        let who = &mut self.members[member];
        let call = CallId(who.next_call);
        who.next_call += 1;
        let kind = Kind::of(&order);
        who.watch.asked(&channel, call, Call { kind, inside, for_callback, newest: None, forgotten: false });
        let caller = Caller { call, inside: inside && self.bug != Some(Bug::ForgetsInside) };
        let patient = !matches!(kind, Kind::Close | Kind::Remove | Kind::ShutDown) || inside;
        // A defect of a channel shows in an order's step, or in none.
        let defect = !self.resting && self.random.percent(self.panics) && self.random.percent(30);
        let who = &mut self.members[member];
        who.executor.with_a_defect(defect);
        let effects = if kind == Kind::ShutDown {
            who.executor.shut_down(&moment, caller)
        } else {
            who.executor.handle(&moment, &channel, Input::Order { caller: Some(caller), order })
        };
        self.tally.defects += u64::from(defect && !who.executor.with_a_defect(false));
        self.tally.inside += u64::from(inside);
        if self.strangers && !patient && self.bug != Some(Bug::NoPatience) {
            let run = self.members[member].run;
            self.at(self.now + PATIENCE_MS, Happening::GiveUp { member, run, channel, call });
        }
        self.carry_out(member, effects)?;
        Ok(Some(call))
    }

    fn hand_in(&mut self, member: usize, channel: &ChannelId, input: Input) -> Result<(), String> {
        let moment = self.moment();
        let effects = self.members[member].executor.handle(&moment, channel, input);
        self.carry_out(member, effects)
    }

    /// In the order given, also where carrying one out leads to more.
    fn carry_out(&mut self, member: usize, effects: Vec<Effect>) -> Result<(), String> {
        self.members[member].effects.extend(effects);
        if !std::mem::replace(&mut self.members[member].carrying, true) {
            while let Some(effect) = self.members[member].effects.pop_front() {
                if self.bug == Some(Bug::TellsLater) && matches!(effect, Effect::Tell { .. }) {
                    let run = self.members[member].run;
                    self.later(500, Happening::CarryOut { member, run, effect });
                } else {
                    self.carry_out_one(member, effect)?;
                }
            }
            self.members[member].carrying = false;
        }
        Ok(())
    }

    fn carry_out_one(&mut self, member: usize, effect: Effect) -> Result<(), String> {
        let who = &mut self.members[member];
        who.watch.see(&effect, &who.running)?;
        match effect {
            Effect::Load { channel, generation } => self.store(member, channel, generation, Verb::Load)?,
            Effect::Drop { channel, generation } => self.store(member, channel, generation, Verb::Drop)?,
            Effect::Commit { channel, generation, commit } => {
                self.tally.commits += 1;
                if self.bug == Some(Bug::SavedTooEarly) {
                    let input = Input::Saved { generation, result: Ok(()) };
                    self.members[member].watch.came_back(&channel);
                    self.store(member, channel.clone(), generation, Verb::Commit(commit))?;
                    return self.hand_in(member, &channel, input);
                }
                if self.bug == Some(Bug::CommitsAgain) {
                    let again = Effect::Commit { channel: channel.clone(), generation, commit: commit.clone() };
                    self.members[member].last_commit.insert(channel.clone(), again);
                }
                self.store(member, channel, generation, Verb::Commit(commit))?;
            }
            Effect::Archive { channel, generation, call } => self.archive(member, channel, generation, call)?,
            Effect::Flush => self.flush(member)?,
            Effect::Tell { channel, telling } => self.told(member, &channel, &telling)?,
            Effect::CallBack { channel, generation, .. } => {
                let orders_left = if self.resting { 0 } else { self.random.below(3) };
                let run = self.members[member].run;
                self.members[member].running.insert(channel.clone(), Running { generation, orders_left });
                self.later(2_000, Happening::GoOn { member, run, channel: channel.clone() });
                if self.bug == Some(Bug::ReturnsTooEarly) {
                    self.hand_in(member, &channel, Input::Returned { generation, hint: None })?;
                }
            }
            Effect::Answer { channel, call, result } => {
                self.tally.answered += 1;
                if let Ok(answer) = &result
                    && let Some((message, _)) = &answer.own
                {
                    self.broadcast(member, message);
                }
                let who = &mut self.members[member];
                let fails = who.options.on_save_failure == OnSaveFailure::Fail;
                let asked = who.watch.answered(&channel, call, &result, &who.running, fails.then_some(&who.disk))?;
                let closed = result.is_ok() && matches!(asked.kind, Kind::Close | Kind::Remove);
                self.tally.closed += u64::from(closed);
                self.tally.gave_up += u64::from(check::is_unfinished(&result));
                if closed && let Some(effect) = self.members[member].last_commit.remove(&channel) {
                    let run = self.members[member].run;
                    self.later(500, Happening::CarryOut { member, run, effect });
                }
                self.wake(member, asked);
            }
            Effect::ShutDown { calls, report } => {
                self.tally.restarts += 1;
                for call in calls {
                    self.tally.answered += 1;
                    let asked = self.members[member].watch.shut_down(call, &report)?;
                    self.wake(member, asked);
                }
                // A second caller is told of the same end: a later run is not ended by it.
                let run = self.members[member].run;
                self.later(1_000, Happening::Restart { member, run });
            }
        }
        Ok(())
    }

    fn restart(&mut self, member: usize) {
        let who = &mut self.members[member];
        let fails = who.options.on_save_failure == OnSaveFailure::Fail;
        who.run += 1;
        who.options.seed = who.options.seed.wrapping_add(1_000);
        who.executor = Executor::new(who.options.clone());
        who.running.clear();
        who.hung.clear();
        who.last_commit.clear();
        who.watch.restart(fails);
        who.archiving.iter_mut().for_each(Archiving::restart);
        who.crowd();
    }

    fn transmit(&mut self, member: usize, telling: &Telling) {
        for transmit in &telling.transmit {
            self.broadcast(member, &transmit.message);
        }
    }

    fn broadcast(&mut self, member: usize, message: &Message) {
        if !self.random.percent(20) {
            self.later(300, Happening::Arrive { member: 1 - member, message: message.clone() });
        }
    }

    fn channel(&mut self) -> ChannelId {
        CHANNELS[self.random.below(3) as usize].into()
    }

    fn later(&mut self, within: u64, happening: Happening) {
        let at = self.now + self.random.below(within);
        self.at(at, happening);
    }

    fn at(&mut self, at: u64, happening: Happening) {
        self.sequence += 1;
        self.happenings.insert((at, self.sequence), happening);
    }

    fn moment(&self) -> Moment {
        Moment { wall: WallTime::from_millis(EPOCH_MS + self.now), running: RunningTime::from_millis(self.now) }
    }
}

impl Member {
    fn new(mut options: Options) -> Self {
        let archiving = Archiving::draw(options.seed);
        options.archive = archiving.is_some();
        let member = Self {
            executor: Executor::new(options.clone()),
            options,
            disk: MemoryPersistence::new(),
            run: 0,
            running: BTreeMap::new(),
            watch: Watch::default(),
            hung: Vec::new(),
            next_call: 0,
            effects: VecDeque::new(),
            carrying: false,
            last_commit: BTreeMap::new(),
            archiving,
        };
        member.crowd();
        member
    }
}

fn config() -> Arc<Config> {
    Arc::new(Config { join: Join::Backfill(u64::MAX), confirm_deliveries: true, ..Config::default() })
}

/// Message ids in saved data.
fn ids(data: &ChannelData) -> BTreeSet<crate::types::MessageId> {
    data.rows.iter().map(|row| row.key().id).collect()
}
