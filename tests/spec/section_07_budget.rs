//! docs/protocol.md section 7: what looking into filters may cost.

use reliable_channel::channel::{DeliveryState, Event, Input};
use reliable_channel::types::{FilterField, MessageId};

use crate::harness::{Peer, filter_from, filter_of, peer};

/// One input, without the harness's comparison of all that is saved: there is too much of it here.
fn input(peer: &mut Peer, input: Input) {
    let context = peer.context();
    let step = peer.channel.handle(&context, input);
    assert!(step.outcome.is_ok(), "{:?}", step.outcome);
    peer.events.extend(step.events);
}

/// A channel with so many own messages unacknowledged, and the id of the last of them.
fn with_open(count: usize) -> (Peer, MessageId) {
    let mut alice = peer("alice");
    let id = |n: usize| MessageId::from(format!("m{n}"));
    (0..count).for_each(|n| input(&mut alice, Input::Send { content: "text".into(), id: Some(id(n)) }));
    alice.take_events();
    (alice, id(count - 1))
}

/// Gives `peer` a filter of `sender`, and says how many steps that took.
fn hear(peer: &mut Peer, sender: &str, filter: FilterField) -> u64 {
    let before = peer.channel.stats().work;
    let lamport = peer.now + 1;
    input(peer, Input::Receive(filter_from(sender, lamport, filter)));
    peer.channel.stats().work - before
}

fn told(peer: &mut Peer) -> usize {
    let said = |event: &Event| matches!(event, Event::MessagePossiblyAcknowledged { .. });
    peer.take_events().iter().filter(|event| said(event)).count()
}

fn is_unacknowledged(peer: &Peer, id: &MessageId) -> bool {
    peer.channel.delivery_state(id) == Some(DeliveryState::Unacknowledged)
}

/// All positions but one in a hundred are set.
fn nearly_full(bytes: usize, k: u32, seed: u64) -> FilterField {
    let bits: Vec<u8> = (0..bytes).map(|at| if at % 12 == 0 { 0xfe } else { 0xff }).collect();
    FilterField::Compact { k, seed: seed.to_be_bytes(), bits: bits.into() }
}

#[test]
fn a_filter_that_hits_most_ids_by_accident_proves_nothing_and_takes_nothing_back() {
    let (mut alice, last) = with_open(100);
    hear(&mut alice, "bob", filter_of(&[last.as_str().unwrap()], 1));
    assert!(!is_unacknowledged(&alice, &last));
    alice.take_events();
    for seed in 0..20 {
        let steps = hear(&mut alice, "bob", nearly_full(12, 1, seed));
        assert!(steps <= 2, "{steps} steps");
    }
    assert_eq!(told(&mut alice), 0);
    assert!(!is_unacknowledged(&alice, &last), "a filter that says nothing says nothing against it either");
}

#[test]
fn a_small_filter_is_tested_against_a_part_of_what_is_open_and_later_ones_against_the_rest() {
    let (mut alice, last) = with_open(10_000);
    let mut heard = 0;
    while is_unacknowledged(&alice, &last) {
        let filter = filter_of(&[last.as_str().unwrap()], heard);
        let most = 1_024 + 64 * filter.len() as u64;
        assert!(most < 10_000, "{most}");
        let steps = hear(&mut alice, "bob", filter);
        assert!(steps <= most + 100, "{steps} steps, {most} tests are allowed");
        heard += 1;
        assert!(heard <= 10, "it is never reached");
    }
    assert!(heard > 1 && alice.channel.stats().reviews_cut >= heard - 1);
}

#[test]
fn evidence_that_is_taken_back_is_bounded_too() {
    let (mut alice, _) = with_open(10_000);
    // Half of all ids are hits of a filter of one byte and two hash functions.
    let half = |seed: u64| FilterField::Compact { k: 2, seed: seed.to_be_bytes(), bits: vec![0x7e].into() };
    for seed in 0..20 {
        hear(&mut alice, "bob", half(seed));
        assert!(told(&mut alice) <= 65, "64, and one for each byte");
    }
    let before = alice.channel.outgoing().iter().filter(|open| open.state != DeliveryState::Unacknowledged).count();
    hear(&mut alice, "bob", FilterField::Compact { k: 1, seed: [1; 8], bits: vec![0].into() });
    let after = alice.channel.outgoing().iter().filter(|open| open.state != DeliveryState::Unacknowledged).count();
    assert!(before >= after && before - after <= 65, "{before} {after}");
}

#[test]
fn whoever_floods_leaves_others_their_share_of_a_second() {
    let (mut alice, last) = with_open(10_000);
    let mut steps = 0;
    for seed in 0..200 {
        steps += hear(&mut alice, "mallory", nearly_full(30_000, 64, seed));
        alice.take_events();
    }
    assert!(steps <= 262_144 + 400, "{steps} steps are more than a quarter of a second's million");
    let ids = [last.as_str().unwrap()];
    for seed in 0..10 {
        hear(&mut alice, "bob", filter_of(&ids, seed));
    }
    assert!(!is_unacknowledged(&alice, &last), "bob's filters are still looked into");
}
