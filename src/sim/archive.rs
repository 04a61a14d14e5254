//! A participant's archive, which fails, hangs and loses messages as its seed says.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::channel::erased;
use crate::executor::{ArchiveAnswer, ArchiveCall, Generation};
use crate::reconcile::{Item, Rid};
use crate::state::{Body, LogKey};
use crate::store::{PersistenceError, PersistenceErrorKind};
use crate::types::split_mix;

use super::Medium;

/// How often something goes wrong, in percent of all calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// It fails; half of the time what was to be kept is kept all the same.
    pub fails: u64,
    /// It does not come back until a later call, or another opening.
    pub hangs: u64,
    /// It has lost a message.
    pub loses: u64,
}

/// An archive.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    pub(super) kept: BTreeMap<LogKey, (Rid, Arc<Body>)>,
    pub(super) faults: Faults,
    /// It has lost something.
    pub(super) lossy: bool,
    /// What was given to it and should not have been.
    pub(super) wrong: Vec<String>,
    hung: Vec<(Generation, ArchiveCall)>,
    random: u64,
}

/// How a call ended.
pub(super) type Ended = (Generation, Result<ArchiveAnswer, Arc<PersistenceError>>);

impl Archive {
    /// An empty one.
    #[must_use]
    pub fn new(faults: Faults, seed: u64) -> Self {
        Self { faults, random: seed, ..Self::default() }
    }

    /// Forgets the calls of a participant that died.
    pub(super) fn forget_calls(&mut self) {
        self.hung.clear();
    }

    /// Takes a call; what ended at once, if it did.
    pub(super) fn call(&mut self, generation: Generation, call: ArchiveCall) -> Option<Ended> {
        if self.draws(self.faults.hangs) {
            self.hung.push((generation, call));
            return None;
        }
        if self.draws(self.faults.loses) {
            let at = self.drawn(self.kept.len());
            if let Some(key) = self.kept.keys().nth(at).cloned() {
                self.kept.remove(&key);
                self.lossy = true;
            }
        }
        if self.draws(self.faults.fails) {
            if self.draws(50) {
                self.carry_out(call);
            }
            let error = PersistenceError::new("archive", None, PersistenceErrorKind::Io);
            return Some((generation, Err(Arc::new(error))));
        }
        Some((generation, Ok(self.carry_out(call))))
    }

    /// A call that hung comes back.
    pub(super) fn come_back(&mut self) -> Option<Ended> {
        if self.hung.is_empty() || self.draws(self.faults.hangs) {
            return None;
        }
        let (generation, call) = self.hung.remove(0);
        Some((generation, Ok(self.carry_out(call))))
    }

    fn carry_out(&mut self, call: ArchiveCall) -> ArchiveAnswer {
        match call {
            ArchiveCall::Put(messages) => {
                self.kept.extend(messages.into_iter().map(|(rid, body)| (body.key.clone(), (rid, body))));
                ArchiveAnswer::Put
            }
            ArchiveCall::List { after, limit } => {
                let from = after.map_or(Bound::Unbounded, Bound::Excluded);
                let listed = self.kept.range((from, Bound::Unbounded)).take(limit);
                ArchiveAnswer::Listed(listed.map(|(key, (rid, _))| (key.clone(), *rid)).collect())
            }
            ArchiveCall::Get(items) => {
                let bodies = self.get(&items);
                ArchiveAnswer::Got { bodies, looked: items.len() }
            }
            ArchiveCall::Erase(erasure) => {
                let kept = self.kept.iter_mut().filter(|(key, _)| erasure.covers(key));
                kept.for_each(|(_, (_, body))| *body = Arc::new(erased(body)));
                ArchiveAnswer::Erased
            }
        }
    }

    fn get(&self, items: &[Item]) -> Vec<Arc<Body>> {
        let wanted: BTreeSet<Item> = items.iter().copied().collect();
        let times: BTreeSet<_> = items.iter().map(|item| item.lamport).collect();
        let found = times.into_iter().flat_map(|time| {
            self.kept
                .range(LogKey::first_at(time)..)
                .take_while(move |(key, _)| key.lamport == time)
                .map(|(_, kept)| kept)
        });
        let found = found.filter(|(rid, body)| wanted.contains(&Item { lamport: body.key.lamport, rid: *rid }));
        found.map(|(_, body)| body.clone()).collect()
    }

    fn draws(&mut self, percent: u64) -> bool {
        percent > 0 && split_mix(&mut self.random) % 100 < percent
    }

    fn drawn(&mut self, below: usize) -> usize {
        usize::try_from(split_mix(&mut self.random) % below.max(1) as u64).unwrap_or(0)
    }
}

/// Nothing is kept that was not saved: its row is there, or it has left the log since.
pub(super) fn check(medium: &mut Medium, call: &ArchiveCall) {
    let ArchiveCall::Put(messages) = call else { return };
    let unsaved: Vec<&LogKey> =
        messages.iter().map(|(_, body)| &body.key).filter(|key| !medium.has_body(key)).collect();
    if unsaved.is_empty() || medium.forgetful {
        return;
    }
    let floor = medium.load().meta.and_then(|meta| meta.floor);
    let wrong: Vec<String> = unsaved
        .into_iter()
        .filter(|key| floor.as_ref().is_none_or(|floor| *key > floor))
        .map(|key| format!("{key:?} was kept and not saved"))
        .collect();
    if let Some(archive) = &mut medium.archive {
        archive.wrong.extend(wrong);
    }
}
