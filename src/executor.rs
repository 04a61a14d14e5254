//! [`Executor`]: carries out the steps of any number of channels, without a runtime, a clock or threads.
//!
//! A [`Channel`] says what must happen: save, then transmit, then tell. Making that happen in order, around a store that
//! is slow, fails or hangs, and around callbacks that call back, is a state machine of its own, and this is it. It takes
//! an [`Input`] in and gives [`Effect`]s out, for its driver to carry out in the order given. `examples/without_runtime.rs`
//! drives it with one plain thread, the simulation in `sim::executor` with a seed. `ReliabilityManager` drives its lanes with
//! tokio, each behind a lock of its own; the map, the number of channels and the end of all are its own there.
//!
//! - A [`Lane`] is one channel: absent, being loaded, open, being closed, being wiped. It is a machine by itself, so that
//!   a driver may put each behind a lock of its own. [`Executor`] is a map of lanes and what spans them.
//! - Every opening of a channel has a [`Generation`]. What the driver hands in about an earlier one is nothing.
//! - At most one call to the store runs for a lane at a time, and at most one callback.
//! - Whoever closes, removes or shuts down from inside a callback does not wait for callbacks, and holds up nobody else.

mod archiving;
mod effect;
mod ending;
mod erasures;
mod lane;
mod live;
mod memory;
mod owed;
mod step;
mod told;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub use effect::{
    Answer, ArchiveAnswer, ArchiveCall, CallId, Caller, Common, Effect, ExecutorError, Generation, Input, Moment,
    OnSaveFailure, Options, Order, Report, Unfinished, Wants,
};
pub use lane::Lane;
pub use memory::{Footprint, Memory};
pub use told::{Telling, Told};

use crate::channel::Channel;
#[cfg(doc)]
use crate::channel::Step;
use crate::store::PersistenceError;
use crate::types::{ChannelId, RunningTime};

/// Between passes over all channels that could not free enough memory.
const FRUITLESS_WAIT: Duration = Duration::from_secs(1);
/// Under which a lane answers the executor's own order to shut down.
const OWN: CallId = CallId(u64::MAX);

/// All channels of one participant (see the module page).
#[derive(Debug)]
pub struct Executor {
    common: Arc<Common>,
    lanes: BTreeMap<ChannelId, Lane>,
    timers: BTreeSet<(RunningTime, ChannelId)>,
    relieve_after: RunningTime,
    shut_down: Option<Ending>,
}

/// Shutting down: who waits for it, and what is known of it so far.
#[derive(Debug, Default)]
struct Ending {
    callers: Vec<CallId>,
    lanes: BTreeSet<ChannelId>,
    report: Report,
    flushing: bool,
    ended: bool,
}

impl Executor {
    /// An executor without channels.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            common: Arc::new(Common::new(options)),
            lanes: BTreeMap::new(),
            timers: BTreeSet::new(),
            relieve_after: RunningTime::default(),
            shut_down: None,
        }
    }

    /// Takes in what concerns one channel, and says what to do, in this order.
    #[must_use = "effects must be carried out, in order"]
    pub fn handle(&mut self, moment: &Moment, channel: &ChannelId, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::GiveUp(call) if self.shut_down.as_ref().is_some_and(|ending| ending.callers.contains(&call)) => {
                // Who waits for the end of everything is answered when every channel is.
                let lanes = self.shut_down.iter().flat_map(|ending| ending.lanes.clone()).collect::<Vec<_>>();
                for channel in lanes {
                    self.enter(moment, &channel, Input::GiveUp(OWN), &mut effects);
                }
            }
            input => self.enter(moment, channel, input, &mut effects),
        }
        self.relieve(moment, &mut effects);
        self.collect(effects)
    }

    /// Shuts all channels down, then asks for the store's flush and answers with [`Effect::ShutDown`].
    #[must_use = "effects must be carried out, in order"]
    pub fn shut_down(&mut self, moment: &Moment, caller: Caller) -> Vec<Effect> {
        let mut effects = Vec::new();
        let first = self.shut_down.is_none();
        let ending = self.shut_down.get_or_insert_default();
        if ending.ended {
            return vec![Effect::ShutDown { calls: vec![caller.call], report: ending.report.clone() }];
        }
        ending.callers.push(caller.call);
        if first {
            ending.lanes = self.lanes.keys().cloned().collect();
        }
        if first || caller.inside {
            for channel in self.lanes.keys().cloned().collect::<Vec<_>>() {
                let caller = Caller { call: OWN, inside: caller.inside };
                self.enter(
                    moment,
                    &channel,
                    Input::Order { caller: Some(caller), order: Order::ShutDown },
                    &mut effects,
                );
            }
        }
        self.collect(effects)
    }

    /// Takes in how the store's flush ended.
    #[must_use = "effects must be carried out, in order"]
    pub fn flushed(&mut self, result: Result<(), Arc<PersistenceError>>) -> Vec<Effect> {
        let Some(ending) = self.shut_down.as_mut().filter(|ending| ending.flushing && !ending.ended) else {
            return Vec::new();
        };
        ending.ended = true;
        ending.report.flush = result.err();
        vec![Effect::ShutDown { calls: std::mem::take(&mut ending.callers), report: ending.report.clone() }]
    }

    /// Does what is due in all channels.
    #[must_use = "effects must be carried out, in order"]
    pub fn timeout(&mut self, moment: &Moment) -> Vec<Effect> {
        let mut effects = Vec::new();
        let now = moment.running;
        let due: Vec<ChannelId> = self
            .timers
            .iter()
            .take_while(|(deadline, _)| *deadline <= now)
            .map(|(_, channel)| channel.clone())
            .collect();
        for channel in due {
            self.enter(moment, &channel, Input::Timeout, &mut effects);
        }
        self.relieve(moment, &mut effects);
        self.collect(effects)
    }

    /// When to call [`timeout`](Self::timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<RunningTime> {
        self.timers.first().map(|(deadline, _)| *deadline)
    }

    /// The channel, while it is open or was shut down.
    #[must_use]
    pub fn channel(&self, channel: &ChannelId) -> Option<&Channel> {
        self.lanes.get(channel)?.channel().ok()
    }

    /// The next step of any channel panics once it has changed the channel; `false` takes that back.
    #[cfg(feature = "testing")]
    pub(crate) fn with_a_defect(&self, defect: bool) -> bool {
        self.common.defect.swap(defect, std::sync::atomic::Ordering::Relaxed)
    }

    /// So many bytes of other channels wait for their archives.
    #[cfg(feature = "testing")]
    pub(crate) fn with_archives_of_others(&self, bytes: usize) {
        self.common.memory.archive_changes(0, bytes);
    }

    /// Channels of which something is kept: open, coming or going.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    fn enter(&mut self, moment: &Moment, channel: &ChannelId, input: Input, effects: &mut Vec<Effect>) {
        if let Input::Order { caller, order: Order::Open(_) } = input
            && self.shut_down.is_none()
            && self.lanes.get(channel).is_none_or(|lane| !lane.counts())
            && self.is_full()
        {
            let max = self.common.options.max_channels;
            return refuse(channel, caller, ExecutorError::TooManyChannels { max }, effects);
        }
        if !self.lanes.contains_key(channel) {
            match input {
                Input::Order { caller, order: Order::Open(_) | Order::Remove } if self.shut_down.is_some() => {
                    return refuse(channel, caller, ExecutorError::ShutDown, effects);
                }
                Input::Order { order: Order::Open(_) | Order::Remove, .. } => {
                    self.lanes.insert(channel.clone(), Lane::new(channel.clone()));
                }
                Input::Order { caller, .. } => return refuse(channel, caller, ExecutorError::UnknownChannel, effects),
                // About a channel that is gone.
                _ => return,
            }
        }
        let Some(lane) = self.lanes.get_mut(channel) else { return };
        let before = lane.poll_timeout(&self.common);
        lane.handle(&self.common, moment, input, effects);
        let after = lane.poll_timeout(&self.common);
        if before != after {
            if let Some(before) = before {
                self.timers.remove(&(before, channel.clone()));
            }
            if let Some(after) = after {
                self.timers.insert((after, channel.clone()));
            }
        }
        if lane.is_vacant() {
            self.lanes.remove(channel);
        }
    }

    fn is_full(&self) -> bool {
        let max = self.common.options.max_channels;
        self.lanes.len() >= max && self.lanes.values().filter(|lane| lane.counts()).count() >= max
    }

    /// Takes from the largest channels where all together have too much.
    fn relieve(&mut self, moment: &Moment, effects: &mut Vec<Effect>) {
        let common = self.common.clone();
        if !common.memory.is_over() || moment.running < self.relieve_after {
            return;
        }
        for channel in self.lanes.keys().cloned().collect::<Vec<_>>() {
            if common.memory.is_relieved() {
                return;
            }
            let Some(input) = self.lanes.get(&channel).and_then(|lane| common.memory.relief(lane.footprint())) else {
                continue;
            };
            let order = Order::Enter { input, heard: None };
            self.enter(moment, &channel, Input::Order { caller: None, order }, effects);
        }
        // What is left cannot be given up yet, such as messages still to be acknowledged.
        self.relieve_after = moment.running.after(FRUITLESS_WAIT);
    }

    /// Takes the answers of lanes to the executor's own order out of the effects.
    fn collect(&mut self, mut effects: Vec<Effect>) -> Vec<Effect> {
        let Some(ending) = &mut self.shut_down else { return effects };
        effects.retain(|effect| {
            let Effect::Answer { channel, call: OWN, result } = effect else { return true };
            if ending.lanes.remove(channel)
                && let Err(error) = result
            {
                ending.report.unsaved.push((channel.clone(), error.clone()));
            }
            false
        });
        if ending.lanes.is_empty() && !ending.flushing {
            ending.flushing = true;
            ending.report.unsaved.sort_by(|(a, _), (b, _)| a.cmp(b));
            effects.push(Effect::Flush);
        }
        effects
    }
}

fn refuse(channel: &ChannelId, caller: Option<Caller>, error: ExecutorError, effects: &mut Vec<Effect>) {
    if let Some(caller) = caller {
        effects.push(Effect::Answer { channel: channel.clone(), call: caller.call, result: Err(error) });
    }
}
