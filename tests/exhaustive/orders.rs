//! All delivery orders of all causal graphs of up to five messages, with one of them arriving twice.
//!
//! Messages are numbered in (lamport, id) order, so that a graph gives each a subset of the lower ones to depend on,
//! and everything expected is arithmetic on sets of bits. Two neighbours share a Lamport time each, so ids decide.

use std::sync::Arc;

use bytes::Bytes;
use reliable_channel::channel::{Channel, Config, Context, Event, Fate, Input, Join, Outcome};
use reliable_channel::types::{HistoryEntry, Lamport, Message, MessageId, ParticipantId, RunningTime, WallTime};
use tap::Tap as _;

const EPOCH: u64 = 1_700_000_000_000;
const MOST: usize = 5;

/// A set of messages, one bit each.
type Set = u8;

fn ids(set: Set) -> Vec<usize> {
    (0..MOST).filter(|m| set >> m & 1 == 1).collect()
}

/// What each message depends on.
type Graph = [Set; MOST];

fn graphs(n: usize) -> impl Iterator<Item = Graph> {
    (0..1_u32 << (n * (n - 1) / 2)).map(move |mut bits| {
        let mut graph = Graph::default();
        for (m, dependencies) in graph.iter_mut().enumerate().take(n) {
            *dependencies = (bits & ((1 << m) - 1)) as Set;
            bits >>= m;
        }
        graph
    })
}

/// All orders of `n` messages.
fn orders(n: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for m in 0..n {
        let longer = |order: &Vec<usize>| {
            let order = order.clone();
            (0..=m).map(move |at| [&order[..at], &[m], &order[at..]].concat())
        };
        orders = orders.iter().flat_map(longer).collect();
    }
    orders
}

/// An order with one message once more: `which` counts all pairs of a message and a later place.
fn with_duplicate(order: &[usize], which: usize) -> Vec<usize> {
    let mut pairs = (0..order.len()).flat_map(|first| (first + 1..=order.len()).map(move |again| (first, again)));
    let (first, again) = pairs.nth(which % (order.len() * (order.len() + 1) / 2)).unwrap();
    [&order[..again], &[order[first]], &order[again..]].concat()
}

/// Names, messages and options made once.
struct Bench {
    config: Arc<Config>,
    ids: Vec<MessageId>,
    me: ParticipantId,
    context: Context,
}

impl Bench {
    fn new() -> Self {
        Self {
            config: Arc::new(Config::default().tap_mut(|it| it.join = Join::Backfill(u64::MAX))),
            ids: (0..MOST).map(|m| MessageId::new(format!("m{m}"))).collect(),
            me: "alice".into(),
            context: Context::new(WallTime::from_millis(EPOCH), RunningTime::from_millis(0), 1),
        }
    }

    fn message(&self, graph: &Graph, m: usize) -> Message {
        Message::new(self.ids[m].clone(), ["bob", "carol"][m % 2].into(), "c".into()).tap_mut(|it| {
            it.lamport = Some(Lamport(EPOCH + m as u64 / 2));
            it.causal_history = ids(graph[m]).into_iter().map(|d| HistoryEntry::new(&self.ids[d])).collect();
            it.content = Bytes::from_static(b"content");
        })
    }

    fn number(&self, id: &MessageId) -> usize {
        self.ids.iter().position(|known| known == id).unwrap()
    }

    fn set<'a>(&self, ids: impl IntoIterator<Item = &'a MessageId>) -> Set {
        ids.into_iter().fold(0, |set, id| set | 1 << self.number(id))
    }

    /// Lets messages arrive in this order and looks after each at everything that can be seen.
    fn run(&self, messages: &[Message], graph: &Graph, order: &[usize]) {
        let mut channel = Channel::new("c", &self.me, self.config.clone(), &self.context).unwrap();
        let (mut arrived, mut delivered, mut number): (Set, Set, u64) = (0, 0, 0);
        for &m in order {
            let step = channel.handle(&self.context, Input::Receive(messages[m].clone()));
            let Ok(Outcome::Received(received)) = step.outcome else { panic!("{:?}", step.outcome) };
            let again = arrived >> m & 1 == 1;
            arrived |= 1 << m;
            // Ascending, so that what a message depends on is decided before it.
            let now = ids(arrived).into_iter().fold(0, |now, m| if graph[m] & !now == 0 { now | 1 << m } else { now });
            let released: Vec<usize> = received.released.iter().map(|id| self.number(id)).collect();
            assert_eq!(released, ids(now & !delivered), "what became deliverable, lowest first");
            let missing = |m: usize| graph[m] & !arrived;
            let fate = match received.fate {
                Fate::Duplicate => (again, 0),
                Fate::Delivered => (!again && now >> m & 1 == 1, 0),
                Fate::Parked { missing } => (!again && now >> m & 1 == 0, self.set(&missing)),
                other => panic!("{other:?}"),
            };
            assert_eq!(fate, (true, if again { 0 } else { missing(m) }));
            for event in &step.events {
                if let Event::MessageDelivered(delivery) = event {
                    number += 1;
                    let m = self.number(&delivery.body.key.id);
                    assert_eq!(delivery.number, number);
                    assert!(graph[m] & !delivered == 0 && delivered >> m & 1 == 0, "once, after its dependencies");
                    delivered |= 1 << m;
                }
            }
            assert_eq!(delivered, now);
            self.look(&channel, graph, arrived, delivered);
        }
        assert_eq!(delivered.count_ones() as usize, messages.len());
    }

    fn look(&self, channel: &Channel, graph: &Graph, arrived: Set, delivered: Set) {
        assert!(channel.log().map(|logged| self.number(&logged.body.key.id)).eq(ids(delivered)));
        let parked = ids(arrived & !delivered);
        let waiting = channel.incoming();
        assert!(waiting.iter().map(|waiting| self.number(&waiting.id)).eq(parked.iter().copied()));
        for (waiting, m) in waiting.iter().zip(&parked) {
            assert_eq!(self.set(&waiting.waits_for), graph[*m] & !delivered);
        }
        let missing = parked.iter().fold(0, |missing, m| missing | graph[*m]) & !arrived;
        assert_eq!(self.set(channel.requests().iter().map(|request| &request.entry.id)), missing);
    }

    /// Runs all orders of all graphs of `n` messages; `duplicates` says which to run of one order.
    fn all(&self, n: usize, duplicates: impl Fn(usize) -> std::ops::Range<usize>) -> usize {
        let orders = orders(n);
        let mut runs = 0;
        for graph in graphs(n) {
            let messages: Vec<Message> = (0..n).map(|m| self.message(&graph, m)).collect();
            for (at, order) in orders.iter().enumerate() {
                for which in duplicates(at) {
                    let order = with_duplicate(order, which);
                    let run = std::panic::AssertUnwindSafe(|| self.run(&messages, &graph, &order));
                    if let Err(panic) = std::panic::catch_unwind(run) {
                        println!("graph {:?}, order {order:?}", &graph[..n]);
                        std::panic::resume_unwind(panic);
                    }
                    runs += 1;
                }
            }
        }
        runs
    }
}

fn pairs(n: usize) -> usize {
    n * (n + 1) / 2
}

#[test]
fn all_orders_and_duplicates_of_up_to_four_messages() {
    let bench = Bench::new();
    let runs: usize = (1..MOST).map(|n| bench.all(n, |_| 0..pairs(n))).sum();
    assert_eq!(runs, 1 + 2 * 2 * 3 + 8 * 6 * 6 + 64 * 24 * 10);
}

/// Each order with one duplicate, in turn: over the orders of a graph, each message in each later place 8 times.
#[test]
fn all_orders_of_five_messages() {
    assert_eq!(Bench::new().all(MOST, |at| at..at + 1), 1_024 * 120);
}

/// `cargo test --test exhaustive -- --ignored`
#[test]
#[ignore = "takes a minute"]
fn all_orders_and_duplicates_of_five_messages() {
    assert_eq!(Bench::new().all(MOST, |_| 0..pairs(MOST)), 1_024 * 120 * 15);
}
