//! PROTOCOL section 9: the network goes quiet. Once everything is delivered, nothing but sync messages goes out, and few.
//!
//! Except about what may come to light late: a forged message that some received, of which others hear when its turn
//! among the heads comes, and then ask for it and for what it pretends to depend on; and a message sent under a wrong
//! date, which is refused until its time comes.

use std::collections::BTreeMap;

use crate::channel::TransmitKind;
use crate::types::millis;

use super::super::Transmission;
use super::{Invariant, Scene, Seen};

#[derive(Debug, Default)]
pub(super) struct Quiet {
    syncs: BTreeMap<usize, u64>,
    disturbed: bool,
}

impl Invariant for Quiet {
    fn name(&self) -> &'static str {
        "quiet"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        let Some(since) = scene.quiet_ms else { return Ok(()) };
        match seen {
            Seen::Transmitted { node, transmission } if transmission.kind == Some(TransmitKind::Sync) => {
                *self.syncs.entry(*node).or_default() += 1;
                Ok(())
            }
            Seen::Transmitted { transmission, .. } if is_late(scene, transmission) => {
                self.disturbed = true;
                Ok(())
            }
            Seen::Transmitted { node, transmission } => {
                Err(format!("p{node} sends {:?} in a quiet channel", transmission.kind))
            }
            Seen::Ended if !self.disturbed => {
                for (node, syncs) in &self.syncs {
                    let interval = millis(scene.nodes[*node].channel().config().max_sync_interval);
                    // A turn lasts three quarters of the interval at least.
                    let max = 2 + (scene.now_ms - since) * 4 / (3 * interval).max(1);
                    if *syncs > max {
                        return Err(format!("p{node} sends {syncs} sync messages, {max} would do"));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn is_late(scene: &Scene<'_>, transmission: &Transmission) -> bool {
    let index = transmission.message.as_ref().and_then(|message| scene.registry.find(&message.id));
    index.map(|index| scene.registry.message(index)).is_some_and(|message| message.hostile || message.premature)
}
