//! A store on a thread as an archive: the same file, a table of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::encoded::{Range, body, rid};
use crate::reconcile::{Item, Rid};
use crate::state::{Body, LogKey};
use crate::store::encoded::{Scan, Write};
use crate::store::engine_thread::EngineThread;
use crate::store::{PersistenceError, PersistenceErrorKind};
use crate::types::ChannelId;

pub(in crate::store) async fn put(
    thread: &EngineThread,
    channel: &ChannelId,
    messages: &[(Rid, Arc<Body>)],
) -> Result<(), PersistenceError> {
    thread.write("put", channel, Write::archive(channel, messages)).await
}

pub(in crate::store) async fn list(
    thread: &EngineThread,
    channel: &ChannelId,
    after: Option<&LogKey>,
    limit: usize,
) -> Result<Vec<(LogKey, Rid)>, PersistenceError> {
    let fail = |kind| PersistenceError::new("list", Some(channel), kind);
    let scan = Scan::behind(channel, Range::Rids, after, limit).map_err(fail)?;
    let found = thread.scan("list", channel, vec![scan]).await?;
    found.iter().map(|(key, value)| rid(channel, key, value)).collect::<Result<_, _>>().map_err(fail)
}

pub(in crate::store) async fn get(
    thread: &EngineThread,
    channel: &ChannelId,
    items: &[Item],
) -> Result<Vec<Arc<Body>>, PersistenceError> {
    let fail = |kind: PersistenceErrorKind| PersistenceError::new("get", Some(channel), kind);
    // Two questions to the thread for all of them: where they are, then what they are.
    let wanted: BTreeSet<Item> = items.iter().copied().collect();
    let times: BTreeSet<_> = wanted.iter().map(|item| item.lamport).collect();
    let scans = times.into_iter().map(|time| Scan::at(channel, Range::Rids, time));
    let rids = thread.scan("get", channel, scans.collect::<Result<_, _>>().map_err(fail)?).await?;
    let mut scans = Vec::new();
    for (key, value) in rids {
        let (place, rid) = rid(channel, &key, &value).map_err(fail)?;
        if wanted.contains(&Item { lamport: place.lamport, rid }) {
            scans.push(Scan::one(channel, Range::Bodies, &place).map_err(fail)?);
        }
    }
    let found = thread.scan("get", channel, scans).await?;
    found.into_iter().map(|(key, value)| body(channel, &key, value)).collect::<Result<_, _>>().map_err(fail)
}

pub(in crate::store) async fn page(
    thread: &EngineThread,
    channel: &ChannelId,
    before: Option<&LogKey>,
    limit: usize,
) -> Result<Vec<Arc<Body>>, PersistenceError> {
    let fail = |kind| PersistenceError::new("page", Some(channel), kind);
    let scan = Scan::before(channel, Range::Bodies, before, limit).map_err(fail)?;
    let found = thread.scan("page", channel, vec![scan]).await?;
    found.into_iter().map(|(key, value)| body(channel, &key, value)).collect::<Result<_, _>>().map_err(fail)
}

/// What a store with an engine thread has of [`Archive`](super::Archive).
macro_rules! archive_on_thread {
    ($name:ident) => {
        #[async_trait]
        impl $crate::store::Archive for $name {
            async fn put(
                &self,
                channel: &ChannelId,
                messages: &[($crate::reconcile::Rid, std::sync::Arc<$crate::state::Body>)],
            ) -> Result<(), PersistenceError> {
                $crate::store::archive::on_thread::put(&self.thread, channel, messages).await
            }

            async fn list(
                &self,
                channel: &ChannelId,
                after: Option<&$crate::state::LogKey>,
                limit: usize,
            ) -> Result<Vec<($crate::state::LogKey, $crate::reconcile::Rid)>, PersistenceError> {
                $crate::store::archive::on_thread::list(&self.thread, channel, after, limit).await
            }

            async fn get(
                &self,
                channel: &ChannelId,
                items: &[$crate::reconcile::Item],
            ) -> Result<Vec<std::sync::Arc<$crate::state::Body>>, PersistenceError> {
                $crate::store::archive::on_thread::get(&self.thread, channel, items).await
            }

            async fn page(
                &self,
                channel: &ChannelId,
                before: Option<&$crate::state::LogKey>,
                limit: usize,
            ) -> Result<Vec<std::sync::Arc<$crate::state::Body>>, PersistenceError> {
                $crate::store::archive::on_thread::page(&self.thread, channel, before, limit).await
            }

            async fn drop_channel(&self, channel: &ChannelId) -> Result<(), PersistenceError> {
                Persistence::drop_channel(self, channel).await
            }
        }
    };
}
pub(in crate::store) use archive_on_thread;
