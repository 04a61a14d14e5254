//! A small deterministic world under one seed (feature `testing`): participants, a network that misbehaves, virtual time.
//!
//! What: [`World`] drives real [`Channel`](crate::channel::Channel)s over the real wire codec; every option and every
//! accident comes from one seed. Why in the library: applications can test against it too. How it moves: the world keeps
//! one queue of packets and asks every channel when it wants to be woken; [`World::run_for`] jumps from one to the next.

mod medium;
mod net;
mod node;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::channel::{Config, Context, Event, Input, Join, Outcome};
use crate::types::{ChannelId, MessageId, RunningTime, WallTime};

pub use medium::Medium;
pub use net::{Network, Packet};
pub use node::Node;

/// Wall time at which every world begins, in milliseconds.
pub const EPOCH_MS: u64 = 1_700_000_000_000;

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything random comes from this.
    pub seed: u64,
    /// Number of participants, named `p0`, `p1`, ...
    pub participants: usize,
    /// How the network misbehaves.
    pub network: Network,
    /// Options of every channel.
    pub config: Config,
}

impl Default for Options {
    /// Three founding participants on a perfect network.
    fn default() -> Self {
        let config = Config { join: Join::Backfill(u64::MAX), ..Config::default() };
        Self { seed: 0, participants: 3, network: Network::default(), config }
    }
}

/// Participants, network and time.
#[derive(Debug)]
pub struct World {
    rng: ChaCha8Rng,
    config: Arc<Config>,
    channel: ChannelId,
    network: Network,
    queue: net::Queue,
    nodes: Vec<Node>,
    now_ms: u64,
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
        let mut world = Self {
            rng: ChaCha8Rng::seed_from_u64(options.seed),
            config: Arc::new(options.config),
            channel: ChannelId::from("sim"),
            network: options.network,
            queue: net::Queue::default(),
            nodes: Vec::new(),
            now_ms: 0,
            transmissions: 0,
            transmitted_bytes: 0,
        };
        (0..options.participants).for_each(|_| {
            world.join();
        });
        world
    }

    /// Adds a participant; returns its index.
    ///
    /// # Panics
    /// When the options' configuration is refused.
    pub fn join(&mut self) -> usize {
        let context = self.context();
        let name = format!("p{}", self.nodes.len());
        self.nodes.push(Node::new(self.channel.clone(), name, self.config.clone(), &context));
        self.nodes.len() - 1
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
    pub fn input(&mut self, index: usize, input: Input) -> Result<Outcome, crate::channel::ChannelError> {
        let context = self.context();
        let (packets, outcome) = self.nodes[index].handle(&context, input);
        for bytes in packets {
            self.broadcast(index, &bytes);
        }
        outcome
    }

    /// Drops a participant without warning and opens it again from what it saved.
    pub fn restart(&mut self, index: usize) {
        let context = self.context();
        self.nodes[index].restart(&context);
    }

    /// Lets this much virtual time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now_ms.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        while self.advance(end) {}
        self.now_ms = end;
    }

    /// Runs until every participant has every message sent, or this much time has passed; true if they do.
    pub fn run_until_converged(&mut self, within: Duration) -> bool {
        let end = self.now_ms.saturating_add(u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
        while !self.is_converged() {
            if !self.advance(end) {
                return self.is_converged();
            }
        }
        true
    }

    /// Whether all logs are the same and nothing waits.
    #[must_use]
    pub fn is_converged(&self) -> bool {
        let Some(first) = self.nodes.first() else { return true };
        let expected = self.nodes.iter().map(|node| node.channel().stats().log_len).max();
        self.nodes.iter().all(|node| Some(node.channel().stats().log_len) == expected)
            && self.nodes.iter().all(|node| node.log_ids().eq(first.log_ids()))
    }

    /// Takes all events told so far by a participant.
    pub fn take_events(&mut self, index: usize) -> Vec<Event> {
        std::mem::take(&mut self.nodes[index].events)
    }

    /// Does what comes next, if it comes before `end`.
    fn advance(&mut self, end: u64) -> bool {
        let wake = self.nodes.iter().enumerate().filter_map(|(index, node)| Some((node.wakes_at()?, index))).min();
        let packet = self.queue.next_at();
        let at = wake.map(|(at, _)| at).into_iter().chain(packet).min();
        let Some(at) = at.filter(|at| *at <= end) else { return false };
        self.now_ms = self.now_ms.max(at);
        if packet == Some(at) {
            if let Some(Packet { to, bytes, .. }) = self.queue.pop()
                && !self.nodes[to].cut
                && let Some(message) = self.nodes[to].decode(&bytes)
            {
                // A refused message is the peer's fault; the channel counts it.
                let _refused = self.input(to, Input::Receive(message));
            }
        } else if let Some((_, index)) = wake {
            let _done = self.input(index, Input::Timeout);
        }
        true
    }

    fn broadcast(&mut self, from: usize, bytes: &Bytes) {
        self.transmissions += 1;
        self.transmitted_bytes += bytes.len() as u64;
        if self.nodes[from].cut {
            return;
        }
        for to in (0..self.nodes.len()).filter(|to| *to != from) {
            for delay in self.network.fates(&mut self.rng) {
                self.queue.push(self.now_ms + delay, to, bytes.clone());
            }
        }
    }

    fn context(&mut self) -> Context {
        Context {
            wall: WallTime::from_millis(EPOCH_MS + self.now_ms),
            running: RunningTime::from_millis(self.now_ms),
            entropy: self.rng.next_u64(),
        }
    }
}
