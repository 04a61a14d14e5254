//! A storage backend of your own: bytes under keys, in whatever you have. Here it is a map; think of your database.
//!
//! `cargo run --example custom_backend`. That it keeps the rules, `tests/conformance` shows: see `store::conformance`.
//! The library calls it on a thread of its own, so it may block. Who would rather have rows than bytes, or has an
//! asynchronous database, implements the five methods of `Persistence` instead, as `custom_persistence` does.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reliable_channel::manager::ReliabilityManager;
use reliable_channel::store::blocking::{
    BlockingPersistence, BlockingStore, Change, Failure, Raw, Scan, Scanned, Table, Write, channel_of_key,
};
use reliable_channel::store::{Capabilities, Durability, PersistenceError};
use reliable_channel::types::ChannelId;

/// In SQL, one table with three columns.
type Map = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// The database.
#[derive(Clone, Default)]
pub struct MyDatabase(pub Arc<Mutex<Map>>);

impl MyDatabase {
    fn lock(&self) -> MutexGuard<'_, Map> {
        // Every method below leaves the map whole, even if it panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlockingStore for MyDatabase {
    type Options = Self;

    fn open(database: &Self) -> Result<Self, Failure> {
        Ok(database.clone())
    }

    fn capabilities(_: Durability) -> Capabilities {
        let mut capabilities = Capabilities::default(); // not durable: a map is gone with its process
        capabilities.atomic = true;
        capabilities
    }

    fn apply(&mut self, writes: &[Write]) -> Result<(), Failure> {
        let mut map = self.lock(); // one lock, one atomic batch; in SQL: BEGIN ... COMMIT
        for change in writes.iter().flat_map(|write| &write.changes) {
            match change {
                Change::Put { table, key, value } => drop(map.insert((*table, key.clone()), value.clone())),
                Change::Delete { table, key } => drop(map.remove(&(*table, key.clone()))),
                Change::DropChannel { prefix } => map.retain(|(_, key), _| !key.starts_with(prefix)),
            }
        }
        Ok(())
    }

    fn load(&mut self, prefix: &[u8]) -> Result<Raw, Failure> {
        let mut raw = Raw::default();
        for ((table, key), value) in self.lock().iter() {
            let Some(key) = key.strip_prefix(prefix) else { continue };
            match table {
                Table::Meta => raw.meta = Some(value.clone().into()),
                Table::Rows => raw.rows.push((key.to_vec(), value.clone().into())),
                Table::Hints => raw.hints.push((key.to_vec(), value.clone().into())),
                Table::Archive => {} // may be large: it is read by `scan` alone
            }
        }
        Ok(raw)
    }

    fn scan(&mut self, scan: &Scan) -> Result<Scanned, Failure> {
        let map = self.lock();
        let key = |key: &Vec<u8>| (Table::Archive, key.clone());
        let mut range = map.range(key(&scan.from)..key(&scan.to));
        scan.gather(|| {
            let entry = if scan.backwards { range.next_back() } else { range.next() };
            Ok(entry.map(|((_, key), value)| (key.clone(), value.clone().into())))
        })
    }

    fn list(&mut self) -> Result<Vec<ChannelId>, Failure> {
        let mut channels: Vec<_> = self.lock().keys().filter_map(|(_, key)| channel_of_key(key)).collect();
        channels.sort();
        channels.dedup();
        Ok(channels)
    }
}

impl MyDatabase {
    /// The database as a store.
    pub fn store(&self) -> Result<BlockingPersistence, PersistenceError> {
        BlockingPersistence::open::<Self>("my database", Durability::Immediate, self.clone())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = MyDatabase::default();
    let first = ReliabilityManager::builder("alice").persistence(Arc::new(database.store()?)).build()?;
    first.ensure_channel("lobby").await?;
    for text in ["one", "two", "three"] {
        first.wrap_outgoing("lobby", text).await?;
    }
    drop(first); // no shutdown: every operation was saved before its call returned

    let second = ReliabilityManager::builder("alice").persistence(Arc::new(database.store()?)).build()?;
    second.ensure_channel("lobby").await?;
    let log = second.log(&"lobby".into())?;
    assert_eq!(log.len(), 3);
    for logged in log {
        println!("{} {:?}", logged.body.key.lamport, String::from_utf8_lossy(&logged.body.content));
    }
    println!("{} messages wait for acknowledgement", second.outgoing(&"lobby".into())?.len());
    Ok(())
}
