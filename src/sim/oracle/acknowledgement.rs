//! docs/protocol.md section 7: what is acknowledged was received by another participant.
//!
//! Exempt is what a hostile member may do: name the message under the name of the witness, vouch for it with a filter that
//! may be worth something, or contest the id.

use crate::channel::Event;

use super::{Invariant, Scene, Seen};

#[derive(Debug)]
pub(super) struct Acknowledgement;

impl Invariant for Acknowledgement {
    fn name(&self) -> &'static str {
        "acknowledgement"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Told { node, event, .. } = seen else { return Ok(()) };
        let Event::MessageAcknowledged { id, by, .. } = event else { return Ok(()) };
        let registry = scene.registry;
        let Some(index) = registry.find(id) else { return Err(format!("p{node} hears of {id}, which nobody sent")) };
        if by == scene.nodes[*node].channel().participant() {
            return Err(format!("p{node} acknowledges {id} to itself"));
        }
        if registry.message(index).contested || registry.is_forged(*node, by, index) {
            return Ok(());
        }
        // Two devices may share a name.
        let mut named = scene.nodes.iter().enumerate().filter(|(_, other)| by == other.channel().participant());
        if named.any(|(witness, _)| registry.took(witness, index)) {
            return Ok(());
        }
        Err(format!("p{node}: {id} is acknowledged by {by}, who never received it"))
    }
}
