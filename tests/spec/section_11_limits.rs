//! docs/protocol.md section 11: limits, and bad input.

use std::time::Duration;

use bytes::Bytes;
use reliable_channel::channel::{ChannelError, Config, Event, Fate, Input, Limit, Outcome};
use reliable_channel::filter::{IdHash, ReceivedFilter};
use reliable_channel::types::{
    ChannelId, Dialect, FilterField, HistoryEntry, Lamport, Limits, Message, MessageId, ParticipantId, RunningTime,
};
use reliable_channel::wire;
use tap::Tap as _;

use crate::harness::{EPOCH, Peer, message, missing, peer, peer_with, sync, wake};

/// Receives what must be refused, and checks that nothing changed.
fn refused(peer: &mut Peer, bad: &Message) -> ChannelError {
    let before = peer.channel.data();
    let (events, commits, stats) = (peer.events.len(), peer.commits.len(), peer.channel.stats());
    let error = peer.refuse(bad);
    assert_eq!(peer.channel.data(), before);
    assert_eq!((peer.events.len(), peer.commits.len(), peer.transmitted.len()), (events, commits, 0));
    assert_eq!(peer.channel.stats().refused, stats.refused + 1, "counted");
    error
}

fn limits_hit(peer: &Peer, limit: Limit) -> usize {
    peer.events.iter().filter(|event| matches!(event, Event::LimitReached { limit: hit, .. } if *hit == limit)).count()
}

fn content(len: usize) -> Bytes {
    Bytes::from(vec![b'x'; len])
}

#[test]
fn the_defaults_are_those_of_the_specification() {
    let expected = Limits::default().tap_mut(|it| {
        it.max_id_bytes = 256;
        it.max_causal_entries = 1_024;
        it.max_filter_bytes = 65_536;
        it.max_message_bytes = 2_097_152;
        it.max_content_bytes = 1_048_576;
        it.max_hint_bytes = 1_024;
        it.max_requests_per_message = 16;
        it.max_parked = 10_000;
        it.max_parked_bytes = 67_108_864;
        it.max_outgoing = 10_000;
        it.max_outgoing_bytes = 67_108_864;
        it.max_repair_entries = 1_000;
        it.max_repair_entries_per_message = 256;
        it.max_unconfirmed_bytes = 67_108_864;
        it.max_marks = 10_000;
    });
    assert_eq!(Limits::default(), expected);
}

#[test]
fn an_id_of_max_id_bytes_is_taken_and_a_longer_or_empty_one_refused_wherever_it_stands() {
    let mut alice = peer_with("alice", |config| config.limits.max_id_bytes = 8);
    let good = "12345678";
    assert_eq!(alice.fate(&message(good, good, 1, &[good])), Fate::Delivered);
    let with_sender = |sender: &str| HistoryEntry::new("a").tap_mut(|it| it.sender = Some(ParticipantId::from(sender)));
    for bad in ["123456789", ""] {
        let messages = [
            message("bob", bad, 2, &[]),
            message(bad, "m", 2, &[]),
            message("bob", "m", 2, &[bad]),
            sync("bob", 2, &[], &[bad]),
            message("bob", "m", 2, &[]).tap_mut(|it| it.causal_history = vec![with_sender(bad)]),
            message("bob", "m", 2, &[]).tap_mut(|it| it.repair_request = vec![with_sender(bad)]),
        ];
        for bad in messages {
            let error = refused(&mut alice, &bad);
            assert!(matches!(error, ChannelError::PeerLimit { limit: "max_id_bytes", max: 8, .. }), "{error}");
        }
    }
    assert_eq!(alice.channel.stats().limits_hit, 12);
}

#[test]
fn callers_ids_and_declared_dependencies_keep_the_same_limit() {
    let mut alice = peer_with("alice", |config| config.limits.max_id_bytes = 8);
    let before = alice.channel.data();
    for bad in ["123456789", ""] {
        let id = MessageId::from(bad);
        let send = Input::Send { content: content(1), id: Some(id.clone()) };
        for input in [send, Input::DependenciesMet(vec![MessageId::from("good"), id])] {
            assert_eq!(alice.input(input), Err(ChannelError::InvalidId { max: 8 }));
        }
    }
    assert_eq!(alice.channel.data(), before);
}

#[test]
fn ids_that_are_not_utf8_are_refused_also_when_handed_to_the_core_directly() {
    let mut alice = peer("alice");
    let raw = [0xff, 0xfe];
    let entry = HistoryEntry::new(MessageId::new(raw));
    let sender = HistoryEntry::new("m0").tap_mut(|it| it.sender = Some(ParticipantId::new(raw)));
    let good = message("bob", "m", 1, &[]);
    for bad in [
        good.clone().tap_mut(|it| it.id = MessageId::new(raw)),
        good.clone().tap_mut(|it| it.sender = ParticipantId::new(raw)),
        good.clone().tap_mut(|it| it.causal_history = vec![entry.clone()]),
        good.clone().tap_mut(|it| it.causal_history = vec![sender]),
        good.clone().tap_mut(|it| it.repair_request = vec![entry]),
    ] {
        assert_eq!(refused(&mut alice, &bad), ChannelError::InvalidId { max: 256 });
    }
    for input in [
        Input::Send { content: content(1), id: Some(MessageId::new(raw)) },
        Input::DependenciesMet(vec![MessageId::new(raw)]),
    ] {
        assert_eq!(alice.input(input), Err(ChannelError::InvalidId { max: 256 }));
    }
    // Whatever was tried, what goes out can be encoded.
    alice.receive(&good);
    assert!(wire::encode(&alice.send("text"), Dialect::Lip109).is_ok());
}

#[test]
fn more_than_max_causal_entries_are_refused_in_history_and_requests() {
    let mut alice = peer_with("alice", |config| config.limits.max_causal_entries = 12);
    let ids: Vec<String> = (0..13).map(|n| format!("m{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    for bad in [message("bob", "m", 1, &ids), sync("bob", 1, &[], &ids)] {
        let error = refused(&mut alice, &bad);
        assert!(matches!(error, ChannelError::PeerLimit { limit: "max_causal_entries", found: 13, max: 12, .. }));
    }
    assert!(matches!(alice.fate(&message("bob", "m", 1, &ids[..12])), Fate::Parked { .. }));
}

#[test]
fn content_and_hints_over_their_limits_are_refused() {
    let mut alice =
        peer_with("alice", |config| (config.limits.max_content_bytes, config.limits.max_hint_bytes) = (10, 4));
    let error = refused(&mut alice, &message("bob", "m", 1, &[]).tap_mut(|it| it.content = content(11)));
    assert!(matches!(error, ChannelError::PeerLimit { limit: "max_content_bytes", found: 11, max: 10, .. }));
    let mut hinted = message("bob", "m", 1, &["m0"]);
    hinted.causal_history[0].hint = Some(content(5));
    let error = refused(&mut alice, &hinted);
    assert!(matches!(error, ChannelError::PeerLimit { limit: "max_hint_bytes", found: 5, max: 4, .. }));
    for input in [Input::Send { content: content(11), id: None }, Input::SendEphemeral { content: content(11) }] {
        assert_eq!(alice.input(input), Err(ChannelError::TooLarge { what: "content", len: 11, max: 10 }));
    }
    alice.receive(&message("bob", "m", 1, &[]).tap_mut(|it| it.content = content(10)));
    let id = MessageId::from("m");
    let long = alice.input(Input::SetHint { id: id.clone(), hint: content(5) });
    assert_eq!(long, Err(ChannelError::TooLarge { what: "retrieval hint", len: 5, max: 4 }));
    assert_eq!(alice.input(Input::SetHint { id, hint: content(4) }), Ok(Outcome::Done));
}

#[test]
fn a_message_over_max_message_bytes_is_refused_by_the_wire() {
    let sent =
        wire::encode(&message("bob", "m", 1, &[]).tap_mut(|it| it.content = content(1_000)), Dialect::Lip109).unwrap();
    let exact = Limits::default().tap_mut(|it| it.max_message_bytes = sent.len());
    assert!(wire::decode(&sent, &exact).is_ok());
    let below = Limits::default().tap_mut(|it| it.max_message_bytes = sent.len() - 1);
    let error = wire::decode(&sent, &below).unwrap_err();
    assert!(matches!(error, wire::WireError::MessageTooLarge { .. }), "{error}");
}

#[test]
fn an_absurd_filter_is_ignored_counted_and_reported_and_the_message_processed() {
    let mut alice = peer_with("alice", |config| config.limits.max_filter_bytes = 100);
    let own = alice.send("text");
    let bits = |len: usize| Bytes::from(vec![0xff; len]);
    let compact = |k, len| FilterField::Compact { k, seed: [1; 8], bits: bits(len) };
    let absurd =
        [compact(0, 10), compact(65, 10), compact(u32::MAX, 10), compact(3, 0), compact(3, 101), FilterField::Unusable];
    for (n, filter) in absurd.into_iter().enumerate() {
        let id = format!("m{n}");
        assert_eq!(alice.fate(&message("bob", &id, 1, &[]).tap_mut(|it| it.filter = filter)), Fate::Delivered);
        assert_eq!(alice.channel.stats().filters_ignored, n as u64 + 1);
        assert_eq!(limits_hit(&alice, Limit::Filter), n + 1);
    }
    assert_eq!(alice.channel.meta().filters_heard, 0);
    assert_eq!(alice.channel.outgoing()[0].id, own.id);
}

#[test]
fn a_message_for_another_channel_or_without_a_kind_is_refused() {
    let mut alice = peer("alice");
    let good = message("bob", "m", 1, &["m0"]);
    let other = good.clone().tap_mut(|it| it.channel = ChannelId::from("d"));
    assert_eq!(refused(&mut alice, &other), ChannelError::WrongChannel);
    let neither = good.tap_mut(|it| {
        it.lamport = None;
        it.content = Bytes::new();
    });
    assert_eq!(refused(&mut alice, &neither), ChannelError::NoKind);
}

#[test]
fn the_clock_drift_is_an_option_and_a_timestamp_beyond_it_refused() {
    let mut alice = peer_with("alice", |config| config.max_clock_drift = crate::harness::seconds(1));
    for lamport in [Lamport(EPOCH + 1_001), Lamport(1 << 63), Lamport(u64::MAX)] {
        let error = refused(&mut alice, &message("bob", "m", 0, &["m0"]).tap_mut(|it| it.lamport = Some(lamport)));
        assert_eq!(error, ChannelError::ClockDrift { sender: ParticipantId::from("bob"), lamport });
    }
    assert_eq!(alice.fate(&message("bob", "m", 1_000, &[])), Fate::Delivered);
}

#[test]
fn a_channel_that_accepts_any_timestamp_survives_the_highest_one() {
    for join in [reliable_channel::channel::Join::FromNow, reliable_channel::channel::Join::Backfill(u64::MAX)] {
        let mut alice =
            peer_with("alice", |config| (config.max_clock_drift, config.join) = (std::time::Duration::MAX, join));
        alice.receive(&message("bob", "m", 0, &["m0"]).tap_mut(|it| it.lamport = Some(Lamport(u64::MAX))));
        alice.receive(&message("bob", "n", 0, &["m"]).tap_mut(|it| it.lamport = Some(Lamport(u64::MAX))));
        alice.send("text");
        alice.send_sync();
        alice.run_for(120_000);
        alice.restart();
    }
}

#[test]
fn an_id_that_conflicts_is_told_and_the_first_message_stays() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "logged", 5, &[]));
    alice.receive(&message("bob", "parked", 5, &["nothing"]));
    alice.take_events();
    for id in ["logged", "parked"] {
        let good = message("bob", id, 5, &[]);
        for bad in [
            good.clone().tap_mut(|it| it.sender = ParticipantId::from("mallory")),
            good.clone().tap_mut(|it| it.lamport = Some(Lamport(EPOCH + 6))),
            good.clone().tap_mut(|it| it.content = content(3)),
            good.clone().tap_mut(|it| it.sender = ParticipantId::from("alice")),
        ] {
            let (before, conflict) = (alice.channel.data(), bad.sender.clone());
            assert_eq!(alice.fate(&bad), Fate::Conflict);
            assert_eq!(alice.channel.data(), before);
            let mut told = alice.take_events();
            told.retain(|event| !matches!(event, Event::SharedIdentity { .. }));
            assert_eq!(told, [Event::IdConflict { id: MessageId::from(id), sender: conflict }]);
        }
    }
}

#[test]
fn the_outgoing_buffer_is_bounded_in_messages_and_bytes_and_acknowledgement_makes_room() {
    let mut few = peer_with("alice", |config| config.limits.max_outgoing = 2);
    let mut small = peer_with("alice", |config| config.limits.max_outgoing_bytes = 2_000);
    for (alice, len) in [(&mut few, 1), (&mut small, 700)] {
        alice.send(&"x".repeat(len));
        let second = alice.send(&"x".repeat(len));
        let (before, hits) = (alice.channel.data(), alice.channel.stats().limits_hit);
        let full = alice.input(Input::Send { content: content(len), id: None });
        assert_eq!(full, Err(ChannelError::OutgoingFull));
        assert_eq!(alice.channel.data(), before);
        assert_eq!(alice.channel.stats().limits_hit, hits + 1);
        alice.receive(&sync("bob", 1, &[&second.id.to_string()], &[]));
        alice.send(&"x".repeat(len));
    }
}

#[test]
fn failed_messages_do_not_fill_the_outgoing_buffer() {
    let mut alice = peer_with("alice", |config| config.limits.max_outgoing = 1);
    alice.send("a");
    alice.run_for(600_000);
    alice.send("b");
    assert_eq!(alice.channel.outgoing().len(), 2);
}

#[test]
fn when_the_incoming_buffer_is_full_the_highest_of_the_sender_that_holds_most_bytes_gives_way() {
    let mut alice = peer_with("alice", |config| config.limits.max_parked = 4);
    for (sender, id, lamport) in [("bob", "b1", 9), ("mallory", "x2", 5), ("mallory", "x9", 7), ("mallory", "x8", 7)] {
        alice.receive(&message(sender, id, lamport, &["nothing"]));
    }
    alice.take_events();
    assert!(matches!(alice.fate(&message("carol", "c1", 8, &["nothing"])), Fate::Parked { .. }));
    let parked: Vec<String> = alice.channel.incoming().iter().map(|waiting| waiting.id.to_string()).collect();
    assert_eq!(parked, ["x2", "x8", "c1", "b1"], "x9 is mallory's highest");
    assert_eq!(missing(&alice), ["nothing", "x9"], "its id stays in repair");
    let by = Some(ParticipantId::from("mallory"));
    let event = Event::LimitReached { limit: Limit::Parked, id: Some(MessageId::from("x9")), by };
    assert_eq!(alice.events.iter().filter(|told| **told == event).count(), 1);
    assert_eq!(alice.channel.stats().limits_hit, 1);
}

#[test]
fn parked_bytes_are_bounded_too() {
    let mut alice = peer_with("alice", |config| config.limits.max_parked_bytes = 10_000);
    for n in 0..20 {
        let big = message("mallory", &format!("m{n:02}"), n, &["nothing"]).tap_mut(|it| it.content = content(1_500));
        alice.receive(&big);
        assert!(alice.channel.stats().parked_bytes <= 10_000);
    }
    let stats = alice.channel.stats();
    assert!(stats.parked_len >= 4);
    assert_eq!(limits_hit(&alice, Limit::Parked), 20 - stats.parked_len);
    assert_eq!(missing(&alice).len(), 21 - stats.parked_len);
}

#[test]
fn every_byte_of_a_causal_entry_counts_as_parked() {
    let entry = HistoryEntry::new("missing").tap_mut(|it| it.sender = Some("s".repeat(200).as_str().into()));
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m1", 1, &[]).tap_mut(|it| it.causal_history = vec![entry]));
    let with_sender = alice.channel.stats().parked_bytes;
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m1", 1, &["missing"]));
    assert_eq!(with_sender, alice.channel.stats().parked_bytes + 200);
}

#[test]
fn a_message_that_does_not_fit_by_itself_comes_once_what_it_waits_for_is_here() {
    let mut alice = peer_with("alice", |config| config.limits.max_parked_bytes = 2_000);
    let named = ["a", "b", "c", "d"];
    let large = message("bob", "large", 60, &named);
    assert_eq!(alice.fate(&large), Fate::GaveWay);
    assert_eq!(missing(&alice), ["a", "b", "c", "d", "large"]);
    alice.restart();
    for id in named {
        assert_eq!(alice.fate(&message("bob", id, 50, &[])), Fate::Delivered);
    }
    assert_eq!(alice.asked(), ["large"]);
    assert_eq!(alice.fate(&large), Fate::Delivered);
}

#[test]
fn a_message_larger_than_the_whole_incoming_buffer_gives_way_at_once_and_stays_in_repair() {
    let mut alice = peer_with("alice", |config| config.limits.max_parked_bytes = 1_000);
    let big = message("bob", "big", 1, &["nothing"]).tap_mut(|it| it.content = content(2_000));
    assert_eq!(alice.fate(&big), Fate::GaveWay);
    assert_eq!(missing(&alice), ["big", "nothing"]);
    // Delivered at once it needs no room.
    assert_eq!(alice.fate(&big.tap_mut(|it| it.causal_history = Vec::new())), Fate::Delivered);
}

#[test]
fn what_gave_way_leaves_the_filter_and_is_taken_again_when_it_comes_again() {
    let mut alice = peer_with("alice", |config| config.limits.max_parked = 1);
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    assert_eq!(alice.fate(&message("bob", "m3", 3, &["m1"])), Fate::GaveWay);
    let filter = ReceivedFilter::parse(&alice.send_sync().filter, 65_536).unwrap().unwrap();
    let holds = |id: &str| filter.chance(&IdHash::of(&MessageId::from(id))).is_some();
    assert_eq!((holds("m2"), holds("m3")), (true, false));
    alice.receive(&message("bob", "m1", 1, &[]));
    assert_eq!(alice.fate(&message("bob", "m3", 3, &["m1"])), Fate::Delivered);
    assert_eq!(alice.delivered(), ["m1", "m2", "m3"]);
    assert_eq!(missing(&alice), Vec::<String>::new());
}

#[test]
fn honest_senders_are_not_displaced_by_a_flooding_one() {
    let mut alice = peer_with("alice", |config| {
        (config.limits.max_parked, config.limits.max_parked_bytes) = (50, 30_000);
    });
    for n in 0..10 {
        let sender = ["bob", "carol", "dave"][n as usize % 3];
        alice.receive(&message(sender, &format!("honest{n}"), 5_000 + n, &["late"]));
    }
    for n in 0..300 {
        let flood =
            message("mallory", &format!("flood{n}"), n % 40, &["never"]).tap_mut(|it| it.content = content(500));
        alice.receive(&flood);
    }
    let honest = |waiting: &&reliable_channel::channel::IncomingView| waiting.sender != ParticipantId::from("mallory");
    assert_eq!(alice.channel.incoming().iter().filter(honest).count(), 10);
    alice.receive(&message("bob", "late", 1, &[]));
    assert_eq!(alice.delivered().len(), 11);
}

#[test]
fn a_full_repair_buffer_drops_the_entry_asked_most_often_says_so_and_asks_again_later() {
    let mut alice = peer_with("alice", |config| config.limits.max_repair_entries = 3);
    alice.receive(&message("bob", "m", 9, &["d1", "d2", "d3"]));
    alice.receive(&sync("carol", 1, &[], &["d2", "d3"]));
    alice.receive(&sync("carol", 2, &[], &["d2"]));
    alice.receive(&message("bob", "n", 9, &["d4"]));
    assert_eq!(missing(&alice), ["d1", "d3", "d4"]);
    let by = Some(ParticipantId::from("bob"));
    let event = Event::LimitReached { limit: Limit::RepairRequests, id: Some(MessageId::from("d2")), by };
    assert!(alice.events.contains(&event), "{:?}", alice.events);
    assert_eq!(alice.channel.stats().limits_hit, 1);
    alice.receive(&message("bob", "d1", 1, &[]));
    alice.now += 61_000;
    wake(&mut alice);
    assert_eq!(missing(&alice), ["d2", "d3", "d4"]);
}

#[test]
fn in_a_full_repair_buffer_gives_way_who_named_most_and_it_takes_back_no_more_than_its_share() {
    let mut alice = peer_with("alice", |config| config.limits.max_repair_entries = 4);
    alice.receive(&message("mallory", "x", 9, &["f1", "f2", "f3", "d1"]));
    // What both name is bob's, who names less; else it would go first, being asked for most often.
    alice.receive(&sync("carol", 1, &[], &["d1"]));
    alice.receive(&message("bob", "m", 9, &["d1", "d2"]));
    assert_eq!(missing(&alice).len(), 4);
    assert!(["d1", "d2"].iter().all(|id| missing(&alice).contains(&(*id).to_owned())), "{:?}", missing(&alice));
    // Each has two of four; a third one of mallory's is too many.
    alice.receive(&message("mallory", "y", 9, &["f4", "f5"]));
    assert!(["d1", "d2"].iter().all(|id| missing(&alice).contains(&(*id).to_owned())), "{:?}", missing(&alice));
    let by = |event: &Event| match event {
        Event::LimitReached { limit: Limit::RepairRequests, by, .. } => by.clone(),
        _ => None,
    };
    let by: Vec<ParticipantId> = alice.events.iter().filter_map(by).collect();
    assert_eq!(by, vec![ParticipantId::from("mallory"); 3], "whose entries gave way");
    // Restarts forget who named what a sync named, and nothing else.
    alice.restart();
    alice.receive(&sync("mallory", 10, &["f6", "f7", "f8"], &[]));
    assert!(["d1", "d2"].iter().all(|id| missing(&alice).contains(&(*id).to_owned())), "{:?}", missing(&alice));
    // When there is room again, what had to give way is asked for again, and then nobody looks any more.
    alice.receive(&message("bob", "d1", 1, &[]));
    alice.receive(&message("bob", "d2", 1, &[]));
    alice.run_for(60_000);
    assert_eq!(missing(&alice).len(), 4);
}

#[test]
fn one_message_holds_at_most_its_share_of_the_repair_buffer_and_the_rest_is_asked_for_later() {
    let mut alice = peer_with("alice", |config| config.limits.max_repair_entries_per_message = 4);
    let ids: Vec<String> = (0..10).map(|n| format!("d{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    alice.receive(&message("bob", "m", 9, &ids));
    assert_eq!(missing(&alice), ids[..4]);
    assert_eq!(limits_hit(&alice, Limit::RepairRequestsPerMessage), 1);
    assert_eq!(alice.channel.stats().limits_hit, 1);
    let sent = alice.run_for(600_000);
    assert_eq!(missing(&alice), ids, "with room in the buffer all is asked for");
    for id in ids {
        assert!(sent.iter().any(|sent| crate::harness::requests(&sent.message).contains(&id.to_owned())), "{id}");
    }
}

#[test]
fn a_default_message_holds_at_most_256_entries_and_the_buffer_1_000() {
    let mut alice = peer("alice");
    for part in 0..5 {
        let ids: Vec<String> = (0..300).map(|n| format!("d{part}-{n:03}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        alice.receive(&message("mallory", &format!("m{part}"), 9, &ids));
        assert_eq!(missing(&alice).len(), (256 * (part + 1)).min(1_000));
    }
}

#[test]
fn nothing_disappears_silently() {
    let mut alice = peer_with("alice", |config| {
        (config.limits.max_parked, config.limits.max_repair_entries) = (5, 5);
    });
    let mut taken = std::collections::BTreeSet::new();
    for n in 0..60 {
        let id = format!("m{n:02}");
        alice.receive(&message(["bob", "carol"][n % 2], &id, n as u64, &[&format!("d{n}")]));
        taken.insert(id);
    }
    for waiting in alice.channel.incoming() {
        taken.remove(&waiting.id.to_string());
    }
    for event in &alice.events {
        if let Event::LimitReached { limit: Limit::Parked, id: Some(id), .. } = event {
            taken.remove(&id.to_string());
        }
    }
    assert_eq!(taken.len(), 0, "neither kept nor told: {taken:?}");
    assert_eq!(alice.channel.stats().limits_hit as usize, alice.events.len() - told_missing(&alice));
}

fn told_missing(peer: &Peer) -> usize {
    peer.events.iter().filter(|event| matches!(event, Event::MissingDependencies { .. })).count()
}

#[test]
fn a_buffer_emptied_while_an_acknowledgement_is_owed_leaves_no_timer_that_is_always_due() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    alice.input(Input::Shrink { log_bytes: usize::MAX, parked_bytes: 0 }).unwrap();
    alice.input(Input::DependenciesMet(vec![MessageId::from("m2")])).unwrap();
    assert_eq!(alice.run_for(60_000), []);
}

#[test]
fn parked_messages_below_the_floor_cost_an_eviction_nothing() {
    let work = |parked: u64| {
        let mut alice = peer_with("alice", |config| config.max_message_history = 1);
        alice.receive(&message("bob", "first", 100, &[]));
        alice.receive(&message("bob", "second", 101, &[]));
        alice.receive(&message("bob", "high", 5_000, &["missing"]));
        for n in 0..parked {
            alice.receive(&message("mallory", &format!("low{n}"), n, &["high"]));
        }
        let before = alice.channel.stats().work;
        for n in 0..50 {
            alice.receive(&message("bob", &format!("m{n}"), 200 + n, &[]));
        }
        alice.channel.stats().work - before
    };
    assert_eq!(work(10), work(90));
}

/// Everything that sets a timer, again and again, restarts among it.
fn drive(change: impl Fn(&mut Config)) {
    let mut alice = peer_with("alice", |config| change(config));
    for n in 0..40_u64 {
        alice.input(Input::Receive(message("bob", &format!("gap{n}"), n, &[&format!("missing{n}")]))).unwrap();
        alice.input(Input::Receive(message("bob", &format!("m{n}"), n, &[]))).unwrap();
        alice.input(Input::Receive(sync("carol", n, &[], &[&format!("m{n}")]))).unwrap();
        alice.send("text");
        wake(&mut alice);
        let due = alice.channel.poll_timeout().unwrap().as_millis();
        assert!(due > alice.now, "after a timeout, the next lies later than now");
        alice.now = due.min(alice.now + 60_000);
        if n % 10 == 9 {
            alice.reboot();
        }
    }
}

#[test]
fn no_duration_however_short_or_long_makes_a_channel_panic_or_wake_for_ever() {
    type Set = fn(&mut Config, Duration);
    let options: [Set; 8] = [
        |config, time| {
            (config.resend_interval, config.max_resend_interval) = (time, time.max(config.max_resend_interval))
        },
        |config, time| config.acknowledgement_window = time,
        |config, time| config.acknowledgement_delay = (Duration::ZERO, time),
        |config, time| (config.acknowledgement_delay, config.response_groups) = ((time, time), 3),
        |config, time| (config.sync_interval, config.max_sync_interval) = (time, time),
        |config, time| (config.t_min, config.t_max) = (time, time),
        |config, time| config.lost_timeout = time,
        |config, time| (config.t_max, config.resend_interval, config.max_resend_interval) = (time, time, time),
    ];
    let times = [Duration::from_nanos(1), Duration::from_millis(1), Duration::from_millis(1 << 60), Duration::MAX];
    for (option, set) in options.iter().enumerate() {
        for time in times {
            let mut config = Config::default();
            set(&mut config, time);
            match config.validate() {
                Ok(()) => drive(|config| set(config, time)),
                Err(error) => assert_eq!(time, times[0], "option {option}: {error}"),
            }
        }
    }
}

#[test]
fn waiting_messages_of_many_entries_are_looked_through_a_part_at_a_time() {
    let mut alice = peer("alice");
    let many: Vec<String> = (0..300).map(|n| format!("missing {n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    alice.receive(&message("eve", "names more than its share", 1, &many));
    for n in 0..10 {
        let (id, names) = (format!("m{n}"), format!("missed by m{n}"));
        alice.receive(&message("eve", &id, 2 + n, &[names.as_str(); 1_024]));
    }
    let (mut pauses, end) = (0, alice.now + 70_000);
    while let Some(due) = alice.channel.poll_timeout().map(RunningTime::as_millis).filter(|due| *due <= end) {
        pauses += usize::from(due == alice.now + 50);
        alice.now = due;
        alice.input(Input::Timeout).unwrap();
    }
    assert!(pauses >= 9, "{pauses} pauses between 10 messages of 1,024 entries");
}
