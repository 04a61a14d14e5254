//! PROTOCOL section 3: Lamport order is consistent with causality. What a participant sends lies above all that it sent
//! and delivered before, and above all that it names; a clock that was reset begins anew.

use crate::channel::Event;
use crate::types::Lamport;

use super::{Invariant, Scene, Seen};

#[derive(Debug, Default)]
pub(super) struct Clocks {
    /// Highest timestamp sent or delivered, per participant.
    bounds: Vec<Lamport>,
}

impl Invariant for Clocks {
    fn name(&self) -> &'static str {
        "Lamport order"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        self.bounds.resize(scene.nodes.len(), Lamport(0));
        match seen {
            Seen::Sent { node, message, .. } => {
                let lamport = message.lamport.unwrap_or(Lamport(0));
                let bound = &mut self.bounds[*node];
                if lamport <= *bound {
                    return Err(format!("p{node} sends at {lamport} after {bound}"));
                }
                *bound = lamport;
            }
            Seen::Told { node, event: Event::MessageDelivered(delivery), .. } => {
                let bound = &mut self.bounds[*node];
                *bound = (*bound).max(delivery.body.key.lamport);
            }
            // A reset that was saved may not have been told before the crash.
            Seen::Restarted { node, .. } => self.bounds[*node] = scene.nodes[*node].channel().meta().lamport,
            Seen::Told { node, event: Event::ClockReset { to, .. }, .. } => self.bounds[*node] = *to,
            _ => {}
        }
        Ok(())
    }
}
