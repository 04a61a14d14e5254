//! An archive in memory: for tests, and for members that keep more than their log while they run.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::Archive;
use crate::reconcile::{Item, Rid};
use crate::state::{Body, LogKey};
use crate::store::PersistenceError;
use crate::types::ChannelId;

type Kept = BTreeMap<LogKey, (Rid, Arc<Body>)>;

/// Keeps messages in memory, without a bound. Clones share what is kept.
///
/// # Example
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use std::sync::Arc;
/// use reliable_channel::reconcile::Rid;
/// use reliable_channel::state::{Body, LogKey};
/// use reliable_channel::store::{Archive, MemoryArchive};
/// use reliable_channel::types::{ChannelId, Lamport};
///
/// let (archive, lobby) = (MemoryArchive::new(), ChannelId::from("lobby"));
/// let key = LogKey { lamport: Lamport(7), id: "an id".into() };
/// let body = Arc::new(Body::new(key.clone(), "alice".into(), "hello".into()));
/// archive.put(&lobby, &[(Rid([1; 32]), body.clone())]).await?;
/// assert_eq!(archive.page(&lobby, None, 50).await?, [body]);
/// assert_eq!(archive.list(&lobby, None, 50).await?, [(key, Rid([1; 32]))]);
/// # Ok::<(), reliable_channel::store::PersistenceError>(()) }).unwrap();
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryArchive {
    channels: Arc<Mutex<BTreeMap<ChannelId, Kept>>>,
}

impl MemoryArchive {
    /// An empty archive.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ChannelId, Kept>> {
        // Nothing between two changes of a map can panic, so a poisoned lock guards whole data.
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Archive for MemoryArchive {
    async fn put(&self, channel: &ChannelId, messages: &[(Rid, Arc<Body>)]) -> Result<(), PersistenceError> {
        let entries = messages.iter().map(|(rid, body)| (body.key.clone(), (*rid, body.clone())));
        self.lock().entry(channel.clone()).or_default().extend(entries);
        Ok(())
    }

    async fn list(
        &self,
        channel: &ChannelId,
        after: Option<&LogKey>,
        limit: usize,
    ) -> Result<Vec<(LogKey, Rid)>, PersistenceError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let all = self.lock();
        let kept = all.get(channel).into_iter().flat_map(|kept| kept.range((from, Bound::Unbounded)));
        Ok(kept.take(limit).map(|(key, (rid, _))| (key.clone(), *rid)).collect())
    }

    async fn get(&self, channel: &ChannelId, items: &[Item]) -> Result<Vec<Arc<Body>>, PersistenceError> {
        let all = self.lock();
        let Some(kept) = all.get(channel) else { return Ok(Vec::new()) };
        let found = |item: &Item| {
            let mut there = kept.range(LogKey::first_at(item.lamport)..);
            let here = there.by_ref().take_while(|(key, _)| key.lamport == item.lamport);
            here.map(|(_, kept)| kept).find(|(rid, _)| *rid == item.rid).map(|(_, body)| body.clone())
        };
        Ok(items.iter().filter_map(found).collect())
    }

    async fn page(
        &self,
        channel: &ChannelId,
        before: Option<&LogKey>,
        limit: usize,
    ) -> Result<Vec<Arc<Body>>, PersistenceError> {
        let to = before.map_or(Bound::Unbounded, Bound::Excluded);
        let all = self.lock();
        let kept = all.get(channel).into_iter().flat_map(|kept| kept.range((Bound::Unbounded, to)).rev());
        Ok(kept.take(limit).map(|(_, (_, body))| body.clone()).collect())
    }

    async fn drop_channel(&self, channel: &ChannelId) -> Result<(), PersistenceError> {
        self.lock().remove(channel);
        Ok(())
    }
}
