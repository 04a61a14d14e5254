//! docs/protocol.md section 10: what is rebroadcast was asked for, or follows such an answer as what else its requester lacks,
//! and was not heard since; of one message, so many requests are taken in and no more, and so many follow. Or it is the newest
//! that a sync message of the same step names (section 9): one for each.

use std::collections::{BTreeMap, BTreeSet};

use crate::channel::{Event, Fate, TransmitKind};
use crate::state::Row;
use crate::types::MessageId;

use super::{Invariant, Scene, Seen};

/// What the options say by default; a bug may not move the yardstick.
const MAX_REQUESTS: u32 = 16;
const MAX_BATCH: u32 = 32;

#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Asked for, and not heard since.
    pending: BTreeSet<(usize, MessageId)>,
    /// Requests taken from the message received last.
    taken: BTreeMap<usize, u32>,
    /// Messages that may still follow answers given.
    batch: BTreeMap<usize, u32>,
    /// Heard since the last answer.
    heard: BTreeMap<usize, BTreeSet<MessageId>>,
    /// What a sync message of this step names first.
    named: Option<(usize, MessageId)>,
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
                    self.heard.entry(*node).or_default().insert(message.id.clone());
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
            Seen::Transmitted { node, transmission } if transmission.kind == Some(TransmitKind::Sync) => {
                let first = transmission.message.as_ref().and_then(|message| message.causal_history.first());
                self.named = first.map(|entry| (*node, entry.id.clone()));
            }
            Seen::Stepped { .. } => self.named = None,
            Seen::Transmitted { node, transmission } if transmission.kind == Some(TransmitKind::Repair) => {
                let Some(message) = &transmission.message else { return Ok(()) };
                let place = (*node, message.id.clone());
                let left = self.batch.entry(*node).or_default();
                if self.named.as_ref() == Some(&place) {
                    self.named = None;
                } else if self.pending.remove(&place) {
                    *left += MAX_BATCH;
                    self.heard.remove(node);
                } else if *left > 0 && !self.heard.get(node).is_some_and(|heard| heard.contains(&message.id)) {
                    *left -= 1;
                } else {
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
