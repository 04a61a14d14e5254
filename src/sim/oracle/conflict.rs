//! docs/protocol.md section 5: of two messages under one id the first stays, and the application hears of the other.
//!
//! That the first stays in the log is held by `bounds`. Told apart are messages by time and sender, which a stub keeps.

use std::collections::{BTreeMap, HashMap};

use crate::channel::{Event, Fate, Limit};
use crate::state::LogKey;
use crate::types::{Lamport, MessageId, MessageKind, ParticipantId};

use super::{Invariant, Scene, Seen, copy_values_of};

#[derive(Debug, Default)]
pub(super) struct Conflict {
    /// What each participant delivered or sent, by id.
    first: HashMap<(usize, MessageId), (LogKey, ParticipantId)>,
    /// Other messages, which the application has not heard of yet.
    untold: BTreeMap<usize, MessageId>,
}

impl Invariant for Conflict {
    fn name(&self) -> &'static str {
        "conflict"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Sent { node, message, .. } => {
                let key = LogKey { lamport: message.lamport.unwrap_or(Lamport(0)), id: message.id.clone() };
                self.first.insert((*node, message.id.clone()), (key, message.sender.clone()));
            }
            Seen::Told { node, event: Event::MessageDelivered(delivery), .. } => {
                let (key, sender) = (delivery.body.key.clone(), delivery.body.sender.clone());
                self.first.insert((*node, key.id.clone()), (key, sender));
            }
            Seen::Received { node, transmission, fate: Some(fate) } => {
                let content = transmission.message.as_ref().filter(|it| it.kind() == Some(MessageKind::Content));
                let Some(message) = content else { return Ok(()) };
                let Some((key, sender)) = self.first.get(&(*node, message.id.clone())) else { return Ok(()) };
                let other = Some(key.lamport) != message.lamport || *sender != message.sender;
                let forgotten = scene.nodes[*node].channel().meta().stub_floor.as_ref() >= Some(key);
                if other && !forgotten {
                    let own = message.sender == *scene.nodes[*node].channel().participant();
                    // Of what was withdrawn only the id is remembered.
                    if own && is_withdrawn(scene, *node, &message.id) && **fate == Fate::Echo {
                        return Ok(());
                    }
                    if **fate != Fate::Conflict {
                        return Err(format!("p{node} takes another {} for {fate:?}", message.id));
                    }
                    self.untold.insert(*node, message.id.clone());
                }
            }
            // Only its mark remembers what was withdrawn.
            Seen::Told { node, event: Event::LimitReached { limit: Limit::Marks, id: Some(id), .. }, .. }
                if is_withdrawn(scene, *node, id) =>
            {
                self.first.remove(&(*node, id.clone()));
            }
            Seen::Copied { of, copy } => copy_values_of(&mut self.first, *of, *copy),
            Seen::Told { node, event: Event::IdConflict { id, .. }, .. } if self.untold.get(node) == Some(id) => {
                self.untold.remove(node);
            }
            Seen::Stepped { node } => {
                if let Some(id) = self.untold.remove(node) {
                    return Err(format!("p{node} does not tell that there are two messages {id}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn is_withdrawn(scene: &Scene<'_>, node: usize, id: &MessageId) -> bool {
    scene.registry.find(id).is_some_and(|index| scene.registry.is_withdrawn(node, index))
}
