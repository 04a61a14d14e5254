//! docs/protocol.md section 16: what was erased is not told, sent or kept any more.

use crate::channel::{Channel, Event, Limit};
use crate::state::{MarkKind, Row};
use crate::types::MessageId;

use super::{Invariant, Order, Scene, Seen, copy_of};

use std::collections::BTreeSet;

/// Who erased what.
#[derive(Debug, Default)]
pub(super) struct Erased {
    erased: BTreeSet<(usize, MessageId)>,
}

impl Invariant for Erased {
    fn name(&self) -> &'static str {
        "erased"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Ordered { node, id, order: Order::Erased } => {
                self.erased.insert((*node, (*id).clone()));
                return self.holds(*node, scene.nodes[*node].channel());
            }
            Seen::Restarted { node, saved, .. } => {
                for row in &saved.rows {
                    if let Row::Mark(mark) = row
                        && mark.kind == MarkKind::Erased
                    {
                        self.erased.insert((*node, mark.id.clone()));
                    }
                }
                return self.holds(*node, scene.nodes[*node].channel());
            }
            Seen::Copied { of, copy } => copy_of(&mut self.erased, *of, *copy),
            // As many are remembered as the limit allows.
            Seen::Told { node, event: Event::LimitReached { limit: Limit::Marks, id: Some(id), .. }, .. } => {
                self.erased.remove(&(*node, id.clone()));
            }
            Seen::Told { node, event: Event::MessageDelivered(delivery), .. }
                if self.has(*node, &delivery.body.key.id) =>
            {
                return Err(format!("p{node} tells {}, which was erased", delivery.body.key.id));
            }
            Seen::Transmitted { node, transmission } => {
                let message = transmission.message.as_ref().filter(|message| !message.content.is_empty());
                if let Some(message) = message.filter(|message| self.has(*node, &message.id)) {
                    return Err(format!("p{node} sends {}, which was erased", message.id));
                }
            }
            Seen::Ended => {
                return scene.there().try_for_each(|(name, node)| {
                    self.holds(name, node.channel())?;
                    let kept = node.medium.archive.iter().flat_map(|archive| archive.kept.iter());
                    let mut kept = kept.filter(|(key, (_, body))| !body.is_erased() && self.has(name, &key.id));
                    kept.next().map_or(Ok(()), |(key, _)| Err(format!("the archive of p{name} has {} still", key.id)))
                });
            }
            _ => {}
        }
        Ok(())
    }
}

impl Erased {
    fn has(&self, node: usize, id: &MessageId) -> bool {
        self.erased.contains(&(node, id.clone()))
    }

    fn holds(&self, node: usize, channel: &Channel) -> Result<(), String> {
        let mut kept = channel.log().map(|logged| &logged.body).filter(|body| !body.is_erased());
        let kept = kept.find(|body| self.has(node, &body.key.id));
        kept.map_or(Ok(()), |body| Err(format!("p{node} has the content of {} still", body.key.id)))
    }
}
