//! docs/protocol.md section 10: a message waits a minute for what does not come.

use reliable_channel::channel::{Event, Fate};
use reliable_channel::types::{Dialect, MessageId};
use tap::Tap as _;

use crate::harness::{Peer, chain, message, missing, peer, peer_with, seconds, sync};

/// Lets time pass in which bob is heard every ten seconds.
fn with_bob(alice: &mut Peer, tens: u64) {
    for n in 0..tens {
        alice.run_for(10_000);
        alice.receive(&sync("bob", 100 + n, &[], &[]));
    }
}

fn gaps(peer: &Peer) -> Vec<(u64, Option<String>, String)> {
    let told = peer.events.iter().filter_map(|event| match event {
        Event::HistoryGap { missing, after, before } => {
            Some((*missing, after.as_ref().map(|key| key.id.to_string()), before.id.to_string()))
        }
        _ => None,
    });
    told.collect()
}

/// What was delivered, with what it misses.
fn shown(peer: &Peer) -> Vec<(String, Vec<MessageId>, bool)> {
    let told = peer.events.iter().filter_map(|event| match event {
        Event::MessageDelivered(delivery) => {
            Some((delivery.body.key.id.to_string(), delivery.missing.clone(), delivery.late))
        }
        _ => None,
    });
    told.collect()
}

#[test]
fn after_a_minute_messages_go_ahead_and_the_gap_is_told_once() {
    let mut alice = peer("alice");
    assert_eq!(alice.fate(&message("bob", "m1", 1, &[])), Fate::Delivered);
    for n in [5, 6, 7] {
        alice.receive(&message("bob", &format!("m{n}"), n, &[&format!("m{}", n - 1), "other"]));
    }
    with_bob(&mut alice, 5);
    assert_eq!((shown(&alice).len(), gaps(&alice)), (1, vec![]));
    with_bob(&mut alice, 3);
    let other = MessageId::from("other");
    let missed = vec!["m4".into(), other.clone()];
    assert_eq!(
        shown(&alice)[1..],
        [
            ("m5".to_owned(), missed, false),
            ("m6".to_owned(), vec![other.clone()], false),
            ("m7".to_owned(), vec![other], false)
        ]
    );
    assert_eq!(gaps(&alice), [(2, Some("m1".to_owned()), "m5".to_owned())]);
    assert_eq!(missing(&alice), ["m4", "other"], "both are still asked for");
    assert!(!alice.events.iter().any(|event| matches!(event, Event::DependencyLost { .. })));
}

#[test]
fn what_is_overdue_is_asked_for_more_rarely_and_delivered_late_when_it_comes() {
    for restarted in [false, true] {
        let mut alice = peer("alice");
        alice.receive(&message("bob", "m2", 2, &["m1"]));
        with_bob(&mut alice, 12);
        assert_eq!(alice.delivered(), ["m2"]);
        if restarted {
            alice.restart();
            assert_eq!(alice.log(), ["m2"]);
        }
        let sent = alice.channel.requests()[0].sent;
        with_bob(&mut alice, 60);
        let later = alice.channel.requests()[0].sent - sent;
        assert!((7..=16).contains(&later), "{later} requests in ten minutes");
        assert_eq!(alice.fate(&message("carol", "m3", 3, &["m1"])), Fate::Delivered);
        assert_eq!(alice.fate(&message("bob", "m1", 1, &[])), Fate::Delivered);
        assert_eq!(shown(&alice).last().unwrap(), &("m1".to_owned(), vec![], true));
        assert_eq!(alice.log(), ["m1", "m2", "m3"]);
        assert_eq!(missing(&alice), Vec::<String>::new());
        assert_eq!(gaps(&alice).len(), usize::from(!restarted), "told before");
    }
}

#[test]
fn what_a_sync_message_names_is_asked_for_as_often_as_before_though_overdue() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    with_bob(&mut alice, 42);
    let asked = |alice: &Peer| alice.channel.requests()[0].sent;
    let before = asked(&alice);
    // Waits for what is overdue are 40 to 80 s long; a first wait is 10 s at most.
    alice.receive(&sync("bob", 900, &["m1"], &[]));
    alice.run_for(10_000);
    assert_eq!(asked(&alice), before + 1);
    with_bob(&mut alice, 18);
    let soon = asked(&alice) - before;
    assert!((10..=20).contains(&soon), "{soon} requests in three minutes");
    with_bob(&mut alice, 12);
    let before = asked(&alice);
    with_bob(&mut alice, 60);
    let later = asked(&alice) - before;
    assert!((7..=16).contains(&later), "{later} requests in ten minutes");
}

#[test]
fn what_a_sync_message_named_before_it_was_overdue_counts_too() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    with_bob(&mut alice, 6);
    alice.receive(&sync("bob", 900, &["m1"], &[]));
    with_bob(&mut alice, 6);
    assert_eq!(alice.delivered(), ["m2"], "it is overdue");
    let before = alice.channel.requests()[0].sent;
    with_bob(&mut alice, 15);
    let soon = alice.channel.requests()[0].sent - before;
    assert!((7..=15).contains(&soon), "{soon} requests in 150 s");
}

#[test]
fn who_hears_nobody_waits_until_the_message_is_lost() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    alice.run_for(29 * 60_000);
    assert_eq!(alice.delivered(), Vec::<String>::new());
    alice.run_for(2 * 60_000);
    assert_eq!(alice.delivered(), ["m2"]);
    assert_eq!(gaps(&alice), [(1, None, "m2".to_owned())], "a loss is a gap, too");
}

#[test]
fn while_missing_messages_come_in_the_wait_is_twice_as_long() {
    let mut alice = peer("alice");
    let messages = chain(60);
    alice.receive(&messages[59]);
    // One every two seconds, the newest first: the lowest of them is never asked for often enough.
    alice.receive(&message("bob", "m100", 100, &["gone"]));
    for n in (10..59).rev() {
        alice.run_for(2_000);
        alice.receive(&messages[n]);
    }
    assert_eq!(alice.delivered(), Vec::<String>::new(), "98 s have passed");
    with_bob(&mut alice, 3);
    assert_eq!(alice.delivered(), ["m100"]);
}

#[test]
fn in_the_nim_dialect_a_message_waits_without_end() {
    let mut alice = peer_with("alice", |config| {
        *config = reliable_channel::channel::Config::of(Dialect::NimSds).tap_mut(|it| it.join = config.join);
    });
    alice.receive(&message("bob", "m2", 2_000, &["m1"]));
    for n in 0..60 {
        alice.run_for(10_000);
        alice.receive(&sync("bob", 100 + n, &[], &["m1"]));
    }
    assert!(alice.channel.requests()[0].heard >= 50, "often enough");
    assert_eq!(alice.delivered(), Vec::<String>::new());
}

#[test]
fn a_wait_of_one_option_is_that_long() {
    let mut alice = peer_with("alice", |config| config.wait_timeout = seconds(300));
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    with_bob(&mut alice, 29);
    assert_eq!(alice.delivered(), Vec::<String>::new());
    with_bob(&mut alice, 2);
    assert_eq!(alice.delivered(), ["m2"]);
}

#[test]
fn what_came_in_more_than_five_seconds_ago_is_no_reason_to_wait_longer() {
    let mut alice = peer("alice");
    let messages = chain(60);
    alice.receive(&messages[59]);
    alice.receive(&message("bob", "m100", 100, &["gone"]));
    for n in (48..59).rev() {
        alice.run_for(7_000);
        alice.receive(&messages[n]);
    }
    assert_eq!(alice.delivered(), ["m100"], "77 s have passed");
}

#[test]
fn who_was_heard_before_the_third_request_only_does_not_count() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    while alice.channel.requests()[0].sent < 2 {
        alice.run_for(1_000);
    }
    alice.receive(&sync("bob", 100, &[], &[]));
    alice.run_for(29 * 60_000);
    assert_eq!(alice.delivered(), Vec::<String>::new());
}
