//! What is counted in the end.

use std::time::Duration;

use crate::channel::{Stats, TransmitKind};

use super::super::World;
use super::report::{LateJoiner, Leave, Rejoin, Report};
use super::stage::{ABSENT, Stage};

impl Stage<'_> {
    pub(super) fn report(mut self, converged: bool) -> Report {
        let group = self.group;
        let agreed = self.world.now_ms();
        let (transmissions, bytes) = (self.world.transmissions, self.world.transmitted_bytes);
        let (resends, syncs) = (self.sum(|stats| stats.resends), self.sum(|stats| stats.syncs));
        let registry = &self.world.oracle.registry;
        let (repairs, repaired) = (registry.transmitted(TransmitKind::Repair), registry.repaired());
        let (rejoin, late_joiner) = (self.rejoined(converged), self.newcomer(converged));
        let delivered_fraction = self.delivered_fraction();
        self.wait_for_acknowledgements();
        self.wait_for_stability();
        // Before silence, in which a message given up may still be acknowledged.
        let mut acknowledged_ms = self.world.oracle.registry.acknowledged_after.clone();
        let resends_until_acknowledged = self.sum(|stats| stats.resends);
        #[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let idle_per_member_and_hour = group.idle.map(|time| {
            // Acknowledgements of the last messages are no idleness.
            self.world.run_for(Duration::from_secs(10 * 60));
            let before = self.world.transmissions;
            self.world.run_for(time);
            (self.world.transmissions - before) as f64 / group.participants as f64 / (time.as_secs_f64() / 3_600.0)
        });
        // What must hold in the end is asked for when the end has come; that it has not is told by `converged`.
        if converged {
            self.world.end();
        }
        let leave = self.leave.take().map(|leave| {
            let registry = &self.world.oracle.registry;
            let recovered = self.lacked.iter().filter(|(member, index)| registry.has(*member, *index)).count();
            Leave { recovered, ..leave }
        });
        let times = self.world.oracle.member_times.take().unwrap_or_default();
        let (mut to_all_ms, mut stable_ms) = (times.to_all_after, times.stable_after);
        let registry = &mut self.world.oracle.registry;
        let mut delivery_ms = std::mem::take(&mut registry.latencies);
        let mut gaps_found_ms = std::mem::take(&mut registry.gaps_found_after);
        for times in [&mut delivery_ms, &mut acknowledged_ms, &mut gaps_found_ms, &mut to_all_ms, &mut stable_ms] {
            times.sort_unstable();
        }
        Report {
            seed: group.seed,
            messages: self.said.len(),
            delivered_fraction,
            converged,
            converged_after_ms: agreed.saturating_sub(self.last_ms),
            virtual_ms: agreed,
            delivery_ms,
            never_acknowledged: self.said.len().saturating_sub(acknowledged_ms.len()),
            acknowledged_ms,
            to_all_ms,
            stable_ms,
            gaps_found_ms,
            transmissions,
            bytes,
            idle_per_member_and_hour,
            resends,
            resends_until_acknowledged,
            syncs,
            repairs,
            repaired,
            rejoin,
            late_joiner,
            leave,
            tail: self.tail,
            progress: self.progress,
            invariants: self.world.oracle.invariants(),
            violations: self.world.oracle.violations.clone(),
        }
    }

    fn sum(&self, count: fn(&Stats) -> u64) -> u64 {
        self.world.nodes().iter().map(|node| count(&node.channel().stats())).sum()
    }

    /// Deliveries, of all that should be: of those who stayed, and of a newcomer since it came.
    fn delivered_fraction(&self) -> f64 {
        let registry = &self.world.oracle.registry;
        let (mut due, mut had) = (0_u64, 0_u64);
        for (turn, id) in self.said.iter().enumerate() {
            let Some(index) = registry.find(id) else { continue };
            for (member, node) in self.world.nodes().iter().enumerate() {
                let before = self.joined.is_some_and(|(mark, newcomer)| newcomer == member && turn < mark.sent);
                if node.has_left() || before || registry.message(index).from == Some(member) {
                    continue;
                }
                due += 1;
                had += u64::from(registry.has(member, index));
            }
        }
        #[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let fraction = if due == 0 { 1.0 } else { had as f64 / due as f64 };
        fraction
    }

    /// Which messages, by their turn, the watched member was shown, and when.
    fn shown(&self) -> Vec<(usize, u64)> {
        let registry = &self.world.oracle.registry;
        let turns: std::collections::HashMap<usize, usize> =
            self.said.iter().enumerate().filter_map(|(turn, id)| Some((registry.find(id)?, turn))).collect();
        let shown = registry.watched.iter().flat_map(|watched| &watched.shown);
        shown.filter_map(|(index, at)| Some((*turns.get(index)?, *at))).collect()
    }

    fn rejoined(&self, converged: bool) -> Option<Rejoin> {
        let (left, back) = self.absence?;
        let watched = self.world.oracle.registry.watched.as_ref()?;
        let shown = self.shown();
        let missed = || shown.iter().filter(|(turn, _)| (left.sent..back.sent).contains(turn));
        let after = |at: &u64| at.saturating_sub(back.at_ms);
        Some(Rejoin {
            missed: back.sent - left.sent,
            delivered: missed().count(),
            first_shown_ms: shown.iter().map(|(_, at)| after(at)).min(),
            new_shown_ms: shown.iter().filter(|(turn, _)| *turn >= back.sent).map(|(_, at)| after(at)).min(),
            all_ms: missed().map(|(_, at)| after(at)).max(),
            lost: watched.lost,
            gaps_told: watched.gaps,
            logs_identical: converged || self.world.has_same_log(ABSENT, 1),
            transmissions: self.world.transmissions - back.transmissions,
        })
    }

    fn newcomer(&self, converged: bool) -> Option<LateJoiner> {
        let (came, newcomer) = self.joined?;
        let watched = self.world.oracle.registry.watched.as_ref()?;
        let shown = if self.absence.is_none() { self.shown() } else { Vec::new() };
        let history = || shown.iter().filter(|(turn, _)| *turn < came.sent);
        let after = |at: &u64| at.saturating_sub(came.at_ms);
        Some(LateJoiner {
            before: came.sent,
            after: self.said.len() - came.sent,
            first_shown_ms: shown.iter().map(|(_, at)| after(at)).min(),
            history: history().count(),
            history_ms: history().map(|(_, at)| after(at)).max(),
            news: shown.len() - history().count(),
            gaps_told: watched.gaps,
            logs_identical: converged || self.world.has_same_log(newcomer, 0),
        })
    }

    /// Runs until every message is acknowledged or given up by its sender, but no longer than its schedule lasts.
    fn wait_for_acknowledgements(&mut self) {
        let open = |world: &World| {
            let there = world.nodes().iter().filter(|node| !node.has_left());
            let outgoing = there.flat_map(|node| node.channel().outgoing());
            outgoing.into_iter().any(|message| message.next_due.is_some())
        };
        let mut seconds = self.group.resend_schedule().as_secs();
        while seconds > 0 && open(&self.world) {
            self.world.run_for(Duration::from_secs(1));
            seconds -= 1;
        }
    }
}
