//! docs/protocol.md section 10, "Lost": a dependency is given up only after `lost_timeout` and three requests sent or heard, not
//! before these could be answered, and never while it can be had in a network without faults.

use std::collections::{BTreeSet, HashMap};

use crate::channel::{Event, Limit};
use crate::state::{LogKey, Row};
use crate::types::{Message, millis};

use super::{Invariant, Scene, Seen, copy_of, copy_values_of};

/// Requests sent or heard before a message may be given up.
const REQUESTS_BEFORE_LOSS: u32 = 3;
/// And before others go ahead without it.
const REQUESTS_BEFORE_OVERDUE: u32 = 6;

#[derive(Debug, Default)]
pub(super) struct Loss {
    /// When a message was named to a participant first.
    named: HashMap<(usize, usize), u64>,
    /// Since when a participant can answer with a message.
    held: HashMap<(usize, usize), u64>,
    /// When it was named to it in so many words, not by what it names waiting for that one.
    said: HashMap<(usize, usize), u64>,
    /// Requests for it that a participant sent or heard.
    asked: HashMap<(usize, usize), u32>,
    /// What a participant goes ahead without.
    overdue: BTreeSet<(usize, usize)>,
    /// What a participant stopped asking for, because its buffer was full.
    forgotten: BTreeSet<(usize, usize)>,
}

impl Invariant for Loss {
    fn name(&self) -> &'static str {
        "loss"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        let registry = scene.registry;
        match seen {
            Seen::Received { node, transmission, .. } => {
                let Some(message) = &transmission.message else { return Ok(()) };
                // Who waits for a message since then, waits for what that one waits for since then, too.
                let since = registry.find(&message.id).and_then(|index| self.named.get(&(*node, index)));
                let since = since.copied().unwrap_or(scene.now_ms);
                let entries = message.causal_history.iter().map(|entry| &entry.id);
                for index in entries.chain([&message.id]).filter_map(|id| registry.find(id)) {
                    let named = self.named.entry((*node, index)).or_insert(since);
                    *named = since.min(*named);
                    self.said.entry((*node, index)).or_insert(scene.now_ms);
                }
                self.asked_in(scene, *node, message);
                Ok(())
            }
            Seen::Transmitted { node, transmission } => {
                transmission.message.iter().for_each(|message| self.asked_in(scene, *node, message));
                Ok(())
            }
            Seen::Sent { node, message, .. } | Seen::Recovered { node, message } => {
                registry.find(&message.id).map(|index| self.held.insert((*node, index), scene.now_ms));
                Ok(())
            }
            Seen::Told { node, event: Event::MessageDelivered(delivery), .. } => {
                registry.find(&delivery.body.key.id).map(|index| self.held.insert((*node, index), scene.now_ms));
                let wait = millis(scene.nodes[*node].channel().config().wait_timeout);
                for index in delivery.missing.iter().filter_map(|id| registry.find(id)) {
                    let at = (*node, index);
                    let waited = self.named.get(&at).map(|named| scene.now_ms - named);
                    let asked = self.asked.get(&at).copied().unwrap_or(0);
                    let overdue = waited.is_none_or(|waited| waited >= wait) && asked >= REQUESTS_BEFORE_OVERDUE;
                    self.overdue.insert(at);
                    if !registry.is_lost(*node, index) && !overdue && !has_left_a_log(scene, *node, index) {
                        let id = &registry.message(index).id;
                        return Err(format!(
                            "p{node} goes ahead without {id} after {waited:?} ms and {asked} requests"
                        ));
                    }
                }
                Ok(())
            }
            // Tiny buffers forget what they asked for.
            Seen::Told {
                node, event: Event::LimitReached { limit: Limit::RepairRequests, id: Some(id), .. }, ..
            } => {
                registry.find(id).map(|index| self.forgotten.insert((*node, index)));
                Ok(())
            }
            // What a crash kept from being seen is in the buffers.
            Seen::Restarted { node, saved, .. } => {
                let age = saved.meta.as_ref().map_or(0, |meta| meta.age_ms);
                for row in &saved.rows {
                    if let Row::Request(request) = row
                        && let Some(index) = registry.find(&request.entry.id)
                    {
                        let asked = self.asked.entry((*node, index)).or_default();
                        *asked = request.sent.saturating_add(request.heard).max(*asked);
                        let said = scene.now_ms.saturating_sub(age.saturating_sub(request.named_at_age_ms));
                        let known = self.said.entry((*node, index)).or_insert(said);
                        *known = said.min(*known);
                    }
                    let (id, since) = match row {
                        Row::Request(request) => (&request.entry.id, request.since_age_ms),
                        Row::Parked(parked) => (&parked.body.key.id, parked.parked_at_age_ms),
                        _ => continue,
                    };
                    let since = scene.now_ms.saturating_sub(age.saturating_sub(since));
                    registry.find(id).map(|index| *self.named.entry((*node, index)).or_insert(since));
                    let Row::Parked(parked) = row else { continue };
                    for entry in &parked.body.causal_history {
                        registry.find(&entry.id).map(|index| *self.named.entry((*node, index)).or_insert(since));
                    }
                }
                Ok(())
            }
            Seen::Copied { of, copy } => {
                self.copy(*of, *copy);
                Ok(())
            }
            Seen::Told { node, event: Event::DependencyLost { id }, .. } => {
                let Some(index) = registry.find(id) else { return Ok(()) };
                let (channel, message) = (scene.nodes[*node].channel(), registry.message(index));
                let config = channel.config();
                // Whose stub is gone is never delivered (section 6): to wait for it longer is no use.
                if message.key.as_ref().is_some_and(|key| channel.meta().stub_floor.as_ref() >= Some(key)) {
                    return Ok(());
                }
                if let Some(named) = self.named.get(&(*node, index))
                    && scene.now_ms - named < millis(config.lost_timeout)
                {
                    return Err(format!("p{node} gives {id} up after {} ms", scene.now_ms - named));
                }
                let asked = self.asked.get(&(*node, index)).copied().unwrap_or(0);
                if asked < REQUESTS_BEFORE_LOSS {
                    return Err(format!("p{node} gives {id} up after {asked} requests"));
                }
                let since = self.said.get(&(*node, index)).map(|said| scene.now_ms - said);
                if since.is_some_and(|since| since < 4 * millis(config.t_max)) {
                    return Err(format!("p{node} gives {id} up after {since:?} ms, which is too soon to be answered"));
                }
                let Some(healed) = scene.healed_ms else { return Ok(()) };
                // What is overdue is asked for every four to eight T_max.
                let turns = if self.overdue.contains(&(*node, index)) { 11 } else { 5 };
                let long_ago = scene.now_ms.saturating_sub(turns * millis(config.t_max));
                // Of several response groups one answers: the sender's, in which nobody else may be.
                let answers = |name: usize| config.response_groups == 1 || message.from == Some(name);
                let had = scene.there().filter(|(name, _)| answers(*name)).any(|(name, other)| {
                    let since = self.held.get(&(name, index)).is_some_and(|held| healed.max(*held) < long_ago);
                    let has =
                        |key: &LogKey| other.channel().log().any(|it| it.body.key == *key && !it.body.is_erased());
                    since && message.key.as_ref().is_some_and(has)
                });
                if had
                    && !self.forgotten.contains(&(*node, index))
                    && !message.contested
                    && !message.premature
                    && !registry.is_cycle(index)
                {
                    return Err(format!("p{node} gives {id} up, which others have and would send"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Whether another participant had a message that has left its log: it may have said so (section 13).
fn has_left_a_log(scene: &Scene<'_>, node: usize, index: usize) -> bool {
    if !scene.nodes[node].channel().config().catch_up {
        return false;
    }
    if scene.registry.is_said_gone(index) {
        return true;
    }
    let id = &scene.registry.message(index).id;
    scene.there().filter(|(name, _)| *name != node && scene.registry.has(*name, index)).any(|(_, other)| {
        let mut log = other.channel().log();
        log.all(|logged| logged.body.key.id != *id)
    })
}

impl Loss {
    fn copy(&mut self, of: usize, copy: usize) {
        for known in [&mut self.named, &mut self.held, &mut self.said] {
            copy_values_of(known, of, copy);
        }
        copy_values_of(&mut self.asked, of, copy);
        copy_of(&mut self.overdue, of, copy);
        copy_of(&mut self.forgotten, of, copy);
    }

    fn asked_in(&mut self, scene: &Scene<'_>, node: usize, message: &Message) {
        for index in message.repair_request.iter().filter_map(|entry| scene.registry.find(&entry.id)) {
            *self.asked.entry((node, index)).or_default() += 1;
        }
    }
}
