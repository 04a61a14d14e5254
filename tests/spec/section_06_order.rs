//! docs/protocol.md section 6: one log everywhere, late messages, floor and stubs.

use bytes::Bytes;
use reliable_channel::channel::{Delivery, Event, Fate, Position};
use reliable_channel::types::{Dialect, Message};
use reliable_channel::wire;
use tap::Tap as _;

use crate::harness::{Peer, ids, message, parked_for, peer, peer_with};

/// A log as bytes.
fn bytes(peer: &Peer) -> Vec<Bytes> {
    peer.channel
        .log()
        .map(|logged| {
            let message =
                Message::new(logged.body.key.id.clone(), logged.body.sender.clone(), "c".into()).tap_mut(|it| {
                    it.lamport = Some(logged.body.key.lamport);
                    it.causal_history = logged.body.causal_history.clone();
                    it.content = logged.body.content.clone();
                });
            wire::encode(&message, Dialect::Lip109).unwrap()
        })
        .collect()
}

fn last_delivery(peer: &Peer) -> Delivery {
    let delivery = peer.events.iter().rev().find_map(|event| match event {
        Event::MessageDelivered(delivery) => Some(delivery.clone()),
        _ => None,
    });
    delivery.unwrap()
}

fn floor(peer: &Peer) -> Option<String> {
    peer.channel.meta().floor.as_ref().map(|key| key.id.to_string())
}

fn stub_floor(peer: &Peer) -> Option<String> {
    peer.channel.meta().stub_floor.as_ref().map(|key| key.id.to_string())
}

/// Has logged m11 and m12; its floor is m10, and it has a stub of every message below.
fn with_floor(change: impl FnOnce(&mut reliable_channel::channel::Config)) -> Peer {
    let mut alice = peer_with("alice", |config| {
        config.max_message_history = 2;
        change(config);
    });
    (1..=12).for_each(|n| drop(alice.receive(&message("bob", &format!("m{n:02}"), 10 * n, &[]))));
    assert_eq!((alice.log(), floor(&alice)), (ids(["m11", "m12"]), Some("m10".into())));
    alice.take_events();
    alice
}

#[test]
fn two_participants_sending_concurrently_end_with_byte_identical_logs() {
    let (mut alice, mut bob) = (peer("alice"), peer("bob"));
    for round in 0..20 {
        let from_alice: Vec<Message> = (0..3).map(|n| alice.send(&format!("{round} {n}"))).collect();
        let from_bob: Vec<Message> = (0..3).map(|n| bob.send(&format!("{round} {n}"))).collect();
        from_bob.iter().rev().for_each(|message| drop(alice.receive(message)));
        from_alice.iter().for_each(|message| drop(bob.receive(message)));
    }
    assert_eq!(alice.log().len(), 120);
    assert_eq!(bytes(&alice), bytes(&bob));
    alice.restart();
    assert_eq!(bytes(&alice), bytes(&bob));
    let lamports: Vec<_> = alice.channel.log().map(|logged| logged.body.key.lamport).collect();
    assert!(lamports.windows(2).any(|pair| pair[0] == pair[1]), "there were ties to break");
}

#[test]
fn the_log_is_ordered_by_lamport_then_message_id_bytes_ascending() {
    let mut alice = peer("alice");
    // By locale "a" comes before "B"; as UTF-16 the last two would change places.
    for (id, lamport) in [("\u{1f600}", 5), ("\u{ffee}", 5), ("a", 5), ("B", 5), ("aa", 5), ("z", 4), ("0", 6)] {
        alice.receive(&message("bob", id, lamport, &[]));
    }
    assert_eq!(alice.log(), ["z", "B", "a", "aa", "\u{ffee}", "\u{1f600}", "0"]);
}

#[test]
fn a_late_message_is_inserted_where_it_belongs_and_the_event_says_where() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "a", 10, &[]));
    alice.receive(&message("bob", "c", 30, &[]));
    assert_eq!((last_delivery(&alice).position, last_delivery(&alice).late), (Position::Newest, false));
    alice.receive(&message("bob", "b", 20, &[]));
    assert_eq!((last_delivery(&alice).position, last_delivery(&alice).late), (Position::Before("c".into()), true));
    alice.receive(&message("bob", "0", 10, &[]));
    assert_eq!(last_delivery(&alice).position, Position::Before("a".into()));
    assert_eq!(alice.log(), ["0", "a", "b", "c"]);
}

#[test]
fn the_floor_is_the_highest_key_evicted_monotone_and_saved() {
    let mut alice = with_floor(|_| {});
    let mut floors = vec![alice.channel.meta().floor.clone()];
    for lamport in [115, 5, 125, 130, 101] {
        alice.receive(&message("bob", &format!("n{lamport}"), lamport, &[]));
        floors.push(alice.channel.meta().floor.clone());
        alice.restart();
        assert_eq!(alice.channel.meta().floor, *floors.last().unwrap());
    }
    assert!(floors.is_sorted());
    assert_eq!(floor(&alice), Some("m12".into()));
}

#[test]
fn a_message_below_the_floor_is_delivered_marked_late_not_logged_and_leaves_a_stub_at_once() {
    let mut alice = with_floor(|_| {});
    assert_eq!(alice.fate(&message("carol", "below", 55, &["unknown"])), Fate::Delivered);
    let delivery = last_delivery(&alice);
    assert_eq!((delivery.position, delivery.late), (Position::BelowFloor, true));
    assert_eq!(alice.log(), ["m11", "m12"]);
    assert!(alice.stubs().contains(&"below".into()));
    assert_eq!(alice.fate(&message("carol", "below", 55, &["unknown"])), Fate::Duplicate);
    assert_eq!(alice.fate(&message("carol", "n", 130, &["below"])), Fate::Delivered);
}

#[test]
fn an_evicted_dependency_never_blocks_also_after_restart() {
    for restarted in [false, true] {
        let mut alice = with_floor(|_| {});
        if restarted {
            alice.restart();
        }
        assert_eq!(alice.fate(&message("carol", "n", 130, &["m01", "m05", "m10"])), Fate::Delivered);
        assert_eq!(alice.asked(), [] as [&str; 0]);
    }
}

#[test]
fn a_replay_of_an_evicted_message_is_known_as_a_duplicate_also_after_restart() {
    let mut alice = with_floor(|_| {});
    for _ in 0..2 {
        for n in 1..=12 {
            assert_eq!(alice.fate(&message("bob", &format!("m{n:02}"), 10 * n, &[])), Fate::Duplicate);
        }
        assert!(alice.events.is_empty());
        alice.restart();
    }
}

#[test]
fn a_parked_message_is_delivered_once_the_floor_rises_above_it() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 2);
    assert_eq!(alice.fate(&message("carol", "parked", 15, &["unknown"])), parked_for(&["unknown"]));
    alice.receive(&message("bob", "m1", 10, &[]));
    alice.receive(&message("bob", "m2", 20, &[]));
    alice.receive(&message("bob", "m3", 30, &[]));
    assert_eq!((alice.parked(), floor(&alice)), (ids(["parked"]), Some("m1".into())));
    let released = alice.receive(&message("bob", "m4", 40, &[])).released;
    assert_eq!(released, ["m4", "parked"].map(Into::into));
    assert_eq!((alice.log(), alice.parked(), alice.asked()), (ids(["m3", "m4"]), vec![], vec![]));
    assert!(last_delivery(&alice).late);
}

#[test]
fn an_evicted_message_leaves_a_stub_for_ten_times_the_history() {
    let mut alice = with_floor(|_| {});
    (13..=22).for_each(|n| drop(alice.receive(&message("bob", &format!("m{n:02}"), 10 * n, &[]))));
    assert_eq!((alice.stubs().len(), stub_floor(&alice)), (20, None));
    alice.receive(&message("bob", "m23", 230, &[]));
    assert_eq!((alice.stubs().len(), stub_floor(&alice)), (20, Some("m01".into())));
    assert_eq!(alice.stubs()[0], "m02");
}

/// The same, with its stub floor at m03.
fn with_stub_floor() -> Peer {
    let mut alice = with_floor(|_| {});
    (13..=25).for_each(|n| drop(alice.receive(&message("bob", &format!("m{n:02}"), 10 * n, &[]))));
    assert_eq!(stub_floor(&alice), Some("m03".into()));
    alice.take_events();
    alice
}

#[test]
fn at_or_below_the_stub_floor_a_message_is_reported_too_old_never_delivered_or_repaired() {
    for restarted in [false, true] {
        let mut alice = with_stub_floor();
        if restarted {
            alice.restart();
        }
        let before = alice.channel.data();
        for (id, lamport) in [("m03", 30), ("m01", 10), ("new", 29), ("m02", 30)] {
            assert_eq!(alice.fate(&message("bob", id, lamport, &["unknown"])), Fate::TooOld, "{id}");
            let event = Event::TooOld { id: id.into(), sender: "bob".into() };
            assert_eq!(alice.take_events(), [event], "{id}");
        }
        assert_eq!(alice.channel.data(), before);
        assert_eq!(alice.fate(&message("bob", "m04", 40, &[])), Fate::Duplicate);
        assert_eq!(alice.fate(&message("bob", "m033", 30, &[])), Fate::Delivered, "above it by one id");
    }
}

#[test]
fn who_waits_for_a_message_that_turns_out_too_old_waits_no_longer() {
    let mut alice = with_stub_floor();
    assert_eq!(alice.fate(&message("bob", "n", 300, &["m02"])), parked_for(&["m02"]));
    assert_eq!(alice.fate(&message("bob", "m02", 20, &[])), Fate::TooOld);
    assert_eq!((alice.delivered(), alice.asked(), alice.parked()), (ids(["n"]), vec![], vec![]));
}

/// Seed 2409: a forged message under the id of a missing one, with a timestamp below all memory, made everybody who missed
/// it give it up at once.
#[test]
fn a_too_old_message_of_another_sender_than_was_named_ends_no_wait() {
    let mut alice = with_stub_floor();
    let mut waiter = message("bob", "n", 300, &["x"]);
    waiter.causal_history[0].sender = Some("bob".into());
    assert_eq!(alice.fate(&waiter), parked_for(&["x"]));
    assert_eq!(alice.fate(&message("mallory", "x", 20, &[])), Fate::TooOld);
    assert_eq!((alice.delivered(), alice.asked(), alice.parked()), (vec![], ids(["x"]), ids(["n"])));
    assert_eq!(alice.fate(&message("bob", "x", 290, &[])), Fate::Delivered);
    assert_eq!(alice.delivered(), ids(["x", "n"]));
}

#[test]
fn the_stub_floor_is_monotone() {
    let mut alice = with_stub_floor();
    let mut floors = vec![alice.channel.meta().stub_floor.clone()];
    for (n, lamport) in [35, 36, 45, 260, 39, 270].into_iter().enumerate() {
        alice.receive(&message("carol", &format!("n{n}"), lamport, &[]));
        floors.push(alice.channel.meta().stub_floor.clone());
    }
    assert!(floors.is_sorted(), "{floors:?}");
    assert_eq!(alice.stubs().len(), 20);
}

#[test]
fn a_hint_goes_with_its_message() {
    let mut alice = with_stub_floor();
    alice.set_hint("m25", b"where");
    alice.set_hint("m05", b"where it was");
    alice.restart();
    (26..=60).for_each(|n| drop(alice.receive(&message("bob", &format!("m{n:02}"), 10 * n, &[]))));
    assert!(alice.saved.hints.is_empty());
}
