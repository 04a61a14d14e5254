//! docs/protocol.md sections 5 and 6, docs/persistence.md "What is saved": nothing that was saved is lost by a restart, what is in memory
//! is what was saved, and what a store saved in one piece needs no mending.

use std::collections::BTreeSet;

use crate::channel::Event;
use crate::state::Row;
use crate::types::MessageId;

use super::{Invariant, Scene, Seen};

#[derive(Debug, Default)]
pub(super) struct Durability {
    /// Participants whose last crash came between two writes.
    torn: BTreeSet<usize>,
}

impl Invariant for Durability {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Told { node, event: Event::StateMended { what }, .. } if !self.torn.contains(node) => {
                Err(format!("p{node}: what was saved in one piece had to be mended: {what}"))
            }
            Seen::Copied { of, copy } if self.torn.contains(of) => {
                self.torn.insert(*copy);
                Ok(())
            }
            Seen::Restarted { node, saved, exact, torn } => {
                if *torn {
                    self.torn.insert(*node);
                } else {
                    self.torn.remove(node);
                }
                if !exact {
                    return Err(format!("p{node}: what was saved is not what was in memory"));
                }
                self.compare(scene, *node, &saved.rows).map_err(|what| format!("p{node}: {what}"))
            }
            _ => Ok(()),
        }
    }
}

impl Durability {
    fn compare(&self, scene: &Scene<'_>, node: usize, rows: &[Row]) -> Result<(), String> {
        let channel = scene.nodes[node].channel();
        let log: BTreeSet<&MessageId> = channel.log().map(|logged| &logged.body.key.id).collect();
        let incoming: BTreeSet<MessageId> = channel.incoming().into_iter().map(|view| view.id).collect();
        let outgoing: BTreeSet<MessageId> = channel.outgoing().into_iter().map(|view| view.id).collect();
        let evicted = |key: &crate::state::LogKey| channel.meta().floor.as_ref().is_some_and(|floor| key <= floor);
        for row in rows {
            let kept = match row {
                Row::Message(logged) => {
                    logged.below_floor || log.contains(&logged.body.key.id) || evicted(&logged.body.key)
                }
                Row::Parked(parked) => {
                    let id = &parked.body.key.id;
                    incoming.contains(id) || log.contains(id) || evicted(&parked.body.key)
                }
                Row::Outgoing(entry) => {
                    outgoing.contains(&entry.key.id) || self.torn.contains(&node) || evicted(&entry.key)
                }
                _ => true,
            };
            if !kept {
                return Err(format!("a restart lost {:?}", row.key()));
            }
        }
        Ok(())
    }
}
