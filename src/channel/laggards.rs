//! Participants that lack our newest messages and show it (docs/protocol.md section 9).
//!
//! Whoever has been away, or lost the last message before a silence, learns by a sync message what there is. Many may
//! notice it: each waits for a while within T_max, most of them for long, and keeps silent when another one answers.

use std::time::Duration;

use crate::filter::{IdHash, ReceivedFilter};
use crate::state::{LogKey, Logged};
use crate::types::{FilterField, HistoryEntry, Message, MessageKind, RunningTime, millis};

use super::Channel;
use super::known::Standing;

/// Whoever shows nothing of messages that came so long ago does not merely hear of them later.
const SETTLED: Duration = Duration::from_secs(20);
/// Newest heads of which one must be shown.
const NEWEST: usize = 2;
/// Bytes of a newest message that goes out with the answer.
const SMALL: usize = 1_024;
/// Requests in one sync message that show that its sender is far behind.
const MUCH: usize = 3;
/// The longest wait before it is answered.
const FOR_A_SOURCE: Duration = Duration::from_secs(4);
/// Parts of T_max, of which each is left to half as many participants as the one after it.
const SLOTS: u32 = 10;

/// Whether a sync message is owed to somebody who is behind.
#[derive(Debug, Default)]
pub(super) struct Laggards {
    due: Option<RunningTime>,
    /// Somebody shows a log that lacks our newest head, and is no newcomer. A message of its own it may have withdrawn.
    lacks_newest: bool,
    /// One sync message serves all who were behind, and the next comes later.
    served_until: RunningTime,
}

impl Laggards {
    pub(super) fn next_due(&self) -> Option<RunningTime> {
        self.due
    }

    pub(super) fn is_due(&self, now: RunningTime) -> bool {
        self.due.is_some_and(|due| due <= now)
    }
}

impl Channel {
    /// A sync message that names our newest went out, or was heard.
    pub(super) fn laggards_served(&mut self) {
        let served_until = self.now.running.after(self.answers.waits().t_max);
        self.laggards = Laggards { served_until, ..Laggards::default() };
    }

    /// Takes note of a message of others that shows that its sender is behind.
    pub(super) fn notice_laggard(&mut self, message: &Message, kind: MessageKind) {
        let needs_a_source = self.needs_a_source(message, kind);
        if kind == MessageKind::Sync && !needs_a_source && self.names_our_newest(message) {
            return self.laggards_served();
        }
        if !self.config.answer_laggards || self.laggards.due.is_some() || !self.config.dialect.has_sync() {
            return;
        }
        if !needs_a_source && !self.is_behind(message, kind) {
            return;
        }
        let others = self.newest_head().is_some_and(|newest| newest.body.sender != message.sender);
        self.laggards.lacks_newest = others && !message.causal_history.is_empty() && !needs_a_source;
        let most = if needs_a_source { FOR_A_SOURCE } else { Duration::MAX };
        let part = millis(self.answers.waits().t_max.min(most)) / u64::from(SLOTS);
        let (slot, within) = (self.now.random(), self.now.random());
        let slot = (SLOTS - 1).saturating_sub(slot.leading_zeros());
        let wait = part * u64::from(slot) + within % part.max(1);
        // What was said a moment ago may have been without a digest.
        let from = if needs_a_source { self.now.running } else { self.now.running.max(self.laggards.served_until) };
        self.laggards.due = Some(from.after(Duration::from_millis(wait)));
    }

    /// Answers somebody who is behind: a sync message says what there is, and a small newest message goes out with it. Either
    /// may be lost, and who lacks that message alone need not ask for it.
    pub(super) fn answer_laggard(&mut self) {
        let lacks_newest = self.laggards.lacks_newest;
        // What there was to say may have been withdrawn.
        self.laggards_served();
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.owe_digest();
        }
        self.send_sync();
        // What lies above a clock that was set right is not named either: others refuse it.
        let newest = self.newest_head().filter(|newest| lacks_newest && newest.body.key.lamport <= self.meta.lamport);
        let newest = newest.map(|newest| newest.body.clone());
        if let Some(body) = newest
            && self.message_of(&body).encoded_len(self.config.dialect) <= SMALL
            && self.pace.is_open(self.now.running)
        {
            self.rebroadcast(&body);
        }
    }

    fn newest_head(&self) -> Option<&Logged> {
        self.log.newest_heads(1).next().and_then(|key| self.log.get(key))
    }

    fn names_our_newest(&self, message: &Message) -> bool {
        self.newest_head().is_some() && self.log.newest_heads(NEWEST).all(|key| names(message, key))
    }

    /// Whether the sender of a message shows none of our newest heads, and nothing that we lack.
    fn is_behind(&self, message: &Message, kind: MessageKind) -> bool {
        let heads = || self.log.newest_heads(NEWEST);
        if heads().next().is_none() {
            return false;
        }
        match kind {
            MessageKind::Sync if message.causal_history.is_empty() => return true,
            MessageKind::Sync => {}
            MessageKind::Content if message.filter != FilterField::Absent => {}
            _ => return false,
        }
        let now = self.now.wall.as_millis();
        let settled = |key: &LogKey| {
            let seen = self.log.get(key).map_or(now, |logged| logged.seen.as_millis());
            now.saturating_sub(seen) > millis(SETTLED)
        };
        let unknown = || {
            let mut entries = message.causal_history.iter();
            entries.any(|entry| self.known.standing(&entry.id) == Standing::Unknown)
        };
        if !heads().all(settled) || heads().any(|key| names(message, key)) || unknown() {
            return false;
        }
        let filter = ReceivedFilter::parse(&message.filter, self.config.limits.max_filter_bytes).ok().flatten();
        let dialect = self.config.dialect;
        let shown = |key: &LogKey| {
            filter.as_ref().is_some_and(|filter| filter.chance(&IdHash::in_dialect(&key.id, dialect)).is_some())
        };
        !heads().any(shown)
    }

    /// Whether somebody asks for so much of what we have that catching up would be better than repair. Whom to ask is said
    /// by digests, and who talks all the time sends no sync messages, and so none.
    fn needs_a_source(&self, message: &Message, kind: MessageKind) -> bool {
        let held = |entry: &HistoryEntry| self.known.standing(&entry.id) == Standing::Delivered;
        let digest = self.catch_up.as_ref().and_then(|it| it.digest_sent());
        kind == MessageKind::Sync
            && self.serves()
            && message.repair_request.len() >= MUCH
            && digest.is_none_or(|sent| self.now.running.since(sent) >= self.answers.waits().t_max)
            && message.repair_request.iter().any(held)
    }

    /// The network is back: what waits for it goes out, paced as ever.
    pub(super) fn online(&mut self) {
        let now = self.now.running;
        let pending: Vec<LogKey> =
            self.outgoing.iter().filter(|open| !open.entry.failed).map(|open| open.entry.key.clone()).collect();
        pending.iter().for_each(|key| self.outgoing.postpone(key, now));
        let missing: Vec<_> = self.requests.iter().map(|missing| missing.request.entry.id.clone()).collect();
        missing.iter().for_each(|id| self.ask_now(id));
        let random = self.now.random();
        self.sync.begin_anew(&self.config, now, random);
        self.send_sync();
    }
}

fn names(message: &Message, key: &LogKey) -> bool {
    message.causal_history.iter().any(|entry| entry.id == key.id)
}
