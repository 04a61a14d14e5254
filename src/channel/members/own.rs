//! Which members were seen to name which own messages, and to whom they are still to be shown to have come.

use std::collections::{BTreeMap, BTreeSet};

use crate::state::LogKey;
use crate::types::{Lamport, MessageId, ParticipantId};

/// Own messages remembered; of more, the lowest is forgotten.
const MAX_OWN: usize = 1_024;

/// Own messages.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// By whom each was named.
    by: BTreeMap<LogKey, BTreeSet<ParticipantId>>,
    /// Those not told yet as delivered to all.
    open: BTreeSet<LogKey>,
}

impl Own {
    pub(super) fn sent(&mut self, key: &LogKey) {
        self.by.insert(key.clone(), BTreeSet::new());
        self.open.insert(key.clone());
        if self.by.len() > MAX_OWN
            && let Some((lowest, _)) = self.by.pop_first()
        {
            self.open.remove(&lowest);
        }
    }

    pub(super) fn remove(&mut self, key: &LogKey) {
        self.by.remove(key);
        self.open.remove(key);
    }

    /// Says whether that is news of a message that is still open.
    pub(super) fn named(&mut self, key: &LogKey, by: &ParticipantId) -> bool {
        let news = self.by.get_mut(key).is_some_and(|names| names.insert(by.clone()));
        news && self.open.contains(key)
    }

    pub(super) fn by(&self, key: &LogKey) -> Option<&BTreeSet<ParticipantId>> {
        self.by.get(key)
    }

    /// This member has all that lies above the one time, up to the other.
    pub(super) fn prove(&mut self, name: &ParticipantId, lower: Lamport, upper: Lamport) {
        let from = LogKey::first_above(lower);
        let upper = |key: &LogKey| key.lamport <= upper;
        for (_, by) in self.by.range_mut(from..).take_while(|(key, _)| upper(key)) {
            by.insert(name.clone());
        }
    }

    /// Those that have come to all are not told.
    pub(super) fn settle(&mut self, all_have: &dyn Fn(&LogKey) -> bool) {
        self.open.retain(|key| !all_have(key));
    }

    /// Whether this one has come to all by now, and was not told.
    pub(super) fn is_done(
        &mut self,
        key: &LogKey,
        all_have: &dyn Fn(&LogKey, &BTreeSet<ParticipantId>) -> bool,
    ) -> bool {
        self.by.get(key).is_some_and(|names| all_have(key, names)) && self.open.remove(key)
    }

    /// Those that have come to all by now.
    pub(super) fn take_done(&mut self, all_have: &dyn Fn(&LogKey, &BTreeSet<ParticipantId>) -> bool) -> Vec<MessageId> {
        let by = &self.by;
        let done = |key: &&LogKey| by.get(*key).is_some_and(|names| all_have(key, names));
        let done: BTreeSet<LogKey> = self.open.iter().filter(done).cloned().collect();
        self.open.retain(|key| !done.contains(key));
        done.into_iter().map(|key| key.id).collect()
    }
}
