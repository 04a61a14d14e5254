//! docs/protocol.md sections 3, 10 and 11: a hostile member moves no clock beyond the limit, and makes nobody answer more than the
//! rate of answers allows.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::channel::TransmitKind;
use crate::types::Lamport;

use super::super::EPOCH_MS;
use super::{Invariant, Scene, Seen};

/// What the options say by default; a bug may not move the yardstick.
const MAX_DRIFT: Duration = Duration::from_secs(24 * 60 * 60);

/// How far a clock of the mixed world may be off when it begins.
const CLOCK_ERROR_MS: u64 = 120_000;

#[derive(Debug)]
pub(super) struct Hostility {
    /// Bytes a second that may be answered.
    rate: f64,
    /// Highest wall time seen at each participant, and messages it sent.
    clocks: BTreeMap<usize, (u64, u64)>,
    /// Bytes answered by each participant since its rate was full last.
    answered: BTreeMap<usize, (u64, f64)>,
}

impl Invariant for Hostility {
    fn name(&self) -> &'static str {
        "hostility"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Stepped { node } => {
                let wall = scene.nodes[*node].clock.wall_ms(scene.now_ms);
                let clock = self.clocks.entry(*node).or_default();
                // A clock that jumped back before the first step began at the right time.
                clock.0 = clock.0.max(wall).max(EPOCH_MS + scene.now_ms + CLOCK_ERROR_MS);
                let limit = clock.0 + u64::try_from(MAX_DRIFT.as_millis()).unwrap_or(u64::MAX) + clock.1;
                let lamport = scene.nodes[*node].channel().meta().lamport;
                if lamport > Lamport(limit) {
                    return Err(format!("p{node}: the clock stands at {lamport}, {limit} is the limit"));
                }
            }
            Seen::Transmitted { node, transmission } => {
                self.clocks.entry(*node).or_default().1 += 1;
                if transmission.kind == Some(TransmitKind::Repair) {
                    return self.answer(scene, *node, transmission.bytes.len());
                }
            }
            Seen::Copied { of, copy } => {
                let clock = self.clocks.get(of).copied().unwrap_or_default();
                self.clocks.insert(*copy, clock);
            }
            Seen::Restarted { node, .. } => {
                self.answered.remove(node);
                // A channel that had saved nothing begins at the time of its opening.
                let wall = scene.nodes[*node].clock.wall_ms(scene.now_ms);
                let clock = self.clocks.entry(*node).or_default();
                clock.0 = clock.0.max(wall);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Hostility {
    pub(super) fn new(bytes_per_second: u32) -> Self {
        Self { rate: f64::from(bytes_per_second), clocks: BTreeMap::new(), answered: BTreeMap::new() }
    }

    /// A bucket that fills at the promised rate, holds a second of it, and may go into debt by one message.
    fn answer(&mut self, scene: &Scene<'_>, node: usize, bytes: usize) -> Result<(), String> {
        let rate = self.rate;
        let (at, left) = self.answered.get(&node).copied().unwrap_or((scene.now_ms, rate));
        #[allow(clippy::cast_precision_loss, reason = "milliseconds and bytes of a short simulation")]
        let (gained, bytes) = ((scene.now_ms - at) as f64 / 1_000.0 * rate, bytes as f64);
        let before = (left + gained).min(rate);
        self.answered.insert(node, (scene.now_ms, before - bytes));
        if before < -1.0 { Err(format!("p{node} answers {bytes} bytes, {before:.0} are allowed")) } else { Ok(()) }
    }
}
