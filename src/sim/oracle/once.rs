//! docs/protocol.md section 5: what is delivered was sent like that, is delivered once, and is numbered without gaps. Ids that the
//! library makes are unique (section 4).
//!
//! Under `confirm_deliveries` a restart may tell a delivery again, under the same number.

use std::collections::BTreeSet;

use crate::channel::Event;

use super::{Invariant, Scene, Seen};

#[derive(Debug, Default)]
pub(super) struct Once {
    /// Messages delivered by each participant, by number.
    numbers: Vec<Vec<usize>>,
    /// Participants that died and were opened again.
    restarted: BTreeSet<usize>,
}

impl Invariant for Once {
    fn name(&self) -> &'static str {
        "once"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        let registry = scene.registry;
        match seen {
            Seen::Sent { node, message, given } => {
                let contested = registry.find(&message.id).is_some_and(|index| registry.message(index).contested);
                if contested && !given {
                    return Err(format!("p{node} makes the id {}, which exists", message.id));
                }
            }
            Seen::Restarted { node, .. } => {
                self.restarted.insert(*node);
            }
            Seen::Copied { of, copy } => {
                self.numbers.resize(scene.nodes.len(), Vec::new());
                self.numbers[*copy] = self.numbers[*of].clone();
            }
            Seen::Told { node, event: Event::MessageDelivered(delivery), .. } => {
                let body = &delivery.body;
                let Some(index) = registry.find(&body.key.id).filter(|_| registry.is_sent(&body.key.id)) else {
                    return Err(format!("p{node} delivers {}, which nobody sent", body.key.id));
                };
                let sent = registry.message(index);
                let same = sent.key.as_ref() == Some(&body.key)
                    && sent.sender.as_ref() == Some(&body.sender)
                    && sent.content == body.content;
                if !same && !sent.contested {
                    return Err(format!("p{node} delivers {} other than it was sent", body.key.id));
                }
                return self.number(scene, *node, index, delivery.number);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Once {
    fn number(&mut self, scene: &Scene<'_>, node: usize, index: usize, number: u64) -> Result<(), String> {
        self.numbers.resize(scene.nodes.len(), Vec::new());
        let numbers = &mut self.numbers[node];
        let id = &scene.registry.message(index).id;
        let at = usize::try_from(number).unwrap_or(usize::MAX) - 1;
        if at < numbers.len() {
            let again = scene.nodes[node].channel().config().confirm_deliveries && self.restarted.contains(&node);
            return match numbers[at] == index && again {
                true => Ok(()),
                false => Err(format!("p{node} delivers {id} under number {number}, which was used")),
            };
        }
        if at > numbers.len() {
            return Err(format!("p{node} delivers {id} under number {number} after {}", numbers.len()));
        }
        numbers.push(index);
        if scene.registry.has(node, index) {
            return Err(format!("p{node} delivers {id} twice"));
        }
        Ok(())
    }
}
