//! What one operation changed: [`Commit`].

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{ChannelMeta, Place, Row, RowKey};
use crate::types::MessageId;

/// Rows to put and keys to delete, as one atomic batch: first delete, then put. So a key both put and deleted stays put.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistoryUpdate {
    /// Rows to put; a row under a known key replaces it.
    pub put: Vec<Row>,
    /// Keys to delete; an unknown key is fine.
    pub delete: Vec<RowKey>,
}

impl HistoryUpdate {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.delete.is_empty()
    }
}

/// What one operation changed: changed rows only, to be saved together or not at all.
///
/// It is exhaustive, as [`HistoryUpdate`] and [`ChannelData`](super::ChannelData) are: a store must see at compile time that
/// there is something new to keep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commit {
    /// The new meta, when it changed.
    pub meta: Option<ChannelMeta>,
    /// Changed rows.
    pub history: HistoryUpdate,
    /// Retrieval hints set.
    pub hints: Vec<(MessageId, Bytes)>,
}

impl Commit {
    /// Whether there is nothing to save.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.meta.is_none() && self.history.is_empty() && self.hints.is_empty()
    }

    /// Puts a later commit on top of this one: per row, hint and meta the later wins, and a body that the later
    /// deletes takes its hint along. Of many commits it does not matter which are merged first.
    pub fn merge(&mut self, later: Commit) {
        let bodies = later.history.delete.iter().filter(|key| key.place == Place::Body);
        let deleted: BTreeSet<&MessageId> = bodies.map(|key| &key.id).collect();
        self.hints.retain(|(id, _)| !deleted.contains(id));
        if later.meta.is_some() {
            self.meta = later.meta;
        }
        let earlier = std::mem::take(&mut self.history);
        let mut put: BTreeMap<RowKey, Row> = earlier.put.into_iter().map(|row| (row.key(), row)).collect();
        for key in &later.history.delete {
            put.remove(key);
        }
        put.extend(later.history.put.into_iter().map(|row| (row.key(), row)));
        let deleted: BTreeSet<RowKey> = earlier.delete.into_iter().chain(later.history.delete).collect();
        // A body that is put again is still deleted before, for the hint that went with it.
        self.history.delete =
            deleted.into_iter().filter(|key| key.place == Place::Body || !put.contains_key(key)).collect();
        self.history.put = put.into_values().collect();
        let mut hints: BTreeMap<MessageId, Bytes> = std::mem::take(&mut self.hints).into_iter().collect();
        hints.extend(later.hints);
        self.hints = hints.into_iter().collect();
    }
}
