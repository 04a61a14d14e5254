//! docs/protocol.md section 7, "Acknowledging others": the acknowledgement deadline.

use reliable_channel::channel::{Config, Event, Fate, Input, TransmitKind};
use reliable_channel::types::Message;
use tap::Tap as _;

use crate::harness::{chain, chance, filter_from, filter_of, history, ids, message, peer, peer_with, seconds, sync};

#[test]
fn a_member_that_only_reads_acknowledges_with_a_sync_within_one_to_four_seconds_times_groups() {
    for groups in [1, 3] {
        let mut waits = Vec::new();
        for n in 0..40 {
            let mut bob = peer_with("bob", |config| config.response_groups = groups);
            bob.entropy = n;
            let mut alice = peer("alice");
            let sent = alice.send("m");
            bob.receive(&sent);
            let out = bob.run_timed(4_000 * u64::from(groups));
            assert_eq!(out.len(), 1, "one sync: {out:?}");
            let (at, acknowledgement) = &out[0];
            assert_eq!(acknowledgement.kind, TransmitKind::Sync);
            waits.push(*at);
            alice.receive(&acknowledgement.message);
            let told = Event::MessageAcknowledged { id: sent.id, by: "bob".into(), after_failure: false };
            assert_eq!(alice.events[0], told);
        }
        let (min, max) =
            (waits.iter().min().unwrap() / u64::from(groups), waits.iter().max().unwrap() / u64::from(groups));
        assert!((1_000..1_500).contains(&min) && (3_500..=4_000).contains(&max), "uniform: {waits:?}");
    }
}

#[test]
fn the_acknowledgement_of_a_parked_message_is_its_place_in_the_filter() {
    let mut bob = peer("bob");
    let mut alice = peer("alice");
    alice.send_as(Some("lost"), "lost");
    let sent = alice.send_as(Some("m"), "m");
    assert!(matches!(bob.fate(&sent), Fate::Parked { .. }));
    let out = bob.run_timed(4_000);
    assert_eq!(out[0].1.kind, TransmitKind::Sync);
    assert!(chance(&out[0].1.message.filter, &sent.id).is_some());
    assert!(out[0].1.message.causal_history.is_empty());
}

#[test]
fn later_traffic_does_not_move_the_deadline() {
    let mut quiet = peer("bob");
    quiet.receive(&message("alice", "m0", 1, &[]));
    let due = quiet.times_of(TransmitKind::Sync, 4_000)[0];

    let mut busy = peer("bob");
    busy.receive(&message("alice", "m0", 1, &[]));
    let mut out = Vec::new();
    for n in 1..100 {
        out.extend(busy.times_of(TransmitKind::Sync, 100));
        if !out.is_empty() {
            break;
        }
        busy.receive(&message("alice", &format!("m{n}"), n + 1, &[&format!("m{}", n - 1)]));
        busy.receive(&sync("alice", n + 1, &[], &[]));
    }
    assert_eq!(out, [due]);
}

#[test]
fn one_sync_acknowledges_all_that_was_received_before_it() {
    let mut bob = peer("bob");
    let mut alice = peer("alice");
    let sent: Vec<Message> = (0..30).map(|n| alice.send(&format!("m{n}"))).collect();
    sent.iter().for_each(|message| {
        bob.receive(message);
    });
    let out = bob.run_timed(4_500);
    assert_eq!(out.len(), 1);
    assert!(sent.iter().all(|message| chance(&out[0].1.message.filter, &message.id).is_some()));
}

#[test]
fn the_deadline_falls_away_when_we_send() {
    for send in [Input::Send { content: "hello".into(), id: None }, Input::SendSync] {
        let mut bob = peer("bob");
        bob.receive(&message("alice", "m", 1, &[]));
        bob.input(send).unwrap();
        assert!(bob.transmitted[0].message.causal_history.iter().any(|entry| entry.id == "m".into()));
        bob.transmitted.clear();
        assert!(bob.times_of(TransmitKind::Sync, 4_500).is_empty());
    }
}

#[test]
fn the_deadline_falls_away_when_we_resend_among_more_than_three_others() {
    let mut bob = peer_with("bob", |config| config.acknowledgement_delay = (seconds(2), seconds(2)));
    for other in ["carol", "dave", "erin", "frank"] {
        bob.receive(&sync(other, 1, &[], &[]));
    }
    bob.send("own");
    let due = bob.channel.outgoing()[0].next_due.unwrap().as_millis();
    bob.run_for(due - 1_000);
    bob.receive(&message("alice", "m", 1, &[]));
    let out = bob.run_timed(4_000);
    assert_eq!((out[0].0, out[0].1.kind), (due, TransmitKind::Resend));
    assert!(chance(&out[0].1.message.filter, &"m".into()).is_some());
    assert_eq!(out.len(), 1, "{out:?}");
}

#[test]
fn the_deadline_falls_away_when_anothers_causal_history_names_that_message() {
    let mut bob = peer("bob");
    bob.receive(&message("alice", "m1", 1, &[]));
    bob.receive(&message("alice", "m2", 2, &[]));
    bob.receive(&sync("carol", 5, &["m2"], &[]));
    bob.receive(&sync("dave", 5, &["m1"], &[]));
    assert!(bob.times_of(TransmitKind::Sync, 4_500).is_empty());
}

#[test]
fn the_deadline_stays_while_one_message_is_not_named() {
    let mut bob = peer("bob");
    bob.receive(&message("alice", "m1", 1, &[]));
    bob.receive(&message("alice", "m2", 2, &[]));
    bob.receive(&sync("carol", 5, &["m2"], &[]));
    assert_eq!(bob.times_of(TransmitKind::Sync, 4_500).len(), 1);
}

#[test]
fn the_deadline_stays_when_its_senders_causal_history_or_a_filter_names_that_message() {
    let mut bob = peer("bob");
    bob.receive(&message("alice", "m", 1, &[]));
    bob.receive(&sync("alice", 5, &["m"], &[]));
    bob.receive(&filter_from("carol", 5, filter_of(&["m"], 1)));
    assert_eq!(bob.times_of(TransmitKind::Sync, 4_500).len(), 1);
}

#[test]
fn a_known_message_received_again_from_its_sender_is_acknowledged_again() {
    let mut alice = peer("alice");
    let sent = alice.send("m");
    let mut bob = peer("bob");
    bob.receive(&sent);
    assert_eq!(bob.times_of(TransmitKind::Sync, 4_500).len(), 1);
    let resent = alice.run_for(8_000).pop().unwrap();
    assert_eq!(resent.kind, TransmitKind::Resend);
    assert_eq!(bob.fate(&resent.message), Fate::Duplicate);
    assert_eq!(bob.times_of(TransmitKind::Sync, 4_500).len(), 1);
}

#[test]
fn somebodys_rebroadcast_of_a_known_message_sets_no_deadline() {
    let mut bob = peer("bob");
    let known = message("alice", "m", 1, &[]);
    bob.receive(&known);
    bob.send_sync();
    bob.receive(&known);
    assert!(bob.times_of(TransmitKind::Sync, 4_500).is_empty());
}

#[test]
fn an_ephemeral_message_or_a_sync_or_an_echo_sets_no_deadline() {
    let mut bob = peer("bob");
    let own = bob.send("own");
    bob.receive(&message("alice", "ephemeral", 0, &[]).tap_mut(|it| it.lamport = None));
    bob.receive(&sync("alice", 1, &[own.id.as_str().unwrap()], &[]));
    bob.receive(&own);
    assert!(bob.run_for(4_500).is_empty());
}

#[test]
fn what_came_in_just_before_a_restart_is_acknowledged_after_it() {
    let mut bob = peer("bob");
    bob.receive(&message("alice", "m", 1, &[]));
    bob.run_for(900);
    bob.reboot();
    let out = bob.run_timed(4_000);
    assert_eq!(out.len(), 1);
    assert!(chance(&out[0].1.message.filter, &"m".into()).is_some());
}

#[test]
fn more_than_256_messages_to_acknowledge_are_not_cancelled_by_names() {
    for (received, syncs) in [(256, 0), (257, 1)] {
        let mut bob = peer("bob");
        let ids: Vec<String> = (0..received).map(|n| format!("m{n}")).collect();
        ids.iter().for_each(|id| drop(bob.receive(&message("alice", id, 1, &[]))));
        let named: Vec<&str> = ids.iter().map(String::as_str).collect();
        bob.receive(&sync("carol", 5, &named, &[]));
        assert_eq!(bob.times_of(TransmitKind::Sync, 4_500).len(), syncs, "{received} received");
    }
}

#[test]
fn a_sync_message_names_the_lowest_sixteen_that_are_to_be_acknowledged() {
    let mut alice = peer("alice");
    chain(30).iter().for_each(|message| drop(alice.receive(message)));
    let (at, sync) = alice.run_timed(4_500).remove(0);
    assert!(at <= 4_000);
    let lowest = (1..=16).map(|n| format!("m{n}"));
    assert_eq!(history(&sync.message), [ids(["m30", "m29"]), lowest.collect()].concat(), "behind heads and tail");
    // Nothing is to be acknowledged any more.
    assert_eq!(history(&alice.send_sync()), ["m30", "m29"]);
    alice.receive(&message("bob", "n", 40, &["m30"]));
    assert_eq!(history(&alice.send("content")), ["n", "m30"], "content names none of them");
}

#[test]
fn in_a_small_group_content_acknowledges_only_what_it_names() {
    for (others, sync_follows) in [(3, true), (4, false)] {
        let mut bob = peer("bob");
        (1..others).for_each(|n| drop(bob.receive(&sync(&format!("other{n}"), n, &[], &[]))));
        chain(5).into_iter().for_each(|it| drop(bob.receive(&it.tap_mut(|it| it.sender = "alice".into()))));
        assert_eq!(history(&bob.send("content")), ["m5", "m4"]);
        let sent = bob.run_timed(4_500);
        let syncs: Vec<_> = sent.iter().filter(|(_, sent)| sent.kind == TransmitKind::Sync).collect();
        assert_eq!(syncs.len(), usize::from(sync_follows), "{others} others");
        let named: Vec<String> = syncs.iter().flat_map(|(_, sync)| history(&sync.message)).collect();
        assert_eq!(named.ends_with(&ids(["m1", "m2", "m3"])), sync_follows, "{named:?}");
    }
}

#[test]
fn in_a_small_group_a_resend_acknowledges_nothing() {
    let mut bob = peer_with("bob", |config| config.acknowledgement_delay = (seconds(2), seconds(2)));
    for other in ["carol", "dave"] {
        bob.receive(&sync(other, 1, &[], &[]));
    }
    bob.send("own");
    let due = bob.channel.outgoing()[0].next_due.unwrap().as_millis();
    bob.run_for(due - 1_000);
    bob.receive(&message("alice", "m", 1, &[]));
    let out: Vec<_> = bob.run_timed(4_000).into_iter().map(|(at, sent)| (at, sent.kind)).collect();
    assert_eq!(out, [(due, TransmitKind::Resend), (due + 1_000, TransmitKind::Sync)]);
}

#[test]
fn in_a_small_group_one_hit_in_a_sync_message_decides() {
    for (others, decides) in [(3, true), (4, false)] {
        let mut bob = peer_with("bob", |config| config.few_error_rate = Config::default().few_error_rate);
        (1..others).for_each(|n| drop(bob.receive(&sync(&format!("other{n}"), n, &[], &[]))));
        (0..20).for_each(|n| drop(bob.receive(&message("alice", &format!("m{n}"), n, &[]))));
        let worth = chance(&bob.send_sync().filter, &"m0".into()).unwrap();
        assert_eq!(worth < 1e-6, decides, "{others} others: {worth}");
    }
}
