//! docs/protocol.md section 11: what is counted towards the limits, and who gives way for whom.

use crate::harness::{chain, message, parked_for, peer, peer_with};

#[test]
fn a_message_counts_as_what_it_takes_in_memory() {
    let mut alice = peer("alice");
    // Id, sender and content.
    alice.receive(&message("bob", "m1", 1, &[]));
    assert_eq!(alice.channel.stats().log_bytes, 128 + 2 + 3 + 2);
    // And an entry with its id; a place in the indices, and one that it waits for.
    assert_eq!(alice.fate(&message("bob", "m03", 3, &["m2"])), parked_for(&["m2"]));
    assert_eq!(alice.channel.stats().parked_bytes, 128 + 3 + 3 + 3 + (160 + 2) + 256 + 400);
}

#[test]
fn a_stub_and_a_hint_count_128_bytes_and_their_own() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 1);
    chain(2).iter().for_each(|message| drop(alice.receive(message)));
    assert_eq!(alice.channel.stats().remembered_bytes, 128 + 2 + 3, "of m1 and bob");
    alice.set_hint("m2", b"where");
    assert_eq!(alice.channel.stats().remembered_bytes, 128 + 2 + 3 + 128 + 2 + 5);
}

#[test]
fn what_waits_gives_way_before_what_it_waits_for() {
    let mut alice = peer_with("alice", |config| config.limits.max_parked = 2);
    alice.receive(&message("mallory", &"x".repeat(200), 5, &["nothing"]));
    alice.receive(&message("bob", "b9", 9, &[&"x".repeat(200)]));
    alice.receive(&message("carol", "c8", 8, &["nothing"]));
    assert_eq!(alice.parked(), ["x".repeat(200), "c8".to_owned()]);
}
