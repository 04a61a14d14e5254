//! docs/protocol.md section 5: messages under our own name that we did not send.

use reliable_channel::channel::{DeliveryState, Event, Fate, Input};
use reliable_channel::types::{HistoryEntry, Lamport, Message};
use tap::Tap as _;

use crate::harness::{Peer, answering, filter_from, filter_of, ids, message, missing, peer, peer_with, sync};

/// Which messages were said to be another device's.
fn shared(peer: &mut Peer) -> Vec<String> {
    let told = peer.take_events().into_iter().filter_map(|event| match event {
        Event::SharedIdentity { id } => Some(id.to_string()),
        _ => None,
    });
    told.collect()
}

fn asking(message: Message, id: &str) -> Message {
    message.tap_mut(|it| it.repair_request = vec![HistoryEntry::new(id)])
}

fn ephemeral(sender: &str, id: &str) -> Message {
    message(sender, id, 0, &[]).tap_mut(|it| it.lamport = None)
}

#[test]
fn requests_under_our_own_name_that_we_did_not_make_are_answered() {
    for foreign in [
        asking(message("alice", "content", 2, &[]), "asked"),
        asking(sync("alice", 2, &[], &[]), "asked"),
        asking(ephemeral("alice", "typing"), "asked"),
    ] {
        let mut alice = peer("alice");
        alice.receive(&message("carol", "asked", 1, &[]));
        alice.sleep(60_000);
        alice.receive(&foreign);
        assert_eq!(answering(&alice), ["asked"], "{foreign:?}");
        assert_eq!(shared(&mut alice), [foreign.id.to_string()]);
    }
}

#[test]
fn what_a_sync_message_from_before_our_opening_asks_for_is_answered() {
    // It may be an echo, or of another device whose clock is behind ours.
    let mut alice = peer("alice");
    alice.receive(&message("carol", "asked", 80_000, &[]));
    alice.restart();
    alice.sleep(60_000);
    alice.receive(&asking(sync("alice", 70_000, &["head"], &[]), "asked"));
    assert_eq!((answering(&alice), missing(&alice)), (ids(["asked"]), vec![]));
    assert!(shared(&mut alice).is_empty(), "nobody can say whose it is");
}

#[test]
fn what_a_sync_message_under_our_own_name_names_is_asked_for() {
    let mut alice = peer("alice");
    alice.receive(&sync("alice", 1, &["head"], &[]));
    assert_eq!(missing(&alice), ["head"]);
}

#[test]
fn content_of_another_device_is_delivered_and_nobody_can_say_how_far_it_has_come() {
    let mut alice = peer("alice");
    let foreign = message("alice", "m", 1, &[]);
    assert_eq!(alice.fate(&foreign), Fate::Delivered);
    assert_eq!(alice.delivered(), ["m"]);
    assert_eq!((alice.channel.delivery_state(&"m".into()), alice.channel.outgoing().len()), (None, 0));
    assert_eq!(shared(&mut alice), ["m"]);
    let again = foreign.clone().tap_mut(|it| it.filter = filter_of(&["m"], 1));
    assert_eq!(alice.fate(&again), Fate::Duplicate, "it is no echo");
    assert!(alice.run_for(4_500).is_empty(), "and not acknowledged: the other device would not hear of it");
    assert!(shared(&mut alice).is_empty(), "told once");
    alice.restart();
    assert_eq!(alice.channel.delivery_state(&"m".into()), None);
    alice.receive(&again);
    assert_eq!(shared(&mut alice), ["m"], "once an opening");
}

#[test]
fn an_ephemeral_message_of_another_device_is_delivered() {
    let mut alice = peer("alice");
    assert_eq!(alice.fate(&ephemeral("alice", "typing")), Fate::Ephemeral);
    let told = alice.take_events();
    assert!(told.iter().any(|event| matches!(event, Event::EphemeralReceived { .. })), "{told:?}");
}

#[test]
fn nothing_under_our_own_name_acknowledges_a_message_of_ours() {
    let mut alice = peer("alice");
    alice.send_as(Some("own"), "own");
    for foreign in [
        message("alice", "content", 2, &["own"]),
        sync("alice", 3, &["own"], &[]),
        filter_from("alice", 4, filter_of(&["own"], 1)),
    ] {
        alice.receive(&foreign);
        assert_eq!(alice.channel.delivery_state(&"own".into()), Some(DeliveryState::Unacknowledged), "{foreign:?}");
    }
}

#[test]
fn what_we_sent_ourselves_is_an_echo_whatever_it_is() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 3);
    alice.receive(&message("bob", "asked", 1, &[]));
    alice.sleep(60_000);
    let content = asking(alice.send("content"), "asked");
    let sync = asking(alice.send_sync(), "asked");
    alice.input(Input::SendEphemeral { content: "typing".into() }).unwrap();
    let typing = asking(alice.transmitted.pop().unwrap().message, "asked");
    alice.receive(&sync_of("bob", &alice));
    (0..40).for_each(|n| drop(alice.receive(&message("bob", &format!("b{n}"), 70_000 + n, &[]))));
    alice.take_events();
    for echo in [&content, &sync, &typing] {
        alice.receive(echo);
        assert!(answering(&alice).is_empty());
    }
    assert!(shared(&mut alice).is_empty());
    alice.restart();
    // The run before may have sent a sync message that nobody remembers; its time tells.
    let forgotten = sync.clone().tap_mut(|it| {
        it.id = "forgotten".into();
        it.lamport = Some(alice.channel.meta().lamport);
    });
    [&content, &sync, &forgotten].into_iter().for_each(|echo| drop(alice.receive(echo)));
    assert!(shared(&mut alice).is_empty());
    let next = Lamport(alice.channel.meta().lamport.0 + 1);
    alice.receive(&sync.tap_mut(|it| {
        it.id = "another device's".into();
        it.lamport = Some(next);
    }));
    assert_eq!(shared(&mut alice), ["another device's"]);
}

/// A sync message that acknowledges all that this participant has sent.
fn sync_of(sender: &str, peer: &Peer) -> Message {
    let log = peer.log();
    let names: Vec<&str> = log.iter().map(String::as_str).collect();
    sync(sender, 60_500, &names, &[])
}

#[test]
fn two_devices_under_one_name_end_with_one_log() {
    let (mut phone, mut laptop) = (peer("alice"), peer("alice"));
    laptop.entropy = 7;
    let mut bob = peer("bob");
    bob.receive(&phone.send_as(Some("p1"), "from the phone"));
    bob.receive(&laptop.send_as(Some("l1"), "from the laptop"));
    laptop.receive(&bob.send_as(Some("b1"), "to both"));
    assert_eq!(laptop.parked(), ["b1"], "it names what the phone sent");
    // The laptop asks under the name that the phone has too, and the phone answers.
    for _ in 0..300 {
        for sent in laptop.run_for(1_000) {
            phone.receive(&sent.message);
        }
        for sent in phone.run_for(1_000) {
            laptop.receive(&sent.message);
        }
    }
    let all = ids(["p1", "l1", "b1"]);
    assert!(all.iter().all(|id| laptop.log().contains(id)), "{:?}", laptop.log());
    assert!(laptop.log().iter().all(|id| phone.log().contains(id)), "{:?}", phone.log());
    let state = |id: &str| phone.channel.delivery_state(&id.into());
    assert_eq!((state("p1"), state("l1")), (Some(DeliveryState::Acknowledged), None), "bob's message names both");
}

#[test]
fn the_last_512_sync_messages_sent_are_known_as_echoes() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m", 1, &[]));
    let sent: Vec<Message> = (0..513).map(|_| alice.send_sync()).collect();
    sent[1..].iter().for_each(|echo| drop(alice.receive(echo)));
    assert!(shared(&mut alice).is_empty());
    alice.receive(&sent[0]);
    assert_eq!(shared(&mut alice), [sent[0].id.to_string()], "it is forgotten");
}

/// Their clocks stand where a message from the future has put both: each took the other's words for its own.
#[test]
fn sync_messages_of_two_devices_at_one_time_have_ids_of_their_own() {
    let (mut phone, mut laptop) = (peer("alice"), peer("alice"));
    let ahead = message("bob", "m", 50_000, &[]);
    phone.receive(&ahead);
    laptop.receive(&ahead);
    laptop.receive(&ahead);
    let (one, other) = (phone.send_sync(), laptop.send_sync());
    assert_eq!(one.lamport, other.lamport);
    assert_ne!(one.id, other.id);
}
