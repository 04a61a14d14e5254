//! docs/protocol.md section 14: where everybody signs, nothing comes of what a stranger sends, unless it is a copy of what a
//! member said. That nothing else comes of it the other invariants show: they do not hear of it.

use super::{Invariant, Scene, Seen};

#[derive(Debug)]
pub(super) struct Strangers;

impl Invariant for Strangers {
    fn name(&self) -> &'static str {
        "strangers"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Received { node, transmission, fate: Some(fate) } = seen else { return Ok(()) };
        let signs = scene.nodes[*node].channel().config().authenticator.is_some();
        let Some(message) = transmission.message.as_ref().filter(|_| signs && transmission.from.is_none()) else {
            return Ok(());
        };
        let said = scene.registry.all_sent().any(|(_, sent)| {
            let place = sent.key.as_ref().map(|key| (Some(key.lamport), &key.id));
            // Of two members that took the same id, the registry has one.
            if sent.contested && place.is_some_and(|(_, id)| *id == message.id) {
                return true;
            }
            sent.sender.as_ref() == Some(&message.sender)
                && sent.content == message.content
                && place == Some((message.lamport, &message.id))
        });
        if said && !message.content.is_empty() {
            return Ok(());
        }
        Err(format!("p{node} believes a stranger's {} in the name of {}: {fate:?}", message.id, message.sender))
    }
}
