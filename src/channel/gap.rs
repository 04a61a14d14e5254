//! Messages that waited long enough (docs/protocol.md section 10, "Overdue").
//!
//! What they wait for is marked as overdue: they go ahead without it, and it is still asked for. What is missing is told
//! once for all that go ahead together.

use std::time::Duration;

use crate::state::{LogKey, MarkKind};
use crate::types::{HistoryEntry, MessageId, RunningTime, millis};

use super::repair::Missing;
use super::waits::Waits;
use super::{Channel, Event, repair, slice};

/// Requests for a missing message before nobody waits for it any more.
const REQUESTS_BEFORE_OVERDUE: u32 = 6;
/// Between looks at what is waited for.
const LOOK_PAUSE: Duration = Duration::from_secs(2);
/// While missing messages come in, those that wait for them have reason to: no gap is told so long after one came.
const PROGRESS: Duration = Duration::from_secs(5);
/// What is overdue is asked for after so many T_max, or up to twice as many.
const PATIENCE: u32 = 4;
/// So long after a sync message named it, what is overdue is asked for as often as what is not.
const HOLDER_SPEAKS: Duration = Duration::from_secs(4 * 60);
/// Missing messages that become overdue in one look.
const BATCH: usize = 1_000;

/// What is missing, and the last look at it.
#[derive(Debug)]
pub(super) struct Gap {
    next_look: RunningTime,
    /// When a missing message came in last.
    repaired: Option<RunningTime>,
    /// Messages overdue that were not told yet.
    missing: u64,
    /// The lowest message delivered without something.
    before: Option<LogKey>,
}

impl Gap {
    pub(super) fn new(now: RunningTime) -> Self {
        Self { next_look: now.after(LOOK_PAUSE), repaired: None, missing: 0, before: None }
    }

    /// A message that was asked for came in.
    pub(super) fn repaired(&mut self, now: RunningTime) {
        self.repaired = Some(now);
    }

    /// A message is given up that was not overdue before.
    pub(super) fn lost(&mut self) {
        self.missing += 1;
    }

    /// A message is delivered without something that it refers to.
    pub(super) fn shown(&mut self, key: &LogKey) {
        if self.before.as_ref().is_none_or(|before| key < before) {
            self.before = Some(key.clone());
        }
    }
}

impl Channel {
    /// Lets messages go ahead that waited for `wait_timeout`, or twice as long while missing ones come in.
    pub(super) fn end_waits(&mut self) {
        let now = self.now.running;
        if !self.incoming.is_ready() {
            self.gap.before = None;
        }
        if now < self.gap.next_look {
            return;
        }
        self.gap.next_look = now.after(LOOK_PAUSE);
        let progress = self.gap.repaired.is_some_and(|at| now.since(at) < PROGRESS);
        let wait = self.config.wait_timeout.saturating_mul(if progress { 2 } else { 1 });
        let Some(age) = self.meta.age_ms.checked_sub(millis(wait)) else { return };
        let heard = self.company.last_heard();
        let overdue: Vec<MessageId> = self
            .requests
            .awaited_since(age)
            .filter(|missing| missing.times_asked() >= REQUESTS_BEFORE_OVERDUE)
            .filter(|missing| missing.asked_thrice.is_some_and(|third| heard.is_some_and(|heard| heard > third)))
            .take(BATCH)
            .map(|missing| missing.request.entry.id.clone())
            .collect();
        for id in &overdue {
            if !self.slice.is_open() {
                self.gap.next_look = now.after(slice::PAUSE);
                return self.slice.leave(now);
            }
            self.go_ahead(id);
        }
    }

    /// Those who had these have them no more: what waits for them goes ahead, as if it had waited long enough.
    pub(super) fn go_ahead_without(&mut self, ids: &[MessageId]) {
        if self.config.wait_timeout == Duration::MAX {
            return;
        }
        for id in ids {
            let awaited = self.requests.get(id).is_some_and(|missing| !missing.overdue);
            if awaited && self.is_missing(id) {
                self.go_ahead(id);
            }
        }
        self.settle();
        self.tell_gap();
    }

    fn go_ahead(&mut self, id: &MessageId) {
        self.gap.missing += 1;
        self.requests.change(id, |missing| missing.overdue = true);
        self.put_mark(id, MarkKind::Overdue);
        let met = self.incoming.met(id) as u64;
        self.slice.spend(1 + met);
    }

    /// Tells what is missing, if something went ahead without since the waits ended.
    pub(super) fn tell_gap(&mut self) {
        if !self.incoming.is_ready()
            && let Some(before) = self.gap.before.take()
        {
            let missing = std::mem::take(&mut self.gap.missing);
            let after = self.log.predecessor(&before).cloned();
            self.effects.tell(Event::HistoryGap { missing, after, before });
        }
    }

    /// When the wait of some message may end.
    pub(super) fn next_wait_end(&self) -> Option<RunningTime> {
        let oldest = self.requests.awaited_since(u64::MAX).next()?;
        let due = self.at_age(oldest.request.since_age_ms.saturating_add(millis(self.config.wait_timeout)));
        Some(due.max(self.gap.next_look))
    }

    /// Whoever names a message in a sync message has it, and can be heard: for a while it is asked for as often as if it were not
    /// overdue, and for the first time after T_req.
    pub(super) fn somebody_has(&mut self, named: &[HistoryEntry]) {
        let now = self.now.running;
        for entry in named {
            if self.requests.named_by_sync(&entry.id, now) {
                let wait = repair::request_wait(&self.config, self.answers.waits(), &self.participant, &entry.id);
                let due = now.after(wait);
                let wall = self.now.wall_at(due);
                self.requests.change(&entry.id, |missing| {
                    if due < missing.due {
                        (missing.due, missing.request.due) = (due, wall);
                    }
                });
            }
        }
    }

    /// The waits between requests for a missing message.
    pub(super) fn waits_for(&self, missing: &Missing) -> Waits {
        let now = self.now.running;
        if !missing.overdue || missing.named.is_some_and(|at| now.since(at) < HOLDER_SPEAKS) {
            return self.answers.waits();
        }
        let t_max = self.config.t_max;
        Waits { t_min: t_max, t_max: t_max.saturating_mul(PATIENCE) }
    }
}
