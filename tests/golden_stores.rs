//! Stores that this and every released version wrote: each must open and load the same for ever.
//!
//! `tests/golden/stores/v1` was written by `write_the_fixtures` and is never written again.
#![cfg(all(feature = "redb", feature = "sqlite"))]
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use common::{a, all, data, every_kind};
use reliable_channel::state::{ChannelData, Commit};
use reliable_channel::store::{Persistence, PersistenceError, RedbPersistence, SqlitePersistence};

type Open = fn(&Path, bool) -> Result<Arc<dyn Persistence>, PersistenceError>;

/// Not sled: its smallest file has 16 MiB.
const ENGINES: [(&str, Open); 2] = [
    ("redb", |dir, write| {
        Ok(Arc::new(if write { RedbPersistence::open(dir)? } else { RedbPersistence::open_read_only(dir)? }))
    }),
    ("sqlite", |dir, write| {
        Ok(Arc::new(if write { SqlitePersistence::open(dir)? } else { SqlitePersistence::open_read_only(dir)? }))
    }),
];

fn fixture(engine: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/stores/v1").join(engine)
}

fn expected() -> ChannelData {
    ChannelData { hints: vec![("message".into(), Bytes::from_static(b"where"))], ..data(every_kind()) }
}

#[tokio::test]
async fn stores_of_every_version_load_the_same() {
    for (engine, open) in ENGINES {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(&fixture(engine), copy.path());
        for write in [false, true] {
            let store = open(copy.path(), write).unwrap();
            assert_eq!(store.list_channels().await.unwrap(), [a()], "{engine}");
            assert_eq!(store.load_channel(&a()).await.unwrap(), expected(), "{engine}");
        }
    }
}

#[tokio::test]
#[ignore = "writes the fixtures of a new version, once"]
async fn write_the_fixtures() {
    for (engine, open) in ENGINES {
        let dir = fixture(engine);
        assert!(!dir.exists(), "fixtures are never written again");
        let store = open(&dir, true).unwrap();
        let commit = Commit { hints: expected().hints, ..all(&every_kind()) };
        store.commit(&a(), &commit).await.unwrap();
    }
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy_dir(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
