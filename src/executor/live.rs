//! An open channel: inputs go in, their steps are carried out one after the other.
//!
//! A step is handled and queued at once. Steps that queue up while the store is busy share the next commit, so a busy
//! channel pays one sync for many operations; they are the oldest ones, without a gap, so that the store has the state
//! after one of them. What a step tells is told once it is saved.

mod archive;
mod room;
mod settling;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, trace};

use super::archiving::Archiving;
use super::effect::{Answer, CallId, Caller, Common, Effect, ExecutorError, Generation, OnSaveFailure};
use super::ending::{End, Ending};
use super::memory::{Footprint, Memory};
use super::owed::{Failing, Owed, rewrite};
use super::step::{Pending, Steps, Waiting, is_empty};
use super::told::{Telling, Told};
use super::turn::Turn;
use crate::channel::{self, Channel, Config, Context, Step};
use crate::state::{ChannelData, Commit};
use crate::store::PersistenceError;
use crate::types::{Dialect, RunningTime};

/// Steps that share one commit at most.
const MAX_BATCH: usize = 64;
/// When to look again at a channel that was full when it was due.
const BUSY_WAIT: Duration = Duration::from_secs(1);

/// One opening of a channel.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) generation: Generation,
    channel: Channel,
    dialect: Dialect,
    confirms: bool,
    entropy: u64,
    /// The channel panicked.
    failed: bool,
    footprint: Footprint,
    memory: Arc<Memory>,
    foreign_told: bool,

    /// Orders that wait before their input is handled.
    waiting: VecDeque<Waiting>,
    /// Steps to carry out.
    steps: Steps,
    saving: Option<Saving>,
    /// What a save came to is being told to the steps of its batch.
    settling: bool,
    owed: Owed,
    failing: Option<Failing>,
    /// A step that retries the save is queued.
    retry_queued: bool,
    /// With [`OnSaveFailure::Fail`]: what steps that could not be saved would have told.
    held: Vec<Telling>,
    archiving: Option<Archiving>,
    /// Before this the timer does not look at the channel.
    not_before: RunningTime,
    pub(super) ending: Option<Ending>,
}

/// Steps that share a commit.
#[allow(clippy::vec_box, reason = "they come boxed from the queue")]
type Batch = Vec<Box<Pending>>;

/// A commit on its way, and the steps it is for.
#[derive(Debug)]
struct Saving {
    batch: Batch,
    /// What the batch keeps in memory.
    bytes: usize,
    /// `None` while what the store has is loaded, to write all of the channel anew.
    commit: Option<Arc<Commit>>,
}

impl Live {
    /// The channel with this saved state. The step that restoring took is queued for these callers.
    pub(super) fn restore(
        turn: &mut Turn<'_>,
        generation: Generation,
        config: Arc<Config>,
        data: ChannelData,
        callers: Vec<CallId>,
    ) -> Result<Self, ExecutorError> {
        let common = turn.common;
        let mut entropy = common.entropy(generation);
        let context = turn.context(&mut entropy);
        let (dialect, confirms) = (config.dialect, config.confirm_deliveries);
        let restored = catch_unwind(AssertUnwindSafe(|| {
            let restored =
                Channel::restore(turn.id.clone(), common.options.participant.clone(), config, data, &context);
            #[cfg(feature = "testing")]
            common.panic_if_asked_to();
            restored
        }));
        let (channel, step) = restored.map_err(|_| ExecutorError::ChannelFailed)??;
        common.memory.enter();
        let mut live = Self {
            generation,
            channel,
            dialect,
            confirms,
            entropy,
            failed: false,
            footprint: Footprint::default(),
            memory: common.memory.clone(),
            foreign_told: false,
            waiting: VecDeque::new(),
            steps: Steps::default(),
            saving: None,
            settling: false,
            owed: Owed::default(),
            failing: None,
            retry_queued: false,
            held: Vec::new(),
            archiving: common.options.archive.then(|| Archiving::new(turn.id.clone(), common.memory.clone())),
            not_before: RunningTime::default(),
            ending: None,
        };
        live.steps.push(Pending { others: callers, ..Pending::new(step, dialect, false) });
        if live.archiving.is_some() {
            live.enter_alone(turn, Archiving::first_word());
        }
        live.measure(turn);
        Ok(live)
    }

    /// Takes an order to enter an input.
    pub(super) fn order(&mut self, turn: &mut Turn<'_>, order: Waiting) {
        if let Err(error) = self.check_open() {
            return turn.refuse(&order, error);
        }
        let inside = order.caller.is_some_and(|caller| caller.inside);
        // A callback's order must not wait for steps that its own return, or another callback's, would set free.
        if inside || self.waiting.is_empty() && self.has_room(turn) {
            self.begin(turn, order);
        } else {
            self.waiting.push_back(order);
        }
    }

    /// Begins orders that waited, as far as there is room.
    pub(super) fn admit(&mut self, turn: &mut Turn<'_>) {
        while self.has_room(turn)
            && let Some(order) = self.waiting.pop_front()
        {
            self.begin(turn, order);
        }
    }

    /// Does what is due.
    pub(super) fn timeout(&mut self, turn: &mut Turn<'_>) {
        let now = turn.moment.running;
        if self.deadline(turn.common).is_none_or(|deadline| deadline > now) {
            return;
        }
        // However the channel's own deadline moves: not again within the same millisecond.
        self.not_before = RunningTime::from_millis(now.as_millis().saturating_add(1));
        self.archive_in_time(turn);
        if self.has_room(turn) {
            self.begin(turn, Waiting { caller: None, input: channel::Input::Timeout, heard: None });
        } else {
            self.not_before = now.after(BUSY_WAIT);
        }
    }

    /// Hands in what a callback answered, also while the channel is ending.
    pub(super) fn follow_up(&mut self, turn: &mut Turn<'_>, telling: &Telling, hint: Option<bytes::Bytes>) {
        if self.failed || self.ending.as_ref().is_some_and(|ending| ending.kind == End::Remove || ending.done) {
            return;
        }
        if self.confirms
            && turn.common.options.callbacks.deliveries
            && let Some(number) = telling.last_delivery()
        {
            self.enter_alone(turn, channel::Input::DeliveriesTold(number));
        }
        if let (Some(id), Some(hint)) = (telling.hint_for.clone(), hint) {
            self.enter_alone(turn, channel::Input::SetHint { id, hint });
        }
    }

    /// Queues what nobody waits for.
    pub(super) fn enter_alone(&mut self, turn: &mut Turn<'_>, input: channel::Input) {
        if !self.failed {
            self.enter(turn, Waiting { caller: None, input, heard: None });
        }
    }

    /// Queues a step that does nothing but save what is owed.
    pub(super) fn retry(&mut self) {
        self.retry_queued = true;
        self.steps.push(Pending::retry(None, self.dialect));
    }

    /// Takes no more orders. On removal what is queued is discarded.
    pub(super) fn end(&mut self, turn: &mut Turn<'_>, kind: End, callers: Vec<Caller>) {
        let why = if kind == End::ShutDown { ExecutorError::ShutDown } else { ExecutorError::UnknownChannel };
        for order in std::mem::take(&mut self.waiting) {
            turn.refuse(&order, why.clone());
        }
        if kind == End::Remove {
            self.owed = Owed::default();
            self.failing = None;
            self.held.clear();
            turn.callbacks.discard();
            for call in self.steps.take().iter_mut().flat_map(|step| step.take_calls()) {
                turn.answer(call, Err(why.clone()));
            }
        }
        let ending = Ending { kind, callers, hurry: false, checkpointed: false, retried: false, done: false };
        self.ending = Some(ending);
    }

    /// Nothing is carried out any more: who waits is answered, and what was not saved is owed.
    pub(super) fn abandon(&mut self, turn: &mut Turn<'_>) {
        let callers = self.ending.take().map(|ending| ending.callers).unwrap_or_default();
        self.end(turn, End::ShutDown, Vec::new());
        let mut steps = Vec::new();
        if let Some(saving) = self.saving.take() {
            if let Some(commit) = saving.commit {
                self.owed.give_back(Arc::unwrap_or_clone(commit));
            }
            steps = saving.batch;
        }
        steps.extend(self.steps.take());
        for mut step in steps {
            for call in step.take_calls() {
                turn.answer(call, Err(ExecutorError::ShutDown));
            }
            self.owed.push(step.save);
        }
        for caller in callers {
            turn.answer(caller.call, Err(ExecutorError::ShutDown));
        }
        if let Some(ending) = &mut self.ending {
            ending.done = true;
        }
    }

    /// Whoever waits for a step, which then answers nobody.
    pub(super) fn take_callers(&mut self) -> Vec<CallId> {
        self.under_way().flat_map(|step| step.take_calls()).collect()
    }

    /// Steps that are being saved or wait to be carried out.
    fn under_way(&mut self) -> impl Iterator<Item = &mut Box<Pending>> {
        let saving = self.saving.iter_mut().flat_map(|saving| &mut saving.batch);
        saving.chain(self.steps.iter_mut())
    }

    /// Begins to save the next steps; those that have nothing to save are carried out at once.
    pub(super) fn pump(&mut self, turn: &mut Turn<'_>) {
        while self.saving.is_none() && !self.steps.is_empty() {
            let owing = !self.owed.is_empty();
            let mut batch = Vec::new();
            let (mut adds, mut retry) = (false, false);
            // A step that waits for no save does not wait for those behind it either.
            while batch.is_empty() || (owing || adds) && batch.len() < MAX_BATCH {
                let Some(mut step) = self.steps.pop() else { break };
                adds |= !step.save.is_empty();
                retry |= step.retry;
                self.owed.push(std::mem::take(&mut step.save));
                batch.push(step);
            }
            // What a defect left half changed must not be saved as a whole.
            if owing && !self.failed && self.owed.exceeds(self.rows(), self.state_bytes()) {
                self.owed.owe_everything();
            }
            let tries = if owing {
                turn.common.options.on_save_failure == OnSaveFailure::Fail || retry || adds && self.owed.is_due()
            } else {
                adds
            };
            if !tries {
                self.settle(turn, batch, None);
            } else if self.owed.is_everything() {
                let bytes = batch.iter().map(|step| step.bytes).sum();
                self.saving = Some(Saving { batch, bytes, commit: None });
                turn.effects.push(Effect::Load { channel: turn.id.clone(), generation: self.generation });
            } else {
                let commit = self.owed.take();
                self.commit(turn, batch, commit);
            }
        }
    }

    /// What the store has came in: all of the channel is written anew.
    pub(super) fn loaded(&mut self, turn: &mut Turn<'_>, result: Result<ChannelData, Arc<PersistenceError>>) {
        let Some(mut saving) = self.saving.take_if(|saving| saving.commit.is_none()) else { return };
        if self.is_removed() {
            return self.settle(turn, saving.batch, Some(Ok(())));
        }
        match (result, self.failure()) {
            (Ok(_), Some(error)) if self.failed => self.settle(turn, saving.batch, Some(Err(error))),
            (Ok(stored), _) => {
                // What is queued has changed the channel already, so it is saved with it.
                for mut step in self.steps.take() {
                    step.save = Commit::default();
                    saving.batch.push(step);
                }
                self.owed = Owed::default();
                let commit = rewrite(&stored, self.channel.data());
                self.commit(turn, saving.batch, commit);
                if let Some(saving) = &mut self.saving {
                    // Should it fail, it must be made anew.
                    saving.commit = Some(Arc::default());
                    self.owed.owe_everything();
                }
            }
            (Err(error), _) => self.settle(turn, saving.batch, Some(Err(error))),
        }
    }

    fn commit(&mut self, turn: &mut Turn<'_>, batch: Batch, commit: Commit) {
        trace!(channel = %turn.id, puts = commit.history.put.len(), deletes = commit.history.delete.len(), "save");
        let commit = Arc::new(commit);
        let bytes = batch.iter().map(|step| step.bytes).sum();
        self.saving = Some(Saving { batch, bytes, commit: Some(commit.clone()) });
        turn.effects.push(Effect::Commit { channel: turn.id.clone(), generation: self.generation, commit });
    }

    /// A commit ended.
    pub(super) fn saved(&mut self, turn: &mut Turn<'_>, result: Result<(), Arc<PersistenceError>>) {
        let Some(saving) = self.saving.take_if(|saving| saving.commit.is_some()) else { return };
        match (&result, saving.commit) {
            (Ok(()), _) if self.owed.is_everything() => self.owed = Owed::default(),
            (Err(_), Some(commit)) if !self.is_removed() => self.owed.give_back(Arc::unwrap_or_clone(commit)),
            _ => {}
        }
        self.settle(turn, saving.batch, Some(result));
    }

    /// Whether a step waits to be carried out or is being saved.
    pub(super) fn is_busy(&self) -> bool {
        self.saving.is_some() || !self.steps.is_empty()
    }

    pub(super) fn is_saving(&self) -> Option<&'static str> {
        self.saving.as_ref().map(|saving| if saving.commit.is_some() { "commit" } else { "load_channel" })
    }

    /// Whether something is not saved, and why.
    pub(super) fn owes(&self) -> bool {
        self.saving.is_some() || !self.owed.is_empty()
    }

    /// Why the last save failed, if it did.
    pub(super) fn failure(&self) -> Option<Arc<PersistenceError>> {
        self.failing.as_ref().map(|failing| failing.error.clone())
    }

    pub(super) fn channel(&self) -> Result<&Channel, ExecutorError> {
        if self.failed { Err(ExecutorError::ChannelFailed) } else { Ok(&self.channel) }
    }

    /// Whether it may be looked at: it is not closing, and not being removed.
    pub(super) fn is_readable(&self) -> bool {
        self.ending.as_ref().is_none_or(|ending| ending.kind == End::ShutDown)
    }

    /// When to look at the channel.
    pub(super) fn deadline(&self, common: &Common) -> Option<RunningTime> {
        if self.failed || self.ending.is_some() {
            return None;
        }
        let retry = self.failing.as_ref().filter(|_| !self.retry_queued).map(|failing| failing.retry_at);
        let deadline =
            if self.fails(common) { retry } else { [self.channel.poll_timeout(), retry].into_iter().flatten().min() };
        let archive = self.archiving.as_ref().and_then(Archiving::deadline);
        let deadline = deadline.into_iter().chain(archive).min();
        deadline.map(|deadline| deadline.max(self.not_before))
    }

    /// Forgets an order that was not begun.
    pub(super) fn forget(&mut self, call: CallId) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|order| !order.is_of(call));
        let mut found = self.waiting.len() < before;
        for step in self.under_way() {
            // What is owed is still saved.
            found |= step.then.take_if(|order| order.is_of(call)).is_some();
        }
        found
    }

    fn is_removed(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.kind == End::Remove)
    }

    /// With [`OnSaveFailure::Fail`], a channel that owes something changes no further before that is saved.
    fn fails(&self, common: &Common) -> bool {
        self.failing.is_some() && common.options.on_save_failure == OnSaveFailure::Fail
    }

    fn check_open(&self) -> Result<(), ExecutorError> {
        match &self.ending {
            Some(ending) if ending.kind == End::ShutDown => Err(ExecutorError::ShutDown),
            Some(_) => Err(ExecutorError::UnknownChannel),
            None if self.failed => Err(ExecutorError::ChannelFailed),
            None => Ok(()),
        }
    }

    fn begin(&mut self, turn: &mut Turn<'_>, mut order: Waiting) {
        if !self.fails(turn.common) {
            return self.enter(turn, order);
        }
        self.retry_queued = true;
        let step = if order.input == channel::Input::Timeout {
            Pending { caller: order.caller.take().map(|caller| caller.call), ..Pending::retry(None, self.dialect) }
        } else {
            Pending::retry(Some(order), self.dialect)
        };
        self.steps.push(step);
    }

    /// Handles an input and queues its step.
    fn enter(&mut self, turn: &mut Turn<'_>, order: Waiting) {
        let timeout = order.input == channel::Input::Timeout;
        let context = turn.context(&mut self.entropy);
        let step = match self.handle(turn, &context, order.input) {
            Ok(step) => step,
            Err(error) => {
                if let Some(caller) = order.caller {
                    turn.answer(caller.call, Err(error));
                }
                return;
            }
        };
        let notice = self.foreign_notice(order.heard);
        if notice.is_none() && !self.is_busy() && !self.settling && !self.owes() && is_empty(&step) {
            // Nothing to carry out, and nobody to wait for, the rest of a batch included.
            if let Some(caller) = order.caller {
                let answer = step.outcome.map(|outcome| Answer { outcome, ..Answer::DONE });
                turn.answer(caller.call, answer.map_err(ExecutorError::from));
            }
            return self.measure(turn);
        }
        let mut step = self.pending(turn, step);
        if let Some(notice) = notice {
            step.telling.told.insert(0, notice);
        }
        step.caller = order.caller.map(|caller| caller.call);
        step.retry = timeout && self.failing.is_some() && !self.retry_queued;
        self.retry_queued |= step.retry;
        self.steps.push(step);
        self.measure(turn);
    }

    fn handle(&mut self, turn: &Turn<'_>, context: &Context, input: channel::Input) -> Result<Step, ExecutorError> {
        let stepped = catch_unwind(AssertUnwindSafe(|| {
            let step = self.channel.handle(context, input);
            #[cfg(feature = "testing")]
            turn.common.panic_if_asked_to();
            step
        }));
        let Ok(step) = stepped else {
            error!(channel = %turn.id, "a defect made the channel panic; it takes no more inputs");
            self.failed = true;
            return Err(ExecutorError::ChannelFailed);
        };
        match &step.outcome {
            Err(refused) if is_empty(&step) => Err(refused.clone().into()),
            _ => Ok(step),
        }
    }

    fn pending(&self, turn: &Turn<'_>, step: Step) -> Pending {
        Pending::new(step, self.dialect, turn.common.options.callbacks.hints)
    }

    fn foreign_notice(&mut self, heard: Option<Dialect>) -> Option<Told> {
        let heard = heard.filter(|heard| !heard.same_family(self.dialect) && !self.foreign_told)?;
        self.foreign_told = true;
        Some(Told::ForeignDialect { heard, configured: self.dialect })
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.memory.leave(self.footprint);
    }
}
