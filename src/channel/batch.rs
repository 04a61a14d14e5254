//! What a requester lacks besides what it asked for (docs/protocol.md section 10).
//!
//! A request's causal history shows where its sender stands, its filter what it holds. Who answers its first entry also
//! sends what lies between the two, lowest first, one at a time, so that whoever hears one of them need not send it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::filter::{IdHash, ReceivedFilter};
use crate::state::LogKey;
use crate::types::{Message, MessageId, RunningTime};

use super::Channel;
use super::known::Standing;

/// Answers for which it is remembered what else their requester lacks.
const MAX_REQUESTERS: usize = 16;
/// Messages that wait to be sent, for all requesters.
const MAX_QUEUE: usize = 256;
/// Messages looked at to find what a requester lacks.
const MAX_LOOKED_AT: usize = 1_024;
/// Messages of a requester looked at to find where it stands.
const MAX_STEPS: usize = 256;
/// The shortest pause between two of them.
const LEAST_PAUSE: Duration = Duration::from_millis(20);

/// What goes out besides what was asked for.
#[derive(Debug, Default)]
pub(super) struct Batches {
    /// By the message asked for, until it is answered.
    requesters: BTreeMap<MessageId, Requester>,
    /// What is to be sent, and since when.
    queue: BTreeMap<LogKey, RunningTime>,
    /// When the next may go out.
    next: RunningTime,
}

#[derive(Debug)]
struct Requester {
    /// The newest message that it shows to have delivered, of those known here.
    stands_at: Option<LogKey>,
    filter: ReceivedFilter,
}

impl Batches {
    /// Somebody answered it, or nobody can any more.
    pub(super) fn end(&mut self, id: &MessageId) {
        if !self.requesters.is_empty() {
            self.requesters.remove(id);
        }
    }

    pub(super) fn next_due(&self) -> Option<RunningTime> {
        (!self.queue.is_empty()).then_some(self.next)
    }
}

impl Channel {
    /// Remembers what a request shows of its sender, if this participant may answer its first entry.
    pub(super) fn remember_requester(&mut self, id: &MessageId, message: &Message) {
        let full = self.batches.requesters.len() >= MAX_REQUESTERS;
        if self.config.max_batch == 0 || full || self.batches.requesters.contains_key(id) {
            return;
        }
        let max = self.config.limits.max_filter_bytes;
        let own = message.filter.belongs_to(self.config.dialect);
        let filter = if own { ReceivedFilter::parse(&message.filter, max).ok().flatten() } else { None };
        let Some(filter) = filter else { return };
        let stands_at = self.newest_delivered_by(message);
        self.batches.requesters.insert(id.clone(), Requester { stands_at, filter });
    }

    /// The newest message of others that this message's sender shows to have delivered: behind its own messages.
    fn newest_delivered_by(&self, message: &Message) -> Option<LogKey> {
        let mut work: Vec<&MessageId> = message.causal_history.iter().map(|entry| &entry.id).collect();
        let (mut steps, mut newest) = (0, None);
        while let Some(id) = work.pop().filter(|_| steps < MAX_STEPS) {
            steps += 1;
            let Some(key) = self.known.key(id) else { continue };
            match self.log.get(&key) {
                Some(logged) if logged.body.sender == message.sender => {
                    work.extend(super::log::references(&logged.body));
                }
                // What is only parked here says nothing of what was delivered before it.
                None if self.known.standing(id) == Standing::Parked => {}
                _ => newest = newest.max(Some(key)),
            }
        }
        newest
    }

    /// This message was just answered: what else its requester lacks is to follow.
    pub(super) fn queue_batch(&mut self, id: &MessageId, answered: &LogKey) {
        let Some(Requester { stands_at, filter }) = self.batches.requesters.remove(id) else { return };
        let (max, now) = (self.config.max_batch, self.now.running);
        let (dialect, pause) = (self.config.dialect, self.answers.waits().t_min / 2);
        let has = |key: &LogKey| filter.chance(&IdHash::in_dialect(&key.id, dialect)).is_some();
        let mut lacking = Vec::new();
        let mut looked_at = 0;
        let mut take = |key: &LogKey| {
            looked_at += 1;
            let heard = self.filter.last_heard(&key.id).is_some_and(|heard| now.since(heard) < pause);
            if !heard && !has(key) {
                lacking.push(key.clone());
            }
            looked_at < MAX_LOOKED_AT && lacking.len() < max
        };
        match stands_at.as_ref().filter(|stands_at| *stands_at < answered) {
            Some(stands_at) => drop(self.log.between(Some(stands_at), answered).all(&mut take)),
            // It asks for what lies before anything it has shown. Who lacks one message of many needs no more than that.
            None => {
                let before = || self.log.between(None, answered).rev().take(max);
                let (all, here) = (before().count(), before().filter(|key| has(key)).count());
                if 2 * here < all {
                    before().all(&mut take);
                }
            }
        }
        self.stats.work += looked_at as u64;
        for key in lacking {
            if self.batches.queue.len() < MAX_QUEUE {
                self.batches.queue.entry(key).or_insert(now);
            }
        }
        self.batches.next = self.batches.next.max(now.after(self.batch_pause()));
    }

    /// Sends the next message of a batch whose time has come.
    pub(super) fn send_batch(&mut self) {
        let now = self.now.running;
        while self.batches.next <= now
            && self.pace.is_open(now)
            && let Some((key, since)) = self.batches.queue.pop_first()
        {
            let heard = self.filter.last_heard(&key.id).is_some_and(|heard| heard >= since);
            let Some(logged) = self.log.get(&key).filter(|_| !heard) else { continue };
            let body = logged.body.clone();
            self.end_response(&key.id);
            self.rebroadcast(&body);
            self.batches.next = now.after(self.batch_pause());
        }
    }

    fn batch_pause(&self) -> Duration {
        (self.answers.waits().t_min / 16).max(LEAST_PAUSE)
    }
}
