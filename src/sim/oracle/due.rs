//! What a participant must have in the end (docs/protocol.md sections 5, 6 and 10): whatever reached it, whatever was sent when there
//! were no faults any more, and of the rest what lies above its horizon and was evicted nowhere.
//!
//! Exempt are ids that two messages share, timestamps that a clock refuses, what was given up as lost or declared met, and what lies below
//! all memory.

use std::collections::BTreeSet;

use crate::channel::Join;
use crate::state::LogKey;

use super::Scene;

/// What one participant must have.
pub(super) struct Due {
    node: usize,
    hidden: BTreeSet<usize>,
    /// Evicted somewhere up to this.
    floor: Option<LogKey>,
}

impl Due {
    pub(super) fn of(scene: &Scene<'_>, node: usize) -> Self {
        let floor = scene.nodes.iter().filter_map(|node| node.channel().meta().floor.clone()).max();
        Self { node, hidden: scene.registry.hidden(node, scene.nodes[node].channel().meta()), floor }
    }

    pub(super) fn has(&self, scene: &Scene<'_>, index: usize) -> bool {
        let (registry, channel) = (scene.registry, scene.nodes[self.node].channel());
        let message = registry.message(index);
        let Some(key) = &message.key else { return false };
        let too_old = channel.meta().stub_floor.as_ref().is_some_and(|floor| key <= floor);
        let waived = registry.is_lost(self.node, index) || registry.is_declared(self.node, index);
        if message.contested || message.premature || too_old || waived {
            return false;
        }
        if message.after_faults || registry.was_handed(self.node, index) {
            return true;
        }
        let joined = match (channel.meta().horizon, channel.config().join) {
            (Some(horizon), _) => key.lamport > horizon,
            (None, Join::Backfill(u64::MAX)) => true,
            // It has heard no content yet, or still has a past to chase when it does; a sync message makes it chase none.
            (None, _) => false,
        };
        joined && !self.hidden.contains(&index) && self.floor.as_ref().is_none_or(|floor| key > floor)
    }
}
