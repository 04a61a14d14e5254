//! docs/protocol.md section 10: what is rebroadcast was asked for, and was not heard since; of one message, so many requests are
//! taken in and no more.

use std::collections::{BTreeMap, BTreeSet};

use crate::channel::{Event, Fate, TransmitKind};
use crate::state::Row;
use crate::types::MessageId;

use super::{Invariant, Scene, Seen};

/// What the options say by default; a bug may not move the yardstick.
const MAX_REQUESTS: u32 = 16;

#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Asked for, and not heard since.
    pending: BTreeSet<(usize, MessageId)>,
    /// Requests taken from the message received last.
    taken: BTreeMap<usize, u32>,
}

impl Invariant for Answers {
    fn name(&self) -> &'static str {
        "answers"
    }

    fn look(&mut self, _: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Received { node, transmission, fate } => {
                self.taken.insert(*node, 0);
                let heard = matches!(fate, Some(Fate::Delivered | Fate::Parked { .. } | Fate::Duplicate | Fate::Echo));
                if let Some(message) = transmission.message.as_ref().filter(|_| heard) {
                    self.pending.remove(&(*node, message.id.clone()));
                }
            }
            // One that came with the message it asks for counts as asked for.
            Seen::Told { node, event: Event::RepairRequested { id, .. }, .. } => {
                self.pending.insert((*node, id.clone()));
                let taken = self.taken.entry(*node).or_default();
                *taken += 1;
                if *taken > MAX_REQUESTS {
                    return Err(format!("p{node} takes {taken} requests from one message"));
                }
            }
            Seen::Transmitted { node, transmission } if transmission.kind == Some(TransmitKind::Repair) => {
                let Some(message) = &transmission.message else { return Ok(()) };
                if !self.pending.remove(&(*node, message.id.clone())) {
                    return Err(format!("p{node} rebroadcasts {}, which is not asked for any more", message.id));
                }
            }
            Seen::Restarted { node, saved, .. } => {
                self.pending.retain(|(name, _)| name != node);
                for row in &saved.rows {
                    if let Row::Response(response) = row {
                        self.pending.insert((*node, response.id.clone()));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
