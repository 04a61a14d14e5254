//! One channel's [`Lane`] behind its lock, and its effects carried out in order.
//!
//! An input enters the lane under the lock; what it leads to queues there. Whoever finds nobody at it carries the queue
//! out, under no lock, on its own thread: that is all it takes when the store answers at once. A call to the store that
//! does not becomes a task, and its end is the next input.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::archiving;
use super::callbacks;
use super::calls::{Calls, Reply};
use super::error::ManagerError;
use super::events::{ManagerEvent, Transmission};
use super::pool::Job;
use super::shared::Shared;
use super::storing;
use crate::channel::Channel;
use crate::executor::{
    Answer, CallId, Caller, Effect, ExecutorError, Footprint, Input, Lane, Order, Telling, Unfinished,
};
use crate::store::PersistenceError;
use crate::types::{ChannelId, RunningTime};

/// Turns after which who carries effects out lets others run.
const TURNS: usize = 32;
/// After a caller's deadline, how long the lane may take to say what it waits for.
const LAST_WORD: Duration = Duration::from_secs(1);

/// One channel.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) id: ChannelId,
    /// Tells the cell apart from others, also from later ones of the same channel.
    number: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    lane: Lane,
    effects: Vec<Effect>,
    /// Somebody carries effects out.
    carrying: bool,
    calls: Calls,
    /// The deadline the timer task knows.
    registered: Option<RunningTime>,
}

/// An order that entered a cell. Until [`go`](Self::go) its effects wait, so that it can be made under another lock.
#[must_use = "its effects must be carried out"]
pub(super) struct Asked {
    call: CallId,
    answer: oneshot::Receiver<Reply>,
    start: bool,
}

impl Cell {
    pub(super) fn new(id: ChannelId, number: u64) -> Arc<Self> {
        let state = State {
            lane: Lane::new(id.clone()),
            effects: Vec::new(),
            carrying: false,
            calls: Calls::default(),
            registered: None,
        };
        Arc::new(Self { id, number, state: Mutex::new(state) })
    }

    /// Hands an order in, without carrying anything out yet.
    pub(super) fn ask(self: &Arc<Self>, shared: &Shared, order: Order, inside: bool) -> Asked {
        let (sender, answer) = oneshot::channel();
        let mut state = self.lock();
        let call = state.calls.add(sender);
        let caller = Some(Caller { call, inside });
        let start = self.take_in(shared, &mut state, Input::Order { caller, order });
        Asked { call, answer, start }
    }

    /// Hands an order in that enters an input, and waits until its step was carried out. A caller that stops waiting
    /// undoes nothing, but what was not begun is not begun any more.
    pub(super) async fn enter(self: &Arc<Self>, shared: &Arc<Shared>, order: Order) -> Result<Answer, ManagerError> {
        let asked = self.ask(shared, order, callbacks::is_inside());
        let forget = Forget { cell: self, shared, call: Some(asked.call) };
        let answer = asked.go(shared, self).await;
        forget.not();
        self.told(answer)
    }

    /// Hands in what nobody waits for.
    pub(super) fn hand_in(self: &Arc<Self>, shared: &Arc<Shared>, input: Input) {
        let start = self.take_in(shared, &mut self.lock(), input);
        if start {
            carry(shared, self);
        }
    }

    /// Looks at the channel, briefly.
    pub(super) fn read<R>(&self, look: impl FnOnce(&Channel) -> R) -> Result<R, ManagerError> {
        self.lock().lane.channel().map(look).map_err(|error| ManagerError::of(&self.id, error))
    }

    /// Looks at the lane, briefly.
    pub(super) fn look<R>(&self, look: impl FnOnce(&Lane) -> R) -> R {
        look(&self.lock().lane)
    }

    pub(super) fn footprint(&self) -> Footprint {
        self.look(Lane::footprint)
    }

    /// Why the last save failed, if it did.
    pub(super) fn save_failure(&self) -> Option<Arc<PersistenceError>> {
        self.look(Lane::save_failure)
    }

    /// Whether nothing is left of the channel, and nobody waits for it.
    pub(super) fn is_vacant(&self) -> bool {
        let state = self.lock();
        state.lane.is_vacant() && state.effects.is_empty()
    }

    /// The timer task's call when the deadline it knows has come; the answer is another deadline it must know.
    pub(super) fn fire(self: &Arc<Self>, shared: &Arc<Shared>, deadline: RunningTime) -> Option<RunningTime> {
        {
            let mut state = self.lock();
            if state.registered != Some(deadline) {
                return None;
            }
            state.registered = None;
            let next = state.lane.poll_timeout(&shared.common)?;
            if next > shared.clock.running() {
                return Some(*state.registered.insert(next));
            }
        }
        self.hand_in(shared, Input::Timeout);
        None
    }

    /// Tells the timer task when the channel must be looked at, where that changes what it knows.
    pub(super) fn arm(self: &Arc<Self>, shared: &Shared) {
        self.rearm(shared, &mut self.lock());
    }

    pub(super) fn told(&self, answer: Reply) -> Result<Answer, ManagerError> {
        answer.map_err(|error| ManagerError::of(&self.id, error))
    }

    /// Takes an input in; whether the caller has to carry out what it led to.
    fn take_in(self: &Arc<Self>, shared: &Shared, state: &mut State, input: Input) -> bool {
        let State { lane, effects, .. } = state;
        lane.handle(&shared.common, &shared.moment(), input, effects);
        self.rearm(shared, state);
        // A lane that has become vacant is forgotten by whoever carries out.
        (!state.effects.is_empty() || state.lane.is_vacant()) && !std::mem::replace(&mut state.carrying, true)
    }

    fn rearm(self: &Arc<Self>, shared: &Shared, state: &mut State) {
        if !shared.timers.are_running() {
            return;
        }
        match (state.lane.poll_timeout(&shared.common), state.registered) {
            (Some(deadline), before) if before.is_none_or(|before| deadline < before) => {
                state.registered = Some(deadline);
                shared.timers.arm(self, self.number, before, deadline);
            }
            (None, Some(before)) => {
                state.registered = None;
                shared.timers.disarm(self.number, before);
            }
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only `Channel` could panic under this lock, and the lane catches that.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    /// Carries out what the order led to, as far as that needs no waiting, and waits for the answer.
    pub(super) async fn go(self, shared: &Arc<Shared>, cell: &Arc<Cell>) -> Reply {
        self.begin(shared, cell).await.unwrap_or(Err(ExecutorError::ShutDown))
    }

    /// As [`go`](Self::go); after the deadline the lane is asked to answer what it waits for.
    pub(super) async fn go_until(self, deadline: Option<Duration>, shared: &Arc<Shared>, cell: &Arc<Cell>) -> Reply {
        let call = self.call;
        let answer = self.begin(shared, cell);
        let _patience = deadline.map(|deadline| {
            let (shared, cell) = (shared.clone(), cell.clone());
            let task = shared.runtime.clone().spawn(async move {
                tokio::time::sleep(deadline).await;
                cell.hand_in(&shared, Input::GiveUp(call));
                // Where a store blocks the thread that would carry the answer out.
                tokio::time::sleep(LAST_WORD).await;
                if let Some(sender) = cell.lock().calls.take(call) {
                    let _ = sender.send(Err(ExecutorError::Unfinished(Unfinished::Store("call"))));
                }
            });
            AbortOnDrop(task)
        });
        answer.await.unwrap_or(Err(ExecutorError::ShutDown))
    }

    /// Carries out what the order led to, as far as that needs no waiting.
    pub(super) fn begin(self, shared: &Arc<Shared>, cell: &Arc<Cell>) -> oneshot::Receiver<Reply> {
        if self.start {
            carry(shared, cell);
        }
        self.answer
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tells the lane about a caller that stopped waiting.
struct Forget<'a> {
    cell: &'a Arc<Cell>,
    shared: &'a Arc<Shared>,
    call: Option<CallId>,
}

impl Forget<'_> {
    fn not(mut self) {
        self.call = None;
    }
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.call {
            self.cell.lock().calls.take(call);
            self.cell.hand_in(self.shared, Input::Forget(call));
        }
    }
}

/// Carries out what is queued; made by the one who has just set `carrying`. Should it end early, by a panic or with its
/// runtime, the next input goes on.
struct Carrier {
    shared: Arc<Shared>,
    cell: Arc<Cell>,
    done: bool,
}

fn carry(shared: &Arc<Shared>, cell: &Arc<Cell>) {
    Carrier { shared: shared.clone(), cell: cell.clone(), done: false }.carry();
}

impl Carrier {
    fn carry(mut self) {
        let mut batch = Vec::new();
        for _ in 0..TURNS {
            {
                let mut state = self.cell.lock();
                if state.effects.is_empty() {
                    // Of many channels most are idle, and keep no room.
                    state.effects = Vec::new();
                    state.carrying = false;
                    let vacant = state.lane.is_vacant();
                    drop(state);
                    self.done = true;
                    if vacant {
                        self.shared.forget(&self.cell);
                    }
                    return;
                }
                std::mem::swap(&mut state.effects, &mut batch);
            }
            for effect in batch.drain(..) {
                self.carry_out(effect);
            }
        }
        let runtime = self.shared.runtime.clone();
        runtime.spawn(async move { self.carry() });
    }

    fn carry_out(&self, effect: Effect) {
        let Self { shared, cell, .. } = self;
        match effect {
            Effect::Load { generation, .. } => storing::load(shared, cell, generation),
            Effect::Commit { generation, commit, .. } => storing::commit(shared, cell, generation, commit),
            Effect::Archive { generation, call, .. } => archiving::call(shared, cell, generation, call),
            Effect::Drop { generation, .. } => storing::drop_channel(shared, cell, generation),
            Effect::Tell { telling, .. } => stream(shared, &cell.id, &telling),
            Effect::CallBack { generation, telling, .. } => {
                Job { shared: shared.clone(), cell: cell.clone(), generation, telling }.start();
            }
            Effect::Answer { call, result, .. } => {
                if let Some(sender) = cell.lock().calls.take(call) {
                    // A caller that stopped waiting does not want to know.
                    let _ = sender.send(result);
                }
            }
            // A lane gives neither; the manager flushes for all of them.
            Effect::Flush | Effect::ShutDown { .. } => {}
        }
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        if !self.done {
            self.cell.lock().carrying = false;
        }
    }
}

/// Tells the observer what a step tells, and puts it on the streams. Nothing is encoded or built that nobody listens for.
fn stream(shared: &Shared, channel: &ChannelId, telling: &Telling) {
    let observer = shared.observer.as_deref();
    let streamed = shared.feeds.want_transmissions();
    if observer.is_some() || streamed {
        for transmission in Transmission::of(channel, telling) {
            if let Some(observer) = observer {
                callbacks::guarded(|| observer.transmission(&transmission));
            }
            if streamed {
                shared.feeds.transmission(transmission);
            }
        }
    }
    let streamed = shared.feeds.want_events();
    if observer.is_some() || streamed {
        for event in ManagerEvent::of(channel, telling) {
            if let Some(observer) = observer {
                callbacks::guarded(|| observer.event(&event));
            }
            if streamed {
                shared.feeds.event(event);
            }
        }
    }
}
