//! Every crash point of a scripted conversation: whatever step dies, everybody ends with the same log, and every
//! application has seen everything once.
//!
//! Three participants, a network that loses what the script says, and a store that keeps what was committed. Steps of
//! all channels are counted; step `k` dies before it is saved, or between the two writes of a store that cannot make
//! them one (rows, then meta), or after, before anything else was done of it.
//! Then the process starts again and the script goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use reliable_channel::channel::{Channel, Config, Context, Cursor, Delivery, Event, Input, Join};
use reliable_channel::state::Commit;
use reliable_channel::store::{MemoryPersistence, Persistence};
use reliable_channel::types::{ChannelId, Message, MessageId, RunningTime, WallTime};
use tap::Tap as _;

const EPOCH: u64 = 1_700_000_000_000;
const NAMES: [&str; 3] = ["alice", "bob", "carol"];
/// Who sends what, and when.
const SCRIPT: &[(u64, usize, &str)] = &[
    (0, 0, "a1"),
    (100, 1, "b1"),
    (110, 2, "c1"),
    (300, 1, "b2"),
    (310, 0, "a2"),
    (700, 2, "c2"),
    (900, 2, "c3"),
    (1_000, 0, "a3"),
    (9_000, 1, "b3"),
];
/// Messages that one participant does not get when they are first sent.
const LOST: &[(&str, usize)] = &[("b1", 2), ("a2", 1), ("c2", 0), ("c2", 1), ("a3", 2)];
const LATENCY: u64 = 40;
const END: u64 = 10 * 60_000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Crash {
    Never,
    BeforeSave(usize),
    BetweenWrites(usize),
    AfterSave(usize),
}

struct Node {
    channel: Channel,
    store: MemoryPersistence,
    /// What the application has seen, by number; it outlives crashes, as a database would.
    seen: BTreeMap<u64, MessageId>,
    /// And how far it has come.
    last: Cursor,
    told_again: usize,
}

struct World {
    nodes: Vec<Node>,
    config: Arc<Config>,
    runtime: tokio::runtime::Runtime,
    now: u64,
    steps: usize,
    crash: Crash,
    crashed: Option<usize>,
    /// A restart found a torn save and mended it.
    mended: bool,
    /// By arrival and sequence: to whom, and what.
    packets: BTreeMap<(u64, u64), (usize, Message)>,
    sent: u64,
    first_heard: BTreeSet<MessageId>,
}

impl World {
    fn new(crash: Crash, confirm_deliveries: bool) -> Self {
        let config = Config::default().tap_mut(|it| {
            it.join = Join::Backfill(u64::MAX);
            it.confirm_deliveries = confirm_deliveries;
        });
        let mut world = Self {
            nodes: Vec::new(),
            config: Arc::new(config),
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
            now: 0,
            steps: 0,
            crash,
            crashed: None,
            mended: false,
            packets: BTreeMap::new(),
            sent: 0,
            first_heard: BTreeSet::new(),
        };
        for name in NAMES {
            let channel = Channel::new("c", name, world.config.clone(), &world.context()).unwrap();
            let (store, seen) = (MemoryPersistence::new(), BTreeMap::new());
            world.nodes.push(Node { channel, store, seen, last: Cursor::default(), told_again: 0 });
        }
        world
    }

    fn context(&self) -> Context {
        Context::new(
            WallTime::from_millis(EPOCH + self.now),
            RunningTime::from_millis(self.now),
            self.steps as u64 * 0x9E37_79B9,
        )
    }

    /// One step of one channel, carried out as far as the process lives.
    fn input(&mut self, at: usize, input: Input) {
        let context = self.context();
        let step = self.nodes[at].channel.handle(&context, input);
        self.steps += 1;
        if self.crash == Crash::BeforeSave(self.steps) {
            return self.restart(at);
        }
        let node = &self.nodes[at];
        if self.crash == Crash::BetweenWrites(self.steps) {
            let rows = Commit { meta: None, ..step.save };
            self.runtime.block_on(node.store.commit(&ChannelId::from("c"), &rows)).unwrap();
            return self.restart(at);
        }
        self.runtime.block_on(node.store.commit(&ChannelId::from("c"), &step.save)).unwrap();
        if self.crash == Crash::AfterSave(self.steps) {
            return self.restart(at);
        }
        for transmit in step.transmit {
            self.broadcast(at, transmit.message);
        }
        self.tell(at, step.events);
    }

    fn restart(&mut self, at: usize) {
        self.crashed = Some(at);
        let context = self.context();
        let data = self.runtime.block_on(self.nodes[at].store.load_channel(&"c".into())).unwrap();
        let restored = Channel::restore("c".into(), NAMES[at].into(), self.config.clone(), data, &context);
        let (channel, step) = restored.unwrap();
        assert!(step.transmit.is_empty());
        let mended = step.events.iter().any(|event| matches!(event, Event::StateMended { .. }));
        self.mended |= mended;
        assert!(!mended || matches!(self.crash, Crash::BetweenWrites(_)), "{:?}", step.events);
        self.runtime.block_on(self.nodes[at].store.commit(&"c".into(), &step.save)).unwrap();
        self.nodes[at].channel = channel;
        if !self.config.confirm_deliveries {
            // The application knows how far it came and reads on from there.
            let last = self.nodes[at].last;
            let read = self.nodes[at].channel.deliveries_since(last).unwrap();
            assert_eq!(read.evicted, 0);
            read.deliveries.iter().for_each(|delivery| self.nodes[at].see(delivery));
        }
        self.tell(at, step.events);
    }

    fn tell(&mut self, at: usize, events: Vec<Event>) {
        let mut last = None;
        for event in events {
            if let Event::MessageDelivered(delivery) = event {
                self.nodes[at].see(&delivery);
                last = Some(delivery.number);
            }
        }
        if let Some(number) = last.filter(|_| self.config.confirm_deliveries) {
            self.input(at, Input::DeliveriesTold(number));
        }
    }

    fn broadcast(&mut self, from: usize, message: Message) {
        let first = self.first_heard.insert(message.id.clone());
        for to in (0..NAMES.len()).filter(|to| *to != from) {
            let lost = first && LOST.iter().any(|(id, loser)| message.id.as_str() == Some(*id) && *loser == to);
            if !lost {
                self.sent += 1;
                self.packets.insert((self.now + LATENCY + to as u64, self.sent), (to, message.clone()));
            }
        }
    }

    fn run(&mut self) {
        let mut script = SCRIPT.iter().peekable();
        loop {
            let line = script.peek().map(|line| line.0);
            let packet = self.packets.first_key_value().map(|(at, _)| at.0);
            let wakes = |node: &Node| node.channel.poll_timeout().unwrap().as_millis();
            let (due, waker) = self.nodes.iter().enumerate().map(|(at, node)| (wakes(node), at)).min().unwrap();
            let next = [line, packet, Some(due)].into_iter().flatten().min().unwrap();
            if next > END {
                return;
            }
            self.now = self.now.max(next);
            if line == Some(next) {
                let (_, at, id) = script.next().unwrap();
                let content = Bytes::from_static(id.as_bytes());
                self.input(*at, Input::Send { content, id: Some(MessageId::from(*id)) });
            } else if packet == Some(next) {
                let (_, (to, message)) = self.packets.pop_first().unwrap();
                self.input(to, Input::Receive(message));
            } else {
                self.input(waker, Input::Timeout);
            }
        }
    }

    /// What must be at the end, whatever crashed. A message whose sending was not saved was never sent.
    fn check(&self) {
        let sent: BTreeSet<MessageId> = self.first_heard.iter().filter(|id| id.len() == 2).cloned().collect();
        let unsaved = SCRIPT.len() - sent.len();
        assert!(unsaved == 0 || unsaved == 1 && !matches!(self.crash, Crash::Never | Crash::AfterSave(_)), "{sent:?}");
        let log = |node: &Node| node.channel.log().map(|logged| logged.body.key.clone()).collect::<Vec<_>>();
        for (node, name) in self.nodes.iter().zip(NAMES) {
            assert_eq!(log(node), log(&self.nodes[0]), "{name}'s log");
            let others = sent.iter().filter(|id| !name.starts_with(&id.as_str().unwrap()[..1]));
            let mut seen: Vec<&MessageId> = node.seen.values().collect();
            assert!(node.seen.keys().copied().eq(1..=seen.len() as u64), "{name}'s numbers");
            seen.sort();
            assert_eq!(seen, others.collect::<Vec<_>>(), "{name} has seen everything once");
            let data = self.runtime.block_on(node.store.load_channel(&"c".into())).unwrap();
            assert_eq!(data, node.channel.data(), "{name}'s store");
            assert!(node.channel.incoming().is_empty() && node.channel.requests().is_empty(), "{name} waits");
            assert_eq!(node.channel.stats().outgoing_len, 0, "{name} still sends");
            assert!(node.told_again == 0 || self.config.confirm_deliveries, "{name} was told again");
        }
    }
}

impl Node {
    fn see(&mut self, delivery: &Delivery) {
        let id = &delivery.body.key.id;
        self.last = delivery.cursor();
        match self.seen.insert(delivery.number, id.clone()) {
            None => assert!(self.seen.range(delivery.number + 1..).next().is_none(), "out of order"),
            Some(before) => {
                assert_eq!(before, *id, "one number, one message");
                self.told_again += 1;
            }
        }
    }
}

fn every_crash_point(confirm_deliveries: bool) {
    let mut world = World::new(Crash::Never, confirm_deliveries);
    world.run();
    world.check();
    let steps = world.steps;
    assert!((50..2_000).contains(&steps), "{steps}");
    let (mut crashed, mut mended) = (BTreeSet::new(), 0);
    for crash in
        (1..=steps).flat_map(|step| [Crash::BeforeSave(step), Crash::BetweenWrites(step), Crash::AfterSave(step)])
    {
        let checked = std::panic::catch_unwind(|| {
            let mut world = World::new(crash, confirm_deliveries);
            world.run();
            world.check();
            (world.crashed, world.mended)
        });
        let (who, was_mended) = checked.unwrap_or_else(|panic| {
            println!("{crash:?}");
            std::panic::resume_unwind(panic)
        });
        crashed.extend(who);
        mended += usize::from(was_mended);
    }
    assert_eq!(crashed.len(), NAMES.len(), "everybody's turn came");
    assert!(mended > 0, "some torn saves needed mending");
}

#[test]
fn every_crash_point_when_the_application_reads_again() {
    every_crash_point(false);
}

#[test]
fn every_crash_point_when_deliveries_are_confirmed() {
    every_crash_point(true);
}
