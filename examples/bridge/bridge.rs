//! [`Bridge`]: one process that is a member of the same channel in two networks and carries messages across.
//!
//! What: two managers, one a dialect, each with its own store and clock-driven by the caller. A message delivered on
//! one side is relayed on the other with its id, sender, causal history and content; so whoever answers it there
//! acknowledges it here, when the answer comes back. Why deliveries and not packets: they come once and in causal order.
//! How it moves: [`Bridge::receive`] takes a packet in; a delivery it leads to is relayed and saved there, and only then
//! confirmed here. A crash between the two delivers again, and the other side knows what it has: nothing is lost,
//! nothing doubled. What comes back is known on the side it came from and goes no further: no loops.
//!
//! A bridge that cannot save must not go on: what one side has and the other forgets would come back in another shape. An
//! error of its methods is its end; start it again when its stores work.
//!
//! Neither network repairs what a bridge sends to it and nobody hears of. So it is repeated until somebody there names it.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use reliable_channel::channel::{Config, Cursor, Delivery, Event, Fate, Join};
use reliable_channel::manager::{
    Clock, EventStream, ManagerError, ManagerEvent, OnSaveFailure, Relayed, TransmitStream,
};
use reliable_channel::state::{Body, Logged};
use reliable_channel::store::Persistence;
use reliable_channel::types::{ChannelId, Dialect};
use reliable_channel::{MessageId, ReliabilityManager, wire};

use crate::crossing;
use crate::repeats::Repeats;

pub type Failure = Box<dyn Error + Send + Sync>;

/// The two networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Nim,
    Js,
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::Nim, Self::Js];

    pub fn other(self) -> Self {
        match self {
            Self::Nim => Self::Js,
            Self::Js => Self::Nim,
        }
    }

    pub fn dialect(self) -> Dialect {
        match self {
            Self::Nim => Dialect::NimSds,
            Self::Js => Dialect::JsWaku,
        }
    }

    fn at(self) -> usize {
        match self {
            Self::Nim => 0,
            Self::Js => 1,
        }
    }
}

/// What was done, and what could not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages relayed on the other side.
    pub carried: u64,
    /// Messages that the other network cannot say: by their id, their sender, or because they are empty.
    pub unmappable: u64,
    /// References to such messages, left out of causal histories.
    pub references_left_out: u64,
    /// Ephemeral messages: the nim network knows none.
    pub ephemeral: u64,
    /// Messages that the other side refuses: too large, or too far in the future.
    pub refused: u64,
    /// Different messages under an id that was known: the first stays and was carried.
    pub conflicts: u64,
    /// Packets that are no message of this channel.
    pub unreadable: u64,
}

pub struct Bridge {
    channel: ChannelId,
    members: [Member; 2],
    clock: Arc<dyn Clock>,
    /// To be broadcast, in order.
    out: VecDeque<(Side, Bytes)>,
    pub counts: Counts,
}

/// The bridge on one side.
struct Member {
    manager: ReliabilityManager,
    events: EventStream,
    transmissions: TransmitStream,
    repeats: Repeats,
    /// Number of the last delivery that was dealt with.
    told: Cursor,
}

impl Bridge {
    /// A bridge with what its stores have of it; the first is nim's, the second js's. What it had not carried when it
    /// ended, it carries now.
    pub async fn open(
        channel: impl Into<ChannelId>,
        stores: [Arc<dyn Persistence>; 2],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        let channel = channel.into();
        let [nim, js] = stores;
        let members = [
            Member::open(Side::Nim, nim, &channel, &clock).await?,
            Member::open(Side::Js, js, &channel, &clock).await?,
        ];
        let mut bridge = Self { channel, members, clock, out: VecDeque::new(), counts: Counts::default() };
        bridge.carry(true).await?;
        Ok(bridge)
    }

    /// Takes a packet in that was heard on this side.
    pub async fn receive(&mut self, side: Side, packet: Bytes) -> Result<(), Failure> {
        let member = &mut self.members[side.at()];
        match member.manager.unwrap_received(packet).await {
            Ok(unwrapped) => member.repeats.named_by(&unwrapped.message),
            Err(ManagerError::Wire(_) | ManagerError::Channel(_) | ManagerError::UnknownChannel(_)) => {
                self.counts.unreadable += 1;
            }
            Err(error) => return Err(error.into()),
        }
        self.carry(false).await
    }

    /// Does what is due: about every second.
    pub async fn sweep(&mut self) -> Result<(), Failure> {
        for side in Side::BOTH {
            let member = &mut self.members[side.at()];
            member.manager.sweep(&self.channel).await?;
            let due = member.repeats.due(self.clock.running());
            self.out.extend(due.into_iter().map(|bytes| (side, bytes)));
        }
        self.carry(false).await
    }

    /// The next packet to broadcast, and where.
    pub fn next_packet(&mut self) -> Option<(Side, Bytes)> {
        self.out.pop_front()
    }

    /// Saves and ends.
    pub async fn close(self) {
        for member in self.members {
            member.manager.shutdown().await;
        }
    }

    /// Takes what the managers have told to where it belongs, until they have nothing more to tell. `again`: after a
    /// restart, when a message may be known on the other side and never have gone out there.
    async fn carry(&mut self, again: bool) -> Result<(), Failure> {
        let mut quiet = false;
        while !quiet {
            quiet = true;
            for side in Side::BOTH {
                while let Some(sent) = self.members[side.at()].transmissions.try_next() {
                    // What was missed here repeats by itself.
                    self.out.extend(sent.ok().map(|sent| (side, sent.bytes)));
                }
                while let Some(told) = self.members[side.at()].events.try_next() {
                    quiet = false;
                    self.hear(side, told.ok(), again).await?;
                }
            }
        }
        Ok(())
    }

    async fn hear(&mut self, side: Side, told: Option<ManagerEvent>, again: bool) -> Result<(), Failure> {
        match told {
            Some(ManagerEvent::Channel { event: Event::MessageDelivered(delivery), .. }) => {
                self.carry_one(side, &delivery, again).await?;
            }
            Some(ManagerEvent::Channel { event: Event::EphemeralReceived { .. }, .. }) => self.counts.ephemeral += 1,
            Some(ManagerEvent::Channel { event: Event::IdConflict { .. }, .. }) => self.counts.conflicts += 1,
            Some(_) => {}
            // Some events were missed: deliveries can be read again.
            None => {
                let member = &self.members[side.at()];
                for delivery in member.manager.deliveries_since(&self.channel, member.told)?.deliveries {
                    self.carry_one(side, &delivery, again).await?;
                }
            }
        }
        Ok(())
    }

    /// Relays one delivery on the other side, then confirms it here.
    async fn carry_one(&mut self, side: Side, delivery: &Delivery, again: bool) -> Result<(), Failure> {
        if delivery.number <= self.members[side.at()].told.number {
            return Ok(());
        }
        let to = side.other();
        let there = self.members[to.at()].manager.log(&self.channel)?;
        let id = &delivery.body.key.id;
        match there.iter().find(|logged| logged.body.key.id == *id) {
            // It may have been saved there and never have gone out. It is said again as it is known there.
            Some(logged) if again => {
                self.say(to, wire::encode(&crossing::message(&self.channel, &logged.body), to.dialect())?, id)
            }
            Some(_) => {}
            None => self.relay(to, &delivery.body, &there, again).await?,
        }
        let member = &mut self.members[side.at()];
        member.told = delivery.cursor();
        member.manager.confirm_deliveries(&self.channel, delivery.number).await?;
        Ok(())
    }

    async fn relay(&mut self, to: Side, body: &Body, there: &[Logged], again: bool) -> Result<(), Failure> {
        let Some(crossed) = crossing::cross(&self.channel, body, to, there) else {
            self.counts.unmappable += 1;
            return Ok(());
        };
        self.counts.references_left_out += crossed.left_out;
        let packet = wire::encode(&crossed.message, to.dialect())?;
        match self.members[to.at()].manager.relay(crossed.message).await {
            Ok(Relayed { bytes: Some(packet), .. }) => {
                self.counts.carried += 1;
                self.say(to, packet, &body.key.id);
            }
            // It waits there for what it answers.
            Ok(relayed) if again && relayed.received.fate == Fate::Duplicate => self.say(to, packet, &body.key.id),
            Ok(_) => {}
            Err(ManagerError::Wire(_) | ManagerError::Channel(_)) => self.counts.refused += 1,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Broadcasts a packet, and repeats it until somebody there names it.
    fn say(&mut self, to: Side, packet: Bytes, id: &MessageId) {
        self.members[to.at()].repeats.add(id.clone(), packet.clone(), self.clock.running());
        self.out.push_back((to, packet));
    }
}

impl Member {
    async fn open(
        side: Side,
        store: Arc<dyn Persistence>,
        channel: &ChannelId,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        let mut config = Config::of(side.dialect());
        config.join = Join::Backfill(1_000);
        config.confirm_deliveries = true;
        let manager = ReliabilityManager::builder(crossing::BRIDGE)
            .config(config)
            .persistence(store)
            .on_save_failure(OnSaveFailure::Fail)
            .clock(clock.clone())
            .seed(side.at() as u64)
            .build()?;
        // Before the channel opens: what was not confirmed is told then.
        let (events, transmissions) = (manager.events(), manager.transmissions());
        manager.ensure_channel(channel.clone()).await?;
        Ok(Self { manager, events, transmissions, repeats: Repeats::default(), told: Cursor::default() })
    }
}
