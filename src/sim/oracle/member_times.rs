//! When messages had come to all, and when they were stable: for figures.

use std::collections::BTreeMap;

use crate::channel::Event;
use crate::types::Lamport;

use super::{Registry, Seen};

/// Times of what members were told.
#[derive(Clone, Debug, Default)]
pub struct MemberTimes {
    /// Milliseconds from sending a message until it was told as delivered to all.
    pub to_all_after: Vec<u32>,
    /// Milliseconds from sending a message until it was stable, one for each participant that was told so.
    pub stable_after: Vec<u32>,
    /// Up to where each participant was told that all is stable.
    stable: BTreeMap<usize, Lamport>,
}

impl MemberTimes {
    pub(super) fn note(&mut self, now_ms: u64, registry: &Registry, seen: &Seen<'_>) {
        let age = |sent_ms: u64| u32::try_from(now_ms.saturating_sub(sent_ms)).unwrap_or(u32::MAX);
        match seen {
            Seen::Told { event: Event::DeliveredToAll { id }, .. } => {
                self.to_all_after.extend(registry.find(id).map(|index| age(registry.message(index).sent_ms)));
            }
            Seen::Told { node, event: Event::Stable { up_to }, .. } => {
                let before = self.stable.insert(*node, *up_to);
                for (_, message) in registry.all_sent() {
                    let at = message.key.as_ref().map(|key| key.lamport);
                    if at > before && at <= Some(*up_to) {
                        self.stable_after.push(age(message.sent_ms));
                    }
                }
            }
            _ => {}
        }
    }
}
