//! docs/protocol.md section 7: acknowledgement.

use reliable_channel::channel::{DeliveryState, Event, Fate, FilterEvidence, Limit};
use reliable_channel::state::{Evidence, Row};
use reliable_channel::types::{FilterField, HistoryEntry, MessageId, ParticipantId};
use tap::Tap as _;

use crate::harness::{Peer, chance, filter_from, filter_of, message, peer, peer_with, sync, weak_filter};

/// The first seed from `seed` on under which a filter of other ids holds this one all the same.
fn accident(id: &MessageId, seed: u64) -> FilterField {
    (seed..).map(|seed| weak_filter(&"other".into(), seed)).find(|filter| chance(filter, id).is_some()).unwrap()
}

/// A filter that does not hold this id.
fn miss(id: &MessageId, seed: u64) -> FilterField {
    (seed..).map(|seed| filter_of(&["other"], seed)).find(|filter| chance(filter, id).is_none()).unwrap()
}

/// Eight bits a byte, all set.
fn all_ones(len: usize) -> FilterField {
    FilterField::Compact { k: 7, seed: *b"all-ones", bits: vec![0xff; len].into() }
}

/// Gives `peer` a filter of `sender` in a sync message.
fn hear(peer: &mut Peer, sender: &str, filter: FilterField) {
    let lamport = peer.now + 1;
    peer.receive(&filter_from(sender, lamport, filter));
}

fn acknowledgements(peer: &Peer) -> Vec<(String, String)> {
    peer.events
        .iter()
        .filter_map(|event| match event {
            Event::MessageAcknowledged { id, by, .. } => Some((id.to_string(), by.to_string())),
            _ => None,
        })
        .collect()
}

fn possibly(peer: &Peer) -> Vec<(String, String)> {
    peer.events
        .iter()
        .filter_map(|event| match event {
            Event::MessagePossiblyAcknowledged { id, by, .. } => Some((id.to_string(), by.to_string())),
            _ => None,
        })
        .collect()
}

fn state(peer: &Peer, id: &MessageId) -> DeliveryState {
    peer.channel.delivery_state(id).unwrap()
}

fn is_close(a: f64, b: f64) -> bool {
    (a - b).abs() <= a.abs() * 1e-9
}

#[test]
fn there_are_three_states_with_who_acknowledged() {
    let mut alice = peer("alice");
    let id = alice.send_as(Some("m"), "m").id;
    assert_eq!(state(&alice, &id), DeliveryState::Unacknowledged);

    let filter = weak_filter(&id, 1);
    let worth = chance(&filter, &id).unwrap();
    hear(&mut alice, "bob", filter);
    let told = alice.take_events();
    let Event::MessagePossiblyAcknowledged { id: told, by, chance } = &told[0] else { panic!("{told:?}") };
    assert_eq!((told, by.to_string()), (&id, "bob".to_owned()));
    assert!(is_close(*chance, worth), "{chance} {worth}");
    assert_eq!(state(&alice, &id), DeliveryState::PossiblyAcknowledged { chance: *chance });

    alice.receive(&sync("carol", 2, &["m"], &[]));
    let by = ParticipantId::from("carol");
    let told = Event::MessageAcknowledged { id: id.clone(), by, after_failure: false };
    assert!(alice.events.contains(&told), "{:?}", alice.events);
    assert_eq!(state(&alice, &id), DeliveryState::Acknowledged);
    assert_eq!(alice.channel.stats().outgoing_len, 0);
    assert_eq!(alice.channel.delivery_state(&"never sent".into()), None);
}

#[test]
fn a_received_causal_history_acknowledges_by_its_sender_once() {
    let mut alice = peer("alice");
    ["m1", "m2", "m3"].iter().for_each(|id| drop(alice.send_as(Some(id), id)));
    alice.receive(&message("bob", "b1", 5, &["m1", "m3"]));
    assert_eq!(acknowledgements(&alice), [("m1".into(), "bob".into()), ("m3".into(), "bob".into())]);
    assert_eq!(state(&alice, &"m2".into()), DeliveryState::Unacknowledged, "an earlier one is not implied");
    alice.take_events();
    alice.receive(&message("carol", "c1", 6, &["m1", "b1"]));
    assert!(acknowledgements(&alice).is_empty());
}

#[test]
fn the_causal_history_of_a_parked_message_or_a_duplicate_acknowledges_too() {
    let mut alice = peer("alice");
    ["m1", "m2"].iter().for_each(|id| drop(alice.send_as(Some(id), id)));
    let parked = message("bob", "b2", 5, &["m1", "never seen"]);
    assert!(matches!(alice.fate(&parked), Fate::Parked { .. }));
    assert_eq!(acknowledgements(&alice), [("m1".into(), "bob".into())]);
    // The repeated copy is the first that Alice reads with m2 in it; ids alone tell duplicates.
    let again = parked.tap_mut(|it| it.causal_history = vec![HistoryEntry::new("m2")]);
    assert_eq!(alice.fate(&again), Fate::Duplicate);
    assert_eq!(acknowledgements(&alice).len(), 2);
}

#[test]
fn a_repair_request_acknowledges_nothing() {
    let mut alice = peer("alice");
    alice.send_as(Some("m"), "m");
    alice.receive(&sync("bob", 5, &[], &["m"]));
    assert_eq!(state(&alice, &"m".into()), DeliveryState::Unacknowledged);
}

#[test]
fn a_false_hit_in_one_peers_filter_never_acknowledges() {
    for n in 0..50 {
        let mut alice = peer("alice");
        let id = alice.send_as(Some(&format!("m{n}")), "m").id;
        hear(&mut alice, "bob", accident(&id, n * 10_000));
        assert!(matches!(state(&alice, &id), DeliveryState::PossiblyAcknowledged { .. }));
        assert!(acknowledgements(&alice).is_empty());
        hear(&mut alice, "bob", miss(&id, n));
        assert_eq!(state(&alice, &id), DeliveryState::Unacknowledged, "the next filter clears it up");
    }
}

#[test]
fn an_all_ones_filter_proves_nothing() {
    for rule in [FilterEvidence::Chance(1e-6), FilterEvidence::Hits(2)] {
        let mut alice = peer_with("alice", |config| config.filter_evidence = rule);
        let id = alice.send("m").id;
        for (len, sender) in [(1, "bob"), (100, "carol"), (64 << 10, "dave"), (7, "bob")] {
            hear(&mut alice, sender, all_ones(len));
        }
        assert_eq!(state(&alice, &id), DeliveryState::Unacknowledged);
        assert_eq!((acknowledgements(&alice), possibly(&alice)), (vec![], vec![]));
        assert_eq!(alice.channel.stats().filters_ignored, 0, "it parses: it is worthless, not absurd");
    }
}

#[test]
fn an_all_ones_filter_takes_no_evidence_away() {
    let mut alice = peer("alice");
    let id = alice.send("m").id;
    hear(&mut alice, "bob", weak_filter(&id, 1));
    hear(&mut alice, "bob", all_ones(50));
    assert!(matches!(state(&alice, &id), DeliveryState::PossiblyAcknowledged { .. }));
}

#[test]
fn a_hit_in_a_nearly_empty_filter_is_strong_evidence() {
    let mut alice = peer("alice");
    let id = alice.send("m").id;
    let FilterField::Compact { k, seed, bits: ones } = filter_of(&[id.as_str().unwrap()], 7) else { panic!() };
    // The same hash functions over 8,000 bits: set one by one until the filter holds the id.
    let mut bits = vec![0; 1_000];
    let field = |bits: &[u8]| FilterField::Compact { k, seed, bits: bits.to_vec().into() };
    let full = vec![0xff; 1_000];
    assert!(ones.len() < 100 && chance(&field(&full), &id) == Some(1.0));
    for position in 0..8_000 {
        let mut without = full.clone();
        without[position / 8] &= !(1 << (position % 8));
        if chance(&field(&without), &id).is_none() {
            bits[position / 8] |= 1 << (position % 8);
        }
    }
    let worth = chance(&field(&bits), &id).unwrap();
    assert!(worth < 1e-6, "{worth}");
    hear(&mut alice, "bob", field(&bits));
    assert_eq!(state(&alice, &id), DeliveryState::Acknowledged);
    assert_eq!(acknowledgements(&alice).len(), 1);
}

#[test]
fn consecutive_hits_from_differently_seeded_filters_multiply_until_acknowledged() {
    let mut alice = peer("alice");
    let id = alice.send("m").id;
    let mut product = 1.0;
    for hits in 1.. {
        let filter = weak_filter(&id, hits);
        product *= chance(&filter, &id).unwrap();
        hear(&mut alice, "bob", filter);
        let expected = product * hits as f64;
        match state(&alice, &id) {
            DeliveryState::PossiblyAcknowledged { chance } => {
                assert!(is_close(chance, expected) && expected > 1e-6, "{hits}: {chance} {expected}");
            }
            DeliveryState::Acknowledged => {
                assert!(expected <= 1e-6 && hits > 2, "{hits}: {expected}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(possibly(&alice).len(), 1, "told once");
    assert_eq!(acknowledgements(&alice).len(), 1);
}

#[test]
fn the_same_seed_twice_does_not_multiply() {
    let mut alice = peer("alice");
    let id = alice.send("m").id;
    let filter = weak_filter(&id, 1);
    let worth = chance(&filter, &id).unwrap();
    (0..20).for_each(|_| hear(&mut alice, "bob", filter.clone()));
    let DeliveryState::PossiblyAcknowledged { chance } = state(&alice, &id) else { panic!() };
    assert!(is_close(chance, worth * 20.0), "{chance} {worth}");
}

#[test]
fn hits_of_different_senders_do_not_multiply_the_best_sender_counts() {
    let mut alice = peer("alice");
    let id = alice.send("m").id;
    let mut best: f64 = 1.0;
    for (n, sender) in ["bob", "carol", "dave", "eve", "frank"].into_iter().enumerate() {
        let filter = weak_filter(&id, n as u64);
        best = best.min(chance(&filter, &id).unwrap());
        hear(&mut alice, sender, filter);
    }
    let DeliveryState::PossiblyAcknowledged { chance } = state(&alice, &id) else { panic!() };
    assert!(is_close(chance, best * 5.0), "{chance} {best}");
}

#[test]
fn a_miss_wipes_that_senders_evidence() {
    let mut alice = peer("alice");
    let id = alice.send("m").id;
    hear(&mut alice, "bob", weak_filter(&id, 1));
    hear(&mut alice, "bob", weak_filter(&id, 2));
    hear(&mut alice, "bob", miss(&id, 1));
    assert_eq!(state(&alice, &id), DeliveryState::Unacknowledged);
    let filter = weak_filter(&id, 3);
    let worth = chance(&filter, &id).unwrap();
    hear(&mut alice, "bob", filter);
    let DeliveryState::PossiblyAcknowledged { chance } = state(&alice, &id) else { panic!() };
    assert!(is_close(chance, worth * 4.0), "it starts anew: {chance} {worth}");
}

#[test]
fn a_miss_does_not_wipe_anothers_evidence() {
    let mut alice = peer("alice");
    let id = alice.send("m").id;
    let filter = weak_filter(&id, 1);
    let worth = chance(&filter, &id).unwrap();
    hear(&mut alice, "bob", filter);
    hear(&mut alice, "carol", miss(&id, 1));
    let DeliveryState::PossiblyAcknowledged { chance } = state(&alice, &id) else { panic!() };
    assert!(is_close(chance, worth * 2.0), "{chance} {worth}");
}

#[test]
fn the_number_of_filters_tested_for_this_message_counts() {
    let mut alice = peer("alice");
    let early = alice.send("early").id;
    (0..9).for_each(|n| hear(&mut alice, &format!("other{n}"), miss(&early, n)));
    let late = alice.send("late").id;
    let filter = filter_of(&[early.as_str().unwrap(), late.as_str().unwrap()], 1);
    let worth = |id| chance(&filter, id).unwrap();
    hear(&mut alice, "bob", filter.clone());
    for (id, tested) in [(&early, 10.0), (&late, 1.0)] {
        let DeliveryState::PossiblyAcknowledged { chance } = state(&alice, id) else { panic!() };
        assert!(is_close(chance, worth(id) * tested), "{chance} {tested}");
    }
}

#[test]
fn under_jss_rule_any_two_filters_acknowledge() {
    for senders in [["bob", "bob"], ["bob", "carol"]] {
        let mut alice = peer_with("alice", |config| config.filter_evidence = FilterEvidence::Hits(2));
        let id = alice.send("m").id;
        hear(&mut alice, senders[0], weak_filter(&id, 1));
        assert!(matches!(state(&alice, &id), DeliveryState::PossiblyAcknowledged { .. }));
        hear(&mut alice, senders[1], weak_filter(&id, 2));
        assert_eq!(acknowledgements(&alice).len(), 1, "{senders:?}");
        assert_eq!(state(&alice, &id), DeliveryState::Acknowledged);
    }
}

#[test]
fn under_jss_rule_one_strong_filter_is_not_enough() {
    let mut alice = peer_with("alice", |config| config.filter_evidence = FilterEvidence::Hits(2));
    let id = alice.send("m").id;
    let filter = filter_of(&[id.as_str().unwrap()], 1);
    (0..5).for_each(|_| hear(&mut alice, "bob", filter.clone()));
    assert!(matches!(state(&alice, &id), DeliveryState::PossiblyAcknowledged { .. }), "one filter, heard five times");
}

#[test]
fn a_message_with_our_own_sender_id_never_acknowledges_anything() {
    let mut alice = peer_with("alice", |config| config.filter_evidence = FilterEvidence::Hits(1));
    let id = alice.send_as(Some("m"), "m").id;
    let filter = weak_filter(&id, 1);
    alice.receive(&sync("alice", 3, &["m"], &[]).tap_mut(|it| it.filter = filter.clone()));
    alice.receive(&message("alice", "from a lost store", 4, &["m"]).tap_mut(|it| it.filter = filter.clone()));
    alice.receive(&message("alice", "ephemeral", 4, &["m"]).tap_mut(|it| {
        it.filter = filter;
        it.lamport = None;
    }));
    assert_eq!(state(&alice, &id), DeliveryState::Unacknowledged);
    assert_eq!((acknowledgements(&alice), possibly(&alice)), (vec![], vec![]));
}

#[test]
fn a_filter_that_is_absurd_is_ignored_and_counted_and_the_message_is_processed() {
    let compact = |k, len| FilterField::Compact { k, seed: *b"whatever", bits: vec![0xff; len].into() };
    let absurd = [
        compact(0, 10),
        compact(65, 10),
        compact(u32::MAX, 10),
        compact(7, 0),
        compact(7, (64 << 10) + 1),
        FilterField::Unusable,
    ];
    let mut alice = peer("alice");
    let id = alice.send_as(Some("m"), "m").id;
    for (n, filter) in absurd.into_iter().enumerate() {
        let name = format!("b{n}");
        let names: &[&str] = if n == 5 { &["m"] } else { &[] };
        let message = message("bob", &name, n as u64 + 1, names).tap_mut(|it| it.filter = filter);
        assert_eq!(alice.fate(&message), Fate::Delivered);
        assert_eq!(alice.channel.stats().filters_ignored, n as u64 + 1);
        let told = Event::LimitReached { limit: Limit::Filter, id: Some(message.id), by: Some("bob".into()) };
        assert!(alice.take_events().contains(&told));
    }
    assert_eq!(state(&alice, &id), DeliveryState::Acknowledged, "the last one's causal history counts");
    assert_eq!(alice.channel.meta().filters_heard, 0);
}

#[test]
fn a_filter_is_tested_only_against_messages_still_open() {
    let cost = |acknowledged: bool| {
        let mut alice = peer("alice");
        let ids: Vec<String> = (0..50).map(|n| alice.send(&format!("m{n}")).id.to_string()).collect();
        let names: Vec<&str> = ids.iter().map(String::as_str).collect();
        if acknowledged {
            alice.receive(&sync("bob", 60, &names, &[]));
        }
        let before = alice.channel.stats().work;
        hear(&mut alice, "bob", filter_of(&["other"], 1));
        alice.channel.stats().work - before
    };
    assert!(cost(true) <= 5 && cost(false) >= 50, "{} {}", cost(true), cost(false));
}

#[test]
fn what_filters_show_is_not_saved_and_gathered_anew_after_a_restart() {
    let mut alice = peer("alice");
    let id = alice.send("m").id;
    let commits = alice.commits.len();
    (1..3).for_each(|seed| hear(&mut alice, "bob", weak_filter(&id, seed)));
    hear(&mut alice, "carol", weak_filter(&id, 9));
    hear(&mut alice, "carol", miss(&id, 1));
    assert!(matches!(state(&alice, &id), DeliveryState::PossiblyAcknowledged { .. }));
    assert_eq!(alice.commits.len(), commits, "no finding is a commit");
    alice.restart();
    assert_eq!(state(&alice, &id), DeliveryState::Unacknowledged);
    (1..5).for_each(|seed| hear(&mut alice, "bob", weak_filter(&id, seed)));
    assert_eq!(state(&alice, &id), DeliveryState::Acknowledged);
    assert_eq!(alice.commits.len(), 1, "of the restarted channel: the entry goes");
}

#[test]
fn a_resend_put_off_by_evidence_is_due_as_if_there_were_none_after_a_restart() {
    let mut alice = peer("alice");
    let id = alice.send("m").id;
    let due = |peer: &Peer| peer.channel.outgoing()[0].next_due.unwrap();
    let first = due(&alice);
    hear(&mut alice, "bob", weak_filter(&id, 1));
    assert!(due(&alice) > first);
    alice.restart();
    assert_eq!(due(&alice), first);
}

#[test]
fn evidence_that_an_older_version_saved_counts() {
    let mut alice = peer("alice");
    let id = alice.send("m").id;
    for row in &mut alice.saved.rows {
        if let Row::Outgoing(entry) = row {
            entry.evidence =
                vec![Evidence::new("bob".into(), 1e-5, 2).tap_mut(|it| it.seeds = vec![1_u64.to_be_bytes()])];
        }
    }
    alice.restart();
    assert!(matches!(state(&alice, &id), DeliveryState::PossiblyAcknowledged { .. }));
    hear(&mut alice, "bob", weak_filter(&id, 2));
    assert_eq!(state(&alice, &id), DeliveryState::Acknowledged);
}

#[test]
fn evidence_of_eight_senders_is_kept_and_the_weakest_gives_way() {
    let others: Vec<String> = (0..8).map(|n| format!("other{n}")).collect();
    for ninth_is_stronger in [true, false] {
        let mut alice = peer("alice");
        let id = alice.send("m").id;
        // Of the first eight, heard one after the other, the weakest.
        let mut weakest = (0.0, 0);
        for (n, other) in others.iter().enumerate() {
            let filter = weak_filter(&id, 100 + n as u64);
            let worth = chance(&filter, &id).unwrap();
            weakest = if worth > weakest.0 { (worth, n) } else { weakest };
            hear(&mut alice, other, filter);
        }
        let is_meant = |worth: f64| (worth < weakest.0) == ninth_is_stronger;
        let ninth =
            (200..).map(|seed| weak_filter(&id, seed)).find(|filter| is_meant(chance(filter, &id).unwrap())).unwrap();
        hear(&mut alice, "ninth", ninth);
        let second = filter_of(&[id.as_str().unwrap(), "a", "b", "c", "d", "e"], 300);
        let worth = chance(&second, &id).unwrap();
        hear(&mut alice, &others[weakest.1], second);
        // Whoever gave way begins anew, and the others' hits multiply. Ten filters were heard.
        let expected = 10.0 * if ninth_is_stronger { worth } else { worth * weakest.0 };
        let found = state(&alice, &id);
        let DeliveryState::PossiblyAcknowledged { chance } = found else { panic!("{found:?}, not {expected}") };
        assert!(is_close(chance, expected), "{chance}, not {expected}");
    }
}

#[test]
fn the_last_eight_seeds_of_a_sender_are_remembered() {
    for (seeds, multiplies) in [(8, false), (9, true)] {
        let mut alice = peer_with("alice", |config| config.filter_evidence = FilterEvidence::Chance(1e-300));
        let id = alice.send("m").id;
        let filters: Vec<FilterField> = (0..seeds).map(|seed| weak_filter(&id, seed)).collect();
        filters.iter().chain([&filters[0]]).for_each(|filter| hear(&mut alice, "bob", filter.clone()));
        let once = filters.iter().map(|filter| chance(filter, &id).unwrap()).product::<f64>();
        let again = if multiplies { chance(&filters[0], &id).unwrap() } else { 1.0 };
        let expected = once * again * (seeds + 1) as f64;
        let DeliveryState::PossiblyAcknowledged { chance } = state(&alice, &id) else { panic!("{seeds} seeds") };
        assert!(is_close(chance, expected), "{seeds} seeds: {chance}, not {expected}");
    }
}
