//! docs/protocol.md section 5: what a cursor means after a store went back in time.

use reliable_channel::channel::{Cursor, Event, Renumbered};
use reliable_channel::state::{ChannelData, Row};
use tap::Tap as _;

use crate::harness::{Peer, chain, ids, message, peer, peer_with, sync};

/// Takes these messages of bob's in; returns where each delivery stands.
fn deliver(peer: &mut Peer, names: &[&str]) -> Vec<Cursor> {
    let lamport = peer.channel.cursor().number + 1;
    for (n, name) in (lamport..).zip(names) {
        peer.receive(&message("bob", name, n, &[]));
    }
    let told = peer.take_events().into_iter().filter_map(|event| match event {
        Event::MessageDelivered(delivery) => Some(delivery.cursor()),
        _ => None,
    });
    told.collect()
}

fn after(peer: &Peer, cursor: Cursor) -> Result<Vec<String>, Cursor> {
    let read = peer.channel.deliveries_since(cursor).map_err(|Renumbered { valid_to, .. }| valid_to)?;
    Ok(read.deliveries.iter().map(|delivery| delivery.body.key.id.to_string()).collect())
}

fn reopen(peer: &mut Peer, data: ChannelData) {
    peer.saved = data;
    peer.sleep(1_000);
    peer.restart();
}

fn incarnations(peer: &Peer) -> usize {
    peer.saved.rows.iter().filter(|row| matches!(row, Row::Incarnation(_))).count()
}

#[test]
fn a_cursor_outlives_restarts() {
    let mut alice = peer("alice");
    let mut cursors = deliver(&mut alice, &["m1", "m2"]);
    for n in 3..9 {
        let data = alice.saved.clone();
        reopen(&mut alice, data);
        cursors.extend(deliver(&mut alice, &[&format!("m{n}")]));
        assert_eq!(alice.channel.cursor(), cursors[n - 1]);
    }
    for (n, cursor) in cursors.iter().enumerate() {
        let expected: Vec<String> = (n + 2..9).map(|n| format!("m{n}")).collect();
        assert_eq!(after(&alice, *cursor), Ok(expected));
    }
    let read = alice.channel.deliveries_since(Cursor::default()).unwrap().deliveries;
    assert_eq!(read.iter().map(|delivery| delivery.cursor()).collect::<Vec<_>>(), cursors, "as they were told");
}

#[test]
fn an_older_copy_of_the_store_hides_no_delivery() {
    let mut alice = peer("alice");
    deliver(&mut alice, &["m1", "m2", "m3"]);
    let copy = alice.saved.clone();
    let seen = deliver(&mut alice, &["m4", "m5"]);
    reopen(&mut alice, copy);
    let third = seen[0].tap_mut(|it| it.number = 3);
    assert_eq!(after(&alice, seen[1]), Err(third), "nothing was delivered since, and the cursor is ahead of it");
    deliver(&mut alice, &["n4", "n5", "n6"]);
    for seen in seen {
        assert_eq!(after(&alice, seen), Err(third), "this number is another message's now");
    }
    assert_eq!(after(&alice, third), Ok(ids(["n4", "n5", "n6"]).to_vec()));
}

#[test]
fn an_opening_that_was_lost_whole_hides_no_delivery() {
    let mut alice = peer("alice");
    deliver(&mut alice, &["m1", "m2"]);
    let copy = alice.saved.clone();
    reopen(&mut alice, copy.clone());
    let seen = deliver(&mut alice, &["m3", "m4"]);
    reopen(&mut alice, copy);
    deliver(&mut alice, &["n3", "n4", "n5"]);
    let valid_to = after(&alice, seen[1]).unwrap_err();
    assert!(valid_to.number <= 2, "{valid_to:?}");
    let read = after(&alice, valid_to).unwrap();
    assert!(ids(["n3", "n4", "n5"]).iter().all(|id| read.contains(id)), "{read:?}");
}

#[test]
fn a_store_that_was_lost_begins_anew() {
    let mut alice = peer("alice");
    let seen = deliver(&mut alice, &["m1", "m2"]);
    reopen(&mut alice, ChannelData::default());
    assert_eq!(after(&alice, seen[1]), Err(Cursor::default()));
    deliver(&mut alice, &["n1", "n2", "n3"]);
    assert_eq!(after(&alice, seen[1]), Err(Cursor::default()));
}

#[test]
fn the_last_64_openings_that_delivered_are_remembered() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 5);
    let mut cursors = Vec::new();
    for n in 0..100 {
        cursors.extend(deliver(&mut alice, &[&format!("m{n}")]));
        let data = alice.saved.clone();
        reopen(&mut alice, data);
        let data = alice.saved.clone();
        reopen(&mut alice, data);
    }
    assert_eq!(incarnations(&alice), 64, "an opening without a delivery is none");
    assert!(cursors.iter().all(|cursor| after(&alice, *cursor).is_ok()), "older ones are told by their number");
    assert_eq!(alice.channel.deliveries_since(cursors[9]).unwrap().evicted, 85);
}

#[test]
fn deliveries_of_a_store_without_incarnations_belong_to_none() {
    let mut alice = peer("alice");
    chain(3).iter().for_each(|message| drop(alice.receive(message)));
    let mut old = alice.saved.clone();
    old.rows.retain(|row| !matches!(row, Row::Incarnation(_)));
    reopen(&mut alice, old);
    assert_eq!(alice.channel.cursor(), Cursor::new(0, 3));
    assert_eq!(after(&alice, Cursor::new(0, 2)), Ok(ids(["m3"]).to_vec()));
    deliver(&mut alice, &["m4"]);
    assert_eq!(after(&alice, Cursor::new(0, 2)), Ok(ids(["m3", "m4"]).to_vec()));
    assert_eq!(after(&alice, Cursor::new(0, 4)), Err(Cursor::new(0, 3)));
}

#[test]
fn each_delivery_gets_a_saved_number_monotone_from_one_without_gaps() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 3);
    let mut numbers = Vec::new();
    let messages = chain(30);
    for block in messages.chunks(3) {
        alice.send("own messages are not delivered and take no number");
        block.iter().rev().for_each(|message| drop(alice.receive(message)));
        alice.receive(&block[0]);
        alice.receive(&sync("bob", 1, &[], &[]));
        numbers.extend(alice.numbered());
        alice.restart();
    }
    let expected: Vec<(u64, String)> = (1..=30).map(|n| (n, format!("m{n}"))).collect();
    assert_eq!(numbers, expected);
}
