//! The store that fails on command does what it is told, and only that.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{every_kind, message, meta_for};
use reliable_channel::state::{Commit, HistoryUpdate, Row};
use reliable_channel::store::{
    Fault, FaultyPersistence, MemoryPersistence, Method, Persistence, PersistenceErrorKind, Rule,
};
use reliable_channel::types::ChannelId;

fn faulty() -> FaultyPersistence {
    FaultyPersistence::new(Arc::new(MemoryPersistence::new()))
}

fn commit(rows: Vec<Row>) -> Commit {
    let meta = Some(meta_for(&rows));
    Commit { meta, history: HistoryUpdate { put: rows, delete: vec![] }, hints: vec![] }
}

async fn saved(store: &FaultyPersistence, lamport: u64) -> bool {
    store.commit(&"a".into(), &commit(vec![message(lamport, "m")])).await.is_ok()
}

#[tokio::test]
async fn writes_fail_until_healed_and_reads_do_not() {
    let store = faulty();
    store.fail_writes(PersistenceErrorKind::StorageFull);
    let error = store.commit(&"a".into(), &commit(every_kind())).await.unwrap_err();
    assert_eq!((error.verb, error.kind), ("commit", PersistenceErrorKind::StorageFull));
    store.drop_channel(&"a".into()).await.unwrap_err();
    assert!(store.load_channel(&"a".into()).await.unwrap().is_empty());
    store.heal();
    assert!(saved(&store, 1).await);
    assert_eq!((store.counts().of(Method::Commit), store.counts().failed, store.counts().written), (2, 2, 1));
}

#[tokio::test]
async fn the_nth_call_of_a_method_for_a_channel_fails() {
    let store = faulty();
    store.add(Rule::method(Method::Commit, Fault::Fail(PersistenceErrorKind::Io)).channel("a").nth(2));
    store.commit(&"b".into(), &commit(every_kind())).await.unwrap();
    let results = [saved(&store, 1).await, saved(&store, 2).await, saved(&store, 3).await];
    assert_eq!(results, [true, false, true]);
}

#[tokio::test]
async fn a_torn_commit_has_rows_and_no_meta() {
    let store = faulty();
    store.add(Rule::method(Method::Commit, Fault::Tear).nth(1));
    assert!(!saved(&store, 1).await);
    let data = store.load_channel(&"a".into()).await.unwrap();
    assert_eq!((data.rows, data.meta), (vec![message(1, "m")], None));
}

#[tokio::test]
async fn a_failure_afterwards_has_done_its_work() {
    let store = faulty();
    store.add(Rule::method(Method::Commit, Fault::FailAfterwards(PersistenceErrorKind::Io)).nth(1));
    assert!(!saved(&store, 1).await);
    assert_eq!(store.load_channel(&"a".into()).await.unwrap(), common::data(vec![message(1, "m")]));
}

#[tokio::test]
async fn after_the_crash_point_everything_fails() {
    let store = faulty();
    store.crash_after(2);
    assert_eq!([saved(&store, 1).await, saved(&store, 2).await, saved(&store, 3).await], [true, true, false]);
    store.load_channel(&"a".into()).await.unwrap_err();
    store.heal();
    assert_eq!(store.load_channel(&"a".into()).await.unwrap().rows.len(), 2);
}

#[tokio::test]
async fn what_hangs_goes_on_when_released() {
    let store = faulty();
    store.add(Rule::writes(Fault::Hang).nth(1));
    let task = tokio::spawn({
        let store = store.clone();
        async move { saved(&store, 1).await }
    });
    let given_up = tokio::spawn({
        let store = store.clone();
        store.add(Rule::writes(Fault::Hang).nth(1));
        async move { saved(&store, 2).await }
    });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.hanging(), 2);
    given_up.abort();
    let _ = given_up.await;
    assert_eq!(store.hanging(), 1);
    assert!(store.load_channel(&"a".into()).await.unwrap().is_empty());
    store.release();
    assert!(task.await.unwrap());
    assert_eq!(store.load_channel(&"a".into()).await.unwrap().rows, [message(1, "m")]);
}

#[tokio::test]
async fn bytes_are_counted() {
    let store = faulty();
    let channel = ChannelId::from("a");
    store.commit(&channel, &commit(vec![message(1, "m")])).await.unwrap();
    let once = store.counts().bytes;
    assert!((100..300).contains(&once), "{once}");
    store.commit(&channel, &commit(vec![message(2, "m")])).await.unwrap();
    assert_eq!(store.counts().bytes, 2 * once);
}
