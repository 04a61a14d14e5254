//! One channel inside the manager: its lock, its queues, and what goes in.
//!
//! What: [`Slot`] owns a [`Channel`]. Why one short critical section: an input is handled and its step enters the queue
//! under the same lock, so steps can never overtake one another, and no lock is held while anything waits. How it
//! moves: a caller gets a permit, [`Slot::accept`] handles the input and queues the step, `drain` carries queued steps
//! out, and the caller waits for its answer; one that stops waiting changes nothing.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::error;

use super::callbacks;
use super::drain::{self, Telling};
use super::error::ManagerError;
use super::events::ManagerEvent;
use super::memory::{self, Footprint, Memory};
use super::owed::{Failing, Owed};
use super::shared::{OnSaveFailure, Shared};
use super::step::{Answer, Pending, SaveWaiting, Sweep, Told, Waiting};
use crate::channel::{Channel, Config, Context, Input};
use crate::state::{ChannelData, Commit};
use crate::store::PersistenceError;
use crate::types::{ChannelId, Dialect, RunningTime, split_mix};

/// Steps of one channel that may wait to be carried out; the next caller waits before its input is handled.
const MAX_STEPS: usize = 1_024;
/// When to look again at a channel whose queue was full when its timer was due.
const BUSY_WAIT: Duration = Duration::from_secs(1);

/// One open channel.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: ChannelId,
    pub(super) dialect: Dialect,
    /// [`Config::confirm_deliveries`].
    pub(super) confirms: bool,
    /// Tells the slot apart from others, also from later ones of the same channel.
    number: u64,
    state: Mutex<State>,
    admission: Arc<Semaphore>,
    quiet: Notify,
    memory: Arc<Memory>,
}

/// What the lock guards.
#[derive(Debug)]
pub(super) struct State {
    channel: Channel,
    entropy: u64,
    closed: Option<Closed>,
    footprint: Footprint,
    foreign_told: bool,
    /// The deadline the timer task knows.
    registered: Option<RunningTime>,

    /// Steps to carry out.
    pub(super) steps: VecDeque<Pending>,
    /// Somebody carries steps out.
    pub(super) draining: bool,
    /// What is being saved; left here by a drainer whose runtime ended.
    pub(super) saving: Option<Arc<Commit>>,
    pub(super) owed: Owed,
    pub(super) failing: Option<Failing>,
    /// A step that retries the save is queued.
    pub(super) retry_queued: bool,
    /// With [`OnSaveFailure::Fail`]: what steps that could not be saved would have told.
    pub(super) held: Vec<Told>,

    /// What the callbacks have not been told yet.
    pub(super) told: VecDeque<Telling>,
    /// Somebody runs the callbacks.
    pub(super) dispatching: bool,
}

/// Why a slot takes no more inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// The channel is removed: what is queued is discarded.
    Removed,
    /// The channel is closed: what is queued is carried out.
    Leaving,
    /// The manager is shut down: what is queued is carried out.
    ShutDown,
    /// The channel panicked.
    Failed,
}

impl Slot {
    /// The channel with this saved state. The step that restoring took is queued; `drain::start` carries it out.
    pub(super) fn restore(
        shared: &Shared,
        id: &ChannelId,
        config: Arc<Config>,
        data: ChannelData,
    ) -> Result<(Arc<Self>, Waiting), ManagerError> {
        let mut entropy = shared.seed();
        let context =
            Context { wall: shared.clock.wall(), running: shared.clock.running(), entropy: split_mix(&mut entropy) };
        let (dialect, confirms) = (config.dialect, config.confirm_deliveries);
        let restored = catch_unwind(AssertUnwindSafe(|| {
            Channel::restore(id.clone(), shared.participant.clone(), config, data, &context)
        }));
        let (channel, step) = restored.map_err(|_| ManagerError::ChannelFailed(id.clone()))??;
        let (sender, waiting) = oneshot::channel();
        let pending = Pending { reply: Some(sender), ..Pending::new(step, false) };
        shared.memory.enter();
        let slot = Self {
            id: id.clone(),
            dialect,
            confirms,
            number: shared.number(),
            state: Mutex::new(State {
                channel,
                entropy,
                closed: None,
                footprint: Footprint::default(),
                foreign_told: false,
                registered: None,
                steps: VecDeque::from([pending]),
                draining: true,
                saving: None,
                owed: Owed::default(),
                failing: None,
                retry_queued: false,
                held: Vec::new(),
                told: VecDeque::new(),
                dispatching: false,
            }),
            admission: Arc::new(Semaphore::new(MAX_STEPS)),
            quiet: Notify::new(),
            memory: shared.memory.clone(),
        };
        slot.measure(shared, &mut slot.lock(), &context);
        Ok((Arc::new(slot), waiting))
    }

    /// Hands an input in and waits until its step was carried out. A caller that stops waiting undoes nothing.
    pub(super) async fn call(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        input: Input,
        heard: Option<Dialect>,
    ) -> Result<Answer, ManagerError> {
        let permit = self.permit().await;
        if let Some(saved) = self.retry_before_failing_again(shared)? {
            saved.await.map_err(|_| ManagerError::ShutDown)??;
        }
        let waiting = self.accept(shared, input, heard, permit)?;
        waiting.await.unwrap_or(Err(ManagerError::ShutDown))
    }

    /// Does what is due, without waiting for anything: not even for a permit when too much is queued already.
    pub(super) fn sweep(self: &Arc<Self>, shared: &Arc<Shared>) -> Result<Sweep, ManagerError> {
        let Ok(permit) = self.admission.clone().try_acquire_owned() else { return Ok(Sweep::Busy) };
        match self.retry_before_failing_again(shared)? {
            Some(saved) => Ok(Sweep::Retried(saved)),
            None => self.accept(shared, Input::Timeout, None, Some(permit)).map(Sweep::Handled),
        }
    }

    /// Handles an input and queues its step: all of it now, or nothing.
    pub(super) fn accept(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        input: Input,
        heard: Option<Dialect>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Waiting, ManagerError> {
        let state = self.lock();
        self.check_open(&state)?;
        self.accepted(shared, state, input, heard, permit)
    }

    /// As [`accept`](Self::accept), also while the slot is closing: for what ends with it.
    pub(super) fn follow_up(self: &Arc<Self>, shared: &Arc<Shared>, input: Input) -> Result<Waiting, ManagerError> {
        let state = self.lock();
        match state.closed {
            None | Some(Closed::Leaving | Closed::ShutDown) => self.accepted(shared, state, input, None, None),
            Some(Closed::Removed | Closed::Failed) => Err(ManagerError::UnknownChannel(self.id.clone())),
        }
    }

    /// Saves what otherwise waits for the next change. A channel that is gone has nothing left to save.
    pub(super) fn checkpoint(self: &Arc<Self>, shared: &Arc<Shared>) {
        drop(self.follow_up(shared, Input::Checkpoint));
    }

    fn accepted(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        mut state: MutexGuard<'_, State>,
        input: Input,
        heard: Option<Dialect>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Waiting, ManagerError> {
        let (sender, waiting) = oneshot::channel();
        let context = state.context(shared);
        let timeout = input == Input::Timeout;
        let mut pending = self.handle(shared, &mut state, &context, input)?;
        if let Some(notice) = state.foreign_notice(self, heard) {
            pending.told.notices.push(notice);
        }
        pending.told.permit = permit;
        pending.reply = Some(sender);
        pending.retry = timeout && state.failing.is_some() && !state.retry_queued;
        state.retry_queued |= pending.retry;
        state.steps.push_back(pending);
        self.measure(shared, &mut state, &context);
        self.rearm(shared, &mut state);
        let start = !std::mem::replace(&mut state.draining, true);
        drop(state);
        if start {
            drain::start(shared, self);
        }
        memory::relieve(shared);
        Ok(waiting)
    }

    /// Queues a step that does nothing but save what is owed.
    pub(super) fn retry(self: &Arc<Self>, shared: &Arc<Shared>) -> SaveWaiting {
        let (sender, waiting) = oneshot::channel();
        let start = {
            let mut state = self.lock();
            state.retry_queued = true;
            state.steps.push_back(Pending::retry(sender));
            !std::mem::replace(&mut state.draining, true)
        };
        if start {
            drain::start(shared, self);
        }
        waiting
    }

    /// With [`OnSaveFailure::Fail`], a channel that owes something changes no further before that is saved.
    fn retry_before_failing_again(self: &Arc<Self>, shared: &Arc<Shared>) -> Result<Option<SaveWaiting>, ManagerError> {
        {
            let state = self.lock();
            self.check_open(&state)?;
            if shared.on_save_failure == OnSaveFailure::Degrade || state.failing.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(self.retry(shared)))
    }

    /// The timer task's call when the deadline it knows has come; the answer is another deadline it must know.
    pub(super) fn fire(self: &Arc<Self>, shared: &Arc<Shared>, deadline: RunningTime) -> Option<RunningTime> {
        let now = shared.clock.running();
        {
            let mut state = self.lock();
            if state.registered != Some(deadline) {
                return None;
            }
            state.registered = None;
            let deadline = state.deadline(shared)?;
            if deadline > now {
                return Some(*state.registered.insert(deadline));
            }
        }
        match self.sweep(shared) {
            Ok(Sweep::Handled(_) | Sweep::Retried(_)) => None,
            Ok(Sweep::Busy) => {
                let again = now.after(BUSY_WAIT);
                let mut state = self.lock();
                let first = state.registered.is_none_or(|registered| registered > again);
                first.then(|| *state.registered.insert(again))
            }
            Err(_closed) => None,
        }
    }

    /// Tells the timer task when the channel must be looked at, if that is earlier than what it knows.
    pub(super) fn rearm(self: &Arc<Self>, shared: &Shared, state: &mut State) {
        if !shared.timers.are_running() {
            return;
        }
        let Some(deadline) = state.deadline(shared) else { return };
        if state.registered.is_none_or(|registered| deadline < registered) {
            shared.timers.arm(self, self.number, state.registered.replace(deadline), deadline);
        }
    }

    /// Looks at the channel, briefly.
    pub(super) fn read<R>(&self, look: impl FnOnce(&Channel) -> R) -> Result<R, ManagerError> {
        let state = self.lock();
        match state.closed {
            Some(Closed::Failed) => Err(ManagerError::ChannelFailed(self.id.clone())),
            _ => Ok(look(&state.channel)),
        }
    }

    /// Takes no more inputs. On removal what is queued is discarded, so that nothing is saved any more
    /// once the slot is [`quiet`](Self::quiet).
    pub(super) fn close(&self, why: Closed) {
        let discarded = {
            let mut state = self.lock();
            // What a defect left half changed must not be saved at the end.
            if state.closed != Some(Closed::Failed) || why == Closed::Removed {
                state.closed = Some(why);
            }
            if why == Closed::Removed {
                state.owed = Owed::default();
                state.failing = None;
                state.held.clear();
                state.told.clear();
                std::mem::take(&mut state.steps)
            } else {
                VecDeque::new()
            }
        };
        for reply in discarded.into_iter().filter_map(|pending| pending.reply) {
            // A caller that stopped waiting does not want to know.
            let _ = reply.send(Err(ManagerError::UnknownChannel(self.id.clone())));
        }
    }

    /// Takes inputs again, after [`Closed::Leaving`].
    pub(super) fn reopen(self: &Arc<Self>, shared: &Shared) {
        let mut state = self.lock();
        state.closed.take_if(|closed| *closed == Closed::Leaving);
        self.rearm(shared, &mut state);
    }

    /// Waits until no step is queued or being carried out, and, where asked for, the callbacks know all of it.
    pub(super) async fn quiet(&self, callbacks_too: bool) {
        loop {
            let mut changed = std::pin::pin!(self.quiet.notified());
            changed.as_mut().enable();
            {
                let state = self.lock();
                let busy = state.draining || callbacks_too && state.dispatching;
                if !busy {
                    return;
                }
            }
            changed.await;
        }
    }

    pub(super) fn footprint(&self) -> Footprint {
        self.lock().footprint
    }

    /// Why the last save failed, if it did.
    pub(super) fn save_failure(&self) -> Option<Arc<PersistenceError>> {
        self.lock().failing.as_ref().map(|failing| failing.error.clone())
    }

    pub(super) fn announce_quiet(&self) {
        self.quiet.notify_waiters();
    }

    pub(super) fn owes(&self) -> bool {
        let state = self.lock();
        state.saving.is_some() || !state.owed.is_empty()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Only `Channel` could panic under this lock, and that is caught and recorded where it is called.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        // A callback's call must not wait for permits that its own step, or another callback's, may hold.
        if callbacks::is_inside() {
            return None;
        }
        self.admission.clone().acquire_owned().await.ok()
    }

    fn check_open(&self, state: &State) -> Result<(), ManagerError> {
        match state.closed {
            None => Ok(()),
            Some(Closed::Removed | Closed::Leaving) => Err(ManagerError::UnknownChannel(self.id.clone())),
            Some(Closed::ShutDown) => Err(ManagerError::ShutDown),
            Some(Closed::Failed) => Err(ManagerError::ChannelFailed(self.id.clone())),
        }
    }

    fn handle(
        &self,
        shared: &Shared,
        state: &mut State,
        context: &Context,
        input: Input,
    ) -> Result<Pending, ManagerError> {
        let Ok(step) = catch_unwind(AssertUnwindSafe(|| state.channel.handle(context, input))) else {
            error!(channel = %self.id, "a defect made the channel panic; it takes no more inputs");
            state.closed = Some(Closed::Failed);
            return Err(ManagerError::ChannelFailed(self.id.clone()));
        };
        if let Err(refused) = &step.outcome
            && step.save.is_empty()
            && step.transmit.is_empty()
            && step.events.is_empty()
        {
            return Err(refused.clone().into());
        }
        Ok(Pending::new(step, shared.callbacks.want_hints()))
    }

    /// Counts what the channel takes now, and lets it shrink where all channels together take too much.
    fn measure(&self, shared: &Shared, state: &mut State, context: &Context) {
        let before = state.footprint;
        self.count(state);
        if let Some((log_bytes, parked_bytes)) = self.memory.excess(before, state.footprint) {
            let context = Context { entropy: split_mix(&mut state.entropy), ..*context };
            if let Ok(pending) = self.handle(shared, state, &context, Input::Shrink { log_bytes, parked_bytes }) {
                state.steps.push_back(pending);
                self.count(state);
            }
        }
    }

    fn count(&self, state: &mut State) {
        let now = Footprint::from(state.channel.stats());
        self.memory.change(state.footprint, now);
        state.footprint = now;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.memory.leave(state.footprint);
    }
}

impl State {
    pub(super) fn is_removed(&self) -> bool {
        self.closed == Some(Closed::Removed)
    }

    fn context(&mut self, shared: &Shared) -> Context {
        Context { wall: shared.clock.wall(), running: shared.clock.running(), entropy: split_mix(&mut self.entropy) }
    }

    /// When the timer task must look at the channel.
    fn deadline(&self, shared: &Shared) -> Option<RunningTime> {
        if self.closed.is_some() {
            return None;
        }
        let retry = self.failing.as_ref().filter(|_| !self.retry_queued).map(|failing| failing.retry_at);
        if self.failing.is_some() && shared.on_save_failure == OnSaveFailure::Fail {
            return retry;
        }
        [self.channel.poll_timeout(), retry].into_iter().flatten().min()
    }

    fn foreign_notice(&mut self, slot: &Slot, heard: Option<Dialect>) -> Option<ManagerEvent> {
        let heard = heard.filter(|heard| !heard.same_family(slot.dialect) && !self.foreign_told)?;
        self.foreign_told = true;
        Some(ManagerEvent::ForeignDialect { channel: slot.id.clone(), heard, configured: slot.dialect })
    }
}
