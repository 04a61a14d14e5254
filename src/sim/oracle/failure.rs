//! PROTOCOL section 8: a message is given up once, and never after it was acknowledged.

use std::collections::BTreeSet;

use crate::channel::Event;
use crate::state::Row;
use crate::types::MessageId;

use super::{Invariant, Scene, Seen};

#[derive(Debug, Default)]
pub(super) struct Failure {
    acknowledged: BTreeSet<(usize, MessageId)>,
    failed: BTreeSet<(usize, MessageId)>,
}

impl Invariant for Failure {
    fn name(&self) -> &'static str {
        "failure"
    }

    fn look(&mut self, _: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        if let Seen::Restarted { node, saved, .. } = seen {
            // What was saved as given up, but not told before the crash, is seen in the buffer.
            let failed = saved.rows.iter().filter_map(|row| match row {
                Row::Outgoing(entry) if entry.failed => Some((*node, entry.key.id.clone())),
                _ => None,
            });
            self.failed.extend(failed);
        }
        let Seen::Told { node, event, .. } = seen else { return Ok(()) };
        match event {
            Event::MessageAcknowledged { id, after_failure, .. } => {
                let key = (*node, id.clone());
                let failed = self.failed.contains(&key);
                if failed != *after_failure {
                    return Err(format!("p{node}: {id} failed: {failed}, but after_failure says {after_failure}"));
                }
                if !self.acknowledged.insert(key) {
                    return Err(format!("p{node} hears twice that {id} is acknowledged"));
                }
            }
            Event::DeliveryFailed { id, .. } => {
                let key = (*node, id.clone());
                if self.acknowledged.contains(&key) {
                    return Err(format!("p{node} gives up {id}, which was acknowledged"));
                }
                if !self.failed.insert(key) {
                    return Err(format!("p{node} gives up {id} twice"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
