//! docs/protocol.md section 7: what is acknowledged was received by another participant.
//!
//! Exempt is what a hostile member may do: name the message under the name of the witness, vouch for it with a filter that
//! may be worth something, or contest the id.

use crate::channel::Event;

use super::registry::participant;
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
        let witness = participant(by);
        if witness == Some(*node) {
            return Err(format!("p{node} acknowledges {id} to itself"));
        }
        if registry.message(index).contested || registry.is_forged(*node, by, index) {
            return Ok(());
        }
        match witness {
            Some(witness) if registry.took(witness, index) => Ok(()),
            _ => Err(format!("p{node}: {id} is acknowledged by {by}, who never received it")),
        }
    }
}
