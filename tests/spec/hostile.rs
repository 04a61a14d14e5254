//! Whatever comes in, in whatever order: what must always hold still holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reliable_channel::channel::{Channel, Config, Context, Event, Input, Join, Limit, Step};
use reliable_channel::state::{ChannelData, ChannelMeta, Commit, LogKey, MarkKind, Place, Row, RowKey};
use reliable_channel::types::{
    ChannelId, FilterField, HistoryEntry, Lamport, Message, MessageId, ParticipantId, RunningTime, WallTime,
};
use tap::Tap as _;

use crate::harness::{EPOCH, Rng};

const INPUTS: usize = 2_000;
/// What costs most is checked after every so many inputs.
const EVERY: usize = 16;

/// A store that is told every commit.
#[derive(Default)]
struct Disk {
    meta: Option<ChannelMeta>,
    rows: BTreeMap<RowKey, Row>,
    hints: BTreeMap<MessageId, Bytes>,
}

impl Disk {
    fn apply(&mut self, commit: &Commit) {
        for key in &commit.history.delete {
            self.rows.remove(key);
            if key.place == Place::Body {
                self.hints.remove(&key.id);
            }
        }
        self.rows.extend(commit.history.put.iter().map(|row| (row.key(), row.clone())));
        self.hints.extend(commit.hints.iter().cloned());
        if commit.meta.is_some() {
            self.meta.clone_from(&commit.meta);
        }
    }

    fn data(&self) -> ChannelData {
        ChannelData {
            meta: self.meta.clone(),
            rows: self.rows.values().cloned().collect(),
            hints: self.hints.clone().into_iter().collect(),
        }
    }
}

struct World {
    rng: Rng,
    channel: Channel,
    disk: Disk,
    now: u64,
    wall: u64,
    delivered: BTreeSet<LogKey>,
    /// Delivered or sent, under whatever key.
    had: BTreeSet<MessageId>,
    /// Ever marked as lost or declared met.
    marked: BTreeSet<MessageId>,
    next_number: u64,
    /// The highest horizon so far.
    horizon: Option<Lamport>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let config = Arc::new(config(&mut rng));
        let context = Context::new(WallTime::from_millis(EPOCH), RunningTime::from_millis(0), rng.next());
        let channel = Channel::new("c", "alice", config, &context).unwrap();
        Self {
            rng,
            channel,
            disk: Disk::default(),
            now: 0,
            wall: EPOCH,
            delivered: BTreeSet::new(),
            had: BTreeSet::new(),
            marked: BTreeSet::new(),
            next_number: 1,
            horizon: None,
        }
    }

    fn context(&mut self) -> Context {
        Context::new(WallTime::from_millis(self.wall), RunningTime::from_millis(self.now), self.rng.next())
    }

    fn turn(&mut self, turn: usize) {
        self.pass_time();
        let context = self.context();
        if self.rng.below(40) == 0 {
            return self.restart(&context);
        }
        let input = if self.rng.below(4) == 0 { Input::Timeout } else { any_input(&mut self.rng, self.now) };
        let timeout = input == Input::Timeout;
        // Who waits for whom, for the cycles that a timeout may break.
        let waits: BTreeMap<MessageId, Vec<MessageId>> = if timeout {
            self.channel.incoming().into_iter().map(|waiting| (waiting.id, waiting.waits_for)).collect()
        } else {
            BTreeMap::new()
        };
        let sends = if let Input::Send { id: Some(id), .. } = &input { Some(id.clone()) } else { None };
        let before = self.channel.meta().clone();
        let step = self.channel.handle(&context, input);
        if let (Some(id), Ok(_)) = (sends, &step.outcome) {
            self.had.insert(id);
        }
        if step.outcome.is_err() {
            let changed = self.channel.meta().clone().tap_mut(|it| it.age_ms = before.age_ms);
            let reset = step.events.iter().any(|event| matches!(event, Event::ClockReset { .. }));
            assert!(reset || changed == before, "a refused input changed {before:?} to {changed:?}");
        }
        self.carry_out(&step, &waits);
        if timeout {
            assert!(self.channel.poll_timeout() > Some(RunningTime::from_millis(self.now)), "always due");
        }
        self.check_sizes();
        if turn.is_multiple_of(EVERY) {
            self.check_thoroughly();
        }
    }

    fn pass_time(&mut self) {
        let passed = match self.rng.below(20) {
            0 => 3_600_000,
            1..=3 => 61_000,
            4..=9 => self.rng.below(3_000),
            10..=13 => self.channel.poll_timeout().map_or(0, |due| due.as_millis().saturating_sub(self.now)),
            _ => 0,
        };
        self.now += passed;
        self.wall = match self.rng.below(200) {
            0 => EPOCH - 100_000,
            1 => EPOCH + self.now + 3 * 86_400_000,
            2 => EPOCH + self.now,
            _ => self.wall + passed,
        };
    }

    fn restart(&mut self, context: &Context) {
        assert_eq!(self.disk.data(), self.channel.data(), "what was saved is the state");
        let config = self.channel.config().clone();
        let (channel, step) =
            Channel::restore(ChannelId::from("c"), ParticipantId::from("alice"), config, self.disk.data(), context)
                .unwrap();
        self.channel = channel;
        for event in &step.events {
            assert!(!matches!(event, Event::StateMended { .. }), "{event:?}");
            // Delivered again, as it was not confirmed.
            if let Event::MessageDelivered(delivery) = event
                && delivery.number < self.next_number
            {
                assert!(self.delivered.contains(&delivery.body.key));
            }
        }
        let again = self.next_number;
        let fresh = step
            .events
            .iter()
            .filter(|event| matches!(event, Event::MessageDelivered(delivery) if delivery.number >= again));
        assert_eq!(fresh.count(), 0, "a restart delivers nothing new");
        self.carry_out(&Step { events: Vec::new(), ..step }, &BTreeMap::new());
        self.check_thoroughly();
    }

    fn carry_out(&mut self, step: &Step, waits: &BTreeMap<MessageId, Vec<MessageId>>) {
        self.disk.apply(&step.save);
        self.marked.extend(step.save.history.put.iter().filter_map(|row| match row {
            Row::Mark(mark) => Some(mark.id.clone()),
            _ => None,
        }));
        // A mark that gave way to the next one within the same step met its dependency all the same.
        self.marked.extend(step.events.iter().filter_map(|event| match event {
            Event::DependencyLost { id } | Event::LimitReached { limit: Limit::Marks, id: Some(id), .. } => {
                Some(id.clone())
            }
            _ => None,
        }));
        for event in &step.events {
            let Event::MessageDelivered(delivery) = event else { continue };
            let body = &delivery.body;
            assert_eq!(delivery.number, self.next_number, "numbered without gaps");
            self.next_number += 1;
            assert!(self.delivered.insert(body.key.clone()), "{:?} was delivered twice", body.key);
            let meta = self.channel.meta();
            // Whoever made or lowered the horizon lies just above it, and waits for nothing either; what it turns from history
            // into news has stopped waiting.
            let old =
                self.horizon.max(meta.horizon).is_some_and(|horizon| body.key.lamport.0 <= horizon.0.saturating_add(1))
                    || meta.floor.as_ref().is_some_and(|floor| body.key <= *floor);
            for id in body.causal_history.iter().map(|entry| &entry.id).filter(|id| **id != body.key.id) {
                let met = self.had.contains(id)
                    || self.marked.contains(id)
                    || self.is_history(id)
                    || reaches(waits, id, &body.key.id);
                // What was unknown when an old message came counts as met, also if it was parked since.
                assert!(met || old, "{:?} was delivered before {id}, {step:?}", body.key);
            }
            self.had.insert(body.key.id.clone());
        }
        self.horizon = self.horizon.max(self.channel.meta().horizon);
    }

    /// Whether this is history, which news waits for with [`Join::Backfill`] alone, while it is fetched.
    fn is_history(&self, id: &MessageId) -> bool {
        let Some(horizon) = self.channel.meta().horizon else { return false };
        let here = |row: &Row| match row {
            Row::Message(logged) => (logged.body.key.id == *id).then_some(logged.body.key.lamport),
            Row::Parked(parked) => (parked.body.key.id == *id).then_some(parked.body.key.lamport),
            Row::Stub(stub) => (stub.key.id == *id).then_some(stub.key.lamport),
            _ => None,
        };
        let old = self.disk.rows.values().find_map(here).is_some_and(|lamport| lamport <= horizon);
        let fetched = self.channel.requests().iter().any(|request| request.entry.id == *id);
        old && !(matches!(self.channel.config().join, Join::Backfill(_)) && fetched)
    }

    fn check_sizes(&self) {
        let config = self.channel.config();
        let (limits, stats, counts) = (&config.limits, self.channel.stats(), self.channel.meta().counts);
        assert!(stats.parked_len <= limits.max_parked && stats.parked_bytes <= limits.max_parked_bytes);
        assert!(stats.outgoing_len <= limits.max_outgoing);
        assert!(counts.requests <= limits.max_repair_entries as u64);
        assert!(counts.responses <= limits.max_repair_entries as u64);
        assert!(counts.marks <= limits.max_marks as u64);
        assert!(counts.stubs <= 10 * config.max_message_history as u64);
        if !config.confirm_deliveries {
            // What is waited for or asked for stays beyond the limit.
            let pinned = stats.outgoing_len + usize::try_from(counts.responses).unwrap();
            assert!(stats.log_len <= config.max_message_history + pinned);
        }
    }

    fn check_thoroughly(&self) {
        assert_eq!(self.disk.data(), self.channel.data(), "what was saved is the state");
        let keys: Vec<&LogKey> = self.channel.log().map(|logged| &logged.body.key).collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
        let ids: BTreeSet<&MessageId> = keys.iter().map(|key| &key.id).collect();
        assert_eq!(ids.len(), keys.len(), "an id stands once in the log");
        for waiting in self.channel.incoming() {
            assert!(!waiting.waits_for.is_empty(), "{} waits for nothing", waiting.id);
            for id in &waiting.waits_for {
                let met = self.disk.rows.values().any(|row| match row {
                    Row::Message(logged) => logged.body.key.id == *id,
                    Row::Stub(stub) => stub.key.id == *id,
                    // History is waited for by history while it is asked for.
                    Row::Mark(mark) => mark.id == *id && mark.kind != MarkKind::History,
                    _ => false,
                });
                assert!(!met, "{} waits for {id}, which is met", waiting.id);
            }
        }
        for request in self.channel.requests() {
            let here = self.disk.rows.values().any(|row| match row {
                Row::Message(logged) => logged.body.key.id == request.entry.id,
                Row::Parked(parked) => parked.body.key.id == request.entry.id,
                _ => false,
            });
            assert!(!here, "{:?} is asked for and here", request.entry.id);
        }
    }
}

/// Whether `from` waits for `to`, through others or not.
fn reaches(waits: &BTreeMap<MessageId, Vec<MessageId>>, from: &MessageId, to: &MessageId) -> bool {
    let mut seen = BTreeSet::from([from]);
    let mut work = vec![from];
    while let Some(id) = work.pop() {
        if id == to {
            return true;
        }
        work.extend(waits.get(id).into_iter().flatten().filter(|id| seen.insert(id)));
    }
    false
}

fn config(rng: &mut Rng) -> Config {
    let join = match rng.below(4) {
        0 => Join::FromNow,
        1 => Join::Recent(rng.below(20)),
        2 => Join::Backfill(rng.below(20)),
        _ => Join::Backfill(u64::MAX),
    };
    let mut config = Config::default().tap_mut(|it| it.join = join);
    config.max_message_history = 1 + rng.below(10) as usize;
    config.max_log_bytes = [300, 1_000, 8 << 20][rng.below(3) as usize];
    config.max_log_age = [None, Some(Duration::from_secs(100))][rng.below(2) as usize];
    config.max_causal_heads = 1 + rng.below(4) as usize;
    config.causal_history_size = rng.below(4) as usize;
    config.max_transmit_bytes = [None, Some(200), Some(400)][rng.below(3) as usize];
    config.t_min = Duration::from_millis([0, 100, 5_000][rng.below(3) as usize]);
    config.t_max = Duration::from_millis([1, 1_000, 60_000][rng.below(3) as usize]);
    config.response_groups = 1 + rng.below(3) as u32;
    config.repair_bytes_per_second = [1, 100, 1 << 18][rng.below(3) as usize];
    config.lost_timeout = Duration::from_secs([1, 60, 1_800][rng.below(3) as usize]);
    config.confirm_deliveries = rng.below(3) == 0;
    config.max_clock_drift = [Duration::from_secs(86_400), Duration::MAX][usize::from(rng.below(4) == 0)];
    let limits = &mut config.limits;
    limits.max_requests_per_message = rng.below(5) as usize;
    limits.max_parked = 1 + rng.below(8) as usize;
    limits.max_parked_bytes = 1_000 + 4 * rng.below(3_000) as usize;
    limits.max_outgoing = 1 + rng.below(5) as usize;
    limits.max_repair_entries = 1 + rng.below(6) as usize;
    limits.max_repair_entries_per_message = 1 + rng.below(4) as usize;
    limits.max_marks = 1 + rng.below(5) as usize;
    config
}

fn any_id(rng: &mut Rng) -> String {
    format!("m{:02}", rng.below(14))
}

fn any_entries(rng: &mut Rng, most: u64) -> Vec<HistoryEntry> {
    let len = rng.below(most);
    let entry = |rng: &mut Rng| {
        HistoryEntry::new(any_id(rng)).tap_mut(|it| {
            it.hint = (rng.below(4) == 0).then(|| Bytes::from("hint"));
            it.sender = (rng.below(3) == 0).then(|| any_sender(rng));
        })
    };
    (0..len).map(|_| entry(rng)).collect()
}

fn any_sender(rng: &mut Rng) -> ParticipantId {
    ParticipantId::from(["alice", "bob", "carol", "mallory"][rng.below(4) as usize])
}

fn any_filter(rng: &mut Rng) -> FilterField {
    let bits: Vec<u8> = (0..rng.below(6)).map(|_| (rng.next() | rng.next()) as u8).collect();
    match rng.below(6) {
        0 => FilterField::Unusable,
        1 => FilterField::Unspecified(Bytes::from(bits)),
        2 | 3 => FilterField::Compact { k: rng.below(80) as u32, seed: [rng.below(5) as u8; 8], bits: bits.into() },
        _ => FilterField::Absent,
    }
}

fn any_message(rng: &mut Rng, now: u64) -> Message {
    let lamport = match rng.below(24) {
        0 => 0,
        1 => rng.below(3),
        2 => u64::MAX - rng.below(2),
        3 => 1 << 63,
        4 => EPOCH + now + 86_400_000,
        5..=9 => EPOCH + now + rng.below(1_000),
        _ => EPOCH + rng.below(40),
    };
    Message::new(any_id(rng).into(), any_sender(rng), "c".into()).tap_mut(|it| {
        it.lamport = (rng.below(15) > 0).then_some(Lamport(lamport));
        it.causal_history = any_entries(rng, 6);
        it.filter = any_filter(rng);
        it.repair_request = any_entries(rng, 4);
        it.content =
            Bytes::from(["", "x", "x", "x", "x", "y"][rng.below(6) as usize].repeat(1 + rng.below(90) as usize));
    })
}

fn any_input(rng: &mut Rng, now: u64) -> Input {
    let content = Bytes::from("z".repeat(rng.below(40) as usize));
    match rng.below(40) {
        0..=3 => Input::Send { content, id: (rng.below(2) == 0).then(|| any_id(rng).into()) },
        4 => Input::SendEphemeral { content },
        5 => Input::SendSync,
        6 | 7 => Input::Relay(any_message(rng, now)),
        8 | 9 => Input::DependenciesMet((0..rng.below(3)).map(|_| any_id(rng).into()).collect()),
        10 | 11 => Input::SetHint { id: any_id(rng).into(), hint: Bytes::from(rng.below(9).to_string()) },
        12 | 13 => Input::DeliveriesTold(rng.below(300)),
        14 => Input::Shrink { log_bytes: rng.below(900) as usize, parked_bytes: rng.below(900) as usize },
        _ => Input::Receive(any_message(rng, now)),
    }
}

fn run(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        println!("seed {seed}");
        let mut world = World::new(seed);
        (0..INPUTS).for_each(|turn| world.turn(turn));
        world.check_thoroughly();
    }
}

#[test]
fn what_must_hold_holds_after_every_input_in_seeds_0_to_99() {
    run(0..100);
}

#[test]
fn what_must_hold_holds_after_every_input_in_seeds_100_to_199() {
    run(100..200);
}
