//! docs/protocol.md section 8: a message is given up once, after as many resends as the options say, and never after it was
//! acknowledged. In the end the application was told one of these, or that it is uncertain, of everything it
//! sent and still has.

use std::collections::{BTreeMap, BTreeSet};

use crate::channel::{Event, TransmitKind};
use crate::state::{ChannelData, Row};
use crate::types::MessageId;

use super::{Invariant, Order, Scene, Seen, copy_of, copy_values_of};

#[derive(Debug, Default)]
pub(super) struct Failure {
    acknowledged: BTreeSet<(usize, MessageId)>,
    failed: BTreeSet<(usize, MessageId)>,
    /// Given up as uncertain: neither failed nor acknowledged.
    uncertain: BTreeSet<(usize, MessageId)>,
    /// Resends of what is open; a crash may swallow one of each message, which counts as sent.
    resent: BTreeMap<(usize, MessageId), u32>,
    /// When a participant's clock was set back: what it sent above fails without resends (section 3).
    reset: BTreeMap<usize, u64>,
    /// Ended with a step of which nothing was told.
    untold: BTreeSet<(usize, MessageId)>,
}

impl Invariant for Failure {
    fn name(&self) -> &'static str {
        "failure"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Restarted { node, saved, .. } => {
                self.restarted(scene, *node, saved);
                Ok(())
            }
            Seen::Transmitted { node, transmission } if transmission.kind == Some(TransmitKind::Resend) => {
                if let Some(message) = &transmission.message {
                    *self.resent.entry((*node, message.id.clone())).or_default() += 1;
                }
                Ok(())
            }
            Seen::Told { node, event, .. } => self.told(scene, *node, event),
            Seen::Ordered { node, id, order: Order::Resent } => {
                self.begin_anew(&(*node, (*id).clone()));
                Ok(())
            }
            Seen::Copied { of, copy } => {
                for known in [&mut self.acknowledged, &mut self.failed, &mut self.uncertain, &mut self.untold] {
                    copy_of(known, *of, *copy);
                }
                copy_values_of(&mut self.resent, *of, *copy);
                Ok(())
            }
            Seen::Ended => self.ended(scene),
            _ => Ok(()),
        }
    }
}

impl Failure {
    /// The application sends a message again, as if it had not been given up or sent again before.
    fn begin_anew(&mut self, key: &(usize, MessageId)) {
        self.failed.remove(key);
        self.uncertain.remove(key);
        self.resent.remove(key);
    }

    fn told(&mut self, scene: &Scene<'_>, node: usize, event: &Event) -> Result<(), String> {
        match event {
            Event::MessageAcknowledged { id, after_failure, .. } => {
                let key = (node, id.clone());
                let failed = self.failed.contains(&key);
                if failed != *after_failure {
                    return Err(format!("p{node}: {id} failed: {failed}, but after_failure says {after_failure}"));
                }
                if !self.acknowledged.insert(key) {
                    return Err(format!("p{node} hears twice that {id} is acknowledged"));
                }
            }
            Event::ClockReset { .. } => drop(self.reset.insert(node, scene.now_ms)),
            Event::DeliveryFailed { id, .. } | Event::DeliveryUncertain { id, .. } => {
                let key = (node, id.clone());
                if self.acknowledged.contains(&key) {
                    return Err(format!("p{node} gives up {id}, which was acknowledged"));
                }
                let max = scene.nodes[node].channel().config().max_resend_attempts;
                let resent = self.resent.get(&key).copied().unwrap_or(0);
                if resent < max && self.reset.get(&node) != Some(&scene.now_ms) {
                    return Err(format!("p{node} gives up {id} after {resent} resends of {max}"));
                }
                let uncertain = matches!(event, Event::DeliveryUncertain { .. });
                let (ended, other) = match uncertain {
                    true => (&mut self.uncertain, &self.failed),
                    false => (&mut self.failed, &self.uncertain),
                };
                if other.contains(&key) || !ended.insert(key) {
                    return Err(format!("p{node} gives up {id} twice"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn restarted(&mut self, scene: &Scene<'_>, node: usize, saved: &ChannelData) {
        let mut open = BTreeSet::new();
        for row in &saved.rows {
            let Row::Outgoing(entry) = row else { continue };
            open.insert(&entry.key.id);
            let key = (node, entry.key.id.clone());
            // What was saved as given up, but not told before the crash, is seen in the buffer; so are resends.
            if entry.uncertain.is_some() {
                self.uncertain.insert(key.clone());
            } else if entry.failed {
                self.failed.insert(key.clone());
            } else if self.failed.contains(&key) || self.uncertain.contains(&key) {
                self.begin_anew(&key);
            }
            let resent = self.resent.entry(key).or_default();
            *resent = entry.attempts.max(*resent);
        }
        for message in scene.nodes[node].own_messages() {
            if !open.contains(&message.id) {
                self.untold.insert((node, message.id));
            }
        }
    }

    /// Resends end, so nothing is open any more.
    fn ended(&self, scene: &Scene<'_>) -> Result<(), String> {
        for (node, participant) in scene.there() {
            for message in participant.own_messages() {
                let key = (node, message.id);
                let told = [&self.acknowledged, &self.failed, &self.uncertain].iter().any(|told| told.contains(&key));
                // One that came back from others, after a store was lost, was never waited for.
                let sent = scene.registry.find(&key.1).is_some_and(|index| {
                    let message = scene.registry.message(index);
                    message.from == Some(node) && !message.contested
                });
                if sent && !told && !self.untold.contains(&key) {
                    return Err(format!("p{node} was never told what became of {}", key.1));
                }
            }
        }
        Ok(())
    }
}
