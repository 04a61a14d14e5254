//! A store that fails: what succeeds all the same, what does not, and that everything is caught up with.

use reliable_channel::manager::{Fault as Blame, ManagerError, OnSaveFailure};
use reliable_channel::store::PersistenceErrorKind;
use reliable_channel::store::{Fault, Method, Rule};
use tap::Tap as _;

use super::*;

/// Little history, so that messages are evicted while the store fails, and their stubs too.
fn small() -> Config {
    config().tap_mut(|it| it.max_message_history = 5)
}

#[tokio::test]
async fn everything_succeeds_and_is_caught_up_with() {
    let faults =
        [Fault::Fail(PersistenceErrorKind::StorageFull), Fault::FailAfterwards(PersistenceErrorKind::Io), Fault::Tear];
    for fault in faults {
        let (store, memory) = faulty();
        let manager = opened(builder("alice").config(small()).persistence(Arc::new(store.clone()))).await;
        let mut events = manager.events();
        let messages = messages_of_bob(120).await;
        for round in 0..3 {
            store.add(Rule::method(Method::Commit, fault.clone()));
            for bytes in &messages[round * 40..][..40] {
                manager.unwrap_received(bytes.clone()).await.unwrap();
                let mine = wrap(&manager, "mine").await;
                manager.set_retrieval_hint(CHANNEL, mine.id, "hint").await.unwrap();
                manager.unwrap_received(messages[round].clone()).await.unwrap();
            }
            assert!(manager.save_failure(&channel()).unwrap().is_some());
            store.heal();
            // The sweep retries, whether or not it has something to save itself.
            manager.sweep(CHANNEL).await.unwrap();
            assert!(manager.save_failure(&channel()).unwrap().is_none());
            assert_saved(&manager, &memory).await;

            let told = told(&mut events);
            assert_eq!(count(&told, is_failed), 1);
            assert_eq!(count(&told, is_recovered), 1);
            assert_eq!(deliveries(&told).len(), 40, "every delivery is told while the store fails");
        }
        assert_eq!(memory.load_channel(&channel()).await.unwrap().check(), Ok(()));
    }
}

#[tokio::test]
async fn the_next_operation_saves_what_is_owed() {
    let (store, memory) = faulty();
    let manager = opened(builder("alice").persistence(Arc::new(store.clone()))).await;
    store.add(Rule::method(Method::Commit, Fault::Fail(PersistenceErrorKind::Io)).nth(1));
    wrap(&manager, "owed").await;
    assert!(memory.load_channel(&channel()).await.unwrap().rows.is_empty());
    wrap(&manager, "and this").await;
    assert_saved(&manager, &memory).await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_channel_is_retried_less_and_less_often() {
    let (store, memory) = faulty();
    // Nothing but retries happens for a while.
    let hour = Duration::from_secs(3_600);
    let config = config().tap_mut(|it| {
        it.sync_interval = hour;
        it.max_sync_interval = hour;
    });
    let manager = opened(builder("alice").config(config).persistence(Arc::new(store.clone()))).await;
    manager.start_periodic_tasks();
    manager.unwrap_received(messages_of_bob(1).await.remove(0)).await.unwrap();
    // Past the acknowledgement.
    tokio::time::sleep(Duration::from_secs(10)).await;
    store.fail_writes(PersistenceErrorKind::Io);
    manager.mark_dependencies_met(CHANNEL, ["other".into()]).await.unwrap();
    let tries = || store.counts().of(Method::Commit);
    let start = tokio::time::Instant::now();
    let mut times = Vec::new();
    while times.len() < 4 {
        let before = tries();
        eventually_paused(|| tries() > before).await;
        times.push(start.elapsed().as_secs_f64().round());
    }
    assert_eq!(times, [1.0, 3.0, 7.0, 15.0]);
    store.heal();
    eventually_paused(|| manager.save_failure(&channel()).unwrap().is_none()).await;
    assert_eq!(start.elapsed().as_secs_f64().round(), 31.0);
    assert_saved(&manager, &memory).await;
}

#[tokio::test(start_paused = true)]
async fn a_minute_of_failures_costs_what_is_kept_and_not_what_passed() {
    const CONTENT: usize = 4_000;
    let (store, memory) = faulty();
    let config = config().tap_mut(|it| it.max_message_history = 20);
    let manager = opened(builder("alice").config(config).persistence(Arc::new(store.clone()))).await;
    let mut events = manager.events();
    manager.start_periodic_tasks();
    let bob = opened(builder("bob")).await;
    store.fail_writes(PersistenceErrorKind::Io);
    let mut largest = 0;
    for number in 0..600 {
        let message = wrap(&bob, &format!("{number:CONTENT$}")).await;
        let before = store.counts();
        manager.unwrap_received(message.bytes).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = store.counts();
        let tries = now.of(Method::Commit) - before.of(Method::Commit);
        largest = largest.max((now.bytes - before.bytes) / tries.max(1));
    }
    assert!(manager.save_failure(&channel()).unwrap().is_some());
    let bodies = 20 * (CONTENT as u64 + 200);
    // Bodies kept, stubs, and a key for each row that came and went.
    assert!((bodies..bodies + 200 * 200 + 600 * 200).contains(&largest), "{largest} bytes owed");
    store.heal();
    eventually_paused(|| manager.save_failure(&channel()).unwrap().is_none()).await;
    let told = told(&mut events);
    assert_eq!((count(&told, is_failed), count(&told, is_recovered)), (1, 1));
    // A commit may be under way.
    manager.shutdown().await;
    assert_saved(&manager, &memory).await;
}

async fn eventually_paused(mut is_so: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never");
}

#[tokio::test]
async fn where_asked_for_a_failed_save_fails_the_operation() {
    let (store, memory) = faulty();
    let builder = builder("alice").persistence(Arc::new(store.clone())).on_save_failure(OnSaveFailure::Fail);
    let manager = opened(builder).await;
    let (mut events, mut transmissions) = (manager.events(), manager.transmissions());
    let messages = messages_of_bob(3).await;
    store.fail_writes(PersistenceErrorKind::StorageFull);

    let refused = manager.unwrap_received(messages[0].clone()).await.unwrap_err();
    assert!(matches!(&refused, ManagerError::Persistence(error) if error.kind == PersistenceErrorKind::StorageFull));
    assert_eq!(refused.fault(), Blame::Backend);
    let owing = manager.data(&channel()).unwrap();
    for _ in 0..3 {
        manager.wrap_outgoing(CHANNEL, "no byte leaves").await.unwrap_err();
        manager.unwrap_received(messages[1].clone()).await.unwrap_err();
        manager.sync_now(CHANNEL).await.unwrap_err();
        manager.sweep(CHANNEL).await.unwrap_err();
        manager.sweep_all().await.unwrap_err();
    }
    assert_eq!(manager.data(&channel()).unwrap(), owing, "only the first one changed anything");
    let told_so_far = told(&mut events);
    assert_eq!(count(&told_so_far, is_failed), 1);
    assert_eq!(told_so_far.len(), 1, "{told_so_far:?}");
    assert_eq!(transmissions.try_next(), None);

    store.heal();
    manager.unwrap_received(messages[1].clone()).await.unwrap();
    let told_now = told(&mut events);
    assert!(is_recovered(&told_now[0]));
    assert_eq!(deliveries(&told_now).iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2]);
    assert_saved(&manager, &memory).await;
}

#[tokio::test]
async fn shutdown_reports_what_could_not_be_saved() {
    let (store, memory) = faulty();
    let manager = opened(builder("alice").persistence(Arc::new(store.clone()))).await;
    manager.ensure_channel("other").await.unwrap();
    store.add(Rule::method(Method::Commit, Fault::Fail(PersistenceErrorKind::StorageFull)).channel(CHANNEL));
    store.add(Rule::method(Method::Flush, Fault::Fail(PersistenceErrorKind::Io)));
    wrap(&manager, "lost").await;
    manager.wrap_outgoing("other", "kept").await.unwrap();

    let report = manager.shutdown().await;
    assert!(!report.is_clean());
    let unsaved: Vec<_> = report.unsaved.iter().map(|(channel, error)| (channel.clone(), error.kind.clone())).collect();
    assert_eq!(unsaved, [(channel(), PersistenceErrorKind::StorageFull)]);
    assert_eq!(report.flush.map(|error| error.kind.clone()), Some(PersistenceErrorKind::Io));
    assert_eq!(manager.shutdown().await.unsaved.len(), 1, "the same report again");
    assert!(memory.load_channel(&channel()).await.unwrap().rows.is_empty());
    assert!(!memory.load_channel(&"other".into()).await.unwrap().rows.is_empty());
}

#[tokio::test]
async fn shutdown_and_close_save_what_is_owed() {
    let (store, memory) = faulty();
    let manager = opened(builder("alice").persistence(Arc::new(store.clone()))).await;
    store.add(Rule::method(Method::Commit, Fault::Fail(PersistenceErrorKind::Io)).nth(1));
    wrap(&manager, "owed").await;
    manager.close_channel(CHANNEL).await.unwrap();
    manager.ensure_channel(CHANNEL).await.unwrap();
    assert_eq!(texts(&manager), ["owed"]);

    store.fail_writes(PersistenceErrorKind::Io);
    wrap(&manager, "owed too").await;
    manager.close_channel(CHANNEL).await.unwrap_err();
    assert_eq!(texts(&manager).len(), 2, "a channel that cannot be saved stays open");
    wrap(&manager, "and goes on").await;
    store.heal();
    assert!(manager.shutdown().await.is_clean());
    assert_saved(&manager, &memory).await;
}

/// A state that makes the channel panic where overflow is checked: the last delivery number is taken.
#[cfg(debug_assertions)]
#[tokio::test]
async fn what_a_defect_left_half_changed_is_never_saved() {
    for close in [true, false] {
        let memory = MemoryPersistence::new();
        let manager = opened(builder("alice").persistence(Arc::new(memory.clone()))).await;
        let messages = messages_of_bob(2).await;
        manager.unwrap_received(messages[1].clone()).await.unwrap();
        manager.close_channel(CHANNEL).await.unwrap();
        let mut meta = memory.load_channel(&channel()).await.unwrap().meta.unwrap();
        meta.next_delivery = u64::MAX;
        memory.save_channel_meta(&channel(), &meta).await.unwrap();
        manager.ensure_channel(CHANNEL).await.unwrap();
        let before = memory.load_channel(&channel()).await.unwrap();

        let stopped = manager.unwrap_received(messages[0].clone()).await;
        assert!(matches!(stopped, Err(ManagerError::ChannelFailed(_))), "{stopped:?}");
        if close {
            manager.close_channel(CHANNEL).await.unwrap();
            manager.ensure_channel(CHANNEL).await.unwrap();
            assert_eq!(manager.incoming(&channel()).unwrap().len(), 1);
        } else {
            assert!(manager.shutdown().await.is_clean());
        }
        assert_eq!(memory.load_channel(&channel()).await.unwrap(), before);
    }
}

#[tokio::test]
async fn a_store_that_panics_has_failed() {
    struct Panics;

    #[async_trait::async_trait]
    impl Persistence for Panics {
        async fn save_channel_meta(
            &self,
            _: &ChannelId,
            _: &reliable_channel::state::ChannelMeta,
        ) -> Result<(), reliable_channel::store::PersistenceError> {
            panic!("the store's own defect")
        }
        async fn update_history(
            &self,
            _: &ChannelId,
            _: &reliable_channel::state::HistoryUpdate,
        ) -> Result<(), reliable_channel::store::PersistenceError> {
            panic!("the store's own defect")
        }
        async fn load_channel(
            &self,
            channel: &ChannelId,
        ) -> Result<reliable_channel::state::ChannelData, reliable_channel::store::PersistenceError> {
            assert_ne!(channel.as_str(), Some("cursed"), "the store's own defect");
            Ok(Default::default())
        }
        async fn drop_channel(&self, _: &ChannelId) -> Result<(), reliable_channel::store::PersistenceError> {
            panic!("the store's own defect")
        }
        async fn set_retrieval_hint(
            &self,
            _: &ChannelId,
            _: &MessageId,
            _: &Bytes,
        ) -> Result<(), reliable_channel::store::PersistenceError> {
            panic!("the store's own defect")
        }
    }

    let manager = opened(builder("alice").persistence(Arc::new(Panics))).await;
    wrap(&manager, "one").await;
    wrap(&manager, "two").await;
    assert!(manager.save_failure(&channel()).unwrap().is_some());
    assert!(matches!(manager.ensure_channel("cursed").await, Err(ManagerError::Persistence(_))));
    assert!(matches!(manager.remove_channel(CHANNEL).await, Err(ManagerError::Persistence(_))));
    assert_eq!(soon(manager.shutdown()).await.unsaved.len(), 0, "the removed channel owes nothing");
}
