//! docs/protocol.md section 12: what the application is told, when, when not, and in which order.

use bytes::Bytes;
use reliable_channel::channel::{DeliveryState, Event, Fate, Input, Outcome, Position, TransmitKind};
use reliable_channel::state::{Response, Row};
use reliable_channel::types::{FilterField, HistoryEntry, Lamport, Message, MessageId, ParticipantId, WallTime};
use tap::Tap as _;

use crate::harness::{EPOCH, Peer, chance, message, peer, peer_with, sync, wake};

fn id(text: &str) -> MessageId {
    MessageId::from(text)
}

fn by(text: &str) -> ParticipantId {
    ParticipantId::from(text)
}

fn names(ids: &[&str]) -> Vec<MessageId> {
    ids.iter().map(|text| id(text)).collect()
}

/// What a single received message leads to.
fn told(peer: &mut Peer, message: &Message) -> Vec<Event> {
    peer.take_events();
    peer.receive(message);
    peer.take_events()
}

/// A filter in which every other id is a hit of little worth.
fn weak_filter(seed: u8) -> FilterField {
    FilterField::Compact { k: 1, seed: [seed; 8], bits: Bytes::from(vec![0x55; 64]) }
}

#[test]
fn message_delivered_carries_number_id_sender_lamport_content_position_late_and_missing() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m2", 2, &[]));
    let events = told(&mut alice, &message("carol", "m1", 1, &["m1"]).tap_mut(|it| it.content = Bytes::from("text")));
    let [Event::MessageDelivered(delivery)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(delivery.number, 2);
    assert_eq!((&delivery.body.key.id, &delivery.body.sender), (&id("m1"), &by("carol")));
    assert_eq!((delivery.body.key.lamport, &delivery.body.content[..]), (Lamport(EPOCH + 1), &b"text"[..]));
    assert_eq!((&delivery.position, delivery.late, delivery.missing.len()), (&Position::Before(id("m2")), true, 0));
}

#[test]
fn the_position_says_where_in_the_log_the_message_belongs() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 3);
    for (name, lamport, position, late) in [
        ("m20", 20, Position::Newest, false),
        ("m40", 40, Position::Newest, false),
        ("m30", 30, Position::Before(id("m40")), true),
        ("m25", 25, Position::Before(id("m30")), true),
        ("m10", 10, Position::BelowFloor, true),
        ("m50", 50, Position::Newest, false),
    ] {
        let events = told(&mut alice, &message("bob", name, lamport, &[]));
        let [Event::MessageDelivered(delivery)] = &events[..] else { panic!("{events:?}") };
        assert_eq!((&delivery.position, delivery.late), (&position, late), "{name}");
    }
}

#[test]
fn deliveries_are_numbered_from_1_without_gaps_across_restarts() {
    let mut alice = peer("alice");
    let mut numbers = Vec::new();
    for n in (0..20).rev() {
        let name = format!("m{n:02}");
        let depends_on = format!("m{:02}", n / 5 * 5);
        alice.receive(&message("bob", &name, n, &[&depends_on]));
        alice.send("in between");
        numbers.extend(alice.take_events().into_iter().filter_map(|event| match event {
            Event::MessageDelivered(delivery) => Some(delivery.number),
            _ => None,
        }));
        alice.restart();
    }
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
}

#[test]
fn a_message_is_delivered_once_and_a_duplicate_tells_nothing() {
    let mut alice = peer("alice");
    let m1 = message("bob", "m1", 1, &[]);
    let parked = message("bob", "m3", 3, &["m2"]);
    alice.receive(&m1);
    alice.receive(&parked);
    let own = alice.send("own");
    for again in [&m1, &parked, &own] {
        assert_eq!(told(&mut alice, again), []);
    }
}

#[test]
fn own_messages_are_not_delivered_to_their_sender() {
    let mut alice = peer("alice");
    alice.send("own");
    assert_eq!(alice.events, []);
    assert_eq!(alice.channel.meta().next_delivery, 1);
}

#[test]
fn message_acknowledged_is_told_once_by_the_first_who_names_it() {
    let mut alice = peer("alice");
    let own = alice.send_as(Some("own"), "text");
    let ours = sync("alice", 1, &["own"], &[]);
    let expected = [Event::SharedIdentity { id: ours.id.clone() }, Event::SyncReceived { sender: by("alice") }];
    assert_eq!(told(&mut alice, &ours), expected);
    assert_eq!(alice.channel.delivery_state(&own.id), Some(DeliveryState::Unacknowledged), "not by ourselves");
    let events = told(&mut alice, &sync("bob", 2, &["own"], &[]));
    let expected = Event::MessageAcknowledged { id: own.id.clone(), by: by("bob"), after_failure: false };
    assert_eq!(events, [expected, Event::SyncReceived { sender: by("bob") }], "acknowledgements are reviewed first");
    let also = Event::AlsoAcknowledged { id: own.id.clone(), by: by("carol") };
    assert_eq!(told(&mut alice, &sync("carol", 3, &["own"], &[])), [also, Event::SyncReceived { sender: by("carol") }]);
    assert_eq!(told(&mut alice, &sync("carol", 4, &["own"], &[])), [Event::SyncReceived { sender: by("carol") }]);
}

#[test]
fn message_possibly_acknowledged_is_told_at_the_first_evidence_only() {
    let mut alice = peer("alice");
    alice.send_as(Some("own"), "text");
    let mut told_at = Vec::new();
    let is_hit = |seed: &u8| chance(&weak_filter(*seed), &"own".into()).is_some();
    let seeds: Vec<u8> = (0..).filter(is_hit).take(4).collect();
    for &n in &seeds {
        let filtered = sync("bob", u64::from(n), &[], &[]).tap_mut(|it| it.filter = weak_filter(n));
        for event in told(&mut alice, &filtered) {
            if let Event::MessagePossiblyAcknowledged { chance, .. } = event {
                assert!((1e-6..1.0).contains(&chance));
                told_at.push(n);
            }
        }
    }
    assert_eq!(told_at, seeds[..1]);
    let own = &alice.channel.outgoing()[0];
    assert!(matches!(own.state, DeliveryState::PossiblyAcknowledged { .. }), "{own:?}");
}

#[test]
fn delivery_failed_is_told_once_and_a_later_acknowledgement_still() {
    let mut alice = peer("alice");
    alice.send_as(Some("own"), "text");
    alice.run_for(1_200_000);
    assert_eq!(alice.take_events(), [Event::DeliveryFailed { id: id("own"), possibly: false }]);
    let events = told(&mut alice, &sync("bob", 2, &["own"], &[]));
    assert_eq!(events[0], Event::MessageAcknowledged { id: id("own"), by: by("bob"), after_failure: true });
}

#[test]
fn missing_dependencies_names_what_was_never_received_with_hints_and_nothing_else() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "delivered", 1, &[]));
    alice.receive(&message("bob", "parked", 2, &["gone"]));
    let mut dependant = message("bob", "m", 3, &["delivered", "parked", "gone", "m"]);
    dependant.causal_history[2].hint = Some(Bytes::from("hint"));
    dependant.causal_history[2].sender = Some(by("carol"));
    let missing = vec![HistoryEntry::new("gone").tap_mut(|it| {
        it.hint = Some(Bytes::from("hint"));
        it.sender = Some(by("carol"));
    })];
    assert_eq!(told(&mut alice, &dependant), [Event::MissingDependencies { id: id("m"), missing }]);
    // Waiting for parked messages alone is not missing anything.
    assert_eq!(told(&mut alice, &message("bob", "n", 4, &["parked"])), []);
}

#[test]
fn a_sync_message_tells_what_it_misses_once() {
    let mut alice = peer("alice");
    let missing = Event::MissingDependencies { id: id("sync-bob-1"), missing: vec![HistoryEntry::new("m1")] };
    let received = Event::SyncReceived { sender: by("bob") };
    assert_eq!(told(&mut alice, &sync("bob", 1, &["m1", "m1"], &[])), [received.clone(), missing]);
    assert_eq!(told(&mut alice, &sync("bob", 2, &["m1"], &[])), [received]);
}

#[test]
fn too_old_is_told_for_what_lies_below_all_memory_and_it_is_not_delivered() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 1);
    for n in 0..13 {
        alice.receive(&message("bob", &format!("m{n:02}"), n, &[]));
    }
    assert_eq!(told(&mut alice, &message("bob", "m01", 1, &[])), [Event::TooOld { id: id("m01"), sender: by("bob") }]);
    assert_eq!(alice.fate(&message("bob", "m02", 2, &[])), Fate::Duplicate, "its stub is still there");
    assert_eq!(alice.fate(&message("bob", "m01", 1, &["unknown"])), Fate::TooOld);
}

#[test]
fn an_ephemeral_message_is_told_at_once_and_changes_nothing() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m1", 1, &[]));
    let before = alice.channel.data();
    let typing = message("bob", "e", 0, &["unknown"]).tap_mut(|it| {
        it.lamport = None;
        it.content = Bytes::from("typing");
    });
    for _ in 0..2 {
        let event = Event::EphemeralReceived { id: id("e"), sender: by("bob"), content: Bytes::from("typing") };
        assert_eq!(told(&mut alice, &typing), [event]);
    }
    assert_eq!(alice.channel.data(), before);
}

#[test]
fn repair_requested_and_repair_answered_are_told_once_each_and_only_by_who_answers() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m", 1, &[]));
    let asks = |n| sync("carol", n, &[], &["m", "unknown"]);
    let received = Event::SyncReceived { sender: by("carol") };
    assert_eq!(told(&mut alice, &asks(2)), std::slice::from_ref(&received), "heard a moment ago");
    alice.sleep(3_000);
    let requested = Event::RepairRequested { id: id("m"), by: by("carol") };
    assert_eq!(told(&mut alice, &asks(3)), [requested, received.clone()]);
    assert_eq!(told(&mut alice, &asks(4)), [received]);
    alice.run_for(60_000);
    assert_eq!(alice.take_events(), [Event::RepairAnswered { id: id("m") }]);
}

#[test]
fn clock_reset_is_told_when_the_clock_stood_too_far_ahead() {
    let mut alice = peer("alice");
    alice.wall_offset = EPOCH + 3 * 86_400_000;
    alice.send_as(Some("a"), "text");
    alice.wall_offset = EPOCH;
    alice.send_as(Some("b"), "text");
    let from = Lamport(EPOCH + 3 * 86_400_000);
    let expected =
        [Event::ClockReset { from, to: Lamport(EPOCH) }, Event::DeliveryFailed { id: id("a"), possibly: false }];
    assert_eq!(alice.take_events(), expected);
}

#[test]
fn state_mended_is_told_when_what_was_saved_does_not_fit_together_and_never_otherwise() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m1", 1, &[]));
    alice.restart();
    assert_eq!(alice.events, []);
    alice.saved.rows.push(Row::Response(Response::new(id("nothing"), WallTime::from_millis(EPOCH))));
    alice.restart();
    assert!(!alice.events.is_empty());
    assert!(alice.events.iter().all(|event| matches!(event, Event::StateMended { .. })), "{:?}", alice.events);
    assert_eq!(alice.saved, alice.channel.data());
    alice.restart();
    assert_eq!(alice.events, [], "mended for good");
}

#[test]
fn deliveries_are_told_in_the_order_of_delivery_and_dependencies_before_dependants() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m5", 5, &["m1"]));
    alice.receive(&message("bob", "m4", 4, &["m1"]));
    alice.receive(&message("bob", "m3", 3, &["m5"]));
    alice.receive(&message("bob", "m2", 2, &["m4"]));
    alice.take_events();
    let received = alice.receive(&message("bob", "m1", 9, &[]));
    let order = names(&["m1", "m4", "m2", "m5", "m3"]);
    assert_eq!((received.id, received.fate, received.released), (id("m1"), Fate::Delivered, order.clone()));
    let told: Vec<(u64, MessageId)> = alice
        .take_events()
        .into_iter()
        .map(|event| match event {
            Event::MessageDelivered(delivery) => (delivery.number, delivery.body.key.id.clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, (1..).zip(order).collect::<Vec<_>>(), "the lowest whose dependencies are met is next");
}

#[test]
fn deliveries_since_reads_again_exactly_what_was_told() {
    let mut alice = peer("alice");
    for (name, lamport) in [("m3", 3), ("m1", 1), ("m2", 2)] {
        alice.receive(&message("bob", name, lamport, &[]));
        alice.send("own");
    }
    alice.restart();
    let read = alice.since(1);
    let order: Vec<(u64, String)> =
        read.deliveries.iter().map(|delivery| (delivery.number, delivery.body.key.id.to_string())).collect();
    assert_eq!(order, [(2, "m1".to_owned()), (3, "m2".to_owned())]);
    assert_eq!((read.evicted, alice.since(3).deliveries.len()), (0, 0));
}

#[test]
fn what_a_caller_wraps_is_returned_by_that_input_alone_and_nothing_else_with_it() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    alice.now = 61_000;
    // A resend, a request and an acknowledgement are due: only a timeout carries them out.
    for (input, kind) in [
        (Input::Send { content: Bytes::from("text"), id: None }, TransmitKind::Content),
        (Input::SendEphemeral { content: Bytes::from("text") }, TransmitKind::Ephemeral),
        (Input::SendSync, TransmitKind::Sync),
        (Input::Relay(message("carol", "relayed", 5, &[])), TransmitKind::Relay),
    ] {
        alice.input(input).unwrap();
        let kinds: Vec<_> = std::mem::take(&mut alice.transmitted).iter().map(|sent| sent.kind).collect();
        assert_eq!(kinds, [kind]);
    }
    alice.receive(&message("bob", "m3", 3, &[]));
    assert_eq!(alice.transmitted, []);
}

#[test]
fn what_goes_out_by_itself_comes_from_timeouts_alone_answers_then_resends_then_syncs() {
    let mut alice = peer("alice");
    alice.send_as(Some("own"), "text");
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    alice.receive(&message("bob", "m0", 0, &[]));
    alice.sleep(3_000);
    alice.receive(&sync("carol", 2, &[], &["m0"]));
    alice.now = 70_000;
    let kinds: Vec<_> = wake(&mut alice).iter().map(|sent| sent.kind).collect();
    assert_eq!(kinds[..2], [TransmitKind::Repair, TransmitKind::Resend]);
}

#[test]
fn a_step_that_is_refused_tells_and_transmits_nothing() {
    let mut alice = peer("alice");
    let inputs = [
        Input::Send { content: Bytes::new(), id: None },
        Input::SetHint { id: id("unknown"), hint: Bytes::from("hint") },
        Input::Receive(message("bob", "m", 1, &[]).tap_mut(|it| {
            it.content = Bytes::new();
            it.lamport = None;
        })),
    ];
    for input in inputs {
        assert!(alice.input(input).is_err());
    }
    assert_eq!((alice.events.len(), alice.transmitted.len(), alice.commits.len()), (0, 0, 0));
    assert_eq!(alice.input(Input::Timeout), Ok(Outcome::Done));
}
