//! What must hold in the executor's worlds.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::{Running, ids, ordering};
use crate::channel::{Event, Outcome};
use crate::executor::{Answer, CallId, Effect, Executor, ExecutorError, Generation, Order, Report, Telling, Told};
use crate::state::ChannelData;
use crate::store::{MemoryPersistence, Persistence, PersistenceError};
use crate::types::{ChannelId, MessageId};

/// What is known of one participant's run.
#[derive(Default)]
pub(super) struct Watch {
    calls: BTreeMap<(ChannelId, CallId), Call>,
    /// Channels whose call to the store has not come back.
    in_store: BTreeSet<ChannelId>,
    /// The newest generation seen.
    newest: BTreeMap<ChannelId, Generation>,
    /// The last opening for which something was loaded.
    opened: BTreeMap<ChannelId, Generation>,
    /// No generation up to this may do anything any more.
    closed: BTreeMap<ChannelId, Generation>,
    /// The last delivery told to callbacks, and by which opening.
    delivered: BTreeMap<ChannelId, (Generation, u64)>,
    /// Up to which delivery callbacks of an opening have returned, or had before it.
    returned: BTreeMap<(ChannelId, Generation), u64>,
    /// The telling that is running, for its last delivery.
    running: BTreeMap<ChannelId, u64>,
    /// Messages answered with *Ok*.
    kept: BTreeMap<ChannelId, BTreeSet<MessageId>>,
    /// Channels whose removal may still come.
    doubtful: BTreeSet<ChannelId>,
    shut_down: bool,
    hurried: bool,
    /// Everything was shut down and saved; callbacks may still run where `hurried`.
    over: bool,
}

/// An order that waits for its answer.
pub(super) struct Call {
    pub(super) kind: Kind,
    pub(super) inside: bool,
    /// The callback that waits for it.
    pub(super) for_callback: Option<ChannelId>,
    /// The newest generation when it was made.
    pub(super) newest: Option<Generation>,
    pub(super) forgotten: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Open,
    Enter,
    /// It sends what need not stay: ephemeral messages, and those that may be taken back.
    EnterLoosely,
    Close,
    Remove,
    ShutDown,
}

impl Kind {
    pub(super) fn of(order: &Order) -> Self {
        match order {
            Order::Open(_) => Self::Open,
            Order::Enter { input, .. } if ordering::is_loose(input) => Self::EnterLoosely,
            Order::Enter { .. } => Self::Enter,
            Order::Close => Self::Close,
            Order::Remove => Self::Remove,
            Order::ShutDown => Self::ShutDown,
        }
    }
}

type Checked = Result<(), String>;

impl Watch {
    pub(super) fn asked(&mut self, channel: &ChannelId, call: CallId, asked: Call) {
        if asked.kind == Kind::Remove {
            self.kept.remove(channel);
        }
        // Who shuts down from inside a callback waits for no callback, and nobody does any more.
        self.hurried |= asked.kind == Kind::ShutDown && asked.inside;
        let newest = self.newest.get(channel).copied();
        self.calls.insert((channel.clone(), call), Call { newest, ..asked });
    }

    pub(super) fn forgotten(&mut self, channel: &ChannelId, call: CallId) {
        if let Some(asked) = self.calls.get_mut(&(channel.clone(), call)) {
            asked.forgotten = true;
            asked.for_callback = None;
        }
    }

    pub(super) fn waits(&self, channel: &ChannelId, call: CallId) -> bool {
        self.calls.contains_key(&(channel.clone(), call))
    }

    /// Looks at an effect before it is carried out.
    pub(super) fn see(&mut self, effect: &Effect, running: &BTreeMap<ChannelId, Running>) -> Checked {
        let (channel, generation) = match effect {
            Effect::Load { channel, generation }
            | Effect::Drop { channel, generation }
            | Effect::Commit { channel, generation, .. } => {
                if !self.in_store.insert(channel.clone()) {
                    return Err(format!("two calls to the store for channel {channel}: {effect:?}"));
                }
                (channel, generation)
            }
            Effect::CallBack { channel, generation, telling } => {
                if running.contains_key(channel) {
                    return Err(format!("two callbacks for channel {channel}"));
                }
                self.deliveries(channel, *generation, telling)?;
                let last = self.delivered.get(channel).filter(|(of, _)| of == generation).map_or(0, |(_, last)| *last);
                self.running.insert(channel.clone(), last);
                (channel, generation)
            }
            Effect::Tell { channel, telling } => return self.tells(channel, telling),
            Effect::Archive { channel, generation, .. } => (channel, generation),
            Effect::Answer { .. } | Effect::Flush | Effect::ShutDown { .. } => return Ok(()),
        };
        let is_over = if matches!(effect, Effect::CallBack { .. }) { self.shut_down } else { self.over };
        if is_over {
            return Err(format!("after shutting down: {effect:?}"));
        }
        if self.closed.get(channel).is_some_and(|closed| closed >= generation) {
            return Err(format!("after closed: {effect:?}"));
        }
        let newest = self.newest.entry(channel.clone()).or_insert(*generation);
        *newest = (*newest).max(*generation);
        Ok(())
    }

    /// What was saved of a channel was loaded for an opening.
    pub(super) fn loaded(&mut self, channel: &ChannelId, generation: Generation, data: &ChannelData) {
        let told = data.meta.as_ref().map_or(0, |meta| meta.told);
        let known = self.returned.entry((channel.clone(), generation)).or_default();
        *known = (*known).max(told);
        self.opened.insert(channel.clone(), generation);
    }

    /// A callback is about to be told as returned; which delivery was its last.
    pub(super) fn returns(&mut self, channel: &ChannelId, generation: Generation) -> u64 {
        let last = self.running.remove(channel).unwrap_or(0);
        let known = self.returned.entry((channel.clone(), generation)).or_default();
        *known = (*known).max(last);
        last
    }

    /// What counts as confirmed was: by callbacks of this opening that have returned, or before it.
    pub(super) fn confirmed(&self, channel: &ChannelId, executor: &Executor) -> Checked {
        let Some(open) = executor.channel(channel) else { return Ok(()) };
        let Some(newest) = self.newest.get(channel) else { return Ok(()) };
        let known = self.returned.get(&(channel.clone(), *newest)).copied().unwrap_or(0);
        let told = open.meta().told;
        if told > known {
            return Err(format!("channel {channel} takes delivery {told} for confirmed, {known} is"));
        }
        Ok(())
    }

    pub(super) fn came_back(&mut self, channel: &ChannelId) {
        self.in_store.remove(channel);
    }

    pub(super) fn answered(
        &mut self,
        channel: &ChannelId,
        call: CallId,
        result: &Result<Answer, ExecutorError>,
        running: &BTreeMap<ChannelId, Running>,
        disk: Option<&MemoryPersistence>,
    ) -> Result<Call, String> {
        let Some(asked) = self.calls.remove(&(channel.clone(), call)) else {
            return Err(format!("{call:?} of channel {channel} is answered, which does not wait: {result:?}"));
        };
        if asked.kind == Kind::Remove {
            self.kept.remove(channel);
            if is_unfinished(result) {
                self.doubtful.insert(channel.clone());
            }
        }
        let removing = self.calls.iter().any(|((of, _), call)| of == channel && call.kind == Kind::Remove);
        match (asked.kind, result) {
            (Kind::Close | Kind::Remove, Ok(_)) => {
                if let Some(newest) = asked.newest {
                    let closed = self.closed.entry(channel.clone()).or_insert(newest);
                    *closed = (*closed).max(newest);
                    let still = running.get(channel).is_some_and(|running| running.generation <= newest);
                    if asked.kind == Kind::Close && !asked.inside && still && !self.hurried {
                        return Err(format!("channel {channel} is closed, and its callback still runs"));
                    }
                }
            }
            (Kind::Enter | Kind::EnterLoosely, Ok(answer)) if answer.own.is_some() && self.is_closed(channel) => {
                return Err(format!("after channel {channel} is closed there is something to send: {answer:?}"));
            }
            (Kind::Enter, Ok(Answer { outcome: Outcome::Sent(id), .. })) => {
                if let Some(disk) = disk
                    && !ids(&load(disk, channel)?).contains(id)
                {
                    return Err(format!("{id} of channel {channel} was answered with Ok, and is not stored"));
                }
                if !removing && !self.doubtful.contains(channel) {
                    self.kept.entry(channel.clone()).or_default().insert(id.clone());
                }
            }
            _ => {}
        }
        Ok(asked)
    }

    pub(super) fn shut_down(&mut self, call: CallId, report: &Report) -> Result<Call, String> {
        let found = self.calls.keys().find(|(_, known)| *known == call).cloned();
        let Some(asked) = found.and_then(|key| self.calls.remove(&key)) else {
            return Err(format!("{call:?} is told of a shutdown, and did not ask for one"));
        };
        if !report.unsaved.is_empty() {
            // What is told as not saved need not be.
            report.unsaved.iter().for_each(|(channel, _)| drop(self.kept.remove(channel)));
        } else {
            self.over = true;
            self.shut_down |= !asked.inside && !self.hurried;
        }
        Ok(asked)
    }

    /// A run has ended in order: nobody waits any more.
    pub(super) fn ended(&self) -> Checked {
        self.nobody_waits()
    }

    pub(super) fn restart(&mut self, fails: bool) {
        let kept = if fails { std::mem::take(&mut self.kept) } else { BTreeMap::new() };
        *self = Self { kept, doubtful: std::mem::take(&mut self.doubtful), ..Self::default() };
    }

    /// All channels are closed, and nothing happens any more.
    pub(super) fn at_rest(&self, executor: &Executor, disk: &MemoryPersistence) -> Checked {
        self.nobody_waits()?;
        if executor.lanes() > 0 || executor.poll_timeout().is_some() {
            return Err(format!("{} closed channels left something behind", executor.lanes()));
        }
        for (channel, kept) in self.kept.iter().filter(|(channel, _)| !self.doubtful.contains(channel)) {
            let stored = ids(&load(disk, channel)?);
            if let Some(lost) = kept.iter().find(|id| !stored.contains(id)) {
                return Err(format!("{lost} of channel {channel} was answered with Ok, and is not stored in the end"));
            }
        }
        Ok(())
    }

    fn nobody_waits(&self) -> Checked {
        match self.calls.iter().find(|(_, asked)| !asked.forgotten) {
            Some(((channel, call), asked)) => {
                let Call { kind, inside, for_callback, .. } = asked;
                let of = for_callback.as_ref().map(ToString::to_string);
                Err(format!("{call:?}, {kind:?} of channel {channel}, inside {inside}, for {of:?}, is never answered"))
            }
            None => Ok(()),
        }
    }

    /// What is told and transmitted is so while the channel is open.
    fn tells(&self, channel: &ChannelId, telling: &Telling) -> Checked {
        if self.over {
            return Err(format!("told or transmitted after shutting down: {telling:?}"));
        }
        if self.is_closed(channel) {
            return Err(format!("told or transmitted after channel {channel} is closed: {telling:?}"));
        }
        Ok(())
    }

    /// Whether its last opening was told as closed, or there was none.
    fn is_closed(&self, channel: &ChannelId) -> bool {
        let closed = self.closed.get(channel);
        self.opened.get(channel).is_none_or(|opened| closed.is_some_and(|closed| closed >= opened))
    }

    fn deliveries(&mut self, channel: &ChannelId, generation: Generation, telling: &Telling) -> Checked {
        for told in &telling.told {
            let Told::Event(Event::MessageDelivered(delivery)) = told else { continue };
            let number = delivery.number;
            if let Some((of, last)) = self.delivered.insert(channel.clone(), (generation, number))
                && of == generation
                && number <= last
            {
                return Err(format!("channel {channel} tells delivery {number} after {last}"));
            }
        }
        Ok(())
    }
}

pub(super) fn is_unfinished(result: &Result<Answer, ExecutorError>) -> bool {
    matches!(result, Err(ExecutorError::Unfinished(_)))
}

/// What the store has, which must fit together.
pub(super) fn load(disk: &MemoryPersistence, channel: &ChannelId) -> Result<ChannelData, String> {
    let data = now(disk.load_channel(channel)).unwrap_or_default();
    data.check().map_err(|mismatch| format!("channel {channel} is damaged: {mismatch}"))?;
    Ok(data)
}

/// The store in memory answers at once.
pub(super) fn now<T>(call: impl Future<Output = Result<T, PersistenceError>>) -> Option<T> {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result.ok(),
        Poll::Pending => None,
    }
}
