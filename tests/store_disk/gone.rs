//! A store's directory that is removed, moved or replaced while it is open is told by the next commit.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reliable_channel::store::{Durability, Persistence, PersistenceError, PersistenceErrorKind};
use tempfile::TempDir;

use crate::common::{a, message, put, rows};
use crate::{Engine, files};

/// A directory for a store, and others beside it.
struct Places {
    parent: TempDir,
}

impl Places {
    fn new() -> Self {
        Self { parent: TempDir::new().unwrap() }
    }

    fn of(&self, name: &str) -> PathBuf {
        self.parent.path().join(name)
    }

    /// A store that has one message and is open.
    async fn open(&self, engine: Engine, durability: Durability) -> Arc<dyn Persistence> {
        let store = engine.open_with(&self.of("store"), durability).unwrap();
        commit(&store, 1).await.unwrap();
        store
    }
}

async fn commit(store: &Arc<dyn Persistence>, lamport: u64) -> Result<(), PersistenceError> {
    store.update_history(&a(), &put([message(lamport, "m")])).await
}

async fn assert_gone(engine: Engine, store: &Arc<dyn Persistence>, lamport: u64) {
    for _ in 0..20 {
        let error = commit(store, lamport).await.unwrap_err();
        assert_eq!(error.kind, PersistenceErrorKind::Gone, "{engine:?}: {error:?}");
        assert!(error.is_retryable());
    }
}

/// Those that are tried again at pauses of up to a second.
async fn commit_in_the_end(store: &Arc<dyn Persistence>, lamport: u64) {
    while let Err(error) = commit(store, lamport).await {
        assert_eq!(error.kind, PersistenceErrorKind::Gone);
    }
}

async fn assert_has(dir: &Path, engine: Engine, lamports: &[u64]) {
    let store = engine.open(dir).unwrap();
    let expected: Vec<_> = lamports.iter().map(|lamport| message(*lamport, "m")).collect();
    assert_eq!(rows(&*store, &a()).await, expected, "{engine:?}");
}

const DURABILITIES: [Durability; 2] =
    [Durability::Immediate, Durability::Batched { max_delay: Duration::from_secs(36_000) }];

#[tokio::test]
async fn a_store_that_is_removed_is_told_and_not_made_anew() {
    for (engine, durability) in Engine::ALL.into_iter().flat_map(|engine| DURABILITIES.map(|kept| (engine, kept))) {
        let places = Places::new();
        let store = places.open(engine, durability).await;
        fs::remove_dir_all(places.of("store")).unwrap();
        if durability != Durability::Immediate {
            let error = store.flush().await.unwrap_err();
            assert_eq!(error.kind, PersistenceErrorKind::Gone, "{engine:?}: {error:?}");
        }
        assert_gone(engine, &store, 2).await;
        drop(store);
        assert!(!places.of("store").exists(), "{engine:?}");
    }
}

#[tokio::test]
async fn a_store_that_comes_back_is_used_again_and_has_lost_nothing() {
    for (engine, durability) in Engine::ALL.into_iter().flat_map(|engine| DURABILITIES.map(|kept| (engine, kept))) {
        let places = Places::new();
        let store = places.open(engine, durability).await;
        fs::rename(places.of("store"), places.of("elsewhere")).unwrap();
        assert_gone(engine, &store, 2).await;
        fs::rename(places.of("elsewhere"), places.of("store")).unwrap();
        commit_in_the_end(&store, 2).await;
        commit(&store, 3).await.unwrap();
        drop(store);
        assert_has(&places.of("store"), engine, &[1, 2, 3]).await;
    }
}

#[tokio::test]
async fn what_lies_in_a_stores_place_is_neither_used_nor_touched() {
    for engine in Engine::ALL {
        for commits in [true, false] {
            let places = Places::new();
            let other = engine.open(&places.of("other")).unwrap();
            commit(&other, 7).await.unwrap();
            // As a kill leaves it, with a log.
            copy(&places.of("other"), &places.of("another"));
            drop(other);
            let before = files(&places.of("another"));
            let store = places.open(engine, Durability::Immediate).await;
            fs::rename(places.of("store"), places.of("elsewhere")).unwrap();
            fs::rename(places.of("another"), places.of("store")).unwrap();
            if commits {
                assert_gone(engine, &store, 2).await;
            }
            drop(store);
            assert!(files(&places.of("store")) == before, "{engine:?}: touched");
            assert_has(&places.of("store"), engine, &[7]).await;
            assert_has(&places.of("elsewhere"), engine, if commits { &[1, 2] } else { &[1] }).await;
        }
    }
}

#[tokio::test]
async fn a_log_of_sqlites_that_is_removed_is_told_and_loses_nothing() {
    let places = Places::new();
    let store = places.open(Engine::Sqlite, Durability::Immediate).await;
    fs::remove_file(places.of("store").join("channels.sqlite-wal")).unwrap();
    assert_eq!(commit(&store, 2).await.unwrap_err().kind, PersistenceErrorKind::Gone);
    commit(&store, 3).await.unwrap();
    drop(store);
    assert_has(&places.of("store"), Engine::Sqlite, &[1, 2, 3]).await;
}

fn copy(from: &Path, to: &Path) {
    for (path, content) in files(from) {
        let target = to.join(path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, content).unwrap();
    }
}
