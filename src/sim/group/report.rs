//! What a run of a group is reported as.

use super::super::oracle::Violation;

/// What was found. Times are virtual milliseconds.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Messages sent.
    pub messages: usize,
    /// Deliveries, of all that should be.
    pub delivered_fraction: f64,
    /// All logs are the same where they overlap: above what any of them has evicted, or lies before a newcomer's time.
    pub converged: bool,
    /// From the last message sent until all logs were the same.
    pub converged_after_ms: u64,
    /// Since the world began.
    pub virtual_ms: u64,
    /// From sending to delivery, ascending, one for each delivery.
    pub delivery_ms: Vec<u32>,
    /// From sending to the first acknowledgement, ascending, one for each message acknowledged. Counted until each is
    /// acknowledged or given up, however long the logs have been the same by then.
    pub acknowledged_ms: Vec<u32>,
    /// From sending until a message was told as delivered to all, ascending, where there are members.
    pub to_all_ms: Vec<u32>,
    /// From sending until a message was stable, ascending, one for each participant that was told so.
    pub stable_ms: Vec<u32>,
    /// Messages that nobody had acknowledged by then.
    pub never_acknowledged: usize,
    /// From sending until whoever missed the first transmission heard of the message, ascending, one for each such gap.
    pub gaps_found_ms: Vec<u32>,
    /// Packets, of every kind. They, their bytes and their kinds are counted until all logs were the same.
    pub transmissions: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Resends.
    pub resends: u64,
    /// Resends until each message was acknowledged or given up.
    pub resends_until_acknowledged: u64,
    /// Sync messages.
    pub syncs: u64,
    /// Rebroadcasts for others.
    pub repairs: u64,
    /// Distinct messages that somebody rebroadcast for others.
    pub repaired: u64,
    /// What each participant sent in an hour after that, on average, if it was waited for.
    pub idle_per_member_and_hour: Option<f64>,
    /// Of the member that was away, where one was: see [`Group::rejoin`](super::Group::rejoin).
    pub rejoin: Option<Rejoin>,
    /// Of the newcomer, where there was one: see [`Group::late_joiner`](super::Group::late_joiner).
    pub late_joiner: Option<LateJoiner>,
    /// Of those who left: see [`Group::leave`](super::Group::leave).
    pub leave: Option<Leave>,
    /// Of the last message before silence.
    pub tail: Tail,
    /// Deliveries by then, at times that grow: for a plot.
    pub progress: Vec<(u64, u64)>,
    /// Invariants that watched.
    pub invariants: usize,
    /// What did not hold.
    pub violations: Vec<Violation>,
}

impl Report {
    /// The value below which this share of ascending values lies.
    #[must_use]
    pub fn percentile(values: &[u32], share: f64) -> u32 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let at = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len().max(1)) - 1;
        values.get(at).copied().unwrap_or(0)
    }
}

/// What a member had that was away for a while. Times count from its return.
#[derive(Clone, Debug, Default)]
pub struct Rejoin {
    /// Messages sent while it was away.
    pub missed: usize,
    /// How many of them it was shown in the end.
    pub delivered: usize,
    /// Until it was shown anything.
    pub first_shown_ms: Option<u64>,
    /// Until it was shown a message that was sent after its return.
    pub new_shown_ms: Option<u64>,
    /// Until it was shown the last of what it missed and was shown in the end.
    pub all_ms: Option<u64>,
    /// Messages that it gave up, one by one or in a gap.
    pub lost: u64,
    /// Gaps that its application was told of.
    pub gaps_told: u64,
    /// Its log is in the end that of the others, where they overlap.
    pub logs_identical: bool,
    /// Packets of all members from its return until all logs were the same.
    pub transmissions: u64,
}

/// What a newcomer had. Times count from its opening.
#[derive(Clone, Debug, Default)]
pub struct LateJoiner {
    /// Messages sent before it came.
    pub before: usize,
    /// Messages sent after it came.
    pub after: usize,
    /// Until it was shown anything.
    pub first_shown_ms: Option<u64>,
    /// Messages from before it came that it was shown.
    pub history: usize,
    /// Until it was shown the last of these.
    pub history_ms: Option<u64>,
    /// Messages from after it came that it was shown.
    pub news: usize,
    /// Gaps that its application was told of.
    pub gaps_told: u64,
    /// Its log is in the end that of the others, where they overlap.
    pub logs_identical: bool,
}

/// What members left behind when they left for good, right after the last message.
#[derive(Clone, Debug, Default)]
pub struct Leave {
    /// How many left.
    pub members: usize,
    /// Messages that somebody who stayed had not been shown by then, counted once for each of these.
    pub missing: usize,
    /// How many of those nobody who stayed had received.
    pub gone: usize,
    /// How many of the others were shown in the end.
    pub recovered: usize,
}

/// What became of the last message before silence. Times count from its sending.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    /// Until everybody was shown it.
    pub all_ms: Option<u64>,
}
