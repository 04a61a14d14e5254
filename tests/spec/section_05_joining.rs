//! docs/protocol.md section 5: joining, and the saved horizon.

use reliable_channel::channel::{Fate, Join};
use reliable_channel::types::{Lamport, MessageId};

use crate::harness::{EPOCH, Peer, chain, ids, message, parked_for, peer_with, sync};

fn newcomer(join: Join) -> Peer {
    peer_with("alice", |config| config.join = join)
}

fn horizon(peer: &Peer) -> Option<Lamport> {
    peer.channel.meta().horizon
}

#[test]
fn a_newcomer_shows_the_first_message_it_hears_at_once() {
    let mut alice = newcomer(Join::FromNow);
    assert_eq!(alice.fate(&message("bob", "first", 50, &["old", "older"])), Fate::Delivered);
    assert_eq!((alice.asked(), horizon(&alice)), (vec![], Some(Lamport(EPOCH + 50))));
}

#[test]
fn the_first_message_sets_the_horizon_even_when_it_depends_on_nothing() {
    let mut alice = newcomer(Join::FromNow);
    alice.receive(&message("bob", "first", 50, &[]));
    assert_eq!(horizon(&alice), Some(Lamport(EPOCH + 50)));
    assert_eq!(alice.fate(&message("bob", "second", 60, &["unknown"])), parked_for(&["unknown"]));
}

#[test]
fn only_the_first_content_message_sets_the_horizon() {
    let mut alice = newcomer(Join::FromNow);
    alice.receive(&sync("bob", 90, &["old"], &[]));
    alice.receive(&reliable_channel::types::Message { lamport: None, ..message("bob", "e", 0, &["old"]) });
    assert_eq!((horizon(&alice), alice.asked()), (None, vec![]), "a newcomer has no past to miss");
    alice.receive(&message("bob", "first", 50, &["old"]));
    alice.receive(&message("bob", "second", 60, &["first"]));
    alice.receive(&message("bob", "older", 40, &["old"]));
    assert_eq!(horizon(&alice), Some(Lamport(EPOCH + 50)));
}

#[test]
fn unknown_dependencies_of_messages_at_or_below_the_horizon_count_as_met_and_such_messages_are_logged_normally() {
    for restarted in [false, true] {
        let mut alice = newcomer(Join::FromNow);
        alice.receive(&message("bob", "m", 50, &["old"]));
        if restarted {
            alice.restart();
        }
        assert_eq!(alice.fate(&message("bob", "below", 40, &["unknown"])), Fate::Delivered);
        assert_eq!(alice.fate(&message("bob", "z at", 50, &["unknown"])), Fate::Delivered);
        assert_eq!(alice.fate(&message("bob", "above", 51, &["unknown"])), parked_for(&["unknown"]));
        assert_eq!(alice.log(), ["below", "m", "z at"]);
        alice.receive(&sync("bob", 45, &["gone"], &[]));
        assert_eq!(alice.asked(), ["unknown"], "nor does an old sync message ask for anything");
    }
}

#[test]
fn a_newcomer_is_never_blocked_by_history_it_never_had() {
    let mut alice = newcomer(Join::FromNow);
    for before in chain(40).iter().skip(20) {
        assert_eq!(alice.fate(before), Fate::Delivered);
    }
    assert_eq!((alice.parked(), alice.asked()), (vec![], vec![]));
}

#[test]
fn an_own_message_sets_no_horizon() {
    let mut alice = newcomer(Join::FromNow);
    alice.send("hello?");
    alice.restart();
    assert_eq!(alice.fate(&message("bob", "first", 50, &["old"])), Fate::Delivered);
    assert_eq!(horizon(&alice), Some(Lamport(EPOCH + 50)));
}

#[test]
fn backfill_chases_up_to_n_older_messages_first() {
    for restarted in [false, true] {
        let mut alice = newcomer(Join::Backfill(3));
        let messages = chain(9);
        assert_eq!(alice.fate(&messages[8]), parked_for(&["m8"]));
        assert_eq!(alice.fate(&messages[7]), parked_for(&["m7"]));
        assert_eq!((horizon(&alice), alice.asked()), (None, ids(["m7"])));
        if restarted {
            alice.restart();
        }
        assert_eq!(alice.fate(&messages[6]), parked_for(&["m6"]));
        let last = alice.receive(&messages[5]);
        assert_eq!(last.released, ["m6", "m7", "m8", "m9"].map(MessageId::from));
        assert_eq!((horizon(&alice), alice.asked()), (Some(Lamport(EPOCH + 6)), vec![]));
        assert_eq!(alice.fate(&messages[4]), Fate::Delivered);
        assert_eq!(alice.log(), ["m5", "m6", "m7", "m8", "m9"]);
        assert_eq!(alice.fate(&message("bob", "n", 10, &["unknown"])), parked_for(&["unknown"]));
    }
}

#[test]
fn when_backfill_ends_with_more_missing_than_is_left_none_of_it_is_chased() {
    let mut alice = newcomer(Join::Backfill(2));
    assert_eq!(alice.fate(&message("bob", "m", 50, &["a", "b", "c"])), Fate::Delivered);
    assert_eq!((alice.asked(), horizon(&alice)), (vec![], Some(Lamport(EPOCH + 50))));
}

#[test]
fn what_the_horizon_releases_comes_in_lamport_order_with_the_message_that_set_it() {
    let mut alice = newcomer(Join::Backfill(1));
    alice.receive(&message("bob", "waits", 10, &["old"]));
    alice.receive(&message("bob", "dependant", 90, &["waits"]));
    let released = alice.receive(&message("bob", "sets it", 50, &["x", "y"])).released;
    assert_eq!(released, ["waits", "sets it", "dependant"].map(MessageId::from));
}

#[test]
fn backfill_counts_a_message_chased_once_however_often_it_is_named() {
    let mut alice = newcomer(Join::Backfill(2));
    for n in 1..=5 {
        assert_eq!(alice.fate(&message("bob", &format!("m{n}"), 50 + n, &["old"])), parked_for(&["old"]));
        alice.receive(&sync("carol", 60 + n, &["old"], &[]));
        alice.receive(&sync("carol", 60 + n, &["named by a sync message alone"], &[]));
    }
    assert_eq!((horizon(&alice), alice.parked().len(), alice.channel.meta().backfill_left), (None, 5, 0));
    assert_eq!(alice.fate(&message("bob", "n", 70, &["older"])), Fate::Delivered);
}

#[test]
fn a_sync_message_that_names_more_than_may_be_chased_asks_for_nothing_and_sets_no_horizon() {
    let mut alice = newcomer(Join::Backfill(1));
    alice.receive(&sync("bob", 50, &["a", "b"], &[]));
    assert_eq!((alice.asked(), horizon(&alice), alice.channel.meta().backfill_left), (vec![], None, 1));
    alice.receive(&sync("bob", 51, &["a"], &[]));
    assert_eq!((alice.asked(), horizon(&alice), alice.channel.meta().backfill_left), (ids(["a"]), None, 0));
}
