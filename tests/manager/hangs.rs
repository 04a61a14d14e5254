//! A store's call that does not come back while something ends: who asked is told what is waited for, and what was begun is
//! done once the store goes on.

use reliable_channel::manager::{ManagerError, OnSaveFailure, Unfinished};
use reliable_channel::store::{Fault, Method, PersistenceErrorKind, Rule};

use super::*;

const PATIENCE: Option<Duration> = Some(Duration::from_millis(100));

#[tokio::test]
async fn a_removal_that_hangs_is_told() {
    let (store, memory) = faulty();
    let manager = opened(builder("alice").persistence(Arc::new(store.clone())).end_timeout(PATIENCE)).await;
    wrap(&manager, "old").await;
    store.add(Rule::method(Method::DropChannel, Fault::Hang));
    for _ in 0..2 {
        let removed = soon(manager.remove_channel(CHANNEL)).await;
        let Err(ManagerError::Unfinished { what, .. }) = removed else { panic!("{removed:?}") };
        assert_eq!(what, Unfinished::Store("drop_channel"));
    }
    assert!(poll_times(2, manager.ensure_channel(CHANNEL)).is_none(), "not before it is wiped");
    let report = soon(manager.shutdown()).await;
    assert_eq!(report.unfinished, [(channel(), Unfinished::Store("drop_channel"))]);
    assert!(!report.is_clean() && report.unsaved.is_empty() && report.flush.is_none());
    store.heal();
    store.release();
    while !memory.load_channel(&channel()).await.unwrap().is_empty() {
        soon(tokio::task::yield_now()).await;
    }
}

#[tokio::test]
async fn a_reset_whose_store_does_not_name_its_channels_is_told() {
    let (store, memory) = faulty();
    let manager = opened(builder("alice").persistence(Arc::new(store.clone())).end_timeout(PATIENCE)).await;
    wrap(&manager, "kept").await;
    store.add(Rule::method(Method::ListChannels, Fault::Hang));
    let Err(error) = soon(manager.reset()).await else { panic!("it cannot know what to remove") };
    assert!(error.to_string().contains("list_channels has not come back yet"), "{error}");
    assert_saved(&manager, &memory).await;
    store.heal();
    soon(manager.reset()).await.unwrap();
    assert!(memory.load_channel(&channel()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_flush_that_hangs_is_told() {
    let (store, memory) = faulty();
    let manager = opened(builder("alice").persistence(Arc::new(store.clone())).end_timeout(PATIENCE)).await;
    wrap(&manager, "saved").await;
    store.add(Rule::method(Method::Flush, Fault::Hang));
    let report = soon(manager.shutdown()).await;
    let why = report.flush.as_ref().expect("it is told").to_string();
    assert!(why.contains("flush has not come back yet"), "{why}");
    assert!(!report.is_clean() && report.unsaved.is_empty() && report.unfinished.is_empty());
    assert_saved(&manager, &memory).await;
    store.heal();
    store.release();
}

#[tokio::test]
async fn steps_that_are_released_after_close_was_asked_for_are_saved_before_it_is_closed_and_none_after() {
    let (store, memory) = faulty();
    let manager = opened(builder("alice").persistence(Arc::new(store.clone())).end_timeout(PATIENCE)).await;
    store.add(Rule::method(Method::Commit, Fault::Hang).nth(1));
    let [in_store, queued] = ["in the store", "queued"].map(|text| {
        let manager = manager.clone();
        tokio::spawn(async move { manager.wrap_outgoing(CHANNEL, text).await })
    });
    eventually(|| store.hanging() == 1).await;
    let closed = soon(manager.close_channel(CHANNEL)).await;
    assert!(matches!(closed, Err(ManagerError::Unfinished { what: Unfinished::Store("commit"), .. })), "{closed:?}");
    assert!(memory.load_channel(&channel()).await.unwrap().is_empty());

    store.release();
    for released in [in_store, queued] {
        soon(released).await.unwrap().unwrap();
    }
    eventually(|| matches!(manager.log(&channel()), Err(ManagerError::UnknownChannel(_)))).await;
    soon(manager.ensure_channel(CHANNEL)).await.unwrap();
    assert_eq!(texts(&manager), ["in the store", "queued"]);
    wrap(&manager, "and on").await;
    assert_saved(&manager, &memory).await;
    assert!(soon(manager.shutdown()).await.is_clean());
}

/// With `Degrade` its message is there, though not saved; with `Fail` it was not begun, for a save had to come first.
#[tokio::test]
async fn who_waits_for_a_store_that_hangs_is_told_of_the_end_and_learns_whether_its_message_was_kept() {
    for fails in [false, true] {
        let (store, _) = faulty();
        let policy = if fails { OnSaveFailure::Fail } else { OnSaveFailure::Degrade };
        let builder = builder("alice").persistence(Arc::new(store.clone())).on_save_failure(policy);
        let manager = opened(builder.end_timeout(PATIENCE)).await;
        if fails {
            store.fail_writes(PersistenceErrorKind::StorageFull);
            manager.wrap_outgoing(CHANNEL, "owed").await.unwrap_err();
            store.heal();
        }
        store.add(Rule::method(Method::Commit, Fault::Hang));
        let waiting = {
            let manager = manager.clone();
            tokio::spawn(async move { manager.wrap_outgoing_with_id(CHANNEL, "in flight", "text").await })
        };
        eventually(|| store.hanging() == 1).await;
        let report = soon(manager.shutdown()).await;
        assert_eq!(report.unfinished, [(channel(), Unfinished::Store("commit"))]);
        let told = soon(waiting).await.unwrap();
        assert!(matches!(told, Err(ManagerError::ShutDown)), "{told:?}");
        let kept = manager.delivery_state(&channel(), &"in flight".into()).unwrap();
        assert_eq!(kept.is_some(), !fails, "fails: {fails}");
        store.heal();
        store.release();
    }
}
