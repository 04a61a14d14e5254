//! Dependencies that count as met though they were never delivered: given up as lost, or declared met.

use std::collections::{BTreeMap, HashMap};

use crate::state::{Mark, MarkKind};
use crate::types::MessageId;

use super::known::{IdMap, Keyed};

/// The marks of a channel; the oldest gives way. What the application withdrew or erased outlasts all others, which
/// strangers may bring about.
#[derive(Debug)]
pub(super) struct Marks {
    marks: IdMap<MessageId, (MarkKind, u64)>,
    order: BTreeMap<Turn, MessageId>,
}

/// Whether it was withdrawn or erased, then its number: the lowest gives way first.
type Turn = (bool, u64);

fn turn(kind: MarkKind, sequence: u64) -> Turn {
    (matches!(kind, MarkKind::Withdrawn | MarkKind::Erased), sequence)
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

    /// In the order in which they give way.
    pub(super) fn iter(&self) -> impl Iterator<Item = Mark> {
        self.order.values().filter_map(|id| {
            let (kind, sequence) = self.marks.get(id)?;
            Some(Mark { id: id.clone(), kind: *kind, sequence: *sequence })
        })
    }

    pub(super) fn insert(&mut self, mark: &Mark) {
        self.remove(&mark.id);
        self.marks.insert(mark.id.clone(), (mark.kind, mark.sequence));
        self.order.insert(turn(mark.kind, mark.sequence), mark.id.clone());
    }

    pub(super) fn remove(&mut self, id: &MessageId) -> bool {
        if self.marks.is_empty() {
            return false;
        }
        match self.marks.remove(id) {
            Some((kind, sequence)) => self.order.remove(&turn(kind, sequence)).is_some(),
            None => false,
        }
    }

    /// Drops the oldest, one that was withdrawn only where there is no other.
    pub(super) fn drop_oldest(&mut self) -> Option<MessageId> {
        let (_, id) = self.order.pop_first()?;
        self.marks.remove(&id);
        Some(id)
    }
}
