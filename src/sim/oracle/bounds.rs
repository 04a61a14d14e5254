//! docs/protocol.md sections 5 and 6: the floor is the highest key that ever left the log; the horizon lies no higher than
//! the first message that a newcomer was shown or sent, and never rises; a restart moves neither. What is delivered stays in
//! the log, as it is, until the floor passes it.
//!
//! Other invariants exempt what lies below these two, so they are held against what a log was seen to gain and to lose.

use std::collections::BTreeSet;

use crate::channel::{Channel, Event, Fate, Join, Position};
use crate::state::{ChannelData, LogKey, Row};
use crate::types::{Lamport, Message, MessageKind};

use super::past::Begun;
use super::{Invariant, Order, Scene, Seen};

#[derive(Debug, Default)]
pub(super) struct Bounds {
    logs: Vec<Log>,
    /// The message under way: its place, and whether it was taken in.
    handed: Option<(LogKey, bool)>,
}

/// A participant's log as seen from outside.
#[derive(Clone, Debug, Default)]
struct Log {
    keys: BTreeSet<LogKey>,
    /// The highest key that ever left.
    left: Option<LogKey>,
    floor: Option<LogKey>,
    horizon: Option<Lamport>,
    /// Some content was handed in.
    handed: bool,
    /// A save was cut short once.
    torn: bool,
}

impl Invariant for Bounds {
    fn name(&self) -> &'static str {
        "floor and horizon"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        self.logs.resize_with(scene.nodes.len(), Log::default);
        match seen {
            Seen::Sent { node, message, .. } => drop(self.logs[*node].keys.insert(key_of(message))),
            Seen::Told { node, event: Event::MessageDelivered(delivery), .. }
                if delivery.position != Position::BelowFloor =>
            {
                self.logs[*node].keys.insert(delivery.body.key.clone());
            }
            Seen::Received { transmission, fate, .. } => {
                let content = transmission.message.as_ref().filter(|it| it.kind() == Some(MessageKind::Content));
                let taken = matches!(fate, Some(Fate::Delivered | Fate::Parked { .. }));
                self.handed = content.map(|message| (key_of(message), taken));
            }
            Seen::Ordered { node, id, order: Order::Withdrawn } => self.logs[*node].keys.retain(|key| key.id != **id),
            Seen::Copied { of, copy } => self.logs[*copy] = self.logs[*of].clone(),
            Seen::Stepped { node } => {
                let (log, channel) = (&mut self.logs[*node], scene.nodes[*node].channel());
                let handed = self.handed.take();
                let begun = scene.registry.begun(*node);
                let kept = log.follow(channel).and_then(|()| log.check_horizon(channel, handed, &begun));
                return kept.map_err(|what| format!("p{node}: {what}"));
            }
            Seen::Restarted { node, saved, torn, .. } => {
                let (log, channel) = (&mut self.logs[*node], scene.nodes[*node].channel());
                return log.restart(channel, saved, *torn).map_err(|what| format!("p{node}: a restart: {what}"));
            }
            _ => {}
        }
        Ok(())
    }
}

impl Log {
    /// What left the log since it was looked at last, and what that says of the floor.
    fn follow(&mut self, channel: &Channel) -> Result<(), String> {
        let floor = &channel.meta().floor;
        if *floor == self.floor && self.keys.len() == channel.stats().log_len {
            return Ok(());
        }
        let now: BTreeSet<LogKey> = channel.log().map(|logged| logged.body.key.clone()).collect();
        let gone: Vec<&LogKey> = self.keys.difference(&now).collect();
        let torn_out = gone.iter().find(|key| Some(**key) > floor.as_ref()).map(|key| key.id.clone());
        let stranger = now.difference(&self.keys).next().map(|key| key.id.clone());
        self.left = self.left.take().max(gone.last().map(|key| (*key).clone()));
        let fell = *floor < self.floor;
        self.keys = now;
        self.floor.clone_from(floor);
        match (torn_out, stranger) {
            (Some(id), _) => Err(format!("{id} left the log, which lies above the floor")),
            (_, Some(id)) => Err(format!("{id} stands in the log, though it was not delivered")),
            _ if fell => Err(format!("the floor fell to {floor:?}")),
            _ if *floor > self.left => Err(format!("the floor is {floor:?}, but {:?} left the log", self.left)),
            _ => Ok(()),
        }
    }

    fn check_horizon(
        &mut self,
        channel: &Channel,
        handed: Option<(LogKey, bool)>,
        begun: &Begun,
    ) -> Result<(), String> {
        let (before, now) = (self.horizon, channel.meta().horizon);
        self.horizon = now;
        // It may have been put aside for a while.
        self.handed |= handed.is_some();
        let newcomer = !matches!(channel.config().join, Join::Backfill(_));
        let (first, shown) = (begun.first(), begun.heard.is_some());
        match (before, now) {
            (Some(_), None) => Err("the horizon is gone".to_owned()),
            (Some(before), Some(now)) if now > before => Err(format!("the horizon rises from {before} to {now}")),
            (None, Some(horizon)) if first.is_none() && !self.handed && handed.is_none() => {
                Err(format!("the horizon is {horizon}, where nothing was received or sent"))
            }
            (_, Some(horizon)) if newcomer && first.is_some_and(|first| horizon > first) => {
                Err(format!("the horizon is {horizon}, above what was sent or shown first: {first:?}"))
            }
            // What is below the floor is the past in any case.
            (None, None) if newcomer && shown && channel.meta().floor.is_none() && !self.torn => {
                Err("a newcomer was shown a message and has no horizon".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// What was saved is what counts. Rows without their meta tell of a floor and a horizon that it does not hold yet.
    fn restart(&mut self, channel: &Channel, saved: &ChannelData, torn: bool) -> Result<(), String> {
        self.torn |= torn;
        let (mut log, mut stubs, mut times) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut parked_keys = BTreeSet::new();
        for row in &saved.rows {
            match row {
                Row::Message(logged) if !logged.below_floor => drop(log.insert(logged.body.key.clone())),
                Row::Stub(stub) => drop(stubs.insert(stub.key.clone())),
                Row::Parked(parked) => {
                    times.insert(parked.body.key.lamport);
                    parked_keys.insert(&parked.body.key);
                }
                _ => {}
            }
        }
        times.extend(log.iter().chain(&stubs).map(|key| key.lamport));
        // It lies at a message's time, or just below.
        let is_of_a_message = |at: Lamport| times.contains(&at) || times.contains(&Lamport(at.0.saturating_add(1)));
        let (mut floor, mut horizon) = (None, None);
        if let Some(meta) = &saved.meta {
            (floor, horizon) = (meta.floor.clone(), meta.horizon);
        }
        self.left = self.left.take().max(stubs.last().cloned());
        // What came in with the step that was cut short was handed, too, and may have lowered it.
        let before = match (self.horizon, horizon) {
            (Some(seen), Some(saved)) if saved < seen && is_of_a_message(saved) => Some(saved),
            (seen, saved) => seen.or(saved),
        };
        let now = channel.meta().horizon;
        let moved = match (before, now) {
            _ if before == now => false,
            // A clock that is set back in the opening takes it along. Nothing else leaves the clock below it.
            (Some(before), Some(now)) if now < before && channel.meta().lamport < before => false,
            (_, Some(now)) => !torn || Some(now) < before || !is_of_a_message(now),
            (_, None) => true,
        };
        let invented = self.horizon.is_none() && horizon.is_some_and(|horizon| !is_of_a_message(horizon));
        self.keys = log;
        self.floor = if torn { self.floor.take().max(floor) } else { floor };
        self.horizon = now;
        if moved || invented {
            return Err(format!("the horizon moves from {before:?} to {now:?}"));
        }
        // What was saved without its horizon may go ahead at once, and what waited for what a lower limit does not ask for.
        let logged = channel.log().map(|logged| &logged.body.key);
        self.keys.extend(logged.filter(|key| torn || parked_keys.contains(key)).cloned());
        self.follow(channel)
    }
}

fn key_of(message: &Message) -> LogKey {
    LogKey { lamport: message.lamport.unwrap_or(Lamport(0)), id: message.id.clone() }
}
