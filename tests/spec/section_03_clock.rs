//! PROTOCOL section 3: the Lamport clock.

use reliable_channel::channel::{ChannelError, Event};
use reliable_channel::types::Lamport;

use crate::harness::{EPOCH, message, peer};

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
    let day = 24 * 60 * 60 * 1_000;
    let error = alice.refuse(&message("bob", "future", day + 1, &["m0"]));
    assert!(matches!(error, ChannelError::ClockDrift { .. }));
    assert_eq!(alice.channel.data(), before);
    alice.receive(&message("bob", "just within", day, &[]));
}

#[test]
fn a_clock_beyond_the_limit_is_reset_and_own_unacknowledged_messages_above_it_fail() {
    let mut alice = peer("alice");
    alice.wall_offset = EPOCH + 100 * 24 * 60 * 60 * 1_000;
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
