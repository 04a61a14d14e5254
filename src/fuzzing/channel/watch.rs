//! What must hold after every step, whatever was put in.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::channel::{Channel, Context, Delivery, Event, Fate, Input, Join, Outcome, Stats, Step, TransmitKind};
use crate::state::{ChannelData, ChannelMeta, Commit, LogKey, Logged, MarkKind, Parked, Place, Row, RowKey};
use crate::types::{Dialect, FilterField, Lamport, Limits, Message, MessageId};
use crate::wire;

/// Units of work that a step may do for every row saved and entry named.
const WORK_PER_PART: u64 = 24;

/// What was saved, and what the channel was seen to do.
#[derive(Debug, Default)]
pub(super) struct Watch {
    meta: Option<ChannelMeta>,
    rows: BTreeMap<RowKey, Row>,
    hints: BTreeMap<MessageId, Bytes>,
    /// Every delivery, with its number.
    delivered: BTreeMap<LogKey, u64>,
    /// Ids delivered or sent, lost or declared met.
    met: BTreeSet<MessageId>,
    /// Ids that were marked as history.
    history: BTreeSet<MessageId>,
    /// Ids that were parked as history: what a lower horizon turns into news waits for no more than before (docs/protocol.md
    /// section 5.8).
    parked_as_history: BTreeSet<MessageId>,
    /// Every horizon there was.
    horizons: BTreeSet<Lamport>,
    failed: BTreeSet<MessageId>,
    acknowledged: BTreeSet<MessageId>,
    last_number: u64,
}

impl Watch {
    /// As a store gives it back.
    pub(super) fn saved(&self) -> ChannelData {
        ChannelData {
            meta: self.meta.clone(),
            rows: self.rows.values().cloned().collect(),
            hints: self.hints.iter().map(|(id, hint)| (id.clone(), hint.clone())).collect(),
        }
    }

    /// Looks at a step and at the channel after it.
    pub(super) fn step(&mut self, channel: &Channel, context: &Context, input: &Input, before: &Stats, step: Step) {
        self.horizons.extend(channel.meta().horizon);
        let parked: BTreeSet<MessageId> = self.parked();
        let rows_before = self.rows.len();
        if let Err(error) = &step.outcome {
            assert!(step.save.history.is_empty() && step.save.hints.is_empty(), "{error}: {:?}", step.save);
            assert!(step.transmit.is_empty() && step.events.is_empty(), "{error}: {:?}", step.events);
        }
        if let (Input::DependenciesMet(ids), Ok(_)) = (input, &step.outcome) {
            self.met.extend(ids.iter().cloned());
        }
        if let (Input::Send { .. }, Ok(Outcome::Sent(id))) = (input, &step.outcome) {
            self.met.insert(id.clone());
        }
        if let (Input::Erase(id), Ok(_)) = (input, &step.outcome) {
            self.met.insert(id.clone());
        }
        self.stays_erased(&step);
        self.note_erased(&step.save.history.put);
        self.note_lost(&step.events);
        let mut new = Vec::new();
        for event in &step.events {
            match event {
                Event::MessageDelivered(delivery) => {
                    self.deliver(
                        channel,
                        delivery,
                        matches!(input, Input::Timeout).then_some(&parked),
                        &step.save.history.put,
                    );
                    new.push(delivery.body.key.id.clone());
                }
                Event::StateMended { what } => panic!("nothing to mend while running: {what}"),
                other => self.note(other),
            }
        }
        if let Ok(Outcome::Received(received)) = &step.outcome {
            assert_eq!(received.released, new, "what is released is what was told");
            let delivered = received.released.contains(&received.id);
            match &received.fate {
                Fate::Delivered => assert!(delivered),
                Fate::Parked { .. } => assert!(channel.incoming().iter().any(|waiting| waiting.id == received.id)),
                fate => assert!(!delivered, "{fate:?} and delivered"),
            }
        }
        self.transmitted(channel, &step);
        self.apply(step.save);
        self.holds(channel);
        if *input == Input::Timeout {
            let next = channel.poll_timeout();
            let later = next.map_or(!channel.config().dialect.has_sync(), |next| next > context.running);
            assert!(later, "after a timeout, the next lies later than now: {next:?}");
        }
        let parts = rows_before + self.rows.len() + named(input) + 16;
        let work = channel.stats().work - before.work;
        assert!(work <= WORK_PER_PART * parts as u64, "{work} units of work over {parts} parts for {input:?}");
    }

    /// What was erased is not told, sent or saved any more.
    fn stays_erased(&self, step: &Step) {
        let marks = |row: &Row| matches!(row, Row::Mark(mark) if mark.kind == MarkKind::Erased);
        let erased: BTreeSet<MessageId> = self.rows.values().filter(|row| marks(row)).map(|row| row.key().id).collect();
        for event in &step.events {
            let told = matches!(event, Event::MessageDelivered(delivery) if erased.contains(&delivery.body.key.id));
            assert!(!told, "told though erased: {event:?}");
        }
        for sent in &step.transmit {
            assert!(
                sent.message.content.is_empty() || !erased.contains(&sent.message.id),
                "sent though erased: {sent:?}"
            );
        }
        let erased =
            erased.into_iter().chain(step.save.history.put.iter().filter(|row| marks(row)).map(|row| row.key().id));
        let erased: BTreeSet<MessageId> = erased.collect();
        for row in &step.save.history.put {
            let (Row::Message(Logged { body, .. }) | Row::Parked(Parked { body, .. })) = row else { continue };
            assert!(body.content.is_empty() || !erased.contains(&body.key.id), "saved though erased: {row:?}");
        }
        assert!(step.save.hints.iter().all(|(id, _)| !erased.contains(id)), "{:?}", step.save.hints);
    }

    /// Looks at a channel made from what was saved.
    pub(super) fn restored(&mut self, channel: &Channel, step: Step) {
        assert!(step.outcome.is_ok() && step.transmit.is_empty(), "a restart says nothing to others");
        self.horizons.extend(channel.meta().horizon);
        let (log, parked) = (self.log(), self.parked());
        self.note_erased(&step.save.history.put);
        self.note_lost(&step.events);
        for event in &step.events {
            match event {
                Event::MessageDelivered(delivery) if self.delivered.contains_key(&delivery.body.key) => {
                    assert!(channel.config().confirm_deliveries, "delivered again unasked: {delivery:?}");
                    assert_eq!(self.delivered.get(&delivery.body.key), Some(&delivery.number));
                    let told = self.meta.as_ref().map_or(0, |meta| meta.told);
                    assert!(delivery.number > told, "told already: {delivery:?}");
                }
                Event::MessageDelivered(delivery) => self.deliver(channel, delivery, None, &step.save.history.put),
                Event::StateMended { what } => panic!("what was saved fits together: {what}"),
                other => self.note(other),
            }
        }
        self.apply(step.save);
        self.holds(channel);
        let gone: Vec<_> = log.difference(&self.log()).cloned().collect();
        assert!(gone.iter().all(|key| self.floor_covers(key)), "lost by a restart: {gone:?}");
        let told = |id: &MessageId| self.met.contains(id);
        let lost: Vec<_> = parked.difference(&self.parked()).filter(|id| !told(id)).cloned().collect();
        assert!(lost.is_empty(), "parked and lost by a restart: {lost:?}");
    }

    /// A delivery: the first of this message, next in number, after all it depends on. In a timeout, messages that
    /// wait for each other may go ahead: those in `cycles`.
    fn deliver(&mut self, channel: &Channel, delivery: &Delivery, cycles: Option<&BTreeSet<MessageId>>, saved: &[Row]) {
        let Delivery { number, body, .. } = delivery;
        assert_eq!(*number, self.last_number + 1, "numbers have no gaps");
        self.last_number = *number;
        let twice = self.delivered.insert(body.key.clone(), *number);
        assert_eq!(twice, None, "delivered twice: {:?}", body.key);
        let known = self.rows.values().any(|row| match row {
            Row::Message(row) => row.body.key.id == body.key.id,
            Row::Stub(row) => row.key.id == body.key.id,
            _ => false,
        });
        assert!(!known, "{} is in the log already", body.key.id);
        let meta = channel.meta();
        // Whoever made or lowered a horizon lies just above it, also when what it waited for lowered it further.
        let below = body.key.lamport.0.checked_sub(1).map(Lamport);
        let old = meta.horizon.is_some_and(|horizon| body.key.lamport <= horizon)
            || below.is_some_and(|below| self.horizons.contains(&below))
            || self.parked_as_history.contains(&body.key.id)
            || meta.floor.as_ref().is_some_and(|floor| body.key <= *floor);
        for entry in body.causal_history.iter().filter(|entry| entry.id != body.key.id && !old) {
            let met = self.met.contains(&entry.id)
                || cycles.is_some_and(|parked| parked.contains(&entry.id))
                || self.is_history(channel, &entry.id, saved);
            assert!(met, "{} before {}, on which it depends", body.key.id, entry.id);
        }
        self.met.insert(body.key.id.clone());
    }

    /// Whether this is history, which news waits for with [`Join::Backfill`] alone, while it is fetched.
    fn is_history(&self, channel: &Channel, id: &MessageId, saved: &[Row]) -> bool {
        let highest = self.horizons.last().copied();
        let below = |key: &LogKey| key.id == *id && Some(key.lamport) <= highest;
        let marked = |row: &Row| matches!(row, Row::Mark(mark) if mark.id == *id && mark.kind == MarkKind::History);
        let history = self.history.contains(id)
            || saved.iter().any(marked)
            || self.rows.values().chain(saved).any(|row| match row {
                Row::Message(row) => below(&row.body.key),
                Row::Parked(row) => below(&row.body.key),
                Row::Stub(row) => below(&row.key),
                _ => false,
            });
        let backfill = matches!(channel.config().join, Join::Backfill(_));
        history && !(backfill && channel.requests().iter().any(|request| request.entry.id == *id))
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::DeliveryFailed { id, .. } => {
                assert!(!self.acknowledged.contains(id), "{id} failed though acknowledged");
                assert!(self.failed.insert(id.clone()), "{id} failed twice");
            }
            Event::MessageAcknowledged { id, after_failure, .. } => {
                assert!(self.acknowledged.insert(id.clone()), "{id} acknowledged twice");
                assert_eq!(*after_failure, self.failed.contains(id));
            }
            _ => {}
        }
    }

    /// What came too old for its content is in the log, or at once below it, without being told.
    fn note_erased(&mut self, saved: &[Row]) {
        let erased = saved.iter().filter_map(|row| match row {
            Row::Message(logged) if logged.body.is_erased() => Some(logged.body.key.id.clone()),
            Row::Stub(stub) => Some(stub.key.id.clone()),
            _ => None,
        });
        self.met.extend(erased);
    }

    fn note_lost(&mut self, events: &[Event]) {
        let lost = events.iter().filter_map(|event| match event {
            Event::DependencyLost { id } => Some(id.clone()),
            _ => None,
        });
        self.met.extend(lost);
    }

    /// What goes out can be encoded, keeps the limits that everybody has, and can be read.
    fn transmitted(&self, channel: &Channel, step: &Step) {
        let config = channel.config();
        for sent in &step.transmit {
            let message = &sent.message;
            let bytes = wire::encode(message, config.dialect).expect("a channel sends what can be encoded");
            let decoded = wire::decode(&bytes, &Limits { max_filter_bytes: 64 << 10, ..config.limits.clone() });
            let (decoded, _) = decoded.expect("a channel sends what others take");
            if message.filter != FilterField::Unusable {
                assert_eq!(decoded, as_read(message, config.dialect));
            }
            let own = !matches!(sent.kind, TransmitKind::Relay | TransmitKind::Repair);
            let max = config.max_transmit_bytes.filter(|_| own && sent.kind != TransmitKind::Resend);
            assert!(max.is_none_or(|max| bytes.len() <= max), "{} bytes of {:?}", bytes.len(), sent.kind);
        }
    }

    fn apply(&mut self, commit: Commit) {
        self.history.extend(commit.history.put.iter().filter_map(|row| match row {
            Row::Mark(mark) if mark.kind == MarkKind::History => Some(mark.id.clone()),
            _ => None,
        }));
        for key in &commit.history.delete {
            self.rows.remove(key);
            if key.place == Place::Body {
                self.hints.remove(&key.id);
            }
        }
        self.rows.extend(commit.history.put.into_iter().map(|row| (row.key(), row)));
        self.hints.extend(commit.hints);
        self.meta = commit.meta.or(self.meta.take());
    }

    /// What always holds of a channel between steps.
    fn holds(&mut self, channel: &Channel) {
        let horizon = channel.meta().horizon;
        let history = self.rows.values().filter_map(|row| match row {
            Row::Parked(row) if Some(row.body.key.lamport) <= horizon => Some(row.body.key.id.clone()),
            _ => None,
        });
        self.parked_as_history.extend(history);
        let saved = self.saved();
        assert_eq!(saved, channel.data(), "what was saved is the state");
        assert_eq!(saved.check(), Ok(()));
        let log: Vec<&LogKey> = channel.log().map(|logged| &logged.body.key).collect();
        assert!(log.is_sorted_by(|a, b| a < b), "the log is in order");
        let mut ids = BTreeSet::new();
        for key in self.rows.keys().filter(|key| key.place == Place::Body) {
            assert!(ids.insert(&key.id), "{} is in two places", key.id);
        }
        let in_log: BTreeSet<&MessageId> = log.iter().map(|key| &key.id).collect();
        for waiting in channel.incoming() {
            assert!(!waiting.waits_for.is_empty(), "{} waits for nothing", waiting.id);
            assert!(!waiting.waits_for.iter().any(|id| in_log.contains(id)), "{waiting:?} waits for the log");
        }
        let (config, stats, meta) = (channel.config(), channel.stats(), channel.meta());
        let (limits, counts) = (&config.limits, &meta.counts);
        assert!(stats.parked_len <= limits.max_parked && stats.parked_bytes <= limits.max_parked_bytes, "{stats:?}");
        assert!(stats.outgoing_len <= limits.max_outgoing, "{stats:?}");
        assert!(counts.requests.max(counts.responses) <= limits.max_repair_entries as u64, "{counts:?}");
        assert!(counts.marks <= limits.max_marks as u64, "{counts:?}");
        assert!(counts.stubs <= 10 * config.max_message_history as u64, "{counts:?}");
        let untold = meta.next_delivery - 1 - meta.told.min(meta.next_delivery - 1);
        let pinned = stats.outgoing_len as u64 + counts.responses + untold;
        assert!(stats.log_len as u64 <= config.max_message_history as u64 + pinned, "{stats:?} {pinned}");
        assert!(pinned > 0 || stats.log_bytes <= config.max_log_bytes, "{stats:?}");
    }

    fn log(&self) -> BTreeSet<LogKey> {
        let logged = self.rows.values().filter_map(|row| match row {
            Row::Message(row) if !row.below_floor => Some(row.body.key.clone()),
            _ => None,
        });
        logged.collect()
    }

    fn parked(&self) -> BTreeSet<MessageId> {
        let parked = self.rows.values().filter_map(|row| match row {
            Row::Parked(row) => Some(row.body.key.id.clone()),
            _ => None,
        });
        parked.collect()
    }

    fn floor_covers(&self, key: &LogKey) -> bool {
        self.meta.as_ref().and_then(|meta| meta.floor.as_ref()).is_some_and(|floor| key <= floor)
    }
}

/// Entries that an input names.
fn named(input: &Input) -> usize {
    match input {
        Input::Receive(message) | Input::Relay(message) => message.causal_history.len() + message.repair_request.len(),
        Input::DependenciesMet(ids) => ids.len(),
        _ => 0,
    }
}

/// A message as it arrives: nim-sds always writes the filter, and has no hint where it is empty.
fn as_read(message: &Message, dialect: Dialect) -> Message {
    let mut read = message.clone();
    if dialect == Dialect::NimSds {
        if read.filter == FilterField::Absent {
            read.filter = FilterField::NimSds(Bytes::new());
        }
        for entry in read.causal_history.iter_mut().chain(&mut read.repair_request) {
            entry.hint = entry.hint.take().filter(|hint| !hint.is_empty());
        }
    }
    read
}
