//! The course of a measured group: who says what when, what happens meanwhile, and what is counted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::rand_core::Rng;

use crate::channel::{Config, Input};
use crate::types::MessageId;

use super::super::oracle::{Oracle, Watched};
use super::super::{Archive, Clock, Options, World, keys};
use super::report::{Leave, Tail};
use super::{Group, settings};

/// The participant that is cut off.
pub(super) const ABSENT: usize = 0;

/// A moment, and what had happened by then.
#[derive(Clone, Copy, Default)]
pub(super) struct Mark {
    pub(super) at_ms: u64,
    /// Messages sent.
    pub(super) sent: usize,
    pub(super) transmissions: u64,
}

pub(super) struct Stage<'a> {
    pub(super) group: &'a Group,
    pub(super) world: World,
    /// Messages sent, in order.
    pub(super) said: Vec<MessageId>,
    pub(super) away: bool,
    /// From when to when a member was away.
    pub(super) absence: Option<(Mark, Mark)>,
    /// When a newcomer came, and who it is.
    pub(super) joined: Option<(Mark, usize)>,
    /// When the last message was sent.
    pub(super) last_ms: u64,
    /// When everybody had it.
    pub(super) tail: Tail,
    pub(super) leave: Option<Leave>,
    /// Members and messages that those who stayed lacked when others left.
    pub(super) lacked: Vec<(usize, usize)>,
    pub(super) progress: Vec<(u64, u64)>,
}

/// The options of the group, with an authenticator where it signs; each member gets its own.
fn config_of(group: &Group) -> Config {
    let authenticator = group.signed.then(|| keys::of(&"nobody".into(), 64, false));
    Config { authenticator: authenticator.or_else(|| group.config.authenticator.clone()), ..group.config.clone() }
}

impl<'a> Stage<'a> {
    pub(super) fn new(group: &'a Group) -> Self {
        let mut world = World::new(Options {
            seed: group.seed,
            participants: 0,
            network: group.network.clone(),
            config: config_of(group),
            bug: None,
            forgetful: group.restart_every.is_none(),
        });
        world.oracle = if group.members { Oracle::cheap().and_members() } else { Oracle::cheap() };
        world.oracle.verbose = std::env::var_os("RC_SIM_VERBOSE").is_some();
        let mut stage = Self {
            group,
            world,
            said: Vec::new(),
            away: group.cut_off.is_some(),
            absence: None,
            joined: None,
            last_ms: 0,
            tail: Tail::default(),
            leave: None,
            lacked: Vec::new(),
            progress: Vec::new(),
        };
        for _ in 0..group.participants {
            stage.open();
        }
        if group.members {
            stage.set_members();
        }
        if stage.away {
            stage.world.set_cut(ABSENT, true);
        }
        stage
    }

    fn open(&mut self) -> usize {
        let mut config = config_of(self.group);
        if self.group.mixed_settings {
            config = settings::of_member(&config, self.group.seed, self.world.nodes().len());
        }
        let place = self.world.nodes().len();
        let keeps = self.group.archive && place + 1 == self.group.participants;
        let archive = keeps.then(Archive::default);
        self.world.join_with_archive(format!("p{place}"), Arc::new(config), Clock::default(), archive)
    }

    fn set_members(&mut self) {
        let members: BTreeSet<_> = self.world.nodes().iter().map(|node| node.channel().participant().clone()).collect();
        for node in 0..self.world.nodes().len() {
            let input = Input::SetMembers { epoch: 1, members: members.clone() };
            // Of so many participants as a set may have at most, no name is refused.
            let _done = self.world.input(node, input);
        }
    }

    /// Lets time pass until all is stable everywhere, an hour at most: with the last messages, others come to an end.
    pub(super) fn wait_for_stability(&mut self) {
        let unstable = |world: &World| {
            world.nodes().iter().filter(|node| !node.has_left()).any(|node| {
                let newest = node.channel().log().next_back().map(|logged| logged.body.key.lamport);
                node.channel().stable_up_to() < newest
            })
        };
        let mut minutes = 60;
        while self.group.members && minutes > 0 && unstable(&self.world) {
            self.world.run_for(Duration::from_secs(60));
            minutes -= 1;
        }
    }

    /// All that is said, and who is away or comes meanwhile.
    pub(super) fn talk(&mut self) {
        let group = self.group;
        for turn in 0..group.messages {
            if group.late_joiner == Some(turn) {
                self.join();
            }
            if group.rejoin.is_some() && turn == group.messages / 2 {
                self.absence();
            }
            if turn > 0 {
                self.pause();
            }
            self.say();
            if group.restart_every.is_some_and(|every| turn % every == every - 1) {
                let node = self.draw(group.participants);
                self.world.restart(node);
            }
        }
        if let Some(time) = group.cut_off {
            self.world.run_for(time);
            self.world.set_cut(ABSENT, false);
            self.last_ms = self.world.now_ms();
        }
    }

    fn draw(&mut self, below: usize) -> usize {
        usize::try_from(self.world.rng.next_u64() % below.max(1) as u64).unwrap_or(0)
    }

    fn pause(&mut self) {
        if !self.group.burst {
            self.world.run_for(self.group.pause);
        }
    }

    fn say(&mut self) {
        let group = self.group;
        let first = usize::from(self.away);
        let sender = if group.burst { 0 } else { first + self.draw(group.participants - first) };
        let mut content = format!("{} ", self.said.len()).into_bytes();
        content.resize(group.content_bytes.max(1), b'x');
        let id = self.world.send(sender, content);
        self.said.push(id);
        self.last_ms = self.world.now_ms();
        self.progress.push((self.world.now_ms(), self.world.oracle.registry.delivered));
    }

    fn mark(&self) -> Mark {
        Mark { at_ms: self.world.now_ms(), sent: self.said.len(), transmissions: self.world.transmissions }
    }

    fn absence(&mut self) {
        let left = self.mark();
        self.away = true;
        self.world.set_cut(ABSENT, true);
        for _ in 0..self.group.rejoin.unwrap_or(0) {
            self.say();
            self.pause();
        }
        self.world.set_cut(ABSENT, false);
        self.away = false;
        self.absence = Some((left, self.mark()));
        self.world.oracle.registry.watched = Some(Watched::new(ABSENT));
    }

    fn join(&mut self) {
        let mark = self.mark();
        let newcomer = self.open();
        self.joined = Some((mark, newcomer));
        if self.group.rejoin.is_none() {
            self.world.oracle.registry.watched = Some(Watched::new(newcomer));
        }
    }

    /// Those who leave after the last message, leave.
    pub(super) fn part(&mut self) {
        let leave = self.group.leave.min(self.group.participants.saturating_sub(1));
        if leave == 0 {
            return;
        }
        self.pause();
        let stay = leave..self.world.nodes().len();
        (0..leave).for_each(|member| self.world.leave(member));
        let registry = &self.world.oracle.registry;
        let mut gone = 0;
        for index in self.said.iter().filter_map(|id| registry.find(id)) {
            let lacking: Vec<usize> = stay.clone().filter(|member| !registry.has(*member, index)).collect();
            if stay.clone().any(|member| registry.took(member, index)) {
                self.lacked.extend(lacking.into_iter().map(|member| (member, index)));
            } else {
                gone += lacking.len();
            }
        }
        self.leave = Some(Leave { members: leave, missing: self.lacked.len() + gone, gone, recovered: 0 });
    }

    /// Waits until all logs are the same, at most as long as the group's patience lasts.
    pub(super) fn converge(&mut self) -> bool {
        let end = self.last_ms.saturating_add(u64::try_from(self.group.patience.as_millis()).unwrap_or(u64::MAX));
        // What has not changed since need not be compared again.
        let mut compared = None;
        loop {
            let last = self.said.last().cloned();
            let expected = self.expected();
            let (tail, last_ms) = (&mut self.tail, self.last_ms);
            let converged = self.world.run_until(Duration::from_secs(1), |world| {
                let registry = &world.oracle.registry;
                if tail.all_ms.is_none() && last.as_ref().is_none_or(|id| world.is_held_by_all(id)) {
                    tail.all_ms = Some(world.now_ms().saturating_sub(last_ms));
                }
                if compared == Some(registry.delivered) || expected.is_some_and(|all| registry.delivered < all) {
                    return false;
                }
                compared = Some(registry.delivered);
                world.nothing_waits() && world.is_converged()
            });
            self.progress.push((self.world.now_ms(), self.world.oracle.registry.delivered));
            if converged {
                return true;
            }
            if self.world.now_ms() >= end {
                return false;
            }
            compared = None;
        }
    }

    /// Deliveries when everybody has everything; `None` where some may never have it.
    fn expected(&self) -> Option<u64> {
        // Who is cut off before the first message begins as a newcomer does.
        let nobody_away = self.absence.is_none() && self.group.cut_off.is_none();
        let everybody = nobody_away && self.joined.is_none() && self.leave.is_none();
        everybody.then(|| (self.said.len() * (self.group.participants - 1)) as u64)
    }
}
