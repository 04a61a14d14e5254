//! What one seed is reported as.

use reliable_channel::sim::group::{LateJoiner, Leave, Rejoin, Report, Tail};
use serde::Serialize;

use crate::screen::Screen;

use super::Args;

/// Figures of one seed; times in virtual milliseconds.
#[derive(Debug, Serialize)]
pub struct Line {
    seed: u64,
    participants: u32,
    messages: usize,
    loss: f64,
    delivered_fraction: f64,
    converged: bool,
    virtual_ms_to_converge: u64,
    delivery_ms: Percentiles,
    acknowledged: usize,
    never_acknowledged: usize,
    first_acknowledgement_ms: Percentiles,
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<Members>,
    gaps: usize,
    gap_detection_ms: Percentiles,
    transmissions_per_message: f64,
    wire_bytes_per_message: f64,
    transmissions_per_member: f64,
    resends: u64,
    resends_until_acknowledged: u64,
    syncs: u64,
    rebroadcasts: u64,
    rebroadcasts_per_missing_message: f64,
    idle_messages_per_member_and_hour: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejoin: Option<Rejoined>,
    #[serde(skip_serializing_if = "Option::is_none")]
    late_joiner: Option<Newcomer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leave: Option<Left>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tail: Option<Last>,
    false_acks: usize,
    invariants_checked: usize,
    violations: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Percentiles {
    p50: u32,
    p90: u32,
    p99: u32,
    max: u32,
}

impl Percentiles {
    fn of(ascending: &[u32]) -> Self {
        let at = |share| Report::percentile(ascending, share);
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1.0) }
    }
}

/// What members were told; times count from the sending of each message.
#[derive(Debug, Serialize)]
struct Members {
    delivered_to_all: usize,
    delivered_to_all_ms: Percentiles,
    /// Messages that became stable, each once for every member.
    stable: usize,
    stability_lag_ms: Percentiles,
    wire_bytes_per_message_without: f64,
}

impl Members {
    fn of(report: &Report, without: &Report) -> Self {
        let (to_all, stable) = (&report.to_all_ms, &report.stable_ms);
        Self {
            delivered_to_all: to_all.len(),
            delivered_to_all_ms: Percentiles::of(to_all),
            stable: stable.len(),
            stability_lag_ms: Percentiles::of(stable),
            wire_bytes_per_message_without: ratio(without.bytes, without.messages as u64),
        }
    }
}

/// A member that was away; times count from its return.
#[derive(Debug, Serialize)]
struct Rejoined {
    missed: usize,
    delivered: usize,
    first_shown_ms: Option<u64>,
    new_shown_ms: Option<u64>,
    all_ms: Option<u64>,
    lost: u64,
    gaps_told: u64,
    logs_identical: bool,
    transmissions: u64,
}

impl Rejoined {
    fn of(rejoin: &Rejoin) -> Self {
        let Rejoin { missed, delivered, first_shown_ms, new_shown_ms, all_ms, .. } = *rejoin;
        let Rejoin { lost, gaps_told, logs_identical, transmissions, .. } = *rejoin;
        Self { missed, delivered, first_shown_ms, new_shown_ms, all_ms, lost, gaps_told, logs_identical, transmissions }
    }
}

/// A newcomer; times count from its opening.
#[derive(Debug, Serialize)]
struct Newcomer {
    before: usize,
    after: usize,
    first_shown_ms: Option<u64>,
    history: usize,
    history_ms: Option<u64>,
    news: usize,
    gaps_told: u64,
    logs_identical: bool,
}

impl Newcomer {
    fn of(newcomer: &LateJoiner) -> Self {
        let LateJoiner { before, after, first_shown_ms, history, .. } = *newcomer;
        let LateJoiner { history_ms, news, gaps_told, logs_identical, .. } = *newcomer;
        Self { before, after, first_shown_ms, history, history_ms, news, gaps_told, logs_identical }
    }
}

/// What members left behind.
#[derive(Debug, Serialize)]
struct Left {
    members: usize,
    missing: usize,
    gone: usize,
    recovered: usize,
}

impl Left {
    fn of(leave: &Leave) -> Self {
        let Leave { members, missing, gone, recovered } = *leave;
        Self { members, missing, gone, recovered }
    }
}

/// The last message before silence; times count from its sending.
#[derive(Debug, Serialize)]
struct Last {
    all_ms: Option<u64>,
}

impl Last {
    fn of(tail: &Tail) -> Self {
        Self { all_ms: tail.all_ms }
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn ratio(count: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { (count as f64 / of as f64 * 1_000.0).round() / 1_000.0 }
}

impl Line {
    /// The figures of a report, beside that of the same group without members where there are some.
    pub fn new(args: &Args, report: &Report, without: Option<&Report>) -> Self {
        let messages = report.messages as u64;
        Self {
            seed: report.seed,
            participants: args.participants,
            messages: report.messages,
            loss: args.loss,
            delivered_fraction: report.delivered_fraction,
            converged: report.converged,
            virtual_ms_to_converge: report.converged_after_ms,
            delivery_ms: Percentiles::of(&report.delivery_ms),
            acknowledged: report.acknowledged_ms.len(),
            never_acknowledged: report.never_acknowledged,
            first_acknowledgement_ms: Percentiles::of(&report.acknowledged_ms),
            members: without.map(|without| Members::of(report, without)),
            gaps: report.gaps_found_ms.len(),
            gap_detection_ms: Percentiles::of(&report.gaps_found_ms),
            transmissions_per_message: ratio(report.transmissions, messages),
            wire_bytes_per_message: ratio(report.bytes, messages),
            transmissions_per_member: ratio(report.transmissions, u64::from(args.participants)),
            resends: report.resends,
            resends_until_acknowledged: report.resends_until_acknowledged,
            syncs: report.syncs,
            rebroadcasts: report.repairs,
            rebroadcasts_per_missing_message: ratio(report.repairs, report.repaired),
            idle_messages_per_member_and_hour: report.idle_per_member_and_hour,
            rejoin: report.rejoin.as_ref().map(Rejoined::of),
            late_joiner: report.late_joiner.as_ref().map(Newcomer::of),
            leave: report.leave.as_ref().map(Left::of),
            tail: args.tail.then(|| Last::of(&report.tail)),
            false_acks: report.violations.iter().filter(|violation| violation.invariant == "acknowledgement").count(),
            invariants_checked: report.invariants,
            violations: report.violations.iter().map(ToString::to_string).collect(),
        }
    }

    /// Whether the seed ended as it should.
    pub fn is_good(&self) -> bool {
        self.converged && self.violations.is_empty()
    }

    /// Prints the figures: as JSON, or the main ones in words.
    pub fn print(&self, screen: &mut Screen, json: bool) -> anyhow::Result<()> {
        if json {
            screen.line(serde_json::to_string(self)?);
            return Ok(());
        }
        screen.line(format_args!(
            "seed {}: {:.2}% delivered, logs agree: {} ({} ms after the last message); delivery p50 {} ms, p99 {} ms; {} \
             never acknowledged; {} transmissions, {} bytes per message",
            self.seed,
            self.delivered_fraction * 100.0,
            self.converged,
            self.virtual_ms_to_converge,
            self.delivery_ms.p50,
            self.delivery_ms.p99,
            self.never_acknowledged,
            self.transmissions_per_message,
            self.wire_bytes_per_message
        ));
        if let Some(Members { delivered_to_all, delivered_to_all_ms, stable, stability_lag_ms, .. }) = &self.members {
            screen.line(format_args!(
                "  members: {delivered_to_all} delivered to all, p50 {} ms, p99 {} ms; {stable} times stable, p50 {} ms, p99 {} ms",
                delivered_to_all_ms.p50, delivered_to_all_ms.p99, stability_lag_ms.p50, stability_lag_ms.p99
            ));
        }
        if let Some(rejoin) = &self.rejoin {
            screen.line(format_args!(
                "  away: {} of {} missed messages shown, the first after {}, all after {}; {} lost, {} gaps told",
                rejoin.delivered,
                rejoin.missed,
                time(rejoin.first_shown_ms),
                time(rejoin.all_ms),
                rejoin.lost,
                rejoin.gaps_told
            ));
        }
        if let Some(newcomer) = &self.late_joiner {
            screen.line(format_args!(
                "  newcomer: shown something after {}, {} of {} earlier messages, {} of {} later ones",
                time(newcomer.first_shown_ms),
                newcomer.history,
                newcomer.before,
                newcomer.news,
                newcomer.after
            ));
        }
        if let Some(leave) = &self.leave {
            screen.line(format_args!(
                "  left: {} members; of {} messages missing then, {} were recovered, {} nobody had who stayed",
                leave.members, leave.missing, leave.recovered, leave.gone
            ));
        }
        if let Some(tail) = &self.tail {
            screen.line(format_args!("  the last message had reached everybody after {}", time(tail.all_ms)));
        }
        for violation in &self.violations {
            screen.line(format_args!("  violation: {violation}"));
        }
        Ok(())
    }
}

/// A time, if there is one.
fn time(ms: Option<u64>) -> String {
    ms.map_or_else(|| "never".to_owned(), |ms| format!("{ms} ms"))
}
