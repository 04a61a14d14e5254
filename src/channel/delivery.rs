//! Delivery, in causal order, and what leaves the log to make room (docs/protocol.md sections 5, 6 and 10;
//! LIP-109 "Deliver Message").
//!
//! How it moves: [`Channel::deliver`] hands one message out and strikes it off for those who wait; [`Channel::settle`]
//! repeats that with the lowest ready message until none is ready; [`Channel::retain`] then evicts.

use std::collections::BTreeSet;

use crate::state::{LogKey, Logged, Mark, MarkKind, Parked, Place, Row, RowKey, Stub};
use crate::types::MessageId;

use super::known::Standing;
use super::{Channel, Delivery, Event, Limit, Position, slice};

/// Evicted messages remembered, as a multiple of the log's length.
const STUBS_PER_MESSAGE: usize = 10;
/// Segments kept, as a multiple of the log's length.
const SEGMENTS_PER_MESSAGE: usize = 16;
/// What the set of catch-up takes for a message, in bytes.
const SET_BYTES: usize = 200;

/// Why a message leaves the log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    LengthOrAge,
    Bytes,
}

impl Channel {
    /// Delivers what waits for nothing, lowest first, and what becomes ready by it, as far as this step may.
    pub(super) fn settle(&mut self) {
        while self.slice.is_open()
            && let Some(waiting) = self.incoming.pop_ready()
        {
            self.deliver(waiting.parked);
        }
        if self.incoming.is_ready() {
            self.slice.leave(self.now.running);
        }
    }

    /// Hands a message to the application and puts it into the log.
    pub(super) fn deliver(&mut self, parked: Parked) {
        let Parked { body, seen, .. } = parked;
        let key = body.key.clone();
        if !self.is_own(&body.sender) {
            self.meta.highest_received = self.meta.highest_received.max(key.lamport);
        }
        self.meta.lamport = self.meta.lamport.max(key.lamport);
        // What was erased is not told.
        let number = (!body.is_erased()).then(|| self.next_number());
        let below_floor = self.meta.floor.as_ref().is_some_and(|floor| key <= *floor);
        let marked = self.marks.get(&key.id).is_some_and(|kind| kind != MarkKind::History);
        self.marks_forget(&key.id);
        let late = below_floor || marked || self.log.newest().is_some_and(|newest| key < *newest);
        let missing = self.lost_dependencies(&body);
        if !missing.is_empty() {
            self.gap.shown(&key);
        }
        let history = self.is_history(&key);
        let position = match self.log.successor(&key) {
            _ if below_floor => Position::BelowFloor,
            None => Position::Newest,
            Some(successor) => Position::Before(successor.clone()),
        };
        let from_member = self.is_member(&body.sender);
        let below_stable = self.stable_up_to() >= Some(key.lamport);
        if below_stable && self.members.as_ref().is_some_and(|members| members.vouched(&key, &body.sender)) {
            self.effects.tell(Event::StabilityBroken { id: key.id.clone(), sender: body.sender.clone() });
        }
        let logged = Logged {
            body: body.clone(),
            delivery: number,
            seen,
            late,
            below_floor,
            missing: missing.clone(),
            below_stable,
        };
        self.keep(logged);
        let (named, met) = (body.causal_history.len() as u64, self.incoming.met(&key.id) as u64);
        self.slice.spend(slice::DELIVERY + named + met);
        self.stats.work += 1 + met;
        let Some(number) = number else { return };
        self.stats.delivered += 1;
        self.effects.released.push(key.id);
        let incarnation = self.incarnations.of(number);
        self.effects.tell(Event::MessageDelivered(Delivery {
            number,
            incarnation,
            body,
            position,
            late,
            missing,
            history,
            from_member,
            below_stable,
        }));
    }

    /// Keeps a delivered message: in the log, or below the floor as long as the application may need it again.
    fn keep(&mut self, logged: Logged) {
        let key = logged.body.key.clone();
        let untold = logged.delivery.filter(|_| self.config.confirm_deliveries);
        if logged.below_floor {
            self.known.set(&key, Standing::Delivered);
            if untold.is_none() {
                return self.leave_stub(&logged);
            }
        }
        self.effects.put(Row::Message(logged.clone()));
        if logged.below_floor {
            self.archive_body(&logged.body);
            self.late.insert(key.clone(), logged);
        } else {
            self.log.insert(logged, &mut self.known);
            self.note_expiring(&key);
            self.note_logged(&key, false);
            self.keep_in_archive(&key);
        }
        if let Some(number) = untold {
            self.keep_unconfirmed(number, key);
            self.enforce_unconfirmed(self.config.limits.max_unconfirmed_bytes);
        }
    }

    /// Evicts what is over the limits, lowest first; what is freed by a rising floor is delivered.
    pub(super) fn retain(&mut self) {
        let (len, bytes) = (self.config.max_message_history, self.config.max_log_bytes);
        let file_bytes = self.config.max_file_bytes.unwrap_or(usize::MAX);
        let segments = len.saturating_mul(SEGMENTS_PER_MESSAGE);
        self.evict_while(|channel| {
            let unpinned = channel.log.unpinned();
            let long = unpinned.messages > len || unpinned.segments > segments;
            let large = unpinned.bytes > bytes || unpinned.file_bytes > file_bytes;
            long.then_some(Cause::LengthOrAge).or(large.then_some(Cause::Bytes))
        });
        self.drop_stubs();
    }

    /// Gives up log and parked bytes beyond these.
    pub(super) fn shrink(&mut self, log_bytes: usize, parked_bytes: usize) {
        self.enforce_parked(usize::MAX, parked_bytes);
        self.enforce_unconfirmed(log_bytes);
        self.forget_stubs(log_bytes);
        self.evict_while(|channel| {
            let over = channel.log.bytes().saturating_add(channel.set_bytes()) > log_bytes;
            (over && channel.log.candidate().as_ref() != channel.log.newest()).then_some(Cause::Bytes)
        });
        self.forget_stubs(log_bytes);
        self.retain();
    }

    /// Evicts messages received before this wall time in milliseconds, lowest first.
    pub(super) fn evict_older(&mut self, before_ms: u64) {
        self.evict_while(|channel| {
            let old = channel.lowest_seen().is_some_and(|seen| seen < before_ms);
            old.then_some(Cause::LengthOrAge)
        });
        self.drop_stubs();
    }

    /// When the message that would be evicted next was received, in milliseconds of wall time.
    pub(super) fn lowest_seen(&mut self) -> Option<u64> {
        let key = self.log.candidate()?;
        self.log.get(&key).map(|logged| logged.seen.as_millis())
    }

    /// Everything below this key is old: below the floor or the horizon, whichever is higher.
    pub(super) fn old_up_to(&self) -> Option<LogKey> {
        self.meta.floor.clone().max(self.meta.horizon.map(LogKey::first_above))
    }

    /// Parked messages above `before` and up to `bound`, which have become old, wait no longer for what was never received:
    /// some may be ready.
    pub(super) fn release_old(&mut self, before: Option<&LogKey>, bound: &LogKey) {
        let mut freed = Vec::new();
        for (key, waiting) in self.incoming.between(before, bound) {
            self.stats.work += 1 + waiting.unmet.len() as u64;
            self.slice.spend(1 + waiting.unmet.len() as u64);
            for id in waiting.unmet.iter().filter(|id| self.known.standing(id) == Standing::Unknown) {
                freed.push((key.clone(), id.clone()));
            }
        }
        for (key, id) in &freed {
            self.incoming.met_for(key, id);
        }
        self.drop_unwanted(freed.iter().map(|(_, id)| id));
    }

    /// Gives a dependency up, or takes the application's word for it: who waits for it, waits no longer.
    pub(super) fn set_mark(&mut self, id: &MessageId, kind: MarkKind) {
        self.arrived(id);
        self.put_mark(id, kind);
        let met = self.incoming.met(id) as u64;
        self.slice.spend(1 + met);
        self.stats.work += met;
    }

    /// Remembers what an id that was not delivered is. What was withdrawn or erased stays that.
    pub(super) fn put_mark(&mut self, id: &MessageId, kind: MarkKind) {
        if self.is_taken_out(id) {
            return;
        }
        let mark = Mark { id: id.clone(), kind, sequence: self.meta.marks_set };
        self.meta.marks_set += 1;
        self.marks.insert(&mark);
        self.effects.put(Row::Mark(mark));
        self.drop_marks();
    }

    /// Forgets the oldest marks beyond the limit.
    pub(super) fn drop_marks(&mut self) {
        while self.marks.len() > self.config.limits.max_marks {
            let Some(oldest) = self.marks.drop_oldest() else { break };
            self.effects.delete(RowKey::by_id(Place::Mark, &oldest));
            self.effects.limit(Limit::Marks, Some(oldest), None);
        }
    }

    /// A marked message came after all. What was erased stays that.
    pub(super) fn marks_forget(&mut self, id: &MessageId) -> bool {
        let marked = !self.is_erased(id) && self.marks.remove(id);
        if marked {
            self.effects.delete(RowKey::by_id(Place::Mark, id));
        }
        marked
    }

    fn lost_dependencies(&self, body: &crate::state::Body) -> Vec<MessageId> {
        if self.marks.len() == 0 {
            return Vec::new();
        }
        let lost: BTreeSet<&MessageId> = super::log::references(body)
            .filter(|id| matches!(self.marks.get(id), Some(MarkKind::Lost | MarkKind::Overdue)))
            .collect();
        lost.into_iter().cloned().collect()
    }

    /// Evicts the lowest as long as there is a cause. Where it is bytes, that is told once: a few large messages push a whole
    /// conversation out.
    fn evict_while(&mut self, mut cause: impl FnMut(&mut Self) -> Option<Cause>) {
        let mut for_bytes = None;
        while let Some(cause) = cause(self) {
            let Some(key) = self.log.candidate() else { break };
            if !self.release_below(&key) {
                break;
            }
            let Some(logged) = self.log.remove(&key, &mut self.known) else { break };
            if cause == Cause::Bytes {
                for_bytes = for_bytes.max(Some(key.clone()));
            }
            self.stats.work += 1;
            if self.outgoing.remove(&key).is_some() {
                self.effects.delete(RowKey::outgoing(&key));
                self.archive_body(&logged.body);
            }
            let before = self.meta.floor.take();
            if before.as_ref() < Some(&key) {
                self.meta.floor = Some(key.clone());
                self.leave_stub(&logged);
                if self.incoming.len() > 0 {
                    self.release_old(before.as_ref(), &key);
                    self.settle();
                }
            } else {
                self.meta.floor = before;
                self.leave_stub(&logged);
            }
        }
        if let Some(highest) = for_bytes {
            self.effects.limit(Limit::LogBytes, Some(highest.id), None);
        }
    }

    /// Raises the floor over the parked messages below this one, which is about to leave the log: first what has become
    /// old by it, one after the other, so that a step may end between them. Says whether it came to the end.
    fn release_below(&mut self, key: &LogKey) -> bool {
        loop {
            let floor = self.meta.floor.clone();
            if floor.as_ref() >= Some(key) {
                return true;
            }
            let next = self.incoming.between(floor.as_ref(), key).next().map(|(next, _)| next.clone());
            let Some(next) = next else { return true };
            if !self.slice.is_open() {
                self.slice.leave(self.now.running);
                return false;
            }
            self.meta.floor = Some(next.clone());
            self.release_old(floor.as_ref(), &next);
        }
    }

    /// Remembers that a message was delivered, which it is known to be.
    pub(super) fn leave_stub(&mut self, logged: &Logged) {
        let stub = Stub { key: logged.body.key.clone(), sender: logged.body.sender.clone() };
        self.log.add_stub(&stub);
        self.effects.put(Row::Stub(stub));
    }

    fn drop_stubs(&mut self) {
        let max = self.config.max_message_history.saturating_mul(STUBS_PER_MESSAGE);
        while self.log.stubs_len() > max {
            if self.drop_stub().is_none() {
                break;
            }
        }
    }

    /// Forgets what left the log, lowest first, while log and what is remembered besides it exceed so many bytes. That is
    /// told once: from then on such messages are too old instead of known.
    fn forget_stubs(&mut self, log_bytes: usize) {
        let mut highest = None;
        while self.log.bytes().saturating_add(self.remembered_bytes()) > log_bytes {
            let Some(key) = self.drop_stub() else { break };
            highest = Some(key);
        }
        if let Some(highest) = highest {
            self.effects.limit(Limit::Stubs, Some(highest.id), None);
        }
    }

    fn drop_stub(&mut self) -> Option<LogKey> {
        let key = self.log.drop_stub()?;
        self.known.forget(&key.id);
        self.hints.remove(&key.id);
        self.effects.delete(RowKey::body(&key));
        self.meta.stub_floor = self.meta.stub_floor.take().max(Some(key.clone()));
        Some(key)
    }

    /// Bytes of what is kept besides log and parked messages.
    pub(super) fn remembered_bytes(&self) -> usize {
        self.log.stub_bytes() + self.hints.bytes() + self.unconfirmed.late_bytes() + self.set_bytes()
    }

    /// Bytes of the log's part of the set of catch-up.
    fn set_bytes(&self) -> usize {
        self.catch_up.as_ref().map_or(0, |catch_up| catch_up.set_len()).min(self.log.len()).saturating_mul(SET_BYTES)
    }
}
