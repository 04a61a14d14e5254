//! What a received message says about our own: acknowledgements and repair requests (docs/protocol.md sections 7 and 10;
//! LIP-109 "Review ACK Status", "SDS-R receive message").

use std::collections::BTreeSet;
use std::time::Duration;

use crate::filter::ReceivedFilter;
use crate::state::{LogKey, Logged, Place, Response, Row, RowKey};
use crate::types::{Message, MessageId, ParticipantId};

use super::outgoing::Finding;
use super::{Channel, DeliveryState, Event, Limit, repair};

/// A filter that hits more than this share of all ids by accident is not looked into.
const MOST_ACCIDENTAL_HITS: f64 = 0.5;

impl Channel {
    /// Takes in everything a message says of others' messages. Under our own name it only asks: it never acknowledges.
    pub(super) fn review(&mut self, message: &Message) {
        if self.is_own(&message.sender) {
            return self.review_requests(message);
        }
        for entry in &message.causal_history {
            self.sync.acknowledged_by(&entry.id, &message.sender);
            if self.outgoing.len() > 0
                && let Some(key) = self.known.key(&entry.id)
                && self.outgoing.get(&key).is_some()
            {
                self.acknowledged(&key, &message.sender);
            } else if self.acknowledgers.also(&entry.id, &message.sender) {
                let (id, by) = (entry.id.clone(), message.sender.clone());
                self.effects.tell(Event::AlsoAcknowledged { id, by });
            }
            if self.members.is_some() {
                self.member_named(&entry.id, &message.sender);
            }
        }
        self.review_filter(message);
        self.review_requests(message);
    }

    fn review_filter(&mut self, message: &Message) {
        if !message.filter.belongs_to(self.config.dialect) {
            return;
        }
        let (field, max) = (&message.filter, self.config.limits.max_filter_bytes);
        let nothing_open = self.outgoing.len() == 0;
        let parsed = if nothing_open {
            ReceivedFilter::check(field, max).map(|()| None)
        } else {
            ReceivedFilter::parse_after(field, max, self.outgoing.last_filter(&message.sender))
        };
        let filter = match parsed {
            Ok(Some(filter)) => filter,
            Ok(None) => return,
            Err(_) => {
                self.stats.filters_ignored += 1;
                self.effects.limit(Limit::Filter, Some(message.id.clone()), Some(message.sender.clone()));
                return;
            }
        };
        // A filter that hits nearly everything proves nothing.
        if filter.accidental_hits() > MOST_ACCIDENTAL_HITS {
            return;
        }
        let allowance = self.budget.allow(&message.sender, filter.len(), self.now.running);
        self.meta.filters_heard += 1;
        let (heard, rule) = (self.meta.filters_heard, self.config.filter_evidence);
        let reviewed = self.outgoing.review(&filter, &message.sender, heard, rule, allowance);
        self.budget.spend(&message.sender, reviewed.tests);
        self.stats.work += reviewed.tests;
        self.stats.reviews_cut += u64::from(!reviewed.whole);
        for finding in reviewed.findings {
            match finding {
                Finding::Acknowledged(key) => self.acknowledged(&key, &message.sender),
                Finding::Possibly(key, chance) => {
                    self.possibly_acknowledged(&key);
                    let (id, by) = (key.id, message.sender.clone());
                    self.effects.tell(Event::MessagePossiblyAcknowledged { id, by, chance });
                }
            }
        }
    }

    pub(super) fn acknowledged(&mut self, key: &LogKey, by: &ParticipantId) {
        let Some(entry) = self.outgoing.remove(key) else { return };
        self.stats.acknowledged += 1;
        self.effects.delete(RowKey::outgoing(key));
        self.keep_in_archive(key);
        if !entry.failed {
            self.log.unpin(key);
        }
        // The id that the log has: the other one is memory of its own.
        let (id, by) = (entry.key.id, by.clone());
        self.acknowledgers.first(&id, &by);
        let after_failure = entry.failed && entry.uncertain.is_none();
        self.effects.tell(Event::MessageAcknowledged { id, by, after_failure });
    }

    /// The next resend moves away: a possibly acknowledged message waits longer after it was sent, however often
    /// evidence comes and goes. Nothing of it is saved.
    fn possibly_acknowledged(&mut self, key: &LogKey) {
        if let Some(open) = self.outgoing.get(key)
            && !open.entry.failed
        {
            let wait = super::outgoing::wait(&self.config, &self.participant, open, self.now.wall);
            let (running, wall) = (self.now.running, self.now.wall.as_millis());
            let passed = Duration::from_millis(wall.saturating_sub(open.entry.last_sent.as_millis()));
            let later = wait.saturating_sub(passed).max(open.due.since(running));
            self.outgoing.postpone(key, running.after(later));
        }
    }

    pub(super) fn save_outgoing(&mut self, key: &LogKey) {
        if let Some(open) = self.outgoing.get(key) {
            self.effects.put(Row::Outgoing(open.entry.clone()));
        }
    }

    /// How far an own message has come; `None` for messages of others, those received under our own name, and those no
    /// longer known.
    #[must_use]
    pub fn delivery_state(&self, id: &MessageId) -> Option<DeliveryState> {
        let key = self.known.key(id)?;
        match self.outgoing.get(&key) {
            Some(open) if open.entry.failed => Some(match open.entry.uncertain {
                Some(chance) => DeliveryState::PossiblyAcknowledged { chance },
                None => DeliveryState::Failed,
            }),
            Some(_) => Some(match self.outgoing.chance(&key, self.meta.filters_heard) {
                Some(chance) => DeliveryState::PossiblyAcknowledged { chance },
                None => DeliveryState::Unacknowledged,
            }),
            None => self.was_sent_here(self.log.get(&key)?).then_some(DeliveryState::Acknowledged),
        }
    }

    /// Who is known to have received an own message that was acknowledged since the opening, first who was known first: up to
    /// 32, of the last 1,024 such messages, or as many as the log has if it has fewer. Then the members that were seen to
    /// have a message of the log, where members are set (docs/protocol.md section 15).
    #[must_use]
    pub fn acknowledged_by(&self, id: &MessageId) -> Vec<ParticipantId> {
        let mut names = self.acknowledgers.of(id).to_vec();
        let members = self.members_having(id).into_iter().filter(|name| !names.contains(name));
        names.extend(members.collect::<Vec<_>>());
        names
    }

    /// Whether this participant has sent a message here, and not only received it under its own name.
    pub(super) fn was_sent_here(&self, logged: &Logged) -> bool {
        logged.delivery.is_none() && self.is_own(&logged.body.sender)
    }

    /// Takes in what a message asks for.
    pub(super) fn review_requests(&mut self, message: &Message) {
        let max = self.config.limits.max_requests_per_message;
        if message.repair_request.len() > max {
            self.effects.limit(Limit::RequestsPerMessage, None, Some(message.sender.clone()));
        }
        let mut named = BTreeSet::new();
        for entry in message.repair_request.iter().take(max).filter(|entry| named.insert(&entry.id)) {
            self.rearm(&entry.id, |request| request.heard = request.heard.saturating_add(1));
            self.consider_response(&entry.id, &message.sender);
            if *entry == message.repair_request[0] && self.responses.contains(&entry.id) {
                self.remember_requester(&entry.id, message);
            }
        }
    }

    /// Takes a request in if this participant may answer it: the message is delivered and in the log, the participant
    /// in its response group, and the message was neither heard nor answered a moment ago.
    fn consider_response(&mut self, id: &MessageId, by: &ParticipantId) {
        if self.responses.contains(id) {
            return;
        }
        let Some(key) = self.known.key(id) else { return };
        let Some(logged) = self.log.get(&key).filter(|logged| self.config.may_pass_on(logged)) else { return };
        let (sender, bytes) = (logged.body.sender.clone(), super::log::cost(&logged.body));
        let (config, waits, now) = (&self.config, self.answers.waits(), self.now.running);
        let wide = if config.response_groups > 1 { self.widening.requested(id, now, waits.t_max) } else { 1 };
        let recent = self.filter.last_heard(id).is_some_and(|heard| now.since(heard) < waits.t_min / 2);
        if recent || !repair::in_response_group(config, &self.participant, &sender, id, wide) {
            return;
        }
        // What is to be answered stays in the log, beyond its limits: so much of it, and no more.
        if self.responses.len() >= config.limits.max_repair_entries || self.responses.bytes() >= config.max_log_bytes {
            self.effects.limit(Limit::RepairResponses, Some(id.clone()), Some(by.clone()));
            return;
        }
        let due = now.after(repair::response_wait(config, waits, &self.participant, &sender, id));
        let response = Response { id: id.clone(), due: self.now.wall_at(due) };
        self.log.pin(&key);
        self.responses.insert(&response, due, bytes);
        self.effects.put(Row::Response(response));
        self.effects.tell(Event::RepairRequested { id: id.clone(), by: by.clone() });
    }

    /// Ends a pending answer: given, or somebody else gave it.
    pub(super) fn end_response(&mut self, id: &MessageId) {
        self.batches.end(id);
        if self.responses.remove(id) {
            self.effects.delete(RowKey::by_id(Place::Response, id));
            if let Some(key) = self.known.key(id) {
                self.log.unpin(&key);
            }
        }
    }

    /// Ends a request: the message is here, declared met, or lost.
    pub(super) fn arrived(&mut self, id: &MessageId) {
        if self.requests.remove(id).is_some() {
            self.effects.delete(RowKey::by_id(Place::Request, id));
        }
    }
}
