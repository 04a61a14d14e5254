//! docs/protocol.md section 15: what is told as delivered to all has come to every user, what is told as stable is what every
//! member holds and stays so, and in the end all is stable that all hold, without whom stability waited for and was named.
//!
//! What lies below where a member joined, or has left its log, it need not hold. Who comes back with a store from yesterday
//! may have lost what it had, and may send below what it had vouched for.

use std::collections::{BTreeMap, BTreeSet};

use crate::channel::{Channel, Event, Fate};
use crate::state::LogKey;
use crate::types::{CatchUpField, Lamport, MessageId, ParticipantId, millis};

use super::super::Node;
use super::{Invariant, Scene, Seen};

#[derive(Debug, Default)]
pub(super) struct Members {
    own: BTreeMap<usize, Own>,
    /// To whom a message is due: the members that its sender knew of.
    due: BTreeMap<MessageId, BTreeSet<ParticipantId>>,
}

/// What a participant's application has said and heard of members.
#[derive(Clone, Debug, Default)]
struct Own {
    epoch: u64,
    /// Since what time each is a member.
    since: BTreeMap<ParticipantId, Lamport>,
    /// Where what each was seen to hold may begin: fixed when it counts for the first time.
    begins: BTreeMap<ParticipantId, (Lamport, bool)>,
    stable: Option<Lamport>,
    /// What became stable first began here.
    first: Lamport,
    /// For whom stability waits since it rose last.
    waits: BTreeSet<ParticipantId>,
}

impl Invariant for Members {
    fn name(&self) -> &'static str {
        "members"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Stepped { node } => self.note_set(scene, *node),
            Seen::Restarted { node, torn, .. } => {
                if let Some(own) = self.own.get_mut(node) {
                    survives(own, scene.nodes[*node].channel(), *torn).map_err(|what| format!("p{node} {what}"))?;
                }
                self.note_set(scene, *node)
            }
            Seen::Copied { of, copy } => {
                self.own.get(of).cloned().map(|own| self.own.insert(*copy, own));
                Ok(())
            }
            Seen::Sent { node, message, .. } | Seen::Recovered { node, message } => {
                if let Some(own) = self.own.get(node) {
                    self.due.insert(message.id.clone(), own.since.keys().cloned().collect());
                }
                Ok(())
            }
            Seen::Received { node, transmission, fate } => {
                if let Some(own) = self.own.get_mut(node)
                    && let (Some(Fate::Sync), Some(message)) = (fate, &transmission.message)
                    && let CatchUpField::Digest(digest) = &message.catch_up
                {
                    own.heard(&message.sender, digest.short.lower);
                }
                Ok(())
            }
            Seen::Told { node, event, .. } => {
                // What is told of a new set comes before its step is over.
                let named = self.note_set(scene, *node);
                self.told(scene, *node, event).and(named)
            }
            Seen::Ended => scene.there().try_for_each(|(node, _)| self.check_end(scene, node)),
            _ => Ok(()),
        }
    }
}

impl Members {
    fn told(&mut self, scene: &Scene<'_>, node: usize, event: &Event) -> Result<(), String> {
        let Some(own) = self.own.get_mut(&node) else { return Ok(()) };
        match event {
            Event::DeliveredToAll { id } => {
                let due = self.due.get(id).into_iter().flatten();
                let due: Vec<&ParticipantId> = due.filter(|name| own.since.contains_key(*name)).collect();
                all_have(scene, node, &due, id)
            }
            Event::Stable { up_to } => {
                let before = own.stable.replace(*up_to);
                own.waits.clear();
                if before.is_none() {
                    own.first = own.begins_at(scene, node);
                }
                own.begins.values_mut().for_each(|(_, counts)| *counts = true);
                if before >= Some(*up_to) {
                    return Err(format!("p{node}: after {before:?}, {up_to} is told as stable"));
                }
                own.all_hold(scene, node, (before, *up_to))
            }
            Event::StabilityWaits { member } => {
                own.waits.insert(member.clone());
                let (named, me) = (own.since.contains_key(member), scene.nodes[node].channel().participant());
                if named && member != me {
                    Ok(())
                } else {
                    Err(format!("p{node} waits for {member}, which is no member"))
                }
            }
            Event::MessageDelivered(delivery) => {
                let (key, sender) = (&delivery.body.key, &delivery.body.sender);
                let known = scene.registry.find(&key.id).is_some_and(|index| scene.registry.has(node, index));
                let vouched = own.vouched(scene, key, sender) && !known;
                if own.stable >= Some(key.lamport) && (vouched || !known && !delivery.below_stable) {
                    let mark = delivery.below_stable;
                    return Err(format!("p{node}: {} of {sender} comes below what is stable, marked {mark}", key.id));
                }
                Ok(())
            }
            Event::StabilityBroken { id, sender } => {
                let mut them = participants(scene, sender);
                let kept = them.next().is_some_and(|(one, _)| !took_back(scene, one, id));
                if !kept || them.next().is_some() {
                    return Ok(());
                }
                Err(format!("p{node}: {sender} is said to have sent {id} below what it vouched for"))
            }
            _ => Ok(()),
        }
    }

    /// What the application has said meanwhile. Whom it takes out for good, when all had time, had to be named.
    fn note_set(&mut self, scene: &Scene<'_>, node: usize) -> Result<(), String> {
        let channel = scene.nodes[node].channel();
        let Some((epoch, names)) = channel.members() else {
            self.own.remove(&node);
            return Ok(());
        };
        let own = self.own.entry(node).or_default();
        if own.epoch == epoch && !own.since.is_empty() {
            return Ok(());
        }
        let names: BTreeSet<ParticipantId> = names.into_iter().collect();
        let gone: Vec<ParticipantId> = own.since.keys().filter(|name| !names.contains(*name)).cloned().collect();
        let now = channel.meta().lamport;
        own.since.retain(|name, _| names.contains(name));
        own.begins.retain(|name, _| names.contains(name));
        for name in names {
            own.since.entry(name).or_insert(now);
        }
        own.epoch = epoch;
        let waited = waits(channel) && millis(channel.config().stability_timeout) < since_healed(scene) / 2;
        // Of several, not each need have held it up.
        if !gone.is_empty() && waited && scene.quiet_ms.is_some() && own.waits.is_empty() {
            return Err(format!("p{node}: {gone:?} were gone for good, and nobody was named"));
        }
        Ok(())
    }

    /// In the end all is stable that all hold.
    fn check_end(&self, scene: &Scene<'_>, node: usize) -> Result<(), String> {
        let (channel, Some(own)) = (scene.nodes[node].channel(), self.own.get(&node)) else { return Ok(()) };
        let small = channel.config().max_transmit_bytes.is_some() || !own.since.contains_key(channel.participant());
        if small || !waits(channel) {
            return Ok(());
        }
        // Who came back with a store from yesterday may begin above what is stable for good.
        let alone = |name: &ParticipantId| participants(scene, name).count() == 1;
        let whole = |one: &Node| one.channel().meta().floor.is_none() && one.channel().incoming().is_empty();
        let all = scene.there().filter(|(_, one)| own.since.contains_key(one.channel().participant()));
        let all: Vec<&Node> = all.map(|(_, one)| one).collect();
        let same = all.iter().all(|one| whole(one) && all.iter().all(|other| one.has_log_of(other)));
        // What somebody took back, and what named it, others may have as it was.
        let kept = scene.registry.all_sent().all(|(_, message)| !message.withdrawn);
        if !same || !kept || all.len() < own.since.len() || !own.since.keys().all(alone) {
            return Ok(());
        }
        let (stable, newest) = (channel.stable_up_to(), channel.log().next_back().map(|logged| &logged.body.key));
        Err(format!("p{node}: all have the same up to {newest:?}, and stable is {stable:?}"))
    }
}

impl Own {
    /// A member has said a digest that begins here.
    fn heard(&mut self, name: &ParticipantId, lower: Lamport) {
        if self.since.contains_key(name) {
            let (begins, counts) = self.begins.entry(name.clone()).or_default();
            *begins = if *counts { *begins } else { lower.max(*begins) };
        }
    }

    /// Where all begin now, whose digests were heard.
    fn begins_at(&self, scene: &Scene<'_>, node: usize) -> Lamport {
        let me = scene.nodes[node].channel().participant();
        let others = self.since.keys().filter(|name| *name != me);
        others
            .map(|name| self.begins.get(name).map_or(Lamport(u64::MAX), |(begins, _)| *begins))
            .max()
            .unwrap_or_default()
    }

    /// Whether a member has vouched to send nothing with this time. One that was set later may have sent it before.
    fn vouched(&self, scene: &Scene<'_>, key: &LogKey, sender: &ParticipantId) -> bool {
        let mut them = participants(scene, sender);
        let here = |(node, one): (usize, &Node)| !is_past(one, key) && !took_back(scene, node, &key.id);
        let alone = them.next().is_some_and(here) && them.next().is_none();
        alone && key.lamport > self.first && self.since.get(sender).is_some_and(|since| *since < key.lamport)
    }

    /// What has become stable is with every member; and what a member has of members is here.
    fn all_hold(&self, scene: &Scene<'_>, node: usize, range: (Option<Lamport>, Lamport)) -> Result<(), String> {
        let here = &scene.nodes[node];
        let others = || self.since.keys().filter(|name| *name != here.channel().participant());
        let begins = |name: &ParticipantId| self.begins.get(name).map_or(Lamport(u64::MAX), |(begins, _)| *begins);
        let from = range.0.unwrap_or(self.first);
        let between = |key: &LogKey| key.lamport > from && key.lamport <= range.1 && !is_past(here, key);
        for (index, message) in scene.registry.all_sent() {
            let Some(key) = message.key.as_ref().filter(|key| between(key)) else { continue };
            let holds = |one: usize| scene.registry.has(one, index) && !scene.registry.is_withdrawn(one, index);
            let (id, sender) = (&key.id, message.sender.as_ref());
            let of_member = sender.is_some_and(|sender| self.vouched(scene, key, sender));
            for name in others() {
                let them = || participants(scene, name);
                if begins(name) >= key.lamport || them().any(|(_, one)| is_past(one, key)) {
                    continue;
                }
                let there = them().any(|(other, _)| holds(other));
                if holds(node) && !there {
                    return Err(format!("p{node}: {id} is stable, and {name} does not have it"));
                }
                if of_member && there && !holds(node) {
                    return Err(format!("p{node} lacks {id}, which {name} has, and which is stable"));
                }
            }
        }
        Ok(())
    }
}

/// What a participant's application was told is known to it after a restart; only where not all of it was saved is the set
/// given up, and told so.
fn survives(own: &mut Own, channel: &Channel, torn: bool) -> Result<(), String> {
    own.waits.clear();
    match channel.members() {
        None if torn => Ok(()),
        Some((epoch, names)) if epoch < own.epoch || names.is_empty() => Err("is in an epoch that has passed".into()),
        Some(_) if channel.stable_up_to() >= own.stable => Ok(()),
        _ => Err(format!("has forgotten its members, or that all is stable up to {:?}", own.stable)),
    }
}

/// Whether each user to whom a message is due has it on one device.
fn all_have(scene: &Scene<'_>, node: usize, due: &[&ParticipantId], id: &MessageId) -> Result<(), String> {
    let Some(index) = scene.registry.find(id) else { return Err(format!("nobody sent {id}")) };
    let me = user(scene.nodes[node].channel().participant());
    for one in due.iter().map(|name| user(name)).filter(|one| *one != me) {
        let mut devices = scene.nodes.iter().enumerate().filter(|(_, it)| user(it.channel().participant()) == one);
        if !devices.any(|(device, _)| scene.registry.has(device, index)) {
            let one = String::from_utf8_lossy(one);
            return Err(format!("p{node}: {id} is told as delivered to all, and {one} does not have it"));
        }
    }
    Ok(())
}

/// Whether stability waits for somebody.
fn waits(channel: &Channel) -> bool {
    channel.log().next_back().is_some_and(|newest| channel.stable_up_to() < Some(newest.body.key.lamport))
}

fn since_healed(scene: &Scene<'_>) -> u64 {
    scene.healed_ms.map_or(0, |healed| scene.now_ms.saturating_sub(healed))
}

/// Those of a name: one, and who came back with its store of yesterday.
fn participants<'a>(scene: &Scene<'a>, name: &ParticipantId) -> impl Iterator<Item = (usize, &'a Node)> {
    scene.nodes.iter().enumerate().filter(move |(_, one)| one.channel().participant() == name)
}

/// Whether a participant took a message back. Others may have it all the same.
fn took_back(scene: &Scene<'_>, node: usize, id: &MessageId) -> bool {
    scene.registry.find(id).is_some_and(|index| scene.registry.is_withdrawn(node, index))
}

/// Whether a place lies below where a participant joined, or has left its log.
fn is_past(node: &Node, key: &LogKey) -> bool {
    let meta = node.channel().meta();
    meta.horizon.is_some_and(|horizon| key.lamport <= horizon) || meta.floor.as_ref() >= Some(key)
}

fn user(name: &ParticipantId) -> &[u8] {
    name.as_bytes().split(|byte| *byte == b'/').next().unwrap_or_default()
}
