//! The mixed world: every option and every accident drawn from one seed.
//!
//! What: [`Mix`] says which faults a seed enables ("swarm": a random part of them, for faults hide each other), [`run`]
//! lets that world live. How it moves: a phase with faults, in which only safety is asked for; then everything heals, and
//! within [`Mix::bound`] everything must be delivered everywhere; then an hour in which nothing but sync messages may pass.

mod mix;
mod roster;

use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::channel::Input;
use crate::types::MessageId;

use super::net::{between, chance};
use super::oracle::{Oracle, Violation};
use super::{Archive, Bug, Clock, Network, Options, World};

use roster::Roster;

pub use mix::Mix;

/// How a mixed world went.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was drawn.
    pub mix: Mix,
    /// What did not hold.
    pub violations: Vec<Violation>,
    /// Hash of everything transmitted and told.
    pub trace: u64,
    /// Messages sent by honest participants.
    pub sent: u64,
    /// Deliveries told.
    pub delivered: u64,
    /// Times an invariant looked at something.
    pub looks: u64,
    /// Virtual time, in milliseconds.
    pub virtual_ms: u64,
}

/// Lets the world of a seed live, with a known bug if one is given.
///
/// # Panics
/// When the drawn options are refused: a defect of this module.
#[must_use]
pub fn run(seed: u64, bug: Option<Bug>) -> Report {
    live(seed, bug, Kind::Mixed)
}

/// The same with what users meet drawn, too: founders with the default options, two devices under one name.
///
/// # Panics
/// When the drawn options are refused: a defect of this module.
#[must_use]
pub fn run_as_users_do(seed: u64, bug: Option<Bug>) -> Report {
    live(seed, bug, Kind::AsUsersDo)
}

/// The same with applications that send messages again and take them back, and members that come back from a backup.
///
/// # Panics
/// When the drawn options are refused: a defect of this module.
#[must_use]
pub fn run_with_orders(seed: u64, bug: Option<Bug>) -> Report {
    live(seed, bug, Kind::WithOrders)
}

/// The same with members that all catch up, and with others that lie in it. In the other worlds half of the seeds do.
///
/// # Panics
/// When the drawn options are refused: a defect of this module.
#[must_use]
pub fn run_catching_up(seed: u64, bug: Option<Bug>) -> Report {
    live(seed, bug, Kind::CatchingUp)
}

/// The same with members that all sign, and strangers that forge and replay: nothing may come of it, and no invariant makes
/// allowance for it.
///
/// # Panics
/// When the drawn options are refused: a defect of this module.
#[must_use]
pub fn run_signed(seed: u64, bug: Option<Bug>) -> Report {
    live(seed, bug, Kind::Signed)
}

/// The same with applications that know who the members are, of whom some join and some leave.
///
/// # Panics
/// When the drawn options are refused: a defect of this module.
#[must_use]
pub fn run_with_members(seed: u64, bug: Option<Bug>) -> Report {
    live(seed, bug, Kind::WithMembers)
}

/// What is drawn: each kind has what the one before has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Mixed,
    AsUsersDo,
    WithOrders,
    CatchingUp,
    Signed,
    WithMembers,
}

fn live(seed: u64, bug: Option<Bug>, kind: Kind) -> Report {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5EED);
    let mut mix = Mix::draw(&mut rng);
    mix.draw_more(&mut ChaCha8Rng::seed_from_u64(seed ^ 0x04D0_5EED));
    mix.draw_conditions(&mut ChaCha8Rng::seed_from_u64(seed ^ 0xC0DE_5EED));
    if kind >= Kind::AsUsersDo {
        mix.draw_defaults(&mut ChaCha8Rng::seed_from_u64(seed ^ 0xDEFA_5EED));
    }
    let mut orders = ChaCha8Rng::seed_from_u64(seed ^ 0x04DE_25ED);
    if kind >= Kind::WithOrders {
        mix.draw_orders(&mut orders);
    }
    mix.draw_catch_up(kind >= Kind::CatchingUp, &mut ChaCha8Rng::seed_from_u64(seed ^ 0xCA7C_5EED));
    if kind >= Kind::Signed {
        mix.draw_strangers(&mut ChaCha8Rng::seed_from_u64(seed ^ 0x516E_5EED));
    }
    let mut archives = ChaCha8Rng::seed_from_u64(seed ^ 0xA2C4_5EED);
    if kind >= Kind::CatchingUp {
        mix.draw_archives(&mut archives);
    }
    let mut erasing = ChaCha8Rng::seed_from_u64(seed ^ 0xE2A5_5EED);
    if kind >= Kind::WithOrders {
        mix.draw_erasing(&mut erasing);
    }
    let mut roster = ChaCha8Rng::seed_from_u64(seed ^ 0x3E3B_5EED);
    if kind >= Kind::WithMembers {
        mix.draw_members(&mut roster);
    }
    let options = Options {
        seed,
        participants: 0,
        network: mix.network.clone(),
        config: mix.config.clone(),
        bug,
        forgetful: false,
    };
    let mut world = World::new(options);
    world.oracle = Oracle::full(&mix.config);
    world.lies.clone_from(&mix.lies);
    world.oracle.verbose = std::env::var_os("RC_SIM_VERBOSE").is_some();
    let mut life = Life {
        world,
        rng,
        orders,
        archives,
        erasing,
        roster: Roster::new(roster),
        mix,
        down: Vec::new(),
        away: Vec::new(),
        backups: Vec::new(),
        copies: 0,
    };
    for _ in 0..life.mix.founders {
        life.join(true);
    }
    life.suffer();
    life.heal();
    let Life { mut world, mix, mut roster, .. } = life;
    world.run_for(mix.bound());
    world.oracle.settled(world.now_ms());
    roster.tell(&mut world, &mix, 1.0, false);
    world.run_for(Duration::from_secs(60 * 60));
    world.end();
    let registry = &world.oracle.registry;
    Report {
        violations: world.oracle.violations.clone(),
        trace: world.trace(),
        sent: registry.sent,
        delivered: registry.delivered,
        looks: world.oracle.looks,
        virtual_ms: world.now_ms(),
        mix,
    }
}

struct Life {
    world: World,
    rng: ChaCha8Rng,
    orders: ChaCha8Rng,
    archives: ChaCha8Rng,
    erasing: ChaCha8Rng,
    roster: Roster,
    mix: Mix,
    /// Crashed participants, and when they are opened again.
    down: Vec<(u64, usize)>,
    /// Participants cut off, and until when.
    away: Vec<(u64, usize)>,
    /// Participants, and who has a copy of what each had saved.
    backups: Vec<(usize, usize)>,
    copies: usize,
}

impl Life {
    fn join(&mut self, founder: bool) {
        let config = self.mix.config_of(founder, &mut self.rng);
        let clock = match self.mix.clock_offset_ms {
            0 => Clock::default(),
            max => Clock { offset_ms: self.signed(max), drift_ppm: self.signed(200), ..Clock::default() },
        };
        let index = self.world.nodes().len();
        let mut name = Roster::name(&self.mix, index);
        if name.len() < self.mix.name_bytes {
            name = format!("{name:-<width$}", width = self.mix.name_bytes);
        }
        if self.mix.twins && index == 1 {
            // A second device of the first participant.
            name = self.world.node(0).channel().participant().to_string();
        }
        let archive = chance(&mut self.archives, self.mix.archive)
            .then(|| Archive::new(self.mix.archive_faults, self.archives.next_u64()));
        self.world.join_with_archive(name, Arc::new(config), clock, archive);
    }

    fn signed(&mut self, max: u64) -> i64 {
        let magnitude = i64::try_from(between(&mut self.rng, (0, max))).unwrap_or(0);
        if chance(&mut self.rng, 0.5) { magnitude } else { -magnitude }
    }

    fn pick(&mut self) -> usize {
        usize::try_from(self.rng.next_u64() % self.world.nodes().len() as u64).unwrap_or(0)
    }

    /// The phase with faults.
    fn suffer(&mut self) {
        for turn in 0..self.mix.turns {
            let wait = between(&mut self.rng, (0, self.mix.pause_ms));
            self.world.run_for(Duration::from_millis(wait));
            self.come_back(false);
            if chance(&mut self.rng, self.mix.send_chance) {
                let burst = if chance(&mut self.rng, self.mix.burst_chance) { self.mix.burst } else { 1 };
                (0..burst).for_each(|part| self.send(turn, part));
            }
            self.accident();
            self.roster.tell(&mut self.world, &self.mix, self.mix.hears, self.mix.ghosts);
        }
        self.come_back(true);
    }

    fn send(&mut self, turn: u64, part: u64) {
        let node = self.pick();
        let size = between(&mut self.rng, (0, self.mix.content_bytes));
        let mut content = format!("{turn}.{part} of p{node} ");
        content.extend(std::iter::repeat_n('x', usize::try_from(size).unwrap_or(0)));
        if chance(&mut self.rng, self.mix.same_content) {
            content = "ok".to_owned();
        }
        let id = chance(&mut self.rng, self.mix.collide).then(|| {
            let shared = self.rng.next_u64() % 8;
            MessageId::from(format!("shared{shared}"))
        });
        // A known id or a full buffer is refused: the application's fault, and no accident.
        let _refused = self.world.input(node, Input::Send { content: content.into(), id });
    }

    fn accident(&mut self) {
        let now = self.world.now_ms();
        if chance(&mut self.rng, self.mix.crash) {
            let node = self.pick();
            if let Some(crash) = self.mix.crash_kind(&mut self.rng) {
                self.world.crash(node, crash);
            } else if self.world.node(node).is_up() {
                self.world.restart(node);
            }
            let until = now + between(&mut self.rng, (0, self.mix.downtime_ms));
            self.down.push((until, node));
        }
        if chance(&mut self.rng, self.mix.away) {
            let node = self.pick();
            self.world.set_cut(node, true);
            let until = now + between(&mut self.rng, (1_000, self.mix.away_ms));
            self.away.push((until, node));
        }
        if chance(&mut self.rng, self.mix.partition) {
            let (from, to) = (self.pick(), self.pick());
            let blocked = chance(&mut self.rng, 0.6);
            self.world.set_blocked(from, to, blocked);
        }
        if chance(&mut self.rng, self.mix.leave) {
            self.leave();
        }
        if chance(&mut self.rng, self.mix.slow) {
            let (node, extra) = (self.pick(), between(&mut self.rng, (0, 20_000)));
            self.world.set_slow(node, extra);
        }
        if chance(&mut self.rng, self.mix.jump) {
            let by = self.signed(self.mix.jump_ms);
            let node = self.pick();
            self.world.jump(node, by);
        }
        if chance(&mut self.rng, self.mix.join) && self.world.nodes().len() - self.copies < self.mix.most {
            self.join(false);
        }
        if chance(&mut self.rng, self.mix.attack) {
            let attack = self.mix.attacks[usize::try_from(self.rng.next_u64()).unwrap_or(0) % self.mix.attacks.len()];
            self.world.attack(attack);
        }
        if chance(&mut self.orders, self.mix.replay) {
            self.world.replay();
        }
        if chance(&mut self.rng, self.mix.sync) {
            let node = self.pick();
            let _ = self.world.input(node, Input::SendSync);
        }
        if !self.mix.lies.is_empty() {
            let drawn = usize::try_from(self.orders.next_u64() % 16).unwrap_or(0);
            self.mix.lies.get(drawn).copied().into_iter().for_each(|lie| self.world.lie(lie));
        }
        self.application(now);
        self.orders();
        if chance(&mut self.erasing, self.mix.erase) {
            self.erase();
        }
    }

    /// Somebody leaves for good, as long as two stay.
    fn leave(&mut self) {
        let node = self.pick();
        let there = self.world.nodes().iter().filter(|node| !node.has_left()).count();
        if there > 2 {
            self.world.leave(node);
        }
    }

    /// What an application may do besides sending.
    fn application(&mut self, now: u64) {
        if chance(&mut self.rng, self.mix.ephemeral) {
            let node = self.pick();
            let _ = self.world.input(node, Input::SendEphemeral { content: format!("p{node} types").into() });
        }
        if chance(&mut self.rng, self.mix.hint) {
            let node = self.pick();
            let newest = self.world.node(node).channel().log().next_back().map(|logged| logged.body.key.id.clone());
            if let Some(id) = newest {
                let _ = self.world.input(node, Input::SetHint { id, hint: format!("at {now}").into() });
            }
        }
        if chance(&mut self.rng, self.mix.declare) {
            let node = self.pick();
            let missing = self.world.node(node).channel().requests().first().map(|request| request.entry.id.clone());
            if let Some(id) = missing {
                self.world.oracle.registry.declare(node, &id);
                let _ = self.world.input(node, Input::DependenciesMet(vec![id]));
            }
        }
    }

    /// What an application does to its own messages, and to its store.
    fn orders(&mut self) {
        if chance(&mut self.orders, self.mix.resend) {
            self.order(Input::Resend);
        }
        if chance(&mut self.orders, self.mix.withdraw) {
            self.order(Input::Withdraw);
        }
        if chance(&mut self.orders, self.mix.back_up) {
            let node = self.pick_for_order();
            if self.world.node(node).is_up() {
                self.backups.push((node, self.world.back_up(node)));
                self.copies += 1;
            }
        }
        if chance(&mut self.orders, self.mix.restore) && !self.backups.is_empty() {
            let at = usize::try_from(self.orders.next_u64()).unwrap_or(0) % self.backups.len();
            let (of, copy) = self.backups.swap_remove(at);
            if !self.world.node(of).has_left() {
                self.world.restore(of, copy);
            }
        }
    }

    /// Gives an order about an own message that nobody has acknowledged.
    fn order(&mut self, input: fn(MessageId) -> Input) {
        let node = self.pick_for_order();
        let open = self.world.node(node).channel().outgoing();
        let drawn = usize::try_from(self.orders.next_u64()).unwrap_or(0) % open.len().max(1);
        if let Some(id) = open.get(drawn).map(|view| view.id.clone()) {
            // What no log has any more, or has no room, is refused.
            let _refused = self.world.input(node, input(id));
        }
    }

    /// A participant erases what it has in its log, and two others have who keep it.
    fn erase(&mut self) {
        let registry = &self.world.oracle.registry;
        let node = usize::try_from(self.erasing.next_u64()).unwrap_or(0) % self.world.nodes().len();
        let open: Vec<MessageId> = self.world.node(node).channel().outgoing().into_iter().map(|view| view.id).collect();
        let nodes = || 0..self.world.nodes().len();
        let kept = |index: usize| nodes().filter(|other| *other != node && registry.has(*other, index)).count() >= 2;
        let free = |index: &usize| kept(*index) && !nodes().any(|other| registry.is_erased(other, *index));
        let ids =
            self.world.node(node).channel().log().map(|logged| &logged.body.key.id).filter(|id| !open.contains(id));
        let ids: Vec<&MessageId> = ids.filter(|id| registry.find(id).filter(free).is_some()).collect();
        let drawn = usize::try_from(self.erasing.next_u64()).unwrap_or(0) % ids.len().max(1);
        if let Some(id) = ids.get(drawn).map(|id| (*id).clone()) {
            let _ = self.world.input(node, Input::Erase(id));
        }
    }

    fn pick_for_order(&mut self) -> usize {
        usize::try_from(self.orders.next_u64() % self.world.nodes().len() as u64).unwrap_or(0)
    }

    /// Opens who is down long enough, and connects who was away long enough.
    fn come_back(&mut self, all: bool) {
        let now = self.world.now_ms();
        let due = |(until, _): &(u64, usize)| all || *until <= now;
        let (back, still): (Vec<_>, Vec<_>) = self.down.drain(..).partition(due);
        self.down = still;
        for (_, node) in back {
            if !self.world.node(node).is_up() && !self.world.node(node).has_left() {
                self.world.restart(node);
            }
        }
        let (back, still): (Vec<_>, Vec<_>) = self.away.drain(..).partition(due);
        self.away = still;
        back.into_iter().for_each(|(_, node)| self.world.set_cut(node, false));
    }

    fn heal(&mut self) {
        self.world.heal(Network::default());
        for node in 0..self.world.nodes().len() {
            if !self.world.node(node).is_up() && !self.world.node(node).has_left() {
                self.world.restart(node);
            }
        }
        let now = self.world.now_ms();
        self.world.oracle.healed(now);
        self.roster.tell(&mut self.world, &self.mix, 1.0, self.mix.ghosts);
        if self.mix.closing {
            for node in 0..self.world.nodes().len() {
                let _ = self.world.input(node, Input::Send { content: format!("bye from p{node}").into(), id: None });
            }
        }
    }
}
