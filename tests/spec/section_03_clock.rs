//! docs/protocol.md section 3: the Lamport clock.

use bytes::Bytes;
use reliable_channel::channel::{ChannelError, DeliveryState, Event, Fate, Input};
use reliable_channel::types::Lamport;
use tap::Tap as _;

use crate::harness::{EPOCH, history, message, peer, peer_with, sync};

const DAY: u64 = 24 * 60 * 60 * 1_000;

#[test]
fn on_send_the_clock_is_the_maximum_of_now_and_current_plus_one() {
    let mut alice = peer("alice");
    alice.now = 5;
    assert_eq!(alice.send("a").lamport, Some(Lamport(EPOCH + 5)));
    assert_eq!(alice.send("b").lamport, Some(Lamport(EPOCH + 6)));
    alice.now = 100;
    assert_eq!(alice.send("c").lamport, Some(Lamport(EPOCH + 100)));
}

#[test]
fn the_clock_moves_on_delivery_and_never_otherwise() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "parked", 9_000, &["unknown"]));
    assert_eq!(alice.channel.meta().lamport, Lamport(EPOCH));
    alice.receive(&message("bob", "delivered", 1_000, &[]));
    assert_eq!(alice.channel.meta().lamport, Lamport(EPOCH + 1_000));
}

#[test]
fn a_timestamp_from_the_far_future_is_refused_and_changes_nothing() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m1", 1, &[]));
    let before = alice.channel.data();
    let error = alice.refuse(&message("bob", "future", DAY + 1, &["m0"]));
    assert!(matches!(error, ChannelError::ClockDrift { .. }));
    assert_eq!(alice.channel.data(), before);
    alice.receive(&message("bob", "just within", DAY, &[]));
}

#[test]
fn a_clock_beyond_the_limit_is_reset_and_own_unacknowledged_messages_above_it_fail() {
    let mut alice = peer("alice");
    alice.wall_offset = EPOCH + 100 * DAY;
    let wrong = alice.send("sent under a wrong date");
    alice.wall_offset = EPOCH;
    alice.now = 10;
    let right = alice.send("sent under the right date");
    assert_eq!(right.lamport, Some(Lamport(EPOCH + 11)));
    assert!(alice.events.iter().any(|event| matches!(event, Event::ClockReset { .. })));
    assert!(
        alice.events.iter().any(|event| matches!(event, Event::DeliveryFailed { id, .. } if *id == wrong.id)),
        "{:?}",
        alice.events
    );
}

#[test]
fn the_clock_is_initialised_to_now() {
    assert_eq!(peer("alice").channel.meta().lamport, Lamport(EPOCH));
}

#[test]
fn on_sync_the_clock_is_the_maximum_of_now_and_current_plus_one() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m1", 1_000, &[]));
    assert_eq!(alice.send_sync().lamport, Some(Lamport(EPOCH + 1_001)));
    alice.now = 5_000;
    assert_eq!(alice.send_sync().lamport, Some(Lamport(EPOCH + 5_000)));
    assert_eq!(alice.send("m2").lamport, Some(Lamport(EPOCH + 5_001)), "a sync moves the clock for good");
}

#[test]
fn on_delivery_the_clock_is_the_maximum_of_current_and_message() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "high", 700, &[]));
    assert_eq!(alice.channel.meta().lamport, Lamport(EPOCH + 700));
    alice.receive(&message("bob", "low", 300, &[]));
    assert_eq!(alice.channel.meta().lamport, Lamport(EPOCH + 700), "not the message's, and not one more");
}

#[test]
fn a_parked_message_moves_the_clock_when_it_is_delivered() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "second", 9_000, &["first"]));
    assert_eq!(alice.channel.meta().lamport, Lamport(EPOCH));
    alice.receive(&message("bob", "first", 10, &[]));
    assert_eq!(alice.channel.meta().lamport, Lamport(EPOCH + 9_000));
}

#[test]
fn nothing_received_moves_the_clock_but_a_delivery() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m1", 10, &[]));
    let before = alice.channel.meta().lamport;
    alice.receive(&sync("bob", 5_000, &["m1"], &["m1"]));
    alice.receive(&message("bob", "ephemeral", 0, &[]).tap_mut(|it| it.lamport = None));
    alice.receive(&message("bob", "m1", 10, &[]));
    assert_eq!(alice.fate(&message("carol", "m1", 6_000, &[])), Fate::Conflict);
    alice.input(Input::Timeout).unwrap();
    assert_eq!(alice.channel.meta().lamport, before);
}

#[test]
fn an_ephemeral_message_sent_does_not_move_the_clock() {
    let mut alice = peer("alice");
    alice.now = 50;
    alice.input(Input::SendEphemeral { content: "typing".into() }).unwrap();
    assert_eq!(alice.transmitted[0].message.lamport, None);
    assert_eq!(alice.channel.meta().lamport, Lamport(EPOCH));
}

#[test]
fn a_send_that_is_refused_does_not_move_the_clock() {
    let mut alice = peer("alice");
    alice.now = 50;
    alice.input(Input::Send { content: Bytes::new(), id: None }).unwrap_err();
    assert_eq!(alice.channel.meta().lamport, Lamport(EPOCH));
}

#[test]
fn the_limit_follows_the_wall_clock_for_content_and_sync_alike() {
    let mut alice = peer("alice");
    let error = alice.refuse(&sync("bob", DAY + 1, &[], &[]));
    assert!(matches!(error, ChannelError::ClockDrift { .. }));
    alice.now = 1;
    alice.receive(&sync("bob", DAY + 1, &[], &[]));
    assert_eq!(alice.channel.stats().refused, 1);
}

#[test]
fn the_clock_never_goes_back_when_the_wall_clock_does() {
    let mut alice = peer("alice");
    alice.wall_offset = EPOCH + DAY;
    let first = alice.send("a");
    alice.wall_offset = EPOCH;
    assert_eq!(alice.send("b").lamport, Some(Lamport(first.lamport.unwrap().0 + 1)), "a day is within the limit");
    assert!(alice.events.is_empty());
}

#[test]
fn a_clock_beyond_the_limit_is_reset_to_the_highest_time_accepted_from_others_where_that_is_above_now() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m1", 3_000, &[]));
    alice.wall_offset = EPOCH + 100 * DAY;
    alice.send("sent under a wrong date");
    alice.wall_offset = EPOCH;
    assert_eq!(alice.send("right").lamport, Some(Lamport(EPOCH + 3_001)));
    let reset = Event::ClockReset { from: Lamport(EPOCH + 100 * DAY), to: Lamport(EPOCH + 3_000) };
    assert!(alice.events.contains(&reset), "{:?}", alice.events);
}

#[test]
fn a_clock_that_is_set_back_stays_above_what_was_delivered_within_the_limit() {
    let mut alice = peer("alice");
    alice.wall_offset = EPOCH + 100 * DAY;
    alice.receive(&message("bob", "m1", 6_000, &[]));
    alice.receive(&message("bob", "beyond", 100 * DAY, &["m1"]));
    alice.wall_offset = EPOCH;
    let sent = alice.send("after both").lamport;
    assert_eq!(sent, Some(Lamport(EPOCH + 6_001)), "others have m1 and take in what follows it");
}

#[test]
fn a_clock_beyond_the_limit_is_reset_at_load() {
    let mut alice = peer("alice");
    alice.wall_offset = EPOCH + 100 * DAY;
    let wrong = alice.send("sent under a wrong date");
    alice.wall_offset = EPOCH;
    alice.restart();
    assert_eq!(alice.channel.meta().lamport, Lamport(EPOCH));
    assert!(matches!(alice.events[0], Event::ClockReset { .. }), "{:?}", alice.events);
    assert_eq!(alice.events[1], Event::DeliveryFailed { id: wrong.id, possibly: false });
    assert_eq!(alice.events.len(), 2);
}

#[test]
fn a_clock_that_was_reset_never_turns_back_again_at_a_restart() {
    let mut alice = peer("alice");
    alice.wall_offset = EPOCH + 100 * DAY;
    alice.send("sent under a wrong date");
    alice.wall_offset = EPOCH;
    let right: Vec<_> = (0..3).map(|n| alice.send(&format!("right {n}")).lamport.unwrap()).collect();
    alice.restart();
    assert!(alice.events.is_empty(), "{:?}", alice.events);
    assert!(alice.send("after the restart").lamport.unwrap() > right[2]);
}

#[test]
fn only_own_unacknowledged_messages_above_the_limit_fail() {
    let mut alice = peer("alice");
    let below = alice.send("in time");
    alice.wall_offset = EPOCH + 100 * DAY;
    let acknowledged = alice.send("sent under a wrong date, and acknowledged");
    alice.send_as(Some("wrong"), "sent under a wrong date");
    alice.receive(&sync("bob", 100 * DAY, &[acknowledged.id.as_str().unwrap()], &[]));
    alice.take_events();
    alice.wall_offset = EPOCH;
    alice.send_sync();
    let failed: Vec<_> =
        alice.events.iter().filter(|event| matches!(event, Event::DeliveryFailed { .. })).cloned().collect();
    assert_eq!(failed, [Event::DeliveryFailed { id: "wrong".into(), possibly: false }]);
    assert_eq!(alice.channel.delivery_state(&below.id), Some(DeliveryState::Unacknowledged));
}

#[test]
fn after_a_reset_others_hear_the_next_message_at_once() {
    let mut alice = peer("alice");
    let mut bob = peer("bob");
    let first = alice.send("in time");
    assert_eq!(bob.fate(&first), Fate::Delivered);
    alice.wall_offset = EPOCH + 100 * DAY;
    bob.refuse(&alice.send("sent under a wrong date"));
    alice.wall_offset = EPOCH;
    for text in ["right", "right again"] {
        let message = alice.send(text);
        assert_eq!(bob.fate(&message), Fate::Delivered, "it names what nobody can accept: {:?}", history(&message));
    }
    assert!(!history(&alice.send_sync()).is_empty());
}

// Found by the fuzz target `channel`.
#[test]
fn a_send_that_is_refused_resets_no_clock() {
    let mut alice = peer_with("alice", |config| config.max_transmit_bytes = Some(400));
    alice.wall_offset = EPOCH + 100 * 24 * 60 * 60 * 1_000;
    alice.send("sent under a wrong date");
    alice.wall_offset = EPOCH;
    let before = alice.channel.data();
    alice.take_events();
    let content = Bytes::from(vec![1; 401]);
    let refused = alice.input(Input::Send { content, id: None });
    assert!(matches!(refused, Err(ChannelError::TooLarge { .. })));
    assert_eq!((alice.channel.data(), alice.take_events()), (before, vec![]));
}

#[test]
fn an_own_message_sorts_above_all_that_setting_the_clock_right_delivers() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 1);
    alice.wall_offset = EPOCH + 100 * DAY;
    // Both are kept until they are given up; then the first is evicted, and what lies below it waits no longer.
    alice.send("sent under a wrong date");
    alice.send("sent under a wrong date, too");
    alice.wall_offset = EPOCH + 98 * DAY + DAY / 2;
    alice.receive(&message("bob", "waits", 99 * DAY, &["unknown"]));
    alice.wall_offset = EPOCH + 98 * DAY;
    let right = alice.send("right");
    assert_eq!(alice.delivered(), ["waits"]);
    assert!(right.lamport.unwrap() > Lamport(EPOCH + 99 * DAY), "{:?}", right.lamport);
}

#[test]
fn a_boot_in_1970_fails_nothing_and_names_what_is_pending() {
    let mut alice = peer("alice");
    let pending = alice.send("pending");
    for wall in [0, DAY, 20 * 365 * DAY] {
        alice.wall_offset = wall;
        alice.restart();
        let during = alice.send("written before the network's time came");
        assert!(during.lamport > pending.lamport && !history(&during).is_empty());
        alice.run_for(20_000);
        assert_eq!(alice.take_events(), []);
    }
    alice.wall_offset = EPOCH + DAY;
    alice.run_for(1_000);
    alice.send("and after it");
    alice.restart();
    assert_eq!(alice.take_events(), []);
    assert_eq!(alice.channel.delivery_state(&pending.id), Some(DeliveryState::Unacknowledged));
}

#[test]
fn where_others_lie_beyond_the_limit_too_the_wall_clock_may_be_wrong_and_nothing_fails_at_once() {
    let mut alice = peer("alice");
    alice.wall_offset = EPOCH + 100 * DAY;
    alice.receive(&message("bob", "m1", 100 * DAY, &[]));
    let pending = alice.send("pending");
    alice.take_events();
    alice.wall_offset = EPOCH;
    alice.restart();
    assert!(matches!(alice.take_events()[..], [Event::ClockReset { .. }]));
    assert_eq!(alice.channel.delivery_state(&pending.id), Some(DeliveryState::Unacknowledged));
}
