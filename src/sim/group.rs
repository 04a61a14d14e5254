//! A group measured: so many participants, so many messages, so much loss, until every log is the same.

use std::time::Duration;

use rand_chacha::rand_core::Rng;

use crate::channel::{Config, Join, TransmitKind};
use crate::types::Dialect;

use super::oracle::{Oracle, Violation};
use super::{Network, Options, World};

/// What is measured.
#[derive(Clone, Debug)]
pub struct Group {
    /// Everything random comes from this.
    pub seed: u64,
    /// Number of participants, all founding members.
    pub participants: usize,
    /// Messages sent, each by a random participant.
    pub messages: usize,
    /// Time from one message to the next.
    pub pause: Duration,
    /// Bytes of content of each message, at least 1.
    pub content_bytes: usize,
    /// How the network misbehaves, to the end.
    pub network: Network,
    /// Options of every channel.
    pub config: Config,
    /// Cut a participant off from the first message until this long after the last.
    pub cut_off: Option<Duration>,
    /// Drop and open again a random participant after every so many messages.
    pub restart_every: Option<usize>,
    /// After all logs are the same, let this much time pass and count what is sent.
    pub idle: Option<Duration>,
    /// Give up when logs differ for this long after the last message.
    pub patience: Duration,
}

impl Group {
    /// A group with default options: one message a second, 50 bytes each.
    #[must_use]
    pub fn new(seed: u64, participants: usize, messages: usize, loss: f64) -> Self {
        let groups = crate::channel::response_groups(u32::try_from(participants).unwrap_or(u32::MAX));
        Self {
            seed,
            participants,
            messages,
            pause: Duration::from_secs(1),
            content_bytes: 50,
            network: Network { loss, ..Network::default() },
            config: Config { join: Join::Backfill(u64::MAX), response_groups: groups, ..Config::default() },
            cut_off: None,
            restart_every: None,
            idle: None,
            patience: Duration::from_secs(2 * 60 * 60),
        }
    }

    /// The same group in a dialect, with the options that its peers expect.
    #[must_use]
    pub fn speaking(mut self, dialect: Dialect) -> Self {
        let Config { join, response_groups, .. } = self.config;
        self.config = Config { join, response_groups, ..Config::of(dialect) };
        self
    }

    /// The options with room for every message: logs are compared whole, so none may evict.
    fn roomy(&self) -> Config {
        let (config, rows) = (self.config.clone(), self.messages.max(1));
        Config {
            max_message_history: config.max_message_history.max(rows),
            max_log_bytes: config.max_log_bytes.max(rows.saturating_mul(self.content_bytes + ROW_BYTES)),
            ..config
        }
    }

    /// The longest that one message may wait until it is acknowledged or given up: every resend at its latest.
    fn resend_schedule(&self) -> Duration {
        let Config { resend_interval, response_groups, max_resend_interval, max_resend_attempts, .. } = self.config;
        let wait = resend_interval.saturating_mul(response_groups).max(max_resend_interval);
        // What is possibly acknowledged waits twice as long, and jitter adds an eighth.
        (wait.saturating_mul(9) / 4).saturating_mul(max_resend_attempts.saturating_add(1)).min(self.patience)
    }
}

/// What a message takes in a log besides its content, at most: ids and names of a group are short.
const ROW_BYTES: usize = 4_096;

/// What was found. Times are virtual milliseconds.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Deliveries, of all that should be.
    pub delivered_fraction: f64,
    /// All logs are the same.
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
    /// Sync messages.
    pub syncs: u64,
    /// Rebroadcasts for others.
    pub repairs: u64,
    /// Distinct messages that somebody rebroadcast for others.
    pub repaired: u64,
    /// What each participant sent in an hour after that, on average, if it was waited for.
    pub idle_per_member_and_hour: Option<f64>,
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

/// Lets a group live until every log is the same.
#[must_use]
pub fn run(group: &Group) -> Report {
    let options = Options {
        seed: group.seed,
        participants: group.participants,
        network: group.network.clone(),
        config: group.roomy(),
        bug: None,
        forgetful: group.restart_every.is_none(),
    };
    let mut world = World::new(options);
    world.oracle = Oracle::cheap();
    if group.cut_off.is_some() {
        world.set_cut(0, true);
    }
    let mut progress = Vec::new();
    for turn in 0..group.messages {
        let first = usize::from(group.cut_off.is_some());
        let others = (group.participants - first).max(1) as u64;
        let sender = first + usize::try_from(world.rng.next_u64() % others).unwrap_or(0);
        let mut content = format!("{turn} ").into_bytes();
        content.resize(group.content_bytes.max(1), b'x');
        world.send(sender, content);
        if group.restart_every.is_some_and(|every| turn % every == every - 1) {
            let node = usize::try_from(world.rng.next_u64() % group.participants as u64).unwrap_or(0);
            world.restart(node);
        }
        world.run_for(group.pause);
        progress.push((world.now_ms(), world.oracle.registry.delivered));
    }
    if let Some(time) = group.cut_off {
        world.run_for(time);
        world.set_cut(0, false);
    }
    let last = world.now_ms();
    let all = group.messages * group.participants;
    let end = last + u64::try_from(group.patience.as_millis()).unwrap_or(u64::MAX);
    let converged = loop {
        if world.run_until(Duration::from_secs(1), |world| world.logged() == all && world.is_converged()) {
            break true;
        }
        progress.push((world.now_ms(), world.oracle.registry.delivered));
        if world.now_ms() >= end {
            break false;
        }
    };
    progress.push((world.now_ms(), world.oracle.registry.delivered));
    report(group, world, converged, last, progress)
}

fn report(group: &Group, mut world: World, converged: bool, last: u64, progress: Vec<(u64, u64)>) -> Report {
    let agreed = world.now_ms();
    let (transmissions, bytes) = (world.transmissions, world.transmitted_bytes);
    let sum = |count: fn(&crate::channel::Stats) -> u64| -> u64 {
        world.nodes().iter().map(|node| count(&node.channel().stats())).sum()
    };
    let (resends, syncs) = (sum(|stats| stats.resends), sum(|stats| stats.syncs));
    let registry = &world.oracle.registry;
    let (repairs, repaired) = (registry.transmitted(TransmitKind::Repair), registry.repaired());
    wait_for_acknowledgements(&mut world, group.resend_schedule());
    // Before silence, in which a message given up may still be acknowledged.
    let mut acknowledged_ms = world.oracle.registry.acknowledged_after.clone();
    #[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let idle_per_member_and_hour = group.idle.map(|time| {
        // Acknowledgements of the last messages are no idleness.
        world.run_for(Duration::from_secs(10 * 60));
        let before = world.transmissions;
        world.run_for(time);
        (world.transmissions - before) as f64 / group.participants as f64 / (time.as_secs_f64() / 3_600.0)
    });
    // What must hold in the end is asked for when the end has come; that it has not is told by `converged`.
    if converged {
        world.end();
    }
    let registry = &mut world.oracle.registry;
    let mut delivery_ms = std::mem::take(&mut registry.latencies);
    let mut gaps_found_ms = std::mem::take(&mut registry.gaps_found_after);
    for times in [&mut delivery_ms, &mut acknowledged_ms, &mut gaps_found_ms] {
        times.sort_unstable();
    }
    let expected = group.messages * group.participants.saturating_sub(1);
    #[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let delivered_fraction = if expected == 0 { 1.0 } else { registry.delivered as f64 / expected as f64 };
    Report {
        seed: group.seed,
        delivered_fraction,
        converged,
        converged_after_ms: agreed.saturating_sub(last),
        virtual_ms: agreed,
        delivery_ms,
        never_acknowledged: group.messages.saturating_sub(acknowledged_ms.len()),
        acknowledged_ms,
        gaps_found_ms,
        transmissions,
        bytes,
        idle_per_member_and_hour,
        resends,
        syncs,
        repairs,
        repaired,
        progress,
        invariants: world.oracle.invariants(),
        violations: world.oracle.violations.clone(),
    }
}

/// Runs until every message is acknowledged or given up by its sender, but no longer than this.
fn wait_for_acknowledgements(world: &mut World, at_most: Duration) {
    let open = |world: &World| {
        let outgoing = world.nodes().iter().flat_map(|node| node.channel().outgoing());
        outgoing.into_iter().any(|message| message.next_due.is_some())
    };
    let mut seconds = at_most.as_secs();
    while seconds > 0 && open(world) {
        world.run_for(Duration::from_secs(1));
        seconds -= 1;
    }
}
