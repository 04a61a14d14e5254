//! Who fills the outgoing repair buffer, and so whose entry gives way when it is full.
//!
//! What: [`Shares`] counts entries by who named them, an entry belonging to who holds fewest of those who named it. Why:
//! the buffer must end up with what honest participants miss, and whoever names messages that do not exist is asked to
//! make room first, before what was asked for often (docs/protocol.md section 11.5; by requests alone, fresh fakes would
//! push out what everybody waits for). How it moves: `Requests` keeps it as its entries come, change and go. Names
//! are not authenticated: who takes a new one for every fake is bounded by the buffer and by nothing here.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;

use crate::types::{MessageId, ParticipantId};

use super::known::Keyed;

/// Who named a message; `None` for what a sync message named before a restart.
pub(super) type Namer = Option<ParticipantId>;

/// Entries of a buffer by who named them.
#[derive(Debug)]
pub(super) struct Shares {
    /// Each with how often it was asked for.
    entries: BTreeMap<Namer, BTreeSet<(u32, MessageId)>>,
    /// The hash breaks ties where nobody can foresee it.
    sizes: BTreeSet<(usize, u64, Namer)>,
    keys: Keyed,
}

impl Shares {
    pub(super) fn new(keys: Keyed) -> Self {
        Self { entries: BTreeMap::new(), sizes: BTreeSet::new(), keys }
    }

    pub(super) fn insert(&mut self, namer: &Namer, asked: u32, id: &MessageId) {
        self.change(namer, |entries| entries.insert((asked, id.clone())));
    }

    pub(super) fn remove(&mut self, namer: &Namer, asked: u32, id: &MessageId) {
        self.change(namer, |entries| entries.remove(&(asked, id.clone())));
    }

    /// Entries that this participant named.
    pub(super) fn of(&self, namer: &Namer) -> usize {
        self.entries.get(namer).map_or(0, BTreeSet::len)
    }

    /// Whether another entry of this one may displace one of somebody who has more than it would have then.
    pub(super) fn may_displace(&self, namer: &Namer) -> bool {
        self.sizes.last().is_some_and(|(most, ..)| *most > self.of(namer) + 1)
    }

    /// What gives way to another entry of this one: the entry asked most often of who then has most.
    pub(super) fn displaced_by(&self, namer: &Namer) -> Option<(Namer, MessageId)> {
        let (most, _, other) = self.sizes.last()?;
        let from = if self.of(namer) + 1 > *most { namer } else { other };
        let (_, id) = self.entries.get(from)?.last()?;
        Some((from.clone(), id.clone()))
    }

    fn change(&mut self, namer: &Namer, change: impl FnOnce(&mut BTreeSet<(u32, MessageId)>) -> bool) {
        let hash = self.keys.hash_one(namer.as_ref().map_or(&[][..], ParticipantId::as_bytes));
        let entries = self.entries.entry(namer.clone()).or_default();
        self.sizes.remove(&(entries.len(), hash, namer.clone()));
        change(entries);
        if entries.is_empty() {
            self.entries.remove(namer);
        } else {
            self.sizes.insert((entries.len(), hash, namer.clone()));
        }
    }
}
