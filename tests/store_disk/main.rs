//! What an operator relies on, of every engine: who may read the files, copies of an open store, a directory that goes
//! away, and a lock that is free when the store was dropped.
#![cfg(all(feature = "manager", feature = "redb", feature = "sled", feature = "sqlite"))]
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod backup;
#[cfg(unix)]
mod gone;
#[cfg(unix)]
mod permissions;
mod reopened;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use common::engine::Engine;
use reliable_channel::store::{
    Durability, Persistence, PersistenceError, RedbPersistence, SledPersistence, SqlitePersistence,
};

/// A store under its own name, for what the trait has not.
enum Store {
    Redb(RedbPersistence),
    Sled(SledPersistence),
    Sqlite(SqlitePersistence),
}

impl Store {
    fn open(engine: Engine, dir: &Path, durability: Durability) -> Self {
        match engine {
            Engine::Redb => Self::Redb(RedbPersistence::open_with(dir, durability).unwrap()),
            Engine::Sled => Self::Sled(SledPersistence::open_with(dir, durability).unwrap()),
            Engine::Sqlite => Self::Sqlite(SqlitePersistence::open_with(dir, durability).unwrap()),
        }
    }

    fn read_only(engine: Engine, dir: &Path) -> Self {
        match engine {
            Engine::Redb => Self::Redb(RedbPersistence::open_read_only(dir).unwrap()),
            Engine::Sled => Self::Sled(SledPersistence::open_read_only(dir).unwrap()),
            Engine::Sqlite => Self::Sqlite(SqlitePersistence::open_read_only(dir).unwrap()),
        }
    }

    async fn backup(&self, to: impl AsRef<Path> + Send) -> Result<(), PersistenceError> {
        match self {
            Self::Redb(store) => store.backup(to).await,
            Self::Sled(store) => store.backup(to).await,
            Self::Sqlite(store) => store.backup(to).await,
        }
    }
}

impl Deref for Store {
    type Target = dyn Persistence;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Redb(store) => store,
            Self::Sled(store) => store,
            Self::Sqlite(store) => store,
        }
    }
}

/// All files below a directory, by their path in it.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(inner) = open.pop() {
        for entry in fs::read_dir(inner).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let content = fs::read(&path).unwrap();
                found.insert(path.strip_prefix(dir).unwrap().to_owned(), content);
            }
        }
    }
    found
}
