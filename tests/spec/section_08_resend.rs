//! docs/protocol.md section 8: resend and failure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reliable_channel::channel::{DeliveryState, Event, TransmitKind};
use reliable_channel::state::Row;
use reliable_channel::types::{FilterField, MessageId};

use crate::harness::{
    Peer, chance, filter_from, filter_of, message, peer, peer_with, requests, seconds, sync, weak_filter,
};

const HOUR: u64 = 60 * 60 * 1_000;

/// Running times at which the only message of `peer` went out again.
fn resends(peer: &mut Peer, millis: u64) -> Vec<u64> {
    peer.times_of(TransmitKind::Resend, millis)
}

/// The pauses between these times, from `start` on.
fn pauses(start: u64, times: &[u64]) -> Vec<u64> {
    let starts = std::iter::once(&start).chain(times);
    starts.zip(times).map(|(from, to)| to - from).collect()
}

/// Whether every pause is its interval in seconds, give or take an eighth.
fn are_about(pauses: &[u64], seconds: &[u64]) -> bool {
    let about = |(pause, seconds): (&u64, &u64)| (seconds * 875..=seconds * 1_125).contains(pause);
    pauses.len() == seconds.len() && pauses.iter().zip(seconds).all(about)
}

fn failures(peer: &Peer) -> Vec<(String, bool)> {
    peer.events
        .iter()
        .filter_map(|event| match event {
            Event::DeliveryFailed { id, possibly } => Some((id.to_string(), *possibly)),
            _ => None,
        })
        .collect()
}

fn acknowledged_after_failure(peer: &Peer) -> Vec<bool> {
    peer.events
        .iter()
        .filter_map(|event| match event {
            Event::MessageAcknowledged { after_failure, .. } => Some(*after_failure),
            _ => None,
        })
        .collect()
}

/// Weak evidence: a filter that holds this id and eight others.
fn evidence(peer: &mut Peer, sender: &str, id: &MessageId, seed: u64) {
    let filter = weak_filter(id, seed);
    let lamport = peer.now + 1;
    peer.receive(&filter_from(sender, lamport, filter));
    assert!(matches!(peer.channel.delivery_state(id), Some(DeliveryState::PossiblyAcknowledged { .. })));
}

/// Runs until a message has failed; returns when.
fn failed_after(peer: &mut Peer) -> u64 {
    while failures(peer).is_empty() {
        peer.run_for(1_000);
        assert!(peer.now < HOUR);
    }
    peer.now
}

#[test]
fn an_unacknowledged_message_is_sent_again_after_5_s_doubling_to_60_s() {
    for n in 0..20 {
        let mut alice = peer("alice");
        alice.send_as(Some(&format!("m{n}")), "m");
        let times = resends(&mut alice, HOUR);
        assert!(are_about(&pauses(0, &times), &[5, 10, 20, 40, 60]), "{times:?}");
        assert_eq!(failures(&alice).len(), 1);
    }
}

#[test]
fn the_resend_interval_is_multiplied_by_the_response_groups() {
    for (groups, expected) in [(2, [10, 20, 40, 60, 60]), (20, [100; 5])] {
        let mut alice = peer_with("alice", |config| config.response_groups = groups);
        alice.send_as(Some("m"), "m");
        let times = resends(&mut alice, HOUR);
        assert!(are_about(&pauses(0, &times), &expected), "{groups}: {times:?}");
    }
}

#[test]
fn the_jitter_is_derived_from_participant_message_and_attempt() {
    let schedule = |name: &str, id: &str, entropy: u64| {
        let mut peer = peer_with(name, |config| config.max_resend_attempts = 9);
        peer.entropy = entropy;
        peer.send_as(Some(id), "m");
        resends(&mut peer, HOUR)
    };
    let times = schedule("alice", "m", 1);
    assert_eq!(times, schedule("alice", "m", 99), "entropy has no part in it");
    assert_ne!(times, schedule("bob", "m", 1));
    assert_ne!(times, schedule("alice", "n", 1));
    let waits = pauses(0, &times);
    assert!(waits[4..].windows(2).all(|pair| pair[0] != pair[1]), "every attempt has its own: {waits:?}");
}

#[test]
fn messages_sent_at_once_are_not_sent_again_at_once() {
    let mut alice = peer("alice");
    (0..30).for_each(|n| drop(alice.send_as(Some(&format!("m{n}")), "m")));
    let times = resends(&mut alice, 6_000);
    assert_eq!(times.len(), 30);
    assert!(times[29] - times[0] > 800, "{times:?}");
}

#[test]
fn an_acknowledged_message_is_never_sent_again() {
    let mut alice = peer("alice");
    alice.send_as(Some("m"), "m");
    assert_eq!(resends(&mut alice, 7_000).len(), 1);
    alice.receive(&sync("bob", 7_000, &["m"], &[]));
    assert!(resends(&mut alice, HOUR).is_empty());
    assert!(failures(&alice).is_empty());
}

#[test]
fn a_possibly_acknowledged_message_waits_twice_as_long() {
    for n in 0..20 {
        let mut alice = peer("alice");
        let id = alice.send_as(Some(&format!("m{n}")), "m").id;
        evidence(&mut alice, "bob", &id, 1);
        let times = resends(&mut alice, 60_000);
        assert!(are_about(&pauses(0, &times[..2]), &[10, 20]), "{times:?}");
    }
}

#[test]
fn evidence_moves_the_next_resend_away_and_never_nearer() {
    for at in (0..190_000).step_by(5_000) {
        let mut alice = peer("alice");
        let id = alice.send_as(Some("m"), "m").id;
        alice.run_for(at);
        let before = alice.channel.outgoing()[0].next_due;
        evidence(&mut alice, "bob", &id, 1);
        assert!(alice.channel.outgoing()[0].next_due >= before);
    }
}

#[test]
fn evidence_that_comes_and_goes_does_not_put_resending_off() {
    let mut alice = peer("alice");
    let id = alice.send_as(Some("m"), "m").id;
    for second in 0..300 {
        evidence(&mut alice, "bob", &id, second);
        alice.receive(&filter_from("bob", second, filter_of(&["other"], second)));
        assert_eq!(alice.channel.delivery_state(&id), Some(DeliveryState::Unacknowledged));
        alice.run_for(1_000);
        if !failures(&alice).is_empty() {
            break;
        }
    }
    assert_eq!((failures(&alice).len(), alice.channel.stats().resends), (1, 5));
}

#[test]
fn the_schedule_of_a_possibly_acknowledged_message_ends_within_the_acknowledgement_window() {
    for n in 0..40_u64 {
        let mut alice = peer("alice");
        let id = alice.send_as(Some(&format!("m{n}")), "m").id;
        alice.run_for(n * 3_000);
        evidence(&mut alice, "bob", &id, 1);
        let failed = failed_after(&mut alice);
        assert!(failed <= 241_000, "evidence after {} s, failed after {failed} ms", n * 3);
        assert_eq!((failures(&alice)[0].1, alice.channel.stats().resends), (true, 5));
    }
}

#[test]
fn the_schedule_of_a_possibly_acknowledged_message_ends_within_the_window_after_a_reboot_too() {
    for n in 0..10_u64 {
        let mut alice = peer("alice");
        let id = alice.send_as(Some(&format!("m{n}")), "m").id;
        evidence(&mut alice, "bob", &id, 1);
        alice.run_for(100_000);
        let sent = alice.channel.stats().resends;
        alice.reboot();
        // What filters have shown is not saved: they show it again.
        evidence(&mut alice, "bob", &id, 2);
        assert!(failed_after(&mut alice) <= 141_000);
        assert_eq!(alice.channel.stats().resends + sent, 5);
    }
}

#[test]
fn a_possibly_acknowledged_message_whose_window_is_over_is_not_sent_in_a_burst() {
    let mut alice = peer("alice");
    let id = alice.send_as(Some("m"), "m").id;
    evidence(&mut alice, "bob", &id, 1);
    alice.sleep(HOUR);
    let times = resends(&mut alice, HOUR);
    assert_eq!(times.len(), 5);
    assert!(pauses(HOUR, &times).iter().skip(1).all(|pause| *pause > 4_000), "{times:?}");
}

#[test]
fn after_five_resends_delivery_failed_is_told_exactly_once() {
    let mut alice = peer("alice");
    alice.send_as(Some("m"), "m");
    assert_eq!(resends(&mut alice, 4 * HOUR).len(), 5);
    assert_eq!(failures(&alice), [("m".into(), false)]);
    alice.restart();
    assert!(resends(&mut alice, 4 * HOUR).is_empty());
    assert!(failures(&alice).is_empty());
}

#[test]
fn delivery_failed_says_whether_there_was_evidence() {
    let mut alice = peer("alice");
    let some = alice.send_as(Some("some"), "m").id;
    alice.run_for(1_000);
    evidence(&mut alice, "bob", &some, 1);
    alice.send_as(Some("none"), "m");
    failed_after(&mut alice);
    alice.run_for(HOUR);
    assert_eq!(
        failures(&alice).into_iter().collect::<BTreeMap<_, _>>(),
        BTreeMap::from([("none".into(), false), ("some".into(), true)])
    );
}

#[test]
fn giving_up_is_never_reported_as_sent_or_acknowledged() {
    let mut alice = peer("alice");
    let id = alice.send_as(Some("m"), "m").id;
    alice.run_for(HOUR);
    assert_eq!(alice.events, [Event::DeliveryFailed { id: id.clone(), possibly: false }]);
    assert_eq!(alice.channel.delivery_state(&id), Some(DeliveryState::Failed));
    assert_eq!((alice.channel.stats().acknowledged, alice.channel.stats().failed), (0, 1));
    alice.receive(&filter_from("bob", HOUR, weak_filter(&id, 5)));
    assert_eq!(alice.channel.delivery_state(&id), Some(DeliveryState::Failed));
    alice.restart();
    assert_eq!(alice.channel.delivery_state(&id), Some(DeliveryState::Failed));
}

#[test]
fn a_later_acknowledgement_after_failure_is_still_reported() {
    for restarts in [false, true] {
        let mut alice = peer("alice");
        let id = alice.send_as(Some("m"), "m").id;
        alice.run_for(HOUR);
        if restarts {
            alice.restart();
        }
        alice.receive(&sync("bob", HOUR, &["m"], &[]));
        assert_eq!(acknowledged_after_failure(&alice), [true]);
        assert_eq!(alice.channel.delivery_state(&id), Some(DeliveryState::Acknowledged));
    }
}

#[test]
fn filters_still_acknowledge_after_failure() {
    let mut alice = peer("alice");
    let id = alice.send_as(Some("m"), "m").id;
    alice.run_for(HOUR);
    for seed in 0..6 {
        let filter = weak_filter(&id, seed);
        assert!(chance(&filter, &id).is_some());
        alice.receive(&filter_from("bob", HOUR, filter));
    }
    assert_eq!(acknowledged_after_failure(&alice), [true]);
}

#[test]
fn a_failed_message_stays_in_the_log_for_repair() {
    let mut alice = peer("alice");
    let sent = alice.send_as(Some("m"), "m");
    alice.run_for(HOUR);
    assert_eq!(alice.log(), ["m"]);
    alice.receive(&sync("bob", HOUR, &[], &["m"]));
    let answer = alice.run_for(1_000).into_iter().find(|sent| sent.kind == TransmitKind::Repair).unwrap().message;
    assert_eq!((answer.content, answer.lamport), (sent.content, sent.lamport));
}

#[test]
fn a_message_is_tracked_until_it_is_evicted_which_never_happens_while_it_may_be_sent_again() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 3);
    alice.send_as(Some("m"), "m");
    (0..5).for_each(|n| drop(alice.receive(&message("bob", &format!("b{n}"), n + 1, &[]))));
    assert_eq!(alice.log(), ["m", "b2", "b3", "b4"]);
    assert_eq!(resends(&mut alice, HOUR).len(), 5);
    assert_eq!(alice.log(), ["b2", "b3", "b4"], "given up, it is the lowest");
    assert!(alice.channel.outgoing().is_empty());
    assert!(!alice.saved.rows.iter().any(|row| matches!(row, Row::Outgoing(_))));
    alice.receive(&sync("bob", HOUR, &["m"], &[]));
    assert_eq!(acknowledged_after_failure(&alice), Vec::<bool>::new());
}

#[test]
fn a_resend_carries_the_same_id_lamport_causal_history_and_content() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "b1", 1, &[]));
    let sent = alice.send_as(Some("m"), "hello");
    alice.receive(&message("bob", "b2", 3, &["b1"]));
    alice.send_as(Some("n"), "later");
    alice.restart();
    let again: Vec<_> = alice.run_for(200_000).into_iter().filter(|sent| sent.message.id == "m".into()).collect();
    assert_eq!(again.len(), 5);
    for again in again {
        let (mut first, mut again) = (sent.clone(), again.message);
        for message in [&mut first, &mut again] {
            (message.filter, message.repair_request) = (FilterField::Absent, Vec::new());
        }
        assert_eq!(first, again);
    }
}

#[test]
fn a_resend_carries_a_fresh_filter_and_fresh_repair_requests() {
    let mut alice = peer("alice");
    let sent = alice.send_as(Some("m"), "m");
    assert_eq!((&sent.filter, requests(&sent).len()), (&FilterField::Absent, 0));
    alice.receive(&message("bob", "b2", 1, &["b1"]));
    alice.run_for(1_000);
    let out = alice.run_for(120_000);
    let resends: Vec<_> = out.iter().filter(|sent| sent.kind == TransmitKind::Resend).collect();
    assert!(resends.iter().all(|sent| chance(&sent.message.filter, &"b2".into()).is_some()));
    assert!(resends.iter().all(|sent| chance(&sent.message.filter, &"m".into()).is_some()));

    // A request that is due when the message is due again goes with it.
    let mut alice = peer_with("alice", |config| (config.t_min, config.t_max) = (seconds(1), seconds(1)));
    alice.send_as(Some("m"), "m");
    let due = alice.channel.outgoing()[0].next_due.unwrap().as_millis();
    alice.run_for(due - 500);
    alice.receive(&message("bob", "b2", 1, &["b1"]));
    alice.sleep(1_000);
    let out = alice.run_for(0);
    assert_eq!((out[0].kind, requests(&out[0].message)), (TransmitKind::Resend, vec!["b1".to_owned()]));
    assert_eq!(out.len(), 1, "and is not sent once more: {out:?}");
}

#[test]
fn filters_are_never_stored() {
    let mut alice = peer("alice");
    let id = alice.send_as(Some("m"), "m").id;
    evidence(&mut alice, "bob", &id, 1);
    let with = alice.channel.data();
    let mut other = peer("alice");
    other.send_as(Some("m"), "m");
    other.receive(&sync("bob", 1, &[], &[]));
    // All that a filter leaves behind is what it showed.
    let rows = |data: &reliable_channel::state::ChannelData| {
        data.rows.iter().filter(|row| !matches!(row, Row::Outgoing(_))).cloned().collect::<Vec<_>>()
    };
    assert_eq!(rows(&with), rows(&other.channel.data()));
    alice.reboot();
    assert_eq!(alice.channel.data(), with);
    assert!(chance(&alice.send_sync().filter, &id).is_some(), "built anew from the log");
}

#[test]
fn an_overdue_timer_fires_once_and_the_next_due_time_counts_from_now() {
    let mut alice = peer("alice");
    alice.send_as(Some("m"), "m");
    alice.sleep(HOUR);
    let times = resends(&mut alice, HOUR);
    assert!(are_about(&pauses(HOUR, &times[1..]), &[10, 20, 40, 60]), "{times:?}");
    assert_eq!((times[0], times.len()), (HOUR, 5));
}

#[test]
fn a_laptop_that_slept_for_an_hour_sends_each_overdue_message_once() {
    let mut alice = peer("alice");
    let sent: Vec<MessageId> = (0..100).map(|n| alice.send_as(Some(&format!("m{n}")), "m").id).collect();
    alice.sleep(HOUR);
    let mut at = BTreeMap::<u64, usize>::new();
    let mut ids = Vec::new();
    for (time, out) in alice.run_timed(2_000) {
        *at.entry(time).or_default() += 1;
        assert_eq!(out.kind, TransmitKind::Resend);
        ids.push(out.message.id);
    }
    assert_eq!(ids.len(), 100);
    assert_eq!(BTreeSet::from_iter(ids), BTreeSet::from_iter(sent));
    assert!(at.values().all(|together| *together <= 16), "{at:?}");
    assert!(failures(&alice).is_empty());
}

#[test]
fn a_laptop_that_slept_for_an_hour_loses_no_parked_message() {
    for wall_only in [false, true] {
        let mut alice = peer("alice");
        alice.receive(&message("bob", "b2", 2, &["b1"]));
        // Long enough that only the hour is missing to give "b1" up.
        alice.run_for(25 * 60 * 1_000);
        assert!(alice.channel.requests()[0].sent >= 3);
        if wall_only {
            alice.wall_offset += HOUR
        } else {
            alice.sleep(HOUR)
        }
        let out = alice.run_timed(10_000);
        assert!((1..=2).contains(&out.len()), "asks on, without a burst: {out:?}");
        assert!(!alice.events.iter().any(|event| matches!(event, Event::DependencyLost { .. })));
        let released = alice.receive(&message("bob", "b1", 1, &[])).released;
        assert_eq!(released, ["b1".into(), "b2".into()]);
    }
}

#[test]
fn a_wall_clock_that_jumps_moves_no_timer() {
    for jump in [HOUR as i64, -(HOUR as i64)] {
        let schedule = |jump: i64| {
            let mut alice = peer("alice");
            alice.send_as(Some("m"), "m");
            alice.receive(&message("bob", "b2", 1, &["b1"]));
            alice.run_for(2_000);
            alice.wall_offset = alice.wall_offset.checked_add_signed(jump).unwrap();
            alice.run_timed(120_000).into_iter().map(|(at, sent)| (at, sent.kind)).collect::<Vec<_>>()
        };
        assert_eq!(schedule(jump), schedule(0));
    }
}

#[test]
fn a_restart_keeps_state_attempts_and_due_time() {
    let mut alice = peer("alice");
    let ids = ["m1", "m2"].map(|id| alice.send_as(Some(id), id).id);
    alice.run_for(7_000);
    let before = alice.channel.outgoing();
    assert_eq!((before[0].attempts, &before[0].id), (1, &ids[0]));
    let offset = alice.now;
    alice.reboot();
    let after = alice.channel.outgoing();
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((&before.id, &before.state, before.attempts), (&after.id, &after.state, after.attempts));
        assert_eq!(before.next_due.unwrap().as_millis() - offset, after.next_due.unwrap().as_millis());
    }
    let rest = alice.run_for(HOUR).into_iter().filter(|sent| sent.kind == TransmitKind::Resend).count();
    assert_eq!(rest, 8);
}

#[test]
fn a_restart_keeps_the_longest_due_time_that_the_schedule_knows() {
    for n in 0..20 {
        let mut alice = peer_with("alice", |config| config.acknowledgement_window = Duration::from_secs(7_200));
        let id = alice.send_as(Some(&format!("m{n}")), "m").id;
        evidence(&mut alice, "bob", &id, 1);
        alice.run_for(100_000);
        let before = alice.channel.outgoing()[0].next_due;
        alice.restart();
        assert_eq!(alice.channel.outgoing()[0].next_due, before, "{n}");
    }
}

#[test]
fn a_restart_long_after_sends_each_message_once_and_goes_on() {
    let mut alice = peer("alice");
    alice.send_as(Some("m"), "m");
    alice.run_for(7_000);
    alice.wall_offset += 5 * HOUR;
    alice.reboot();
    let times = resends(&mut alice, HOUR);
    assert!(are_about(&pauses(0, &times[1..]), &[20, 40, 60]), "{times:?}");
    assert!(times[0] < 10 && times.len() == 4, "{times:?}");
}

#[test]
fn a_due_time_further_away_than_the_schedule_allows_is_pulled_in() {
    let mut alice = peer("alice");
    alice.send_as(Some("m"), "m");
    alice.receive(&message("bob", "b2", 1, &["b1"]));
    alice.receive(&sync("bob", 1, &[], &["m"]));
    alice.wall_offset -= 20 * HOUR;
    alice.reboot();
    let due = alice.channel.outgoing()[0].next_due.unwrap().as_millis();
    assert!(due <= 135_000, "{due}");
    assert!(alice.channel.requests()[0].due.as_millis() <= 120_000);
    assert!(alice.channel.responses().iter().all(|response| response.due.as_millis() <= 60_000));
    assert_eq!(resends(&mut alice, HOUR).len(), 5);
}

#[test]
fn resending_can_go_on_for_ever_and_waits_can_be_endless() {
    let mut alice = peer_with("alice", |config| {
        config.max_resend_attempts = u32::MAX;
        config.max_resend_interval = Duration::MAX;
        config.acknowledgement_window = Duration::MAX;
        config.sync_interval = Duration::MAX;
        config.max_sync_interval = Duration::MAX;
        config.lost_timeout = Duration::MAX;
        config.t_max = Duration::MAX;
    });
    let id = alice.send_as(Some("m"), "m").id;
    evidence(&mut alice, "bob", &id, 1);
    alice.receive(&message("bob", "b2", 1, &["b1"]));
    alice.run_for(24 * HOUR);
    alice.restart();
    alice.run_for(HOUR);
    assert!(failures(&alice).is_empty());
}

#[test]
fn sixteen_resends_go_out_at_once_and_more_follow_fifty_milliseconds_later() {
    let mut alice = peer("alice");
    (0..40).for_each(|n| drop(alice.send(&format!("m{n}"))));
    alice.sleep(HOUR);
    let times = alice.times_of(TransmitKind::Resend, 1_000);
    let together: Vec<(u64, usize)> = times.chunk_by(|a, b| a == b).map(|at| (at[0] - HOUR, at.len())).collect();
    assert_eq!(together, [(0, 16), (50, 16), (100, 8)]);
}
