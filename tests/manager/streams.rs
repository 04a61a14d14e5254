//! Streams: complete for who keeps up, honest to who does not, and they end.

use reliable_channel::manager::Lagged;
use tap::Tap as _;

use super::*;

#[tokio::test]
async fn a_lagging_reader_is_told_how_many_it_missed_and_resumes() {
    let manager = opened(builder("alice").stream_capacity(8)).await;
    let mut events = manager.events();
    let mut known = Vec::new();
    let messages = messages_of_bob(50).await;
    for bytes in &messages[..3] {
        manager.unwrap_received(bytes.clone()).await.unwrap();
    }
    known.extend(deliveries(&told(&mut events)));
    for bytes in &messages[3..] {
        manager.unwrap_received(bytes.clone()).await.unwrap();
    }
    assert_eq!(events.next().await.map(|item| item.is_err()), Some(true));
    let last = known.last().unwrap().0;
    let last = manager.cursor(&channel()).unwrap().tap_mut(|it| it.number = last);
    let again = manager.deliveries_since(&channel(), last).unwrap();
    assert_eq!(again.evicted, 0);
    known.extend(again.deliveries.iter().map(|delivery| (delivery.number, delivery.body.key.id.clone())));
    let last = known.last().unwrap().0;
    known.extend(deliveries(&told(&mut events)).into_iter().filter(|(number, _)| *number > last));
    assert_eq!(known.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (1..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_count_of_what_was_missed_is_exact() {
    let manager = opened(builder("alice").stream_capacity(8)).await;
    wrap(&manager, "something to sync about").await;
    let mut slow = manager.transmissions();
    let mut quick = manager.transmissions();
    for _ in 0..20 {
        manager.sync_now(CHANNEL).await.unwrap();
        soon(quick.next()).await.unwrap().unwrap();
    }
    assert_eq!(soon(slow.next()).await, Some(Err(Lagged(12))));
    for _ in 0..8 {
        soon(slow.next()).await.unwrap().unwrap();
    }
    assert_eq!(slow.try_next(), None);
}

#[tokio::test]
async fn they_end_after_their_last_item() {
    let manager = alice().await;
    let (mut events, mut transmissions) = (manager.events(), manager.transmissions());
    manager.unwrap_received(messages_of_bob(1).await.remove(0)).await.unwrap();
    manager.shutdown().await;
    let mut seen = Vec::new();
    while let Some(event) = soon(events.next()).await {
        seen.push(event.unwrap());
    }
    assert_eq!(deliveries(&seen).len(), 1);
    assert!(soon(events.next()).await.is_none());
    assert!(soon(transmissions.next()).await.is_none());

    let manager = alice().await;
    let mut events = manager.events();
    drop(manager);
    assert!(soon(events.next()).await.is_none());
}

#[tokio::test]
async fn what_the_caller_wraps_is_returned_to_the_caller_alone() {
    let manager = alice().await;
    let mut transmissions = manager.transmissions();
    wrap(&manager, "mine").await;
    manager.wrap_ephemeral(CHANNEL, "typing").await.unwrap();
    assert_eq!(transmissions.try_next(), None);
}
