//! docs/protocol.md section 5: dependencies, parking, and the cascade.

use reliable_channel::channel::{Event, Fate, Input, Limit};
use reliable_channel::types::{Message, MessageId};

use crate::harness::{Peer, chain, ids, message, parked_for, peer, peer_with};

/// A fixed shuffle.
fn shuffled<T>(mut items: Vec<T>, mut seed: u64) -> Vec<T> {
    for at in (1..items.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(at, (seed >> 33) as usize % (at + 1));
    }
    items
}

/// Everything a message depends on was delivered before it.
fn assert_causal(order: &[String], messages: &[Message]) {
    let place = |id: &MessageId| order.iter().position(|delivered| *delivered == id.to_string());
    for message in messages {
        for entry in &message.causal_history {
            assert!(place(&entry.id) < place(&message.id), "{} before {}", entry.id, message.id);
        }
    }
}

#[test]
fn callbacks_come_dependency_before_dependant_at_any_depth() {
    // Message n depends on n - 1, n / 2 and n / 3.
    let messages: Vec<Message> = (0..120_u64)
        .map(|n| {
            let names: Vec<String> =
                [n.wrapping_sub(1), n / 2, n / 3].iter().filter(|d| **d < n).map(|d| format!("m{d}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            message(["bob", "carol", "dave"][n as usize % 3], &format!("m{n}"), n, &names)
        })
        .collect();
    for seed in 0..8 {
        let mut alice = peer("alice");
        shuffled(messages.clone(), seed).iter().for_each(|message| drop(alice.receive(message)));
        let order = alice.delivered();
        assert_eq!(order.len(), messages.len());
        assert_causal(&order, &messages);
        assert_eq!(order, alice.log(), "a chain through all leaves one order");
        assert_eq!((alice.parked(), alice.asked()), (vec![], vec![]));
    }
}

#[test]
fn every_arrival_order_of_six_messages_is_delivered_causally() {
    let messages = [
        message("bob", "a", 1, &[]),
        message("carol", "b", 1, &[]),
        message("bob", "c", 2, &["a", "b"]),
        message("carol", "d", 3, &["b"]),
        message("bob", "e", 4, &["c", "d"]),
        message("carol", "f", 4, &["c"]),
    ];
    let mut orders: Vec<Vec<usize>> = vec![vec![]];
    for n in 0..messages.len() {
        orders = orders
            .iter()
            .flat_map(|order| (0..=order.len()).map(move |at| [&order[..at], &[n], &order[at..]].concat()))
            .collect();
    }
    assert_eq!(orders.len(), 720);
    for order in orders {
        let mut alice = peer("alice");
        order.iter().for_each(|n| drop(alice.receive(&messages[*n])));
        assert_causal(&alice.delivered(), &messages);
        assert_eq!(alice.log(), ["a", "b", "c", "d", "e", "f"]);
    }
}

/// Lets a channel do what one step was too short for.
fn finish(alice: &mut Peer) {
    alice.run_for(100);
}

fn reversed(length: u64) -> (Peer, u64) {
    let mut alice = peer_with("alice", |config| {
        config.max_message_history = 5_000;
        config.limits.max_parked = 20_000;
    });
    alice.receive_all(chain(length).iter().rev());
    finish(&mut alice);
    let work = alice.channel.stats().work;
    (alice, work)
}

#[test]
fn what_one_step_is_too_short_for_is_delivered_in_the_next_ones_in_order() {
    let mut alice = peer("alice");
    let waiting: Vec<Message> = (1..3_000).map(|n| message("bob", &format!("m{n:04}"), n, &["root"])).collect();
    alice.receive_all(&waiting);
    alice.receive_all(&[message("bob", "root", 0, &[])]);
    let first = alice.delivered().len();
    assert!((500..1_500).contains(&first), "{first} in one step");
    assert_eq!(alice.channel.poll_timeout().map(|due| due.as_millis()), Some(alice.now + 1));
    // What comes meanwhile does not overtake what is ready, and is lower than some of it.
    let between = message("carol", "m1999+", 1_999, &["root"]);
    assert_eq!(alice.fate(&between), parked_for(&[]));
    alice.run_for(100);
    let mut expected: Vec<String> = (1..3_000).map(|n| format!("m{n:04}")).collect();
    expected.insert(1_999, "m1999+".into());
    assert_eq!(alice.delivered(), expected[first - 1..]);
    assert_eq!(alice.parked(), [""; 0]);
}

#[test]
fn five_thousand_messages_in_reverse_order_are_all_delivered_in_order() {
    let (mut alice, _) = reversed(5_000);
    let order: Vec<String> = (1..=5_000).map(|n| format!("m{n}")).collect();
    assert_eq!(alice.delivered(), order);
    assert_eq!(alice.log(), order);
    assert_eq!((alice.parked(), alice.asked()), (vec![], vec![]));
}

/// At most a quarter more than N log N predicts from the first.
fn assert_n_log_n(work: impl Fn(u64) -> u64) {
    let cost = |n: u64| n as f64 * (n as f64).log2();
    let base = work(1_000) as f64 / cost(1_000);
    for n in [5_000, 20_000] {
        let found = work(n) as f64;
        assert!(found <= 1.25 * base * cost(n), "{n} messages cost {found} steps, {} expected", base * cost(n));
    }
}

#[test]
fn n_messages_in_reverse_order_cost_n_log_n_in_all() {
    assert_n_log_n(|n| reversed(n).1);
}

#[test]
fn n_messages_that_wait_for_one_cost_n_log_n_in_all() {
    assert_n_log_n(|n| {
        let mut alice = peer_with("alice", |config| config.limits.max_parked = 20_000);
        let waiting: Vec<Message> = (1..n).map(|n| message("bob", &format!("m{n}"), n, &["root"])).collect();
        alice.receive_all(&waiting);
        alice.receive_all(&[message("bob", "root", 0, &[])]);
        finish(&mut alice);
        assert_eq!(alice.delivered().len() as u64, n);
        alice.channel.stats().work
    });
}

#[test]
fn n_messages_with_ten_dependencies_each_in_reverse_order_cost_n_log_n_in_all() {
    assert_n_log_n(|n| {
        let mut alice = peer_with("alice", |config| config.limits.max_parked = 20_000);
        let messages: Vec<Message> = (1..=n / 4)
            .map(|n| {
                let names: Vec<String> = (n.saturating_sub(10).max(1)..n).map(|d| format!("m{d}")).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                message("bob", &format!("m{n}"), n, &names)
            })
            .collect();
        alice.receive_all(messages.iter().rev());
        finish(&mut alice);
        assert_eq!(alice.delivered().len() as u64, n / 4);
        alice.channel.stats().work
    });
}

#[test]
fn n_messages_that_wait_for_each_other_below_a_rising_floor_cost_n_log_n_in_all() {
    assert_n_log_n(|n| {
        let mut alice = peer_with("alice", |config| config.max_message_history = 10);
        let pairs: Vec<Message> =
            (0..n / 4).map(|n| message("eve", &format!("p{n}"), 1, &[&format!("p{}", n ^ 1)])).collect();
        alice.receive_all(&pairs);
        let rest: Vec<Message> = (0..n / 2).map(|n| message("bob", &format!("m{n}"), 2 + n, &[])).collect();
        alice.receive_all(&rest);
        assert_eq!((alice.log().len(), alice.parked().len() as u64), (10, n / 4));
        alice.channel.stats().work
    });
}

#[test]
fn next_is_always_the_lowest_lamport_then_id_among_parked_messages_whose_dependencies_are_all_met() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "z", 9, &["root"]));
    alice.receive(&message("bob", "b", 5, &["root"]));
    alice.receive(&message("bob", "a", 5, &["root"]));
    alice.receive(&message("bob", "child of a", 3, &["a"]));
    alice.receive(&message("bob", "y", 6, &["child of a", "root"]));
    let released = alice.receive(&message("bob", "root", 1, &[])).released;
    assert_eq!(released, ["root", "a", "child of a", "b", "y", "z"].map(MessageId::from));
}

#[test]
fn one_that_is_only_parked_is_not_met_but_not_missing_either_and_no_repair_is_asked_for_it() {
    let mut alice = peer("alice");
    assert_eq!(alice.fate(&message("bob", "b", 2, &["a"])), parked_for(&["a"]));
    assert_eq!(alice.fate(&message("bob", "c", 3, &["b"])), parked_for(&[]));
    alice.receive(&sync("b"));
    assert_eq!((alice.parked(), alice.asked()), (ids(["b", "c"]), ids(["a"])));
    assert_eq!(alice.delivered(), [] as [&str; 0]);
    alice.restart();
    assert_eq!((alice.parked(), alice.asked()), (ids(["b", "c"]), ids(["a"])));
}

fn sync(names: &str) -> Message {
    crate::harness::sync("carol", 4, &[names], &[])
}

#[test]
fn a_reference_to_itself_is_ignored() {
    let mut alice = peer("alice");
    assert_eq!(alice.fate(&message("bob", "m", 1, &["m"])), Fate::Delivered);
    assert_eq!(alice.fate(&message("bob", "n", 2, &["n", "x"])), parked_for(&["x"]));
    alice.receive(&message("bob", "x", 1, &[]));
    assert_eq!(alice.delivered(), ["m", "x", "n"]);
    assert_eq!(crate::harness::history(&alice.send("next")), ["n", "m", "x"], "it is a head all the same");
}

#[test]
fn messages_that_refer_to_each_other_wait_until_the_lost_timeout_and_then_come_lowest_first() {
    for restarted in [false, true] {
        let mut alice = peer("alice");
        alice.receive(&message("bob", "b", 2, &["a"]));
        alice.receive(&message("bob", "a", 1, &["c"]));
        alice.receive(&message("bob", "c", 3, &["b"]));
        assert_eq!((alice.parked().len(), alice.asked()), (3, vec![]));
        if restarted {
            alice.restart();
        }
        alice.run_for(29 * 60 * 1_000);
        assert_eq!(alice.delivered(), [] as [&str; 0]);
        alice.run_for(2 * 60 * 1_000);
        assert_eq!(alice.delivered(), ["a", "b", "c"], "{restarted}");
        assert_eq!(alice.parked(), [] as [&str; 0]);
    }
}

#[test]
fn a_dependency_declared_met_is_met_and_still_delivered_late_when_it_comes() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "b", 2, &["a"]));
    alice.input(Input::DependenciesMet(vec!["a".into()])).unwrap();
    assert_eq!((alice.delivered(), alice.asked()), (ids(["b"]), vec![]));
    alice.restart();
    assert_eq!(alice.fate(&message("bob", "c", 3, &["a"])), Fate::Delivered);
    alice.take_events();
    alice.receive(&message("bob", "a", 1, &[]));
    let Event::MessageDelivered(delivery) = &alice.events[0] else { panic!("{:?}", alice.events) };
    assert!(delivery.late && delivery.missing.is_empty());
    alice.input(Input::DependenciesMet(vec!["z".into()])).unwrap();
    alice.take_events();
    alice.receive(&message("bob", "z", 9, &[]));
    let Event::MessageDelivered(delivery) = &alice.events[0] else { panic!("{:?}", alice.events) };
    assert!(delivery.late, "even as the newest: it was not waited for");
}

#[test]
fn a_dependency_marked_lost_is_met_and_names_what_is_missing() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "b", 2, &["a"]));
    alice.run_for(31 * 60 * 1_000);
    let missing: Vec<MessageId> = alice
        .take_events()
        .into_iter()
        .flat_map(|event| match event {
            Event::MessageDelivered(delivery) => delivery.missing,
            _ => vec![],
        })
        .collect();
    assert_eq!(missing, [MessageId::from("a")]);
    alice.restart();
    assert_eq!(alice.fate(&message("bob", "c", 3, &["a", "b"])), Fate::Delivered);
}

#[test]
fn parked_messages_survive_a_restart() {
    let mut alice = peer("alice");
    let messages = chain(6);
    messages.iter().skip(1).rev().for_each(|message| drop(alice.receive(message)));
    alice.restart();
    assert_eq!((alice.parked().len(), alice.asked()), (5, ids(["m1"])));
    let released = alice.receive(&messages[0]).released;
    assert_eq!(released, ["m1", "m2", "m3", "m4", "m5", "m6"].map(MessageId::from));
    assert_eq!(alice.fate(&messages[3]), Fate::Duplicate);
}

#[test]
fn what_gives_way_in_a_full_incoming_buffer_stays_in_repair_and_an_event_says_so() {
    let mut alice = peer_with("alice", |config| config.limits.max_parked = 2);
    alice.receive(&message("carol", "small", 9, &["x"]));
    alice.receive(&message("bob", "b1", 1, &["x"]));
    alice.take_events();
    assert_eq!(alice.fate(&message("bob", "b2", 2, &["x"])), Fate::GaveWay);
    let event = Event::LimitReached { limit: Limit::Parked, id: Some("b2".into()), by: Some("bob".into()) };
    assert!(alice.events.contains(&event), "{:?}", alice.events);
    let mut asked = alice.asked();
    asked.sort();
    assert_eq!((alice.parked(), asked), (ids(["b1", "small"]), ids(["b2", "x"])));
    alice.receive(&message("bob", "x", 0, &[]));
    alice.receive(&message("bob", "b2", 2, &["x"]));
    assert_eq!(alice.log(), ["x", "b1", "b2", "small"]);
}
