//! docs/protocol.md section 6: what leaves the log, and what stays.

use reliable_channel::channel::{Event, Input, Limit, TransmitKind};
use tap::Tap as _;

use crate::harness::{Peer, ids, message, peer, peer_with, seconds, sync};

#[test]
fn retention_by_count_evicts_the_lowest_lamport_and_id_first() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 3);
    for (id, lamport) in [("c", 30), ("b", 20), ("z", 10), ("y", 10)] {
        alice.receive(&message("bob", id, lamport, &[]));
    }
    assert_eq!((alice.log(), alice.stubs()), (ids(["z", "b", "c"]), ids(["y"])));
    alice.receive(&message("bob", "d", 40, &[]));
    assert_eq!((alice.log(), alice.stubs()), (ids(["b", "c", "d"]), ids(["y", "z"])));
}

#[test]
fn retention_by_bytes_evicts_the_lowest_first() {
    let mut alice = peer_with("alice", |config| config.max_log_bytes = 10_000);
    let big = |n: u64| message("bob", &format!("m{n}"), n, &[]).tap_mut(|it| it.content = vec![b'x'; 3_000].into());
    (1..=3).for_each(|n| drop(alice.receive(&big(n))));
    assert_eq!(alice.log(), ["m1", "m2", "m3"]);
    alice.receive(&big(4));
    assert_eq!(alice.log(), ["m2", "m3", "m4"]);
    assert!(alice.channel.stats().log_bytes <= 10_000);
    alice.restart_with(|config| config.max_log_bytes = 4_000);
    assert_eq!(alice.log(), ["m4"], "a lowered limit holds from the start");
}

/// Segment `index` of four of a payload.
fn segment(payload: u8, index: u8, id: &str, lamport: u64, bytes: usize) -> reliable_channel::types::Message {
    let head = [&[0x0a, 32][..], &[payload; 32], &[0x10, index, 0x18, 4, 0x22, 0xb8, 0x17]].concat();
    assert_eq!(bytes, 3_000, "as its length says");
    message("bob", id, lamport, &[]).tap_mut(|it| it.content = [&head[..], &vec![b'x'; bytes]].concat().into())
}

#[test]
fn segments_count_apart_and_a_payload_as_one_message() {
    for (apart, expected) in [(Some(14_000), 7), (None, 3)] {
        let mut alice = peer_with("alice", |config| {
            (config.max_message_history, config.max_log_bytes, config.max_file_bytes) = (4, 10_000, apart);
        });
        (1..=3).for_each(|n| drop(alice.receive(&message("bob", &format!("m{n}"), n, &[]))));
        for index in 0..4 {
            alice.receive(&segment(1, index, &format!("s{index}"), 10 + u64::from(index), 3_000));
        }
        assert_eq!(alice.log().len(), expected);
        alice.restart_with(|config| {
            (config.max_message_history, config.max_log_bytes, config.max_file_bytes) = (4, 10_000, apart);
        });
        assert_eq!(alice.log().len(), expected, "and after a restart");
        if apart.is_some() {
            alice.receive(&segment(2, 1, "next", 20, 3_000));
            assert_eq!(alice.log(), ["s1", "s2", "s3", "next"], "over the bound the lowest leaves");
            assert_eq!(told_bytes(&mut alice), ["s0"]);
        }
    }
}

/// The messages told to be the highest that left the log for the sake of bytes.
fn told_bytes(peer: &mut Peer) -> Vec<String> {
    let highest = |event: &Event| match event {
        Event::LimitReached { limit: Limit::LogBytes, id: Some(id), by: None } => Some(id.to_string()),
        _ => None,
    };
    peer.take_events().iter().filter_map(highest).collect()
}

#[test]
fn what_leaves_for_the_sake_of_bytes_is_told_once_a_step() {
    let sized = |n: u64, bytes: usize| {
        message("bob", &format!("m{n}"), n, &[]).tap_mut(|it| it.content = vec![b'x'; bytes].into())
    };
    let mut alice = peer_with("alice", |config| {
        (config.max_log_bytes, config.max_message_history) = (10_000, 4);
    });
    (1..=5).for_each(|n| drop(alice.receive(&sized(n, 100))));
    assert!(told_bytes(&mut alice).is_empty(), "m1 left for the length of the log");
    alice.receive(&sized(6, 9_700));
    assert_eq!((told_bytes(&mut alice), alice.log()), (vec!["m5".to_owned()], ids(["m6"])));
    alice.receive(&message("bob", "m7", 7, &[]));
    alice.input(Input::Shrink { log_bytes: 5_000, parked_bytes: usize::MAX }).unwrap();
    assert_eq!(told_bytes(&mut alice), ["m6"]);
}

#[test]
fn twelve_files_of_900_kb_leave_the_conversation_in_the_default_log() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "text", 1, &[]));
    for n in 2..14 {
        alice.receive(
            &message("bob", &format!("file{n:02}"), n, &[]).tap_mut(|it| it.content = vec![b'x'; 900_000].into()),
        );
    }
    assert_eq!((alice.log().len(), alice.log()[0].as_str()), (13, "text"));
    assert!(told_bytes(&mut alice).is_empty());
}

#[test]
fn retention_by_age_is_off_unless_set_and_evicts_by_the_time_received() {
    for (age, left) in [(None, vec!["m1", "m2"]), (Some(seconds(100)), vec!["m2"])] {
        let mut alice = peer_with("alice", |config| config.max_log_age = age);
        alice.receive(&message("bob", "m1", 1, &[]));
        alice.sleep(60_000);
        alice.receive(&message("bob", "m2", 2, &[]));
        alice.run_for(50_000);
        assert_eq!(alice.log(), left);
    }
}

#[test]
fn retention_by_age_counts_time_when_the_channel_was_closed() {
    let mut alice = peer_with("alice", |config| config.max_log_age = Some(seconds(100)));
    alice.receive(&message("bob", "m1", 1, &[]));
    alice.sleep(90_000);
    alice.restart();
    alice.run_for(12_000);
    assert_eq!(alice.log(), [] as [&str; 0]);
}

#[test]
fn an_own_message_that_is_still_unacknowledged_stays() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 2);
    alice.send_as(Some("own"), "own");
    for restarted in [false, true] {
        (1..=5).for_each(|n| drop(alice.receive(&message("bob", &format!("m{n}"), 10 + n, &[]))));
        assert_eq!(alice.log(), ["own", "m4", "m5"], "{restarted}");
        alice.restart();
    }
    alice.receive(&sync("bob", 20, &["own"], &[]));
    alice.receive(&message("bob", "m6", 16, &[]));
    assert_eq!(alice.log(), ["m5", "m6"]);
    assert!(alice.stubs().contains(&"own".into()));
}

#[test]
fn a_message_whose_repair_answer_is_pending_stays_until_it_is_given() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 2);
    alice.receive(&message("bob", "asked", 1, &[]));
    alice.sleep(60_000);
    alice.receive(&sync("carol", 2, &[], &["asked"]));
    (1..=5).for_each(|n| drop(alice.receive(&message("bob", &format!("m{n}"), 10 + n, &[]))));
    assert_eq!(alice.log(), ["asked", "m4", "m5"]);
    alice.restart();
    assert_eq!(alice.log(), ["asked", "m4", "m5"]);
    let answers = alice.run_for(60_000);
    assert_eq!(answers.iter().filter(|sent| sent.kind == TransmitKind::Repair).count(), 1);
    assert_eq!(alice.log(), ["m4", "m5"]);
}

#[test]
fn a_delivery_the_application_was_not_told_of_stays() {
    let mut alice = peer_with("alice", |config| {
        config.max_message_history = 2;
        config.confirm_deliveries = true;
    });
    (1..=5).for_each(|n| drop(alice.receive(&message("bob", &format!("m{n}"), n, &[]))));
    assert_eq!(alice.log().len(), 5);
    alice.input(Input::DeliveriesTold(4)).unwrap();
    assert_eq!((alice.log(), alice.stubs()), (ids(["m3", "m4", "m5"]), ids(["m1", "m2"])), "m5 does not count");
    alice.input(Input::DeliveriesTold(5)).unwrap();
    assert_eq!(alice.log(), ["m4", "m5"]);
}

#[test]
fn a_message_given_up_stays_in_the_log_but_is_evicted_like_any_other() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 2);
    alice.send_as(Some("own"), "own");
    alice.run_for(10 * 60 * 1_000);
    assert!(alice.events.iter().any(|event| matches!(event, Event::DeliveryFailed { .. })));
    assert_eq!((alice.log(), alice.channel.outgoing().len()), (ids(["own"]), 1));
    (1..=2).for_each(|n| drop(alice.receive(&message("bob", &format!("m{n}"), 10 + n, &[]))));
    assert_eq!((alice.log(), alice.channel.outgoing().len()), (ids(["m1", "m2"]), 0));
}

#[test]
fn shrinking_evicts_the_lowest_and_keeps_the_newest() {
    let mut alice = peer_with("alice", |_| {});
    (1..=5).for_each(|n| drop(alice.receive(&message("bob", &format!("m{n}"), n, &[]))));
    alice.input(Input::Shrink { log_bytes: 300, parked_bytes: 0 }).unwrap();
    assert_eq!((alice.log(), alice.stubs()), (ids(["m4", "m5"]), ids([])), "stubs count, too");
}

#[test]
fn the_newest_message_stays_however_much_is_to_be_given_up() {
    let mut alice = peer("alice");
    (1..=5).for_each(|n| drop(alice.receive(&message("bob", &format!("m{n}"), n, &[]))));
    alice.input(Input::Shrink { log_bytes: 0, parked_bytes: 0 }).unwrap();
    assert_eq!((alice.log(), alice.stubs()), (ids(["m5"]), ids([])));
}

#[test]
fn floor_and_stub_floor_do_not_fall_when_a_row_that_was_needed_leaves_late() {
    for messages in [5, 40] {
        let mut alice = peer_with("alice", |config| config.max_message_history = 2);
        alice.send_as(Some("own"), "own");
        (1..=messages).for_each(|n| drop(alice.receive(&message("bob", &format!("m{n}"), 10 + n, &[]))));
        let floors = |alice: &crate::harness::Peer| {
            let meta = alice.channel.meta();
            (meta.floor.clone(), meta.stub_floor.clone())
        };
        let before = floors(&alice);
        assert_eq!(before.1.is_some(), messages == 40);
        alice.receive(&sync("bob", 60, &["own"], &[]));
        assert_eq!((alice.log().len(), floors(&alice)), (2, before));
    }
}
