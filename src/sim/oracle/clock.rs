//! docs/protocol.md section 3: Lamport order is consistent with causality. What a participant sends lies above all that it sent
//! and delivered before, and above all that it names; a clock that was reset begins anew. Nothing else moves a clock: a
//! delivery raises it to the message's time, a sync message of its own to now or by a tick.

use std::collections::{BTreeMap, BTreeSet};

use crate::channel::Event;
use crate::types::{Lamport, Message, millis};

use super::{Invariant, Scene, Seen};

#[derive(Debug, Default)]
pub(super) struct Clocks {
    /// Where each participant's clock stands: at the highest timestamp sent or delivered.
    bounds: Vec<Lamport>,
    /// Sync messages sent by each up to its last step; `None` before its first.
    syncs: Vec<Option<u64>>,
    /// Whose clock was reset: what it names may lie above what it sends.
    reset: BTreeSet<usize>,
    /// Who was opened again just now, and tells what it told before, or had no time to tell: deliveries below this number.
    opened: Option<(usize, u64)>,
    /// Who came back with a lower clock than it had saved, and has not said so yet.
    fallen: BTreeMap<usize, Lamport>,
    /// Whose clock was reset in the step that is being told: what it delivers from beyond the limit, it is set back from.
    resetting: Option<usize>,
}

impl Invariant for Clocks {
    fn name(&self) -> &'static str {
        "Lamport order"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        self.bounds.resize(scene.nodes.len(), Lamport(0));
        self.syncs.resize(scene.nodes.len(), None);
        self.opened = self.opened.filter(|opened| match seen {
            Seen::Told { node, .. } | Seen::Recovered { node, .. } => *node == opened.0,
            _ => false,
        });
        match seen {
            Seen::Sent { node, message, .. } => {
                let lamport = message.lamport.unwrap_or(Lamport(0));
                let bound = &mut self.bounds[*node];
                if lamport <= *bound {
                    return Err(format!("p{node} sends at {lamport} after {bound}"));
                }
                *bound = lamport;
                return self.above_what_it_names(scene, *node, message, lamport);
            }
            Seen::Told { node, event: Event::MessageDelivered(delivery), .. }
                if self.opened.is_none_or(|(_, next)| delivery.number >= next) =>
            {
                let (bound, lamport) = (&mut self.bounds[*node], delivery.body.key.lamport);
                let (wall, drift) = (
                    scene.nodes[*node].clock.wall_ms(scene.now_ms),
                    scene.nodes[*node].channel().config().max_clock_drift,
                );
                if self.resetting != Some(*node) || lamport.0 <= wall.saturating_add(millis(drift)) {
                    *bound = (*bound).max(lamport);
                }
            }
            Seen::Copied { of, copy } if self.reset.contains(of) => drop(self.reset.insert(*copy)),
            Seen::Stepped { node } => return self.stepped(scene, *node),
            Seen::Restarted { node, saved, .. } => {
                let (before, now) = (saved.meta.as_ref().map(|meta| meta.lamport), scene.nodes[*node].channel());
                let (now, next) = (now.meta().lamport, now.meta().next_delivery);
                // A reset that was saved may not have been told before the crash.
                if self.bounds[*node] > now {
                    self.reset.insert(*node);
                }
                (self.bounds[*node], self.syncs[*node], self.opened) = (now, Some(0), Some((*node, next)));
                if let Some(before) = before.filter(|before| *before > now) {
                    self.fallen.insert(*node, before);
                }
            }
            Seen::Told { node, event: Event::ClockReset { from, to }, .. } => {
                // A reset in the opening itself is behind the clock that it was opened with.
                if self.opened.is_none() || self.bounds[*node] == *from {
                    self.bounds[*node] = *to;
                }
                self.reset.insert(*node);
                self.resetting = Some(*node);
                self.fallen.remove(node);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Clocks {
    fn above_what_it_names(
        &self,
        scene: &Scene<'_>,
        node: usize,
        message: &Message,
        lamport: Lamport,
    ) -> Result<(), String> {
        if self.reset.contains(&node) {
            return Ok(());
        }
        for index in message.causal_history.iter().filter_map(|entry| scene.registry.find(&entry.id)) {
            let named = scene.registry.message(index);
            if !named.contested && named.key.as_ref().is_some_and(|key| key.lamport >= lamport) {
                return Err(format!(
                    "p{node} sends {} at {lamport} and names {}, which is newer",
                    message.id, named.id
                ));
            }
        }
        Ok(())
    }

    fn stepped(&mut self, scene: &Scene<'_>, node: usize) -> Result<(), String> {
        self.resetting = None;
        if let Some(before) = self.fallen.remove(&node) {
            return Err(format!("p{node}: the clock fell from {before} in a restart"));
        }
        let (channel, bound) = (scene.nodes[node].channel(), self.bounds[node]);
        let (lamport, syncs) = (channel.meta().lamport, channel.stats().syncs);
        self.bounds[node] = lamport;
        // The first clock is the wall time of its opening.
        let Some(before) = self.syncs[node].replace(syncs) else { return Ok(()) };
        let dialect = channel.config().dialect;
        let wall = dialect.whole(Lamport(scene.nodes[node].clock.wall_ms(scene.now_ms)));
        let expected =
            if syncs > before { wall.max(Lamport(bound.0.saturating_add(dialect.tick_ms()))) } else { bound };
        if lamport == expected {
            return Ok(());
        }
        Err(format!("p{node}: the clock stands at {lamport}, {expected} is what was sent and delivered"))
    }
}
