//! One channel against a naive model of it, driven by random transitions (proptest-state-machine).
//!
//! The channel has the default options and is a founder: it has spoken before anybody else. The model knows sets: what was
//! sent, received, declared met. From these alone it says, by going over everything again, what must be delivered, parked
//! and missing. When something is waited for no longer it does not foresee; it is told by the channel, which may say so
//! no sooner than the options allow, and holds it to its word. Found inputs are kept in
//! `tests/model.proptest-regressions`.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use reliable_channel::channel::{Channel, Config, Context, Event, Fate, Input, Outcome, Received, Step, TransmitKind};
use reliable_channel::state::{ChannelData, Place, Row};
use reliable_channel::types::{HistoryEntry, Lamport, Message, MessageId, RunningTime, WallTime};
use tap::Tap as _;

const EPOCH: u64 = 1_700_000_000_000;
/// Messages that others may send: each has a fixed place, sender and dependencies, drawn once.
const MESSAGES: usize = 12;

type Set = BTreeSet<usize>;

/// What the group says, and what happened so far.
#[derive(Clone, Debug)]
struct Model {
    /// For each message of others, the messages it depends on: lower ones.
    graph: Vec<Set>,
    received: Set,
    declared: Set,
    /// Own messages by their number.
    sent: usize,
}

impl Model {
    /// What must have been delivered: received, and everything it depends on is delivered, declared met, or one of those
    /// that are not waited for.
    fn delivered(&self, given_up: &Set) -> Set {
        let mut delivered = Set::new();
        loop {
            let met = |d: &usize| delivered.contains(d) || self.declared.contains(d) || given_up.contains(d);
            let next = self.received.iter().find(|m| !delivered.contains(*m) && self.graph[**m].iter().all(met));
            match next.copied() {
                Some(m) => delivered.insert(m),
                None => return delivered,
            };
        }
    }

    fn parked(&self, given_up: &Set) -> Set {
        self.received.difference(&self.delivered(given_up)).copied().collect()
    }

    fn missing(&self, given_up: &Set) -> Set {
        let wanted = self.parked(given_up).into_iter().flat_map(|m| self.graph[m].clone());
        wanted.filter(|d| !self.received.contains(d) && !self.declared.contains(d) && !given_up.contains(d)).collect()
    }
}

#[derive(Clone, Debug)]
enum Transition {
    Send,
    /// Also as a duplicate.
    Receive(usize),
    /// Another message under a known id.
    Conflict(usize),
    /// A sync message that names these.
    Sync(Set),
    DeclareMet(Set),
    /// Seconds; wakes the channel whenever it asks.
    Pass(u64),
    Restart,
}

fn some_messages() -> impl Strategy<Value = Set> {
    prop::collection::btree_set(0..MESSAGES, 0..4)
}

impl ReferenceStateMachine for Model {
    type State = Model;
    type Transition = Transition;

    fn init_state() -> BoxedStrategy<Model> {
        let graph = (0..MESSAGES).map(|m| prop::collection::btree_set(0..m.max(1), 0..=m.min(3)));
        let graph = graph.collect::<Vec<_>>();
        graph.prop_map(|graph| Model { graph, received: Set::new(), declared: Set::new(), sent: 1 }).boxed()
    }

    fn transitions(_: &Model) -> BoxedStrategy<Transition> {
        prop_oneof![
            2 => Just(Transition::Send),
            8 => (0..MESSAGES).prop_map(Transition::Receive),
            1 => (0..MESSAGES).prop_map(Transition::Conflict),
            2 => some_messages().prop_map(Transition::Sync),
            1 => some_messages().prop_map(Transition::DeclareMet),
            2 => (0..120_u64).prop_map(Transition::Pass),
            2 => Just(Transition::Restart),
        ]
        .boxed()
    }

    fn preconditions(model: &Model, transition: &Transition) -> bool {
        // Of what is unknown there is no other version.
        !matches!(transition, Transition::Conflict(m) if !model.received.contains(m))
    }

    fn apply(mut model: Model, transition: &Transition) -> Model {
        match transition {
            Transition::Send => model.sent += 1,
            Transition::Receive(m) => drop(model.received.insert(*m)),
            Transition::DeclareMet(met) => {
                let unknown = met.iter().filter(|m| !model.received.contains(*m)).copied().collect::<Vec<_>>();
                model.declared.extend(unknown);
            }
            Transition::Conflict(_) | Transition::Sync(_) | Transition::Pass(_) | Transition::Restart => {}
        }
        model
    }
}

/// The real channel, and what it has said.
struct Sut {
    channel: Channel,
    config: Arc<Config>,
    now: u64,
    entropy: u64,
    saved: ChannelData,
    delivered: Vec<usize>,
    last_number: u64,
    transmitted: Vec<TransmitKind>,
    /// What is unknown and was named, and since when it is waited for.
    named: BTreeMap<usize, u64>,
    /// What the channel said it went ahead without.
    given_up: Set,
    /// Which messages, each without which.
    without: BTreeSet<(usize, usize)>,
    /// What it said it asks for no more.
    lost: Set,
}

fn id(m: usize) -> MessageId {
    MessageId::new(format!("m{m:02}"))
}

fn number(id: &MessageId) -> Option<usize> {
    id.as_str()?.strip_prefix('m')?.parse().ok()
}

fn message(model: &Model, m: usize) -> Message {
    Message::new(id(m), ["bob", "carol", "dave"][m % 3].into(), "c".into()).tap_mut(|it| {
        it.lamport = Some(Lamport(EPOCH + 100 + m as u64 / 2));
        it.causal_history = model.graph[m].iter().filter(|d| **d != m).map(|d| HistoryEntry::new(id(*d))).collect();
        it.content = Bytes::from(format!("content {m}"));
    })
}

impl Sut {
    fn context(&mut self) -> Context {
        self.entropy += 1;
        Context::new(WallTime::from_millis(EPOCH + self.now), RunningTime::from_millis(self.now), self.entropy)
    }

    fn input(&mut self, input: Input) -> Outcome {
        let context = self.context();
        let step = self.channel.handle(&context, input);
        self.carry_out(step)
    }

    fn carry_out(&mut self, step: Step) -> Outcome {
        let mut rows: BTreeMap<_, Row> = self.saved.rows.drain(..).map(|row| (row.key(), row)).collect();
        for key in &step.save.history.delete {
            rows.remove(key);
        }
        rows.extend(step.save.history.put.into_iter().map(|row| (row.key(), row)));
        self.saved.rows = rows.into_values().collect();
        self.saved.meta = step.save.meta.or(self.saved.meta.take());
        self.transmitted.extend(step.transmit.iter().map(|transmit| transmit.kind));
        for event in step.events {
            match event {
                Event::MessageDelivered(delivery) => {
                    self.last_number += 1;
                    assert_eq!(delivery.number, self.last_number);
                    let missing = delivery.missing.iter().filter_map(number).collect::<Vec<_>>();
                    let wait_timeout = self.config.wait_timeout;
                    let delivered = number(&delivery.body.key.id).unwrap();
                    for m in missing {
                        self.give_up(m, wait_timeout);
                        self.without.insert((delivered, m));
                    }
                    self.given_up.remove(&delivered);
                    self.lost.remove(&delivered);
                    self.delivered.push(delivered);
                }
                Event::StateMended { what } => panic!("{what}"),
                Event::DependencyLost { id } => {
                    let m = number(&id).unwrap();
                    let lost_timeout = self.config.lost_timeout;
                    self.give_up(m, lost_timeout);
                    assert!(self.lost.insert(m), "{m} is told lost twice");
                }
                _ => {}
            }
        }
        step.outcome.unwrap()
    }

    fn send(&mut self, own: usize) {
        let content = Bytes::from_static(b"mine");
        let outcome = self.input(Input::Send { content, id: Some(format!("own{own}").into()) });
        assert!(matches!(outcome, Outcome::Sent(_)));
        assert_eq!(self.transmitted.pop(), Some(TransmitKind::Content));
    }

    /// The channel says that it goes ahead without this.
    fn give_up(&mut self, m: usize, after: Duration) {
        if self.given_up.contains(&m) && after < self.config.lost_timeout {
            return;
        }
        let named = self.named.get(&m).unwrap_or_else(|| panic!("{m} is given up and nobody named it"));
        let waited = self.now - named;
        assert!(u128::from(waited) >= after.as_millis(), "{m} is given up after {waited} ms");
        self.given_up.insert(m);
    }

    /// These are named, and those among them that are unknown are waited for since then.
    fn name(&mut self, model: &Model, names: &Set, since: u64) {
        let unknown = names.iter().filter(|m| !model.received.contains(*m) && !model.declared.contains(*m));
        for m in unknown {
            let first = self.named.entry(*m).or_insert(since);
            *first = since.min(*first);
        }
    }

    fn receive(&mut self, message: Message) -> Received {
        match self.input(Input::Receive(message)) {
            Outcome::Received(received) => received,
            other => panic!("{other:?}"),
        }
    }

    fn restart(&mut self) {
        let context = self.context();
        let (config, data) = (self.config.clone(), self.saved.clone());
        let (channel, step) = Channel::restore("c".into(), "alice".into(), config, data, &context).unwrap();
        self.channel = channel;
        assert!(step.transmit.is_empty());
        self.carry_out(step);
    }

    fn pass(&mut self, seconds: u64) {
        let end = self.now + seconds * 1_000;
        while let Some(due) = self.channel.poll_timeout().map(RunningTime::as_millis).filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.input(Input::Timeout);
            assert!(self.channel.poll_timeout().unwrap().as_millis() > self.now);
        }
        self.now = end;
    }
}

impl StateMachineTest for Sut {
    type SystemUnderTest = Sut;
    type Reference = Model;

    fn init_test(_: &Model) -> Sut {
        let config = Arc::new(Config::default());
        let context = Context::new(WallTime::from_millis(EPOCH), RunningTime::from_millis(0), 1);
        let mut sut = Sut {
            channel: Channel::new("c", "alice", config.clone(), &context).unwrap(),
            config,
            now: 0,
            entropy: 1,
            saved: ChannelData::default(),
            delivered: Vec::new(),
            last_number: 0,
            transmitted: Vec::new(),
            named: BTreeMap::new(),
            given_up: Set::new(),
            without: BTreeSet::new(),
            lost: Set::new(),
        };
        sut.send(0);
        sut
    }

    fn apply(mut sut: Sut, model: &Model, transition: Transition) -> Sut {
        // `model` is the state after the transition.
        let before: Set = sut.delivered.iter().copied().collect();
        let known = |sut: &Sut, m: usize| before.contains(&m) || sut.channel.incoming().iter().any(|w| w.id == id(m));
        match transition {
            Transition::Send => sut.send(model.sent - 1),
            Transition::Receive(m) => {
                let duplicate = known(&sut, m);
                // What it lacks is waited for as long as it was itself.
                let since = sut.named.get(&m).copied().unwrap_or(sut.now);
                sut.name(model, &model.graph[m], since);
                let received = sut.receive(message(model, m));
                match received.fate {
                    Fate::Duplicate => assert!(duplicate && received.released.is_empty()),
                    Fate::Delivered => assert!(!duplicate && model.delivered(&sut.given_up).contains(&m)),
                    Fate::Parked { missing } => {
                        assert!(!duplicate && model.parked(&sut.given_up).contains(&m));
                        let all = model.missing(&sut.given_up);
                        let expected: Set = all.intersection(&model.graph[m]).copied().collect();
                        let missing: Set = missing.iter().filter_map(number).collect();
                        assert!(missing.is_subset(&expected), "{missing:?} of {expected:?}");
                        // What else may be overdue, of which it says nothing before it goes ahead without it.
                        let wait = sut.config.wait_timeout.as_millis();
                        let silent = expected.difference(&missing).all(|d| u128::from(sut.now - sut.named[d]) >= wait);
                        assert!(silent, "{missing:?} of {expected:?}");
                    }
                    other => panic!("{other:?}"),
                }
            }
            Transition::Conflict(m) => {
                let other = message(model, m).tap_mut(|it| it.content = Bytes::from_static(b"other"));
                assert_eq!(sut.receive(other).fate, Fate::Conflict);
            }
            Transition::Sync(names) => {
                let sync = message(model, 0).tap_mut(|it| {
                    it.id = format!("s{}", sut.entropy).into();
                    it.sender = "erin".into();
                    it.lamport = Some(Lamport(EPOCH + 200));
                    it.causal_history = names.iter().map(|m| HistoryEntry::new(id(*m))).collect();
                    it.content = Bytes::new();
                });
                assert_eq!(sut.receive(sync).fate, Fate::Sync);
                sut.name(model, &names, sut.now);
                let asked: Set = sut.channel.requests().iter().filter_map(|r| number(&r.entry.id)).collect();
                let unknown =
                    |m: &&usize| !model.received.contains(*m) && !model.declared.contains(*m) && !sut.lost.contains(*m);
                assert!(names.iter().filter(unknown).all(|m| asked.contains(m)), "what a sync names is asked for");
            }
            Transition::DeclareMet(met) => {
                drop(sut.input(Input::DependenciesMet(met.iter().map(|m| id(*m)).collect())))
            }
            Transition::Pass(seconds) => sut.pass(seconds),
            Transition::Restart => sut.restart(),
        }
        sut
    }

    fn check_invariants(sut: &Sut, model: &Model) {
        assert_eq!(sut.saved, sut.channel.data(), "what was saved is the state");
        let delivered: Set = sut.delivered.iter().copied().collect();
        assert_eq!(delivered.len(), sut.delivered.len(), "nothing twice: {:?}", sut.delivered);
        assert_eq!(delivered, model.delivered(&sut.given_up));
        for (at, m) in sut.delivered.iter().enumerate() {
            let before = &sut.delivered[..at];
            let met = |d: &usize| {
                d == m || before.contains(d) || model.declared.contains(d) || sut.without.contains(&(*m, *d))
            };
            assert!(model.graph[*m].iter().all(met), "{m} in {:?}", sut.delivered);
        }
        let parked: Set = sut.channel.incoming().iter().filter_map(|waiting| number(&waiting.id)).collect();
        assert_eq!(parked, model.parked(&sut.given_up));
        let asked: Set = sut.channel.requests().iter().filter_map(|request| number(&request.entry.id)).collect();
        let missing = model.missing(&sut.given_up);
        assert!(asked.is_superset(&missing), "{asked:?} misses of {missing:?}");
        assert!(asked.is_disjoint(&sut.lost), "{asked:?} and {:?} are lost", sut.lost);
        assert!(asked.is_disjoint(&model.received) && asked.is_disjoint(&model.declared), "{asked:?}");
        let log: Vec<_> = sut.channel.log().map(|logged| &logged.body.key).collect();
        assert!(log.is_sorted_by(|a, b| a < b));
        assert_eq!(log.len(), delivered.len() + model.sent);
        let outgoing = sut.saved.rows.iter().filter(|row| row.key().place == Place::Outgoing).count();
        assert_eq!(outgoing, model.sent, "nobody acknowledges anything");
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: std::env::var("RC_MODEL_CASES").map_or(512, |n| n.parse().unwrap()), ..ProptestConfig::default() })]

    #[test]
    fn a_channel_does_what_its_model_does(sequential 1..60 => Sut);
}
