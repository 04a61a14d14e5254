//! Every rule of `store::conformance` on every bundled store, and a breach of every rule, which its test must notice.
#![cfg(all(feature = "testing", feature = "redb", feature = "sled", feature = "sqlite"))]
#![allow(clippy::unwrap_used)]

mod breaches;
#[path = "../../examples/custom_backend.rs"]
#[allow(dead_code, missing_docs)]
mod custom_backend;
#[path = "../../examples/custom_persistence.rs"]
#[allow(dead_code, missing_docs)]
mod custom_persistence;
mod model;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reliable_channel::persistence_conformance;
use reliable_channel::store::conformance::{Directory, Open, Place, RULES};
use reliable_channel::store::{
    Durability, FaultyPersistence, MemoryPersistence, NoPersistence, Persistence, PersistenceError,
    PersistenceErrorKind, RedbPersistence, SledPersistence, SqlitePersistence,
};

/// The window outlives every test, so that what a crash takes of it is seen.
const BATCHED: Durability = Durability::Batched { max_delay: Duration::from_secs(36_000) };

struct Memory(MemoryPersistence);

impl Place for Memory {
    fn open(&self) -> Result<Arc<dyn Persistence>, PersistenceError> {
        Ok(Arc::new(self.0.clone()))
    }
}

/// The example of bytes: a store that somebody else wrote.
struct OfBytes(custom_backend::MyDatabase);

impl Place for OfBytes {
    fn open(&self) -> Result<Arc<dyn Persistence>, PersistenceError> {
        Ok(Arc::new(self.0.store()?))
    }

    fn damage(&self, bytes: &[u8]) -> bool {
        let mut damaged = false;
        for value in self.0.0.lock().unwrap().values_mut() {
            if let Some(at) = value.windows(bytes.len()).position(|window| window == bytes) {
                value[at + bytes.len() / 2] ^= 1;
                damaged = true;
            }
        }
        damaged
    }

    fn cut(&self) -> bool {
        let mut map = self.0.0.lock().unwrap();
        let half = map.keys().nth(map.len() / 2).cloned();
        half.is_some_and(|half| !map.split_off(&half).is_empty())
    }
}

/// The example of rows.
struct OfRows(Arc<custom_persistence::MyDatabase>);

impl Place for OfRows {
    fn open(&self) -> Result<Arc<dyn Persistence>, PersistenceError> {
        Ok(self.0.clone())
    }
}

/// A store whose medium can be broken.
struct Faulty(FaultyPersistence);

impl Place for Faulty {
    fn open(&self) -> Result<Arc<dyn Persistence>, PersistenceError> {
        Ok(Arc::new(self.0.clone()))
    }

    fn fail_writes(&self, fail: bool) -> bool {
        if fail {
            self.0.fail_writes(PersistenceErrorKind::Io)
        } else {
            self.0.heal()
        }
        true
    }
}

fn redb(durability: Durability, dir: &Path) -> Result<Arc<dyn Persistence>, PersistenceError> {
    Ok(Arc::new(RedbPersistence::open_with(dir, durability)?))
}

fn sled(durability: Durability, dir: &Path) -> Result<Arc<dyn Persistence>, PersistenceError> {
    Ok(Arc::new(SledPersistence::open_with(dir, durability)?))
}

fn sqlite(durability: Durability, dir: &Path) -> Result<Arc<dyn Persistence>, PersistenceError> {
    Ok(Arc::new(SqlitePersistence::open_with(dir, durability)?))
}

mod memory {
    use super::*;
    persistence_conformance!(Memory(MemoryPersistence::new()));
}

mod the_example_of_bytes {
    use super::*;
    persistence_conformance!(OfBytes(custom_backend::MyDatabase::default()));
}

mod the_example_of_rows {
    use super::*;
    persistence_conformance!(OfRows(Arc::default()));
}

mod faulty {
    use super::*;
    persistence_conformance!(Faulty(FaultyPersistence::new(Arc::new(MemoryPersistence::new()))));
}

mod sound_model {
    use super::*;
    persistence_conformance!(model::Model::sound());
}

mod redb_immediate {
    use super::*;
    persistence_conformance!(Directory::new(|dir| redb(Durability::Immediate, dir)));
}

mod redb_batched {
    use super::*;
    persistence_conformance!(Directory::new(|dir| redb(BATCHED, dir)));
}

mod sled_immediate {
    use super::*;
    persistence_conformance!(Directory::new(|dir| sled(Durability::Immediate, dir)));
}

mod sled_batched {
    use super::*;
    persistence_conformance!(Directory::new(|dir| sled(BATCHED, dir)));
}

mod sqlite_immediate {
    use super::*;
    persistence_conformance!(Directory::new(|dir| sqlite(Durability::Immediate, dir)));
}

mod sqlite_batched {
    use super::*;
    persistence_conformance!(Directory::new(|dir| sqlite(BATCHED, dir)));
}

mod sqlite_os_buffered {
    use super::*;
    persistence_conformance!(Directory::new(|dir| sqlite(Durability::OsBuffered, dir)));
}

/// What was not looked at is not passed off as kept.
#[tokio::test]
async fn a_rule_that_needs_a_failing_medium_is_not_kept_without_one() {
    let name = "it_works_again_after_the_medium_did";
    let rule = RULES.iter().find(|rule| rule.name == name).unwrap();
    let stores: [Open; 3] = [
        |dir| redb(Durability::Immediate, dir),
        |dir| sled(Durability::Immediate, dir),
        |dir| sqlite(Durability::Immediate, dir),
    ];
    for place in stores.map(Directory::new) {
        assert_eq!(format!("{:?}", rule.check(&place).await), "Ok(NotChecked)");
    }
    let place = Faulty(FaultyPersistence::new(Arc::new(MemoryPersistence::new())));
    assert_eq!(format!("{:?}", rule.check(&place).await), "Ok(Kept)");
}

#[test]
fn what_an_engine_cannot_promise_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for open in [redb, sled] {
        let error = open(Durability::OsBuffered, dir.path()).err().unwrap();
        assert_eq!(error.kind, PersistenceErrorKind::Unsupported);
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "refused, and made all the same");
}

#[test]
fn capabilities_are_stated() {
    for open in [redb, sled, sqlite] {
        let dir = tempfile::tempdir().unwrap();
        let stated = open(BATCHED, dir.path()).unwrap().capabilities();
        // sled cuts its log silently where it is damaged.
        assert_eq!(stated.checksummed, !dir.path().join("channels.sled").exists());
        assert_eq!((stated.atomic, stated.durability), (true, Some(BATCHED)));
        assert!(stated.exclusive && stated.max_value_bytes.is_some());
    }
    let memory = MemoryPersistence::new().capabilities();
    assert_eq!((memory.atomic, memory.durability), (true, None));
}

#[tokio::test]
async fn no_persistence_keeps_nothing() {
    let store = NoPersistence;
    store.save_channel_meta(&"a".into(), &Default::default()).await.unwrap();
    assert!(store.load_channel(&"a".into()).await.unwrap().is_empty());
    assert!(store.list_channels().await.unwrap().is_empty());
}
