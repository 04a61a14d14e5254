//! Dependencies that count as met though they were never delivered: given up as lost, or declared met.

use std::collections::{BTreeMap, HashMap};

use crate::state::{Mark, MarkKind};
use crate::types::MessageId;

use super::known::{IdMap, Keyed};

/// The marks of a channel; the oldest gives way.
#[derive(Debug)]
pub(super) struct Marks {
    marks: IdMap<MessageId, (MarkKind, u64)>,
    order: BTreeMap<u64, MessageId>,
}

impl Marks {
    pub(super) fn new(keys: Keyed) -> Self {
        Self { marks: HashMap::with_hasher(keys), order: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.marks.len()
    }

    pub(super) fn get(&self, id: &MessageId) -> Option<MarkKind> {
        self.marks.get(id).map(|(kind, _)| *kind)
    }

    /// In the order they were set.
    pub(super) fn iter(&self) -> impl Iterator<Item = Mark> {
        self.order.iter().filter_map(|(sequence, id)| {
            let (kind, _) = self.marks.get(id)?;
            Some(Mark { id: id.clone(), kind: *kind, sequence: *sequence })
        })
    }

    pub(super) fn insert(&mut self, mark: &Mark) {
        self.remove(&mark.id);
        self.marks.insert(mark.id.clone(), (mark.kind, mark.sequence));
        self.order.insert(mark.sequence, mark.id.clone());
    }

    pub(super) fn remove(&mut self, id: &MessageId) -> bool {
        if self.marks.is_empty() {
            return false;
        }
        match self.marks.remove(id) {
            Some((_, sequence)) => self.order.remove(&sequence).is_some(),
            None => false,
        }
    }

    /// Drops the oldest.
    pub(super) fn drop_oldest(&mut self) -> Option<MessageId> {
        let (_, id) = self.order.pop_first()?;
        self.marks.remove(&id);
        Some(id)
    }
}
