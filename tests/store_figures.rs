//! What storage costs: bytes an operation, syncs shared. `docs/persistence.md` has the figures.
#![cfg(all(feature = "testing", feature = "manager", feature = "redb", feature = "sled", feature = "sqlite"))]
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{a, all, content, message};
use reliable_channel::manager::ReliabilityManager;
use reliable_channel::state::Row;
use reliable_channel::store::{
    FaultyPersistence, MemoryPersistence, Persistence, RedbPersistence, SledPersistence, SqlitePersistence,
};
use reliable_channel::types::ChannelId;

/// At most the message, 300 bytes, and 60 bytes for each of the two entries a send changes, whatever is open.
#[tokio::test]
async fn bytes_of_a_send_do_not_depend_on_what_is_open() {
    let store = FaultyPersistence::new(Arc::new(MemoryPersistence::new()));
    let manager = ReliabilityManager::builder("alice").persistence(Arc::new(store.clone())).build().unwrap();
    manager.ensure_channel("room").await.unwrap();
    let mut open = 0;
    for wanted in [0, 10, 200, 9_900] {
        while open < wanted {
            manager.wrap_outgoing("room", format!("message {open}")).await.unwrap();
            open += 1;
        }
        let before = store.counts().bytes;
        let sent = manager.wrap_outgoing("room", "x".repeat(100)).await.unwrap();
        open += 1;
        let bytes = store.counts().bytes - before;
        println!("{wanted} open: {bytes} bytes to the store, {} on the wire", sent.bytes.len());
        // Without its filter, which is not stored and grows on the wire, the message has less than 400 bytes.
        let message = sent.bytes.len().min(400) as u64;
        assert!(bytes <= message + 300 + 2 * 60, "{wanted} open: {bytes}");
    }
}

/// 64 tasks that write to 640 channels share their syncs: at least 16 writes have one together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_wait_together_share_a_sync() {
    macro_rules! check {
        ($name:literal, $store:ty) => {
            let dir = tempfile::tempdir().unwrap();
            let store = Arc::new(<$store>::open(dir.path()).unwrap());
            let before = store.statistics();
            work_together(store.clone(), 64, 3).await;
            let done = store.statistics();
            let (writes, syncs) = (done.writes - before.writes, done.syncs - before.syncs);
            println!("{}: {writes} writes, {syncs} syncs", $name);
            assert_eq!(writes, 3 * 640);
            assert!(writes >= 16 * syncs, "{}: {writes} writes, {syncs} syncs", $name);
        };
    }
    check!("redb", RedbPersistence);
    check!("sled", SledPersistence);
    check!("sqlite", SqlitePersistence);
}

/// `cargo test --release --all-features --test store_figures -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn syncs_shared_and_time_to_load() {
    macro_rules! measure {
        ($name:literal, $store:ty) => {
            let dir = tempfile::tempdir().unwrap();
            let store = Arc::new(<$store>::open(dir.path()).unwrap());
            for tasks in [1_u64, 64] {
                let (before, began) = (store.statistics(), now());
                work_together(store.clone(), tasks, 10).await;
                let (done, took) = (store.statistics(), began.elapsed());
                let (writes, syncs) = (done.writes - before.writes, done.syncs - before.syncs);
                let (shared, rate) = (writes as f64 / syncs as f64, writes as f64 / took.as_secs_f64());
                println!("{}: {tasks} tasks, {writes} commits, {syncs} syncs ({shared:.1} a sync), {rate:.0}/s", $name);
            }
            let rows: Vec<Row> = (0..1_000).map(|at| content(at, &format!("{at:064}"), vec![1; 100])).collect();
            store.commit(&a(), &all(&rows)).await.unwrap();
            store.load_channel(&a()).await.unwrap();
            let began = now();
            store.load_channel(&a()).await.unwrap();
            println!("{}: 1,000 messages loaded in {:?}", $name, began.elapsed());
            drop(store);
            let began = now();
            drop(<$store>::open(dir.path()).unwrap());
            println!("{}: a store of 641 channels opened and closed in {:?}", $name, began.elapsed());
        };
    }
    measure!("redb", RedbPersistence);
    measure!("sled", SledPersistence);
    measure!("sqlite", SqlitePersistence);
}

/// So many tasks, which share 640 channels, and so many commits on each channel.
async fn work_together(store: Arc<dyn Persistence>, tasks: u64, rounds: u64) {
    let workers: Vec<_> = (0..tasks).map(|task| tokio::spawn(work(store.clone(), task, 640 / tasks, rounds))).collect();
    for worker in workers {
        worker.await.unwrap();
    }
}

async fn work(store: Arc<dyn Persistence>, task: u64, channels: u64, rounds: u64) {
    for round in 0..rounds {
        for channel in 0..channels {
            let channel = ChannelId::from(format!("{task} {channel}"));
            let rows: Vec<Row> = (0..=round).map(|at| message(at, "m")).collect();
            let mut commit = all(&rows);
            commit.history.put.drain(..rows.len() - 1);
            store.commit(&channel, &commit).await.unwrap();
        }
    }
}

#[allow(clippy::disallowed_methods)] // a measurement
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
