//! When a store was dropped its lock is free.

use std::sync::Arc;

use reliable_channel::manager::ReliabilityManager;
use tempfile::TempDir;

use crate::Engine;
use crate::common::{a, message, put, rows};

const TIMES: u64 = 200;

#[tokio::test]
async fn a_store_that_was_dropped_can_be_opened_at_once() {
    for engine in Engine::ALL {
        let dir = TempDir::new().unwrap();
        for time in 1..=TIMES {
            let store = engine.open(dir.path()).unwrap_or_else(|error| panic!("{engine:?}, {time}: {error:?}"));
            store.update_history(&a(), &put([message(time, "m")])).await.unwrap();
            if time % 2 == 0 {
                // The last of two handles, on another thread.
                let other = store.clone();
                drop(store);
                tokio::task::spawn_blocking(|| drop(other)).await.unwrap();
            }
        }
        assert_eq!(rows(&*engine.open(dir.path()).unwrap(), &a()).await.len() as u64, TIMES);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_managers_store_can_be_opened_when_it_was_shut_down_and_dropped() {
    for engine in Engine::ALL {
        let dir = TempDir::new().unwrap();
        for time in 1..=TIMES {
            let store = engine.open(dir.path()).unwrap_or_else(|error| panic!("{engine:?}, {time}: {error:?}"));
            let manager = ReliabilityManager::builder("alice").persistence(Arc::clone(&store)).build().unwrap();
            manager.ensure_channel("lobby").await.unwrap();
            manager.start_periodic_tasks();
            manager.wrap_outgoing("lobby", "hello").await.unwrap();
            manager.shutdown().await;
            drop((manager, store));
        }
    }
}
