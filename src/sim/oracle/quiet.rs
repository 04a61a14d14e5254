//! PROTOCOL section 9: the network goes quiet. Once everything is delivered, nothing but sync messages goes out, and few.

use std::collections::BTreeMap;

use crate::channel::TransmitKind;
use crate::types::millis;

use super::{Invariant, Scene, Seen};

#[derive(Debug, Default)]
pub(super) struct Quiet {
    syncs: BTreeMap<usize, u64>,
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
            Seen::Transmitted { node, transmission } => {
                Err(format!("p{node} sends {:?} in a quiet channel", transmission.kind))
            }
            Seen::Ended => {
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
