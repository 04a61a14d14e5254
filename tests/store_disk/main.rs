//! What an operator relies on, of every engine: who may read the files, copies of an open store, a directory that goes
//! away, and a lock that is free when the store was dropped.
#![cfg(all(feature = "redb", feature = "sled", feature = "sqlite"))]
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

#[cfg(unix)]
mod permissions;

use std::path::Path;
use std::sync::Arc;

use reliable_channel::store::{
    Durability, Persistence, PersistenceError, RedbPersistence, SledPersistence, SqlitePersistence,
};

type Opened = Result<Arc<dyn Persistence>, PersistenceError>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Engine {
    Redb,
    Sled,
    Sqlite,
}

impl Engine {
    const ALL: [Self; 3] = [Self::Redb, Self::Sled, Self::Sqlite];

    fn open(self, dir: &Path) -> Opened {
        self.open_with(dir, Durability::Immediate)
    }

    fn open_with(self, dir: &Path, durability: Durability) -> Opened {
        Ok(match self {
            Self::Redb => Arc::new(RedbPersistence::open_with(dir, durability)?),
            Self::Sled => Arc::new(SledPersistence::open_with(dir, durability)?),
            Self::Sqlite => Arc::new(SqlitePersistence::open_with(dir, durability)?),
        })
    }

    /// The file or directory of the store.
    fn file(self) -> &'static str {
        match self {
            Self::Redb => "channels.redb",
            Self::Sled => "channels.sled",
            Self::Sqlite => "channels.sqlite",
        }
    }
}
