//! docs/protocol.md section 5: a message is delivered after everything it depends on.
//!
//! A dependency counts as met without delivery when it is lost or overdue (and then the delivery names it) or declared met, and for
//! messages at or below floor or horizon; news does not wait for what lies below the
//! horizon, but for what is fetched with `Join::Backfill`. Exempt are dependencies that a hostile member made up, for it may make cycles, and what
//! was taken back, which later copies do not name any more.

use std::collections::BTreeSet;

use crate::channel::{Event, Join};
use crate::state::LogKey;

use super::{Invariant, Scene, Seen};

#[derive(Debug, Default)]
pub(super) struct Causality {
    /// Who is opened from a torn store before it told where it began: what it tells first may be its history.
    torn: BTreeSet<usize>,
}

impl Invariant for Causality {
    fn name(&self) -> &'static str {
        "causal order"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        let (node, event) = match seen {
            Seen::Told { node, event, .. } => (node, event),
            Seen::Restarted { node, torn: true, .. } if scene.registry.begun(*node).joined.is_none() => {
                self.torn.insert(*node);
                return Ok(());
            }
            Seen::Stepped { node } => {
                self.torn.remove(node);
                return Ok(());
            }
            _ => return Ok(()),
        };
        if self.torn.contains(node) {
            return Ok(());
        }
        let Event::MessageDelivered(delivery) = event else { return Ok(()) };
        let registry = scene.registry;
        let key: &LogKey = &delivery.body.key;
        let Some(index) = registry.find(&key.id) else { return Ok(()) };
        let message = registry.message(index);
        let meta = scene.nodes[*node].channel().meta();
        let horizon = registry.begun(*node).horizon.max(meta.horizon);
        // It lies just below the first message, which is shown whatever it names.
        let old = horizon.is_some_and(|horizon| key.lamport.0 <= horizon.0.saturating_add(1))
            || meta.floor.as_ref().is_some_and(|floor| key <= floor);
        if message.contested || message.hostile || old {
            return Ok(());
        }
        let channel = scene.nodes[*node].channel();
        let waits_for_history = matches!(channel.config().join, Join::Backfill(_));
        let is_history = |key: Option<&LogKey>| {
            let below = |key: &LogKey| horizon.is_some_and(|horizon| key.lamport <= horizon);
            let fetched = |key: &LogKey| channel.requests().iter().any(|request| request.entry.id == key.id);
            key.is_some_and(|key| below(key) && !(waits_for_history && fetched(key)))
        };
        // Whoever is heard first says what is history, and may lie, or name what is later: its clock was set back.
        let first = registry.begun(*node).joined.map(|index| registry.message(index));
        let missing: BTreeSet<_> = delivery.missing.iter().collect();
        for name in message.names.iter().filter(|name| **name != index) {
            let dependency = registry.message(*name);
            let met = registry.has(*node, *name)
                || registry.is_declared(*node, *name)
                || missing.contains(&dependency.id)
                || is_history(dependency.key.as_ref())
                || first
                    .is_some_and(|first| first.names.contains(name) && (first.hostile || dependency.key > first.key))
                || dependency.contested
                || dependency.withdrawn
                || dependency.hostile;
            if !met {
                return Err(format!("p{node} delivers {} before {}", key.id, dependency.id));
            }
        }
        Ok(())
    }
}
