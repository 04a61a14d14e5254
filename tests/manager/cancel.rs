//! Dropping a future only stops waiting: what was begun is done whole, what was not begun is not done at all.

use reliable_channel::manager::{ManagerError, OnSaveFailure};
use reliable_channel::store::{Fault, Method, Rule};
use reliable_channel::store::{Persistence, PersistenceErrorKind};

use super::*;

/// Permits of a channel's queue.
const QUEUE: usize = 1_024;

#[tokio::test]
async fn waiting_for_the_save() {
    for polls in 1..4 {
        let (store, memory) = faulty();
        let manager = opened(builder("alice").persistence(Arc::new(store.clone()))).await;
        let messages = messages_of_bob(2).await;
        let mut events = manager.events();
        store.add(Rule::method(Method::Commit, Fault::Hang));

        assert!(poll_times(polls, manager.unwrap_received(messages[1].clone())).is_none());
        assert!(poll_times(polls, manager.wrap_outgoing_with_id(CHANNEL, "mine", "mine")).is_none());
        assert!(poll_times(polls, manager.mark_dependencies_met(CHANNEL, ["other".into()])).is_none());
        assert!(poll_times(polls, manager.set_retrieval_hint(CHANNEL, "mine", "hint")).is_none());
        assert!(poll_times(polls, manager.unwrap_received(messages[0].clone())).is_none());
        assert!(poll_times(polls, manager.sweep(CHANNEL)).is_none());
        store.heal();
        eventually(|| store.hanging() == 1).await;
        assert_eq!(told(&mut events).len(), 0, "nothing is told before it is saved");

        store.release();
        soon(manager.sweep(CHANNEL)).await.unwrap();
        assert_saved(&manager, &memory).await;
        assert_eq!(texts(&manager).len(), 3);
        assert_eq!(manager.data(&channel()).unwrap().hints.len(), 1);
        assert_eq!(deliveries(&told(&mut events)).iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2]);
    }
}

#[tokio::test]
async fn waiting_for_admission() {
    let (store, memory) = faulty();
    let manager = opened(builder("alice").persistence(Arc::new(store.clone()))).await;
    store.add(Rule::method(Method::Commit, Fault::Hang).nth(1));
    let waiting: Vec<_> = (0..QUEUE)
        .map(|number| {
            let manager = manager.clone();
            tokio::spawn(async move { manager.wrap_outgoing(CHANNEL, number.to_string()).await })
        })
        .collect();
    eventually(|| manager.stats(&channel()).unwrap().sent == QUEUE as u64).await;
    let before = manager.data(&channel()).unwrap();

    assert!(poll_times(3, manager.wrap_outgoing(CHANNEL, "too much")).is_none());
    assert!(poll_times(3, manager.unwrap_received(messages_of_bob(1).await.remove(0))).is_none());
    assert_eq!(manager.data(&channel()).unwrap(), before, "what waits for admission has changed nothing");

    store.release();
    for wrapped in waiting {
        soon(wrapped).await.unwrap().unwrap();
    }
    assert_saved(&manager, &memory).await;
    wrap(&manager, "there is room again").await;
    assert!(!texts(&manager).contains(&"too much".to_owned()));
}

#[tokio::test]
async fn waiting_until_what_is_owed_was_saved() {
    let (store, memory) = faulty();
    let builder = builder("alice").persistence(Arc::new(store.clone())).on_save_failure(OnSaveFailure::Fail);
    let manager = opened(builder).await;
    store.fail_writes(PersistenceErrorKind::StorageFull);
    manager.wrap_outgoing(CHANNEL, "owed").await.unwrap_err();
    store.heal();
    store.add(Rule::method(Method::Commit, Fault::Hang));

    assert!(poll_times(2, manager.wrap_outgoing(CHANNEL, "given up")).is_none());
    eventually(|| store.hanging() == 1).await;
    assert!(poll_times(2, manager.wrap_outgoing(CHANNEL, "given up behind it")).is_none());
    store.heal();
    store.release();
    soon(manager.sweep(CHANNEL)).await.unwrap();
    assert_eq!(texts(&manager), ["owed"], "what was not begun is not begun");
    assert_saved(&manager, &memory).await;
}

#[tokio::test]
async fn opening() {
    let (store, memory) = faulty();
    wrap(&opened(builder("alice").persistence(Arc::new(memory))).await, "saved").await;
    let manager = builder("alice").persistence(Arc::new(store.clone())).build().unwrap();
    store.add(Rule::method(Method::LoadChannel, Fault::Hang).nth(1));

    assert!(poll_times(2, manager.ensure_channel(CHANNEL)).is_none());
    eventually(|| store.hanging() == 1).await;
    assert!(matches!(manager.log(&channel()), Err(ManagerError::UnknownChannel(_))));
    store.release();
    soon(manager.ensure_channel(CHANNEL)).await.unwrap();
    assert_eq!(texts(&manager), ["saved"]);
    assert_eq!(store.counts().of(Method::LoadChannel), 1);
}

#[tokio::test]
async fn removing() {
    let (store, memory) = faulty();
    let manager = opened(builder("alice").persistence(Arc::new(store.clone()))).await;
    wrap(&manager, "old").await;
    store.add(Rule::method(Method::DropChannel, Fault::Hang).nth(1));

    assert!(poll_times(2, manager.remove_channel(CHANNEL)).is_none());
    let refused = manager.wrap_outgoing(CHANNEL, "late").await;
    assert!(matches!(refused, Err(ManagerError::UnknownChannel(_))), "{refused:?}");
    eventually(|| store.hanging() == 1).await;
    assert!(poll_times(2, manager.ensure_channel(CHANNEL)).is_none(), "not before it is wiped");
    store.release();
    soon(manager.ensure_channel(CHANNEL)).await.unwrap();
    assert_eq!(texts(&manager), Vec::<String>::new());
    assert_saved(&manager, &memory).await;
}

#[tokio::test]
async fn closing_and_shutting_down() {
    let (store, memory) = faulty();
    let manager = opened(builder("alice").persistence(Arc::new(store.clone()))).await;
    store.add(Rule::method(Method::Commit, Fault::Hang).nth(1));
    assert!(poll_times(1, manager.wrap_outgoing(CHANNEL, "before the end")).is_none());
    assert!(poll_times(1, manager.close_channel(CHANNEL)).is_none());
    store.release();
    eventually(|| manager.channels().is_empty()).await;
    soon(manager.ensure_channel(CHANNEL)).await.unwrap();
    assert_eq!(texts(&manager), ["before the end"]);

    store.add(Rule::method(Method::Commit, Fault::Hang).nth(1));
    assert!(poll_times(1, manager.wrap_outgoing(CHANNEL, "the very last")).is_none());
    assert!(poll_times(1, manager.shutdown()).is_none());
    let refused = manager.wrap_outgoing(CHANNEL, "late").await;
    assert!(matches!(refused, Err(ManagerError::ShutDown)), "{refused:?}");
    store.release();
    assert!(soon(manager.shutdown()).await.is_clean());
    assert_eq!(memory.load_channel(&channel()).await.unwrap(), manager.data(&channel()).unwrap());
    assert_eq!(texts(&manager), ["before the end", "the very last"]);
}
