//! docs/protocol.md section 9: the network goes quiet. Once everything is delivered, nothing but sync messages goes out, and few;
//! and of catch-up so much as it takes to see that a difference stays.
//!
//! Except about what may come to light late: a forged message that some received, of which others hear when its turn
//! among the heads comes, and then ask for it and for what it pretends to depend on; and a message sent under a wrong
//! date, which is refused until its time comes, and what it names, which is no head where it was taken in.

use std::collections::BTreeMap;

use crate::channel::TransmitKind;
use crate::types::millis;

use super::super::Transmission;
use super::{Invariant, Scene, Seen};

/// Messages of catch-up that a participant may send about differences that stay, for each other one.
const SESSIONS: u64 = 16;

/// Sync messages on the way from the shortest interval back to the longest, and how long that takes at most.
const DOUBLINGS: u64 = 12;
const SETTLING_MS: u64 = 3_600_000;

/// The longest wait from one owed digest to the next.
const OWED_MS: u64 = 15 * 60 * 1_000;

#[derive(Debug, Default)]
pub(super) struct Quiet {
    /// Sync messages of each participant since then.
    syncs: BTreeMap<usize, u64>,
    /// Messages of catch-up of each participant: what one refuses and another has is a difference that stays, about which
    /// each two of them speak once.
    sessions: BTreeMap<usize, u64>,
    /// When the last late message was dealt with: asked for until it was given up.
    disturbed_until: Option<u64>,
}

impl Invariant for Quiet {
    fn name(&self) -> &'static str {
        "quiet"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        let Some(since) = scene.quiet_ms else {
            self.before(scene, seen);
            return Ok(());
        };
        match seen {
            Seen::Transmitted { node, transmission } if transmission.kind == Some(TransmitKind::Sync) => {
                if self.disturbed_until.is_none_or(|until| until <= scene.now_ms) {
                    *self.syncs.entry(*node).or_default() += 1;
                }
                Ok(())
            }
            Seen::Transmitted { node, transmission } if transmission.kind == Some(TransmitKind::CatchUp) => {
                let sent = self.sessions.entry(*node).or_default();
                *sent += 1;
                let (sent, max) = (*sent, SESSIONS * scene.nodes.len() as u64);
                // What one lacks and does not take is content like other content, to all who hear it.
                if is_content(transmission) {
                    self.disturbed(scene.now_ms);
                }
                if is_late(scene, transmission) {
                    self.disturbed(until_lost(scene, *node));
                }
                if sent <= max { Ok(()) } else { Err(format!("p{node} catches up in a quiet channel, {sent} times")) }
            }
            Seen::Transmitted { node, transmission } if is_late(scene, transmission) => {
                self.disturbed(until_lost(scene, *node));
                Ok(())
            }
            Seen::Transmitted { node, transmission } => {
                Err(format!("p{node} sends {:?} in a quiet channel", transmission.kind))
            }
            Seen::Ended => {
                let disturbed = self.disturbed_until.filter(|until| until.saturating_add(SETTLING_MS) > since);
                let since = disturbed.unwrap_or(since).max(since);
                for (node, syncs) in &self.syncs {
                    let interval = millis(scene.nodes[*node].channel().config().max_sync_interval);
                    // A turn lasts three quarters of the interval at least.
                    // As long as not all is stable, a member owes a digest, ever more rarely (section 15.3).
                    let member = scene.nodes[*node].channel().members().is_some();
                    let turns = |wait: u64| {
                        scene.now_ms.saturating_sub(since).saturating_mul(4) / wait.saturating_mul(3).max(1)
                    };
                    let max = 2
                        + turns(interval)
                        + if member { turns(OWED_MS) + DOUBLINGS / 2 } else { 0 }
                        + if disturbed.is_some() { DOUBLINGS } else { 0 };
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

impl Quiet {
    /// What others lacked and did not take may have gone out just before, and intervals are short since.
    fn before(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) {
        if let Seen::Transmitted { transmission, .. } = seen
            && transmission.kind == Some(TransmitKind::CatchUp)
            && is_content(transmission)
        {
            self.disturbed(scene.now_ms);
        }
    }

    fn disturbed(&mut self, until: u64) {
        self.disturbed_until = self.disturbed_until.max(Some(until));
        self.syncs.clear();
    }
}

/// Whether a message of catch-up is one that was asked for, no frame.
fn is_content(transmission: &Transmission) -> bool {
    transmission.message.as_ref().is_some_and(|message| message.lamport.is_some())
}

/// When what is missing since now is given up.
fn until_lost(scene: &Scene<'_>, node: usize) -> u64 {
    let config = scene.nodes[node].channel().config();
    scene.now_ms + millis(config.lost_timeout) + 5 * millis(config.t_max)
}

fn is_late(scene: &Scene<'_>, transmission: &Transmission) -> bool {
    let registry = scene.registry;
    let Some(index) = transmission.message.as_ref().and_then(|message| registry.find(&message.id)) else {
        return false;
    };
    let late = registry.message(index).hostile || registry.message(index).premature;
    late || registry.all_sent().any(|(_, message)| message.premature && message.names.contains(&index))
}
