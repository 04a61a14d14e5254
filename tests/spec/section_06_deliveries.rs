//! docs/protocol.md sections 5 and 6: delivery numbers, reading deliveries again, and restarts.

use reliable_channel::channel::{Config, Event, Fate, Input, Limit, Position};
use reliable_channel::state::{ChannelData, Row};
use reliable_channel::types::{HistoryEntry, Message};
use tap::Tap as _;

use crate::harness::{Peer, chain, ids, message, peer, peer_with};

#[test]
fn deliveries_since_reads_them_again_from_the_log_in_delivery_order() {
    let mut alice = peer("alice");
    for (id, lamport) in [("c", 3), ("a", 1), ("b", 2)] {
        alice.receive(&message("bob", id, lamport, &[]));
    }
    alice.send("own");
    let told: Vec<_> = alice
        .take_events()
        .into_iter()
        .filter_map(|event| match event {
            Event::MessageDelivered(delivery) => Some(delivery),
            _ => None,
        })
        .collect();
    for _ in 0..2 {
        let again = alice.since(0);
        let read: Vec<_> = again.deliveries.iter().map(|delivery| (delivery.number, delivery.body.clone())).collect();
        let expected: Vec<_> = told.iter().map(|delivery| (delivery.number, delivery.body.clone())).collect();
        assert_eq!((read, again.evicted), (expected, 0));
        assert_eq!(again.deliveries[1].position, Position::Before("b".into()), "the place it has now");
        assert!(again.deliveries[1].late);
        let last = alice.since(2);
        assert_eq!((last.deliveries.len(), last.deliveries[0].number, last.evicted), (1, 3, 0));
        assert!(alice.since(3).deliveries.is_empty());
        alice.restart();
    }
}

#[test]
fn deliveries_since_says_how_many_have_left_the_log() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 2);
    chain(5).iter().for_each(|message| drop(alice.receive(message)));
    let read = alice.since(1);
    assert_eq!((read.deliveries.len(), read.evicted), (2, 2));
    assert_eq!(alice.since(5).evicted, 0);
}

fn confirming(name: &str, history: usize) -> Peer {
    peer_with(name, |config| {
        config.confirm_deliveries = true;
        config.max_message_history = history;
    })
}

#[test]
fn deliveries_not_told_are_delivered_again_after_restart_and_told_ones_are_not() {
    let mut alice = confirming("alice", 1_000);
    chain(4).iter().rev().for_each(|message| drop(alice.receive(message)));
    let first = alice.numbered();
    alice.input(Input::DeliveriesTold(2)).unwrap();
    alice.receive(&message("bob", "m5", 5, &[]));
    alice.numbered();
    for _ in 0..2 {
        alice.restart();
        assert_eq!(alice.numbered(), [&first[2..], &[(5, "m5".into())]].concat());
    }
    alice.input(Input::DeliveriesTold(5)).unwrap();
    alice.receive(&message("bob", "m6", 6, &[]));
    alice.restart();
    assert_eq!(alice.numbered(), [(6, "m6".into())]);
}

#[test]
fn deliveries_below_the_floor_not_told_are_delivered_again_after_restart_and_told_ones_are_not() {
    let mut alice = confirming("alice", 1);
    (1..=3).for_each(|n| drop(alice.receive(&message("bob", &format!("m{n}"), 10 * n, &[]))));
    alice.input(Input::DeliveriesTold(3)).unwrap();
    alice.receive(&message("bob", "below", 15, &["unknown"]));
    alice.receive(&message("bob", "below too", 5, &[]));
    assert_eq!(alice.log(), ["m3"]);
    for _ in 0..2 {
        alice.restart();
        assert_eq!(alice.numbered(), [(4, "below".into()), (5, "below too".into())]);
        let again = alice.since(3);
        assert_eq!((again.deliveries.len(), again.evicted), (2, 0));
        assert_eq!(again.deliveries[0].position, Position::BelowFloor);
    }
    alice.input(Input::DeliveriesTold(4)).unwrap();
    alice.restart();
    assert_eq!(alice.numbered(), [(5, "below too".into())]);
    assert!(alice.stubs().contains(&"below".into()));
    alice.input(Input::DeliveriesTold(5)).unwrap();
    alice.restart();
    assert!(alice.numbered().is_empty());
    assert!(alice.stubs().contains(&"below too".into()));
}

#[test]
fn without_confirmation_nothing_is_delivered_again_after_restart() {
    let mut alice = peer("alice");
    chain(4).iter().for_each(|message| drop(alice.receive(message)));
    alice.restart();
    assert!(alice.numbered().is_empty());
}

#[test]
fn a_number_told_beyond_the_last_delivery_confirms_nothing_to_come() {
    let mut alice = confirming("alice", 1_000);
    alice.receive(&message("bob", "a", 1, &[]));
    alice.input(Input::DeliveriesTold(99)).unwrap();
    alice.receive(&message("bob", "b", 2, &[]));
    alice.restart();
    assert_eq!(alice.numbered(), [(1 + 1, "b".into())]);
}

/// The messages told with this limit since the last call.
fn limited(peer: &mut Peer, limit: Limit) -> Vec<String> {
    let events = peer.take_events();
    let id = |event: &Event| match event {
        Event::LimitReached { limit: told, id: Some(id), .. } if *told == limit => Some(id.to_string()),
        _ => None,
    };
    events.iter().filter_map(id).collect()
}

fn kilobyte(id: &str, lamport: u64) -> Message {
    message("bob", id, lamport, &[]).tap_mut(|it| it.content = vec![b'x'; 1_000].into())
}

#[test]
fn unconfirmed_deliveries_take_no_more_than_their_bytes_and_those_given_up_are_told() {
    let mut alice = peer_with("alice", |config| {
        (config.confirm_deliveries, config.max_message_history) = (true, 1);
        config.limits.max_unconfirmed_bytes = 4_000;
    });
    (1..=3).for_each(|n| drop(alice.receive(&kilobyte(&format!("m{n}"), 10 * n))));
    assert!(limited(&mut alice, Limit::Unconfirmed).is_empty());
    // The fourth is the first too many; m1 then leaves the log, and what comes below it is kept for its confirmation alone.
    alice.receive(&kilobyte("m4", 40));
    alice.receive(&kilobyte("m5", 50));
    alice.receive(&kilobyte("below", 5));
    assert_eq!(limited(&mut alice, Limit::Unconfirmed), ["m1", "m2", "m3"]);
    let stats = alice.channel.stats();
    assert_eq!(stats.unconfirmed_len, 3);
    assert!((3_000..=4_000).contains(&stats.unconfirmed_bytes), "{stats:?}");
    assert!(stats.remembered_bytes > 1_000, "{stats:?}");
    assert_eq!(alice.log(), ["m3", "m4", "m5"], "m3 counts against the log's length of 1");
    alice.restart();
    assert_eq!(alice.delivered(), ["m3", "m4", "m5", "below"]);
    alice.restart_with(|config| config.limits.max_unconfirmed_bytes = 1);
    assert_eq!(alice.channel.stats().unconfirmed_len, 1, "a lowered limit holds from the start, but for the newest");
    alice.input(Input::DeliveriesTold(6)).unwrap();
    let stats = alice.channel.stats();
    assert_eq!((stats.unconfirmed_len, stats.unconfirmed_bytes, alice.log()), (0, 0, ids(["m5"])));
}

#[test]
fn a_channel_that_shrinks_gives_up_unconfirmed_deliveries_and_stubs_and_says_so() {
    let mut alice = peer_with("alice", |config| {
        (config.confirm_deliveries, config.max_message_history) = (true, 2);
    });
    (1..=9).for_each(|n| drop(alice.receive(&kilobyte(&format!("m{n}"), n))));
    alice.input(Input::DeliveriesTold(4)).unwrap();
    alice.set_hint("m1", b"elsewhere");
    assert_eq!((alice.log().len(), alice.stubs().len()), (7, 2));
    alice.input(Input::Shrink { log_bytes: 3_500, parked_bytes: usize::MAX }).unwrap();
    let stats = alice.channel.stats();
    assert!(stats.log_bytes + stats.remembered_bytes <= 3_500, "{stats:?}");
    assert_eq!(alice.log(), ["m7", "m8", "m9"]);
    let events = alice.take_events();
    let told = |limit: Limit| {
        let is = |event: &&Event| matches!(event, Event::LimitReached { limit: told, .. } if *told == limit);
        events.iter().filter(is).count()
    };
    assert_eq!((told(Limit::Unconfirmed), told(Limit::Stubs), told(Limit::LogBytes)), (2, 2, 1), "{events:?}");
    assert_eq!(alice.fate(&kilobyte("m1", 1)), Fate::TooOld);
    alice.restart();
    assert_eq!(alice.fate(&kilobyte("m6", 6)), Fate::TooOld);
    assert_eq!(alice.channel.data().hints, []);
}

/// 60 messages of three senders in a random order, with some lost, some twice, and some own among them.
fn script(seed: u64) -> Vec<Message> {
    let mut state = seed;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut messages: Vec<Message> = (0..60)
        .map(|n| {
            let names: Vec<String> = (0..random(3)).map(|_| format!("m{}", n - random(10).min(n))).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let made = message(["bob", "carol", "dave"][random(3) as usize], &format!("m{n}"), 10 * n, &names);
            let asked = (random(4) == 0).then(|| HistoryEntry::new(format!("m{}", random(60)).as_str()));
            made.tap_mut(|it| it.repair_request = asked.into_iter().collect())
        })
        .collect();
    for at in 0..messages.len() {
        // Mostly near its place.
        let other = (at + random(20) as usize).min(messages.len() - 1);
        messages.swap(at, other);
    }
    let again = messages[random(50) as usize].clone();
    messages.insert(55, again);
    messages.remove(random(50) as usize);
    messages
}

/// What came of a script: deliveries, log, and all that is saved.
fn play(
    script: &[Message],
    change: fn(&mut Config),
    restart_after: Option<usize>,
) -> (Vec<(u64, String)>, ChannelData) {
    let mut alice = peer_with("alice", change);
    let mut told = Vec::new();
    for (at, message) in script.iter().enumerate() {
        if at % 13 == 5 {
            alice.send_as(Some(&format!("own {at}")), "own");
        }
        if at % 10 == 7 {
            alice.receive(message);
            let known = alice.channel.log().next_back().map(|logged| logged.body.key.id.to_string());
            known.into_iter().for_each(|id| alice.set_hint(&id, b"hint"));
        }
        alice.receive(message);
        told.extend(alice.numbered());
        if restart_after == Some(at) {
            alice.restart();
            told.extend(alice.numbered());
        }
        alice.sleep(1_000);
    }
    let mut data = alice.channel.data();
    if let Some(meta) = &mut data.meta {
        meta.told = 0;
        // Time that passed since the last commit is forgotten, as if the channel had been closed.
        meta.age_ms = 0;
    }
    // An opening that delivers is one more.
    data.rows.retain(|row| !matches!(row, Row::Incarnation(_)));
    for row in &mut data.rows {
        match row {
            Row::Parked(parked) => parked.parked_at_age_ms = 0,
            Row::Request(request) => (request.since_age_ms, request.named_at_age_ms) = (0, 0),
            _ => {}
        }
    }
    (told, data)
}

#[test]
fn a_restart_at_any_point_equals_no_restart() {
    let ways: [fn(&mut Config); 3] = [
        |_| {},
        |config| config.max_message_history = 7,
        |config| {
            config.max_message_history = 3;
            config.join = reliable_channel::channel::Join::Backfill(4);
        },
    ];
    for (way, change) in ways.into_iter().enumerate() {
        for seed in 1..=3 {
            let script = script(seed);
            let whole = play(&script, change, None);
            assert!(whole.0.len() > 20, "{}", whole.0.len());
            for at in 0..script.len() {
                let restarted = play(&script, change, Some(at));
                assert_eq!(restarted.0, whole.0, "way {way}, seed {seed}, restart after {at}");
                assert_eq!(restarted.1, whole.1, "way {way}, seed {seed}, restart after {at}");
            }
        }
    }
}

#[test]
fn a_restart_keeps_the_next_causal_history() {
    let mut alice = peer("alice");
    for (id, lamport, names) in
        [("a", 1, &[] as &[&str]), ("b", 2, &["a"]), ("c", 2, &["a"]), ("d", 3, &["b"]), ("e", 3, &["a"])]
    {
        alice.receive(&message("bob", id, lamport, names));
    }
    alice.restart();
    assert_eq!(crate::harness::history(&alice.send("next")), ids(["e", "d", "c"]));
}
