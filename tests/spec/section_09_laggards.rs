//! docs/protocol.md section 9: who is behind is answered by a sync message.

use reliable_channel::channel::{Input, Transmit, TransmitKind};
use reliable_channel::types::{FilterField, Message};
use tap::Tap as _;

use crate::harness::{Peer, chain, filter_of, message, peer, requests, sync};

/// Times in seconds until a sync message of alice, who has five messages for `age` seconds when `of_bob` arrives.
fn answer_to(age: u64, of_bob: &Message) -> Option<u64> {
    let mut alice = with_five();
    alice.run_for(age * 1_000);
    alice.receive(of_bob);
    (1..=25).find(|_| syncs(&alice.run_for(1_000)) > 0)
}

fn with_five() -> Peer {
    let mut alice = peer("alice");
    chain(5).iter().for_each(|message| drop(alice.receive(message)));
    // What must be acknowledged is.
    alice.run_for(5_000);
    alice
}

fn syncs(out: &[Transmit]) -> usize {
    out.iter().filter(|sent| sent.kind == TransmitKind::Sync).count()
}

fn with_filter(message: Message, ids: &[&str]) -> Message {
    message.tap_mut(|it| it.filter = filter_of(ids, 7))
}

#[test]
fn an_empty_sync_message_is_answered_at_any_time() {
    assert!(answer_to(1, &sync("bob", 90, &[], &[])).is_some());
}

#[test]
fn who_shows_neither_of_the_newest_heads_is_answered_once_they_are_twenty_seconds_old() {
    let behind = with_filter(sync("bob", 90, &["m2"], &[]), &["m1"]);
    assert_eq!(answer_to(10, &behind), None);
    assert!(answer_to(16, &behind).is_some());
    let content = with_filter(message("bob", "late", 90, &["m2"]), &["m1"]);
    assert!(answer_to(16, &content).is_some_and(|seconds| seconds <= 6));
}

#[test]
fn who_shows_a_head_or_knows_more_is_not_answered() {
    for of_bob in
        [with_filter(sync("bob", 90, &["m5"], &[]), &["m1"]), with_filter(sync("bob", 90, &["m2"], &[]), &["m5"])]
    {
        assert_eq!(answer_to(16, &of_bob), None, "{of_bob:?}");
    }
    let mut alice = with_five();
    alice.run_for(16_000);
    alice.receive(&with_filter(sync("bob", 90, &["m2", "unknown"], &[]), &["m1"]));
    let out = alice.run_for(10_000);
    assert!(out.iter().all(|sent| !requests(&sent.message).is_empty()), "it asks, and that is all: {out:?}");
}

#[test]
fn a_repair_answer_says_nothing_of_who_sent_it_first() {
    let answer = message("bob", "m2", 2, &["m1"]);
    assert_eq!(answer.filter, FilterField::Absent);
    assert_eq!(answer_to(16, &answer), None);
}

#[test]
fn one_answer_serves_all_whoever_gives_it() {
    let behind = |name: &str| with_filter(sync(name, 90, &["m2"], &[]), &["m1"]);
    let mut alice = with_five();
    alice.run_for(16_000);
    alice.receive(&behind("bob"));
    alice.receive(&sync("carol", 91, &["m5"], &[]));
    alice.receive(&behind("dave"));
    assert_eq!(syncs(&alice.run_for(9_000)), 0, "carol has answered a moment ago");
    assert_eq!(syncs(&alice.run_for(11_000)), 1);
    for name in ["erin", "frank", "grace"] {
        alice.receive(&behind(name));
    }
    assert_eq!(syncs(&alice.run_for(20_000)), 1);
}

#[test]
fn when_the_network_is_back_what_waits_goes_out_at_once() {
    let mut alice = with_five();
    alice.send("own");
    alice.receive(&message("bob", "m9", 9, &["m8"]));
    alice.run_for(70_000);
    alice.input(Input::Online).unwrap();
    let out = alice.run_for(1);
    assert_eq!(out[0].kind, TransmitKind::Sync);
    assert_eq!(requests(&out[0].message), ["m8"]);
    assert!(out.iter().any(|sent| sent.kind == TransmitKind::Resend), "{out:?}");
}

#[test]
fn the_interval_doubles_after_six_quiet_turns() {
    let mut alice = with_five();
    let heard = |alice: &mut Peer, minutes: u64| syncs(&alice.run_for(minutes * 60_000));
    let first = heard(&mut alice, 3);
    assert!((4..=7).contains(&first), "{first} in three minutes");
    let later = heard(&mut alice, 60);
    assert!((4..=12).contains(&later), "{later} in the hour after");
}
