//! docs/protocol.md section 16: contents that are to be gone.

use reliable_channel::channel::{ChannelError, Event, Fate, ForArchive, Input, Outcome, TransmitKind, item_of};
use reliable_channel::state::{MarkKind, Row};
use reliable_channel::types::{Digest, FrameBody, Lamport, MessageId};
use tap::Tap as _;

use crate::harness::{EPOCH, Peer, chain, ids, message, peer, peer_with, repairs, seconds, sync};
use crate::section_13_archive::{alice_with_archive, answer, fetch};
use crate::section_13_catch_up::{self, framed, frames};

fn erase(peer: &mut Peer, id: &str) {
    assert_eq!(peer.input(Input::Erase(id.into())), Ok(Outcome::Done));
}

/// Contents that the store has, by id.
fn saved(peer: &Peer) -> Vec<String> {
    let content = |row: &Row| match row {
        Row::Message(logged) => Some(logged.body.clone()),
        Row::Parked(parked) => Some(parked.body.clone()),
        _ => None,
    };
    let bodies = peer.saved.rows.iter().filter_map(content).filter(|body| !body.content.is_empty());
    bodies.map(|body| body.key.id.to_string()).collect()
}

/// What the next digest says, which one in three sync messages has.
fn digest_of(peer: &mut Peer) -> Digest {
    let digest = (0..3).find_map(|_| section_13_catch_up::digest_of(&peer.send_sync()).cloned());
    digest.expect("one in three")
}

fn marked(peer: &Peer) -> Vec<String> {
    let erased = |row: &Row| match row {
        Row::Mark(mark) if mark.kind == MarkKind::Erased => Some(mark.id.to_string()),
        _ => None,
    };
    peer.saved.rows.iter().filter_map(erased).collect()
}

#[test]
fn an_erased_message_keeps_its_place_and_nothing_of_its_content_is_saved() {
    let mut alice = peer("alice");
    chain(3).iter().for_each(|message| drop(alice.receive(message)));
    let all = ids(["m1", "m2", "m3"]);
    alice.input(Input::SetHint { id: all[1].as_str().into(), hint: "where".into() }).unwrap();
    assert_eq!(alice.saved.hints.len(), 1);
    erase(&mut alice, &all[1]);
    assert_eq!(alice.log(), all, "its place");
    assert_eq!(saved(&alice), [all[0].clone(), all[2].clone()]);
    assert_eq!(alice.saved.hints, []);
    let next = alice.send("next");
    assert_eq!(next.causal_history[0].id, MessageId::from(all[2].as_str()), "heads are what they were");
    assert_eq!(alice.since(0).deliveries.len(), 2, "it is not delivered again");
    let set = alice.input(Input::SetHint { id: all[1].as_str().into(), hint: "where".into() });
    assert_eq!(set, Err(ChannelError::UnknownMessage(all[1].as_str().into())));
}

#[test]
fn an_own_message_that_was_erased_is_sent_no_more() {
    let mut alice = peer("alice");
    alice.send_as(Some("m"), "m");
    erase(&mut alice, "m");
    let sent = alice.run_for(600_000);
    assert!(sent.iter().all(|sent| sent.kind == TransmitKind::Sync), "{sent:?}");
    assert!(alice.take_events().iter().all(|event| !matches!(event, Event::DeliveryFailed { .. })));
    assert_eq!(alice.channel.outgoing(), []);
    assert_eq!(
        alice.input(Input::Send { content: "another".into(), id: Some("m".into()) }),
        Err(ChannelError::IdKnown("m".into()))
    );
}

#[test]
fn a_copy_of_what_was_erased_is_known_and_another_content_is_a_conflict() {
    let mut alice = peer("alice");
    let sent = message("bob", "m", 1, &[]);
    alice.receive(&sent);
    erase(&mut alice, "m");
    assert_eq!(alice.fate(&sent), Fate::Duplicate);
    assert_eq!(alice.fate(&sent.clone().tap_mut(|it| it.content = "forged".into())), Fate::Conflict);
    assert_eq!(saved(&alice), [""; 0]);
}

#[test]
fn what_was_erased_before_it_came_takes_its_place_without_being_told() {
    let mut alice = peer("alice");
    erase(&mut alice, "m");
    // What names it does not wait, and nobody is asked for it.
    assert_eq!(alice.fate(&message("bob", "next", 2, &["m"])), Fate::Delivered);
    assert_eq!(alice.channel.requests(), []);
    assert_eq!(alice.delivered(), ["next"]);
    let received = alice.receive(&message("bob", "m", 1, &[]));
    assert_eq!((received.fate, received.released), (Fate::Erased, Vec::new()));
    assert_eq!(alice.log(), ["m", "next"]);
    assert_eq!((alice.delivered(), saved(&alice)), (Vec::new(), vec!["next".to_owned()]));
    assert_eq!(alice.channel.stats().delivered, 1);
    // It is acknowledged as any other.
    let acknowledges = alice.run_for(60_000).into_iter().filter(|sent| sent.kind == TransmitKind::Sync).count();
    assert!(acknowledges > 0);
}

#[test]
fn what_waits_is_erased_where_it_is_and_nobody_waits_for_it() {
    let mut alice = peer("alice");
    assert!(matches!(alice.fate(&message("bob", "b", 2, &["a"])), Fate::Parked { .. }));
    assert!(matches!(alice.fate(&message("bob", "c", 3, &["b"])), Fate::Parked { .. }));
    erase(&mut alice, "b");
    assert_eq!(alice.delivered(), ["c"], "it waits for b no longer");
    assert_eq!(saved(&alice), ["c"]);
    let received = alice.receive(&message("bob", "a", 1, &[]));
    assert_eq!((received.fate, received.released), (Fate::Delivered, vec!["a".into()]));
    assert_eq!(alice.log(), ["a", "b", "c"]);
}

#[test]
fn what_was_erased_stays_so_over_restarts_and_when_it_has_left_the_log() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 2);
    let messages = chain(5);
    messages[..3].iter().for_each(|message| drop(alice.receive(message)));
    alice.input(Input::SetHint { id: "m1".into(), hint: "where".into() }).unwrap();
    erase(&mut alice, "m3");
    // Message 1 has left the log.
    erase(&mut alice, "m1");
    erase(&mut alice, "later");
    assert_eq!(alice.saved.hints, []);
    alice.restart();
    messages[3..].iter().for_each(|message| drop(alice.receive(message)));
    assert_eq!(alice.log(), ["m4", "m5"]);
    assert_eq!(alice.fate(&messages[2]), Fate::Duplicate);
    assert_eq!(alice.fate(&message("bob", "later", 9, &[])), Fate::Erased);
    assert_eq!(saved(&alice), ["m5"]);
    assert_eq!(marked(&alice).len(), 3);
}

#[test]
fn nobody_is_sent_what_was_erased() {
    let mut alice = peer("alice");
    let messages = chain(2);
    messages.iter().for_each(|message| drop(alice.receive(message)));
    alice.run_for(30_000);
    let all = ids(["m1", "m2"]);
    alice.receive(&sync("carol", 50, &[], &[&all[0], &all[1]]));
    // Also where an answer was promised before.
    erase(&mut alice, &all[1]);
    assert_eq!(repairs(&alice.run_for(60_000)), all[..1]);
    alice.receive(&sync("carol", 51, &[], &[&all[1]]));
    assert_eq!(repairs(&alice.run_for(60_000)), [""; 0]);
}

#[test]
fn an_erased_message_stands_in_the_set_as_before() {
    let mut alice = section_13_catch_up::peer_with("alice", |_| {});
    chain(30).iter().for_each(|message| drop(alice.receive(message)));
    alice.run_for(30_000);
    let before = digest_of(&mut alice);
    let item = alice.channel.log().nth(3).map(|logged| item_of(&"c".into(), &logged.body)).unwrap();
    erase(&mut alice, "m4");
    assert_eq!(digest_of(&mut alice), before);
    alice.restart();
    alice.run_for(30_000);
    assert_eq!(digest_of(&mut alice), before);
    // Who asks for it is told that it is gone, and sent nothing.
    alice.receive(&framed(1, FrameBody::Fetch { rids: vec![item.rid.0] }));
    alice.receive(&framed(2, FrameBody::FetchIds { ids: vec!["m4".into()] }));
    let sent = std::mem::take(&mut alice.transmitted);
    assert!(sent.iter().all(|sent| sent.message.content.is_empty()), "{sent:?}");
    let ends: Vec<FrameBody> = frames(&sent).into_iter().map(|frame| frame.body.clone()).collect();
    assert!(matches!(&ends[0], FrameBody::End { sent: 0, gone, .. } if *gone == [item.rid.0]), "{ends:?}");
    assert!(matches!(&ends[1], FrameBody::End { sent: 0, evicted, .. } if evicted.is_empty()), "{ends:?}");
}

#[test]
fn strangers_push_out_no_mark_of_what_was_erased() {
    let mut alice = peer_with("alice", |config| config.limits.max_marks = 2);
    erase(&mut alice, "m");
    for id in ["a", "b", "c", "d"] {
        alice.input(Input::DependenciesMet(vec![id.into()])).unwrap();
    }
    assert_eq!(marked(&alice), ["m"]);
    assert_eq!(alice.fate(&message("bob", "m", 1, &[])), Fate::Erased);
}

#[test]
fn an_archive_loses_the_content_of_what_is_erased() {
    let mut alice = section_13_catch_up::peer_with("alice", |config| config.max_message_history = 2);
    alice.input(Input::Archived { items: Vec::new(), whole: true }).unwrap();
    chain(4).iter().for_each(|message| drop(alice.receive(message)));
    alice.archive.clear();
    erase(&mut alice, "m4");
    let asked = std::mem::take(&mut alice.archive);
    let gives = matches!(&asked[..], [ForArchive::Keep(body), ForArchive::Erase(_)] if body.is_erased());
    assert!(gives, "what is in the log: {asked:?}");
    erase(&mut alice, "m1");
    erase(&mut alice, "unknown");
    let asked = std::mem::take(&mut alice.archive);
    let [ForArchive::Erase(known), ForArchive::Erase(unknown)] = &asked[..] else { panic!("{asked:?}") };
    let keys: Vec<_> = chain(4).iter().map(|it| (it.lamport.unwrap(), it.id.clone())).collect();
    let key = |n: usize| reliable_channel::state::LogKey { lamport: keys[n].0, id: keys[n].1.clone() };
    assert!(known.covers(&key(0)) && !known.covers(&key(1)));
    assert_eq!(known.up_to, key(0).lamport, "its place is known, and nothing else is looked at");
    assert_eq!((unknown.after.clone(), unknown.up_to), (None, Lamport(u64::MAX)));
    // After a restart it may have all of them still.
    alice.restart();
    alice.input(Input::Archived { items: Vec::new(), whole: true }).unwrap();
    let erased = std::mem::take(&mut alice.archive).into_iter().find_map(|asked| match asked {
        ForArchive::Erase(erasure) => erasure.ids,
        _ => None,
    });
    assert_eq!(erased.unwrap().len(), 3);
}

#[test]
fn an_archive_that_still_has_a_content_gives_it_to_nobody() {
    let (mut alice, archive, items) = alice_with_archive();
    let bodies = || archive.values().filter(|body| ["m1", "m2"].contains(&body.key.id.as_str().unwrap())).cloned();
    erase(&mut alice, "m1");
    // Nothing of what it was asked for has been done yet.
    let read = fetch(&mut alice, 1, &items[..2]).pop().unwrap();
    assert_eq!(answer(&mut alice, read, bodies().collect(), 2, false), (1, 1, false), "one sent, one gone");
}

#[test]
fn contents_are_erased_when_their_age_has_come_and_told() {
    let mut alice = peer_with("alice", |config| config.max_body_age = Some(seconds(600)));
    alice.receive(&message("bob", "a", 0, &[]));
    alice.receive(&message("bob", "b", 100_000, &[]));
    // Dated ahead: what counts is when it came.
    alice.receive(&message("bob", "c", 3_000_000, &[]));
    let own = alice.send("own").id.to_string();
    alice.take_events();
    let expired = |peer: &mut Peer| -> Vec<String> {
        let events = peer.take_events().into_iter();
        events
            .filter_map(|it| if let Event::MessageExpired { id } = it { Some(id.to_string()) } else { None })
            .collect()
    };
    alice.run_for(599_000);
    assert_eq!((expired(&mut alice), saved(&alice).len()), (Vec::new(), 4));
    alice.run_for(3_000);
    assert_eq!((expired(&mut alice), saved(&alice).len()), (vec!["a".into(), "b".into(), "c".into(), own], 0));
    // What comes below has its own time.
    alice.receive(&message("bob", "late", 500_000, &[]));
    alice.run_for(497_000);
    assert_eq!((expired(&mut alice), saved(&alice).len()), (Vec::new(), 1));
    alice.run_for(3_000);
    assert_eq!((expired(&mut alice), saved(&alice).len()), (vec!["late".into()], 0));
}

#[test]
fn what_is_too_old_when_it_comes_is_not_told() {
    let mut alice = peer_with("alice", |config| config.max_body_age = Some(seconds(600)));
    alice.now = 700_000;
    assert_eq!(alice.fate(&message("bob", "old", 1, &[])), Fate::Erased);
    assert_eq!(alice.fate(&message("bob", "new", 200_000, &["old"])), Fate::Delivered);
    assert_eq!((alice.delivered(), alice.log().len()), (vec!["new".to_owned()], 2));
    assert_eq!(EPOCH + 200_000, alice.channel.meta().highest_received.0);
}
