//! docs/protocol.md section 6: logs are ordered by (lamport, id), and in the end all are the same.
//!
//! Compared is what is due (see `due`) above everybody's floor.

use std::collections::BTreeSet;

use crate::state::LogKey;

use super::super::Node;
use super::due::Due;
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
        let floor = scene.there().filter_map(|(_, node)| node.channel().meta().floor.as_ref()).max();
        let mut logs: Vec<(usize, BTreeSet<&LogKey>)> = Vec::new();
        for (name, node) in scene.there() {
            let places: Vec<LogKey> = node.log_ids().filter_map(|id| key_of(node, id)).collect();
            if let Some(wrong) = places.windows(2).find(|pair| pair[0] >= pair[1]) {
                return Err(format!("p{name}: {} stands before {}", wrong[0].id, wrong[1].id));
            }
            logs.push((name, node.channel().log().map(|logged| &logged.body.key).collect()));
        }
        let dues: Vec<Due> = (0..scene.nodes.len()).map(|node| Due::of(scene, node)).collect();
        for (index, message) in scene.registry.all_sent() {
            let Some(key) = &message.key else { continue };
            // Of messages that name each other none is a head, so nobody who missed them hears of them.
            let cycle = scene.registry.is_cycle(index);
            if cycle || floor.is_some_and(|floor| key <= floor) {
                continue;
            }
            let Some((holder, _)) = logs.iter().find(|(_, log)| log.contains(key)) else { continue };
            for (name, log) in &logs {
                if !log.contains(key) && dues[*name].has(scene, index) {
                    return Err(format!("p{holder} has {} of {:?}, p{name} has not", key.id, message.sender));
                }
            }
        }
        Ok(())
    }
}

fn key_of(node: &Node, id: &crate::types::MessageId) -> Option<LogKey> {
    node.channel().log().find(|logged| logged.body.key.id == *id).map(|logged| logged.body.key.clone())
}
