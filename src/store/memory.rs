//! Stores without a disk: one that remembers while the process lives, one that remembers nothing.
//!
//! What: [`MemoryPersistence`] and [`NoPersistence`]. Why: tests restart a manager on the first, the second is
//! for applications that want no memory across restarts. How it moves: rows are kept as data, never as bytes; a
//! commit happens under one lock, so it is atomic. Nothing is checked on load: there is no medium to damage it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Capabilities, Persistence, PersistenceError};
use crate::state::{ChannelData, ChannelMeta, Commit, HistoryUpdate, Place, Row, RowKey};
use crate::types::{ChannelId, MessageId};

/// Keeps channels in memory. Clones share what is kept, so a test "restarts" by taking a clone.
///
/// See the [example](crate::store#example).
#[derive(Clone, Debug, Default)]
pub struct MemoryPersistence {
    channels: Arc<Mutex<BTreeMap<ChannelId, Kept>>>,
}

impl MemoryPersistence {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ChannelId, Kept>> {
        // Nothing between two changes of a map can panic, so a poisoned lock guards whole data.
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, channel: &ChannelId, change: impl FnOnce(&mut Kept)) {
        let mut channels = self.lock();
        let kept = channels.entry(channel.clone()).or_default();
        change(kept);
        if kept.meta.is_none() && kept.rows.is_empty() && kept.hints.is_empty() {
            channels.remove(channel);
        }
    }
}

/// One channel.
#[derive(Debug, Default)]
struct Kept {
    meta: Option<ChannelMeta>,
    rows: BTreeMap<RowKey, Row>,
    hints: BTreeMap<MessageId, Bytes>,
}

impl Kept {
    fn update(&mut self, update: &HistoryUpdate) {
        for key in &update.delete {
            self.rows.remove(key);
            if key.place == Place::Body {
                self.hints.remove(&key.id);
            }
        }
        self.rows.extend(update.put.iter().map(|row| (row.key(), row.clone())));
    }
}

#[async_trait]
impl Persistence for MemoryPersistence {
    async fn save_channel_meta(&self, channel: &ChannelId, meta: &ChannelMeta) -> Result<(), PersistenceError> {
        self.change(channel, |kept| kept.meta = Some(meta.clone()));
        Ok(())
    }

    async fn update_history(&self, channel: &ChannelId, update: &HistoryUpdate) -> Result<(), PersistenceError> {
        self.change(channel, |kept| kept.update(update));
        Ok(())
    }

    async fn load_channel(&self, channel: &ChannelId) -> Result<ChannelData, PersistenceError> {
        Ok(self.lock().get(channel).map_or_else(ChannelData::default, |kept| ChannelData {
            meta: kept.meta.clone(),
            rows: kept.rows.values().cloned().collect(),
            hints: kept.hints.iter().map(|(id, hint)| (id.clone(), hint.clone())).collect(),
        }))
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
        self.change(channel, |kept| {
            kept.hints.insert(id.clone(), hint.clone());
        });
        Ok(())
    }

    async fn commit(&self, channel: &ChannelId, commit: &Commit) -> Result<(), PersistenceError> {
        self.change(channel, |kept| {
            kept.update(&commit.history);
            kept.hints.extend(commit.hints.iter().cloned());
            if let Some(meta) = &commit.meta {
                kept.meta = Some(meta.clone());
            }
        });
        Ok(())
    }

    async fn list_channels(&self) -> Result<Vec<ChannelId>, PersistenceError> {
        Ok(self.lock().keys().cloned().collect())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { atomic: true, ..Capabilities::default() }
    }
}

/// Keeps nothing: every save succeeds, every load is empty.
///
/// See the [example](crate::store#example).
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPersistence;

#[async_trait]
impl Persistence for NoPersistence {
    async fn save_channel_meta(&self, _: &ChannelId, _: &ChannelMeta) -> Result<(), PersistenceError> {
        Ok(())
    }

    async fn update_history(&self, _: &ChannelId, _: &HistoryUpdate) -> Result<(), PersistenceError> {
        Ok(())
    }

    async fn load_channel(&self, _: &ChannelId) -> Result<ChannelData, PersistenceError> {
        Ok(ChannelData::default())
    }

    async fn drop_channel(&self, _: &ChannelId) -> Result<(), PersistenceError> {
        Ok(())
    }

    async fn set_retrieval_hint(&self, _: &ChannelId, _: &MessageId, _: &Bytes) -> Result<(), PersistenceError> {
        Ok(())
    }

    async fn list_channels(&self) -> Result<Vec<ChannelId>, PersistenceError> {
        Ok(Vec::new())
    }

    fn capabilities(&self) -> Capabilities {
        // Nothing of a commit appears: all of none is atomic.
        Capabilities { atomic: true, ..Capabilities::default() }
    }
}
