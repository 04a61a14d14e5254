//! docs/protocol.md section 15: who of the members has what.

use std::collections::BTreeSet;
use std::time::Duration;

use reliable_channel::channel::{ChannelError, Config, Event, Input, Outcome};
use reliable_channel::state::{Row, RowKey};
use reliable_channel::types::{CatchUpField, ParticipantId};

use crate::harness::{Peer, message, peer_with, sync};
use crate::section_13_catch_up::Net;

pub fn set(peer: &mut Peer, epoch: u64, names: &[&str]) -> Result<Outcome, ChannelError> {
    let members: BTreeSet<ParticipantId> = names.iter().map(|name| ParticipantId::from(*name)).collect();
    peer.input(Input::SetMembers { epoch, members })
}

/// A network of these, who all have said that they are the members.
pub fn members(names: &[&str], change: impl Fn(&mut Config)) -> Net {
    let mut net = Net::new(names, |config| {
        config.authenticated_senders = true;
        change(config);
    });
    net.peers.iter_mut().for_each(|peer| drop(set(peer, 1, names).unwrap()));
    net
}

fn member(name: &str, names: &[&str]) -> Peer {
    let mut peer = peer_with(name, |config| config.authenticated_senders = true);
    set(&mut peer, 1, names).unwrap();
    peer
}

fn missing(peer: &Peer, id: &str) -> Vec<String> {
    peer.channel.missing_members(&id.into()).iter().map(ToString::to_string).collect()
}

pub fn to_all(peer: &Peer) -> Vec<String> {
    let told = |event: &Event| if let Event::DeliveredToAll { id } = event { Some(id.to_string()) } else { None };
    peer.events.iter().filter_map(told).collect()
}

#[test]
fn a_set_is_kept_and_a_later_one_has_a_higher_epoch() {
    let mut alice = member("alice", &["alice", "bob"]);
    let names = |peer: &Peer| {
        let (epoch, names) = peer.channel.members().unwrap();
        (epoch, names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(names(&alice), (1, "alice bob".into()));
    set(&mut alice, 1, &["bob", "alice"]).unwrap();
    let passed = |epoch| Err(ChannelError::EpochPassed { epoch, current: 1 });
    assert_eq!(set(&mut alice, 1, &["alice", "carol"]), passed(1));
    assert_eq!(set(&mut alice, 0, &["alice", "bob"]), passed(0));
    set(&mut alice, 7, &["alice", "carol"]).unwrap();
    alice.restart();
    assert_eq!(names(&alice), (7, "alice carol".into()));
    set(&mut alice, 8, &[]).unwrap();
    assert_eq!(alice.channel.members(), None);
    assert!(alice.saved.rows.iter().all(|row| !matches!(row, Row::Member(_))));
    alice.restart();
    assert_eq!(alice.channel.members(), None);
}

#[test]
fn names_that_are_none_and_more_than_1024_are_refused() {
    let mut alice = member("alice", &["alice", "bob"]);
    assert_eq!(set(&mut alice, 2, &["alice", ""]), Err(ChannelError::InvalidId { max: 256 }));
    let many: Vec<String> = (0..1_025).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let error = ChannelError::TooLarge { what: "set of members", len: 1_025, max: 1_024 };
    assert_eq!(set(&mut alice, 2, &many), Err(error));
    set(&mut alice, 2, &many[1..]).unwrap();
}

#[test]
fn a_set_of_which_a_member_was_lost_is_given_up_and_told() {
    let mut alice = member("alice", &["alice", "bob"]);
    alice.send("m");
    let bob = RowKey::by_id(reliable_channel::state::Place::Member, &"bob".into());
    alice.saved.rows.retain(|row| row.key() != bob);
    alice.restart();
    assert_eq!(alice.channel.members(), None);
    assert!(alice.events.iter().any(|event| matches!(event, Event::StateMended { .. })), "{:?}", alice.events);
}

#[test]
fn a_message_has_come_to_all_when_each_member_has_named_it() {
    let mut alice = member("alice", &["alice", "bob", "carol"]);
    alice.send_as(Some("m"), "hello");
    assert_eq!(missing(&alice, "m"), ["bob", "carol"]);
    alice.receive(&sync("bob", 10, &["m"], &[]));
    assert_eq!((missing(&alice, "m"), to_all(&alice)), (vec!["carol".to_owned()], vec![]));
    alice.receive(&sync("mallory", 11, &["m"], &[]));
    alice.receive(&sync("bob", 12, &["m"], &[]));
    assert!(to_all(&alice).is_empty(), "neither a stranger nor the same one once more");
    alice.receive(&message("carol", "n", 13, &["m"]));
    assert_eq!(missing(&alice, "m"), [""; 0]);
    assert_eq!(to_all(&alice), ["m"]);
    let by = alice.channel.acknowledged_by(&"m".into());
    assert_eq!(by, ["bob", "mallory", "carol"].map(ParticipantId::from));
}

#[test]
fn a_filter_shows_that_a_message_was_received_and_not_that_it_was_delivered() {
    let mut alice = member("alice", &["alice", "bob"]);
    let mut bob = member("bob", &["alice", "bob"]);
    // Bob lacks what the second one names, so that it waits: it is in his filter all the same.
    alice.send_as(Some("first"), "first");
    let second = alice.send_as(Some("second"), "second");
    bob.receive(&second);
    for _ in 0..9 {
        bob.sleep(1_000);
        let said = bob.send_sync();
        alice.receive(&said);
    }
    let acknowledged = |event: &Event| matches!(event, Event::MessageAcknowledged { id, .. } if *id == "second".into());
    assert!(alice.events.iter().any(acknowledged), "{:?}", alice.events);
    assert_eq!((missing(&alice, "second"), to_all(&alice)), (vec!["bob".to_owned()], vec![]));
}

#[test]
fn nothing_is_told_of_all_where_senders_are_not_authenticated() {
    let mut alice = peer_with("alice", |_| {});
    set(&mut alice, 1, &["alice", "bob"]).unwrap();
    alice.send_as(Some("m"), "hello");
    alice.receive(&sync("bob", 10, &["m"], &[]));
    assert_eq!((missing(&alice, "m"), to_all(&alice)), (vec![], vec![]));
}

#[test]
fn a_user_has_what_one_device_has() {
    let mut alice = member("alice/phone", &["alice/phone", "alice/laptop", "bob/phone", "bob/laptop", "carol"]);
    alice.send_as(Some("m"), "hello");
    let users = |peer: &Peer| {
        let users = peer.channel.missing_users(&"m".into());
        users.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(missing(&alice, "m"), ["alice/laptop", "bob/laptop", "bob/phone", "carol"]);
    assert_eq!(users(&alice), "bob carol");
    alice.receive(&sync("carol", 10, &["m"], &[]));
    assert_eq!(users(&alice), "bob");
    alice.receive(&sync("bob/laptop", 11, &["m"], &[]));
    assert_eq!((users(&alice), to_all(&alice)), (String::new(), vec!["m".to_owned()]));
    assert_eq!(missing(&alice, "m"), ["alice/laptop", "bob/phone"]);
}

#[test]
fn what_was_sent_before_somebody_became_a_member_is_not_due_to_it() {
    let mut alice = member("alice", &["alice", "bob"]);
    alice.send_as(Some("m"), "hello");
    set(&mut alice, 2, &["alice", "bob", "carol"]).unwrap();
    alice.send_as(Some("n"), "hello, carol");
    assert_eq!(
        (missing(&alice, "m"), missing(&alice, "n")),
        (vec!["bob".to_owned()], vec!["bob".into(), "carol".into()])
    );
    alice.receive(&sync("bob", 10, &["m", "n"], &[]));
    assert_eq!(to_all(&alice), ["m"]);
    set(&mut alice, 3, &["alice", "bob"]).unwrap();
    assert_eq!(to_all(&alice), ["m", "n"], "who still lacked it is no member any more");
}

#[test]
fn an_equal_digest_shows_what_its_member_has() {
    let mut net = members(&["alice", "bob"], |_| {});
    net.say(1, "I am here");
    net.run_for(1_000);
    net.say(0, "hello");
    let id = net.peers[0].channel.log().last().unwrap().body.key.id.to_string();
    net.lost = |transmit, _| transmit.message.sender == "bob".into();
    net.run_for(90_000);
    assert_eq!(missing(&net.peers[0], &id), ["bob"]);
    let said = net.sent.iter().rev().find(|(_, _, sent)| matches!(sent.message.catch_up, CatchUpField::Digest(_)));
    let mut said = said.filter(|(from, ..)| *from == 1).unwrap().2.message.clone();
    said.causal_history.clear();
    net.peers[0].receive(&said);
    assert_eq!((missing(&net.peers[0], &id), to_all(&net.peers[0])), (vec![], vec![id.clone()]));
    net.peers[0].restart();
    assert_eq!((missing(&net.peers[0], &id), to_all(&net.peers[0])), (vec![], vec![]), "saved, and not told again");
}

#[test]
fn messages_of_others_than_members_are_told_apart() {
    let mut alice = member("alice", &["alice", "bob"]);
    alice.receive(&message("bob", "m", 10, &[]));
    alice.receive(&message("bob", "n", 11, &["m"]));
    alice.receive(&message("mallory", "x", 20, &["n"]));
    let from = |event: &Event| if let Event::MessageDelivered(told) = event { Some(told.from_member) } else { None };
    assert_eq!(alice.events.iter().filter_map(from).collect::<Vec<_>>(), [true, true, false]);
    set(&mut alice, 2, &[]).unwrap();
    alice.receive(&message("mallory", "y", 21, &["x"]));
    assert_eq!(alice.events.iter().filter_map(from).next_back(), Some(true), "without a set nobody is a stranger");
}

#[test]
fn response_groups_follow_the_number_of_members() {
    let mut alice =
        peer_with("alice", |config| config.acknowledgement_delay = (Duration::ZERO, Duration::from_secs(1)));
    let names: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    set(&mut alice, 1, &names).unwrap();
    assert_eq!(alice.channel.config().response_groups, 3);
    set(&mut alice, 2, &names[..20]).unwrap();
    assert_eq!(alice.channel.config().response_groups, 1);
    set(&mut alice, 3, &names).unwrap();
    alice.restart_with(|config| config.response_groups = 2);
    assert_eq!(alice.channel.config().response_groups, 3);
    set(&mut alice, 4, &[]).unwrap();
    assert_eq!(alice.channel.config().response_groups, 2, "as it was configured");
}
