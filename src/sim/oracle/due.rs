//! What a participant must have in the end (docs/protocol.md sections 5, 6 and 10): whatever reached it, whatever was sent when there
//! were no faults any more, and of the rest what lies above its horizon and was evicted nowhere.
//!
//! Exempt are ids that two messages share, timestamps that a clock refuses, what was given up as lost or declared met, and what lies below
//! all memory, and what nobody who stayed ever had.

use std::collections::BTreeSet;

use crate::state::LogKey;

use super::Scene;
use super::past::Past;

/// What one participant must have.
pub(super) struct Due {
    node: usize,
    past: Past,
    hidden: BTreeSet<usize>,
    /// Evicted somewhere up to this.
    floor: Option<LogKey>,
}

impl Due {
    pub(super) fn of(scene: &Scene<'_>, node: usize) -> Self {
        let floor = scene.there().filter_map(|(_, node)| node.channel().meta().floor.clone()).max();
        let past = Past::of(scene, node);
        Self { node, hidden: past.hides(scene, node), past, floor }
    }

    pub(super) fn has(&self, scene: &Scene<'_>, index: usize) -> bool {
        let (registry, channel) = (scene.registry, scene.nodes[self.node].channel());
        let message = registry.message(index);
        let Some(key) = &message.key else { return false };
        let too_old = channel.meta().stub_floor.as_ref().is_some_and(|floor| key <= floor);
        let waived = registry.is_lost(self.node, index) || registry.is_declared(self.node, index);
        let given = |other| !registry.is_withdrawn(other, index) && !registry.is_erased(other, index);
        let gone = !scene.there().any(|(other, _)| registry.has(other, index) && given(other));
        if message.contested || message.premature || too_old || waived || gone {
            return false;
        }
        if message.withdrawn {
            return registry.was_handed(self.node, index) && !registry.is_withdrawn(self.node, index);
        }
        if message.after_faults || registry.was_handed(self.node, index) {
            return true;
        }
        // Where the past has no end yet, nothing was heard; a sync message makes nobody chase what lies before.
        let joined = self.past.ended && self.past.horizon.is_none_or(|horizon| key.lamport > horizon);
        joined && !self.hidden.contains(&index) && self.floor.as_ref().is_none_or(|floor| key > floor)
    }
}
