//! What happens because time passes (docs/protocol.md sections 8, 9 and 10): losses, retention by age, repair answers,
//! resends, sync messages; and when to come back.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::state::{Body, LogKey, MarkKind};
use crate::types::{FilterField, MessageId, RunningTime, millis};

use super::known::Standing;
use super::{Channel, Event, TransmitKind, outgoing, repair};

/// Resends in one step; the rest follows after [`BATCH_PAUSE`], so that waking up is no burst.
const RESEND_BATCH: usize = 16;
/// Losses in one step, for the same reason.
const LOSS_BATCH: usize = 1_000;
const BATCH_PAUSE: Duration = Duration::from_millis(50);
/// Waiting messages, and what they name, looked at in one step for whether it is asked for.
const REFILL_BATCH: usize = 500;

/// Looking for missing messages that nobody is asked for: one pass over all that is awaited, in parts.
#[derive(Debug, Default)]
pub(super) struct Refill {
    /// When to go on.
    pub(super) at: Option<RunningTime>,
    /// After which waiting message; from the first one where this is `None`.
    after: Option<LogKey>,
    /// Another pass is needed.
    again: bool,
}

impl Channel {
    pub(super) fn timeout(&mut self) {
        self.slice.go_on();
        self.join_in_time();
        self.end_waits();
        self.lose_dependencies();
        // First what waits for nothing any more: to wait for such a message is no cycle.
        self.settle();
        self.tell_gap();
        self.break_cycles();
        self.refill_requests();
        if let Some(age) = self.config.max_log_age {
            self.evict_older(self.now.wall.as_millis().saturating_sub(millis(age)));
        }
        self.erase_expired();
        self.answer();
        self.send_batch();
        self.catch_up_in_time();
        self.resend();
        // What was answered or given up need not be kept any more: a digest does not speak of it.
        self.retain();
        if self.config.dialect.has_sync() {
            let (now, requests) = (self.now.running, self.next_request());
            if self.member_digest_is_due() {
                self.send_sync();
                self.put_member_digest_off();
            } else if self.laggards.is_due(now) {
                self.answer_laggard();
            } else if self.sync.due(now, requests) {
                self.send_sync();
            }
            let random = self.now.random();
            self.sync.turn(&self.config, self.now.running, random);
        }
        self.members_in_time();
        self.effects.released.clear();
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.rest(self.now.running);
        }
    }

    /// When to come back with [`Input::Timeout`](super::Input::Timeout): later than the last timeout, which did all
    /// that was due. `None` when nothing will be due: in the nim-sds dialect alone, others keep their sync schedule.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<RunningTime> {
        let resend = self.outgoing.next_due().map(|due| due.max(self.resends_allowed));
        let response = self.responses.next_due().map(|due| due.max(self.pace.opens_at()));
        let batch = self.batches.next_due().map(|due| due.max(self.pace.opens_at()));
        let cycle = self.incoming.next_expiry().map(|(age, _)| self.at_age(*age).max(self.cycles_allowed));
        let (loss, wait) = (self.next_loss(), self.next_wait_end());
        let sync = self.config.dialect.has_sync().then(|| self.sync.next_due(self.next_request()));
        let eviction = self.config.max_log_age.and_then(|age| self.next_eviction(age));
        [
            resend,
            response,
            batch,
            cycle,
            loss,
            wait,
            sync,
            self.laggards.next_due(),
            eviction,
            self.next_expired(),
            self.refill.at,
            self.next_joining(),
            self.next_catch_up(),
            self.next_of_members(),
            self.slice.next_due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The running time at which the channel has this age, or the longest pause that counts, whichever comes first.
    pub(super) fn at_age(&self, age: u64) -> RunningTime {
        let wait = Duration::from_millis(age.saturating_sub(self.meta.age_ms));
        self.now.running.after(wait.min(self.longest_pause()))
    }

    fn next_loss(&self) -> Option<RunningTime> {
        // An entry that is old enough but was not asked for often enough waits for its next request.
        let oldest = self.requests.missed_since(u64::MAX).next()?;
        let due = self.at_age(oldest.request.since_age_ms.saturating_add(millis(self.config.lost_timeout)));
        Some(due.max(self.losses_checked.after(self.config.t_min.max(Duration::from_secs(1)))))
    }

    fn next_eviction(&self, age: Duration) -> Option<RunningTime> {
        let seen = self.log.iter().next()?.seen.as_millis();
        let wait = seen.saturating_add(millis(age)).saturating_sub(self.now.wall.as_millis());
        Some(self.now.running.after(Duration::from_millis(wait.max(1_000))))
    }

    /// Gives up what was missed for too long and asked for often enough (docs/protocol.md section 10, "Lost").
    fn lose_dependencies(&mut self) {
        self.losses_checked = self.now.running;
        let Some(age) = self.meta.age_ms.checked_sub(millis(self.config.lost_timeout)) else { return };
        let fair = repair::time_before_loss(&self.config);
        let lost: Vec<MessageId> = self
            .requests
            .missed_since(age)
            .filter(|missing| missing.times_asked() >= repair::REQUESTS_BEFORE_LOSS)
            .map(|missing| &missing.request)
            .filter(|request| request.named_at_age_ms.saturating_add(fair) <= self.meta.age_ms)
            .take(LOSS_BATCH)
            .map(|request| request.entry.id.clone())
            .collect();
        for id in lost {
            if !self.slice.is_open() {
                return self.slice.leave(self.now.running);
            }
            if self.marks.get(&id) != Some(MarkKind::Overdue) {
                self.gap.lost();
            }
            self.set_mark(&id, MarkKind::Lost);
            self.stats.lost += 1;
            self.effects.tell(Event::DependencyLost { id });
        }
    }

    /// Asks for missing messages that found no place in the repair buffer before, a part of them at a time.
    fn refill_requests(&mut self) {
        if self.refill.at.is_none_or(|at| at > self.now.running) {
            return;
        }
        let after = self.refill.after.take();
        let again = self.refill.again && after.is_some();
        self.refill = Refill { at: None, after: None, again };
        let (mut looked_at, mut seen, mut unasked) = (0, BTreeSet::new(), Vec::new());
        for (key, waiting) in self.incoming.after(after.as_ref()) {
            if looked_at >= REFILL_BATCH {
                break;
            }
            let body = &waiting.parked.body;
            looked_at += 1 + body.causal_history.len();
            self.refill.after = Some(key.clone());
            for entry in body.causal_history.iter().filter(|entry| waiting.unmet.contains(&entry.id)) {
                let missing = self.known.standing(&entry.id) == Standing::Unknown;
                if seen.insert(&entry.id) && missing && self.requests.get(&entry.id).is_none() {
                    unasked.push((entry.clone(), waiting.parked.parked_at_age_ms, body.sender.clone()));
                }
            }
        }
        if looked_at < REFILL_BATCH {
            self.refill.after = None;
        }
        for (entry, since, namer) in unasked {
            let full = self.requests.len() >= self.config.limits.max_repair_entries;
            if full && !self.requests.shares().may_displace(&Some(namer.clone())) {
                self.refill_later();
            } else {
                self.ask_for(&[entry], since, &namer);
            }
        }
        self.settle();
        if self.refill.after.is_some() {
            self.refill.at = Some(self.now.running.after(BATCH_PAUSE));
        } else if self.refill.again {
            self.refill_later();
        }
    }

    /// Some missing message found no place among the requests, or lost it.
    pub(super) fn refill_later(&mut self) {
        self.refill.again = true;
        let at = self.now.running.after(self.config.t_max.max(Duration::from_secs(1)));
        self.refill.at.get_or_insert(at);
    }

    /// Rebroadcasts what others asked for and nobody has answered, at a bounded rate.
    fn answer(&mut self) {
        while let Some(id) = self.responses.due(self.now.running) {
            if !self.pace.is_open(self.now.running) {
                return;
            }
            let Some(logged) = self.known.key(&id).and_then(|key| self.log.get(&key)) else {
                self.end_response(&id);
                continue;
            };
            let body = logged.body.clone();
            self.queue_batch(&id, &body.key);
            self.end_response(&id);
            self.rebroadcast(&body);
        }
    }

    /// Transmits a logged message for others who lack it.
    pub(super) fn rebroadcast(&mut self, body: &Body) {
        let Some(message) = self.copy_of(body) else { return };
        debug_assert_eq!(message.filter, FilterField::Absent);
        self.pace.spend(message.encoded_len(self.config.dialect));
        let id = body.key.id.clone();
        self.take_into_filter(&id);
        self.stats.answered += 1;
        self.effects.transmit(TransmitKind::Repair, message);
        self.effects.tell(Event::RepairAnswered { id });
    }

    /// Sends again what nobody acknowledged, and gives up what was sent often enough (docs/protocol.md section 8).
    fn resend(&mut self) {
        if self.now.running < self.resends_allowed {
            return;
        }
        for _ in 0..RESEND_BATCH {
            let Some(key) = self.outgoing.due(self.now.running) else { return };
            let attempts = self.outgoing.get(&key).map_or(0, |open| open.entry.attempts);
            if attempts >= self.config.max_resend_attempts {
                self.give_up_sending(&key);
                continue;
            }
            let Some(body) = self.log.get(&key).map(|logged| logged.body.clone()) else {
                self.outgoing.remove(&key);
                continue;
            };
            let message = self.resend_message(&body);
            self.stats.resends += 1;
            let random = self.now.random();
            if self.company.is_small(self.now.running, self.config.acknowledgement_window) {
                // It names nothing new, and its filter does not suffice.
                self.sync.traffic(false, &self.config, self.now.running, random);
            } else {
                self.sync.sent(false, &self.config, self.now.running, random);
            }
            self.effects.transmit(TransmitKind::Resend, message);
            self.schedule_resend(&key);
        }
        self.resends_allowed = self.now.running.after(BATCH_PAUSE);
    }

    fn schedule_resend(&mut self, key: &LogKey) {
        let (running, wall) = (self.now.running, self.now.wall.as_millis());
        self.outgoing.reschedule(key, true, running, wall, Duration::ZERO);
        if let Some(open) = self.outgoing.get(key) {
            let wait = outgoing::wait(&self.config, &self.participant, open, self.now.wall);
            self.outgoing.reschedule(key, false, running, wall, wait);
        }
        self.save_outgoing(key);
    }

    /// The message stays in the log for repair, and is still listened for (docs/protocol.md section 8).
    pub(super) fn give_up_sending(&mut self, key: &LogKey) {
        let possibly = self.outgoing.get(key).is_some_and(|open| !open.evidence.is_empty());
        let Some(entry) = self.outgoing.fail(key, self.meta.filters_heard) else { return };
        let (id, uncertain) = (key.id.clone(), entry.uncertain);
        self.stats.failed += u64::from(uncertain.is_none());
        self.log.unpin(key);
        self.save_outgoing(key);
        self.effects.tell(match uncertain {
            Some(chance) => Event::DeliveryUncertain { id, chance },
            None => Event::DeliveryFailed { id, possibly },
        });
    }
}
