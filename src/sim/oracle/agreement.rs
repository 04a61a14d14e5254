//! PROTOCOL section 6: logs are ordered by (lamport, id), and in the end all are the same.
//!
//! Compared is what all must have: above everybody's floor and horizon, under ids that no two messages share, with
//! timestamps that no clock refuses, and given up by nobody as lost.

use std::collections::BTreeSet;

use crate::channel::Join;
use crate::state::LogKey;

use super::super::Node;
use super::{Invariant, Scene, Seen};

#[derive(Debug)]
pub(super) struct Agreement;

impl Invariant for Agreement {
    fn name(&self) -> &'static str {
        "agreement"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        if !matches!(seen, Seen::Ended) {
            return Ok(());
        }
        let floor = scene.nodes.iter().filter_map(|node| node.channel().meta().floor.as_ref()).max();
        let mut logs: Vec<(usize, BTreeSet<&LogKey>)> = Vec::new();
        for (name, node) in scene.nodes.iter().enumerate() {
            let places: Vec<LogKey> = node.log_ids().filter_map(|id| key_of(node, id)).collect();
            if let Some(wrong) = places.windows(2).find(|pair| pair[0] >= pair[1]) {
                return Err(format!("p{name}: {} stands before {}", wrong[0].id, wrong[1].id));
            }
            logs.push((name, node.channel().log().map(|logged| &logged.body.key).collect()));
        }
        let hidden: Vec<_> = (0..scene.nodes.len()).map(|node| scene.registry.hidden(node)).collect();
        for (index, message) in scene.registry.all_sent() {
            let Some(key) = &message.key else { continue };
            // Of messages that name each other none is a head, so nobody who missed them hears of them.
            let cycle = scene.registry.is_cycle(index);
            if message.contested || message.premature || cycle || floor.is_some_and(|floor| key <= floor) {
                continue;
            }
            let Some((holder, _)) = logs.iter().find(|(_, log)| log.contains(key)) else { continue };
            for (name, log) in &logs {
                let lost = hidden[*name].contains(&index);
                if !lost && !log.contains(key) && must_have(&scene.nodes[*name], key) {
                    return Err(format!("p{holder} has {} of {:?}, p{name} has not", key.id, message.sender));
                }
            }
        }
        Ok(())
    }
}

/// Whether a participant, which may have joined late, must have the message at this place.
pub(super) fn must_have(node: &Node, key: &LogKey) -> bool {
    match (node.channel().meta().horizon, node.channel().config().join) {
        (Some(horizon), _) => key.lamport > horizon,
        (None, Join::Backfill(u64::MAX)) => true,
        // It has heard no content yet, or still has a past to chase when it does.
        (None, _) => false,
    }
}

fn key_of(node: &Node, id: &crate::types::MessageId) -> Option<LogKey> {
    node.channel().log().find(|logged| logged.body.key.id == *id).map(|logged| logged.body.key.clone())
}
