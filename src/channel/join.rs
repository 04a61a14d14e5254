//! Joining a channel that has a past (docs/protocol.md section 5, "Joining").
//!
//! A newcomer shows the first message it hears at once; its *horizon* lies just below that message. What lies at or below the
//! horizon is history: it is delivered at its place, marked as history, and news never waits for it. [`Join`] says how
//! much of it is fetched: every missing message that history names costs one of a budget, and while the budget lasts,
//! history waits for what it names. Whoever has sent something is no newcomer and chases whatever follows.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::state::{LogKey, MarkKind, Parked};
use crate::types::{HistoryEntry, Lamport, MessageId, ParticipantId, RunningTime, millis};

use super::{Channel, Event, Fate, Join};

/// So long older content without a filter makes no beginning: it may be an answer to somebody who is far behind.
const HOLD: Duration = Duration::from_secs(5);
/// Content of so long ago at most is new.
const NEW: Duration = Duration::from_secs(60);
/// So long after the beginning, content that its sender sends now lowers the horizon: it was under way, or comes from a
/// slow clock, or the first message from a fast one.
const SETTLING: Duration = Duration::from_secs(10 * 60);
/// The longest wait of a newcomer before it says that it is there.
const GREETING_MS: u64 = 1_000;

/// The longest that another's greeting puts off one's own.
const MOST_PUT_OFF: Duration = Duration::from_secs(10);

/// A newcomer's first moments.
#[derive(Debug, Default)]
pub(super) struct Joining {
    /// Content put aside, the first heard first; each waits for itself.
    held: Vec<LogKey>,
    /// When the first of them makes the beginning.
    until: Option<RunningTime>,
    /// When a newcomer says that it is there.
    greet: Option<RunningTime>,
    /// Another newcomer was heard first.
    put_off: bool,
}

/// How a message of others came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// With a filter, or relayed: from its sender.
    pub(super) live: bool,
    /// Of the last minute.
    pub(super) new: bool,
    /// This participant had asked for it.
    pub(super) asked: bool,
}

/// What a message is to a participant that may have joined late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The beginning: shown without its dependencies, which are history.
    First,
    /// What lowers the horizon: shown without its dependencies, which may be news.
    Lower,
    News,
    History,
    /// Nothing yet.
    Held,
}

impl Channel {
    /// Whether nothing was sent, delivered or loaded yet. Who founds a channel with [`Join::Backfill`] of everything has no
    /// beginning: all counts.
    pub(super) fn is_newcomer(&self) -> bool {
        self.begins_here() && self.log.len() == 0
    }

    /// Whether the first content heard sets the horizon.
    pub(super) fn begins_here(&self) -> bool {
        self.config.join != Join::Backfill(u64::MAX)
            && self.meta.horizon.is_none()
            && self.meta.next_delivery == 1
            && self.meta.floor.is_none()
            && self.incoming.len() == self.joining.held.len()
    }

    /// A newcomer says that it is there a moment after its opening.
    pub(super) fn prepare_to_join(&mut self) {
        if self.is_newcomer() {
            self.greet();
        }
    }

    /// A newcomer says soon that it is there, so that others tell it what there is.
    pub(super) fn greet(&mut self) {
        let wait = Duration::from_millis(self.now.random() % GREETING_MS);
        self.joining.greet = Some(self.now.running.after(wait));
    }

    /// Another newcomer greets, and what it is answered serves this one too: it greets later, if it hears nothing. Once, so
    /// that nobody is kept silent.
    pub(super) fn put_greeting_off(&mut self) {
        if let Some(greet) = &mut self.joining.greet
            && !self.joining.put_off
        {
            self.joining.put_off = true;
            *greet = greet.after(self.answers.waits().t_max.min(MOST_PUT_OFF));
        }
    }

    /// When a newcomer has something to do.
    pub(super) fn next_joining(&self) -> Option<RunningTime> {
        [self.joining.until, self.joining.greet].into_iter().flatten().min()
    }

    /// What a newcomer does when its time has come.
    pub(super) fn join_in_time(&mut self) {
        let now = self.now.running;
        if self.joining.greet.take_if(|at| *at <= now).is_some() && self.is_newcomer() {
            self.send_sync();
        }
        if self.joining.until.take_if(|until| *until <= now).is_none() {
            return;
        }
        if let Some(first) = self.joining.held.first().cloned()
            && let Some(parked) = self.take_held(&first)
        {
            let way = Way { live: false, new: false, asked: true };
            let part = self.part_of(&first, way);
            self.admit(parked, part, way);
        }
        self.release_held();
        self.settle();
    }

    /// Whether content is so new that it makes a beginning, whoever it was sent for. Who has received nothing yet has no
    /// filter to send.
    pub(super) fn is_new(&self, lamport: Lamport) -> bool {
        lamport.0 >= self.now.wall.as_millis().saturating_sub(millis(NEW))
    }

    /// What a message taken in is, and what it means for the horizon.
    pub(super) fn part_of(&mut self, key: &LogKey, way: Way) -> Part {
        match self.meta.horizon {
            None if !self.begins_here() => Part::News,
            None if self.log.len() > 0 => {
                // It has sent something: what follows that counts, whatever clocks say.
                let own = self.log.oldest().map_or(key.lamport, |own| own.lamport);
                self.set_horizon(own.min(key.lamport), key);
                Part::News
            }
            None if way.live || way.new || way.asked => {
                self.set_horizon(key.lamport, key);
                Part::First
            }
            None => Part::Held,
            Some(horizon) if key.lamport > horizon => Part::News,
            Some(_) if way.live && self.is_settling() => {
                self.meta.horizon = Some(just_below(key.lamport));
                Part::Lower
            }
            Some(_) => Part::History,
        }
    }

    fn set_horizon(&mut self, lamport: Lamport, first: &LogKey) {
        self.meta.horizon = Some(just_below(lamport));
        self.meta.joined_at_age_ms = Some(self.meta.age_ms);
        (self.joining.until, self.joining.greet) = (None, None);
        self.effects.tell(Event::Joined { first: first.id.clone(), history: self.meta.backfill_left });
    }

    /// What is sent from now on, here and in answer, lies above this time, and counts.
    pub(super) fn lower_horizon(&mut self, to: Lamport) {
        self.meta.horizon = self.meta.horizon.map(|horizon| horizon.min(to));
    }

    fn is_settling(&self) -> bool {
        let settled = |at: u64| self.meta.age_ms.saturating_sub(at) >= millis(SETTLING);
        self.meta.joined_at_age_ms.is_some_and(|at| !settled(at))
    }

    /// Whether a message at this place is history.
    pub(super) fn is_history(&self, key: &LogKey) -> bool {
        self.meta.horizon.is_some_and(|horizon| key.lamport <= horizon)
    }

    /// Whether news waits for history, as [`Join::Backfill`] has it.
    pub(super) fn news_waits_for_history(&self) -> bool {
        matches!(self.config.join, Join::Backfill(_))
    }

    /// Puts content aside that may be an answer to somebody far behind.
    pub(super) fn hold(&mut self, parked: Parked) -> Fate {
        let key = parked.body.key.clone();
        self.joining.until.get_or_insert(self.now.running.after(HOLD));
        self.joining.held.push(key.clone());
        self.keep_parked(parked, [key.id.clone()].into());
        let max = &self.config.limits;
        self.enforce_parked(max.max_parked, max.max_parked_bytes);
        self.joining.held.retain(|held| self.incoming.get(held).is_some());
        if self.joining.held.is_empty() {
            self.joining.until = None;
        }
        if self.incoming.get(&key).is_some() { Fate::Parked { missing: Vec::new() } } else { Fate::GaveWay }
    }

    /// What is parked where nothing has begun was put aside before a restart.
    pub(super) fn hold_again(&mut self, parked: BTreeMap<LogKey, Parked>) {
        let mut rows: Vec<Parked> = parked.into_values().collect();
        rows.sort_by_key(|row| row.parked_at_age_ms);
        if let Some(first) = rows.first() {
            let waited = Duration::from_millis(self.meta.age_ms.saturating_sub(first.parked_at_age_ms));
            self.joining.until = Some(self.now.running.after(HOLD.saturating_sub(waited)));
        }
        for row in rows {
            let key = row.body.key.clone();
            let expiry = self.loss_age(row.parked_at_age_ms);
            self.incoming.park(row, [key.id.clone()].into(), expiry);
            self.joining.held.push(key);
        }
    }

    /// What was put aside finds its place, now that there is a beginning.
    pub(super) fn release_held(&mut self) {
        let mut held = std::mem::take(&mut self.joining.held);
        held.sort();
        for key in held {
            if let Some(parked) = self.take_held(&key) {
                let way = Way { live: false, new: false, asked: false };
                let part = self.part_of(&key, way);
                self.admit(parked, part, way);
            }
        }
    }

    fn take_held(&mut self, key: &LogKey) -> Option<Parked> {
        self.joining.held.retain(|held| held != key);
        let waiting = self.incoming.remove(key)?;
        self.known.forget(&key.id);
        Some(waiting.parked)
    }

    /// Of what history misses, what the budget has room for: to be asked for. What the beginning names is history; what
    /// history names is only said to be, perhaps by somebody who wants news to go ahead without it.
    pub(super) fn spend_on_history(&mut self, missing: Vec<HistoryEntry>, part: Part) -> Vec<HistoryEntry> {
        let mut wanted = Vec::new();
        for entry in missing {
            let asked = self.requests.get(&entry.id).is_some();
            if part == Part::First {
                self.note_history(&entry.id);
            }
            if asked || self.meta.backfill_left > 0 {
                self.meta.backfill_left -= u64::from(!asked);
                wanted.push(entry);
            }
        }
        wanted
    }

    /// History that nobody asked for costs as much as what was.
    pub(super) fn spend_on_arrival(&mut self, way: Way) {
        if !way.asked {
            self.meta.backfill_left = self.meta.backfill_left.saturating_sub(1);
        }
    }

    /// News waits for this one no longer.
    fn note_history(&mut self, id: &MessageId) {
        if self.marks.get(id) != Some(MarkKind::History) {
            self.put_mark(id, MarkKind::History);
        }
        self.strike_for_news(id);
    }

    /// History that is not asked for is not waited for, by history or by news that would wait for it.
    pub(super) fn stop_waiting_for_history(&mut self, id: &MessageId) {
        if self.requests.get(id).is_some() {
            return;
        }
        let all = self.marks.get(id) == Some(MarkKind::History);
        self.strike_where(id, |channel, key| all || channel.is_history(key));
    }

    /// News does not wait for what has turned out to be history.
    pub(super) fn strike_for_news(&mut self, id: &MessageId) {
        if !self.news_waits_for_history() {
            self.strike_where(id, |channel, key| !channel.is_history(key));
        }
    }

    /// Some of those that wait for this one wait for it no longer.
    fn strike_where(&mut self, id: &MessageId, which: impl Fn(&Self, &LogKey) -> bool) {
        let waiters: Vec<LogKey> = self.incoming.waiters(id).filter(|key| which(self, key)).cloned().collect();
        waiters.iter().for_each(|key| self.incoming.met_for(key, id));
    }

    /// A newcomer that hears a sync message asks for the newest message it names, at once.
    pub(super) fn ask_for_newest(&mut self, named: &[HistoryEntry], namer: &ParticipantId) {
        let first = if self.config.dialect.names_newest_last() { named.last() } else { named.first() };
        let Some(newest) = first.filter(|entry| self.is_missing(&entry.id)).cloned() else { return };
        // One at a time: another answer to the same greeting names the same, or what that one leads to.
        if self.requests.len() > 0 {
            return;
        }
        let age = self.meta.age_ms;
        self.ask_for(std::slice::from_ref(&newest), age, namer);
        self.ask_now(&newest.id);
    }
}

impl Join {
    /// Older messages that are fetched.
    pub(super) fn budget(self) -> u64 {
        match self {
            Self::FromNow => 0,
            Self::Recent(messages) | Self::Backfill(messages) => messages,
        }
    }
}

fn just_below(lamport: Lamport) -> Lamport {
    Lamport(lamport.0.saturating_sub(1))
}
