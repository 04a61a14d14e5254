//! Carrying steps out: save, then transmit, then tell.
//!
//! What: one drainer per channel with queued steps, and one dispatcher per channel with callbacks to run. Why two: a
//! callback that waits for a call on its own channel waits for the drainer, which must not wait for the callback. How
//! it moves: [`start`] polls the drainer once on the caller's own thread, which is all it takes when the store answers
//! at once; else the drainer becomes a task. Both end when there is nothing left to do.
//!
//! Steps that queue up while the store is busy share the next commit, so a busy channel pays one sync for many
//! operations. They are the oldest ones queued, without a gap: what the store has is the state after one of them.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tracing::{debug, trace, warn};

use super::ReliabilityManager;
use super::callbacks;
use super::error::ManagerError;
use super::events::{ManagerEvent, Transmission};
use super::owed::Failing;
use super::shared::{OnSaveFailure, Shared};
use super::slot::Slot;
use super::step::{Answer, Pending, Told};
use crate::channel::{Event, Input};
use crate::state::Commit;
use crate::store::{PersistenceError, PersistenceErrorKind};
use crate::types::ChannelId;
use crate::wire;

/// Steps after which a drainer lets others run.
const STEPS_PER_TURN: usize = 32;
/// Steps that share one commit at most.
const MAX_BATCH: usize = 64;

/// Starts the drainer of a slot whose `draining` the caller has just set.
pub(super) fn start(shared: &Arc<Shared>, slot: &Arc<Slot>) {
    let _runtime = shared.runtime.enter();
    let mut drainer = Box::pin(drain(shared.clone(), slot.clone()));
    if drainer.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        shared.runtime.spawn(drainer);
    }
}

async fn drain(shared: Arc<Shared>, slot: Arc<Slot>) {
    let mut drainer = Drainer { slot: &slot, done: false };
    let mut steps = 0;
    while let Some((batch, commit)) = drainer.next(&shared) {
        let attempt = match commit {
            Some(commit) => save(&shared, &slot, commit).await,
            None => Attempt::None,
        };
        steps += batch.len();
        settle(&shared, &slot, batch, attempt);
        if steps >= STEPS_PER_TURN {
            steps = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// Makes sure that a drainer which ends early, because its runtime ended, leaves a slot that owes what it did not save.
struct Drainer<'a> {
    slot: &'a Slot,
    done: bool,
}

impl Drainer<'_> {
    /// The next steps and what to save for them; without any, the drainer has ended.
    fn next(&mut self, shared: &Shared) -> Option<(Vec<Pending>, Option<Arc<Commit>>)> {
        let next = self.take(shared);
        if next.is_none() {
            self.done = true;
            self.slot.announce_quiet();
        }
        next
    }

    fn take(&self, shared: &Shared) -> Option<(Vec<Pending>, Option<Arc<Commit>>)> {
        let mut state = self.slot.lock();
        let state = &mut *state;
        if let Some(interrupted) = state.saving.take() {
            state.owed.give_back(Arc::unwrap_or_clone(interrupted));
        }
        let owing = !state.owed.is_empty();
        let mut batch = Vec::new();
        let (mut adds, mut retry) = (false, false);
        // A step that waits for no save does not wait for those behind it either.
        while batch.is_empty() || (owing || adds) && batch.len() < MAX_BATCH {
            let Some(mut pending) = state.steps.pop_front() else { break };
            adds |= !pending.save.is_empty();
            retry |= pending.retry;
            state.owed.push(std::mem::take(&mut pending.save));
            batch.push(pending);
        }
        if batch.is_empty() {
            state.draining = false;
            return None;
        }
        let tries = if owing {
            shared.on_save_failure == OnSaveFailure::Fail || retry || adds && state.owed.is_due()
        } else {
            adds
        };
        state.saving = tries.then(|| Arc::new(state.owed.take()));
        Some((batch, state.saving.clone()))
    }
}

impl Drop for Drainer<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let abandoned = {
            let mut state = self.slot.lock();
            state.draining = false;
            let state = &mut *state;
            if let Some(interrupted) = state.saving.take() {
                state.owed.give_back(Arc::unwrap_or_clone(interrupted));
            }
            for pending in &mut state.steps {
                state.owed.push(std::mem::take(&mut pending.save));
            }
            std::mem::take(&mut state.steps)
        };
        drop(abandoned);
        self.slot.announce_quiet();
    }
}

/// What came of saving.
enum Attempt {
    /// There was nothing to save, or it is owed and not due yet.
    None,
    Saved,
    Failed(PersistenceError),
}

async fn save(shared: &Arc<Shared>, slot: &Slot, commit: Arc<Commit>) -> Attempt {
    trace!(channel = %slot.id, puts = commit.history.put.len(), deletes = commit.history.delete.len(), "save");
    match without_panic("commit", &slot.id, shared.store.commit(&slot.id, &commit)).await {
        Ok(()) => Attempt::Saved,
        Err(error) => Attempt::Failed(error),
    }
}

/// Tells all of a batch, in order, what its one attempt to save came to.
fn settle(shared: &Arc<Shared>, slot: &Arc<Slot>, batch: Vec<Pending>, attempt: Attempt) {
    let (mut first, failure) = note(shared, slot, attempt);
    for pending in batch {
        carry_out(shared, slot, pending, std::mem::take(&mut first), failure.clone());
    }
}

/// Records how saving went; gives back what must be told before anything else, and the failure.
fn note(shared: &Shared, slot: &Slot, attempt: Attempt) -> (Vec<Told>, Option<Arc<PersistenceError>>) {
    let mut told = Vec::new();
    let mut failure = None;
    let mut state = slot.lock();
    let state = &mut *state;
    match attempt {
        Attempt::None => {}
        Attempt::Saved => {
            state.saving = None;
            if state.failing.take().is_some() {
                debug!(channel = %slot.id, "saved what was owed");
                told.push(notice(ManagerEvent::PersistenceRecovered { channel: slot.id.clone() }));
            }
            told.append(&mut state.held);
        }
        Attempt::Failed(error) => {
            let error = Arc::new(error);
            if let Some(commit) = state.saving.take()
                && !state.is_removed()
            {
                state.owed.give_back(Arc::unwrap_or_clone(commit));
                let next = Failing::after(state.failing.as_ref(), error.clone(), shared.clock.running());
                if state.failing.replace(next).is_none() {
                    warn!(channel = %slot.id, %error, "cannot save; trying again");
                    let channel = slot.id.clone();
                    told.push(notice(ManagerEvent::PersistenceFailed { channel, error: error.clone() }));
                }
            }
            failure = Some(error);
        }
    }
    (told, failure)
}

fn carry_out(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    mut pending: Pending,
    mut told: Vec<Told>,
    failure: Option<Arc<PersistenceError>>,
) {
    {
        let mut state = slot.lock();
        let state = &mut *state;
        if pending.retry {
            state.retry_queued = false;
        }
        let step = std::mem::take(&mut pending.told);
        match (&failure, shared.on_save_failure) {
            (Some(_), OnSaveFailure::Fail) => {
                state.held.push(Told { permit: None, ..step });
            }
            _ => told.push(step),
        }
        if state.is_removed() {
            told.clear();
            state.held.clear();
        }
        slot.rearm(shared, state);
    }
    let told: Vec<Telling> = told.into_iter().filter_map(|told| stream(shared, slot, told)).collect();
    answer(shared, slot, pending, failure);
    if !told.is_empty() {
        call_back(shared, slot, told);
    }
}

fn notice(event: ManagerEvent) -> Told {
    Told { notices: vec![event], ..Told::default() }
}

/// What callbacks are to be told of one step.
#[derive(Debug)]
pub(super) struct Telling {
    transmissions: Vec<Transmission>,
    events: Vec<ManagerEvent>,
    told: Told,
}

/// Puts a step's transmissions and events on the streams and gives back what callbacks must be told. Nothing is
/// encoded or built that nobody listens for.
fn stream(shared: &Shared, slot: &Slot, mut told: Told) -> Option<Telling> {
    let (feeds, callbacks) = (&shared.feeds, &shared.callbacks);
    let mut transmissions = Vec::new();
    if callbacks.want_transmissions() || feeds.want_transmissions() {
        for transmit in told.transmit.drain(..) {
            match wire::encode(&transmit.message, slot.dialect) {
                Ok(bytes) => {
                    let transmission = Transmission { channel: slot.id.clone(), bytes, kind: transmit.kind };
                    feeds.transmission(&transmission);
                    transmissions.push(transmission);
                }
                Err(error) => debug!(channel = %slot.id, kind = ?transmit.kind, %error, "cannot encode"),
            }
        }
    }
    let mut events = Vec::new();
    if callbacks.want_events() || feeds.want_events() {
        events.append(&mut told.notices);
        let channel = || slot.id.clone();
        events.extend(told.events.drain(..).map(|event| ManagerEvent::Channel { channel: channel(), event }));
        events.iter().for_each(|event| feeds.event(event));
    }
    let wanted = callbacks.want_transmissions() && !transmissions.is_empty()
        || callbacks.want_events() && !events.is_empty()
        || told.hint_for.is_some();
    wanted.then_some(Telling { transmissions, events, told })
}

fn answer(shared: &Shared, slot: &Slot, pending: Pending, failure: Option<Arc<PersistenceError>>) {
    if let Some(saved) = pending.saved {
        // A caller that stopped waiting does not want to know.
        let _ = saved.send(failure.clone().map_or(Ok(()), Err));
    }
    let Some(reply) = pending.reply else { return };
    let answer = match failure.filter(|_| shared.on_save_failure == OnSaveFailure::Fail) {
        Some(error) => Err(ManagerError::Persistence(error)),
        None => pending.outcome.map_err(ManagerError::from).and_then(|outcome| {
            let bytes = pending.own.map(|own| wire::encode(&own, slot.dialect)).transpose()?;
            Ok(Answer { outcome, bytes })
        }),
    };
    let _ = reply.send(answer);
}

fn call_back(shared: &Arc<Shared>, slot: &Arc<Slot>, told: Vec<Telling>) {
    let start = {
        let mut state = slot.lock();
        state.told.extend(told);
        !std::mem::replace(&mut state.dispatching, true)
    };
    if start {
        let (shared, slot) = (shared.clone(), slot.clone());
        shared.runtime.clone().spawn_blocking(move || {
            callbacks::run_inside(ReliabilityManager::from_shared(shared.clone()), || dispatch(&shared, &slot));
        });
    }
}

/// Runs callbacks, under no lock, until there is nothing left to tell.
fn dispatch(shared: &Arc<Shared>, slot: &Arc<Slot>) {
    loop {
        let next = {
            let mut state = slot.lock();
            let next = state.told.pop_front();
            state.dispatching = next.is_some();
            next
        };
        let Some(telling) = next else { break };
        let last_delivery = telling.events.iter().rev().find_map(delivery_number);
        telling.transmissions.iter().for_each(|transmission| shared.callbacks.tell_transmission(transmission));
        telling.events.iter().for_each(|event| shared.callbacks.tell_event(event));
        if slot.confirms
            && shared.callbacks.hear_deliveries()
            && let Some(number) = last_delivery
        {
            follow_up(shared, slot, Input::DeliveriesTold(number));
        }
        if let Some(id) = telling.told.hint_for
            && let Some(hint) = shared.callbacks.ask_hint(&slot.id, &id)
        {
            follow_up(shared, slot, Input::SetHint { id, hint });
        }
    }
    slot.announce_quiet();
}

fn delivery_number(event: &ManagerEvent) -> Option<u64> {
    match event {
        ManagerEvent::Channel { event: Event::MessageDelivered(delivery), .. } => Some(delivery.number),
        _ => None,
    }
}

/// Hands in what a callback answered. A channel that is closed by now does not want to know.
fn follow_up(shared: &Arc<Shared>, slot: &Arc<Slot>, input: Input) {
    if let Err(error) = slot.follow_up(shared, input) {
        debug!(channel = %slot.id, %error, "what a callback answered was not kept");
    }
}

/// A call to the store in which a panic is an error.
pub(super) async fn without_panic<T>(
    verb: &'static str,
    channel: &ChannelId,
    call: Pin<Box<dyn Future<Output = Result<T, PersistenceError>> + Send + '_>>,
) -> Result<T, PersistenceError> {
    let mut call = call;
    poll_fn(move |context| {
        catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context))).unwrap_or_else(|_| {
            let kind = PersistenceErrorKind::Backend("the store panicked".into());
            Poll::Ready(Err(PersistenceError::new(verb, Some(channel), kind)))
        })
    })
    .await
}
