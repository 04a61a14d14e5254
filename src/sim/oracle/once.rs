//! docs/protocol.md section 5: what is delivered was sent like that, is delivered once, and is numbered without gaps. Ids that the
//! library makes are unique (section 4).
//!
//! Under `confirm_deliveries` a restart may tell a delivery again, under the same number. Of an id that two senders share, the
//! other message is new to who has forgotten the first: memory reaches as far as the stubs.

use std::collections::{BTreeMap, BTreeSet};

use crate::channel::{Delivery, Event};
use crate::state::LogKey;

use super::{Invariant, Scene, Seen};

#[derive(Debug, Default)]
pub(super) struct Once {
    /// Messages delivered by each participant, by number.
    numbers: Vec<Vec<usize>>,
    /// Where each participant delivered each message, last.
    places: BTreeMap<(usize, usize), LogKey>,
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
                let places = self.places.iter().filter(|((node, _), _)| node == of);
                let copied: Vec<_> = places.map(|((_, index), key)| ((*copy, *index), key.clone())).collect();
                self.places.extend(copied);
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
                return self.number(scene, *node, index, delivery);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Once {
    fn number(&mut self, scene: &Scene<'_>, node: usize, index: usize, delivery: &Delivery) -> Result<(), String> {
        self.numbers.resize(scene.nodes.len(), Vec::new());
        let (number, key) = (delivery.number, &delivery.body.key);
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
        let before = self.places.insert((node, index), key.clone());
        let stub_floor = scene.nodes[node].channel().meta().stub_floor.as_ref();
        let forgotten = before.is_some_and(|before| before < *key && Some(&before) <= stub_floor);
        if scene.registry.has(node, index) && !(forgotten && scene.registry.message(index).contested) {
            return Err(format!("p{node} delivers {id} twice"));
        }
        Ok(())
    }
}
