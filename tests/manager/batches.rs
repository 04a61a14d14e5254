//! Steps that wait for a busy store share the next commit, and nobody can tell but by counting.

use reliable_channel::manager::{ManagerError, OnSaveFailure};
use reliable_channel::store::{Fault, Method, PersistenceErrorKind, Rule};
use tap::Tap as _;

use super::place::Place;
use super::*;

/// Steps that share a commit at most.
const BATCH: usize = 64;

fn hang() -> Rule {
    Rule::method(Method::Commit, Fault::Hang)
}

#[tokio::test]
async fn what_waits_for_a_commit_shares_the_next() {
    let (store, memory) = faulty();
    let manager = opened(builder("alice").persistence(Arc::new(store.clone()))).await;
    store.add(hang().nth(1));
    let calls: Vec<_> = (0..BATCH)
        .map(|number| {
            let manager = manager.clone();
            tokio::spawn(async move { manager.wrap_outgoing(CHANNEL, number.to_string()).await })
        })
        .collect();
    eventually(|| manager.stats(&channel()).unwrap().sent == BATCH as u64).await;
    store.release();
    for call in calls {
        soon(call).await.unwrap().unwrap();
    }
    assert_eq!(store.counts().of(Method::Commit), 2);
    assert_saved(&manager, &memory).await;
}

#[cfg(feature = "redb")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_on_one_channel_share_commits_on_disk() {
    let place = Place::redb();
    let store = FaultyPersistence::new(place.store());
    let manager = opened(builder("alice").persistence(Arc::new(store.clone()))).await;
    let callers = (0..64).map(|caller| {
        let manager = manager.clone();
        tokio::spawn(async move {
            for number in 0..10 {
                manager.wrap_outgoing(CHANNEL, format!("{caller} {number}")).await.unwrap();
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        soon(caller).await.unwrap();
    }
    let commits = store.counts().of(Method::Commit);
    assert!(commits <= 160, "{commits} for 640 operations");
    assert_saved(&manager, &store).await;
}

/// Queues many operations behind a store that hangs in every commit, and lets one commit after the other end: the
/// store always has the state after one of them, so a crash anywhere leaves a prefix.
async fn leaves_a_prefix(place: Place) {
    let store = FaultyPersistence::new(place.store());
    let config = config().tap_mut(|it| it.max_message_history = 5);
    let manager = opened(builder("alice").config(config).persistence(Arc::new(store.clone()))).await;
    let messages = messages_of_bob(60).await;
    let mut events = manager.events();
    store.add(hang());
    let mut states = Vec::new();
    for (number, bytes) in messages.iter().enumerate() {
        // Else tokio makes a task that polls so much wait, and the call with it.
        tokio::task::yield_now().await;
        // In pairs, the later before the earlier: parked, then delivered, soon evicted.
        let bytes = if number % 2 == 0 { messages.get(number + 1).unwrap_or(bytes) } else { &messages[number - 1] };
        let mine = format!("mine {number}");
        assert!(poll_times(1, manager.unwrap_received(bytes.clone())).is_none());
        states.push(manager.data(&channel()).unwrap());
        assert!(poll_times(1, manager.wrap_outgoing_with_id(CHANNEL, mine.clone(), "mine")).is_none());
        states.push(manager.data(&channel()).unwrap());
        assert!(poll_times(1, manager.set_retrieval_hint(CHANNEL, mine, "hint")).is_none());
        states.push(manager.data(&channel()).unwrap());
    }
    let mut saved = Vec::new();
    while saved.last() != Some(&states.len()) {
        eventually(|| store.hanging() == 1).await;
        let told_before = told(&mut events).len();
        assert!(saved.is_empty() == (told_before == 0), "what is told was saved");
        store.release();
        eventually(|| store.counts().written > saved.len() as u64).await;
        let now = place.store().load_channel(&channel()).await.unwrap();
        saved.push(1 + states.iter().rposition(|state| *state == now).expect("the state after some operation"));
    }
    assert_eq!(saved, [1, 1 + BATCH, 1 + 2 * BATCH, 180]);
    store.heal();
    soon(manager.sweep(CHANNEL)).await.unwrap();
    let numbers: Vec<u64> = deliveries(&told(&mut events)).into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers.last(), Some(&60), "{numbers:?}");
    assert_saved(&manager, &store).await;
}

#[tokio::test]
async fn every_commit_leaves_a_prefix_in_memory() {
    leaves_a_prefix(Place::memory()).await;
}

#[cfg(feature = "redb")]
#[tokio::test]
async fn every_commit_leaves_a_prefix_on_disk() {
    leaves_a_prefix(Place::redb()).await;
}

#[tokio::test]
async fn nothing_is_told_or_answered_before_its_commit_and_then_all_in_order() {
    let (store, _) = faulty();
    let manager = opened(builder("alice").persistence(Arc::new(store.clone()))).await;
    let mut events = manager.events();
    store.add(hang());
    let calls: Vec<_> = messages_of_bob(10).await.into_iter().map(|bytes| taking(&manager, bytes)).collect();
    eventually(|| manager.stats(&channel()).unwrap().delivered == 10).await;
    store.release();
    eventually(|| calls[0].is_finished() && store.hanging() == 1).await;
    assert_eq!(deliveries(&told(&mut events)).len(), 1);
    assert!(calls[1..].iter().all(|call| !call.is_finished()));
    store.release();
    for call in calls {
        soon(call).await.unwrap().unwrap();
    }
    let numbers: Vec<u64> = deliveries(&told(&mut events)).into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, (2..=10).collect::<Vec<_>>());
    assert_eq!(store.counts().of(Method::Commit), 2);
}

type Taking = tokio::task::JoinHandle<Result<reliable_channel::manager::Unwrapped, ManagerError>>;

fn taking(manager: &ReliabilityManager, bytes: Bytes) -> Taking {
    let manager = manager.clone();
    tokio::spawn(async move { manager.unwrap_received(bytes).await })
}

#[tokio::test]
async fn where_a_failed_save_fails_the_operation_it_fails_all_that_shared_it() {
    let (store, memory) = faulty();
    let builder = builder("alice").persistence(Arc::new(store.clone())).on_save_failure(OnSaveFailure::Fail);
    let manager = opened(builder).await;
    let mut events = manager.events();
    let mut messages = messages_of_bob(11).await;
    let last = messages.pop().unwrap();
    store.add(hang().nth(1));
    let calls: Vec<_> = messages.into_iter().map(|bytes| taking(&manager, bytes)).collect();
    eventually(|| manager.stats(&channel()).unwrap().delivered == 10).await;
    store.add(Rule::method(Method::Commit, Fault::Fail(PersistenceErrorKind::StorageFull)));
    store.release();
    for (number, call) in calls.into_iter().enumerate() {
        let answer = soon(call).await.unwrap();
        assert_eq!(answer.is_ok(), number == 0, "{number}: {answer:?}");
    }
    assert_eq!(store.counts().of(Method::Commit), 2, "one attempt for all of them");
    let so_far = told(&mut events);
    assert_eq!((deliveries(&so_far).len(), count(&so_far, is_failed)), (1, 1));

    store.heal();
    manager.unwrap_received(last).await.unwrap();
    let now = told(&mut events);
    assert!(is_recovered(&now[0]));
    let numbers: Vec<u64> = deliveries(&now).into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, (2..=11).collect::<Vec<_>>());
    assert_saved(&manager, &memory).await;
}

#[tokio::test]
async fn removal_waits_for_the_shared_commit_and_discards_the_rest() {
    let (store, memory) = faulty();
    let manager = opened(builder("alice").persistence(Arc::new(store.clone()))).await;
    let mut events = manager.events();
    store.add(hang());
    let mut messages = messages_of_bob(20).await.into_iter();
    let mut take =
        |count: usize| messages.by_ref().take(count).map(|bytes| taking(&manager, bytes)).collect::<Vec<_>>();
    let first = take(10);
    eventually(|| manager.stats(&channel()).unwrap().delivered == 10).await;
    store.release();
    eventually(|| first[0].is_finished() && store.hanging() == 1).await;
    let second = take(10);
    eventually(|| manager.stats(&channel()).unwrap().delivered == 20).await;
    assert!(poll_times(1, manager.remove_channel(CHANNEL)).is_none());
    for call in second {
        assert!(matches!(soon(call).await.unwrap(), Err(ManagerError::UnknownChannel(_))));
    }
    assert!(first[1..].iter().all(|call| !call.is_finished()));
    store.heal();
    store.release();
    soon(manager.ensure_channel(CHANNEL)).await.unwrap();
    for call in first {
        soon(call).await.unwrap().unwrap();
    }
    assert_eq!(deliveries(&told(&mut events)).len(), 1, "what was removed is not told");
    assert!(memory.load_channel(&channel()).await.unwrap().is_empty());
}
