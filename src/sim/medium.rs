//! What one channel saved, in memory, as the bytes that a store would keep: every row, meta and hint goes through the
//! codec of [`snapshot`](crate::snapshot) on its way in and on its way out.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::snapshot;
use crate::state::{ChannelData, Commit, LogKey, Place, Row, RowKey};
use crate::types::{ChannelId, MessageId};

use super::Archive;

/// A medium that survives its channel.
#[derive(Clone, Debug)]
pub struct Medium {
    channel: ChannelId,
    meta: Option<Bytes>,
    rows: BTreeMap<RowKey, Bytes>,
    hints: BTreeMap<MessageId, Bytes>,
    /// Keep nothing: for worlds in which nobody restarts.
    pub(super) forgetful: bool,
    /// Its archive, if it has one.
    pub(super) archive: Option<Archive>,
}

impl Medium {
    /// An empty medium.
    #[must_use]
    pub fn new(channel: ChannelId) -> Self {
        Self { channel, meta: None, rows: BTreeMap::new(), hints: BTreeMap::new(), forgetful: false, archive: None }
    }

    pub(super) fn channel(&self) -> &ChannelId {
        &self.channel
    }

    /// Saves what one operation changed.
    pub fn apply(&mut self, commit: &Commit) {
        self.apply_rows(commit);
        if let Some(meta) = commit.meta.as_ref().filter(|_| !self.forgetful) {
            self.meta = Some(snapshot::encode_meta(&self.channel, meta).into());
        }
    }

    /// The first of two writes, where a store cannot make them one: rows and hints, without the meta.
    pub fn apply_rows(&mut self, commit: &Commit) {
        if self.forgetful {
            return;
        }
        for key in &commit.history.delete {
            self.rows.remove(key);
            if key.place == Place::Body {
                self.hints.remove(&key.id);
            }
        }
        for row in &commit.history.put {
            self.rows.insert(row.key(), snapshot::encode_row(&self.channel, row).into());
        }
        for (id, hint) in &commit.hints {
            self.hints.insert(id.clone(), snapshot::encode_hint(&self.channel, id, hint).into());
        }
    }

    /// Everything saved.
    ///
    /// # Panics
    /// When the codec does not read what it wrote.
    #[must_use]
    pub fn load(&self) -> ChannelData {
        let row = |(key, bytes): (&RowKey, &Bytes)| -> Row {
            let key = snapshot::parse_row_key(&snapshot::row_key(key)).expect("the codec wrote this key");
            snapshot::decode_row(&self.channel, &key, bytes.clone()).expect("the codec wrote this row")
        };
        let meta = self
            .meta
            .clone()
            .map(|bytes| snapshot::decode_meta(&self.channel, bytes).expect("the codec wrote this meta"));
        let hint = |(id, bytes): (&MessageId, &Bytes)| {
            let hint = snapshot::decode_hint(&self.channel, id, bytes.clone()).expect("the codec wrote this hint");
            (id.clone(), hint)
        };
        ChannelData { meta, rows: self.rows.iter().map(row).collect(), hints: self.hints.iter().map(hint).collect() }
    }

    /// Whether a body is kept at this place in the log.
    #[must_use]
    pub fn has_body(&self, key: &LogKey) -> bool {
        self.rows.contains_key(&RowKey::body(key))
    }

    /// The meta as it lies there now, to be put back by a bug.
    pub(super) fn meta_bytes(&self) -> Option<Bytes> {
        self.meta.clone()
    }

    pub(super) fn replace_meta(&mut self, meta: Option<Bytes>) {
        self.meta = meta;
    }

    /// Loses floor and horizon: a bug.
    pub(super) fn forget_bounds(&mut self) {
        let Some(mut meta) = self.load().meta else { return };
        (meta.floor, meta.horizon) = (None, None);
        self.meta = Some(snapshot::encode_meta(&self.channel, &meta).into());
    }

    /// Loses the newest row of a place: a bug.
    pub(super) fn lose_newest(&mut self, place: Place) {
        let newest = self.rows.keys().rev().find(|key| key.place == place).cloned();
        newest.map(|key| self.rows.remove(&key));
    }
}
