//! docs/protocol.md section 8: what an application may ask for a message that nobody has acknowledged.

use std::collections::BTreeSet;

use reliable_channel::channel::{ChannelError, DeliveryState, Event, Fate, Input, Outcome, Transmit, TransmitKind};
use reliable_channel::state::{Mark, MarkKind, Row};
use reliable_channel::types::MessageId;

use crate::harness::{
    Peer, filter_from, filter_of, history, holds, ids, message, peer, peer_with, repairs, sync, weak_filter,
};

fn resend(peer: &mut Peer, id: &str) -> Result<Outcome, ChannelError> {
    peer.input(Input::Resend(id.into()))
}

fn withdraw(peer: &mut Peer, id: &str) -> Result<Outcome, ChannelError> {
    peer.input(Input::Withdraw(id.into()))
}

fn state(peer: &Peer, id: &str) -> Option<DeliveryState> {
    peer.channel.delivery_state(&id.into())
}

fn resent(out: &[Transmit]) -> Vec<String> {
    let resent = out.iter().filter(|sent| sent.kind == TransmitKind::Resend);
    resent.map(|sent| sent.message.id.to_string()).collect()
}

fn failures(peer: &mut Peer) -> usize {
    peer.take_events().iter().filter(|event| matches!(event, Event::DeliveryFailed { .. })).count()
}

#[test]
fn a_failed_message_is_pending_again_when_the_application_wants_it_sent_again() {
    let mut alice = peer("alice");
    alice.send_as(Some("m"), "m");
    assert_eq!(resent(&alice.run_for(600_000)).len(), 5);
    assert_eq!(failures(&mut alice), 1);
    resend(&mut alice, "m").unwrap();
    assert_eq!(state(&alice, "m"), Some(DeliveryState::Unacknowledged));
    assert_eq!(resent(&alice.run_for(0)), ["m"], "at once");
    assert_eq!(resent(&alice.run_for(600_000)), ["m"; 4], "five resends in all, as at first");
    assert_eq!((failures(&mut alice), state(&alice, "m")), (1, Some(DeliveryState::Failed)));
}

#[test]
fn the_schedule_of_a_pending_message_begins_anew_when_it_is_to_be_sent_again() {
    let mut alice = peer("alice");
    alice.send_as(Some("m"), "m");
    alice.run_for(40_000);
    resend(&mut alice, "m").unwrap();
    let asked = alice.now;
    let times = alice.times_of(TransmitKind::Resend, 600_000);
    assert_eq!((times.len(), times[0]), (5, asked));
    assert!(times[1] - asked < 12_000, "10 s after the first: {times:?}");
}

#[test]
fn a_message_to_be_sent_again_stays_in_a_full_log_and_counts_in_the_outgoing_buffer() {
    let mut alice = peer_with("alice", |config| {
        config.max_message_history = 2;
        config.limits.max_outgoing = 1;
    });
    alice.send_as(Some("m"), "m");
    alice.run_for(600_000);
    resend(&mut alice, "m").unwrap();
    (0..5).for_each(|n| drop(alice.receive(&message("bob", &format!("b{n}"), 700_000 + n, &[]))));
    assert_eq!(alice.log(), ["m", "b3", "b4"]);
    let refused = alice.input(Input::Send { content: "n".into(), id: None });
    assert_eq!(refused, Err(ChannelError::OutgoingFull));
}

#[test]
fn a_failed_message_finds_no_place_in_a_full_outgoing_buffer() {
    let mut alice = peer_with("alice", |config| config.limits.max_outgoing = 1);
    alice.send_as(Some("m"), "m");
    alice.run_for(600_000);
    alice.send_as(Some("n"), "n");
    assert_eq!(resend(&mut alice, "m"), Err(ChannelError::OutgoingFull));
    assert_eq!(state(&alice, "m"), Some(DeliveryState::Failed));
}

#[test]
fn what_was_shown_of_a_message_before_still_counts_after_it_is_to_be_sent_again() {
    let mut alice = peer("alice");
    alice.send_as(Some("m"), "m");
    alice.receive(&filter_from("bob", 1, weak_filter(&"m".into(), 1)));
    resend(&mut alice, "m").unwrap();
    assert!(matches!(state(&alice, "m"), Some(DeliveryState::PossiblyAcknowledged { .. })));
    alice.receive(&sync("bob", 2, &["m"], &[]));
    assert_eq!(state(&alice, "m"), Some(DeliveryState::Acknowledged));
    assert!(resent(&alice.run_for(600_000)).is_empty());
}

#[test]
fn only_own_messages_that_nobody_acknowledged_are_sent_again_or_withdrawn() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 4);
    alice.send_as(Some("evicted"), "m");
    alice.receive(&sync("bob", 1, &["evicted"], &[]));
    (1..=4).for_each(|n| drop(alice.receive(&message("bob", &format!("b{n}"), n, &[]))));
    alice.receive(&message("bob", "parked", 9, &["missing"]));
    alice.receive(&message("alice", "elsewhere", 10, &[]));
    alice.send_as(Some("acknowledged"), "m");
    alice.receive(&sync("bob", 11, &["acknowledged"], &[]));
    let id = MessageId::from;
    for (name, error) in [
        ("never", ChannelError::UnknownMessage(id("never"))),
        ("missing", ChannelError::UnknownMessage(id("missing"))),
        ("evicted", ChannelError::UnknownMessage(id("evicted"))),
        ("b4", ChannelError::NotOwn(id("b4"))),
        ("b1", ChannelError::NotOwn(id("b1"))),
        ("parked", ChannelError::NotOwn(id("parked"))),
        ("elsewhere", ChannelError::NotOwn(id("elsewhere"))),
        ("acknowledged", ChannelError::AcknowledgedAlready(id("acknowledged"))),
    ] {
        assert_eq!(resend(&mut alice, name), Err(error.clone()));
        assert_eq!(withdraw(&mut alice, name), Err(error));
    }
    assert_eq!(state(&alice, "elsewhere"), None, "nobody can say");
}

#[test]
fn a_withdrawn_message_leaves_nothing_behind() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "b", 1, &[]));
    alice.send_as(Some("m"), "a secret");
    alice.set_hint("m", b"a hint");
    assert!(alice.summarises("m"));
    alice.receive(&sync("carol", 2, &[], &["m"]));
    withdraw(&mut alice, "m").unwrap();
    assert_eq!(alice.log(), ["b"]);
    let mark = Row::Mark(Mark::new("m".into(), MarkKind::Withdrawn, 0));
    let of_it: Vec<&Row> = alice.saved.rows.iter().filter(|row| row.key().id == "m".into()).collect();
    assert_eq!(of_it, [&mark]);
    assert!(alice.saved.hints.is_empty());
    assert_eq!(history(&alice.send_sync()), ["b"], "what it named is a head again");
    assert!(!alice.summarises("m"));
    let out = alice.run_for(600_000);
    assert!(resent(&out).is_empty() && repairs(&out).is_empty(), "{out:?}");
    alice.receive(&sync("carol", 3, &[], &["m"]));
    assert!(repairs(&alice.run_for(60_000)).is_empty(), "a request for it is not answered");
    assert_eq!(failures(&mut alice), 0);
    assert_eq!((state(&alice, "m"), history(&alice.send("next"))), (None, ids(["b"])));
}

#[test]
fn a_failed_or_a_possibly_acknowledged_message_can_be_withdrawn() {
    let mut alice = peer("alice");
    alice.send_as(Some("m"), "m");
    alice.run_for(600_000);
    withdraw(&mut alice, "m").unwrap();
    alice.send_as(Some("n"), "n");
    alice.receive(&filter_from("bob", 1, weak_filter(&"n".into(), 1)));
    withdraw(&mut alice, "n").unwrap();
    assert!(alice.log().is_empty() && alice.channel.outgoing().is_empty());
    alice.take_events();
    alice.receive(&filter_from("bob", 2, filter_of(&["m", "n"], 2)));
    alice.receive(&sync("bob", 3, &["m", "n"], &[]));
    let told = alice.take_events();
    assert!(told.iter().all(|event| matches!(event, Event::SyncReceived { .. })), "{told:?}");
}

#[test]
fn a_copy_of_a_withdrawn_message_is_not_taken_in_and_its_id_is_not_used_again() {
    let mut alice = peer("alice");
    let sent = alice.send_as(Some("m"), "m");
    let made = alice.send("a text");
    withdraw(&mut alice, "m").unwrap();
    withdraw(&mut alice, made.id.as_str().unwrap()).unwrap();
    alice.send("another text");
    alice.take_events();
    for _ in 0..2 {
        assert_eq!(alice.fate(&sent), Fate::Echo);
        assert_eq!(alice.fate(&message("bob", "m", 5, &[])), Fate::Conflict);
        let again = alice.input(Input::Send { content: "m".into(), id: Some("m".into()) });
        assert_eq!(again, Err(ChannelError::IdKnown("m".into())));
        assert_ne!(alice.send("a text").id, made.id, "though no time has passed");
        let told = alice.take_events();
        assert!(
            matches!(&told[..], [Event::IdConflict { id, sender }] if *id == "m".into() && *sender == "bob".into())
        );
        alice.restart();
    }
}

/// Who took all back is a newcomer again: what the first message heard names is history, but not what was taken back.
#[test]
fn a_withdrawn_message_stays_withdrawn_whatever_else_its_id_is_marked_as() {
    let forged = message("bob", "m", 5, &[]);
    let marks: [fn(&mut Peer); 2] = [
        |alice| drop(alice.input(Input::DependenciesMet(vec!["m".into()])).unwrap()),
        |alice| drop(alice.receive(&message("carol", "n", 9, &["m"]))),
    ];
    for mark in marks {
        let mut alice = peer("alice");
        alice.send_as(Some("m"), "m");
        withdraw(&mut alice, "m").unwrap();
        mark(&mut alice);
        assert_eq!(alice.fate(&forged), Fate::Conflict);
        alice.restart();
        assert_eq!(alice.fate(&forged), Fate::Conflict);
        assert!(!alice.delivered().contains(&"m".to_owned()));
    }
}

#[test]
fn strangers_push_out_no_mark_of_what_was_withdrawn() {
    let mut alice = peer_with("alice", |config| config.limits.max_marks = 3);
    let sent = alice.send_as(Some("m"), "m");
    withdraw(&mut alice, "m").unwrap();
    for round in ["a", "b"] {
        let met = (0..5).map(|number| MessageId::from(format!("{round}{number}"))).collect();
        alice.input(Input::DependenciesMet(met)).unwrap();
        assert_eq!(alice.channel.meta().counts.marks, 3);
        assert_eq!(alice.fate(&sent), Fate::Echo);
        alice.restart();
    }
    // There is nothing else to forget.
    alice.restart_with(|config| config.limits.max_marks = 1);
    assert_eq!(alice.fate(&sent), Fate::Echo);
    alice.send_as(Some("n"), "n");
    withdraw(&mut alice, "n").unwrap();
    assert_eq!(alice.fate(&sent), Fate::Delivered);
}

#[test]
fn own_messages_that_named_a_withdrawn_one_name_what_it_named() {
    let mut alice = peer_with("alice", |config| config.causal_history_size = 0);
    alice.receive(&message("bob", "b", 1, &[]));
    alice.send_as(Some("m1"), "m");
    alice.send_as(Some("m2"), "m");
    alice.send_as(Some("m3"), "m");
    withdraw(&mut alice, "m1").unwrap();
    withdraw(&mut alice, "m2").unwrap();
    for _ in 0..2 {
        alice.run_for(1_000);
        alice.receive(&sync("carol", 5, &[], &["m3"]));
        let out = alice.run_for(8_000);
        let m3: Vec<_> = out.iter().map(|sent| &sent.message).filter(|sent| sent.id == "m3".into()).collect();
        assert!(!m3.is_empty());
        assert!(m3.iter().all(|m3| history(m3) == ["b"]), "resent or sent for repair: {m3:?}");
        assert_eq!(history(&alice.send_sync()), ["m3"], "the only head");
        alice.restart();
    }
    let mut carol = peer("carol");
    alice.run_for(600_000).iter().filter(|sent| sent.kind == TransmitKind::Resend).for_each(|sent| {
        carol.receive(&sent.message);
    });
    carol.receive(&message("bob", "b", 1, &[]));
    assert_eq!(carol.delivered(), ["b", "m3"], "nothing withdrawn is waited for");
}

#[test]
fn what_was_named_besides_a_withdrawn_message_is_named_still() {
    let mut alice = peer_with("alice", |config| (config.max_causal_heads, config.causal_history_size) = (2, 0));
    alice.receive(&message("bob", "b", 1, &[]));
    alice.receive(&message("carol", "c", 2, &[]));
    alice.send_as(Some("m1"), "m");
    alice.receive(&message("dave", "d", 3, &[]));
    let m2 = alice.send_as(Some("m2"), "m");
    assert_eq!(BTreeSet::from_iter(history(&m2)), BTreeSet::from_iter(["m1", "d"].map(String::from)));
    withdraw(&mut alice, "m1").unwrap();
    let resent = alice.run_for(8_000).into_iter().find(|sent| sent.kind == TransmitKind::Resend).unwrap();
    let named = history(&resent.message);
    assert!(named.contains(&"d".to_owned()) && named.len() == 2, "{named:?}");
}

#[test]
fn histories_stay_bounded_when_much_is_withdrawn() {
    let mut alice = peer_with("alice", |config| (config.max_causal_heads, config.causal_history_size) = (2, 1));
    (0..40).for_each(|n| {
        alice.receive(&message("bob", &format!("b{n}"), 2 * n, &[]));
        alice.receive(&message("carol", &format!("c{n}"), 2 * n + 1, &[]));
        alice.send_as(Some(&format!("m{n}")), "m");
    });
    (0..39).for_each(|n| drop(withdraw(&mut alice, &format!("m{n}")).unwrap()));
    let resent = alice.run_for(8_000).into_iter().find(|sent| sent.kind == TransmitKind::Resend).unwrap();
    assert!(resent.message.causal_history.len() <= 3, "{:?}", history(&resent.message));
}

#[test]
fn others_messages_that_name_a_withdrawn_one_wait_for_nothing() {
    let mut alice = peer("alice");
    alice.send_as(Some("m"), "m");
    withdraw(&mut alice, "m").unwrap();
    alice.receive(&message("bob", "b1", 1, &["m"]));
    alice.restart();
    alice.receive(&message("bob", "b2", 2, &["m", "b1"]));
    alice.receive(&sync("carol", 3, &["m"], &[]));
    assert_eq!(alice.log(), ["b1", "b2"]);
    let delivered = alice.since(0).deliveries;
    assert!(delivered.iter().all(|delivery| delivery.missing.is_empty()), "nothing was lost");
    assert!(alice.asked().is_empty() && alice.parked().is_empty());
}

#[test]
fn a_store_that_lost_its_meta_takes_a_withdrawn_message_for_no_evicted_one() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "b1", 1, &[]));
    alice.send_as(Some("m"), "m");
    alice.receive(&message("bob", "b2", 2, &["b1"]));
    withdraw(&mut alice, "m").unwrap();
    alice.saved.meta = None;
    alice.restart();
    let meta = alice.channel.meta();
    assert_eq!((&meta.floor, &meta.stub_floor, meta.horizon), (&None, &None, None));
    assert!(holds(&alice.send_sync(), "b1"));
}
