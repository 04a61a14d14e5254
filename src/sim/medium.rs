//! What one channel saved, in memory: the plainest store that keeps the rules.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::state::{ChannelData, ChannelMeta, Commit, LogKey, Place, Row, RowKey};
use crate::types::MessageId;

/// A medium that survives its channel.
#[derive(Clone, Debug, Default)]
pub struct Medium {
    meta: Option<ChannelMeta>,
    rows: BTreeMap<RowKey, Row>,
    hints: BTreeMap<MessageId, Bytes>,
}

impl Medium {
    /// Saves what one operation changed.
    pub fn apply(&mut self, commit: &Commit) {
        for key in &commit.history.delete {
            self.rows.remove(key);
            if key.place == Place::Body {
                self.hints.remove(&key.id);
            }
        }
        self.rows.extend(commit.history.put.iter().map(|row| (row.key(), row.clone())));
        self.hints.extend(commit.hints.iter().cloned());
        if let Some(meta) = &commit.meta {
            self.meta = Some(meta.clone());
        }
    }

    /// Everything saved.
    #[must_use]
    pub fn load(&self) -> ChannelData {
        ChannelData {
            meta: self.meta.clone(),
            rows: self.rows.values().cloned().collect(),
            hints: self.hints.iter().map(|(id, hint)| (id.clone(), hint.clone())).collect(),
        }
    }

    /// Whether a body is kept at this place in the log.
    #[must_use]
    pub fn has_body(&self, key: &LogKey) -> bool {
        self.rows.contains_key(&RowKey::body(key))
    }
}
