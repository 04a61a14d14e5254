//! What only the files of a store can show: nothing newer is touched, looking writes nothing, opening reads little.
#![cfg(all(feature = "redb", feature = "sled", feature = "sqlite"))]
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::engine::Engine;
use common::{a, all, content, data, every_kind, message, parked};
use reliable_channel::channel::{Channel, Context};
use reliable_channel::state::{ChannelData, Commit};
use reliable_channel::store::{Durability, PersistenceErrorKind};
use reliable_channel::types::{ChannelId, RunningTime, WallTime};
use tempfile::TempDir;

use Engine::{Redb, Sled, Sqlite};

/// A store with one channel of every kind of row, closed; and what a kill would have left of it just before.
async fn closed_and_killed(engine: Engine) -> [TempDir; 2] {
    let (closed, killed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = engine.open(closed.path()).unwrap();
    store.commit(&a(), &all(&every_kind())).await.unwrap();
    copy(closed.path(), killed.path());
    drop(store);
    [closed, killed]
}

#[tokio::test]
async fn looking_writes_nothing() {
    for engine in [Sqlite, Sled] {
        for dir in closed_and_killed(engine).await {
            let before = files(dir.path());
            let (one, two) = (engine.look(dir.path()).unwrap(), engine.look(dir.path()));
            assert_eq!(one.load_channel(&a()).await.unwrap(), data(every_kind()), "{engine:?}");
            let error = one.commit(&a(), &all(&[])).await.unwrap_err();
            assert_eq!(error.kind, PersistenceErrorKind::Unsupported, "{engine:?}");
            drop((one, two));
            assert!(files(dir.path()) == before, "{engine:?}: written to");
        }
    }
}

#[tokio::test]
async fn a_newer_layout_is_refused_and_untouched() {
    for engine in [Sqlite, Sled] {
        for dir in closed_and_killed(engine).await {
            make_newer(engine, dir.path());
            let before = files(dir.path());
            let newer = PersistenceErrorKind::UnknownVersion { found: 2, known: 1 };
            for opened in [engine.open(dir.path()), engine.look(dir.path())] {
                assert_eq!(opened.err().map(|error| error.kind), Some(newer.clone()), "{engine:?}");
            }
            assert!(files(dir.path()) == before, "{engine:?}: written to");
        }
    }
}

fn make_newer(engine: Engine, dir: &Path) {
    if engine == Sled {
        return fs::write(dir.join("channels.sled/layout"), "2").unwrap();
    }
    let file = dir.join("channels.sqlite");
    let log = fs::metadata(dir.join("channels.sqlite-wal")).is_ok();
    let database = rusqlite::Connection::open(&file).unwrap();
    database.pragma_update(None, "user_version", 2).unwrap();
    if log {
        // Leaves the log, as a kill does.
        let killed = TempDir::new().unwrap();
        copy(dir, killed.path());
        drop(database);
        copy(killed.path(), dir);
        fs::remove_file(dir.join("channels.sqlite-shm")).unwrap();
    }
}

#[tokio::test]
async fn a_hint_that_is_gone_is_damage() {
    let dir = TempDir::new().unwrap();
    let mut commit = Commit { hints: vec![("message".into(), Bytes::from_static(b"where"))], ..all(&every_kind()) };
    let store = Sqlite.open(dir.path()).unwrap();
    store.commit(&"not counted".into(), &commit).await.unwrap();
    if let Some(meta) = &mut commit.meta {
        meta.counts.hints = Some(1);
    }
    let whole = ChannelData { meta: commit.meta.clone(), rows: every_kind(), hints: commit.hints.clone() };
    for channel in ["a", "b"] {
        store.commit(&channel.into(), &commit).await.unwrap();
        assert_eq!(store.load_channel(&channel.into()).await.unwrap(), whole);
    }
    drop(store);
    let database = rusqlite::Connection::open(dir.path().join("channels.sqlite")).unwrap();
    let gone = database.execute("DELETE FROM hints WHERE substr(key, 3, 1) != CAST('b' AS BLOB)", ()).unwrap();
    assert_eq!(gone, 2);
    drop(database);
    let store = Sqlite.open(dir.path()).unwrap();
    let error = store.load_channel(&a()).await.unwrap_err();
    assert!(matches!(&error.kind, PersistenceErrorKind::Corrupt { what } if what.contains("hints")), "{error:?}");
    assert_eq!(store.load_channel(&"b".into()).await.unwrap(), whole);
    assert_eq!(store.load_channel(&"not counted".into()).await.unwrap(), data(every_kind()));
}

/// As a kill while sled writes a snapshot leaves one.
#[tokio::test]
async fn a_snapshot_of_sleds_that_was_not_finished_blocks_no_opening() {
    let [closed, killed] = closed_and_killed(Sled).await;
    for dir in [closed, killed] {
        let unfinished = dir.path().join("channels.sled/db/snap.0000000000000200.generating");
        fs::write(&unfinished, b"half of a snapshot").unwrap();
        for _ in 0..2 {
            let store = Sled.open(dir.path()).unwrap();
            assert_eq!(store.load_channel(&a()).await.unwrap(), data(every_kind()));
        }
        assert!(!unfinished.exists());
    }
}

/// What is mended on disk is what the channel has: else it would not open again.
#[tokio::test]
async fn mending_a_parked_row_keeps_the_messages_hint() {
    let dir = TempDir::new().unwrap();
    let store = Sqlite.open(dir.path()).unwrap();
    let hints = vec![("m".into(), Bytes::from_static(b"where"))];
    store.commit(&a(), &Commit { hints: hints.clone(), ..all(&[message(10, "m"), parked(20, "m")]) }).await.unwrap();
    let data = store.load_channel(&a()).await.unwrap();
    let wall = WallTime::from_millis(1_753_987_200_123);
    let context = Context::new(wall, RunningTime::default(), 7);
    let (channel, step) = Channel::restore(a(), "carol".into(), Arc::default(), data, &context).unwrap();
    store.commit(&a(), &step.save).await.unwrap();
    assert_eq!(store.load_channel(&a()).await.unwrap(), channel.data());
    assert_eq!(channel.data().hints, hints);
}

/// Counted by the kernel, per thread: a store is opened on the caller's.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn opening_a_thousand_channels_reads_none_of_them() {
    for engine in [Redb, Sqlite] {
        let (few, many) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let mut read = Vec::new();
        for (dir, channels) in [(&few, 10), (&many, 1_000)] {
            let store =
                engine.open_with(dir.path(), Durability::Batched { max_delay: Duration::from_secs(60) }).unwrap();
            for channel in 0..channels {
                let rows: Vec<_> = (0..4).map(|at| content(at, "m", vec![7; 1_000])).collect();
                store.commit(&ChannelId::from(format!("{channel}")), &all(&rows)).await.unwrap();
            }
            drop(store);
            let before = bytes_read();
            // Where debug assertions are on, redb checks them on every page when it opens for writing.
            let looks = engine == Redb && cfg!(debug_assertions);
            let store = if looks { engine.look(dir.path()) } else { engine.open(dir.path()) }.unwrap();
            read.push(bytes_read() - before);
            assert_eq!(store.list_channels().await.unwrap().len(), channels);
        }
        let size: usize = files(many.path()).values().map(Vec::len).sum();
        println!("{engine:?}: {read:?} bytes read of {size}");
        assert!(size > 4_000_000, "{engine:?}: {size}");
        assert!(read[0] > 0 && read[1] < read[0] + 32_768, "{engine:?}: {read:?} bytes read of {size}");
    }
}

#[cfg(target_os = "linux")]
fn bytes_read() -> u64 {
    let counted = fs::read_to_string("/proc/thread-self/io").unwrap();
    counted.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// All files below a directory.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let content = fs::read(&path).unwrap();
                found.insert(path, content);
            }
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    for (path, content) in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, content).unwrap();
    }
}
