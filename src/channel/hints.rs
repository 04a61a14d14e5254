//! Retrieval hints by message id, and what they take.

use bytes::Bytes;

use crate::types::MessageId;

use super::known::Keyed;
use super::wide_map::WideMap;

/// Bookkeeping charged for each hint.
const OVERHEAD: usize = 128;

/// Hints that the application gave (LIP-173).
#[derive(Debug)]
pub(super) struct Hints {
    map: WideMap<MessageId, Bytes>,
    bytes: usize,
}

impl Hints {
    pub(super) fn new(keys: Keyed) -> Self {
        Self { map: WideMap::new(keys), bytes: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// What they take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, id: &MessageId) -> Option<&Bytes> {
        self.map.get(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&MessageId, &Bytes)> {
        self.map.iter()
    }

    pub(super) fn insert(&mut self, id: MessageId, hint: Bytes) {
        self.bytes += cost(&id, &hint);
        if let Some(before) = self.map.insert(id.clone(), hint) {
            self.bytes -= cost(&id, &before);
        }
    }

    pub(super) fn remove(&mut self, id: &MessageId) {
        // Mostly there are none.
        if !self.map.is_empty()
            && let Some(hint) = self.map.remove(id)
        {
            self.bytes -= cost(id, &hint);
        }
    }
}

fn cost(id: &MessageId, hint: &Bytes) -> usize {
    OVERHEAD + id.len() + hint.len()
}
