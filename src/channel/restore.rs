//! From saved data to a running channel (docs/persistence.md).
//!
//! How it moves: bodies first, so that the log, heads and stubs stand; then marks; then what waits, sends, asks and
//! answers, each checked against the bodies. What does not fit is mended, deleted from the store and reported.
//! Due times lie on disk as wall times; one further away than its schedule allows (the clock jumped) is pulled in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::filter::{IdHash, RollingFilter, RollingFilterConfig};
use crate::state::{
    ChannelData, ChannelMeta, LogKey, Logged, MarkKind, Outgoing, Parked, Place, Request, Response, Row, RowCounts,
    RowKey,
};
use crate::types::{ChannelId, Dialect, MessageId, ParticipantId, RunningTime, WallTime, millis};

use super::effects::Effects;
use super::known::{Keyed, Known, Standing};
use super::receive::Need;
use super::{
    Channel, Config, ConfigError, Context, Delivery, Event, Limit, Now, Outcome, Position, Stats, Step, clock, erase,
    incoming, log, marks, outgoing, repair, sync,
};

/// Ids beyond the acknowledgement window that a restored filter still holds.
const NEWEST_IDS: usize = 64;

/// No channel gets this old, 8,900 years: beyond it there would be no later age for a timer to wait for.
const MAX_AGE_MS: u64 = 1 << 48;

/// Why stored state makes no channel: the caller's fault.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The options are refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The channel was last run in a dialect with other ids and another unit of time: its log is no log of this one.
    #[error("the channel speaks {stored:?}, it cannot be opened as {configured:?}")]
    Dialect {
        /// As it was saved.
        stored: Dialect,
        /// As it is configured now.
        configured: Dialect,
    },
    /// The channel id is empty, too long, or, unless in nim-sds, not UTF-8.
    #[error("a channel id must have 1 to {max} bytes of UTF-8")]
    ChannelId {
        /// Bytes allowed.
        max: usize,
    },
}

impl Channel {
    /// A channel with the state that was saved of it; empty data makes a new one. The step saves what was mended
    /// and, under [`Config::confirm_deliveries`], delivers again what was not confirmed.
    ///
    /// # Errors
    /// [`RestoreError`] where options or ids are refused. Data that does not fit together is mended, not refused.
    pub fn restore(
        id: ChannelId,
        participant: ParticipantId,
        config: Arc<Config>,
        data: ChannelData,
        context: &Context,
    ) -> Result<(Self, Step), RestoreError> {
        config.validate()?;
        let max = config.limits.max_id_bytes;
        let valid = |bytes: &[u8]| config.dialect.allows_id(bytes, max);
        if !valid(participant.as_bytes()) {
            return Err(ConfigError::ParticipantId { len: participant.len(), max }.into());
        }
        if !valid(id.as_bytes()) {
            return Err(RestoreError::ChannelId { max });
        }
        config.check_transmit(&id, &participant)?;
        if let Some(stored) = data.meta.as_ref().map(|meta| meta.dialect).filter(|was| !was.same_family(config.dialect))
        {
            return Err(RestoreError::Dialect { stored, configured: config.dialect });
        }
        let mismatch = match &data.meta {
            None if !data.is_empty() => Some("rows without the meta".to_owned()),
            _ => data.check().err().map(|mismatch| mismatch.to_string()),
        };
        let hints = data.hints.len() as u64;
        let meta = data.meta.map(|mut meta| {
            // Where they were not counted, counting them is no change to be saved.
            meta.counts.hints.get_or_insert(hints);
            meta
        });
        let mut channel = Self::empty(id, participant, config, meta, context);
        if channel.meta.age_ms > MAX_AGE_MS {
            channel.mended(format!("an age of {} ms", channel.meta.age_ms));
            channel.meta.age_ms = MAX_AGE_MS;
        }
        data.hints.into_iter().for_each(|(id, hint)| channel.hints.insert(id, hint));
        channel.load(data.rows);
        if let Some(mismatch) = mismatch {
            channel.mended(mismatch);
            channel.mend_bounds();
        }
        channel.resume();
        let step = channel.step(Ok(Outcome::Done), false);
        Ok((channel, step))
    }

    /// A new channel.
    ///
    /// # Errors
    /// [`RestoreError`] where options or ids are refused.
    pub fn new(
        id: impl Into<ChannelId>,
        participant: impl Into<ParticipantId>,
        config: Arc<Config>,
        context: &Context,
    ) -> Result<Self, RestoreError> {
        // The step of a new channel is empty: there was nothing to mend.
        Self::restore(id.into(), participant.into(), config, ChannelData::default(), context)
            .map(|(channel, _)| channel)
    }

    fn empty(
        id: ChannelId,
        participant: ParticipantId,
        config: Arc<Config>,
        meta: Option<ChannelMeta>,
        context: &Context,
    ) -> Self {
        let mut now = Now { wall: context.wall, running: context.running, entropy: context.entropy };
        let keys = Keyed::new(now.random());
        let stored = meta.is_some();
        let meta = meta.unwrap_or_else(|| ChannelMeta {
            lamport: config.dialect.lamport_at(context.wall),
            next_delivery: 1,
            backfill_left: config.join.budget(),
            counts: RowCounts { hints: Some(0), ..RowCounts::default() },
            ..ChannelMeta::default()
        });
        let layout = RollingFilterConfig::of(config.dialect);
        let error_rate = if config.dialect == Dialect::Lip109 { config.filter_error_rate } else { layout.error_rate };
        let meta = ChannelMeta { dialect: config.dialect, ..meta };
        let filter =
            RollingFilter::new(RollingFilterConfig { window: config.acknowledgement_window, error_rate, ..layout });
        let sync = sync::Schedule::new(&config, now.running, now.random());
        let pace = repair::Pace::new(config.repair_bytes_per_second, now.running);
        Self {
            id,
            participant,
            saved: meta.clone(),
            stored,
            meta,
            known: Known::new(keys),
            names: super::names::Names::new(keys),
            log: log::Log::new(config.max_file_bytes.is_some()),
            late: BTreeMap::new(),
            unconfirmed: super::unconfirmed::Unconfirmed::default(),
            incoming: incoming::Incoming::new(keys),
            outgoing: outgoing::Outgoing::default(),
            budget: super::budget::Budget::default(),
            requests: repair::Requests::new(keys),
            refill: super::timeout::Refill::default(),
            responses: repair::Responses::new(keys),
            marks: marks::Marks::new(keys),
            expired: erase::Expired::default(),
            hints: super::hints::Hints::new(keys),
            filter,
            sync,
            company: super::company::Company::default(),
            echoes: super::echoes::Echoes::new(keys),
            heard: config.authenticator.as_ref().map(|_| Box::new(super::authentic::Heard::new(keys))),
            acknowledgers: super::acknowledgers::Acknowledgers::new(keys, config.max_message_history),
            incarnations: super::incarnations::Incarnations::new(context),
            batches: super::batch::Batches::default(),
            catch_up: (config.catch_up && config.dialect.has_sync()).then(|| {
                // No draw of its own: what is drawn after it stays as it was without catch-up.
                let entropy = now.entropy.rotate_left(21);
                Box::new(super::catchup::CatchUp::new(config.max_unsigned_bytes(), keys, entropy, now.running))
            }),
            members: None,
            answers: super::waits::Answers::new(&config),
            joining: super::join::Joining::default(),
            laggards: super::laggards::Laggards::default(),
            gap: super::gap::Gap::new(now.running),
            widening: super::widening::Widening::new(keys),
            pace,
            names_first: true,
            resends_allowed: now.running,
            slice: super::slice::Slice::default(),
            cycles: super::cycle::Search::default(),
            cycles_allowed: now.running,
            losses_checked: now.running,
            stats: Stats::default(),
            effects: Effects::default(),
            now,
            config,
        }
    }

    fn load(&mut self, rows: Vec<Row>) {
        self.known.reserve(rows.len());
        let (mut parked, mut members) = (Vec::new(), Vec::new());
        let mut open = Vec::new();
        for row in rows {
            match row {
                Row::Message(logged) => {
                    let key = logged.body.key.clone();
                    let number = logged.delivery.unwrap_or(0);
                    self.meta.next_delivery = self.meta.next_delivery.max(number.saturating_add(1));
                    if logged.below_floor {
                        self.known.set(&key, Standing::Delivered);
                        self.late.insert(key, logged);
                    } else {
                        self.log.insert(logged, &mut self.known);
                    }
                }
                Row::Parked(row) => parked.push(row),
                Row::Stub(mut stub) => {
                    self.names.share(&mut stub.sender);
                    self.known.set(&stub.key, Standing::Delivered);
                    self.log.add_stub(&stub);
                }
                Row::Mark(mark) => {
                    self.meta.marks_set = self.meta.marks_set.max(mark.sequence.saturating_add(1));
                    self.marks.insert(&mark);
                }
                Row::Incarnation(row) => {
                    if !self.incarnations.load(&row) {
                        self.mended(format!("incarnation {} has no number", row.id));
                        self.effects.delete(RowKey::by_id(Place::Incarnation, &row.id));
                    }
                }
                Row::Member(row) => members.push(row),
                Row::Outgoing(_) | Row::Request(_) | Row::Response(_) => open.push(row),
            }
        }
        // What was sent under a wrong date must not bring back a clock that was reset since.
        let limit = clock::limit(self.now.wall, self.config.max_clock_drift);
        if let Some(newest) = self.log.newest().filter(|newest| newest.lamport <= limit) {
            self.meta.lamport = self.meta.lamport.max(newest.lamport);
        }
        self.load_members(members);
        let asked = open
            .iter()
            .filter_map(|row| if let Row::Request(request) = row { Some(request.entry.id.clone()) } else { None })
            .collect();
        self.load_parked(parked, &asked);
        for row in open {
            let key = row.key();
            let fits = match row {
                Row::Outgoing(entry) => self.load_outgoing(entry),
                Row::Request(request) => self.load_request(request),
                Row::Response(response) => self.load_response(response),
                _ => true,
            };
            if !fits {
                self.mended(format!("{:?} entry of {} belonged to nothing", key.place, key.id));
                self.effects.delete(key);
            }
        }
    }

    /// Rows that came to the store without their meta tell of a floor and a horizon that it did not hold yet: stubs lie at
    /// or below the floor, and what was delivered without its dependencies at or below either.
    fn mend_bounds(&mut self) {
        self.meta.floor = self.meta.floor.take().max(self.log.stubs().map(|stub| stub.key).max());
        // Without a horizon what is marked as history tells of one, too.
        let joined = self.meta.horizon.is_some();
        let unmarked = |kind: Option<MarkKind>| kind.is_none() || !joined && kind == Some(MarkKind::History);
        let unmet = |logged: &Logged, id: &MessageId| {
            self.known.standing(id) == Standing::Unknown && unmarked(self.marks.get(id)) && !logged.missing.contains(id)
        };
        let horizon = self
            .log
            .iter()
            .filter(|logged| logged.delivery.is_some() && !self.is_old(&logged.body.key))
            .filter(|logged| log::references(&logged.body).any(|id| unmet(logged, id)))
            .map(|logged| logged.body.key.lamport)
            .max();
        self.meta.horizon = self.meta.horizon.max(horizon);
        if let Some(bound) = self.old_up_to() {
            self.release_old(None, &bound);
        }
    }

    fn load_parked(&mut self, parked: Vec<Parked>, asked: &BTreeSet<MessageId>) {
        let (fresh, delivered): (Vec<_>, Vec<_>) =
            parked.into_iter().partition(|row| self.known.standing(&row.body.key.id) == Standing::Unknown);
        for row in delivered {
            self.mended(format!("message {} was both delivered and parked", row.body.key.id));
            self.effects.delete(RowKey::body(&row.body.key));
            // A store deletes the hint with this body; it is still that of the message.
            if let Some(hint) = self.hints.get(&row.body.key.id) {
                self.effects.hints.push((row.body.key.id.clone(), hint.clone()));
            }
        }
        // A store that gives a row twice is not to give it a second place in the incoming buffer.
        let fresh: BTreeMap<LogKey, Parked> = fresh.into_iter().map(|row| (row.body.key.clone(), row)).collect();
        for key in fresh.keys() {
            self.known.set(key, Standing::Parked);
        }
        if self.begins_here() {
            return self.hold_again(fresh);
        }
        for row in fresh.into_values() {
            let key = &row.body.key;
            let unmet: BTreeSet<MessageId> = log::references(&row.body)
                .filter(|id| match self.need(id, key, asked.contains(*id)) {
                    Need::Met => false,
                    Need::Waits => true,
                    Need::Missing => !self.is_old(key),
                })
                .cloned()
                .collect();
            let expiry = self.loss_age(row.parked_at_age_ms);
            self.incoming.park(row, unmet, expiry);
        }
    }

    fn load_outgoing(&mut self, entry: Outgoing) -> bool {
        let Some(logged) = self.log.get(&entry.key) else { return false };
        let cost = log::cost(&logged.body);
        let due = self.due_at(entry.next_due, outgoing::longest_wait(&self.config));
        if !entry.failed {
            self.log.pin(&entry.key);
        }
        let hash = IdHash::in_dialect(&entry.key.id, self.config.dialect);
        self.outgoing.add(entry, hash, due, cost);
        true
    }

    fn load_request(&mut self, request: Request) -> bool {
        let missing = self.known.standing(&request.entry.id) == Standing::Unknown;
        if missing {
            let due = self.due_at(request.due, self.config.t_max.max(self.config.t_min).saturating_mul(2));
            let namer = self.incoming.waiters(&request.entry.id).next().and_then(|key| self.incoming.get(key));
            let namer = namer.map(|waiting| waiting.parked.body.sender.clone());
            let overdue = self.marks.get(&request.entry.id) == Some(MarkKind::Overdue);
            self.requests.insert(request, due, namer, overdue);
        }
        missing
    }

    fn load_response(&mut self, response: Response) -> bool {
        let Some(key) = self.known.key(&response.id) else { return false };
        let Some(bytes) = self.log.get(&key).map(|logged| log::cost(&logged.body)) else { return false };
        let due = self.due_at(response.due, self.config.t_max);
        self.log.pin(&key);
        self.responses.insert(&response, due, bytes);
        true
    }

    /// Sets going again what the data cannot hold: the filter, timers, unconfirmed deliveries.
    fn resume(&mut self) {
        self.fill_filter();
        self.deliver_again();
        self.prepare_to_join();
        self.settle();
        // Limits may be lower than in the run before.
        self.enforce_parked(self.config.limits.max_parked, self.config.limits.max_parked_bytes);
        self.enforce_repair();
        let unasked = self
            .incoming
            .iter()
            .flat_map(|waiting| &waiting.unmet)
            .any(|id| self.known.standing(id) == Standing::Unknown && self.requests.get(id).is_none());
        if unasked {
            self.refill.at = Some(self.now.running);
        }
        self.retain();
        self.drop_marks();
        // After all that may deliver: what waited since another date may lie beyond the limit.
        self.mend_clock();
        self.echoes.opened(self.meta.lamport);
        if let Some(newest) = self.log.newest() {
            let newest = newest.lamport;
            if let Some(catch_up) = &mut self.catch_up {
                catch_up.opened(newest, self.now.running, self.log.len());
            }
        }
        self.effects.released.clear();
    }

    /// Both repair buffers: what gives way among what is asked for, and the answers that are due last.
    fn enforce_repair(&mut self) {
        let max = self.config.limits.max_repair_entries;
        while self.requests.len() > max && self.displace_request(&None) {}
        let last: Vec<MessageId> = self.responses.iter().skip(max).map(|(_, response)| response.id).collect();
        for id in last {
            self.end_response(&id);
            self.effects.limit(Limit::RepairResponses, Some(id), None);
        }
    }

    /// Puts the ids of the acknowledgement window back into the filter, and acknowledges what came in just before.
    fn fill_filter(&mut self) {
        let mut seen: Vec<(WallTime, &crate::state::Body)> = self
            .log
            .iter()
            .map(|logged| (logged.seen, &*logged.body))
            .chain(self.incoming.iter().map(|waiting| (waiting.parked.seen, &*waiting.parked.body)))
            .collect();
        seen.sort_by(|a, b| (a.0, &a.1.key).cmp(&(b.0, &b.1.key)));
        let wall = self.now.wall.as_millis();
        let in_window =
            |seen: WallTime| wall.saturating_sub(seen.as_millis()) <= millis(self.config.acknowledgement_window);
        // The peers' layouts know no window: they hold what they have room for.
        let first = match self.config.dialect {
            Dialect::Lip109 => {
                seen.partition_point(|(seen, _)| !in_window(*seen)).min(seen.len().saturating_sub(NEWEST_IDS))
            }
            _ => 0,
        };
        let random = self.now.random();
        for (seen, body) in &seen[first..] {
            let passed = wall.saturating_sub(seen.as_millis());
            let heard = RunningTime::from_millis(self.now.running.as_millis().saturating_sub(passed));
            self.filter.insert(&body.key.id, IdHash::in_dialect(&body.key.id, self.config.dialect), heard);
            let longest = self.config.acknowledgement_delay.1.saturating_mul(self.config.response_groups);
            let recent = passed <= millis(longest);
            if recent && body.sender != self.participant {
                self.sync.must_acknowledge(&body.key.id, &body.sender, &self.config, self.now.running, random);
            }
        }
    }

    /// Under `confirm_deliveries`, tells again what the application may not have seen.
    fn deliver_again(&mut self) {
        if !self.config.confirm_deliveries {
            self.meta.told = self.meta.next_delivery.saturating_sub(1);
        }
        let mut untold: Vec<(u64, LogKey)> = self
            .log
            .iter()
            .chain(self.late.values())
            .filter_map(|logged| Some((logged.delivery.filter(|number| *number > self.meta.told)?, logged)))
            .map(|(number, logged)| (number, logged.body.key.clone()))
            .collect();
        untold.sort();
        for (number, key) in untold {
            if let Some(delivery) = self.delivery_at(number, &key) {
                self.effects.tell(Event::MessageDelivered(delivery));
            }
            self.keep_unconfirmed(number, key);
        }
        self.enforce_unconfirmed(self.config.limits.max_unconfirmed_bytes);
        let told = self.meta.told;
        let gone: Vec<LogKey> = self
            .late
            .iter()
            .filter(|(_, logged)| logged.delivery.is_none_or(|number| number <= told))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            if let Some(logged) = self.late.remove(&key) {
                self.leave_stub(&logged);
            }
        }
    }

    /// A delivery as it was told, with its present place in the log.
    pub(super) fn delivery_at(&self, number: u64, key: &LogKey) -> Option<Delivery> {
        let logged = self.log.get(key).or_else(|| self.late.get(key)).filter(|logged| !logged.body.is_erased())?;
        let position = match self.log.successor(key) {
            _ if logged.below_floor => Position::BelowFloor,
            None => Position::Newest,
            Some(successor) => Position::Before(successor.clone()),
        };
        let (body, missing) = (logged.body.clone(), logged.missing.clone());
        let from_member = self.is_member(&body.sender);
        let incarnation = self.incarnations.of(number);
        Some(Delivery {
            number,
            incarnation,
            body,
            position,
            late: logged.late,
            missing,
            history: self.is_history(key),
            from_member,
            below_stable: logged.below_stable,
        })
    }

    /// The running time of a wall time on disk, at most `longest` away; overdue ones keep their order.
    fn due_at(&self, due: WallTime, longest: Duration) -> RunningTime {
        let (due, wall) = (due.as_millis(), self.now.wall.as_millis());
        if due < wall {
            return RunningTime::from_millis(self.now.running.as_millis().saturating_sub(wall - due));
        }
        self.now.running.after(Duration::from_millis((due - wall).min(millis(longest))))
    }

    pub(super) fn mended(&mut self, what: String) {
        self.effects.tell(Event::StateMended { what });
    }
}
