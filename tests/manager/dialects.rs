//! A dialect per channel, and what is said of those who speak another.

use reliable_channel::types::Dialect;
use tap::Tap as _;

use super::*;

fn in_dialect(dialect: Dialect) -> Config {
    Config::of(dialect).tap_mut(|it| it.join = Join::Backfill(u64::MAX))
}

#[tokio::test]
async fn one_manager_has_channels_in_several_dialects() {
    let (alice, bob) = (alice().await, opened(builder("bob")).await);
    for (name, dialect) in [("js", Dialect::JsWaku), ("nim", Dialect::NimSds)] {
        for manager in [&alice, &bob] {
            manager.ensure_channel_with(name, in_dialect(dialect)).await.unwrap();
        }
        let bytes = alice.wrap_outgoing(name, "text").await.unwrap().bytes;
        let (_, heard) = reliable_channel::wire::decode(&bytes, &Default::default()).unwrap();
        assert!(heard.same_family(dialect));
        bob.unwrap_received(bytes).await.unwrap();
        assert_eq!(bob.log(&name.into()).unwrap().len(), 1);
    }
}

#[tokio::test]
async fn the_other_family_is_taken_in_and_told_of_once() {
    let speaker = opened(builder("speaker").config(in_dialect(Dialect::NimSds))).await;
    let alice = opened(builder("alice").config(in_dialect(Dialect::JsWaku))).await;
    let mut events = alice.events();
    for text in ["one", "two"] {
        alice.unwrap_received(wrap(&speaker, text).await.bytes).await.unwrap();
    }
    let told = told(&mut events);
    assert_eq!(deliveries(&told).len(), 2);
    let foreign = |event: &ManagerEvent| {
        matches!(event, ManagerEvent::ForeignDialect { heard: Dialect::NimSds, configured: Dialect::JsWaku, .. })
    };
    assert_eq!(count(&told, foreign), 1);
    assert_eq!(count(&told, |event| matches!(event, ManagerEvent::ForeignDialect { .. })), 1);
}

#[tokio::test]
async fn the_same_family_is_not_foreign() {
    let speaker = alice().await;
    let bob = opened(builder("bob").config(in_dialect(Dialect::JsWaku))).await;
    let mut events = bob.events();
    bob.unwrap_received(wrap(&speaker, "text").await.bytes).await.unwrap();
    assert_eq!(count(&told(&mut events), |event| matches!(event, ManagerEvent::ForeignDialect { .. })), 0);
}

#[tokio::test]
async fn each_family_tells_of_the_other_and_believes_none_of_its_filters() {
    let families =
        [(Dialect::NimSds, Dialect::JsWaku), (Dialect::NimSds, Dialect::Lip109), (Dialect::Lip109, Dialect::NimSds)];
    for (own, other) in families {
        let speaker = opened(builder("speaker").config(in_dialect(other))).await;
        let alice = opened(builder("alice").config(in_dialect(own))).await;
        // The same id on both sides: the speaker's filter holds it when it speaks next.
        alice.wrap_outgoing_with_id(CHANNEL, "same", "text").await.unwrap();
        speaker.wrap_outgoing_with_id(CHANNEL, "same", "text").await.unwrap();
        let mut events = alice.events();
        for text in ["one", "two", "three"] {
            let bytes = wrap(&speaker, text).await.bytes;
            let (mut message, _) = reliable_channel::wire::decode(&bytes, &Default::default()).unwrap();
            assert!(!message.filter.is_empty());
            message.causal_history.clear();
            let bytes = reliable_channel::wire::encode(&message, other).unwrap();
            alice.unwrap_received(bytes).await.unwrap();
        }
        let told = told(&mut events);
        let of = |event: &ManagerEvent| match event {
            ManagerEvent::ForeignDialect { heard, configured, .. } => Some((heard.same_family(other), *configured)),
            _ => None,
        };
        assert_eq!(told.iter().filter_map(of).collect::<Vec<_>>(), [(true, own)], "{own:?} heard {other:?}");
        assert_eq!(deliveries(&told).len(), 3);
        let believed = |event: &ManagerEvent| {
            let ManagerEvent::Channel { event, .. } = event else { return false };
            matches!(event, Event::MessageAcknowledged { .. } | Event::MessagePossiblyAcknowledged { .. })
        };
        assert_eq!(count(&told, believed), 0, "{own:?} heard {other:?}");
    }
}
