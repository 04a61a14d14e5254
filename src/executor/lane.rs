//! [`Lane`]: one channel over all its openings.
//!
//! What comes and goes stands in one line: opening, closing, removing and shutting down are begun one after the other,
//! and callers that ask for what was asked for last share its answer. Who asks from inside a callback must not wait for
//! a callback: while such a caller is in the line, nothing waits for callbacks, and the channel is closed as soon as
//! everything is saved. The callers from outside are answered once the callback that was running has returned.

#[cfg(test)]
mod archive_tests;
mod giving_up;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use tracing::debug;

use super::effect::{Answer, Caller, Common, Effect, ExecutorError, Generation, Input, Moment, Order};
use super::ending::End;
use super::live::Live;
use super::memory::Footprint;
use super::memory::Queued;
use super::step::Waiting;
use super::told::Callbacks;
use super::turn::Turn;
use crate::channel::{Channel, Config, Input as ChannelInput, RestoreError};
use crate::state::ChannelData;
use crate::store::PersistenceError;
use crate::types::{ChannelId, RunningTime};

/// One channel (see the module page).
#[derive(Debug)]
pub struct Lane {
    id: ChannelId,
    phase: Phase,
    /// What is asked for beyond what is being done.
    line: VecDeque<Transition>,
    callbacks: Callbacks,
    shut_down: bool,
    queued: Queued,
}

#[derive(Debug)]
enum Phase {
    /// Nothing is known of it here.
    Absent,
    /// Removed, but the store could not wipe it: it must before the channel is opened again.
    Unwiped,
    Loading(Loading),
    Open(Box<Live>),
    Wiping(Generation, Vec<Caller>),
}

#[derive(Debug)]
struct Loading {
    generation: Generation,
    config: Arc<Config>,
    callers: Vec<Caller>,
    /// Wiped first.
    wiping: bool,
}

#[derive(Debug)]
struct Transition {
    kind: Kind,
    callers: Vec<Caller>,
}

#[derive(Debug)]
enum Kind {
    Open(Arc<Config>),
    End(End),
}

impl Kind {
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Open(_), Self::Open(_)) => true,
            (Self::End(this), Self::End(that)) => this == that,
            _ => false,
        }
    }
}

impl Lane {
    /// A channel of which nothing is known.
    #[must_use]
    pub fn new(id: ChannelId) -> Self {
        Self {
            id,
            phase: Phase::Absent,
            line: VecDeque::new(),
            callbacks: Callbacks::default(),
            shut_down: false,
            queued: Queued::default(),
        }
    }

    /// Takes one input in, and adds what the driver has to do.
    pub fn handle(&mut self, common: &Common, moment: &Moment, input: Input, effects: &mut Vec<Effect>) {
        let Self { id, phase, callbacks, .. } = self;
        let turn = &mut Turn { id, common, moment, callbacks, effects };
        match input {
            Input::Order { caller, order: Order::Enter { input, heard } } => {
                let waiting = Waiting { caller, input, heard };
                match phase {
                    Phase::Open(live) => live.order(turn, waiting),
                    _ => {
                        let error =
                            if self.shut_down { ExecutorError::ShutDown } else { ExecutorError::UnknownChannel };
                        if let Some(caller) = waiting.caller {
                            turn.answer(caller.call, Err(error));
                        }
                    }
                }
            }
            Input::Order { caller, order } => self.ask(caller, order, effects),
            Input::Loaded { generation, result } => self.loaded(common, moment, generation, result, effects),
            Input::Saved { generation, result } => {
                if let Phase::Open(live) = phase
                    && live.generation == generation
                {
                    live.saved(turn, result);
                }
            }
            Input::Archived { generation, result } => {
                if let Phase::Open(live) = phase
                    && live.generation == generation
                {
                    live.archived(turn, result);
                }
            }
            Input::Dropped { generation, result } => self.dropped(generation, result, effects),
            Input::Returned { generation, hint } => {
                if let Some(telling) = turn.callbacks.returned(generation)
                    && let Phase::Open(live) = phase
                    && live.generation == generation
                {
                    live.follow_up(turn, &telling, hint);
                }
                turn.callbacks.start(id, turn.effects);
            }
            Input::GiveUp(call) => self.give_up(call, effects),
            Input::Abandon => self.abandon(common, moment, effects),
            Input::Forget(call) => {
                if let Phase::Open(live) = phase {
                    live.forget(call);
                }
            }
            Input::Timeout => {
                if let Phase::Open(live) = phase {
                    live.timeout(turn);
                }
            }
        }
        self.advance(common, moment, effects);
        let bytes = self.live().map_or(0, Live::queued_bytes) + self.callbacks.bytes();
        self.queued.set(&common.memory, bytes);
    }

    /// When to hand in [`Input::Timeout`].
    #[must_use]
    pub fn poll_timeout(&self, common: &Common) -> Option<RunningTime> {
        self.live().and_then(|live| live.deadline(common))
    }

    /// The channel, while it is open or was shut down.
    ///
    /// # Errors
    /// [`ExecutorError::UnknownChannel`] while it is not; [`ExecutorError::ChannelFailed`] after a defect.
    pub fn channel(&self) -> Result<&Channel, ExecutorError> {
        match &self.phase {
            Phase::Open(live) if live.is_readable() => live.channel(),
            _ => Err(ExecutorError::UnknownChannel),
        }
    }

    /// Whether the channel is open, and not about to be closed or removed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.live().is_some_and(Live::is_readable)
    }

    /// Whether so much is queued that a further order waits before it is begun.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.live().is_some_and(|live| live.is_full(&self.callbacks))
    }

    /// Whether the store lacks something of the channel, as far as is known.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.live().is_some_and(Live::owes)
    }

    /// Why the last save failed, if it did.
    #[must_use]
    pub fn save_failure(&self) -> Option<Arc<PersistenceError>> {
        self.live().and_then(Live::failure)
    }

    /// What the channel takes of the memory that all share.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        self.live().map(Live::footprint).unwrap_or_default()
    }

    /// Whether nothing is left to remember: a lane made anew would be the same.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        matches!(self.phase, Phase::Absent) && self.line.is_empty() && self.callbacks.are_idle()
    }

    /// Whether it counts as one of the channels that may be open at a time.
    #[must_use]
    pub fn counts(&self) -> bool {
        !matches!(self.phase, Phase::Absent) || self.line.iter().any(|next| matches!(next.kind, Kind::Open(_)))
    }

    fn live(&self) -> Option<&Live> {
        if let Phase::Open(live) = &self.phase { Some(live) } else { None }
    }

    /// Puts what is asked for in the line, or joins what was asked for last.
    fn ask(&mut self, caller: Option<Caller>, order: Order, effects: &mut Vec<Effect>) {
        let kind = match order {
            Order::Open(config) => Kind::Open(config),
            Order::Close => Kind::End(End::Close),
            Order::Remove => Kind::End(End::Remove),
            Order::ShutDown => Kind::End(End::ShutDown),
            Order::Enter { .. } => return,
        };
        let last = matches!(kind, Kind::End(End::ShutDown));
        if self.shut_down && !last {
            return answer(&self.id, caller, Err(ExecutorError::ShutDown), effects);
        }
        self.shut_down |= last;
        let callers = match self.line.back_mut() {
            Some(next) if next.kind.is_like(&kind) => Some(&mut next.callers),
            Some(_) => None,
            None => match (&mut self.phase, &kind) {
                (Phase::Loading(loading), Kind::Open(_)) => Some(&mut loading.callers),
                (Phase::Wiping(_, callers), Kind::End(End::Remove)) => Some(callers),
                (Phase::Open(live), Kind::End(kind)) => live
                    .ending
                    .as_mut()
                    .filter(|ending| ending.kind == *kind && !ending.done)
                    .map(|ending| &mut ending.callers),
                _ => None,
            },
        };
        match callers {
            Some(callers) => callers.extend(caller),
            None => self.line.push_back(Transition { kind, callers: caller.into_iter().collect() }),
        }
    }

    /// Goes on as far as nothing has to be waited for.
    fn advance(&mut self, common: &Common, moment: &Moment, effects: &mut Vec<Effect>) {
        loop {
            if let Phase::Open(live) = &mut self.phase {
                let turn = &mut Turn { id: &self.id, common, moment, callbacks: &mut self.callbacks, effects };
                live.pump(turn);
                live.admit(turn);
                live.pump(turn);
                live.call_archive(turn);
            }
            if !self.go_on_ending(common, moment, effects) && !self.begin_next(common, moment, effects) {
                break;
            }
        }
        for (call, result) in self.callbacks.answerable() {
            effects.push(Effect::Answer { channel: self.id.clone(), call, result });
        }
    }

    /// The next thing that a channel which ends has to do; false where it has to wait, or does not end.
    fn go_on_ending(&mut self, common: &Common, moment: &Moment, effects: &mut Vec<Effect>) -> bool {
        let impatient = self.line.iter().flat_map(|next| &next.callers).any(|caller| caller.inside);
        let Phase::Open(live) = &mut self.phase else { return false };
        if live.is_busy() {
            return false;
        }
        let (keeping, calling) = (live.is_keeping_in_archive(), live.archive_call().is_some());
        let Some(ending) = live.ending.as_mut().filter(|ending| !ending.done) else { return false };
        if ending.kind == End::Remove {
            // What is being kept would outlive what is wiped.
            if calling {
                return false;
            }
            let callers = std::mem::take(&mut ending.callers);
            self.wipe(common, callers, effects);
            return true;
        }
        let hurry = ending.hurry || impatient || ending.callers.iter().any(|caller| caller.inside);
        if !hurry && (self.callbacks.are_busy() || keeping) {
            return false;
        }
        if !std::mem::replace(&mut ending.checkpointed, true) {
            let turn = &mut Turn { id: &self.id, common, moment, callbacks: &mut self.callbacks, effects };
            live.enter_alone(turn, ChannelInput::Checkpoint);
            return true;
        }
        let first_try = !std::mem::replace(&mut ending.retried, true);
        if live.owes() && first_try {
            live.retry();
            return true;
        }
        self.end(effects);
        true
    }

    /// Everything that can be saved is.
    fn end(&mut self, effects: &mut Vec<Effect>) {
        let Phase::Open(live) = &mut self.phase else { return };
        let generation = live.generation;
        let failure = live.owes().then(|| live.failure()).flatten();
        let Some(ending) = &mut live.ending else { return };
        let callers = std::mem::take(&mut ending.callers);
        // All callers of a shutdown get one report: who cannot wait for callbacks decides for all.
        let now = ending.kind == End::ShutDown && callers.iter().any(|caller| caller.inside);
        let result = failure.map_or(Ok(Answer::DONE), |error| Err(ExecutorError::Persistence(error)));
        if ending.kind == End::ShutDown {
            ending.done = true;
        } else if result.is_err() {
            // A channel that cannot be saved stays open.
            live.ending = None;
        } else {
            debug!(channel = %self.id, "closed");
            self.phase = Phase::Absent;
            self.callbacks.discard();
        }
        for caller in callers {
            if now || caller.inside || result.is_err() {
                answer(&self.id, Some(caller), result.clone(), effects);
            } else {
                self.callbacks.answer_after(generation, caller.call, result.clone());
            }
        }
    }

    /// Begins what stands first in the line, if nothing is being done.
    fn begin_next(&mut self, common: &Common, moment: &Moment, effects: &mut Vec<Effect>) -> bool {
        let ended = match &self.phase {
            Phase::Loading(_) | Phase::Wiping(..) => return false,
            Phase::Open(live) => match &live.ending {
                Some(ending) if !ending.done => return false,
                ending => ending.is_some(),
            },
            Phase::Absent | Phase::Unwiped => false,
        };
        let Some(Transition { kind, callers }) = self.line.pop_front() else { return false };
        let refused = |error| Some(Err(error));
        let result = match (kind, &mut self.phase) {
            (Kind::End(End::ShutDown), Phase::Open(live)) if ended => {
                if callers.iter().any(|caller| caller.inside) {
                    self.callbacks.keep_nobody_waiting();
                }
                Some(live.failure().map_or(Ok(Answer::DONE), |error| Err(error.into())))
            }
            (Kind::End(End::ShutDown), Phase::Absent | Phase::Unwiped) => {
                if callers.iter().any(|caller| caller.inside) {
                    self.callbacks.keep_nobody_waiting();
                }
                // A callback of an opening that was closed from inside may still run.
                for caller in callers {
                    self.callbacks.answer_after(Generation::LAST, caller.call, Ok(Answer::DONE));
                }
                return true;
            }
            (Kind::Open(_) | Kind::End(End::Close | End::Remove), _) if self.shut_down => {
                refused(ExecutorError::ShutDown)
            }
            (Kind::Open(_), Phase::Open(_)) => Some(Ok(Answer::DONE)),
            (Kind::Open(config), phase) => {
                let max = config.limits.max_id_bytes;
                if self.id.is_empty() || self.id.len() > max {
                    refused(RestoreError::ChannelId { max }.into())
                } else {
                    let (wiping, generation) = (matches!(phase, Phase::Unwiped), common.generation());
                    let channel = self.id.clone();
                    effects.push(if wiping {
                        Effect::Drop { channel, generation }
                    } else {
                        Effect::Load { channel, generation }
                    });
                    *phase = Phase::Loading(Loading { generation, config, callers, wiping });
                    return true;
                }
            }
            (Kind::End(kind), Phase::Open(live)) => {
                let turn = &mut Turn { id: &self.id, common, moment, callbacks: &mut self.callbacks, effects };
                live.end(turn, kind, callers);
                return true;
            }
            (Kind::End(End::Remove), _) => {
                self.wipe(common, callers, effects);
                return true;
            }
            (Kind::End(_), _) => refused(ExecutorError::UnknownChannel),
        };
        if let Some(result) = result {
            for caller in callers {
                answer(&self.id, Some(caller), result.clone(), effects);
            }
        }
        true
    }

    fn wipe(&mut self, common: &Common, callers: Vec<Caller>, effects: &mut Vec<Effect>) {
        let generation = common.generation();
        self.callbacks.discard();
        self.phase = Phase::Wiping(generation, callers);
        effects.push(Effect::Drop { channel: self.id.clone(), generation });
    }

    fn dropped(
        &mut self,
        generation: Generation,
        result: Result<(), Arc<PersistenceError>>,
        effects: &mut Vec<Effect>,
    ) {
        match &mut self.phase {
            Phase::Wiping(current, callers) if *current == generation => {
                debug!(channel = %self.id, wiped = result.is_ok(), "removed");
                let callers = std::mem::take(callers);
                self.phase = if result.is_ok() { Phase::Absent } else { Phase::Unwiped };
                let result = result.map(|()| Answer::DONE).map_err(ExecutorError::from);
                for caller in callers {
                    answer(&self.id, Some(caller), result.clone(), effects);
                }
            }
            Phase::Loading(loading) if loading.generation == generation && loading.wiping => match result {
                Ok(()) => {
                    loading.wiping = false;
                    effects.push(Effect::Load { channel: self.id.clone(), generation });
                }
                Err(error) => {
                    let callers = std::mem::take(&mut loading.callers);
                    self.phase = Phase::Unwiped;
                    for caller in callers {
                        answer(&self.id, Some(caller), Err(error.clone().into()), effects);
                    }
                }
            },
            _ => {}
        }
    }

    fn loaded(
        &mut self,
        common: &Common,
        moment: &Moment,
        generation: Generation,
        result: Result<ChannelData, Arc<PersistenceError>>,
        effects: &mut Vec<Effect>,
    ) {
        let turn = &mut Turn { id: &self.id, common, moment, callbacks: &mut self.callbacks, effects };
        match &mut self.phase {
            Phase::Open(live) if live.generation == generation => live.loaded(turn, result),
            Phase::Loading(loading) if loading.generation == generation && !loading.wiping => {
                let callers = std::mem::take(&mut loading.callers);
                let calls = callers.iter().map(|caller| caller.call).collect();
                let config = loading.config.clone();
                let restored = result
                    .map_err(ExecutorError::from)
                    .and_then(|data| Live::restore(turn, generation, config, data, calls));
                match restored {
                    Ok(live) => {
                        debug!(channel = %self.id, "opened");
                        self.phase = Phase::Open(Box::new(live));
                    }
                    Err(error) => {
                        self.phase = Phase::Absent;
                        for caller in callers {
                            answer(&self.id, Some(caller), Err(error.clone()), effects);
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

fn answer(
    channel: &ChannelId,
    caller: Option<Caller>,
    result: Result<Answer, ExecutorError>,
    effects: &mut Vec<Effect>,
) {
    if let Some(caller) = caller {
        effects.push(Effect::Answer { channel: channel.clone(), call: caller.call, result });
    }
}
