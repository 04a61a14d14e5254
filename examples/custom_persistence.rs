//! A storage backend of your own, of rows: five methods over whatever you have. Here it is a map; think of a database that
//! is asynchronous, or whose tables others should be able to read. Bytes under keys are less work: `custom_backend`.
//!
//! `cargo run --example custom_persistence`. That it keeps the rules, `tests/conformance` shows: see
//! `store::conformance`.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use reliable_channel::manager::ReliabilityManager;
use reliable_channel::state::{ChannelData, ChannelMeta, HistoryUpdate, Place, Row, RowKey};
use reliable_channel::store::{Persistence, PersistenceError};
use reliable_channel::types::{ChannelId, MessageId};

/// One channel's table of rows, its meta, and its hints.
#[derive(Default)]
struct Tables {
    meta: Option<ChannelMeta>,
    rows: BTreeMap<RowKey, Row>,
    hints: BTreeMap<MessageId, Bytes>,
}

/// The database.
#[derive(Default)]
pub struct MyDatabase(Mutex<BTreeMap<ChannelId, Tables>>);

impl MyDatabase {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ChannelId, Tables>> {
        // Every method below leaves the tables whole, even if it panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Persistence for MyDatabase {
    async fn save_channel_meta(&self, channel: &ChannelId, meta: &ChannelMeta) -> Result<(), PersistenceError> {
        self.lock().entry(channel.clone()).or_default().meta = Some(meta.clone());
        Ok(())
    }

    async fn update_history(&self, channel: &ChannelId, update: &HistoryUpdate) -> Result<(), PersistenceError> {
        let mut database = self.lock(); // one lock, one atomic batch; in SQL: BEGIN ... COMMIT
        let tables = database.entry(channel.clone()).or_default();
        for key in &update.delete {
            tables.rows.remove(key);
            if key.place == Place::Body {
                tables.hints.remove(&key.id); // a hint goes with its message
            }
        }
        tables.rows.extend(update.put.iter().map(|row| (row.key(), row.clone())));
        Ok(())
    }

    async fn load_channel(&self, channel: &ChannelId) -> Result<ChannelData, PersistenceError> {
        let database = self.lock();
        let Some(tables) = database.get(channel) else { return Ok(ChannelData::default()) };
        Ok(ChannelData {
            meta: tables.meta.clone(),
            rows: tables.rows.values().cloned().collect(),
            hints: tables.hints.iter().map(|(id, hint)| (id.clone(), hint.clone())).collect(),
        })
    }

    async fn drop_channel(&self, channel: &ChannelId) -> Result<(), PersistenceError> {
        self.lock().remove(channel);
        Ok(())
    }

    async fn set_retrieval_hint(
        &self,
        channel: &ChannelId,
        id: &MessageId,
        hint: &Bytes,
    ) -> Result<(), PersistenceError> {
        self.lock().entry(channel.clone()).or_default().hints.insert(id.clone(), hint.clone());
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = Arc::new(MyDatabase::default());
    let first = ReliabilityManager::builder("alice").persistence(database.clone()).build()?;
    first.ensure_channel("lobby").await?;
    for text in ["one", "two", "three"] {
        first.wrap_outgoing("lobby", text).await?;
    }
    drop(first); // no shutdown: every operation was saved before its call returned

    let second = ReliabilityManager::builder("alice").persistence(database).build()?;
    second.ensure_channel("lobby").await?;
    let log = second.log(&"lobby".into())?;
    assert_eq!(log.len(), 3);
    for logged in log {
        println!("{} {:?}", logged.body.key.lamport, String::from_utf8_lossy(&logged.body.content));
    }
    println!("{} messages wait for acknowledgement", second.outgoing(&"lobby".into())?.len());
    Ok(())
}
