//! Two networks, their members, and the bridge between them, with the clock in hand.
//!
//! What: [`World`]. Members are channels of this library, each in its network's dialect; packets are lost and overtake
//! each other under one seed. Why: a bridge is seen at work in seconds, and its tests need no network. How it moves:
//! [`World::say`] lets a member speak, [`World::run`] lets time pass.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use reliable_channel::channel::{Config, Delivery, Event, Join, Outcome, Transmit};
use reliable_channel::manager::{Clock, ManualClock};
use reliable_channel::store::{MemoryPersistence, Persistence};
use reliable_channel::types::{Limits, Message, WallTime};
use reliable_channel::{Channel, Context, Input, MessageId, ParticipantId, wire};

use crate::bridge::{Bridge, Failure, Side};

pub const CHANNEL: &str = "lobby";
const TICK: Duration = Duration::from_millis(100);
const MAX_DELAY_MS: u64 = 900;

pub struct World {
    pub clock: ManualClock,
    pub stores: [Arc<dyn Persistence>; 2],
    /// Gone when it ended, with whatever it had not said yet.
    pub bridge: Option<Bridge>,
    pub members: BTreeMap<&'static str, Member>,
    /// By time of arrival, then in the order sent: where, for whom (nobody is the bridge), what.
    packets: BTreeMap<(u64, u64), (Side, Option<&'static str>, Bytes)>,
    /// Everything broadcast so far, lost or not.
    pub broadcasts: Vec<Broadcast>,
    pub loss_percent: u64,
    /// Whether the bridge hears anything.
    pub bridge_hears: bool,
    /// Whether the bridge's own messages, sync messages, reach anybody.
    pub bridge_syncs: bool,
    chance: ChaCha8Rng,
}

/// A packet handed to a network.
pub struct Broadcast {
    pub side: Side,
    /// `None` for the bridge.
    pub by: Option<&'static str>,
    pub message: Message,
}

pub struct Member {
    pub side: Side,
    pub channel: Channel,
    pub delivered: Vec<Delivery>,
    /// Own messages acknowledged, and by whom.
    pub acknowledged: Vec<(MessageId, ParticipantId)>,
}

impl World {
    pub async fn new(seed: u64, nim: &[&'static str], js: &[&'static str]) -> Result<Self, Failure> {
        let clock = ManualClock::new(WallTime::from_millis(1_767_225_600_123));
        let stores: [Arc<dyn Persistence>; 2] =
            [Arc::new(MemoryPersistence::default()), Arc::new(MemoryPersistence::default())];
        let mut world = Self {
            clock,
            stores,
            bridge: None,
            members: BTreeMap::new(),
            packets: BTreeMap::new(),
            broadcasts: Vec::new(),
            loss_percent: 0,
            bridge_hears: true,
            bridge_syncs: true,
            chance: ChaCha8Rng::seed_from_u64(seed),
        };
        for (side, names) in [(Side::Nim, nim), (Side::Js, js)] {
            for name in names {
                let mut config = Config::of(side.dialect());
                config.join = Join::Backfill(u64::MAX);
                let channel = Channel::new(CHANNEL, *name, Arc::new(config), &world.context())?;
                let member = Member { side, channel, delivered: Vec::new(), acknowledged: Vec::new() };
                world.members.insert(name, member);
            }
        }
        world.start_bridge().await?;
        Ok(world)
    }

    pub async fn start_bridge(&mut self) -> Result<(), Failure> {
        let clock = Arc::new(self.clock.clone());
        self.bridge = Some(Bridge::open(CHANNEL, self.stores.clone(), clock).await?);
        self.forward();
        Ok(())
    }

    /// Lets a member say something, under an id of its own choice or not.
    pub fn say(&mut self, name: &'static str, text: &str, id: Option<MessageId>) -> Result<MessageId, Failure> {
        let content = Bytes::copy_from_slice(text.as_bytes());
        match self.input(name, Input::Send { content, id })? {
            Outcome::Sent(id) => Ok(id),
            other => Err(format!("sending led to {other:?}").into()),
        }
    }

    /// Lets a member of a js network say something that is not kept.
    pub fn mention(&mut self, name: &'static str, text: &str) -> Result<(), Failure> {
        self.input(name, Input::SendEphemeral { content: Bytes::copy_from_slice(text.as_bytes()) }).map(drop)
    }

    /// Lets time pass.
    pub async fn run(&mut self, time: Duration) -> Result<(), Failure> {
        let end = self.clock.running().after(time);
        while self.clock.running() < end {
            self.clock.advance(TICK);
            let now = self.clock.running().as_millis();
            while let Some(first) = self.packets.first_entry().filter(|first| first.key().0 <= now) {
                let (side, to, packet) = first.remove();
                self.arrive(side, to, packet).await?;
            }
            self.wake_members()?;
            if now.is_multiple_of(1_000)
                && let Some(bridge) = &mut self.bridge
                && bridge.sweep().await.is_err()
            {
                self.bridge = None;
            }
            self.forward();
        }
        Ok(())
    }

    async fn arrive(&mut self, side: Side, to: Option<&'static str>, packet: Bytes) -> Result<(), Failure> {
        match to {
            Some(name) => {
                let (message, _) = wire::decode(&packet, &Limits::default())?;
                self.input(name, Input::Receive(message))?;
            }
            None => {
                if let Some(bridge) = self.bridge.as_mut().filter(|_| self.bridge_hears)
                    && bridge.receive(side, packet).await.is_err()
                {
                    self.bridge = None;
                }
                self.forward();
            }
        }
        Ok(())
    }

    fn wake_members(&mut self) -> Result<(), Failure> {
        let now = self.clock.running();
        let names: Vec<_> = self.members.keys().copied().collect();
        for name in names {
            if self.members[name].channel.poll_timeout().is_some_and(|due| due <= now) {
                self.input(name, Input::Timeout)?;
            }
        }
        Ok(())
    }

    fn input(&mut self, name: &'static str, input: Input) -> Result<Outcome, Failure> {
        let context = self.context();
        let Some(member) = self.members.get_mut(name) else { return Err(format!("who is {name}?").into()) };
        let side = member.side;
        let step = member.channel.handle(&context, input);
        for event in step.events {
            match event {
                Event::MessageDelivered(delivery) => member.delivered.push(delivery),
                Event::MessageAcknowledged { id, by, .. } => member.acknowledged.push((id, by)),
                _ => {}
            }
        }
        for Transmit { message, .. } in step.transmit {
            let packet = wire::encode(&message, side.dialect())?;
            self.broadcast(side, Some(name), message, &packet);
        }
        Ok(step.outcome?)
    }

    /// Broadcasts what the bridge has to say.
    fn forward(&mut self) {
        while let Some((side, packet)) = self.bridge.as_mut().and_then(Bridge::next_packet) {
            // What the library encoded it decodes; a packet that it did not would reach nobody.
            if let Ok((message, _)) = wire::decode(&packet, &Limits::default())
                && (self.bridge_syncs || !message.content.is_empty())
            {
                self.broadcast(side, None, message, &packet);
            }
        }
    }

    /// Each receiver gets its copy, or does not.
    fn broadcast(&mut self, side: Side, by: Option<&'static str>, message: Message, packet: &Bytes) {
        let members = self.members.iter().filter(|(_, member)| member.side == side).map(|(name, _)| Some(*name));
        for to in members.chain([None]).filter(|to| *to != by).collect::<Vec<_>>() {
            if self.chance.next_u64() % 100 >= self.loss_percent {
                let at = self.clock.running().as_millis() + self.chance.next_u64() % MAX_DELAY_MS;
                self.packets.insert((at, self.chance.next_u64()), (side, to, packet.clone()));
            }
        }
        self.broadcasts.push(Broadcast { side, by, message });
    }

    fn context(&mut self) -> Context {
        Context::new(self.clock.wall(), self.clock.running(), self.chance.next_u64())
    }
}

impl Member {
    /// The log: what everybody on this side ends with.
    pub fn log(&self) -> Vec<MessageId> {
        self.channel.log().map(|logged| logged.body.key.id.clone()).collect()
    }

    /// The log as text.
    pub fn read(&self) -> Vec<String> {
        let line = |body: &reliable_channel::state::Body| {
            format!("{}: {}", body.sender, String::from_utf8_lossy(&body.content))
        };
        self.channel.log().map(|logged| line(&logged.body)).collect()
    }
}
