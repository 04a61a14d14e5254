//! docs/protocol.md sections 7 and 8: what filters with fixed hashes, those of the peers' dialects, can show.

use reliable_channel::channel::{Config, DeliveryState, Event, Input, Join, TransmitKind};
use reliable_channel::filter::{IdHash, RollingFilter, RollingFilterConfig};
use reliable_channel::types::{Dialect, FilterField, MessageId, RunningTime};
use tap::Tap as _;

use crate::harness::{Peer, filter_from, peer_with, sync};

fn speaking(dialect: Dialect) -> Peer {
    peer_with("alice", |config| *config = Config::of(dialect).tap_mut(|it| it.join = Join::Backfill(u64::MAX)))
}

/// A filter in this dialect with so many other ids, and these.
fn filter(dialect: Dialect, others: u64, ids: &[&str]) -> FilterField {
    let mut filter = RollingFilter::new(RollingFilterConfig::of(dialect));
    let others = (0..others).map(|n| MessageId::from(format!("other {n}")));
    for id in others.chain(ids.iter().map(|id| MessageId::from(*id))) {
        filter.insert(&id, IdHash::in_dialect(&id, dialect), RunningTime::default());
    }
    filter.field()
}

fn state(peer: &Peer, id: &str) -> Option<DeliveryState> {
    peer.channel.delivery_state(&id.into())
}

/// The chance of error with which a message is possibly acknowledged.
fn chance(peer: &Peer, id: &str) -> f64 {
    match state(peer, id) {
        Some(DeliveryState::PossiblyAcknowledged { chance }) => chance,
        other => panic!("{other:?}"),
    }
}

/// What was told of the end of sending.
fn ends(peer: &mut Peer) -> Vec<Event> {
    let mut events = peer.take_events();
    events.retain(|event| {
        matches!(
            event,
            Event::DeliveryFailed { .. } | Event::DeliveryUncertain { .. } | Event::MessageAcknowledged { .. }
        )
    });
    events
}

#[test]
fn a_sender_of_many_filters_with_fixed_hashes_is_one_trial() {
    for dialect in [Dialect::JsWaku, Dialect::NimSds] {
        let mut alice = speaking(dialect);
        alice.send_as(Some("m"), "m");
        let without = filter(dialect, 4_000, &[]);
        (1..=50).for_each(|n| drop(alice.receive(&filter_from("bob", n, without.clone()))));
        assert_eq!(state(&alice, "m"), Some(DeliveryState::Unacknowledged));
        alice.receive(&filter_from("bob", 51, filter(dialect, 4_000, &["m"])));
        assert_eq!(state(&alice, "m"), Some(DeliveryState::Acknowledged), "{dialect:?}: a chance of 5e-7, once");
    }
}

#[test]
fn each_sender_is_a_trial_whose_filter_was_heard_since_the_message_was_sent() {
    let dialect = Dialect::JsWaku;
    let (mut alone, mut among_five) = (speaking(dialect), speaking(dialect));
    let without = filter(dialect, 4_000, &[]);
    let others = ["carol", "dave", "erin", "frank"];
    for alice in [&mut alone, &mut among_five] {
        others.iter().for_each(|other| drop(alice.receive(&filter_from(other, 1, without.clone()))));
        alice.send_as(Some("m"), "m");
    }
    others.iter().for_each(|other| drop(among_five.receive(&filter_from(other, 2, without.clone()))));
    for alice in [&mut alone, &mut among_five] {
        alice.receive(&filter_from("bob", 3, filter(dialect, 4_000, &["m"])));
    }
    assert_eq!(state(&alone, "m"), Some(DeliveryState::Acknowledged));
    assert!((2e-6..4e-6).contains(&chance(&among_five, "m")), "five trials: {}", chance(&among_five, "m"));
}

#[test]
fn a_message_that_only_such_filters_show_is_uncertain_and_has_not_failed() {
    for dialect in [Dialect::JsWaku, Dialect::NimSds] {
        let mut alice = speaking(dialect);
        alice.send_as(Some("m"), "m");
        alice.send_as(Some("unseen"), "m");
        let weak = filter(dialect, 9_000, &["m"]);
        (1..=9).for_each(|n| drop(alice.receive(&filter_from("bob", n, weak.clone()))));
        let known = chance(&alice, "m");
        assert!((1e-4..1e-3).contains(&known), "{dialect:?}: {known}");
        alice.run_for(600_000);
        let unseen = Event::DeliveryFailed { id: "unseen".into(), possibly: false };
        let uncertain = Event::DeliveryUncertain { id: "m".into(), chance: known };
        let told = ends(&mut alice);
        assert!(told.len() == 2 && told.contains(&unseen) && told.contains(&uncertain), "{dialect:?}: {told:?}");
        assert_eq!(alice.channel.stats().failed, 1);
        for _ in 0..2 {
            assert!((chance(&alice, "m") - known).abs() < f64::EPSILON, "also after a restart");
            assert!(alice.times_of(TransmitKind::Resend, 600_000).is_empty());
            alice.restart();
        }
        alice.receive(&sync("bob", 99, &["m"], &[]));
        let told = Event::MessageAcknowledged { id: "m".into(), by: "bob".into(), after_failure: false };
        assert_eq!(ends(&mut alice), [told], "a causal history may still name it");
    }
}

#[test]
fn an_uncertain_message_can_be_sent_again_and_withdrawn() {
    let dialect = Dialect::JsWaku;
    let mut alice = speaking(dialect);
    alice.send_as(Some("m"), "m");
    alice.receive(&filter_from("bob", 1, filter(dialect, 9_000, &["m"])));
    alice.run_for(600_000);
    assert!(matches!(ends(&mut alice)[..], [Event::DeliveryUncertain { .. }]));
    alice.input(Input::Resend("m".into())).unwrap();
    assert_eq!(alice.times_of(TransmitKind::Resend, 600_000).len(), 5);
    assert!(matches!(ends(&mut alice)[..], [Event::DeliveryUncertain { .. }]), "once an order");
    alice.input(Input::Withdraw("m".into())).unwrap();
    assert!(alice.channel.outgoing().is_empty());
}

#[test]
fn everybody_who_names_a_message_is_known_to_have_it() {
    let mut alice = peer_with("alice", |_| {});
    alice.send_as(Some("m"), "m");
    for (n, name) in (1..).zip(["bob", "carol", "bob", "dave", "alice", "carol"]) {
        alice.receive(&sync(name, 5 + n, &["m"], &[]));
    }
    let told: Vec<String> = alice
        .take_events()
        .into_iter()
        .filter_map(|event| match event {
            Event::MessageAcknowledged { by, .. } => Some(format!("first {by}")),
            Event::AlsoAcknowledged { id, by } => Some(format!("{id} also {by}")),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["first bob", "m also carol", "m also dave"]);
    let names = ["bob", "carol", "dave"].map(reliable_channel::types::ParticipantId::from);
    assert_eq!(alice.channel.acknowledged_by(&"m".into()), names);
    assert!(alice.channel.acknowledged_by(&"unknown".into()).is_empty());
}
