//! PROTOCOL sections 6 and 11: buffers and memory are within their limits after every step.

use super::{Invariant, Scene, Seen};

#[derive(Debug)]
pub(super) struct Limits;

impl Invariant for Limits {
    fn name(&self) -> &'static str {
        "limits"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Stepped { node } = seen else { return Ok(()) };
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
        Ok(())
    }
}
