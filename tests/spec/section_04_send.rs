//! docs/protocol.md section 4: sending, causal history, and relaying.

use bytes::Bytes;
use reliable_channel::channel::{ChannelError, Event, Fate, Input, Outcome, TransmitKind};
use reliable_channel::types::{FilterField, HistoryEntry, Lamport, Message, MessageId, ParticipantId};
use sha3::{Digest, Keccak256};
use tap::Tap as _;

use crate::harness::{EPOCH, Peer, chain, history, holds, ids, message, parked_for, peer, peer_with, requests};

fn try_send(peer: &mut Peer, content: impl Into<Bytes>, id: Option<&str>) -> Result<Outcome, ChannelError> {
    peer.input(Input::Send { content: content.into(), id: id.map(MessageId::from) })
}

#[test]
fn empty_content_is_an_error() {
    assert_eq!(try_send(&mut peer("alice"), "", None), Err(ChannelError::EmptyContent));
}

#[test]
fn content_over_max_content_bytes_is_an_error() {
    let mut alice = peer("alice");
    let (max, content) = (1 << 20, |len: usize| vec![b'x'; len]);
    let error = ChannelError::TooLarge { what: "content", len: max + 1, max };
    assert_eq!(try_send(&mut alice, content(max + 1), None), Err(error.clone()));
    assert_eq!(alice.input(Input::SendEphemeral { content: content(max + 1).into() }), Err(error));
    try_send(&mut alice, content(max), None).unwrap();
}

#[test]
fn an_id_already_known_in_any_standing_is_an_error_and_changes_nothing() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 1);
    alice.receive(&message("bob", "stub", 1, &[]));
    alice.receive(&message("bob", "logged", 2, &[]));
    alice.receive(&message("bob", "parked", 3, &["missing"]));
    alice.send_as(Some("own"), "own");
    for restarted in [false, true] {
        let before = alice.channel.data();
        for id in ["stub", "logged", "parked", "own"] {
            let error = ChannelError::IdKnown(id.into());
            assert_eq!(try_send(&mut alice, "text", Some(id)), Err(error), "{restarted}");
        }
        assert_eq!((alice.channel.data(), alice.transmitted.len()), (before, 0));
        alice.restart();
    }
}

#[test]
fn an_id_that_others_miss_may_be_sent_and_ends_their_wait() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "answer", 1, &["question"]));
    alice.send_as(Some("question"), "sent again after the store was lost");
    assert_eq!((alice.delivered(), alice.asked(), alice.parked()), (ids(["answer"]), vec![], vec![]));
    assert_eq!(history(&alice.send("next")), ["answer", "question"], "it is no head: the answer refers to it");
}

#[test]
fn several_contents_are_sent_in_one_step_or_none_of_them() {
    let mut alice = peer_with("alice", |config| {
        (config.limits.max_outgoing, config.max_transmit_bytes) = (4, Some(1_000));
    });
    alice.receive(&message("bob", "head", 1, &[]));
    let commits = alice.commits.len();
    let Ok(Outcome::SentMany(ids)) = alice.input(Input::SendMany(vec!["1".into(), "2".into(), "3".into()])) else {
        panic!("they are sent")
    };
    assert_eq!(alice.commits.len(), commits + 1);
    let sent: Vec<Message> = std::mem::take(&mut alice.transmitted).into_iter().map(|sent| sent.message).collect();
    assert_eq!(sent.iter().map(|message| message.id.clone()).collect::<Vec<_>>(), ids);
    assert_eq!(sent.iter().map(|message| &message.content[..]).collect::<Vec<_>>(), [b"1", b"2", b"3"]);
    for (before, message) in [MessageId::from("head")].iter().chain(&ids).zip(&sent) {
        assert_eq!(history(message)[0], before.to_string());
    }
    let long: Bytes = vec![b'x'; 950].into();
    for (contents, expected) in [
        (vec!["4".into(), "5".into()], ChannelError::OutgoingFull),
        (vec!["4".into(), Bytes::new()], ChannelError::EmptyContent),
    ] {
        let before = alice.channel.data();
        assert_eq!(alice.input(Input::SendMany(contents)), Err(expected));
        assert_eq!((alice.channel.data(), alice.transmitted.len()), (before, 0));
    }
    let mut alice = peer_with("alice", |config| config.max_transmit_bytes = Some(1_000));
    let before = alice.channel.data();
    let refused = alice.input(Input::SendMany(vec!["4".into(), long]));
    assert!(matches!(refused, Err(ChannelError::TooLarge { what: "message", max: 1_000, .. })), "{refused:?}");
    assert_eq!((alice.channel.data(), alice.transmitted.len()), (before, 0));
}

#[test]
fn a_full_outgoing_buffer_is_an_error_until_something_is_acknowledged() {
    let mut alice = peer_with("alice", |config| config.limits.max_outgoing = 2);
    let first = alice.send("1").id.to_string();
    alice.send("2");
    for _ in 0..2 {
        assert_eq!(try_send(&mut alice, "3", None), Err(ChannelError::OutgoingFull));
        alice.restart();
    }
    alice.receive(&message("bob", "m", 1, &[&first]));
    alice.send("3");
    let mut alice = peer_with("alice", |config| config.limits.max_outgoing_bytes = 1_000);
    alice.send(&"x".repeat(700));
    assert_eq!(try_send(&mut alice, "x".repeat(700), None), Err(ChannelError::OutgoingFull));
}

#[test]
fn without_an_id_from_the_caller_it_is_hex_keccak_256_of_sender_time_in_nanoseconds_and_content() {
    let mut alice = peer("alice");
    alice.sleep(123);
    let nanos = (EPOCH + 123) * 1_000_000;
    let hash = Keccak256::new().chain_update("alice").chain_update(nanos.to_be_bytes()).chain_update("text").finalize();
    assert_eq!(alice.send("text").id.to_string(), hex::encode(hash));
}

#[test]
fn while_the_clock_stands_still_the_time_of_an_id_is_that_of_the_message() {
    let mut alice = peer("alice");
    alice.send("first");
    for (back, lamport) in [(0, EPOCH + 2), (50, EPOCH + 3)] {
        alice.wall_offset -= back;
        let nanos: u64 = lamport * 1_000_000;
        let hash =
            Keccak256::new().chain_update("alice").chain_update(nanos.to_be_bytes()).chain_update("text").finalize();
        let sent = alice.send("text");
        assert_eq!((sent.id.to_string(), sent.lamport), (hex::encode(hash), Some(Lamport(lamport))));
    }
}

#[test]
fn equal_content_never_collides() {
    let (mut alice, mut bob) = (peer("alice"), peer("bob"));
    let mut all = vec![alice.send("ok").id, alice.send("ok").id, bob.send("ok").id];
    alice.sleep(1);
    all.push(alice.send("ok").id);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 4);
}

/// `h01` to `hNN` of different senders, none of which refers to another.
fn concurrent(peer: &mut Peer, count: u64) {
    (1..=count).for_each(|n| drop(peer.receive(&message("bob", &format!("h{n:02}"), n, &[]))));
}

#[test]
fn causal_history_is_the_two_newest_heads_then_the_oldest_heads_up_to_max_causal_heads_then_the_tail() {
    let mut alice = peer("alice");
    concurrent(&mut alice, 15);
    // n14 is no head, but in the tail.
    alice.receive(&message("bob", "n14", 20, &[]));
    alice.receive(&message("bob", "low", 19, &["n14"]));
    let expected = ["low", "h15", "h01", "h02", "h03", "h04", "h05", "h06", "h07", "h08", "n14"];
    assert_eq!(history(&alice.send("next")), expected);
}

#[test]
fn few_heads_are_all_named_once_newest_first_and_the_tail_fills_up() {
    let mut alice = peer("alice");
    assert_eq!(history(&alice.send_as(Some("own 1"), "first")), [] as [&str; 0]);
    assert_eq!(history(&alice.send_as(Some("own 2"), "second")), ["own 1"]);
    assert_eq!(history(&alice.send_as(Some("own 3"), "third")), ["own 2", "own 1"]);
    alice.sleep(1_000);
    alice.receive(&message("bob", "m", 500, &["own 1"]));
    assert_eq!(history(&alice.send("fourth")), ["m", "own 3"]);
    let mut bob = peer("bob");
    concurrent(&mut bob, 3);
    assert_eq!(history(&bob.send("next")), ["h03", "h02", "h01"]);
}

#[test]
fn max_causal_heads_and_causal_history_size_bound_the_history() {
    for (heads, tail, expected) in [
        (1, 0, vec!["h05"]),
        (2, 0, vec!["h05", "h04"]),
        (3, 0, vec!["h05", "h04", "h01"]),
        (1, 3, vec!["h05", "h04", "h03"]),
    ] {
        let mut alice = peer_with("alice", |config| {
            config.max_causal_heads = heads;
            config.causal_history_size = tail;
        });
        concurrent(&mut alice, 5);
        assert_eq!(history(&alice.send("next")), expected);
    }
}

#[test]
fn heads_are_delivered_messages_that_no_delivered_message_refers_to() {
    let mut alice = peer_with("alice", |config| config.causal_history_size = 0);
    alice.receive(&message("bob", "a", 1, &[]));
    alice.receive(&message("bob", "b", 2, &[]));
    alice.receive(&message("bob", "parked", 3, &["a", "b", "missing"]));
    assert_eq!(history(&alice.send_sync()), ["b", "a"], "a parked message refers to nothing yet, and is no head");
    alice.receive(&message("bob", "missing", 2, &[]));
    // Behind the heads a sync message names what is to be acknowledged.
    assert_eq!(history(&alice.send_sync()), ["parked", "missing"]);
    alice.receive(&message("bob", "below", 0, &["unknown"]));
    alice.receive(&message("bob", "unknown", 0, &[]));
    assert_eq!(history(&alice.send_sync())[..2], ["parked", "below"]);
}

#[test]
fn every_head_is_named_within_a_few_sends() {
    let mut alice = peer("alice");
    concurrent(&mut alice, 60);
    let mut named = Vec::new();
    for _ in 0..7 {
        named.extend(history(&alice.send("text")).into_iter().filter(|id| id.starts_with('h')));
    }
    named.sort();
    named.dedup();
    assert_eq!(named.len(), 60);
}

#[test]
fn entries_carry_the_sender_always_and_the_retrieval_hint_when_known() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m", 1, &[]));
    alice.send_as(Some("own"), "own");
    alice.set_hint("own", b"where");
    let entry = |id: &str, sender: &str, hint: Option<&'static [u8]>| {
        HistoryEntry::new(id).tap_mut(|it| {
            it.hint = hint.map(Bytes::from_static);
            it.sender = Some(ParticipantId::from(sender));
        })
    };
    for _ in 0..2 {
        let sync = alice.send_sync();
        assert_eq!(sync.causal_history, [entry("own", "alice", Some(b"where")), entry("m", "bob", None)]);
        alice.restart();
    }
    let error = ChannelError::UnknownMessage("unknown".into());
    assert_eq!(alice.input(Input::SetHint { id: "unknown".into(), hint: "where".into() }), Err(error));
}

#[test]
fn the_filter_is_the_state_before_this_message() {
    let mut alice = peer("alice");
    let first = alice.send("first");
    assert_eq!(first.filter, FilterField::Absent);
    let second = alice.send("second");
    assert!(holds(&second, &first.id.to_string()) && !holds(&second, &second.id.to_string()));
}

#[test]
fn up_to_three_due_repair_requests_are_sent_lowest_t_req_first() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "parked", 1, &["x1", "x2", "x3", "x4", "x5"]));
    let all = alice.channel.requests();
    let by_due: Vec<String> = all.iter().map(|request| request.entry.id.to_string()).collect();
    assert!(all.is_sorted_by_key(|request| request.due));
    assert_eq!(requests(&alice.send("none is due yet")), [] as [&str; 0]);
    alice.sleep(all[1].due.as_millis() - 1);
    assert_eq!(requests(&alice.send("one is due")), by_due[..1]);
    assert_eq!(alice.channel.requests().iter().filter(|request| request.sent == 1).count(), 1, "re-armed, not ended");
    alice.sleep(120_000);
    let by_due = alice.asked();
    assert_eq!(requests(&alice.send("all are due, the first once more")), by_due[..3]);
    assert_eq!(requests(&alice.send("the rest")), by_due[3..]);
    assert_eq!(requests(&alice.send("none is left")), [] as [&str; 0]);
}

#[test]
fn then_the_message_enters_log_filter_and_outgoing_buffer() {
    let mut alice = peer("alice");
    let sent = alice.send("text");
    let id = sent.id.to_string();
    assert_eq!(alice.log(), [id.as_str()]);
    assert_eq!(alice.channel.outgoing()[0].id, sent.id);
    assert!(alice.summarises(&id));
    assert_eq!(alice.events, [], "an own message is not delivered");
    alice.restart();
    assert_eq!((alice.log(), alice.channel.outgoing().len()), (vec![id], 1));
}

fn relay(peer: &mut Peer, message: &Message) -> (Fate, Option<Message>) {
    match peer.input(Input::Relay(message.clone())) {
        Ok(Outcome::Received(received)) => {
            let sent = peer.transmitted.pop();
            assert!(peer.transmitted.is_empty() && sent.as_ref().is_none_or(|sent| sent.kind == TransmitKind::Relay));
            (received.fate, sent.map(|sent| sent.message))
        }
        other => panic!("not taken in: {other:?}"),
    }
}

#[test]
fn a_relayed_message_is_taken_in_and_transmitted_with_id_sender_lamport_and_causal_history_unchanged() {
    let mut bridge = peer("bridge");
    let own = bridge.send_as(Some("own"), "own").id;
    let hinted = HistoryEntry::new("own").tap_mut(|it| {
        it.hint = Some("where".into());
        it.sender = Some("carol".into());
    });
    let original = message("bob", "m", 9, &[]).tap_mut(|it| {
        it.causal_history = vec![hinted, HistoryEntry::new("missing")];
        it.filter = FilterField::Compact { k: 1, seed: [0; 8], bits: Bytes::from_static(&[1]) };
        it.repair_request = vec![HistoryEntry::new("own")];
    });
    let (fate, sent) = relay(&mut bridge, &original);
    assert_eq!(fate, parked_for(&["missing"]));
    let expected = original.tap_mut(|it| {
        it.filter = FilterField::Absent;
        it.repair_request = vec![];
    });
    assert_eq!(sent, Some(expected));
    assert_eq!(bridge.asked(), ["missing"]);
    assert!(bridge.events.iter().any(|event| matches!(event, Event::MessageAcknowledged { id, .. } if *id == own)));
    assert!(bridge.channel.outgoing().is_empty(), "nor is it the bridge's to resend");
}

#[test]
fn a_relayed_message_is_delivered_once_however_often_it_comes() {
    let mut bridge = peer("bridge");
    let messages = chain(3);
    let fates: Vec<_> = messages.iter().rev().map(|message| relay(&mut bridge, message)).collect();
    assert!(fates.iter().all(|(_, sent)| sent.is_some()), "each goes out when it comes, parked or not");
    assert_eq!(bridge.delivered(), ["m1", "m2", "m3"]);
    assert_eq!(bridge.fate(&messages[1]), Fate::Duplicate);
    assert_eq!(relay(&mut bridge, &messages[1]), (Fate::Duplicate, None));
    assert_eq!(bridge.delivered(), [] as [&str; 0]);
}

#[test]
fn a_relayed_message_that_is_refused_is_not_transmitted() {
    let mut bridge = peer("bridge");
    let future = message("bob", "m", 0, &[]).tap_mut(|it| it.lamport = Some(Lamport(1 << 62)));
    assert!(bridge.input(Input::Relay(future)).is_err());
    assert!(bridge.transmitted.is_empty());
}

#[test]
fn an_ephemeral_message_sent_carries_neither_lamport_nor_history_nor_filter_nor_requests() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m", 1, &["missing"]));
    alice.sleep(60_000);
    alice.input(Input::SendEphemeral { content: "typing".into() }).unwrap();
    let sent = alice.transmitted.pop().unwrap().message;
    assert_eq!((sent.lamport, sent.filter), (None, FilterField::Absent));
    assert_eq!((sent.causal_history, sent.repair_request), (vec![], vec![]));
    assert_eq!(alice.input(Input::SendEphemeral { content: Bytes::new() }), Err(ChannelError::EmptyContent));
}
