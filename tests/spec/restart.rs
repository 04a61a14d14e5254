//! A crash after every operation changes nothing: what is saved is all that matters. But for what filters have shown,
//! which is not saved (docs/protocol.md section 7), and for what waits for the next change, which is saved on closing.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use reliable_channel::channel::{ChannelError, Event, Input, Limit, Outcome, Stats, TransmitKind};
use reliable_channel::state::{ChannelData, Commit, Row};
#[cfg(feature = "store")]
use reliable_channel::store::Persistence;
use reliable_channel::types::{FilterField, Lamport, Message, MessageId};
use tap::Tap as _;

use crate::harness::{EPOCH, Peer, Rng, message, peer, peer_with, requests, seconds, sync};

/// The same inputs into a channel that runs on and into one that crashes after each.
struct Pair {
    steady: Peer,
    crashing: Peer,
    /// Deliveries told by each, by number.
    told: [BTreeMap<u64, MessageId>; 2],
    /// What the application remembers of having seen.
    seen: u64,
    heartbeats: u64,
    /// What the crashing one is saved by and loaded from, where not from the harness.
    store: Option<Store>,
}

/// Saves, crashes, and loads.
type Store = Box<dyn FnMut(&[Commit]) -> ChannelData>;

impl Pair {
    fn new(seed: u64) -> Self {
        let open = || {
            let mut peer = peer_with("alice", |config| {
                config.max_message_history = 12;
                (config.t_max, config.lost_timeout) = (seconds(20), seconds(120));
                // Whether others were heard since the third request is not saved: after a crash a message may wait longer.
                config.wait_timeout = Duration::MAX;
                // Nor is that somebody is behind.
                config.answer_laggards = false;
                config.confirm_deliveries = seed.is_multiple_of(2);
                // Acknowledging and idle syncs are scheduled at random and anew by every run.
                config.acknowledgement_delay = (Duration::from_secs(1 << 30), Duration::from_secs(1 << 30));
                (config.sync_interval, config.max_sync_interval) = (seconds(1 << 30), seconds(1 << 30));
            });
            peer.now = 1_000_000;
            peer
        };
        Self { steady: open(), crashing: open(), told: Default::default(), seen: 0, heartbeats: 0, store: None }
    }

    fn input(&mut self, input: &Input) {
        let steady = self.steady.input(input.clone());
        let crashing = self.crashing.input(input.clone());
        assert_eq!(steady, crashing, "{input:?}");
        if let Input::DeliveriesTold(number) = input {
            self.seen = self.seen.max(*number);
        }
        for peer in [&mut self.steady, &mut self.crashing] {
            peer.input(Input::Checkpoint).unwrap();
        }
        self.note_told();
        self.crash();
        let sent = |peer: &mut Peer| -> Vec<_> {
            std::mem::take(&mut peer.transmitted)
                .into_iter()
                .map(|mut sent| {
                    // Behind the newest heads a sync message names what is to be acknowledged, which a crash repeats. Its id
                    // is random.
                    if sent.kind == TransmitKind::Sync {
                        sent.message.causal_history.truncate(2);
                        sent.message.id = "sync".into();
                    }
                    (sent.kind, requests(&sent.message), sent.message.tap_mut(|it| it.filter = FilterField::Absent))
                })
                .collect()
        };
        assert_eq!(sent(&mut self.steady), sent(&mut self.crashing), "{input:?}");
        assert_eq!(comparable(&self.steady), comparable(&self.crashing), "{input:?}");
    }

    fn crash(&mut self) {
        let transmitted = std::mem::take(&mut self.crashing.transmitted);
        if let Some(store) = &mut self.store {
            let loaded = store(&self.crashing.commits);
            assert_eq!(loaded, self.crashing.saved);
            self.crashing.saved = loaded;
        }
        self.crashing.restart();
        self.crashing.transmitted = transmitted;
        assert!(!self.crashing.events.iter().any(|event| matches!(event, Event::StateMended { .. })));
        // The application knows what it has seen and says so again.
        self.crashing.input(Input::DeliveriesTold(self.seen)).unwrap();
        self.note_told();
    }

    fn note_told(&mut self) {
        for (peer, told) in [&mut self.steady, &mut self.crashing].into_iter().zip(&mut self.told) {
            for event in peer.take_events() {
                if let Event::MessageDelivered(delivery) = event {
                    let id = delivery.body.key.id.clone();
                    assert!(told.insert(delivery.number, id.clone()).is_none_or(|before| before == id));
                }
            }
        }
    }

    /// Time passes, and something is saved at its end: the channel's age is saved with the next change only, and
    /// a crash in between would give back the time since.
    fn pass(&mut self, millis: u64) {
        self.steady.now += millis;
        self.crashing.now += millis;
        self.heartbeats += 1;
        let lamport = self.steady.now;
        self.input(&Input::Receive(message("clock", &format!("tick{}", self.heartbeats), lamport, &[])));
    }
}

/// Everything saved, but for `told`, which is saved with the next change and set by every restart.
fn comparable(peer: &Peer) -> ChannelData {
    let mut data = peer.channel.data();
    if let Some(meta) = &mut data.meta {
        meta.told = 0;
    }
    // Each opening is an incarnation of its own.
    data.rows.retain(|row| !matches!(row, Row::Incarnation(_)));
    data
}

/// A conversation of others: every message depends on some of the latest before it.
fn conversation(rng: &mut Rng, len: usize) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    for n in 0..len {
        let back = |rng: &mut Rng| format!("m{:03}", n.saturating_sub(1 + rng.below(6) as usize));
        let depends_on: Vec<String> = if n == 0 { Vec::new() } else { (0..=rng.below(3)).map(|_| back(rng)).collect() };
        let depends_on: Vec<&str> = depends_on.iter().map(String::as_str).collect();
        let sender = ["bob", "carol", "dave"][rng.below(3) as usize];
        messages.push(message(sender, &format!("m{n:03}"), 1_000_000 + 2_000 * n as u64, &depends_on));
    }
    messages
}

fn run(seed: u64) -> Stats {
    run_on(seed, None)
}

fn run_on(seed: u64, store: Option<Store>) -> Stats {
    let mut rng = Rng(seed);
    let mut pair = Pair { store, ..Pair::new(seed) };
    pair.pass(1_000);
    let conversation = conversation(&mut rng, 300);
    let mut at = 0;
    let mut own: Vec<MessageId> = Vec::new();
    for operation in 0..500 {
        let near = |rng: &mut Rng| conversation[(at + rng.below(8) as usize).saturating_sub(4).min(299)].clone();
        match rng.below(20) {
            // In order, with gaps of what never comes.
            0..=5 => {
                at = (at + 1 + usize::from(rng.below(12) == 0)).min(299);
                pair.input(&Input::Receive(conversation[at].clone()));
            }
            // Out of order, and duplicates.
            6..=8 => pair.input(&Input::Receive(near(&mut rng))),
            9 | 10 => {
                let id = MessageId::from(format!("own{operation}"));
                pair.input(&Input::Send { content: Bytes::from("text"), id: Some(id.clone()) });
                own.push(id);
            }
            11 => {
                let names = [own.last().map_or("nothing".into(), MessageId::to_string), near(&mut rng).id.to_string()];
                let mut heard = sync("erin", pair.steady.now + 1, &[&names[rng.below(2) as usize]], &[]);
                heard.id = MessageId::from(format!("sync{operation}"));
                pair.input(&Input::Receive(heard));
            }
            12 => {
                // When an id was heard last is not saved: it was longer ago than half of T_min.
                pair.pass(2_500 + rng.below(1_000));
                let asked: Vec<String> = (0..3).map(|_| near(&mut rng).id.to_string()).collect();
                let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
                pair.input(&Input::Receive(sync("frank", pair.steady.now + 1, &[], &asked)));
            }
            13 | 14 => {
                pair.pass(1_000 + rng.below(20_000));
                pair.input(&Input::Timeout);
            }
            15 => pair.input(&Input::SetHint {
                id: format!("tick{}", pair.heartbeats.saturating_sub(rng.below(20))).into(),
                hint: Bytes::from(operation.to_string()),
            }),
            16 => pair.input(&Input::DependenciesMet(vec![near(&mut rng).id])),
            17 => pair.input(&Input::DeliveriesTold(
                pair.steady.channel.meta().next_delivery.saturating_sub(1 + rng.below(9)),
            )),
            18 => {
                let conflict = near(&mut rng).tap_mut(|it| it.content = Bytes::from("other"));
                if !pair.steady.channel.incoming().iter().any(|waiting| waiting.id == conflict.id) {
                    pair.input(&Input::Receive(conflict));
                }
            }
            _ => {
                let (a, b) = (format!("a{operation}"), format!("b{operation}"));
                pair.input(&Input::Receive(message("grace", &a, pair.steady.now, &[&b])));
                pair.input(&Input::Receive(message("grace", &b, pair.steady.now, &[&a])));
            }
        }
    }
    assert_eq!(pair.told[0], pair.told[1], "told the same deliveries under the same numbers");
    pair.steady.channel.stats()
}

/// Runs these seeds, which together must have met everything that can happen.
fn run_all(seeds: std::ops::Range<u64>) {
    let stats: Vec<Stats> = seeds.map(run).collect();
    let least = |count: fn(&Stats) -> u64| stats.iter().map(count).sum::<u64>();
    assert!(stats.iter().all(|stats| stats.delivered > 100 && stats.duplicates > 10), "{stats:?}");
    assert!(least(|stats| stats.lost) > 0 && least(|stats| stats.answered) > 0, "{stats:?}");
    assert!(least(|stats| stats.failed) > 0 && least(|stats| stats.acknowledged) > 0, "{stats:?}");
}

#[test]
fn a_crash_after_every_operation_changes_nothing_in_seeds_0_to_9() {
    run_all(0..10);
}

#[test]
fn a_crash_after_every_operation_changes_nothing_in_seeds_10_to_19() {
    run_all(10..20);
}

#[test]
fn a_crash_after_every_operation_changes_nothing_in_seeds_20_to_31() {
    run_all(20..32);
}

/// A real store, opened for saving and once more for loading.
#[cfg(feature = "store")]
fn store<P: Persistence>(open: impl Fn() -> P + 'static) -> Store {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    Box::new(move |commits| {
        let channel = "c".into();
        let saving = open();
        commits.iter().for_each(|commit| runtime.block_on(saving.commit(&channel, commit)).unwrap());
        drop(saving);
        runtime.block_on(open().load_channel(&channel)).unwrap()
    })
}

#[cfg(feature = "store")]
#[test]
fn a_crash_after_every_operation_changes_nothing_in_memory() {
    let memory = reliable_channel::store::MemoryPersistence::new();
    run_on(40, Some(store(move || memory.clone())));
}

#[cfg(feature = "redb")]
#[test]
fn a_crash_after_every_operation_changes_nothing_in_redb() {
    let dir = tempfile::TempDir::new().unwrap();
    run_on(41, Some(store(move || reliable_channel::store::RedbPersistence::open(dir.path()).unwrap())));
}

#[test]
fn a_hint_goes_with_its_message_and_is_as_saved_before_and_after_eviction() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 1);
    alice.receive(&message("bob", "m00", 0, &[]));
    alice.input(Input::SetHint { id: MessageId::from("m00"), hint: Bytes::from("hint") }).unwrap();
    for n in 1..20 {
        alice.receive(&message("bob", &format!("m{n:02}"), n, &[]));
        let set = alice.input(Input::SetHint { id: MessageId::from("m01"), hint: Bytes::from("evicted") });
        assert_eq!(set.is_ok(), n < 12, "known as long as its stub is");
        alice.restart();
    }
    assert!(alice.saved.hints.is_empty());
}

#[test]
fn an_evicted_dependency_is_met_and_a_replay_a_duplicate_also_after_a_restart() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 1);
    alice.receive(&message("bob", "m1", 1, &[]));
    alice.receive(&message("bob", "m2", 2, &[]));
    alice.restart();
    let outcome = alice.input(Input::Receive(message("bob", "m3", 3, &["m1"]))).unwrap();
    assert!(matches!(outcome, Outcome::Received(received) if received.released.len() == 1));
    assert_eq!(alice.fate(&message("bob", "m1", 1, &[])), reliable_channel::channel::Fate::Duplicate);
}

#[test]
fn due_times_survive_a_restart_to_the_millisecond() {
    let mut alice = peer("alice");
    alice.now = 1_000_000;
    alice.send("own");
    alice.receive(&message("bob", "m0", 0, &[]));
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    alice.sleep(3_000);
    alice.receive(&sync("carol", 2, &[], &["m0"]));
    let due = |peer: &Peer| (peer.channel.outgoing(), peer.channel.requests(), peer.channel.responses());
    let before = due(&alice);
    alice.restart();
    assert_eq!(due(&alice), before);
    assert_eq!(alice.channel.meta().lamport, Lamport(EPOCH + 1_000_000));
}
// Found by the fuzz target `store`: one damaged byte in the key of the meta, and a store cannot tell.
#[test]
fn rows_without_their_meta_are_mended_and_told() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m1", 1, &[]));
    alice.saved.meta = None;
    alice.restart();
    assert!(alice.take_events().iter().any(|event| matches!(event, Event::StateMended { .. })));
    assert_eq!(alice.log(), ["m1"]);
    assert_eq!(alice.channel.meta().next_delivery, 2);
}

/// As from a store that does not keep to its contract.
#[test]
fn a_parked_row_that_is_loaded_twice_is_one() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "b2", 2, &["b1"]));
    let again = alice.saved.rows.iter().find_map(|row| match row {
        Row::Parked(parked) => Some(parked.clone()),
        _ => None,
    });
    let again = again.unwrap();
    alice.saved.rows.insert(1, Row::Parked(again.tap_mut(|it| it.parked_at_age_ms = 5)));
    alice.restart();
    alice.run_for(3 * 60 * 60 * 1_000);
    assert_eq!(alice.log(), ["b2"], "what it waited for is lost");
}

#[test]
fn limits_lowered_between_runs_hold_from_the_opening_on() {
    let mut alice = peer("alice");
    for number in 0..20 {
        alice.receive(&message("bob", &format!("m{number}"), 10 + number, &["missing"]));
        alice.input(Input::DependenciesMet(vec![format!("met {number}").into()])).unwrap();
    }
    assert_eq!(alice.channel.stats().parked_len, 20);
    alice.restart_with(|config| (config.limits.max_parked, config.limits.max_marks) = (5, 7));
    assert_eq!(alice.channel.stats().parked_len, 5);
    assert_eq!(alice.channel.meta().counts.marks, 7);
}

#[test]
fn a_lowered_limit_of_own_messages_refuses_new_ones_and_drops_none() {
    let mut alice = peer("alice");
    for id in ["a1", "a2", "a3"] {
        alice.send_as(Some(id), "text");
    }
    alice.restart_with(|config| config.limits.max_outgoing = 2);
    assert_eq!(alice.log(), ["a1", "a2", "a3"]);
    let refused = alice.input(Input::Send { id: None, content: "one more".into() });
    assert!(matches!(refused, Err(ChannelError::OutgoingFull)), "{refused:?}");
    alice.receive(&message("bob", "b1", 9_000, &["a1", "a2"]));
    alice.input(Input::Send { id: None, content: "now it fits".into() }).unwrap();
}

#[test]
fn repair_buffers_that_are_smaller_than_in_the_run_before_give_way_at_the_opening() {
    let mut alice = peer("alice");
    (1..=9).for_each(|n| drop(alice.receive(&message("bob", &format!("m{n}"), n, &[]))));
    alice.sleep(60_000);
    for n in 1..=9 {
        alice.receive(&sync("carol", 20 + n, &[], &[&format!("m{n}")]));
        alice.receive(&message("bob", &format!("n{n}"), 40 + n, &[&format!("missing{n}")]));
    }
    assert_eq!((alice.channel.requests().len(), alice.channel.responses().len()), (9, 9));
    let first: Vec<_> = alice.channel.responses().into_iter().take(4).map(|view| view.id).collect();
    alice.take_events();
    alice.restart_with(|config| config.limits.max_repair_entries = 4);
    assert_eq!(alice.channel.requests().len(), 4);
    assert_eq!(alice.channel.responses().into_iter().map(|view| view.id).collect::<Vec<_>>(), first);
    let told = |limit: Limit| {
        let is = |event: &&Event| matches!(event, Event::LimitReached { limit: told, .. } if *told == limit);
        alice.events.iter().filter(is).count()
    };
    assert_eq!((told(Limit::RepairRequests), told(Limit::RepairResponses)), (5, 5));
}

#[test]
fn an_age_without_a_later_one_is_mended_and_spins_no_timer() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    if let Some(meta) = &mut alice.saved.meta {
        meta.age_ms = u64::MAX;
    }
    alice.restart();
    assert!(alice.take_events().iter().any(|event| matches!(event, Event::StateMended { .. })));
    // Whoever runs it checks that after a timeout the next lies later.
    alice.run_for(60 * 60 * 1_000);
}
