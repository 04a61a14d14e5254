//! The engines on disk, for tests that hold for each of them.

use std::path::Path;
use std::sync::Arc;

use reliable_channel::store::{
    Durability, Persistence, PersistenceError, RedbPersistence, SledPersistence, SqlitePersistence,
};

pub type Opened = Result<Arc<dyn Persistence>, PersistenceError>;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Engine {
    Redb,
    Sled,
    Sqlite,
}

impl Engine {
    pub const ALL: [Self; 3] = [Self::Redb, Self::Sled, Self::Sqlite];

    pub fn open(self, dir: &Path) -> Opened {
        self.open_with(dir, Durability::Immediate)
    }

    pub fn open_with(self, dir: &Path, durability: Durability) -> Opened {
        Ok(match self {
            Self::Redb => Arc::new(RedbPersistence::open_with(dir, durability)?),
            Self::Sled => Arc::new(SledPersistence::open_with(dir, durability)?),
            Self::Sqlite => Arc::new(SqlitePersistence::open_with(dir, durability)?),
        })
    }

    pub fn look(self, dir: &Path) -> Opened {
        Ok(match self {
            Self::Redb => Arc::new(RedbPersistence::open_read_only(dir)?),
            Self::Sled => Arc::new(SledPersistence::open_read_only(dir)?),
            Self::Sqlite => Arc::new(SqlitePersistence::open_read_only(dir)?),
        })
    }

    /// The file or directory of the store.
    pub fn file(self) -> &'static str {
        match self {
            Self::Redb => "channels.redb",
            Self::Sled => "channels.sled",
            Self::Sqlite => "channels.sqlite",
        }
    }
}
