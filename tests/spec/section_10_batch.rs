//! docs/protocol.md section 10: what else a requester lacks follows the answer; waits that fit the network.

use std::time::Duration;

use reliable_channel::channel::{Config, Transmit, TransmitKind};
use reliable_channel::types::Message;
use tap::Tap as _;

use crate::harness::{Peer, filter_of, message, peer, peer_with, requests, sync};

/// So many messages of dave's, each naming the one before.
fn chain(length: usize) -> Vec<Message> {
    let names: Vec<String> = (0..length).map(|n| format!("m{n:03}")).collect();
    let named = |n: usize| names[n.saturating_sub(1)..n].iter().map(|name| &**name).collect::<Vec<_>>();
    (0..length).map(|n| message("dave", &names[n], n as u64 + 1, &named(n))).collect()
}

/// Alice has all of them for long; bob the first few and the last, and asks for what he misses.
fn asks_for_much(messages: &[Message], first: usize) -> (Peer, Message) {
    let (mut alice, mut bob) = (peer("alice"), peer("bob"));
    messages.iter().for_each(|message| drop(alice.receive(message)));
    alice.run_for(60_000);
    bob.run_for(60_000);
    messages[..first].iter().chain(messages.last()).for_each(|message| drop(bob.receive(message)));
    (alice, request_of(&mut bob))
}

fn request_of(bob: &mut Peer) -> Message {
    let sent = bob.run_for(11_000);
    sent.into_iter().map(|sent| sent.message).find(|message| !requests(message).is_empty()).expect("he asks")
}

fn repairs(sent: &[Transmit]) -> Vec<String> {
    sent.iter().filter(|sent| sent.kind == TransmitKind::Repair).map(|sent| sent.message.id.to_string()).collect()
}

fn names(range: impl Iterator<Item = usize>) -> Vec<String> {
    range.map(|n| format!("m{n:03}")).collect()
}

#[test]
fn the_answer_is_followed_by_what_else_the_requester_lacks_lowest_first() {
    let messages = chain(20);
    let (mut alice, request) = asks_for_much(&messages, 5);
    assert_eq!(requests(&request), ["m018"]);
    alice.receive(&request);
    let sent = alice.run_for(30_000);
    assert_eq!(repairs(&sent), [names(18..19), names(5..18)].concat());
}

#[test]
fn up_to_max_batch_follow_one_every_sixteenth_of_t_min() {
    let messages = chain(100);
    let (mut alice, request) = asks_for_much(&messages, 5);
    alice.receive(&request);
    let mut times = Vec::new();
    for _ in 0..40_000 {
        times.extend(repairs(&alice.run_for(1)).iter().map(|_| alice.now));
    }
    assert_eq!(times.len(), 33);
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 125), "{times:?}");
}

#[test]
fn what_is_heard_meanwhile_is_not_sent() {
    let messages = chain(20);
    let (mut alice, request) = asks_for_much(&messages, 5);
    alice.receive(&request);
    while repairs(&alice.run_for(1)).is_empty() {}
    messages[7..15].iter().for_each(|message| drop(alice.receive(message)));
    assert_eq!(repairs(&alice.run_for(30_000)), [names(5..7), names(15..18)].concat());
}

#[test]
fn whoever_hears_the_answer_sends_no_batch() {
    let messages = chain(20);
    let (mut alice, request) = asks_for_much(&messages, 5);
    alice.receive(&request);
    alice.receive(&messages[18]);
    assert_eq!(repairs(&alice.run_for(60_000)), [""; 0]);
}

/// Two who have had the same 60 messages for long.
fn settled() -> (Peer, Peer) {
    let messages = chain(60);
    ["alice", "bob"]
        .map(|name| {
            let mut peer = peer(name);
            messages.iter().for_each(|message| drop(peer.receive(message)));
            peer.run_for(1_000_000);
            peer
        })
        .into()
}

#[test]
fn who_lacks_one_message_of_many_is_sent_that_one() {
    let (mut alice, mut bob) = settled();
    // Nobody refers to the two but a later message; then everybody goes on.
    let lost = message("dave", "lost", 70, &["m059"]);
    let next = message("dave", "next", 70, &["m059"]);
    let last = message("dave", "then", 71, &["lost", "next"]);
    [&lost, &next, &last].into_iter().for_each(|message| drop(alice.receive(message)));
    [&next, &last].into_iter().for_each(|message| drop(bob.receive(message)));
    let request = request_of(&mut bob);
    alice.run_for(20_000);
    alice.receive(&request);
    assert_eq!(repairs(&alice.run_for(60_000)), ["lost"]);
}

#[test]
fn whoever_shows_nothing_it_has_is_sent_what_lies_before() {
    let messages = chain(60);
    let (mut alice, mut bob) = (peer("alice"), peer("bob"));
    messages.iter().for_each(|message| drop(alice.receive(message)));
    alice.run_for(60_000);
    bob.receive(&messages[59]);
    let request = request_of(&mut bob);
    alice.receive(&request);
    assert_eq!(repairs(&alice.run_for(60_000)), [names(58..59), names(26..58)].concat());
}

#[test]
fn without_a_batch_only_what_was_asked_for_is_sent() {
    let messages = chain(20);
    let (_, request) = asks_for_much(&messages, 5);
    let mut alice = peer_with("alice", |config| config.max_batch = 0);
    messages.iter().for_each(|message| drop(alice.receive(message)));
    alice.run_for(60_000);
    alice.receive(&request);
    assert_eq!(repairs(&alice.run_for(60_000)), ["m018"]);
}

/// When bob asks next, after his first requests were answered this fast.
fn next_request_after(answer_ms: &[u64]) -> u64 {
    let mut bob = peer_with("bob", |config| config.fastest_t_min = Duration::from_millis(300));
    for (n, wait) in answer_ms.iter().enumerate() {
        let (missing, parked) = (format!("a{n}"), format!("b{n}"));
        bob.receive(&message("dave", &parked, 10, &[&missing]));
        request_of_at_once(&mut bob);
        bob.now += wait;
        bob.receive(&message("dave", &missing, 9, &[]));
    }
    bob.receive(&message("dave", "last", 20, &["lacking"]));
    let before = bob.now;
    request_of_at_once(&mut bob);
    bob.now - before
}

fn request_of_at_once(bob: &mut Peer) {
    while !bob.run_for(1).iter().any(|sent| !requests(&sent.message).is_empty()) {}
}

#[test]
fn requests_wait_less_where_answers_come_fast() {
    let config = Config::default();
    let slow = next_request_after(&[1_900, 1_900]);
    let fast = next_request_after(&[20, 20]);
    assert!(u128::from(slow) >= config.t_min.as_millis(), "{slow}");
    assert!((300..=2_500).contains(&fast), "{fast}");
    assert!(next_request_after(&[20]) >= 1_150, "one sample is none");
}

#[test]
fn at_most_256_messages_of_batches_wait() {
    let messages = chain(400);
    let (_, request) = asks_for_much(&messages, 5);
    let mut alice = peer_with("alice", |config| config.max_batch = 1_000);
    messages.iter().for_each(|message| drop(alice.receive(message)));
    alice.run_for(60_000);
    alice.receive(&request);
    let sent = repairs(&alice.run_for(120_000));
    assert_eq!(sent, [names(398..399), names(5..261)].concat());
}

#[test]
fn sixteen_requesters_are_remembered() {
    let mut alice = peer("alice");
    let id = |group: u64, n: u64| format!("m{group:02}-{n}");
    for group in 0..17 {
        for n in 0..3 {
            alice.receive(&message("dave", &id(group, n), 10 * group + n, &[]));
        }
    }
    alice.run_for(60_000);
    for group in 0..17 {
        let (first, last) = (id(group, 0), id(group, 2));
        let request = sync(&format!("bob{group}"), 60_000, &[&first], &[&last]);
        alice.receive(&request.tap_mut(|it| it.filter = filter_of(&[&first], group)));
    }
    let sent = repairs(&alice.run_for(60_000));
    assert!((0..17).all(|group| sent.contains(&id(group, 2))), "each is answered: {sent:?}");
    let batches: Vec<u64> = (0..17).filter(|group| sent.contains(&id(*group, 1))).collect();
    assert_eq!(batches, (0..16).collect::<Vec<_>>());
}

#[test]
fn own_messages_of_the_requester_say_nothing_of_where_it_stands() {
    let messages = chain(100);
    let (mut alice, mut bob) = (peer("alice"), peer("bob"));
    messages.iter().for_each(|message| drop(alice.receive(message)));
    messages[..5].iter().for_each(|message| drop(bob.receive(message)));
    [&mut alice, &mut bob].into_iter().for_each(|peer| drop(peer.run_for(60_000)));
    alice.receive(&bob.send("his own"));
    bob.receive(&messages[99]);
    let request = request_of(&mut bob);
    alice.receive(&request);
    assert_eq!(repairs(&alice.run_for(60_000)), [names(98..99), names(5..37)].concat(), "behind what lies before it");
}

#[test]
fn who_has_half_of_what_lies_before_is_sent_nothing_else() {
    let (mut alice, mut bob) = settled();
    // Bob lacks two; nobody refers to the first of them.
    let unseen = message("dave", "also lost", 69, &["m059"]);
    let lost = message("dave", "lost", 70, &["m059"]);
    let next = message("dave", "next", 70, &["m059"]);
    let last = message("dave", "then", 71, &["lost", "next"]);
    [&unseen, &lost, &next, &last].into_iter().for_each(|message| drop(alice.receive(message)));
    [&next, &last].into_iter().for_each(|message| drop(bob.receive(message)));
    let request = request_of(&mut bob);
    alice.run_for(20_000);
    alice.receive(&request);
    assert_eq!(repairs(&alice.run_for(60_000)), ["lost"]);
}

#[test]
fn what_was_heard_a_moment_before_the_answer_does_not_follow_it() {
    let messages = chain(20);
    let (mut alice, request) = asks_for_much(&messages, 5);
    alice.receive(&request);
    let due = alice.channel.responses()[0].due.as_millis();
    assert_eq!(repairs(&alice.run_for(due - alice.now - 999)), [""; 0]);
    alice.receive(&messages[10]);
    assert_eq!(repairs(&alice.run_for(60_000)), [names(18..19), names(5..10), names(11..18)].concat());
}

#[test]
fn where_a_requester_stands_is_looked_for_in_256_messages() {
    // Each of its own messages names the two before it.
    for (own, follows) in [(400, 5..37), (600, 66..98)] {
        let messages = chain(100);
        // No resend carries the request.
        let mut bob = peer_with("bob", |config| config.resend_interval = config.max_resend_interval);
        let mut alice = peer("alice");
        messages.iter().for_each(|message| drop(alice.receive(message)));
        messages[..5].iter().for_each(|message| drop(bob.receive(message)));
        [&mut alice, &mut bob].into_iter().for_each(|peer| drop(peer.run_for(60_000)));
        (0..own).for_each(|n| drop(alice.receive(&bob.send(&format!("his own {n}")))));
        bob.receive(&messages[99]);
        let request = request_of(&mut bob);
        alice.receive(&request);
        let sent = repairs(&alice.run_for(60_000));
        // The filter hits one in a hundred by accident, and the next one takes its place.
        let expected = names(follows.start..follows.end + 3);
        assert!(sent.len() > 28 && sent[1..].iter().all(|id| expected.contains(id)), "{own} of his own: {sent:?}");
    }
}

#[test]
fn for_a_batch_1024_messages_are_looked_at() {
    for (held, follow) in [(1_000, 24), (1_023, 1), (1_100, 0)] {
        let messages = chain(1_300);
        let mut alice = peer_with("alice", |config| config.max_message_history = 2_000);
        messages.iter().for_each(|message| drop(alice.receive(message)));
        alice.run_for(60_000);
        let ids = names(0..=held);
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let request = sync("bob", 60_000, &["m000"], &["m1200"]).tap_mut(|it| it.filter = filter_of(&ids, 7));
        alice.receive(&request);
        let sent = repairs(&alice.run_for(60_000));
        let expected = names(held + 1..held + 1 + follow);
        // The filter hits one in a hundred by accident.
        assert!(sent[1..].iter().all(|id| expected.contains(id)), "{held} held: {sent:?}");
        assert!(sent.len() > follow * 3 / 4, "{held} held: {sent:?}");
    }
}
