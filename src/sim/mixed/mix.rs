//! What one seed draws: the size of the world, the options of its channels, and a part of all faults.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::channel::{Config, Join};
use crate::types::{Dialect, Limits};

use super::super::net::{between, chance};
use super::super::{ArchiveFaults, Attack, Burst, Crash, Lie, Network};

/// Everything drawn. Chances are per turn.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names of `Life`'s accidents")]
pub struct Mix {
    pub founders: usize,
    pub most: usize,
    pub turns: u64,
    pub pause_ms: u64,
    pub network: Network,
    pub config: Config,
    pub send_chance: f64,
    pub burst_chance: f64,
    pub burst: u64,
    pub content_bytes: u64,
    pub same_content: f64,
    pub collide: f64,
    pub crash: f64,
    pub torn: bool,
    pub downtime_ms: u64,
    pub away: f64,
    pub away_ms: u64,
    pub partition: f64,
    pub slow: f64,
    pub clock_offset_ms: u64,
    pub jump: f64,
    pub jump_ms: u64,
    pub join: f64,
    pub from_now: bool,
    pub attack: f64,
    pub attacks: Vec<Attack>,
    pub sync: f64,
    pub closing: bool,
    pub ephemeral: f64,
    pub hint: f64,
    pub declare: f64,
    pub founders_by_default: bool,
    pub name_bytes: usize,
    pub twins: bool,
    pub leave: f64,
    pub resend: f64,
    pub withdraw: f64,
    /// How often somebody erases a message.
    pub erase: f64,
    pub back_up: f64,
    pub restore: f64,
    pub lies: Vec<Lie>,
    pub replay: f64,
    pub archive: f64,
    pub archive_faults: ArchiveFaults,
    pub members: bool,
    pub devices: bool,
    pub ghosts: bool,
    pub outsiders: f64,
    pub hears: f64,
}

impl Mix {
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        let seconds = |rng: &mut ChaCha8Rng, bounds| Duration::from_secs(between(rng, bounds));
        let founders = usize::try_from(between(rng, (2, 6))).unwrap_or(2);
        let most = founders + usize::try_from(between(rng, (1, 3))).unwrap_or(1);
        let small = chance(rng, 0.3);
        let crash = part(rng, 0.5, 0.08);
        let t_min = seconds(rng, (1, 5));
        // Not both buffers tiny: what waits for what fits into neither.
        let crowded = chance(rng, 0.1);
        let config = Config {
            join: Join::Backfill(u64::MAX),
            max_message_history: if small { usize::try_from(between(rng, (5, 40))).unwrap_or(5) } else { 1_000 },
            causal_history_size: usize::try_from(between(rng, (0, 4))).unwrap_or(2),
            max_causal_heads: usize::try_from(between(rng, (3, 10))).unwrap_or(10),
            resend_interval: seconds(rng, (1, 8)),
            max_resend_attempts: u32::try_from(between(rng, (0, 6))).unwrap_or(5),
            t_min,
            t_max: t_min + seconds(rng, (0, 50)),
            response_groups: 1,
            repair_bytes_per_second: if chance(rng, 0.3) { 4_000 } else { 256 << 10 },
            wait_timeout: Duration::from_secs(60),
            lost_timeout: seconds(rng, (180, 900)),
            // Without confirmation, what is below the floor and was not told when it crashed is never told.
            confirm_deliveries: small || chance(rng, 0.3),
            max_sync_interval: seconds(rng, (60, 900)),
            limits: Limits {
                max_message_bytes: 128 << 10,
                max_content_bytes: 64 << 10,
                max_parked: if crowded { 40 } else { 10_000 },
                max_repair_entries: if !crowded && chance(rng, 0.1) { 40 } else { 1_000 },
                ..Limits::default()
            },
            ..Config::default()
        };
        let far = chance(rng, 0.15);
        let mut attacks: Vec<Attack> = Attack::ALL.iter().copied().filter(|_| chance(rng, 0.5)).collect();
        if far {
            // A clock days ahead would accept what all others refuse.
            attacks.retain(|attack| !matches!(attack, Attack::FarFuture | Attack::NearFuture));
        }
        let attack = if attacks.is_empty() { 0.0 } else { part(rng, 0.35, 0.2) };
        let burst = chance(rng, 0.3).then_some(Burst { begins: 0.02, ends: 0.1, loss: 0.9 });
        let delay = (1, if chance(rng, 0.3) { 8_000 } else { 300 });
        Self {
            founders,
            most,
            turns: between(rng, (20, 120)),
            pause_ms: if chance(rng, 0.3) { 20_000 } else { 3_000 },
            network: Network { loss: part(rng, 0.8, 0.6), burst, duplicate: part(rng, 0.5, 0.5), delay_ms: delay },
            config,
            send_chance: 0.3 + part(rng, 1.0, 0.5),
            burst_chance: part(rng, 0.3, 0.1),
            burst: between(rng, (2, 30)),
            content_bytes: if chance(rng, 0.2) { 2_000 } else { 40 },
            same_content: part(rng, 0.4, 0.3),
            collide: part(rng, 0.1, 0.1),
            crash,
            torn: chance(rng, 0.5),
            downtime_ms: if chance(rng, 0.3) { 600_000 } else { 10_000 },
            away: part(rng, 0.4, 0.05),
            away_ms: if chance(rng, 0.3) { 1_200_000 } else { 60_000 },
            partition: part(rng, 0.4, 0.1),
            slow: part(rng, 0.3, 0.05),
            clock_offset_ms: if chance(rng, 0.4) { 120_000 } else { 0 },
            jump: part(rng, 0.3, 0.05),
            jump_ms: if far { 4 * 24 * 60 * 60 * 1_000 } else { 20 * 60 * 1_000 },
            join: part(rng, 0.5, 0.05),
            from_now: chance(rng, 0.5),
            attack,
            attacks,
            sync: part(rng, 0.2, 0.1),
            closing: chance(rng, 0.5),
            ephemeral: 0.0,
            hint: 0.0,
            declare: 0.0,
            founders_by_default: false,
            name_bytes: 0,
            twins: false,
            leave: 0.0,
            resend: 0.0,
            withdraw: 0.0,
            erase: 0.0,
            back_up: 0.0,
            restore: 0.0,
            lies: Vec::new(),
            replay: 0.0,
            archive: 0.0,
            archive_faults: ArchiveFaults::default(),
            members: false,
            devices: false,
            ghosts: false,
            outsiders: 0.0,
            hears: 1.0,
        }
    }

    /// What was added later, from a stream of its own: what an old seed drew before stays what it was.
    pub(super) fn draw_more(&mut self, rng: &mut ChaCha8Rng) {
        let number = |rng: &mut ChaCha8Rng, bounds| usize::try_from(between(rng, bounds)).unwrap_or(1);
        let millis = |rng: &mut ChaCha8Rng, bounds| Duration::from_millis(between(rng, bounds));
        let (config, limits) = (&mut self.config, Limits::default());
        config.limits.max_outgoing = if chance(rng, 0.1) { number(rng, (3, 20)) } else { limits.max_outgoing };
        config.limits.max_outgoing_bytes =
            if chance(rng, 0.1) { number(rng, (500, 5_000)) } else { limits.max_outgoing_bytes };
        config.limits.max_marks = if chance(rng, 0.1) { number(rng, (5, 40)) } else { limits.max_marks };
        // As with the number of messages: not both buffers tiny.
        let roomy = config.limits.max_repair_entries == 1_000;
        config.limits.max_parked_bytes =
            if chance(rng, 0.1) && roomy { number(rng, (8_000, 64_000)) } else { limits.max_parked_bytes };
        if chance(rng, 0.1) {
            config.max_log_bytes = number(rng, (6_000, 60_000));
            config.confirm_deliveries = true;
        }
        config.max_transmit_bytes = chance(rng, 0.1).then(|| number(rng, (1_200, 4_000)));
        config.response_groups = if chance(rng, 0.15) { u32::try_from(between(rng, (2, 3))).unwrap_or(2) } else { 1 };
        config.sync_interval = if chance(rng, 0.3) { millis(rng, (3_000, 60_000)) } else { config.sync_interval };
        if chance(rng, 0.3) {
            let soonest = millis(rng, (0, 2_000));
            config.acknowledgement_delay = (soonest, soonest + millis(rng, (0, 8_000)));
        }
        config.max_repair_requests = if chance(rng, 0.2) { number(rng, (1, 2)) } else { config.max_repair_requests };
        if chance(rng, 0.1) {
            config.dialect = Dialect::JsWaku;
            config.max_transmit_bytes = None;
        }
        (self.ephemeral, self.hint, self.declare) = (part(rng, 0.2, 0.2), part(rng, 0.2, 0.2), part(rng, 0.15, 0.1));
    }

    /// Small packets, long names and members that leave, from a third stream.
    pub(super) fn draw_conditions(&mut self, rng: &mut ChaCha8Rng) {
        let number = |rng: &mut ChaCha8Rng, bounds| usize::try_from(between(rng, bounds)).unwrap_or(1);
        if chance(rng, 0.15) {
            self.name_bytes = number(rng, (20, 200));
        }
        if chance(rng, 0.15) && self.config.dialect == Dialect::Lip109 {
            self.config.max_transmit_bytes = Some(number(rng, (450, 1_200)) + 4 * self.name_bytes);
        }
        self.leave = part(rng, 0.2, 0.02);
    }

    /// What users get, from a fourth stream: founders that join as everybody does, all options as they are by default, and
    /// two devices under one name.
    pub(super) fn draw_defaults(&mut self, rng: &mut ChaCha8Rng) {
        self.founders_by_default = chance(rng, 0.5);
        if chance(rng, 0.3) && self.config.dialect == Dialect::Lip109 {
            self.founders_by_default = true;
            self.from_now = true;
            let max_transmit_bytes = self.config.max_transmit_bytes;
            self.config = Config { max_transmit_bytes, ..Config::default() };
        }
        self.twins = chance(rng, 0.1);
        if self.twins {
            // The same content under one name at one time would be one id.
            self.same_content = 0.0;
        }
    }

    /// What applications order, stores from yesterday, and response groups whose members leave, from a fifth stream.
    pub(super) fn draw_orders(&mut self, rng: &mut ChaCha8Rng) {
        (self.resend, self.withdraw) = (part(rng, 0.6, 0.2), part(rng, 0.6, 0.2));
        if chance(rng, 0.4) {
            (self.back_up, self.restore) = (part(rng, 1.0, 0.1), part(rng, 1.0, 0.1));
            // The same content under one name at one time would be one id.
            (self.same_content, self.collide) = (0.0, 0.0);
        }
        if chance(rng, 0.3) {
            self.config.response_groups = u32::try_from(between(rng, (2, 4))).unwrap_or(2);
            self.leave = part(rng, 1.0, 0.05);
        }
    }

    /// Who erases messages, from an eighth stream.
    pub(super) fn draw_erasing(&mut self, rng: &mut ChaCha8Rng) {
        self.erase = part(rng, 0.5, 0.3);
    }

    /// Members that catch up, and what others lie about then, from a sixth stream.
    pub(super) fn draw_catch_up(&mut self, always: bool, rng: &mut ChaCha8Rng) {
        self.config.catch_up = always || chance(rng, 0.5);
        if always && chance(rng, 0.5) {
            self.lies = Lie::ALL.iter().copied().filter(|_| chance(rng, 0.4)).collect();
        }
    }

    /// Members that sign, and strangers that attack all the time, from a seventh stream.
    pub(super) fn draw_strangers(&mut self, rng: &mut ChaCha8Rng) {
        // Each member gets its own when it joins.
        self.config.authenticator = Some(super::super::keys::of(&"nobody".into(), 16, false));
        if self.attacks.is_empty() {
            self.attacks = Attack::ALL.to_vec();
        }
        self.attack = 0.1 + part(rng, 1.0, 0.3);
        self.lies = Lie::ALL.iter().copied().filter(|_| chance(rng, 0.5)).collect();
        self.replay = part(rng, 0.7, 0.2);
    }

    /// Whether members have archives, and what these do wrong.
    pub(super) fn draw_archives(&mut self, rng: &mut ChaCha8Rng) {
        if chance(rng, 0.5) {
            self.archive = if chance(rng, 0.5) { 0.3 } else { 1.0 };
            let mut percent = |one_in| if chance(rng, one_in) { between(rng, (1, 60)) } else { 0 };
            self.archive_faults = ArchiveFaults { fails: percent(0.4), hangs: percent(0.4), loses: percent(0.2) };
        }
    }

    /// Applications that know who the members are, from a ninth stream: with two devices a user, with others that speak and
    /// are no members, and with members that are gone and not taken out before the end.
    pub(super) fn draw_members(&mut self, rng: &mut ChaCha8Rng) {
        (self.members, self.devices, self.ghosts) = (true, chance(rng, 0.5), chance(rng, 0.3));
        self.outsiders = part(rng, 0.3, 0.4);
        self.hears = 1.0 - part(rng, 0.7, 0.9);
        self.leave = part(rng, 0.6, 0.05);
        self.config.stability_timeout = Duration::from_secs(between(rng, (60, 900)));
        // A clock that is set back by days sends below what its owner vouched for; so do two under one name.
        self.jump_ms = self.jump_ms.min(20 * 60 * 1_000);
        self.twins = false;
    }

    /// Options of one participant.
    pub(super) fn config_of(&self, founder: bool, rng: &mut ChaCha8Rng) -> Config {
        let join = match (founder, self.from_now) {
            (true, _) if self.founders_by_default => Join::default(),
            (true, _) => Join::Backfill(u64::MAX),
            (false, true) => Join::default(),
            (false, false) => Join::Backfill(if chance(rng, 0.5) { u64::MAX } else { between(rng, (0, 20)) }),
        };
        Config { join, ..self.config.clone() }
    }

    /// How a crash comes: in the middle of a step, or `None` for one between two steps.
    pub(super) fn crash_kind(&self, rng: &mut ChaCha8Rng) -> Option<Crash> {
        match rng.next_u64() % 4 {
            0 => Some(Crash::BeforeSave),
            1 if self.torn => Some(Crash::BetweenWrites),
            2 => Some(Crash::AfterSave),
            _ => None,
        }
    }

    /// Within this time after the last fault, everything is delivered everywhere.
    ///
    /// Made of stages: what cannot be had any more is given up after `lost_timeout`; what hung on it is then named by a
    /// sync message, at most one and a quarter intervals away, and others wait for what it misses in their turn.
    #[must_use]
    pub fn bound(&self) -> Duration {
        let fakes = self.attack > 0.0 && self.attacks.contains(&Attack::FakeHistory);
        let stages = if fakes { 4 } else { 2 };
        stages * (self.config.lost_timeout + 3 * self.config.max_sync_interval) + 20 * self.config.t_max
    }
}

/// With this chance, something up to `max`; else nothing.
fn part(rng: &mut ChaCha8Rng, enabled: f64, max: f64) -> f64 {
    let share = f64::from(rng.next_u32()) / f64::from(u32::MAX) * max;
    if chance(rng, enabled) { share } else { 0.0 }
}
