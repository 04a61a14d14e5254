//! PROTOCOL sections 8 to 10: in the end, everything that honest participants sent is delivered everywhere, nothing waits,
//! and nothing is missed.
//!
//! Required of everything that all must have (see `agreement`) and that somebody still has: evicted nowhere.

use super::agreement::must_have;
use super::{Invariant, Scene, Seen};

#[derive(Debug)]
pub(super) struct Liveness;

impl Invariant for Liveness {
    fn name(&self) -> &'static str {
        "liveness"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        if !matches!(seen, Seen::Ended) {
            return Ok(());
        }
        let registry = scene.registry;
        let floor = scene.nodes.iter().filter_map(|node| node.channel().meta().floor.as_ref()).max();
        let hidden: Vec<_> = (0..scene.nodes.len()).map(|node| registry.hidden(node)).collect();
        for (index, message) in registry.all_sent() {
            let Some(key) = &message.key else { continue };
            let exempt = message.contested || message.premature || floor.is_some_and(|floor| key <= floor);
            if exempt || message.hostile {
                continue;
            }
            for (name, node) in scene.nodes.iter().enumerate() {
                let lost = hidden[name].contains(&index);
                if !lost && must_have(node, key) && !registry.has(name, index) {
                    let waits = registry.took(name, index);
                    return Err(format!(
                        "p{name} never delivered {} of {:?} (received: {waits})",
                        key.id, message.sender
                    ));
                }
            }
        }
        Ok(())
    }
}
