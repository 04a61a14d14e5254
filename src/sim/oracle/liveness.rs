//! docs/protocol.md sections 8 to 10: in the end, everything that honest participants sent is delivered everywhere, nothing waits,
//! and nothing is missed.
//!
//! Required of everything that is due (see `due`), and of what a hostile member sent where it was taken in. Forged messages
//! that name each other may be fetched late, and then wait for `lost_timeout`.

use crate::channel::Channel;
use crate::state::Row;
use crate::types::MessageId;

use super::due::Due;
use super::{Invariant, Scene, Seen};

#[derive(Debug)]
pub(super) struct Liveness;

impl Invariant for Liveness {
    fn name(&self) -> &'static str {
        "liveness"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        if !matches!(seen, Seen::Ended) {
            return Ok(());
        }
        let registry = scene.registry;
        for (name, _) in scene.there() {
            let due = Due::of(scene, name);
            for (index, message) in registry.all_sent() {
                let forged = message.hostile && !registry.was_handed(name, index);
                if forged || registry.has(name, index) || !due.has(scene, index) {
                    continue;
                }
                let knot = message.hostile && registry.is_cycle(index);
                if knot && waits_not_long(scene.nodes[name].channel(), &message.id) {
                    continue;
                }
                let waits = registry.took(name, index);
                return Err(format!(
                    "p{name} never delivered {} of {:?} (received: {waits})",
                    message.id, message.sender
                ));
            }
        }
        Ok(())
    }
}

/// Whether a message is parked, for less than `lost_timeout`.
fn waits_not_long(channel: &Channel, id: &MessageId) -> bool {
    let (age_ms, most) = (channel.meta().age_ms, channel.config().lost_timeout.as_millis());
    channel.data().rows.iter().any(|row| match row {
        Row::Parked(parked) => {
            parked.body.key.id == *id && u128::from(age_ms.saturating_sub(parked.parked_at_age_ms)) < most
        }
        _ => false,
    })
}
