//! A copy of a store that stays open and is written to.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use reliable_channel::state::{Commit, Row};
use reliable_channel::store::{Durability, PersistenceErrorKind};
use reliable_channel::types::ChannelId;
use tempfile::TempDir;

use crate::common::{all, content, every_kind, message, put, rows};
use crate::{Engine, Store, files};

const CHANNELS: u64 = 40;

fn channel(number: u64) -> ChannelId {
    format!("{number}").as_str().into()
}

/// A store with channels of 100 KB, and one of every kind of row.
async fn filled(engine: Engine, dir: &Path) -> Store {
    let store = Store::open(engine, dir, Durability::Batched { max_delay: std::time::Duration::from_millis(5) });
    for number in 0..CHANNELS {
        let row = content(0, "large", vec![number as u8; 100_000]);
        store.update_history(&channel(number), &put([row])).await.unwrap();
    }
    store.commit(&"every kind".into(), &every()).await.unwrap();
    store
}

fn every() -> Commit {
    Commit { hints: vec![("message".into(), Bytes::from_static(b"where"))], ..all(&every_kind()) }
}

/// Commits are numbered over all channels, one after another; a copy that has one has all before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_store_that_is_written_to_is_a_prefix() {
    for engine in Engine::ALL {
        let dir = TempDir::new().unwrap();
        let (from, to) = (dir.path().join("store"), dir.path().join("copies").join("copy"));
        let store = Arc::new(filled(engine, &from).await);
        let (acknowledged, ends) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let writer = tokio::spawn({
            let (store, acknowledged, ends) = (store.clone(), acknowledged.clone(), ends.clone());
            async move {
                for number in 1.. {
                    // From the last channel to the first: against the order in which they are copied.
                    let channel = channel(CHANNELS - 1 - number % CHANNELS);
                    store.update_history(&channel, &put([message(number, "m")])).await.unwrap();
                    acknowledged.store(number, Ordering::SeqCst);
                    if ends.load(Ordering::SeqCst) {
                        break;
                    }
                }
            }
        });
        while acknowledged.load(Ordering::SeqCst) < 50 {
            tokio::task::yield_now().await;
        }
        let before = acknowledged.load(Ordering::SeqCst);
        store.backup(&to).await.unwrap();
        let after = acknowledged.load(Ordering::SeqCst);
        ends.store(true, Ordering::SeqCst);
        writer.await.unwrap();
        assert!(after > before + 5, "{engine:?}: no commit was made while the copy was");

        let copy = engine.open(&to).unwrap();
        assert_eq!(copy.list_channels().await.unwrap(), store.list_channels().await.unwrap(), "{engine:?}");
        let mut found = BTreeSet::new();
        for number in 0..CHANNELS {
            let of_channel = rows(&*copy, &channel(number)).await;
            assert_eq!(of_channel[0], content(0, "large", vec![number as u8; 100_000]), "{engine:?}");
            found.extend(of_channel[1..].iter().map(|row| row.key().lamport.0));
        }
        let newest = found.last().copied().unwrap();
        assert_eq!(found.len() as u64, newest, "{engine:?}: not a prefix: {found:?}");
        assert!((before..=after).contains(&newest), "{engine:?}: {newest} is not of {before}..={after}");
        let every = every();
        let data = copy.load_channel(&"every kind".into()).await.unwrap();
        assert_eq!((data.rows, data.hints, data.meta), (every_kind(), every.hints, every.meta), "{engine:?}");
        copy.commit(&"new".into(), &all(&every_kind())).await.unwrap();
        assert_eq!(fs::read_dir(to.parent().unwrap()).unwrap().count(), 1, "{engine:?}: something is left beside it");
        #[cfg(unix)]
        crate::permissions::assert_owned(engine, to.parent().unwrap());
    }
}

#[tokio::test]
async fn an_empty_store_and_one_that_is_only_read_have_a_copy() {
    for engine in Engine::ALL {
        let dir = TempDir::new().unwrap();
        let at = |name| dir.path().join(name);
        Store::open(engine, &at("store"), Durability::Immediate).backup(&at("empty")).await.unwrap();
        assert!(engine.open(&at("empty")).unwrap().list_channels().await.unwrap().is_empty());
        engine.open(&at("store")).unwrap().commit(&"a".into(), &every()).await.unwrap();
        let before = files(&at("store"));
        Store::read_only(engine, &at("store")).backup(&at("copy")).await.unwrap();
        assert!(files(&at("store")) == before, "{engine:?}: written to");
        assert_eq!(rows(&*engine.open(&at("copy")).unwrap(), &"a".into()).await, every_kind(), "{engine:?}");
    }
}

#[tokio::test]
async fn what_is_there_is_not_written_over() {
    for engine in Engine::ALL {
        let dir = TempDir::new().unwrap();
        let store = filled(engine, &dir.path().join("store")).await;
        let to = dir.path().join("copy");
        for there in [to.clone(), dir.path().join("copy.partial")] {
            fs::create_dir(&there).unwrap();
            let error = store.backup(&to).await.unwrap_err();
            assert_eq!((error.verb, error.kind), ("backup", PersistenceErrorKind::Io), "{engine:?}");
            assert!(error.source.unwrap().to_string().contains(there.file_name().unwrap().to_str().unwrap()));
            fs::remove_dir(&there).unwrap();
            assert!(!to.exists() && !dir.path().join("copy.partial").exists(), "{engine:?}");
        }
        // Below a file nothing can be made; the store goes on.
        fs::write(dir.path().join("file"), b"").unwrap();
        assert_eq!(store.backup(dir.path().join("file/copy")).await.unwrap_err().kind, PersistenceErrorKind::Io);
        store.backup(&to).await.unwrap();
        let large: Vec<Row> = rows(&*engine.open(&to).unwrap(), &channel(3)).await;
        assert_eq!(large, [content(0, "large", vec![3; 100_000])], "{engine:?}");
    }
}
