//! A store's call that never comes back holds up its own channel and nothing else.

use reliable_channel::store::{Fault, Method, Rule};

use super::*;

#[tokio::test]
async fn a_stuck_store_stalls_no_other_manager_and_no_other_channel() {
    let (store, memory) = faulty();
    let stuck = opened(builder("alice").persistence(Arc::new(store.clone()))).await;
    stuck.ensure_channel("other").await.unwrap();
    let (fine, kept) = faulty();
    let fine = opened(builder("bob").persistence(Arc::new(fine))).await;
    store.add(Rule::method(Method::Commit, Fault::Hang).channel(CHANNEL));
    store.add(Rule::method(Method::LoadChannel, Fault::Hang).channel("never"));

    let mut save = Box::pin(stuck.wrap_outgoing(CHANNEL, "held"));
    let mut load = Box::pin(stuck.ensure_channel("never"));
    assert!(poll_times(10, &mut save).is_none());
    assert!(poll_times(10, &mut load).is_none());
    eventually(|| store.hanging() == 2).await;
    for _ in 0..40 {
        let bytes = soon(fine.wrap_outgoing(CHANNEL, "goes on")).await.unwrap().bytes;
        soon(fine.sweep_all()).await.unwrap();
        soon(stuck.wrap_outgoing("other", "goes on too")).await.unwrap();
        assert!(poll_times(10, stuck.unwrap_received(bytes)).is_none(), "it waits for what is before it");
    }
    assert_saved(&fine, &kept).await;
    assert_eq!(store.hanging(), 2);
    assert!(memory.load_channel(&channel()).await.unwrap().rows.is_empty());

    store.heal();
    store.release();
    soon(save).await.unwrap();
    soon(load).await.unwrap();
    soon(stuck.sweep(CHANNEL)).await.unwrap();
    assert_eq!(texts(&stuck).len(), 41, "what was queued is done, though nobody waits for it");
    assert_saved(&stuck, &memory).await;
}

/// Its runtime gone, a manager can save nothing more; what it owes is named all the same.
#[test]
fn a_shutdown_without_its_runtime_names_what_is_owed() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (store, first) = (FaultyPersistence::new(Arc::new(MemoryPersistence::new())), runtime());
    let manager = first.block_on(async {
        let manager = ReliabilityManager::builder("alice").persistence(Arc::new(store.clone())).build().unwrap();
        for channel in ["owing", "saved"] {
            manager.ensure_channel(channel).await.unwrap();
        }
        store.fail_writes(reliable_channel::store::PersistenceErrorKind::Io);
        manager.wrap_outgoing("owing", "hello").await.unwrap();
        manager
    });
    drop(first);
    runtime().block_on(async {
        for _ in 0..2 {
            let report = tokio::time::timeout(Duration::from_secs(10), manager.shutdown()).await.expect("it hangs");
            let unsaved: Vec<_> = report.unsaved.iter().map(|(channel, _)| channel.clone()).collect();
            assert_eq!(unsaved, [ChannelId::from("owing")], "{report:?}");
            assert!(!report.is_clean());
        }
    });
}
