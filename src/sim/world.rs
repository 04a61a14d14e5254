//! The world itself: who gets which input when.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use siphasher::sip::SipHasher13;

use crate::channel::{ChannelError, Config, Event, Input, Outcome, TransmitKind};
use crate::types::{CatchUpField, ChannelId, Dialect, MessageId, ParticipantId};
use crate::wire;

use super::driven::Carried;
use super::net::{Queue, between, chance};
use super::oracle::{Oracle, Order, Seen};
use super::{Archive, ArchiveFaults, Bug, Clock, Crash, Lie, Medium, Network, Node, Options, Transmission, keys};

/// Participants, network and time.
#[derive(Debug)]
pub struct World {
    pub(super) rng: ChaCha8Rng,
    config: Arc<Config>,
    pub(super) channel: ChannelId,
    network: Network,
    queue: Queue,
    wakes: BinaryHeap<Reverse<(u64, usize)>>,
    nodes: Vec<Node>,
    /// Directed pairs between which nothing passes.
    blocked: BTreeSet<(usize, usize)>,
    now_ms: u64,
    bug: Option<Bug>,
    forgetful: bool,
    /// What members that mean harm lie about in catch-up.
    pub lies: Vec<Lie>,
    /// What watches.
    pub oracle: Oracle,
    trace: SipHasher13,
    /// Packets handed to the network.
    pub transmissions: u64,
    /// Bytes of them.
    pub transmitted_bytes: u64,
}

impl World {
    /// A world at time 0.
    ///
    /// # Panics
    /// When the options' configuration is refused.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let mut config = options.config;
        if let Some(bug) = options.bug {
            bug.configure(&mut config);
        }
        let mut world = Self {
            rng: ChaCha8Rng::seed_from_u64(options.seed),
            config: Arc::new(config),
            channel: ChannelId::from("sim"),
            network: options.network,
            queue: Queue::default(),
            wakes: BinaryHeap::new(),
            nodes: Vec::new(),
            blocked: BTreeSet::new(),
            now_ms: 0,
            bug: options.bug,
            forgetful: options.forgetful,
            lies: Vec::new(),
            oracle: Oracle::blind(),
            trace: SipHasher13::new(),
            transmissions: 0,
            transmitted_bytes: 0,
        };
        (0..options.participants).for_each(|_| {
            world.join();
        });
        world
    }

    /// Adds a participant with the world's options; returns its index.
    ///
    /// # Panics
    /// When the options' configuration is refused.
    pub fn join(&mut self) -> usize {
        self.join_with(self.config.clone(), Clock::default())
    }

    /// Adds a participant with options and clocks of its own; returns its index.
    ///
    /// # Panics
    /// When the options are refused.
    pub fn join_with(&mut self, config: Arc<Config>, clock: Clock) -> usize {
        self.join_as(format!("p{}", self.nodes.len()), config, clock)
    }

    /// Adds a participant under this name, which another device may have, too; returns its index.
    ///
    /// # Panics
    /// When the options are refused.
    pub fn join_as(&mut self, name: String, config: Arc<Config>, clock: Clock) -> usize {
        self.join_with_archive(name, config, clock, None)
    }

    /// As [`join_as`](Self::join_as), perhaps with an archive.
    pub(super) fn join_with_archive(
        &mut self,
        name: String,
        mut config: Arc<Config>,
        clock: Clock,
        archive: Option<Archive>,
    ) -> usize {
        if let Some(bug) = self.bug {
            bug.configure(Arc::make_mut(&mut config));
        }
        if let Some(authenticator) = &config.authenticator {
            let believes = self.bug == Some(Bug::StrangersBelieved);
            let keys = keys::of(&ParticipantId::from(name.as_str()), authenticator.signature_bytes(), believes);
            Arc::make_mut(&mut config).authenticator = Some(keys);
        }
        let index = self.nodes.len();
        let clock = Clock { began_ms: self.now_ms, ..clock };
        let mut medium = Medium::new(self.channel.clone());
        (medium.archive, medium.forgetful) = (archive, self.forgetful);
        let mut node = Node::new(medium, name, config, clock, self.now_ms, self.rng.next_u64());
        node.set_bug(self.bug);
        node.keep_events = !self.forgetful;
        self.nodes.push(node);
        self.arm(index);
        index
    }

    /// Whether its members sign what they say.
    pub(super) fn signs(&self) -> bool {
        self.config.authenticator.is_some()
    }

    /// What its members speak.
    pub(super) fn dialect(&self) -> Dialect {
        self.config.dialect
    }

    /// Virtual time since the world began, in milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// A participant.
    #[must_use]
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// All participants.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Changes how the network misbehaves from now on.
    pub fn set_network(&mut self, network: Network) {
        self.network = network;
    }

    /// Cuts a participant off, or connects it again.
    pub fn set_cut(&mut self, index: usize, cut: bool) {
        self.nodes[index].cut = cut;
    }

    /// Lets a participant leave for good, without a word.
    pub fn leave(&mut self, index: usize) {
        self.nodes[index].left = true;
    }

    /// Blocks what one participant sends to another, or lets it pass again.
    pub fn set_blocked(&mut self, from: usize, to: usize, blocked: bool) {
        if blocked {
            self.blocked.insert((from, to));
        } else {
            self.blocked.remove(&(from, to));
        }
    }

    /// Ends all cuts, blocks, lies and slowness, and sets the clocks right.
    pub fn heal(&mut self, network: Network) {
        self.network = network;
        self.blocked.clear();
        self.lies.clear();
        for node in &mut self.nodes {
            node.clock = Clock { began_ms: node.clock.began_ms, ..Clock::default() };
            (node.cut, node.slow_ms, node.crash) = (false, 0, None);
            node.medium.archive.iter_mut().for_each(|archive| archive.faults = ArchiveFaults::default());
        }
    }

    /// Delays everything that a participant receives by this much more.
    pub fn set_slow(&mut self, index: usize, extra_ms: u64) {
        self.nodes[index].slow_ms = extra_ms;
    }

    /// Lets a participant's wall clock jump.
    pub fn jump(&mut self, index: usize, by_ms: i64) {
        let clock = &mut self.nodes[index].clock;
        clock.offset_ms = clock.offset_ms.saturating_add(by_ms);
    }

    /// Lets a participant die with its next step that saves something.
    pub fn crash(&mut self, index: usize, crash: Crash) {
        self.nodes[index].crash = Some(crash);
    }

    /// Lets a participant send content; returns the id.
    ///
    /// # Panics
    /// When the channel refuses it.
    pub fn send(&mut self, index: usize, content: impl Into<Bytes>) -> MessageId {
        match self.input(index, Input::Send { content: content.into(), id: None }) {
            Ok(Outcome::Sent(id)) => id,
            other => panic!("send refused: {other:?}"),
        }
    }

    /// Gives a participant an input and carries its step out.
    ///
    /// # Errors
    /// What the channel refuses.
    pub fn input(&mut self, index: usize, input: Input) -> Result<Outcome, ChannelError> {
        self.drive(index, input, None)
    }

    /// Opens a participant again from what it saved; one that runs is dropped without warning first.
    pub fn restart(&mut self, index: usize) {
        let restarted = self.nodes[index].restart(self.now_ms, self.rng.next_u64());
        self.show(&Seen::Restarted {
            node: index,
            saved: &restarted.saved,
            exact: restarted.exact,
            torn: restarted.torn,
        });
        for message in &self.nodes[index].own_messages() {
            if !self.oracle.registry.is_sent(&message.id) {
                self.show(&Seen::Recovered { node: index, message });
            }
        }
        self.tell(index, &restarted.events, None);
        self.arm(index);
    }

    /// Copies what a participant has saved: a backup. Returns the index of a participant that has it, under the same name, and
    /// is not there before [`restore`](Self::restore).
    pub fn back_up(&mut self, of: usize) -> usize {
        let seed = self.rng.next_u64();
        let copy = self.nodes.len();
        self.nodes.push(self.nodes[of].copy(self.now_ms, seed));
        self.show(&Seen::Copied { of, copy });
        copy
    }

    /// Opens a backup in place of the participant that it was made of, which is gone for good.
    pub fn restore(&mut self, of: usize, copy: usize) {
        self.nodes[of].left = true;
        self.nodes[copy].left = false;
        self.restart(copy);
    }

    /// Hands bytes of a hostile member to the network.
    pub fn inject(&mut self, bytes: Bytes) {
        let message = wire::decode(&bytes, &self.config.limits).ok().map(|(message, _)| message);
        // Where everybody signs, nothing may come of it: no invariant hears of it.
        if let Some(message) = message.as_ref().filter(|_| !self.signs()) {
            self.show(&Seen::Hostile { message });
        }
        self.broadcast(Transmission { from: None, kind: None, bytes, message });
    }

    /// Lets this much virtual time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now_ms.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        while self.advance(end) {}
        self.now_ms = end;
    }

    /// Runs until all logs are the same, or this much time has passed; true if they are.
    pub fn run_until_converged(&mut self, within: Duration) -> bool {
        self.run_until(within, World::is_converged)
    }

    /// Runs until something holds, looked at whenever something happened, or this much time has passed; true if it does.
    pub fn run_until(&mut self, within: Duration, mut holds: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now_ms.saturating_add(u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
        while !holds(self) {
            if !self.advance(end) {
                self.now_ms = end;
                return holds(self);
            }
        }
        true
    }

    /// Whether the logs of all who have not left are the same where they overlap: above what any of them has evicted, and
    /// above a newcomer's horizon.
    #[must_use]
    pub fn is_converged(&self) -> bool {
        let mut there = self.nodes.iter().filter(|node| !node.has_left());
        let Some(first) = there.next() else { return true };
        there.all(|node| first.has_log_of(node))
    }

    /// Whether the logs of two participants are the same where they overlap.
    #[must_use]
    pub fn has_same_log(&self, one: usize, other: usize) -> bool {
        self.nodes[one].has_log_of(&self.nodes[other])
    }

    /// Whether nobody who has not left keeps a message back that waits for others.
    #[must_use]
    pub fn nothing_waits(&self) -> bool {
        self.nodes.iter().filter(|node| !node.has_left()).all(|node| node.channel().stats().parked_len == 0)
    }

    /// Whether everybody who has not left sent a message or was told of it.
    #[must_use]
    pub fn is_held_by_all(&self, id: &MessageId) -> bool {
        let registry = &self.oracle.registry;
        let Some(index) = registry.find(id) else { return false };
        self.nodes.iter().enumerate().all(|(member, node)| node.has_left() || registry.has(member, index))
    }

    /// Takes all events told so far by a participant.
    pub fn take_events(&mut self, index: usize) -> Vec<Event> {
        std::mem::take(&mut self.nodes[index].events)
    }

    /// A hash of everything that was transmitted and told so far.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// Shows the oracle that the world ends, in a phase without faults.
    pub fn end(&mut self) {
        self.show(&Seen::Ended);
    }

    /// Does what comes next, if it comes before `end`.
    fn advance(&mut self, end: u64) -> bool {
        let packet = self.queue.next_at().unwrap_or(u64::MAX);
        let wake = self.wakes.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
        let at = packet.min(wake);
        if at > end || at == u64::MAX {
            return false;
        }
        self.now_ms = self.now_ms.max(at);
        if packet <= wake {
            self.arrive()
        } else {
            self.wake()
        }
        true
    }

    fn arrive(&mut self) {
        let Some((to, transmission)) = self.queue.pop() else { return };
        let node = &mut self.nodes[to];
        if node.cut || !node.is_up() {
            return;
        }
        match &transmission.message {
            // A refused message is the peer's fault; the channel counts it.
            Some(message) => drop(self.drive(to, Input::Receive(message.clone()), Some(&transmission))),
            None => {
                assert!(transmission.from.is_none(), "p{to} cannot read what a member sent");
                node.undecodable += 1;
            }
        }
    }

    fn wake(&mut self) {
        let Some(Reverse((at, index))) = self.wakes.pop() else { return };
        let node = &mut self.nodes[index];
        if node.armed != Some(at) {
            return;
        }
        node.armed = None;
        match node.wakes_at() {
            Some(due) if due <= self.now_ms => drop(self.drive(index, Input::Timeout, None)),
            _ => self.arm(index),
        }
    }

    /// Remembers when to look at a participant's timers, unless that is remembered for earlier already.
    fn arm(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(at) = node.wakes_at() else { return };
        if node.armed.is_none_or(|armed| at < armed) {
            node.armed = Some(at);
            self.wakes.push(Reverse((at, index)));
        }
    }

    fn drive(&mut self, index: usize, input: Input, cause: Option<&Transmission>) -> Result<Outcome, ChannelError> {
        let given = matches!(input, Input::Send { id: Some(_), .. });
        let ordered = Order::of(&input);
        let node = &mut self.nodes[index];
        if !node.is_up() {
            return Ok(Outcome::Done);
        }
        let Carried { transmit, events, outcome } = node.handle(self.now_ms, input);
        if !node.is_up() {
            return Ok(Outcome::Done);
        }
        if let Some((id, order)) = ordered.filter(|_| outcome.is_ok()) {
            self.show(&Seen::Ordered { node: index, id: &id, order });
        }
        // A clock is set back before what is sent under it.
        let (resets, events): (Vec<_>, Vec<_>) =
            events.into_iter().partition(|event| matches!(event, Event::ClockReset { .. }));
        self.tell(index, &resets, cause);
        for transmit in transmit.iter().filter(|transmit| transmit.kind == TransmitKind::Content) {
            self.show(&Seen::Sent { node: index, message: &transmit.message, given });
        }
        if let Some(cause) = cause {
            let fate = match &outcome {
                Ok(Outcome::Received(received)) => Some(&received.fate),
                _ => None,
            };
            self.show(&Seen::Received { node: index, transmission: cause, fate });
        }
        self.tell(index, &events, cause);
        self.show(&Seen::Stepped { node: index });
        for transmit in transmit {
            self.transmit(index, &transmit);
        }
        // The application confirms what it was told, sooner or later.
        if let Some(number) = self.nodes[index].unconfirmed()
            && chance(&mut self.rng, 0.5)
        {
            let _ = self.drive(index, Input::DeliveriesTold(number), None);
        }
        self.arm(index);
        outcome
    }

    fn tell(&mut self, index: usize, events: &[Event], cause: Option<&Transmission>) {
        for event in events {
            if self.oracle.is_watching() {
                self.trace.write(format!("{} {index} {event:?}", self.now_ms).as_bytes());
            }
            self.show(&Seen::Told { node: index, event, cause });
        }
    }

    fn show(&mut self, seen: &Seen<'_>) {
        self.oracle.look(self.now_ms, &self.nodes, seen);
    }

    fn transmit(&mut self, from: usize, transmit: &crate::channel::Transmit) {
        let dialect = self.nodes[from].channel().config().dialect;
        let bytes = wire::encode(&transmit.message, dialect).expect("a channel sends what can be encoded");
        let decoded = wire::decode(&bytes, &self.config.limits).expect("what a channel sends can be decoded");
        self.transmissions += 1;
        self.transmitted_bytes += bytes.len() as u64;
        let transmission =
            Transmission { from: Some(from), kind: Some(transmit.kind), bytes, message: Some(decoded.0) };
        self.show(&Seen::Transmitted { node: from, transmission: &transmission });
        if !self.nodes[from].cut {
            self.broadcast(transmission);
            if let CatchUpField::Frame(frame) = &transmit.message.catch_up {
                self.lie_to(&transmit.message.sender, frame);
            }
        }
    }

    fn broadcast(&mut self, transmission: Transmission) {
        if self.oracle.is_watching() {
            self.trace.write_u64(self.now_ms);
            self.trace.write(&transmission.bytes);
        }
        let mut arrivals = Vec::with_capacity(self.nodes.len());
        for (to, node) in self.nodes.iter_mut().enumerate() {
            let Some(from) = transmission.from.or(Some(usize::MAX)).filter(|from| *from != to) else { continue };
            if !self.blocked.is_empty() && self.blocked.contains(&(from, to)) {
                continue;
            }
            for delay in self.network.fates(&mut self.rng, &mut node.bad).into_iter().flatten() {
                let slow = if node.slow_ms == 0 { 0 } else { between(&mut self.rng, (0, node.slow_ms)) };
                arrivals.push((self.now_ms + delay + slow, to));
            }
        }
        self.queue.push(Arc::new(transmission), arrivals);
    }
}
