//! docs/protocol.md section 5, "Joining": what is the past to a participant.
//!
//! It is told from what the participant was seen to send and to hear, not from what its channel says of itself: a wrong
//! horizon excuses nothing.

use std::collections::{BTreeSet, HashMap};

use crate::channel::Join;
use crate::state::LogKey;
use crate::types::Lamport;

use super::Scene;

/// How a participant without a past began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Begun {
    /// Time of the first message it sent, if it had heard none before.
    pub(super) sent: Option<Lamport>,
    /// The first message that it was told of, and its time.
    pub(super) heard: Option<(usize, Lamport)>,
    /// The highest horizon it had: where it is lowered, what was history stays that.
    pub(super) horizon: Option<Lamport>,
    /// What made its beginning, shown already or waiting.
    pub(super) joined: Option<usize>,
}

impl Begun {
    /// The lowest time at which it can have begun: of what it sent or was shown first.
    pub(super) fn first(&self) -> Option<Lamport> {
        [self.sent, self.heard.map(|(_, lamport)| lamport)].into_iter().flatten().min()
    }

    /// Its clock was set back, and all that follows counts.
    pub(super) fn set_back(&mut self, to: Lamport) {
        let follows = Lamport(to.0 + 1);
        self.sent = self.sent.map(|sent| sent.min(follows));
        self.heard = self.heard.map(|(first, lamport)| (first, lamport.min(follows)));
    }
}

/// What lies behind a participant: not missed where it is missing.
pub(super) struct Past {
    /// Times up to this one; `None` where everything counts.
    pub(super) horizon: Option<Lamport>,
    /// Whether it has heard or sent anything, so that its past has an end.
    pub(super) ended: bool,
    /// The message that a newcomer is shown at once, whatever it names.
    first: Option<usize>,
    floor: Option<LogKey>,
}

impl Past {
    pub(super) fn of(scene: &Scene<'_>, node: usize) -> Self {
        let channel = scene.nodes[node].channel();
        let meta = channel.meta();
        let floor = meta.floor.clone();
        let begun = scene.registry.begun(node);
        match channel.config().join {
            Join::Backfill(u64::MAX) => Self { horizon: None, ended: true, first: None, floor },
            Join::Backfill(_) => {
                Self { horizon: meta.horizon.max(begun.horizon), ended: meta.horizon.is_some(), first: None, floor }
            }
            _ => {
                let horizon = begun.first().map(|lamport| Lamport(lamport.0.saturating_sub(1)));
                let first = begun.heard.filter(|_| begun.sent.is_none()).map(|(index, _)| index);
                Self { horizon, ended: horizon.is_some(), first, floor }
            }
        }
    }

    /// Whether what this message names need not be had.
    fn is_old(&self, index: usize, key: &LogKey) -> bool {
        self.first == Some(index)
            || self.horizon.is_some_and(|horizon| key.lamport <= horizon)
            || self.floor.as_ref().is_some_and(|floor| key <= floor)
    }

    /// What a participant may never hear of: what it gave up or was told to, what it may have another message for, and
    /// what only messages name that it may never hear of or that are the past to it.
    pub(super) fn hides(&self, scene: &Scene<'_>, node: usize) -> BTreeSet<usize> {
        let registry = scene.registry;
        let mut hidden: BTreeSet<usize> = registry.waived(node).collect();
        hidden.extend(registry.all_sent().filter(|(_, message)| message.contested).map(|(index, _)| index));
        // Whoever is heard first says what is history, and may lie.
        let first = registry.begun(node).joined.map(|index| registry.message(index));
        hidden.extend(first.filter(|first| first.hostile).iter().flat_map(|first| &first.names));
        let mut namers: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut work: Vec<usize> = hidden.iter().copied().collect();
        for (index, message) in registry.all_sent() {
            message.names.iter().for_each(|name| namers.entry(*name).or_default().push(index));
            if message.key.as_ref().is_some_and(|key| self.is_old(index, key)) {
                work.push(index);
            }
        }
        while let Some(index) = work.pop() {
            for name in &registry.message(index).names {
                let shows = |namer: &usize| {
                    let message = registry.message(*namer);
                    *namer != *name
                        && !hidden.contains(namer)
                        && !message.hostile
                        && !message.premature
                        && message.key.as_ref().is_some_and(|key| !self.is_old(*namer, key))
                };
                let shown = namers.get(name).is_some_and(|namers| namers.iter().any(shows));
                if !shown && hidden.insert(*name) {
                    work.push(*name);
                }
            }
        }
        hidden
    }
}
