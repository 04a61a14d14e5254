//! Receiving (docs/protocol.md section 5; LIP-109 "Receive Message").
//!
//! The order of [`Channel::receive`] is the order of the specification: limits, channel, clock; review of
//! acknowledgements and requests; then what kind of message it is; then its dependencies.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::filter::IdHash;
use crate::state::{Body, LogKey, MarkKind, Parked, Row};
use crate::types::{
    Dialect, FilterField, HistoryEntry, Lamport, Message, MessageId, MessageKind, ParticipantId, millis,
};

use super::authentic::Word;
use super::join::{Part, Way};
use super::known::Standing;
use super::{Channel, ChannelError, Event, Fate, Outcome, Received, TransmitKind, clock, erase};

/// What a message needs of one that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing.
    Met,
    /// It is on its way: here and waiting itself, or asked for.
    Waits,
    /// It was never received.
    Missing,
}

impl Channel {
    pub(super) fn receive(&mut self, message: Message, relay: bool) -> Result<Outcome, ChannelError> {
        let mut message = self.as_spoken_here(message);
        let kind = self.check_received(&message).inspect_err(|_| self.note_refused(&message))?;
        let word = self.authenticate(&mut message, kind)?;
        if word == Word::Again {
            self.stats.received += 1;
            self.stats.duplicates += 1;
            return Ok(self.received(message.id, Fate::Duplicate));
        }
        let live = relay || message.filter != FilterField::Absent;
        if kind == MessageKind::Frame {
            self.take_frame(&message);
            return Ok(self.received(message.id, Fate::Frame));
        }
        let counted = self.counted(&message);
        let named = message.causal_history.iter_mut().filter_map(|entry| entry.sender.as_mut());
        [&mut message.sender].into_iter().chain(named).for_each(|name| self.names.share(name));
        self.answers.heard_of(self.names.len(), &self.config);
        if relay && kind != MessageKind::Content && !self.config.dialect.has_sync() {
            return Err(ChannelError::NotInDialect { what: "sync and ephemeral messages" });
        }
        self.stats.received += 1;
        let id = message.id.clone();
        let own = self.is_own(&message.sender);
        let echo = own && self.is_echo(&message, kind);
        if own && !echo {
            self.tell_shared_identity(&message);
        }
        if !echo {
            let random = self.now.random();
            if !own && word == Word::Sender {
                self.company.heard(&message.sender, self.now.running);
            }
            // A sync message that does not name what ours would name is no reason to keep silent; one that names nothing
            // at all, an ephemeral one, is none either.
            let speaks_for_us = match kind {
                MessageKind::Content => true,
                MessageKind::Sync => {
                    !self.is_wanted_itself() && self.log.heads_are_in(&message.causal_history, &self.known)
                }
                MessageKind::Ephemeral | MessageKind::Frame => false,
            };
            if speaks_for_us && word == Word::Sender {
                self.sync.traffic(kind == MessageKind::Content, &self.config, self.now.running, random);
            }
            if !own && kind == MessageKind::Sync && message.causal_history.is_empty() {
                self.put_greeting_off();
            }
            self.notice_laggard(&message, kind);
            self.review(&message);
        } else if self.may_be_of_another_device(&message, kind) {
            self.review_requests(&message);
        }
        let forward = relay.then(|| Message {
            filter: FilterField::Absent,
            repair_request: Vec::new(),
            sender_signature: None,
            ..message.clone()
        });
        let fate = match kind {
            MessageKind::Frame => Fate::Frame,
            MessageKind::Ephemeral if echo => Fate::Echo,
            MessageKind::Ephemeral => {
                let Message { id, sender, content, .. } = message;
                self.effects.tell(Event::EphemeralReceived { id, sender, content });
                Fate::Ephemeral
            }
            MessageKind::Sync => {
                self.take_digest(&message);
                self.member_said(&message);
                self.take_sync(&message, echo);
                self.settle();
                Fate::Sync
            }
            MessageKind::Content => self.take_content(message, live, echo),
        };
        if let Some(mut message) = forward
            && !matches!(fate, Fate::Duplicate | Fate::Echo | Fate::Conflict | Fate::TooOld | Fate::Erased)
            && !self.is_erased(&id)
        {
            if !self.config.dialect.has_sync() {
                self.add_requests(&mut message);
            }
            self.effects.transmit(TransmitKind::Relay, message);
        }
        if let Some(counted) = counted {
            self.note_arrival(&counted, &fate);
        } else if matches!(fate, Fate::Parked { .. }) {
            self.look_for_gap();
        }
        Ok(self.received(id, fate))
    }

    /// Keeps within limits what a message has changed, and says what became of it.
    fn received(&mut self, id: MessageId, fate: Fate) -> Outcome {
        self.retain();
        let released = std::mem::take(&mut self.effects.released);
        // Parked below a floor that rose just now, it waits no longer.
        let fate = match fate {
            _ if released.contains(&id) => Fate::Delivered,
            Fate::Parked { .. } if self.known.standing(&id) == Standing::Delivered => Fate::Erased,
            fate => fate,
        };
        Outcome::Received(Received { id, fate, released })
    }

    /// Whether this participant keeps its sync turns whatever sync messages it hears: among few, nobody else can say what it
    /// has, and after content somebody may wait to know.
    fn is_wanted_itself(&self) -> bool {
        self.sync.is_brisk(&self.config) && self.company.is_small(self.now.running, self.config.acknowledgement_window)
    }

    /// A message of the other family as a member of this channel would have sent it: in the unit of time of the dialect,
    /// which is how others log it, and without the filter that tells nim-sds's empty content from a sync message.
    fn as_spoken_here(&self, mut message: Message) -> Message {
        let dialect = self.config.dialect;
        message.lamport = message.lamport.map(|lamport| dialect.whole(lamport));
        if dialect != Dialect::NimSds && matches!(message.filter, FilterField::NimSds(_)) {
            message.filter = FilterField::Absent;
        }
        message
    }

    /// What the application says need not be waited for.
    pub(super) fn dependencies_met(&mut self, ids: Vec<MessageId>) -> Result<Outcome, ChannelError> {
        let max = self.config.limits.max_id_bytes;
        if ids.iter().any(|id| !self.config.dialect.allows_id(id.as_bytes(), max)) {
            return Err(ChannelError::InvalidId { max });
        }
        for id in ids {
            if self.known.standing(&id) == Standing::Unknown {
                self.set_mark(&id, MarkKind::DeclaredMet);
            }
        }
        self.settle();
        self.retain();
        Ok(Outcome::Done)
    }

    /// Everything that can be wrong with a message in itself: refused, and nothing changes.
    fn check_received(&self, message: &Message) -> Result<MessageKind, ChannelError> {
        let limits = &self.config.limits;
        let sender = &message.sender;
        let over = |limit, found, max| Err(ChannelError::PeerLimit { sender: sender.clone(), limit, found, max });
        if message.channel != self.id {
            return Err(ChannelError::WrongChannel);
        }
        let Some(kind) = message.kind() else { return Err(ChannelError::NoKind) };
        let entries = || message.causal_history.iter().chain(&message.repair_request);
        let ids = entries().map(|entry| entry.id.as_bytes()).chain([message.id.as_bytes()]);
        let senders = entries().filter_map(|entry| entry.sender.as_ref()).chain([sender]).map(ParticipantId::as_bytes);
        // In nim-sds a sender may have no name.
        let nameless = |id: &&[u8]| self.config.dialect == Dialect::NimSds && id.is_empty();
        for id in ids.chain(senders.filter(|id| !nameless(id))) {
            if id.is_empty() || id.len() > limits.max_id_bytes {
                return over("max_id_bytes", id.len(), limits.max_id_bytes);
            }
            // `wire` refuses it of a peer; what was named once could never be sent.
            if !self.config.dialect.allows_id(id, limits.max_id_bytes) {
                return Err(ChannelError::InvalidId { max: limits.max_id_bytes });
            }
        }
        let hint = entries().filter_map(|entry| entry.hint.as_ref()).map(bytes::Bytes::len).max().unwrap_or(0);
        for (limit, found, max) in [
            ("max_causal_entries", message.causal_history.len(), limits.max_causal_entries),
            ("max_causal_entries", message.repair_request.len(), limits.max_causal_entries),
            ("max_content_bytes", message.content.len(), limits.max_content_bytes),
            ("max_hint_bytes", hint, limits.max_hint_bytes),
        ] {
            if found > max {
                return over(limit, found, max);
            }
        }
        let latest = clock::limit(self.now.wall, self.config.max_clock_drift);
        match message.lamport {
            Some(lamport) if lamport > latest => Err(ChannelError::ClockDrift { sender: sender.clone(), lamport }),
            _ => Ok(kind),
        }
    }

    /// A sync message names what its sender has: what we miss of it is asked for.
    fn take_sync(&mut self, message: &Message, echo: bool) {
        self.effects.tell(Event::SyncReceived { sender: message.sender.clone() });
        let lamport = message.lamport.unwrap_or(Lamport(0));
        let key = LogKey { lamport, id: message.id.clone() };
        if echo || self.is_old(&key) {
            return;
        }
        if self.is_newcomer() {
            return self.ask_for_newest(&message.causal_history, &message.sender);
        }
        let mut named = BTreeSet::from([&message.id]);
        let missing: Vec<_> = message
            .causal_history
            .iter()
            .filter(|entry| self.is_missing(&entry.id) && named.insert(&entry.id))
            .cloned()
            .collect();
        if missing.is_empty() {
            return self.somebody_has(&message.causal_history);
        }
        let age = self.meta.age_ms;
        let fresh = missing.iter().any(|entry| self.requests.get(&entry.id).is_none());
        self.ask_for(&missing, age, &message.sender);
        self.somebody_has(&message.causal_history);
        if fresh {
            self.effects.tell(Event::MissingDependencies { id: message.id.clone(), missing });
        }
    }

    fn take_content(&mut self, message: Message, live: bool, echo: bool) -> Fate {
        let lamport = message.lamport.unwrap_or(Lamport(0));
        let key = LogKey { lamport, id: message.id.clone() };
        let own = self.is_own(&message.sender);
        if self.known.standing(&key.id) != Standing::Unknown {
            return self.take_known(&message, &key, echo);
        }
        if self.is_withdrawn(&key.id) {
            return self.take_withdrawn(message, own);
        }
        if self.is_too_old(&message) {
            return self.take_too_old(key.id, message.sender);
        }
        let asked = self.requests.get(&key.id).is_some();
        let since = self.requests.get(&key.id).map_or(self.meta.age_ms, |missing| missing.request.since_age_ms);
        if let Some(asked) = self.requests.get(&key.id).and_then(|missing| missing.asked) {
            self.answers.answered(asked, self.now.running, &self.config);
        }
        self.arrived(&key.id);
        self.end_response(&key.id);
        if !own {
            self.acknowledge_soon(&key.id, &message.sender);
        }
        if asked || !live {
            self.gap.repaired(self.now.running);
        }
        let way = Way { live, new: self.is_new(lamport), asked };
        let Message { sender, mut causal_history, content, author_signature: signature, .. } = message;
        for entry in &mut causal_history {
            self.known.recognise(&mut entry.id);
        }
        let body = Body { causal_history, signature, ..Body::new(key.clone(), sender, content) };
        let body = self.without_erased(Arc::new(body));
        self.take_into_filter(&key.id);
        let parked = Parked { body, seen: self.now.wall, parked_at_age_ms: since };
        let part = self.part_of(&key, way);
        let fate = self.admit(parked, part, way);
        if part != Part::Held {
            self.release_held();
            self.settle();
        }
        fate
    }

    /// Delivers a new message or lets it wait, as what it is.
    pub(super) fn admit(&mut self, parked: Parked, part: Part, way: Way) -> Fate {
        if part == Part::Held {
            return self.hold(parked);
        }
        let (body, since) = (parked.body.clone(), parked.parked_at_age_ms);
        let (unmet, missing) = self.dependencies(&body, part, way);
        if !unmet.is_empty() {
            return self.park(parked, unmet, missing);
        }
        if self.incoming.is_ready() {
            // Others are ready: the lowest goes first, and this step may not reach this one.
            return self.park(parked, unmet, missing);
        }
        self.deliver(parked);
        self.ask_for(&missing, since, &body.sender);
        self.settle();
        if body.is_erased() { Fate::Erased } else { Fate::Delivered }
    }

    /// A message known already, or another one under its id.
    fn take_known(&mut self, message: &Message, key: &LogKey, echo: bool) -> Fate {
        if !self.is_same(message, key) {
            let (id, sender) = (key.id.clone(), message.sender.clone());
            self.effects.tell(Event::IdConflict { id, sender });
            return Fate::Conflict;
        }
        self.stats.duplicates += 1;
        self.take_into_filter(&key.id);
        self.end_response(&key.id);
        self.widening.answered(&key.id);
        if echo {
            return Fate::Echo;
        }
        // With a filter it comes from its sender, who still waits; without one it is somebody's repair answer.
        if message.filter != FilterField::Absent && !self.is_own(&message.sender) {
            self.acknowledge_soon(&key.id, &message.sender);
        }
        Fate::Duplicate
    }

    /// Whether a message is the one known under its id. Of an evicted one, content is not known any more.
    fn is_same(&self, message: &Message, key: &LogKey) -> bool {
        if self.known.key(&key.id).as_ref() != Some(key) {
            return false;
        }
        let same = |body: &Body| body.sender == message.sender && erase::is_content_of(body, &message.content);
        match self.known.standing(&key.id) {
            Standing::Parked => self.incoming.get(key).is_some_and(|waiting| same(&waiting.parked.body)),
            Standing::Delivered => self
                .log
                .get(key)
                .or_else(|| self.late.get(key))
                .map_or_else(|| self.log.stub_sender(key) == Some(&message.sender), |logged| same(&logged.body)),
            Standing::Unknown => false,
        }
    }

    /// Whether a message lies below everything still remembered.
    pub(super) fn is_too_old(&self, message: &Message) -> bool {
        let place = (message.lamport.unwrap_or(Lamport(0)), &message.id);
        self.meta.stub_floor.as_ref().is_some_and(|floor| place <= (floor.lamport, &floor.id))
    }

    /// A message below all memory. Who waits for it, waits in vain; who waits for one of another sender under its id does
    /// not.
    fn take_too_old(&mut self, id: MessageId, sender: ParticipantId) -> Fate {
        let is_meant = self.sender_named(&id).is_none_or(|named| *named == sender);
        if is_meant && (self.incoming.is_awaited(&id) || self.requests.get(&id).is_some()) {
            self.set_mark(&id, MarkKind::Lost);
            self.stats.lost += 1;
            self.effects.tell(Event::DependencyLost { id: id.clone() });
            self.settle();
        }
        self.effects.tell(Event::TooOld { id, sender });
        Fate::TooOld
    }

    /// The sender of a missing message, as it was named.
    fn sender_named(&self, id: &MessageId) -> Option<&ParticipantId> {
        if let Some(missing) = self.requests.get(id) {
            return missing.request.entry.sender.as_ref();
        }
        let waiter = self.incoming.waiters(id).next().and_then(|key| self.incoming.get(key))?;
        waiter.parked.body.causal_history.iter().find(|entry| entry.id == *id)?.sender.as_ref()
    }

    /// Sorts a new message's dependencies: all that it waits for, and those of them that must be asked for.
    fn dependencies(&mut self, body: &Body, part: Part, way: Way) -> (BTreeSet<MessageId>, Vec<HistoryEntry>) {
        let key = &body.key;
        let (mut unmet, mut named, mut missing) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        for entry in body.causal_history.iter().filter(|entry| entry.id != key.id) {
            self.stats.work += 1;
            match self.need(&entry.id, key, self.requests.get(&entry.id).is_some()) {
                Need::Met => {}
                Need::Waits => drop(unmet.insert(entry.id.clone())),
                Need::Missing if named.insert(&entry.id) => missing.push(entry.clone()),
                Need::Missing => {}
            }
        }
        if self.meta.floor.as_ref().is_some_and(|floor| key <= floor) {
            // Only what is parked is waited for.
            unmet.retain(|id| self.known.standing(id) == Standing::Parked);
            return (unmet, Vec::new());
        }
        if part != Part::News {
            if part == Part::History {
                self.spend_on_arrival(way);
            }
            missing = self.spend_on_history(missing, part);
        }
        if matches!(part, Part::First | Part::Lower) && !self.news_waits_for_history() {
            unmet.clear();
        } else {
            unmet.extend(missing.iter().map(|entry| entry.id.clone()));
        }
        (unmet, missing)
    }

    /// What a message at this place needs of a dependency, which is `asked` for or not.
    pub(super) fn need(&self, id: &MessageId, key: &LogKey, asked: bool) -> Need {
        let waits_for_history = || self.is_history(key) || self.news_waits_for_history();
        match (self.known.standing(id), self.marks.get(id)) {
            (Standing::Delivered, _)
            | (
                _,
                Some(
                    MarkKind::Lost | MarkKind::Overdue | MarkKind::DeclaredMet | MarkKind::Withdrawn | MarkKind::Erased,
                ),
            ) => Need::Met,
            (Standing::Parked, _) => {
                let history = self.known.key(id).is_some_and(|named| self.is_history(&named));
                if history && !waits_for_history() { Need::Met } else { Need::Waits }
            }
            (Standing::Unknown, Some(MarkKind::History)) if asked && waits_for_history() => Need::Waits,
            (Standing::Unknown, None) if asked && self.is_history(key) => Need::Waits,
            (Standing::Unknown, Some(MarkKind::History)) => Need::Met,
            (Standing::Unknown, None) => Need::Missing,
        }
    }

    /// Whether a message was never received and counts.
    pub(super) fn is_missing(&self, id: &MessageId) -> bool {
        self.known.standing(id) == Standing::Unknown && self.marks.get(id).is_none()
    }

    fn park(&mut self, parked: Parked, unmet: BTreeSet<MessageId>, missing: Vec<HistoryEntry>) -> Fate {
        let body = parked.body.clone();
        let key = &body.key;
        let since = parked.parked_at_age_ms;
        self.keep_parked(parked, unmet);
        if self.is_history(key) {
            self.strike_for_news(&key.id);
        }
        self.ask_for(&missing, since, &body.sender);
        self.settle();
        self.enforce_parked(self.config.limits.max_parked, self.config.limits.max_parked_bytes);
        match self.known.standing(&key.id) {
            Standing::Unknown => Fate::GaveWay,
            Standing::Parked => {
                let ids = missing.iter().map(|entry| entry.id.clone()).collect();
                if !missing.is_empty() {
                    self.effects.tell(Event::MissingDependencies { id: key.id.clone(), missing });
                }
                Fate::Parked { missing: ids }
            }
            // Something else may have met the last dependency.
            _ if body.is_erased() => Fate::Erased,
            _ => Fate::Delivered,
        }
    }

    /// Puts a message into the incoming buffer.
    pub(super) fn keep_parked(&mut self, parked: Parked, unmet: BTreeSet<MessageId>) {
        self.stats.work += unmet.len() as u64;
        self.known.set(&parked.body.key, Standing::Parked);
        self.effects.put(Row::Parked(parked.clone()));
        let expiry = self.loss_age(parked.parked_at_age_ms);
        self.incoming.park(parked, unmet, expiry);
    }

    /// The age at which what began to wait at age `since` is looked at for a cycle.
    pub(super) fn loss_age(&self, since: u64) -> u64 {
        since.saturating_add(millis(self.config.lost_timeout))
    }

    fn acknowledge_soon(&mut self, id: &MessageId, sender: &ParticipantId) {
        let random = self.now.random();
        self.sync.must_acknowledge(id, sender, &self.config, self.now.running, random);
    }

    /// Puts an id into our filter, or refreshes its time there.
    pub(super) fn take_into_filter(&mut self, id: &MessageId) -> IdHash {
        let hash = IdHash::in_dialect(id, self.config.dialect);
        self.filter.insert(id, hash, self.now.running);
        hash
    }

    pub(super) fn reseed_if_due(&mut self) {
        if self.filter.needs_reseed() {
            self.reseed();
        }
    }

    pub(super) fn reseed(&mut self) {
        let seed = self.now.random().to_be_bytes();
        self.filter.reseed(self.now.running, seed);
    }
}
