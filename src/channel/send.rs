//! Sending: content, ephemeral and sync messages (docs/protocol.md sections 1, 4 and 9; LIP-109 "Send Message").

use std::sync::Arc;

use bytes::Bytes;
use sha3::{Digest, Keccak256};

use crate::filter::IdHash;
use crate::state::{Body, LogKey, Logged, Outgoing, Row};
use crate::types::{CatchUpField, FilterField, HistoryEntry, Lamport, Message, MessageId};

use super::{Channel, ChannelError, Event, Outcome, TransmitKind, clock, outgoing, repair};

/// Heads that are never trimmed off.
pub(super) const KEPT_HEADS: usize = 2;
/// Messages named in a sync message because they are to be acknowledged.
const MAX_NAMED: usize = 16;

impl Channel {
    /// Sends content; at least `heads` of the heads go with it.
    pub(super) fn send(
        &mut self,
        content: Bytes,
        id: Option<MessageId>,
        heads: usize,
    ) -> Result<Outcome, ChannelError> {
        self.check_content(&content)?;
        let lamport = clock::next(self.mended_clock(), self.now.wall, self.config.dialect);
        let id = match id {
            Some(id) => self.check_new_id(id)?,
            None => self.new_id(lamport, &content),
        };
        self.check_room(1, content.len())?;
        let mut message = self.compose(id.clone(), lamport, content.clone(), heads)?;
        // Now that nothing can be refused any more. Setting the clock right may deliver what waited, and the own message
        // comes after all that was delivered.
        if self.mend_clock() {
            let lamport = clock::next(self.meta.lamport, self.now.wall, self.config.dialect);
            message = self
                .compose(id.clone(), lamport, content.clone(), heads)
                .or_else(|_| self.compose(id.clone(), lamport, content, 0))?;
        }
        let lamport = message.lamport.unwrap_or(lamport);
        self.meta.lamport = lamport;
        self.requests_went_out(&message);

        let key = LogKey { lamport, id: id.clone() };
        let mut body = Body::new(key.clone(), self.participant.clone(), message.content.clone());
        body.causal_history.clone_from(&message.causal_history);
        body.signature = self.signed(&body);
        message.author_signature.clone_from(&body.signature);
        let body = Arc::new(body);
        let hash = self.take_into_filter(&id);
        self.append_own(body, &key, hash);
        self.stats.sent += 1;
        let random = self.now.random();
        if self.company.is_small(self.now.running, self.config.acknowledgement_window) {
            self.sync.sent_naming(&message.causal_history, &self.config, self.now.running, random);
        } else {
            self.sync.sent(true, &self.config, self.now.running, random);
        }
        self.effects.transmit(TransmitKind::Content, message);
        self.retain();
        Ok(Outcome::Sent(id))
    }

    pub(super) fn send_ephemeral(&mut self, content: Bytes) -> Result<Outcome, ChannelError> {
        self.check_content(&content)?;
        if !self.config.dialect.has_sync() {
            return Err(ChannelError::NotInDialect { what: "ephemeral messages" });
        }
        let lamport = clock::next(self.meta.lamport, self.now.wall, self.config.dialect);
        let id = self.new_id(lamport, &content);
        let message = self.bare_message(id.clone(), None, content);
        self.check_size(&message)?;
        self.echoes.sent(&id);
        self.effects.transmit(TransmitKind::Ephemeral, message);
        Ok(Outcome::Sent(id))
    }

    /// Sends a sync message if there is anything to say (docs/protocol.md section 9) and the dialect has such messages.
    pub(super) fn send_sync(&mut self) {
        // A newcomer has nothing to say but that it is there: others tell it what there is.
        let nothing = self.log.len() == 0 && self.requests.len() == 0 && self.filter.is_empty() && !self.is_newcomer();
        if !self.config.dialect.has_sync() || nothing {
            return;
        }
        self.mend_clock();
        let lamport = clock::next(self.meta.lamport, self.now.wall, self.config.dialect);
        let seed = self.now.random().to_be_bytes();
        // Another device under this name may stand at the same time: what each says is no echo of the other's.
        let id = self.new_id(lamport, &seed);
        if self.company.is_small(self.now.running, self.config.acknowledgement_window) {
            self.filter.reseed_once(self.now.running, seed, self.config.few_error_rate);
        } else {
            self.filter.reseed(self.now.running, seed);
        }
        let composed = self.compose(id, lamport, Bytes::new(), KEPT_HEADS);
        self.sync.requests_sent(self.now.running);
        let random = self.now.random();
        self.sync.sent(false, &self.config, self.now.running, random);
        self.laggards_served();
        // Longer ids than ours may not fit into `max_transmit_bytes`; then this turn is skipped.
        let Ok(mut message) = composed else { return };
        self.add_digest(&mut message);
        self.meta.lamport = lamport;
        self.requests_went_out(&message);
        self.stats.syncs += 1;
        self.echoes.sent(&message.id);
        self.effects.transmit(TransmitKind::Sync, message);
    }

    /// An own message once more: same id, Lamport time, causal history and content, fresh filter and requests.
    pub(super) fn resend_message(&mut self, body: &Body) -> Message {
        let mut message = self.message_of(body);
        self.reseed_if_due();
        message.sender_signature = self.config.room_for_signature();
        message.filter = self.filter.field();
        // nim-sds reads no request on what it knows already.
        if self.config.dialect.has_sync() {
            message.repair_request = self.due_requests();
        }
        self.trim(&mut message, usize::MAX);
        self.requests_went_out(&message);
        message
    }

    /// A logged message as it was first sent, without filter and requests.
    pub(super) fn message_of(&self, body: &Body) -> Message {
        Message {
            sender: body.sender.clone(),
            causal_history: body.causal_history.clone(),
            author_signature: self.signature_of(body),
            sender_signature: None,
            ..self.bare_message(body.key.id.clone(), Some(body.key.lamport), body.content.clone())
        }
    }

    pub(super) fn set_hint(&mut self, id: MessageId, hint: Bytes) -> Result<Outcome, ChannelError> {
        let max = self.config.limits.max_hint_bytes;
        if hint.len() > max {
            return Err(ChannelError::TooLarge { what: "retrieval hint", len: hint.len(), max });
        }
        if self.known.key(&id).is_none() || self.is_erased(&id) {
            return Err(ChannelError::UnknownMessage(id));
        }
        if self.hints.get(&id) != Some(&hint) {
            self.hints.insert(id.clone(), hint.clone());
            self.effects.hints.push((id, hint));
        }
        Ok(Outcome::Done)
    }

    /// The clock as [`mend_clock`](Self::mend_clock) would leave it.
    fn mended_clock(&self) -> Lamport {
        let limit = clock::limit(self.now.wall, self.config.max_clock_drift);
        let clock = self.meta.lamport;
        if clock <= limit || clock::is_unset(self.now.wall) {
            return clock;
        }
        self.config.dialect.lamport_at(self.now.wall).max(self.highest_received(limit))
    }

    /// The highest time of others' messages delivered here, of those within this limit.
    fn highest_received(&self, limit: Lamport) -> Lamport {
        if self.meta.highest_received <= limit {
            return self.meta.highest_received;
        }
        let beyond = |logged: &&Logged| logged.body.key.lamport > limit;
        let mut within = self.log.iter().rev().skip_while(beyond);
        let highest = within.find(|logged| logged.body.sender != self.participant);
        highest.map_or(Lamport(0), |logged| logged.body.key.lamport)
    }

    /// A clock beyond what others accept is set back, and what was sent under it has failed (docs/protocol.md section 3);
    /// says whether it was. What this frees may be delivered, and its time may lie beyond the limit once more.
    pub(super) fn mend_clock(&mut self) -> bool {
        let limit = clock::limit(self.now.wall, self.config.max_clock_drift);
        let mut mended = false;
        loop {
            let (from, to) = (self.meta.lamport, self.mended_clock());
            if from == to {
                return mended;
            }
            mended = true;
            self.meta.lamport = to;
            self.lower_horizon(to);
            self.effects.tell(Event::ClockReset { from, to });
            // Where others' messages lie beyond the limit too, it is the wall clock that may be wrong: resends decide then.
            if self.meta.highest_received <= limit {
                self.fail_above(limit);
            }
            self.retain();
        }
    }

    /// Gives up own messages that lie above what others accept.
    fn fail_above(&mut self, limit: Lamport) {
        let above: Vec<LogKey> = self
            .outgoing
            .iter()
            .rev()
            .take_while(|open| open.entry.key.lamport > limit)
            .filter(|open| !open.entry.failed)
            .map(|open| open.entry.key.clone())
            .collect();
        above.iter().for_each(|key| self.give_up_sending(key));
    }

    /// An own message, trimmed to what may go out; at least `heads` of its heads stay.
    fn compose(
        &mut self,
        id: MessageId,
        lamport: Lamport,
        content: Bytes,
        heads: usize,
    ) -> Result<Message, ChannelError> {
        // What was sent under a wrong date is refused by all who did not acknowledge it: nobody could wait for it.
        let limit = clock::limit(self.now.wall, self.config.max_clock_drift);
        let unset = clock::is_unset(self.now.wall);
        let named = |key: &LogKey| unset || key.lamport <= limit || self.outgoing.get(key).is_none();
        let turn = content.is_empty().then_some(lamport.0);
        let (max, tail) = (self.config.max_causal_heads, self.config.causal_history_size);
        let mut keys = self.log.causal_history(max, tail, turn, &self.known, named);
        if turn.is_some() {
            self.name_received(&mut keys);
        } else {
            self.reseed_if_due();
        }
        let mut message = self.bare_message(id, Some(lamport), content);
        message.causal_history.reserve_exact(keys.len());
        message.causal_history.extend(keys.iter().filter_map(|key| self.entry_of(key)));
        message.filter = self.filter.field();
        message.repair_request = self.due_requests();
        // Heads after the two newest come next time: else many short ones of others would keep us from sending at all.
        self.trim(&mut message, heads);
        self.check_size(&message)?;
        Ok(message)
    }

    /// Adds what is to be acknowledged to a sync message's causal history: being named is proof. In content, such names would
    /// be dependencies of it for ever.
    fn name_received(&self, keys: &mut Vec<LogKey>) {
        let mut received: Vec<LogKey> = self.sync.to_acknowledge().filter_map(|id| self.known.key(id)).collect();
        received.retain(|key| self.log.get(key).is_some() && !keys.contains(key));
        // Of those sent first the resends come first.
        received.sort_unstable();
        let room = self.config.limits.max_causal_entries.saturating_sub(keys.len());
        keys.extend(received.into_iter().take(room.min(MAX_NAMED)));
    }

    pub(super) fn check_size(&self, message: &Message) -> Result<(), ChannelError> {
        let limits = &self.config.limits;
        let max = self.config.max_transmit_bytes.unwrap_or(usize::MAX).min(limits.max_message_bytes);
        let len = message.encoded_len(self.config.dialect);
        if len > max { Err(ChannelError::TooLarge { what: "message", len, max }) } else { Ok(()) }
    }

    /// Whether so many more messages of so many bytes find place in the outgoing buffer.
    pub(super) fn check_room(&self, messages: usize, bytes: usize) -> Result<(), ChannelError> {
        let limits = &self.config.limits;
        let full = self.outgoing.active().saturating_add(messages) > limits.max_outgoing
            || self.outgoing.bytes().saturating_add(bytes) > limits.max_outgoing_bytes;
        if full { Err(ChannelError::OutgoingFull) } else { Ok(()) }
    }

    pub(super) fn check_content(&self, content: &Bytes) -> Result<(), ChannelError> {
        let max = self.config.limits.max_content_bytes;
        match content.len() {
            0 => Err(ChannelError::EmptyContent),
            len if len > max => Err(ChannelError::TooLarge { what: "content", len, max }),
            _ => Ok(()),
        }
    }

    fn check_new_id(&self, id: MessageId) -> Result<MessageId, ChannelError> {
        let max = self.config.limits.max_id_bytes;
        if !self.config.dialect.allows_id(id.as_bytes(), max) {
            return Err(ChannelError::InvalidId { max });
        }
        if self.is_taken(&id) { Err(ChannelError::IdKnown(id)) } else { Ok(id) }
    }

    /// Whether there is, or was, a message under this id.
    fn is_taken(&self, id: &MessageId) -> bool {
        self.known.key(id).is_some() || self.is_taken_out(id)
    }

    /// Hex Keccak-256 of sender, time in nanoseconds and content (LIP-173). Where the clock stands still or went back, the
    /// time is that of the message, which never comes again; it moves on until the id is new.
    pub(super) fn new_id(&self, lamport: Lamport, content: &[u8]) -> MessageId {
        let mut nanos = self.now.wall.as_nanos().max(lamport.0.saturating_mul(1_000_000));
        loop {
            let mut hash = Keccak256::new();
            hash.update(self.participant.as_bytes());
            hash.update(nanos.to_be_bytes());
            hash.update(content);
            let id = MessageId::new(hex(&hash.finalize().into()));
            if !self.is_taken(&id) {
                return id;
            }
            nanos = nanos.wrapping_add(1);
        }
    }

    /// An own message without history, filter and requests, with room for the signatures that it will get.
    pub(super) fn bare_message(&self, id: MessageId, lamport: Option<Lamport>, content: Bytes) -> Message {
        let signature = self.config.room_for_signature();
        Message {
            author_signature: signature.clone().filter(|_| lamport.is_some() && !content.is_empty()),
            sender_signature: signature,
            id,
            sender: self.participant.clone(),
            channel: self.id.clone(),
            lamport,
            causal_history: Vec::new(),
            filter: FilterField::Absent,
            repair_request: Vec::new(),
            content,
            catch_up: CatchUpField::Absent,
        }
    }

    pub(super) fn entry_of(&self, key: &LogKey) -> Option<HistoryEntry> {
        let logged = self.log.get(key)?;
        Some(HistoryEntry {
            id: key.id.clone(),
            hint: self.hints.get(&key.id).cloned(),
            sender: Some(logged.body.sender.clone()),
        })
    }

    fn append_own(&mut self, body: Arc<Body>, key: &LogKey, hash: IdHash) {
        let logged = Logged {
            body: body.clone(),
            delivery: None,
            seen: self.now.wall,
            late: false,
            below_floor: false,
            missing: Vec::new(),
            below_stable: false,
        };
        self.effects.put(Row::Message(logged.clone()));
        self.log.insert(logged, &mut self.known);
        self.note_logged(key, true);
        // A caller's id may have been missed by others' messages already.
        self.arrived(&key.id);
        self.marks_forget(&key.id);

        let wait = outgoing::first_wait(&self.config, &self.participant, key);
        let due = self.now.running.after(wait);
        let entry = Outgoing {
            key: key.clone(),
            first_sent: self.now.wall,
            last_sent: self.now.wall,
            next_due: self.now.wall_at(due),
            attempts: 0,
            failed: false,
            uncertain: None,
            filters_heard_at_send: self.meta.filters_heard,
            evidence: Vec::new(),
        };
        self.log.pin(key);
        self.effects.put(Row::Outgoing(entry.clone()));
        self.outgoing.add(entry, hash, due, super::log::cost(&body));
        self.incoming.met(&key.id);
        self.settle();
    }

    /// Requests whose T_req has come, lowest first (LIP-109, "SDS-R send message").
    fn due_requests(&self) -> Vec<HistoryEntry> {
        if self.repair_rests() {
            return Vec::new();
        }
        let due = self.requests.due(self.now.running, self.config.max_repair_requests);
        due.iter().filter_map(|id| Some(self.requests.get(id)?.request.entry.clone())).collect()
    }

    /// Lets another participant's message carry our requests too: without sync messages, who only relays has no other.
    pub(super) fn add_requests(&mut self, message: &mut Message) {
        message.repair_request = self.due_requests();
        self.trim(message, usize::MAX);
        self.requests_went_out(message);
    }

    /// Re-arms the requests that this message carries.
    fn requests_went_out(&mut self, message: &Message) {
        for entry in &message.repair_request {
            self.stats.requests_sent += 1;
            self.rearm(&entry.id, |request| request.sent = request.sent.saturating_add(1));
        }
    }

    /// Counts a request sent or heard and sets when the next is due.
    pub(super) fn rearm(&mut self, id: &MessageId, count: impl FnOnce(&mut crate::state::Request)) {
        let Some(waits) = self.requests.get(id).map(|missing| self.waits_for(missing)) else { return };
        let (participant, now) = (&self.participant, &self.now);
        self.requests.change(id, |missing| {
            count(&mut missing.request);
            let once = (missing.request.sent, missing.request.heard) == (1, 0);
            missing.asked = once.then_some(now.running);
            if missing.times_asked() >= repair::REQUESTS_BEFORE_LOSS {
                missing.asked_thrice.get_or_insert(now.running);
            }
            missing.due = now.running.after(repair::rearm_wait(waits, participant, &missing.request));
            missing.request.due = now.wall_at(missing.due);
        });
    }
}

fn hex(hash: &[u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 64];
    for (pair, byte) in digits.as_chunks_mut().0.iter_mut().zip(hash) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    }
    digits
}
