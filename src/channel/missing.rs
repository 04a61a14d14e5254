//! What is missing is asked for, and what gives way where room is short (docs/protocol.md sections 10 and 11).

use crate::state::{LogKey, Request, Row, RowKey};
use crate::types::{HistoryEntry, MessageId, ParticipantId};

use super::known::Standing;
use super::shares::Namer;
use super::{Channel, Limit, repair};

/// Steps from a message that would give way to one that waits for it.
const MAX_CLIMB: usize = 64;

impl Channel {
    /// Puts missing messages into the outgoing repair buffer; `since` is the age at which somebody began to wait.
    pub(super) fn ask_for(&mut self, missing: &[HistoryEntry], since: u64, namer: &ParticipantId) {
        let max = self.config.limits.max_repair_entries_per_message;
        if missing.len() > max {
            self.effects.limit(Limit::RepairRequestsPerMessage, None, Some(namer.clone()));
            self.refill_later();
        }
        missing.iter().skip(max).for_each(|entry| self.stop_waiting_for_history(&entry.id));
        let namer = Some(namer.clone());
        for entry in missing.iter().take(max) {
            if let Some(known) = self.requests.get(&entry.id) {
                if since < known.request.since_age_ms {
                    self.requests.change(&entry.id, |missing| missing.request.since_age_ms = since);
                    if let Some(request) = self.requests.save(&entry.id) {
                        self.effects.put(Row::Request(request));
                    }
                }
                self.requests.named_again(&entry.id, &namer);
                continue;
            }
            if self.requests.len() >= self.config.limits.max_repair_entries {
                self.displace_request(&namer);
            }
            let due = self.now.running.after(repair::request_wait(
                &self.config,
                self.answers.waits(),
                &self.participant,
                &entry.id,
            ));
            let entry = entry.clone();
            let request = Request {
                entry,
                due: self.now.wall_at(due),
                sent: 0,
                heard: 0,
                since_age_ms: since,
                named_at_age_ms: self.meta.age_ms,
            };
            self.effects.put(Row::Request(request.clone()));
            self.requests.insert(request, due, namer.clone(), false);
        }
    }

    /// Makes room for another request of this one; says whether there was what could give way.
    pub(super) fn displace_request(&mut self, namer: &Namer) -> bool {
        let Some((by, id)) = self.requests.shares().displaced_by(namer) else { return false };
        self.arrived(&id);
        self.stop_waiting_for_history(&id);
        self.effects.limit(Limit::RepairRequests, Some(id), by);
        self.refill_later();
        true
    }

    /// Lets a request go out with the next message, and a sync message carry it.
    pub(super) fn ask_now(&mut self, id: &MessageId) {
        let (running, wall) = (self.now.running, self.now.wall);
        self.requests.change(id, |missing| (missing.due, missing.request.due) = (running, wall));
    }

    /// Makes room in the incoming buffer: the costliest sender's highest message gives way and stays in repair; or what
    /// waits for that one, if anything does, for it is of less use.
    pub(super) fn enforce_parked(&mut self, max: usize, max_bytes: usize) {
        while self.incoming.len() > max || self.incoming.bytes() > max_bytes {
            let Some(mut key) = self.incoming.costliest() else { return };
            for _ in 0..MAX_CLIMB {
                let Some(waiter) = self.incoming.last_waiter(&key.id).filter(|waiter| **waiter > key) else { break };
                key = waiter.clone();
            }
            let over = self.incoming.bytes() > self.config.limits.max_parked_bytes;
            let Some(waiting) = self.incoming.remove(&key) else { return };
            let body = waiting.parked.body;
            self.effects.delete(RowKey::body(&key));
            self.hints.remove(&key.id);
            self.known.forget(&key.id);
            self.filter.remove(&key.id);
            self.effects.limit(Limit::Parked, Some(key.id.clone()), Some(body.sender.clone()));
            let entry = HistoryEntry { id: key.id.clone(), hint: None, sender: Some(body.sender.clone()) };
            let old: Vec<LogKey> =
                self.incoming.waiters(&key.id).take_while(|waiter| self.is_old(waiter)).cloned().collect();
            old.iter().for_each(|waiter| self.incoming.met_for(waiter, &key.id));
            self.ask_for(&[entry], waiting.parked.parked_at_age_ms, &body.sender);
            // The lowest of all needs no room once what it waits for is here: that is still asked for.
            let is_lowest = self.incoming.after(None).next().map_or(over, |(lowest, _)| key < *lowest);
            if !is_lowest {
                // What was put aside by a newcomer waits for itself.
                self.drop_unwanted(waiting.unmet.iter().filter(|id| **id != key.id));
            }
            self.settle();
        }
    }

    /// Ends requests for messages that nobody waits for any more.
    pub(super) fn drop_unwanted<'a>(&mut self, ids: impl IntoIterator<Item = &'a MessageId>) {
        for id in ids {
            if !self.incoming.is_awaited(id) && self.known.standing(id) == Standing::Unknown {
                self.arrived(id);
            }
        }
    }
}
