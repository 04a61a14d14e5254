//! docs/protocol.md sections 6 and 11: buffers and memory are within their limits after every step.

use std::collections::BTreeSet;

use crate::channel::{Channel, DeliveryState};
use crate::types::MessageId;

use super::{Invariant, Scene, Seen};

#[derive(Debug)]
pub(super) struct Limits;

impl Invariant for Limits {
    fn name(&self) -> &'static str {
        "limits"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        let node = match seen {
            Seen::Stepped { node } => node,
            Seen::Sent { node, .. } => return outgoing_bytes(scene, *node),
            _ => return Ok(()),
        };
        let channel = scene.nodes[*node].channel();
        let (stats, config, counts) = (channel.stats(), channel.config(), channel.meta().counts);
        let limits = &config.limits;
        // Messages that a buffer still needs stay in the log above its limit.
        let untold = if config.confirm_deliveries { channel.meta().next_delivery - 1 - channel.meta().told } else { 0 };
        let pinned = stats.outgoing_len as u64 + counts.responses + untold;
        for (what, found, max) in [
            ("parked messages", counts.parked, limits.max_parked as u64),
            ("parked bytes", stats.parked_bytes as u64, limits.max_parked_bytes as u64),
            ("outgoing messages", stats.outgoing_len as u64, limits.max_outgoing as u64),
            ("repair requests", counts.requests, limits.max_repair_entries as u64),
            ("repair answers", counts.responses, limits.max_repair_entries as u64),
            ("marks", counts.marks, limits.max_marks as u64),
            ("messages in the log", stats.log_len as u64, config.max_message_history as u64 + pinned),
            ("stubs", counts.stubs, config.max_message_history.saturating_mul(10) as u64),
        ] {
            if found > max {
                return Err(format!("p{node} keeps {found} {what}, {max} are allowed"));
            }
        }
        if stats.log_bytes > config.max_log_bytes { log_bytes(channel, *node) } else { Ok(()) }
    }
}

/// Content that no buffer needs any more, bookkeeping not counted.
fn log_bytes(channel: &Channel, node: usize) -> Result<(), String> {
    let (told, max) = (channel.meta().told, channel.config().max_log_bytes);
    let open = channel.outgoing().into_iter().filter(|view| view.state != DeliveryState::Failed).map(|view| view.id);
    let needed: BTreeSet<MessageId> = open.chain(channel.responses().into_iter().map(|view| view.id)).collect();
    let spare = channel
        .log()
        .filter(|logged| !needed.contains(&logged.body.key.id) && logged.delivery.is_none_or(|number| number <= told));
    let found: usize = spare.map(|logged| logged.body.content.len()).sum();
    if found > max { Err(format!("p{node} keeps {found} bytes of log, {max} are allowed")) } else { Ok(()) }
}

/// Content neither acknowledged nor given up, bookkeeping not counted.
fn outgoing_bytes(scene: &Scene<'_>, node: usize) -> Result<(), String> {
    let channel = scene.nodes[node].channel();
    let open = channel.outgoing().into_iter().filter(|view| view.state != DeliveryState::Failed);
    let messages = open.filter_map(|view| scene.registry.find(&view.id)).map(|index| scene.registry.message(index));
    let found: usize = messages.filter(|message| !message.contested).map(|message| message.content.len()).sum();
    let max = channel.config().limits.max_outgoing_bytes;
    if found > max { Err(format!("p{node} keeps {found} bytes to resend, {max} are allowed")) } else { Ok(()) }
}
