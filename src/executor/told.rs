//! What is told of a step, and the queue of those whom callbacks still have to be told.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Answer;
use super::effect::{CallId, Effect, ExecutorError, Generation, Wants};
use super::step::ITEM_BYTES;
use crate::channel::{Event, ForArchive, Transmit};
use crate::store::PersistenceError;
use crate::types::{ChannelId, Dialect, MessageId};

/// What a step, or the lane itself, has to tell.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Told {
    /// Something happened in the channel.
    Event(Event),
    /// The channel's state could not be saved. Told once, until [`PersistenceRecovered`](Self::PersistenceRecovered).
    PersistenceFailed(Arc<PersistenceError>),
    /// Everything owed to the store was saved.
    PersistenceRecovered,
    /// The archive could not be used. Told once, until [`ArchiveRecovered`](Self::ArchiveRecovered).
    ArchiveFailed(Arc<PersistenceError>),
    /// The archive works again.
    ArchiveRecovered,
    /// Somebody speaks a dialect of another family.
    ForeignDialect {
        /// The dialect heard.
        heard: Dialect,
        /// The dialect configured.
        configured: Dialect,
    },
}

/// What one step tells, once it is saved.
#[derive(Clone, Debug, Default)]
pub struct Telling {
    /// The dialect to encode transmissions in.
    pub dialect: Dialect,
    /// What must go out by itself, in order.
    pub transmit: Vec<Transmit>,
    /// What to tell, in order.
    pub told: Vec<Told>,
    /// An own message whose retrieval hint the callback is asked for.
    pub hint_for: Option<MessageId>,
    /// What the archive has to do; taken out before the rest is told.
    pub(super) archive: Vec<ForArchive>,
}

impl Telling {
    pub(super) fn is_empty(&self) -> bool {
        self.transmit.is_empty() && self.told.is_empty() && self.hint_for.is_none() && self.archive.is_empty()
    }

    fn concerns(&self, wants: Wants) -> bool {
        wants.transmissions && !self.transmit.is_empty()
            || wants.events && !self.told.is_empty()
            || wants.hints && self.hint_for.is_some()
    }

    /// What it keeps in memory.
    pub(super) fn bytes(&self) -> usize {
        let transmitted = self.transmit.iter().map(|transmit| transmit.message.encoded_len(self.dialect));
        let told = self.told.iter().map(|told| match told {
            Told::Event(Event::MessageDelivered(delivery)) => delivery.body.content.len(),
            Told::Event(Event::EphemeralReceived { content, .. }) => content.len(),
            _ => 0,
        });
        (self.transmit.len() + self.told.len() + self.archive.len()) * ITEM_BYTES
            + transmitted.chain(told).sum::<usize>()
    }

    /// The number of the last delivery told.
    pub(super) fn last_delivery(&self) -> Option<u64> {
        self.told.iter().rev().find_map(|told| match told {
            Told::Event(Event::MessageDelivered(delivery)) => Some(delivery.number),
            _ => None,
        })
    }
}

/// Callbacks of one channel, over all its openings: one at a time, in order.
#[derive(Debug, Default)]
pub(super) struct Callbacks {
    queue: VecDeque<(Generation, Arc<Telling>)>,
    /// What those that wait or run keep in memory.
    bytes: usize,
    running: Option<(Generation, Arc<Telling>)>,
    /// Who is answered when nothing of that opening is running any more.
    until_returned: Vec<(Generation, CallId, Result<Answer, ExecutorError>)>,
    impatient: bool,
}

impl Callbacks {
    /// Has the callbacks told, where they want to hear of it.
    pub(super) fn push(&mut self, wants: Wants, generation: Generation, telling: &Arc<Telling>) {
        if telling.concerns(wants) {
            self.bytes += telling.bytes();
            self.queue.push_back((generation, telling.clone()));
        }
    }

    /// Starts the next one unless one is running.
    pub(super) fn start(&mut self, channel: &ChannelId, effects: &mut Vec<Effect>) {
        if self.running.is_none()
            && let Some((generation, telling)) = self.queue.pop_front()
        {
            self.running = Some((generation, telling.clone()));
            effects.push(Effect::CallBack { channel: channel.clone(), generation, telling });
        }
    }

    /// The one that was running has returned.
    pub(super) fn returned(&mut self, generation: Generation) -> Option<Arc<Telling>> {
        let (_, telling) = self.running.take_if(|(running, _)| *running == generation)?;
        self.bytes -= telling.bytes();
        Some(telling)
    }

    /// Forgets what was not begun.
    pub(super) fn discard(&mut self) {
        self.queue.clear();
        self.bytes = self.running.as_ref().map_or(0, |(_, telling)| telling.bytes());
    }

    /// What tellings that wait or run keep in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Tellings that wait or run.
    pub(super) fn len(&self) -> usize {
        self.queue.len() + usize::from(self.running.is_some())
    }

    pub(super) fn are_busy(&self) -> bool {
        self.len() > 0
    }

    /// Whether one of this opening, or of an earlier one, runs or waits.
    fn concern(&self, generation: Generation) -> bool {
        self.running.iter().chain(&self.queue).any(|(of, _)| *of <= generation)
    }

    /// Answers when nothing of this opening, or an earlier one, is running or queued any more.
    pub(super) fn answer_after(&mut self, generation: Generation, call: CallId, result: Result<Answer, ExecutorError>) {
        self.until_returned.push((generation, call, result));
    }

    /// Who waits for a callback to return is answered now.
    pub(super) fn keep_nobody_waiting(&mut self) {
        self.impatient = true;
    }

    /// Takes out who need not wait any longer.
    pub(super) fn answerable(&mut self) -> Vec<(CallId, Result<Answer, ExecutorError>)> {
        let impatient = std::mem::take(&mut self.impatient);
        if self.until_returned.is_empty() {
            return Vec::new();
        }
        let all = std::mem::take(&mut self.until_returned);
        let (wait, now): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(generation, ..)| !impatient && self.concern(*generation));
        self.until_returned = wait;
        now.into_iter().map(|(_, call, result)| (call, result)).collect()
    }

    /// Whether this caller waited here.
    pub(super) fn give_up(&mut self, call: CallId) -> bool {
        let before = self.until_returned.len();
        self.until_returned.retain(|(_, waiting, _)| *waiting != call);
        self.until_returned.len() < before
    }

    /// Whether nothing waits here, runs, or is waited for.
    pub(super) fn are_idle(&self) -> bool {
        self.len() == 0 && self.until_returned.is_empty()
    }
}
