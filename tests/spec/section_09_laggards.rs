//! docs/protocol.md section 9: who is behind is answered by a sync message.

use reliable_channel::channel::{Config, Input, Transmit, TransmitKind};
use reliable_channel::types::{CatchUpField, FilterField, Message};
use tap::Tap as _;

use crate::harness::{Peer, chain, filter_of, message, peer, peer_with, requests, seconds, sync};

/// Times in seconds until a sync message of alice, who has five messages for `age` seconds when `of_bob` arrives.
fn answer_to(age: u64, of_bob: &Message) -> Option<u64> {
    let mut alice = with_five(|_| {});
    alice.run_for(age * 1_000);
    alice.receive(of_bob);
    (1..=25).find(|_| syncs(&alice.run_for(1_000)) > 0)
}

fn with_five(change: impl FnOnce(&mut Config)) -> Peer {
    let mut alice = peer_with("alice", change);
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
    assert_eq!(answer_to(14, &behind), None, "they are nineteen seconds old");
    assert!(answer_to(16, &behind).is_some());
    // Content too, whose acknowledgement would come later.
    let content = with_filter(message("bob", "late", 90, &["m2"]), &["m1"]);
    let mut alice = with_five(|config| config.acknowledgement_delay = (seconds(60), seconds(60)));
    alice.run_for(16_000);
    alice.receive(&content);
    assert_eq!(syncs(&alice.run_for(10_000)), 1);
}

#[test]
fn who_is_behind_is_sent_the_newest_message_too_where_it_is_small() {
    let repairs = |alice: &mut Peer, heard: &Message| -> Vec<String> {
        alice.run_for(25_000);
        alice.receive(heard);
        let out = alice.run_for(20_000);
        assert_eq!(syncs(&out), 1, "{out:?}");
        let repairs = out.iter().filter(|sent| sent.kind == TransmitKind::Repair);
        repairs.map(|sent| sent.message.id.to_string()).collect()
    };
    let behind = |name| with_filter(sync(name, 90, &["m2"], &[]), &["m1"]);
    assert_eq!(repairs(&mut with_five(|_| {}), &behind("carol")), ["m5"]);
    let none = Vec::<String>::new();
    assert_eq!(repairs(&mut with_five(|_| {}), &behind("bob")), none, "it is bob's own, who may have withdrawn it");
    assert_eq!(repairs(&mut with_five(|_| {}), &sync("carol", 91, &[], &[])), none, "who lacks everything asks");

    let mut alice = with_five(|_| {});
    let large = message("bob", "m6", 6, &["m5"]).tap_mut(|it| it.content = vec![b'x'; 1_024].into());
    alice.receive(&large);
    assert_eq!(repairs(&mut alice, &behind("carol")), none);
}

#[test]
fn who_shows_a_head_or_knows_more_is_not_answered() {
    // T_req lies behind every moment at which a laggard is answered.
    let two_heads = || {
        let mut alice = with_five(|config| (config.t_min, config.t_max) = (seconds(8), seconds(8)));
        alice.receive(&message("bob", "m5+", 5, &["m4"]));
        alice.run_for(25_000);
        alice
    };
    let lacking_both = with_filter(sync("bob", 90, &["m2"], &[]), &["m1"]);
    let naming_one = with_filter(sync("bob", 90, &["m5"], &[]), &["m1"]);
    let holding_one = with_filter(sync("bob", 90, &["m2"], &[]), &["m5"]);
    let knowing_more = with_filter(sync("bob", 90, &["m2", "unknown"], &[]), &["m1"]);
    for (of_bob, answers) in [(lacking_both, 1), (naming_one, 0), (holding_one, 0), (knowing_more, 0)] {
        let mut alice = two_heads();
        alice.receive(&of_bob);
        assert_eq!(syncs(&alice.run_for(7_999)), answers, "{of_bob:?}");
    }
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
    for entropy in 0..20 {
        let mut alice = with_five(|_| {});
        alice.entropy = entropy;
        alice.run_for(16_000);
        alice.receive(&behind("bob"));
        alice.receive(&sync("carol", 91, &["m5"], &[]));
        alice.receive(&behind("dave"));
        assert_eq!(syncs(&alice.run_for(9_999)), 0, "carol has answered a moment ago");
        assert_eq!(syncs(&alice.run_for(10_001)), 1);
        for name in ["erin", "frank", "grace"] {
            alice.receive(&behind(name));
        }
        assert_eq!(syncs(&alice.run_for(20_000)), 1);
    }
}

#[test]
fn when_the_network_is_back_what_waits_goes_out_at_once() {
    let mut alice = with_five(|_| {});
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
    let mut alice = with_five(|_| {});
    let heard = |alice: &mut Peer, minutes: u64| syncs(&alice.run_for(minutes * 60_000));
    let first = heard(&mut alice, 3);
    assert!((4..=7).contains(&first), "{first} in three minutes");
    let later = heard(&mut alice, 60);
    assert!((4..=12).contains(&later), "{later} in the hour after");
}

#[test]
fn most_who_notice_a_laggard_wait_for_the_last_parts_of_t_max() {
    let (mut waits, mut earliest) = ([0; 10], u64::MAX);
    let behind = with_filter(sync("bob", 90, &["m2"], &[]), &["m1"]);
    let prepared = with_five(|_| {}).tap_mut(|it| drop(it.run_for(16_000))).saved;
    for entropy in 0..400 {
        let mut alice = peer("alice");
        (alice.saved, alice.now, alice.entropy) = (prepared.clone(), 21_000, entropy);
        alice.restart();
        alice.entropy = entropy;
        alice.receive(&behind);
        let answers = alice.times_of(TransmitKind::Sync, 10_000);
        let wait = answers[0] - 21_000;
        earliest = earliest.min(wait);
        waits[usize::try_from(wait / 1_000).unwrap()] += 1;
    }
    assert!((160..=240).contains(&waits[9]), "half of them: {waits:?}");
    assert!((70..=130).contains(&waits[8]), "a quarter of them: {waits:?}");
    assert!(earliest < 4_000, "and a few sooner: {waits:?}");
}

#[test]
fn laggards_are_answered_unless_the_option_says_otherwise() {
    let empty = sync("bob", 90, &[], &[]);
    for answer in [true, false] {
        let mut alice = with_five(|config| config.answer_laggards = answer);
        alice.run_for(16_000);
        alice.receive(&empty);
        assert_eq!(syncs(&alice.run_for(10_000)), usize::from(answer));
    }
}

#[test]
fn when_the_network_is_back_the_interval_begins_anew() {
    let mut alice = with_five(|_| {});
    alice.run_for(3 * 60 * 60_000);
    assert!(syncs(&alice.run_for(5 * 60_000)) <= 1, "the channel has slowed down");
    alice.input(Input::Online).unwrap();
    let soon = syncs(&alice.run_for(3 * 60_000));
    assert!((4..=8).contains(&soon), "{soon} in three minutes");
}

#[test]
fn who_asks_for_much_of_what_we_have_is_told_at_once_that_we_have_a_set() {
    let digest_after = |asked: &[&str], change: fn(&mut Config)| -> Option<u64> {
        let mut alice = with_five(change);
        // Somebody talks all the time, so that no other reason for a sync message comes up.
        alice.run_for(25_000);
        alice.receive(&message("carol", "news", 90, &["m5"]));
        alice.receive(&sync("bob", 91, &["m2"], asked));
        (1..=20).find(|_| {
            let out = alice.run_for(500);
            out.iter().any(|sent| matches!(sent.message.catch_up, CatchUpField::Digest(_)))
        })
    };
    let catching_up: fn(&mut Config) = |config| {
        config.catch_up = true;
        config.acknowledgement_delay = (seconds(60), seconds(60));
    };
    let told = digest_after(&["m1", "x", "y"], catching_up);
    assert!(told.is_some_and(|halves| halves <= 8), "{told:?}");
    assert_eq!(digest_after(&["m1", "x"], catching_up), None, "that is little");
    assert_eq!(digest_after(&["x", "y", "z"], catching_up), None, "we have none of it");
    assert_eq!(digest_after(&["m1", "m2", "m3"], |config| config.catch_up = false), None);
}
