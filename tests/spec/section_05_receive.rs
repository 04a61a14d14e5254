//! docs/protocol.md section 5: the order of receiving, and what each kind and standing of message does.

use bytes::Bytes;
use reliable_channel::channel::{ChannelError, Event, Fate, Input, Outcome};
use reliable_channel::types::{ChannelId, FilterField, HistoryEntry, Lamport, Message, MessageId};
use tap::Tap as _;

use crate::harness::{EPOCH, Peer, ids, message, parked_for, peer, peer_with, seconds, sync};

fn with_filter(message: &Message) -> Message {
    let filter = FilterField::Compact { k: 7, seed: [7; 8], bits: Bytes::from_static(&[0; 16]) };
    message.clone().tap_mut(|it| it.filter = filter)
}

fn told(peer: &mut Peer, matches: impl Fn(&Event) -> bool) -> usize {
    peer.take_events().iter().filter(|event| matches(event)).count()
}

/// Sent one message, "own"; someone else's messages may acknowledge it and ask for it.
fn sender_of_own() -> Peer {
    let mut alice = peer("alice");
    alice.send_as(Some("own"), "own");
    alice.take_events();
    alice
}

#[test]
fn a_refused_message_changes_nothing() {
    let mut alice = sender_of_own();
    alice.receive(&message("bob", "parked", 2, &["missing"]));
    alice.take_events();
    let good = message("bob", "bad", 3, &["own", "other missing"])
        .tap_mut(|it| it.repair_request = vec![HistoryEntry::new("own")]);
    let long = "x".repeat(257);
    let entry = |id: &str| vec![HistoryEntry::new("own"), HistoryEntry::new(id)];
    let hinted = HistoryEntry::new("own").tap_mut(|it| it.hint = Some(vec![0; 1_025].into()));
    let with_sender = HistoryEntry::new("own").tap_mut(|it| it.sender = Some("".into()));
    let refused = [
        ("id too long", good.clone().tap_mut(|it| it.id = long.as_str().into())),
        ("no id", good.clone().tap_mut(|it| it.id = "".into())),
        ("sender too long", good.clone().tap_mut(|it| it.sender = long.as_str().into())),
        ("no sender", good.clone().tap_mut(|it| it.sender = "".into())),
        ("entry too long", good.clone().tap_mut(|it| it.causal_history = entry(&long))),
        ("entry without id", good.clone().tap_mut(|it| it.repair_request = entry(""))),
        ("entry with an empty sender", good.clone().tap_mut(|it| it.causal_history = vec![with_sender])),
        ("too many entries", good.clone().tap_mut(|it| it.causal_history = vec![HistoryEntry::new("own"); 1_025])),
        ("too many requests", good.clone().tap_mut(|it| it.repair_request = vec![HistoryEntry::new("own"); 1_025])),
        ("hint too long", good.clone().tap_mut(|it| it.causal_history = vec![hinted])),
        ("content too long", good.clone().tap_mut(|it| it.content = vec![0; (1 << 20) + 1].into())),
        ("another channel", good.clone().tap_mut(|it| it.channel = ChannelId::from("d"))),
        (
            "no kind",
            good.clone().tap_mut(|it| {
                it.lamport = None;
                it.content = Bytes::new();
            }),
        ),
        ("far future", good.clone().tap_mut(|it| it.lamport = Some(Lamport(1 << 63)))),
    ];
    let (before, due) = (alice.channel.data(), alice.channel.poll_timeout());
    for (count, (what, message)) in refused.into_iter().enumerate() {
        let error = alice.refuse(&message);
        match what {
            "another channel" => assert_eq!(error, ChannelError::WrongChannel),
            "no kind" => assert_eq!(error, ChannelError::NoKind),
            "far future" => assert!(matches!(error, ChannelError::ClockDrift { .. })),
            _ => assert!(matches!(error, ChannelError::PeerLimit { .. }), "{what}: {error}"),
        }
        assert_eq!(alice.channel.data(), before, "{what}");
        assert_eq!(alice.channel.poll_timeout(), due, "{what}");
        assert_eq!(alice.channel.stats().refused, count as u64 + 1, "{what}");
    }
    assert_eq!((alice.events, alice.transmitted), (vec![], vec![]));
}

#[test]
fn acknowledgements_are_reviewed_and_requests_taken_in_before_anything_else() {
    let speaks = |message: Message| {
        message.tap_mut(|it| {
            it.causal_history = vec![HistoryEntry::new("own")];
            it.repair_request = vec![HistoryEntry::new("asked")];
        })
    };
    let cases = [
        ("duplicate", speaks(message("bob", "known", 1, &[]))),
        ("conflict", speaks(message("eve", "known", 1, &[]))),
        ("ephemeral", speaks(message("bob", "ephemeral", 2, &[])).tap_mut(|it| it.lamport = None)),
        ("sync", speaks(sync("bob", 3, &[], &[]))),
        ("content", speaks(message("bob", "new", 4, &[]))),
    ];
    for (what, message_) in cases {
        let mut alice = sender_of_own();
        alice.receive(&message("carol", "asked", 1, &[]));
        alice.receive(&message("bob", "known", 1, &[]));
        alice.sleep(60_000);
        alice.take_events();
        alice.receive(&message_);
        let events = alice.take_events();
        let acknowledged = events.iter().position(|event| matches!(event, Event::MessageAcknowledged { .. }));
        let requested = events.iter().position(|event| matches!(event, Event::RepairRequested { .. }));
        assert_eq!((acknowledged, requested), (Some(0), Some(1)), "{what}: {events:?}");
        assert_eq!(alice.channel.responses().len(), 1, "{what}");
    }
}

#[test]
fn a_message_with_our_own_sender_id_never_acknowledges_anything() {
    let mut alice = sender_of_own();
    alice.receive(&message("carol", "asked", 1, &[]));
    alice.sleep(60_000);
    alice.take_events();
    alice.receive(&message("alice", "unknown", 2, &["own"]));
    alice.receive(&sync("alice", 3, &["own"], &[]));
    assert_eq!(told(&mut alice, |event| matches!(event, Event::MessageAcknowledged { .. })), 0);
    assert_eq!(alice.channel.outgoing().len(), 1);
}

#[test]
fn an_own_message_known_by_id_is_an_echo_and_ignored() {
    let mut alice = peer("alice");
    let own = alice.send("own");
    let (before, log) = (alice.channel.data(), alice.log());
    let echo = alice.receive(&own);
    assert_eq!((echo.fate, echo.released), (Fate::Echo, vec![]));
    assert_eq!((alice.channel.data(), alice.log()), (before, log));
    assert_eq!((alice.events, alice.transmitted), (vec![], vec![]));
}

#[test]
fn an_own_message_unknown_by_id_is_taken_in_like_any_other() {
    let mut alice = peer("alice");
    assert_eq!(alice.fate(&message("alice", "later", 2, &["earlier"])), parked_for(&["earlier"]));
    assert_eq!(alice.fate(&message("alice", "earlier", 1, &[])), Fate::Delivered);
    assert_eq!(alice.delivered(), ["earlier", "later"]);
    assert_eq!(alice.log(), ["earlier", "later"]);
    assert_eq!(alice.channel.outgoing(), [], "it went out once, before the store was lost");
    assert_eq!(alice.fate(&message("alice", "later", 2, &["earlier"])), Fate::Duplicate);
}

/// A participant that knows "delivered", "parked", "stub" and (below the floor, not yet told) "late".
fn knows_all_standings() -> Peer {
    let mut alice = peer_with("alice", |config| {
        config.max_message_history = 2;
        config.confirm_deliveries = true;
    });
    alice.receive(&message("bob", "stub", 1, &[]));
    alice.receive(&message("bob", "m2", 2, &[]));
    alice.receive(&message("bob", "m3", 3, &[]));
    alice.receive(&message("bob", "delivered", 4, &[]));
    alice.input(Input::DeliveriesTold(4)).unwrap();
    alice.receive(&message("bob", "late", 0, &[]));
    alice.receive(&message("bob", "parked", 9, &["missing"]));
    assert_eq!((alice.stubs(), alice.parked()), (ids(["stub", "m2"]), ids(["parked"])));
    alice.take_events();
    alice
}

const STANDINGS: [(&str, u64); 4] = [("delivered", 4), ("parked", 9), ("stub", 1), ("late", 0)];

#[test]
fn duplicates_in_every_standing_are_reported_as_such_never_delivered_twice_never_an_error() {
    for restarted in [false, true] {
        let mut alice = knows_all_standings();
        if restarted {
            alice.restart();
            alice.take_events();
        }
        for (id, lamport) in STANDINGS {
            let before = alice.channel.data();
            let duplicate = alice.receive(&message("bob", id, lamport, &[]));
            assert_eq!((duplicate.fate, duplicate.released), (Fate::Duplicate, vec![]), "{id}, {restarted}");
            assert_eq!(alice.channel.data(), before, "{id}, {restarted}");
        }
        assert_eq!(alice.events, [], "{restarted}");
    }
}

#[test]
fn the_same_id_with_other_sender_or_lamport_is_a_conflict_and_the_first_stays() {
    for (id, lamport) in STANDINGS {
        let mut alice = knows_all_standings();
        let before = alice.channel.data();
        let others = [message("eve", id, lamport, &[]), message("bob", id, lamport + 20, &[])];
        for (count, other) in others.iter().enumerate() {
            assert_eq!(alice.fate(other), Fate::Conflict, "{id}");
            let event = Event::IdConflict { id: id.into(), sender: other.sender.clone() };
            assert_eq!(alice.take_events(), [event], "{id}, {count}");
        }
        assert_eq!(alice.channel.data(), before, "{id}");
    }
}

#[test]
fn the_same_id_with_other_content_is_a_conflict_where_content_is_still_known() {
    for (id, lamport) in STANDINGS.into_iter().filter(|(id, _)| *id != "stub") {
        let mut alice = knows_all_standings();
        let before = alice.channel.data();
        let other = message("bob", id, lamport, &[]).tap_mut(|it| it.content = "other".into());
        assert_eq!(alice.fate(&other), Fate::Conflict, "{id}");
        assert_eq!(alice.channel.data(), before, "{id}");
    }
}

#[test]
fn a_conflicting_echo_is_a_conflict_too() {
    let mut alice = peer("alice");
    let own = alice.send("own");
    assert_eq!(alice.fate(&own.tap_mut(|it| it.content = "other".into())), Fate::Conflict);
    assert_eq!(alice.log().len(), 1);
}

#[test]
fn a_duplicate_acknowledges_and_is_acknowledged_again() {
    let mut alice = sender_of_own();
    let first = message("bob", "m", 1, &[]);
    alice.receive(&first);
    alice.run_for(10_000);
    alice.take_events();
    let again = with_filter(&first.tap_mut(|it| it.causal_history = vec![HistoryEntry::new("own")]));
    assert_eq!(alice.fate(&again), Fate::Duplicate);
    assert_eq!(told(&mut alice, |event| matches!(event, Event::MessageAcknowledged { .. })), 1);
    let syncs = alice.run_for(4_000);
    assert_eq!(syncs.len(), 1, "bob waits still: he hears of it once more");
    assert!(crate::harness::holds(&syncs[0].message, "m"));
}

#[test]
fn only_a_content_message_taken_in_or_a_known_duplicate_cancels_repair_entries_for_its_id() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "parked", 2, &["wanted"]));
    alice.receive(&message("bob", "here", 1, &[]));
    alice.sleep(60_000);
    alice.receive(&sync("carol", 3, &[], &["here"]));
    let pending = |alice: &Peer| (alice.channel.requests().len(), alice.channel.responses().len());
    assert_eq!(pending(&alice), (1, 1));

    let id = |id: &str, message: Message| message.tap_mut(|it| it.id = MessageId::from(id));
    alice.receive(&id("wanted", sync("eve", 4, &[], &[])));
    alice.receive(&id("here", sync("eve", 5, &[], &[])));
    alice.receive(&message("eve", "wanted", 6, &[]).tap_mut(|it| it.lamport = None));
    alice.receive(&message("eve", "here", 7, &[]).tap_mut(|it| it.lamport = None));
    assert_eq!(alice.fate(&message("eve", "here", 1, &[])), Fate::Conflict);
    alice.refuse(&message("bob", "wanted", 1, &[]).tap_mut(|it| it.channel = "d".into()));
    assert_eq!(pending(&alice), (1, 1));

    assert_eq!(alice.fate(&message("bob", "here", 1, &[])), Fate::Duplicate);
    assert_eq!(pending(&alice), (1, 0));
    alice.receive(&message("bob", "wanted", 1, &[]));
    assert_eq!(pending(&alice), (0, 0));
}

#[test]
fn an_ephemeral_message_is_delivered_at_once_by_event_and_enters_no_log_no_buffer_no_filter() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m", 1, &[]));
    alice.take_events();
    let before = alice.channel.data();
    let ephemeral = message("bob", "e", 0, &["never received"]).tap_mut(|it| it.lamport = None);
    for _ in 0..2 {
        assert_eq!(alice.fate(&ephemeral), Fate::Ephemeral);
        let event = Event::EphemeralReceived { id: "e".into(), sender: "bob".into(), content: "e".into() };
        assert_eq!(alice.take_events(), [event]);
    }
    let content = Bytes::from_static(b"typing");
    let Ok(Outcome::Sent(own)) = alice.input(Input::SendEphemeral { content }) else { panic!() };
    assert_eq!(alice.channel.data(), before);
    assert!(!alice.summarises("e") && !alice.summarises(&own.to_string()) && alice.summarises("m"));
}

#[test]
fn a_sync_message_is_reviewed_for_dependencies_and_never_parked_logged_or_put_in_a_filter() {
    let mut alice = sender_of_own();
    let heard = sync("bob", 5, &["own", "missing"], &[]);
    assert_eq!(alice.fate(&heard), Fate::Sync);
    assert_eq!((alice.asked(), alice.parked(), alice.log()), (ids(["missing"]), vec![], ids(["own"])));
    assert_eq!(alice.delivered(), [] as [&str; 0]);
    assert_eq!(alice.channel.meta().lamport, Lamport(EPOCH + 1), "not even the clock moves");
    assert_eq!(told(&mut alice, |event| matches!(event, Event::MissingDependencies { .. })), 1);
    assert_eq!(alice.fate(&heard), Fate::Sync, "it has no standing: never a duplicate");
    let own = alice.send_sync();
    assert!(!alice.summarises(&heard.id.to_string()) && !alice.summarises(&own.id.to_string()));
    assert_eq!(alice.log(), ["own"]);
}

#[test]
fn a_received_sync_message_alone_is_not_acknowledged() {
    let mut alice = peer("alice");
    alice.receive(&sync("bob", 1, &[], &[]));
    assert!(alice.run_for(20_000).is_empty());
}

#[test]
fn unwrap_returns_this_message_its_outcome_what_it_released_and_what_is_missing() {
    let mut alice = peer_with("alice", |config| config.t_min = seconds(1));
    let parked = alice.receive(&message("bob", "c", 3, &["b", "x", "b"]));
    assert_eq!((parked.id, parked.fate, parked.released), ("c".into(), parked_for(&["b", "x"]), vec![]));
    assert_eq!(alice.fate(&message("bob", "b", 2, &["a"])), parked_for(&["a"]));
    assert_eq!(alice.fate(&message("bob", "d", 4, &["c"])), parked_for(&[]), "what is parked is not missing");
    assert_eq!(alice.fate(&message("bob", "x", 1, &[])), Fate::Delivered);
    let last = alice.receive(&message("bob", "a", 1, &[]));
    assert_eq!(last.fate, Fate::Delivered);
    assert_eq!(last.released, ["a", "b", "c", "d"].map(MessageId::from));
}

#[test]
fn an_own_ephemeral_message_that_comes_back_is_an_echo_and_tells_nothing() {
    let mut alice = peer("alice");
    alice.input(Input::SendEphemeral { content: "typing".into() }).unwrap();
    let sent = alice.transmitted.pop().unwrap().message;
    assert_eq!(alice.fate(&sent), Fate::Echo);
    assert_eq!(alice.events, []);
}
