//! docs/protocol.md section 9: sync messages.

use reliable_channel::channel::{Event, Fate, Input, TransmitKind};
use reliable_channel::state::Row;
use reliable_channel::types::{FilterField, Lamport, Message};
use tap::Tap as _;

use crate::harness::{EPOCH, Peer, chance, history, message, peer, peer_with, requests, seconds, sync};

const MINUTE: u64 = 60 * 1_000;
const HOUR: u64 = 60 * MINUTE;

/// A member whose log holds one acknowledged message, so that nothing but the periodic sync is left to do.
fn quiet() -> Peer {
    let mut alice = peer("alice");
    alice.send_as(Some("m"), "m");
    alice.receive(&sync("bob", 1, &["m"], &[]));
    alice
}

fn syncs(peer: &mut Peer, millis: u64) -> Vec<u64> {
    peer.times_of(TransmitKind::Sync, millis)
}

fn seed(message: &Message) -> [u8; 8] {
    match &message.filter {
        FilterField::Compact { seed, .. } => *seed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sync_is_sent_at_the_acknowledgement_deadline() {
    let mut alice = peer_with("alice", |config| config.acknowledgement_delay = (seconds(2), seconds(2)));
    alice.receive(&message("bob", "b", 1, &[]));
    let out = alice.run_timed(4_000);
    assert_eq!((out.len(), out[0].0, out[0].1.kind), (1, 2_000, TransmitKind::Sync));
    assert_eq!(history(&out[0].1.message), ["b"]);
}

#[test]
fn a_sync_is_sent_when_a_repair_request_is_due() {
    let mut alice = peer("alice");
    alice.receive(&sync("bob", 2, &["missing"], &[]));
    let due = alice.channel.requests()[0].due.as_millis();
    let out = alice.run_timed(due);
    let (at, sent) = out.last().unwrap();
    assert_eq!((*at, sent.kind, requests(&sent.message)), (due, TransmitKind::Sync, vec!["missing".to_owned()]));
    assert!(sent.message.causal_history.is_empty() && sent.message.content.is_empty());
}

#[test]
fn at_most_one_sync_a_second_is_sent_for_repair_requests() {
    let mut alice = peer("alice");
    let names: Vec<String> = (0..200).map(|n| format!("missing {n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    alice.receive(&sync("bob", 2, &names, &[]));
    let out = alice.run_timed(180_000);
    assert!(out.len() > 100, "{}", out.len());
    assert!(out.windows(2).all(|pair| pair[1].0 >= pair[0].0 + 1_000), "{out:?}");
    assert!(out.iter().all(|(_, sent)| requests(&sent.message).len() <= 3));
    let mut asked: Vec<String> = out.iter().flat_map(|(_, sent)| requests(&sent.message)).collect();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 200);
}

#[test]
fn a_sync_is_sent_every_interval_if_nothing_was_heard_or_sent_doubling_to_a_quarter_of_an_hour() {
    for entropy in 0..10 {
        let mut alice = quiet();
        alice.entropy = entropy;
        let times = syncs(&mut alice, 3 * HOUR);
        // The first turn belongs to the sending and hearing before it.
        let pauses: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!((50_000..100_000).contains(&times[0]), "{times:?}");
        let mut expected = 30;
        for (turn, pause) in pauses.into_iter().enumerate() {
            // Six quiet turns are of the first length.
            if turn >= 5 {
                expected = (expected * 2).min(900);
            }
            let about = expected * 750..=expected * 1_250;
            assert!(about.contains(&pause), "{pause} is not about {expected} s: {times:?}");
        }
        assert!(times.len() >= 14, "{times:?}");
    }
}

#[test]
fn the_interval_is_randomised() {
    let times = |entropy| {
        let mut alice = quiet();
        alice.entropy = entropy;
        syncs(&mut alice, HOUR)
    };
    assert_ne!(times(1), times(2));
    assert_eq!(times(3), times(3));
}

#[test]
fn hearing_anything_spares_the_turn() {
    let mut alice = quiet();
    // Turns are longer by then.
    alice.run_for(4 * MINUTE);
    let sent = (0..400).flat_map(|n| {
        alice.receive(&sync("bob", n, &["m"], &[]));
        syncs(&mut alice, 20_000)
    });
    assert!(sent.collect::<Vec<_>>().is_empty());
}

#[test]
fn among_few_a_sync_message_spares_no_turn_while_turns_are_short() {
    let syncs_among = |others: &[&str]| {
        let mut alice = quiet();
        others.iter().for_each(|name| drop(alice.receive(&sync(name, 2, &["m"], &[]))));
        let sent = (0..9).flat_map(|n| {
            alice.receive(&sync("bob", 3 + n, &["m"], &[]));
            syncs(&mut alice, 20_000)
        });
        sent.count()
    };
    assert!((4..=8).contains(&syncs_among(&["carol", "dave"])), "bob does not know what alice has");
    assert_eq!(syncs_among(&["carol", "dave", "erin"]), 0);
}

#[test]
fn hearing_a_sync_does_not_reset_the_interval_and_content_does() {
    for content in [false, true] {
        let mut alice = quiet();
        alice.run_for(2 * HOUR);
        alice.receive(&sync("bob", 5, &["m"], &[]));
        if content {
            alice.receive(&message("bob", "b", 6, &[]));
            alice.send_sync();
        }
        let next = syncs(&mut alice, HOUR)[0] - 2 * HOUR;
        assert_eq!(content, next < 2 * MINUTE, "{next}");
    }
}

#[test]
fn own_content_resets_the_interval() {
    let mut alice = quiet();
    alice.run_for(2 * HOUR);
    alice.send_as(Some("n"), "n");
    alice.receive(&sync("bob", 5, &["n"], &[]));
    assert!(syncs(&mut alice, HOUR)[0] - 2 * HOUR < 2 * MINUTE);
}

#[test]
fn with_nothing_to_say_a_sync_is_never_sent() {
    let mut alice = peer("alice");
    assert!(alice.run_for(3 * HOUR).is_empty());
    alice.receive(&sync("bob", 1, &[], &["unknown"]));
    alice.input(Input::SendSync).unwrap();
    assert!(alice.run_for(3 * HOUR).is_empty());
    assert_eq!(alice.channel.stats().syncs, 0);
}

#[test]
fn a_deadline_with_nothing_to_say_any_more_passes() {
    let mut alice = peer_with("alice", |config| config.limits.max_parked_bytes = 1);
    assert_eq!(alice.fate(&message("bob", "b2", 2, &["b1"])), Fate::GaveWay);
    alice.input(Input::DependenciesMet(vec!["b1".into(), "b2".into()])).unwrap();
    assert!(alice.run_for(10_000).is_empty());
}

#[test]
fn a_sync_sent_is_never_in_causal_history_filter_log_or_outgoing_buffer() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "b", 1, &[]));
    let rows = alice.saved.rows.clone();
    let sent = alice.send_sync();
    assert_eq!((alice.log(), alice.channel.outgoing().len()), (vec!["b".to_owned()], 0));
    assert_eq!(alice.saved.rows, rows);
    let next = alice.send("next");
    assert_eq!(history(&next), ["b"]);
    assert!(chance(&next.filter, &"b".into()).is_some() && chance(&next.filter, &sent.id).is_none());
    assert!(alice.run_for(HOUR).iter().all(|out| out.kind != TransmitKind::Resend || out.message.id == next.id));
}

#[test]
fn a_sync_received_is_never_in_causal_history_filter_log_or_incoming_buffer() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "b", 1, &[]));
    for names in [&["b"], &["missing"]] {
        let heard = sync("bob", 7, names, &[]);
        let received = alice.receive(&heard);
        assert_eq!((received.fate, received.released.len()), (Fate::Sync, 0));
        assert_eq!((alice.log(), alice.channel.incoming().len()), (vec!["b".to_owned()], 0));
        let next = alice.send_sync();
        assert_eq!(history(&next), ["b"]);
        assert!(chance(&next.filter, &"b".into()).is_some() && chance(&next.filter, &heard.id).is_none());
    }
    let kept = alice.saved.rows.iter().filter(|row| matches!(row, Row::Message(_) | Row::Parked(_) | Row::Stub(_)));
    assert_eq!(kept.count(), 1);
    assert!(
        !alice.events.iter().any(|event| matches!(event, Event::MessageDelivered(it) if it.body.key.id != "b".into()))
    );
}

#[test]
fn a_sync_has_a_lamport_time_of_its_own_and_no_content() {
    let mut alice = peer("alice");
    let sent = alice.send("m");
    let first = alice.send_sync();
    let second = alice.send_sync();
    assert_eq!([&sent, &first, &second].map(|sent| sent.lamport), [1, 2, 3].map(|n| Some(Lamport(EPOCH + n))));
    assert!(first.content.is_empty());
    assert_ne!(first.id, second.id);
    alice.restart();
    assert_eq!(alice.send("n").lamport, Some(Lamport(EPOCH + 4)), "and it is saved");
}

#[test]
fn the_filter_is_reseeded_before_every_sync() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "b", 1, &[]));
    let mut seeds: Vec<[u8; 8]> = (0..20).map(|_| seed(&alice.send_sync())).collect();
    let content = seed(&alice.send("m"));
    assert_eq!(content, seeds[19], "content is not worth a new one");
    seeds.sort();
    seeds.dedup();
    assert_eq!(seeds.len(), 20);
}

#[test]
fn two_syncs_of_a_reader_are_enough_evidence_where_no_causal_history_is() {
    let (mut alice, mut bob) = (peer("alice"), peer("bob"));
    alice.send_as(Some("lost"), "lost");
    let sent: Vec<Message> = (0..40).map(|n| alice.send(&format!("m{n}"))).collect();
    sent.iter().for_each(|sent| drop(bob.receive(sent)));
    for _ in 0..4 {
        let sync = bob.send_sync();
        assert!(sync.causal_history.is_empty(), "all are parked");
        alice.receive(&sync);
    }
    assert_eq!(alice.channel.outgoing().iter().map(|open| open.id.to_string()).collect::<Vec<_>>(), ["lost"]);
}

/// Sync messages that alice sends in an hour in which she hears this every 20 s.
fn syncs_while_hearing(mut hear: impl FnMut(u64) -> Message) -> usize {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m1", 1, &[]));
    // The acknowledgement of m1, in a group that is not small.
    ["dave", "erin", "frank"].iter().for_each(|name| drop(alice.receive(&sync(name, 50, &["m1"], &[]))));
    alice.run_for(10_000);
    let mut syncs = 0;
    for turn in 0..180 {
        alice.receive(&hear(turn));
        syncs += alice.run_for(20_000).len();
    }
    syncs
}

#[test]
fn who_names_all_our_heads_speaks_for_us() {
    assert_eq!(syncs_while_hearing(|turn| sync("carol", 100 + turn, &["m1"], &[])), 0);
}

// Found by tests/exhaustive/crashes.rs: carol missed a message that nothing referred to, was first to speak in every
// turn, and so kept silent the two who had it.
#[test]
fn who_misses_a_head_of_ours_does_not_keep_us_silent() {
    assert!(syncs_while_hearing(|turn| sync("carol", 100 + turn, &[], &[])) >= 3);
}

#[test]
fn ephemeral_messages_do_not_keep_us_silent() {
    let ephemeral = |turn| message("carol", &format!("e{turn}"), 1, &[]).tap_mut(|it| it.lamport = None);
    assert!(syncs_while_hearing(ephemeral) >= 3);
}

/// Whole groups.
#[cfg(feature = "testing")]
mod of_twenty {
    use std::time::Duration;

    use reliable_channel::channel::{Config, Event, Join};
    use reliable_channel::sim::{Options, World};
    use tap::Tap as _;

    #[test]
    fn an_idle_group_of_20_sends_at_most_10_messages_an_hour_per_member() {
        for seed in 0..4 {
            let config = Config::default().tap_mut(|it| it.join = Join::Backfill(u64::MAX));
            let mut world = World::new(Options { seed, participants: 20, config, ..Options::default() });
            for turn in 0..40 {
                world.send(turn % 20, format!("message {turn}"));
                world.run_for(Duration::from_millis(300));
            }
            assert!(world.run_until_converged(Duration::from_secs(60)), "seed {seed}");
            world.run_for(Duration::from_secs(5 * 60));
            for hour in 0..3 {
                let before = world.transmissions;
                world.run_for(Duration::from_secs(60 * 60));
                let sent = world.transmissions - before;
                assert!(sent <= 20 * 10, "seed {seed}, hour {hour}: {sent}");
                assert!(sent >= 1, "seed {seed}, hour {hour}: nobody would notice what was lost last");
            }
        }
    }

    #[test]
    fn every_acknowledgement_of_a_group_of_20_takes_a_few_syncs() {
        let mut world = World::new(Options { seed: 7, participants: 20, ..Options::default() });
        let id = world.send(0, "hello");
        world.run_for(Duration::from_secs(10));
        assert!(
            world
                .take_events(0)
                .iter()
                .any(|event| matches!(event, Event::MessageAcknowledged { id: told, .. } if *told == id))
        );
        assert!(world.transmissions <= 4, "{}: who hears another acknowledge keeps silent", world.transmissions);
    }
}
