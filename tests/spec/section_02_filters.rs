//! docs/protocol.md section 2: what the compact filter holds, and what a bad one costs. `tests/filter.rs` proves the bits.

use bytes::Bytes;
use reliable_channel::channel::{DeliveryState, Event, Fate, Limit, TransmitKind};
use reliable_channel::types::{FilterField, Message};
use tap::Tap as _;

use crate::harness::{Peer, holds, message, parked_for, peer, peer_with, seconds, sync};

fn seed(message: &Message) -> [u8; 8] {
    match message.filter {
        FilterField::Compact { seed, .. } => seed,
        _ => panic!("no filter"),
    }
}

fn hear(peer: &mut Peer, ids: std::ops::Range<u64>) {
    ids.for_each(|n| drop(peer.receive(&message("bob", &format!("m{n}"), n, &[]))));
}

/// How many of these ids a filter does not hold.
fn absent(message: &Message, ids: std::ops::Range<u64>) -> usize {
    ids.filter(|n| !holds(message, &format!("m{n}"))).count()
}

#[test]
fn a_content_message_enters_the_filter_when_it_is_delivered_or_parked() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "delivered", 1, &[]));
    alice.receive(&message("bob", "parked", 2, &["missing"]));
    alice.send_as(Some("own"), "own");
    let sync = alice.send_sync();
    assert!(holds(&sync, "delivered") && holds(&sync, "parked") && holds(&sync, "own"));
    assert!(!holds(&sync, "missing"));
    alice.restart();
    let sync = alice.send_sync();
    assert!(holds(&sync, "delivered") && holds(&sync, "parked") && holds(&sync, "own"));
}

#[test]
fn what_is_refused_in_conflict_or_too_old_never_enters_the_filter() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 1);
    hear(&mut alice, 10..30);
    alice.refuse(&message("bob", "future", 1 << 40, &[]));
    assert_eq!(alice.fate(&message("bob", "too old", 1, &[])), Fate::TooOld);
    let sync = alice.send_sync();
    assert!(!holds(&sync, "future") && !holds(&sync, "too old"));
}

#[test]
fn one_that_gives_way_leaves_the_filter() {
    let mut alice = peer_with("alice", |config| config.limits.max_parked = 1);
    assert_eq!(alice.fate(&message("bob", "low", 1, &["x"])), parked_for(&["x"]));
    assert_eq!(alice.fate(&message("bob", "high", 2, &["x"])), Fate::GaveWay);
    let sent = alice.send("the next message's filter is without it already");
    assert!(holds(&sent, "low") && !holds(&sent, "high"));
}

#[test]
fn the_filter_holds_the_ids_of_the_acknowledgement_window_and_at_least_the_newest_64() {
    let mut alice = peer("alice");
    hear(&mut alice, 0..100);
    alice.sleep(239_000);
    assert_eq!(absent(&alice.send_sync(), 0..100), 0);
    alice.sleep(2_000);
    let late = alice.send_sync();
    assert_eq!(absent(&late, 36..100), 0, "the newest 64");
    assert!(absent(&late, 0..36) >= 30);
    alice.restart();
    let late = alice.send_sync();
    assert_eq!(absent(&late, 36..100), 0, "the newest 64, after a restart");
    assert!(absent(&late, 0..36) >= 30);
}

#[test]
fn the_filter_holds_at_most_10_000_ids() {
    let mut alice = peer("alice");
    let messages: Vec<Message> = (0..10_100).map(|n| message("bob", &format!("m{n}"), n, &[])).collect();
    alice.receive_all(&messages);
    let sync = alice.send_sync();
    assert_eq!(absent(&sync, 100..10_100), 0);
    assert!(absent(&sync, 0..100) >= 90);
}

#[test]
fn a_known_duplicate_refreshes_its_time() {
    let mut alice = peer_with("alice", |config| config.acknowledgement_window = seconds(10));
    hear(&mut alice, 0..20);
    alice.sleep(6_000);
    hear(&mut alice, 0..1);
    hear(&mut alice, 20..120);
    alice.sleep(6_000);
    let sync = alice.send_sync();
    assert!(holds(&sync, "m0"));
    assert!(absent(&sync, 1..20) >= 16);
}

#[test]
fn a_known_duplicate_that_has_left_the_filter_enters_it_again() {
    let mut alice = peer_with("alice", |config| {
        config.acknowledgement_window = seconds(10);
        config.max_message_history = 50;
    });
    hear(&mut alice, 0..120);
    alice.sleep(60_000);
    assert!(!alice.summarises("m0"));
    hear(&mut alice, 0..1);
    assert!(alice.summarises("m0"), "its sender, who resends, must hear of it, though only a stub is left");
}

#[test]
fn the_filter_is_reseeded_before_every_sync_and_after_a_16th_of_the_window() {
    let mut alice = peer("alice");
    hear(&mut alice, 0..320);
    let mut seeds: Vec<_> = (0..5).map(|_| seed(&alice.send_sync())).collect();
    // 320 ids and room for 20 more: due after 340 / 16 insertions.
    let last = seeds[4];
    // An own message is an insertion, made after its filter was written.
    (0..21).for_each(|n| assert_eq!(seed(&alice.send("text")), last, "{n} insertions since the seed"));
    seeds.push(seed(&alice.send("text")));
    seeds.push(seed(&alice.send_sync()));
    hear(&mut alice, 320..341);
    assert_eq!(seed(&alice.send("text")), seeds[6], "21 insertions since the seed");
    seeds.push(seed(&alice.send("text")));
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds.len(), 5 + 3);
}

#[test]
fn resends_after_a_reseed_carry_the_fresh_filter() {
    let mut alice = peer("alice");
    let sent = alice.send("text");
    let out = alice.run_for(20_000);
    let resent = out.iter().find(|sent| sent.kind == TransmitKind::Resend).unwrap();
    assert!(holds(&resent.message, &sent.id.to_string()), "the state of now, not of then");
}

#[test]
fn a_filter_that_does_not_parse_or_is_absurd_is_ignored_and_counted_and_the_message_is_processed() {
    let ones = |bytes: usize| Bytes::from(vec![0xff; bytes]);
    let compact = |k, bits| FilterField::Compact { k, seed: [1; 8], bits };
    let bad = [
        FilterField::Unusable,
        compact(0, ones(100)),
        compact(65, ones(100)),
        compact(u32::MAX, ones(100)),
        compact(7, Bytes::new()),
        compact(7, ones((64 << 10) + 1)),
    ];
    let mut alice = peer("alice");
    alice.send_as(Some("own"), "own");
    for (n, filter) in (1..).zip(bad) {
        alice.take_events();
        let carrier = message("bob", &format!("m{n}"), n, &["missing"]).tap_mut(|it| it.filter = filter.clone());
        assert_eq!(alice.fate(&carrier), parked_for(&["missing"]), "{n}");
        let (id, by) = (Some(carrier.id), Some(carrier.sender));
        let event = Event::LimitReached { limit: Limit::Filter, id, by };
        assert!(alice.events.contains(&event), "{n}");
        alice.receive(&sync("bob", n, &[], &[]).tap_mut(|it| it.filter = filter));
        assert_eq!(alice.channel.stats().filters_ignored, 2 * n);
        assert_eq!(alice.channel.outgoing()[0].state, DeliveryState::Unacknowledged, "{n}");
    }
    assert_eq!(alice.channel.meta().filters_heard, 0);
}

#[test]
fn a_lamport_of_2_to_the_63_and_all_ones_filters_cost_no_more_than_a_counter() {
    let mut alice = peer("alice");
    alice.send_as(Some("own"), "own");
    let before = alice.channel.data();
    let poison = message("eve", "m", 0, &[]).tap_mut(|it| it.lamport = Some(reliable_channel::types::Lamport(1 << 63)));
    alice.refuse(&poison);
    assert_eq!((alice.channel.stats().refused, alice.channel.data()), (1, before));
    let all_ones = FilterField::Compact { k: 64, seed: [1; 8], bits: vec![0xff; 64 << 10].into() };
    alice.receive(&sync("eve", 1, &[], &[]).tap_mut(|it| it.filter = all_ones));
    assert_eq!(alice.channel.outgoing()[0].state, DeliveryState::Unacknowledged);
}

#[test]
fn a_summary_of_a_short_window_takes_100_to_350_bytes() {
    let mut alice = peer("alice");
    for (ids, least, most) in [(0..80, 90, 350), (80..240, 200, 400)] {
        hear(&mut alice, ids);
        let len = alice.send_sync().filter.len();
        assert!((least..=most).contains(&len), "{len}");
    }
}
