//! docs/protocol.md section 11: what is counted towards the limits, and who gives way for whom.

use reliable_channel::channel::Input;

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

#[test]
fn what_is_in_the_set_of_catch_up_counts_200_bytes_and_gives_way_with_its_message() {
    let mut alice = peer_with("alice", |config| config.catch_up = true);
    chain(10).iter().for_each(|message| drop(alice.receive(message)));
    assert_eq!(alice.channel.stats().remembered_bytes, 0, "there is no set before it is needed");
    alice.run_for(30_000);
    (0..3).for_each(|_| drop(alice.send_sync()));
    assert_eq!(alice.channel.stats().remembered_bytes, 10 * 200);
    let each = alice.channel.stats().log_bytes / 10 + 200;
    alice.input(Input::Shrink { log_bytes: 4 * each, parked_bytes: usize::MAX }).unwrap();
    let stats = alice.channel.stats();
    assert!(stats.log_len >= 3 && stats.log_bytes + stats.remembered_bytes <= 4 * each, "{stats:?}");
}
