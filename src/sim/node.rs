//! One participant: a channel, its medium, its clocks, and what it told its application.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::channel::{Channel, Config, Cursor, Event, Input, Outcome};
use crate::state::{ChannelData, ChannelMeta, LogKey};
use crate::types::{Message, MessageId};

use super::driven::{Carried, Driven};
use super::{Bug, Clock, Medium};

/// When a participant dies in the middle of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Before anything is saved.
    BeforeSave,
    /// Between rows and meta, where a store cannot make them one.
    BetweenWrites,
    /// After the save, before anything is transmitted or told.
    AfterSave,
}

/// A participant of a [`World`](super::World).
#[derive(Debug)]
pub struct Node {
    driven: Driven,
    /// What was saved.
    pub medium: Medium,
    /// What was told and not taken yet.
    pub events: Vec<Event>,
    /// All messages delivered, in the order told.
    pub delivered: Vec<MessageId>,
    /// Received bytes that were no message.
    pub undecodable: u64,
    pub(super) clock: Clock,
    /// Hears nothing and reaches nobody.
    pub(super) cut: bool,
    /// Left for good.
    pub(super) left: bool,
    /// Crashed and not restarted yet.
    pub(super) down: Option<Crash>,
    /// Dies with the next step that saves something.
    pub(super) crash: Option<Crash>,
    /// Extra delay of what it receives, in milliseconds.
    pub(super) slow_ms: u64,
    /// State of its link under bursts of loss.
    pub(super) bad: bool,
    /// When the world will look at its timers.
    pub(super) armed: Option<u64>,
    pub(super) keep_events: bool,
    /// The delivery with the highest number told.
    told: Cursor,
    bug: Option<Bug>,
    asked: BTreeSet<MessageId>,
    early_meta: Option<Bytes>,
}

/// What a restart led to.
pub(super) struct Restarted {
    /// What was saved before.
    pub(super) saved: ChannelData,
    /// Whether the memory at the moment of the crash was what was saved.
    pub(super) exact: bool,
    /// The crash came between two writes.
    pub(super) torn: bool,
    pub(super) events: Vec<Event>,
}

impl Node {
    pub(super) fn new(
        mut medium: Medium,
        name: String,
        config: Arc<Config>,
        clock: Clock,
        now_ms: u64,
        seed: u64,
    ) -> Self {
        let (driven, carried) = Driven::open(&mut medium, name.into(), config, &clock.moment(now_ms), seed);
        assert!(carried.transmit.is_empty() && carried.events.is_empty(), "a new channel has nothing to tell");
        Self {
            driven,
            medium,
            events: Vec::new(),
            delivered: Vec::new(),
            undecodable: 0,
            clock,
            cut: false,
            left: false,
            down: None,
            crash: None,
            slow_ms: 0,
            bad: false,
            armed: None,
            keep_events: true,
            told: Cursor::default(),
            bug: None,
            asked: BTreeSet::new(),
            early_meta: None,
        }
    }

    /// A participant that has left, with a copy of what this one has saved, and whose application has been told as much.
    pub(super) fn copy(&self, now_ms: u64, seed: u64) -> Self {
        let mut medium = self.medium.clone();
        let (name, config) = (self.channel().participant().clone(), self.channel().config().clone());
        let (driven, _) = Driven::open(&mut medium, name, config, &self.clock.moment(now_ms), seed);
        Self {
            driven,
            medium: self.medium.clone(),
            events: Vec::new(),
            delivered: self.delivered.clone(),
            undecodable: 0,
            clock: self.clock,
            cut: false,
            left: true,
            down: Some(Crash::BeforeSave),
            crash: None,
            slow_ms: 0,
            bad: false,
            armed: None,
            keep_events: self.keep_events,
            told: self.told,
            bug: self.bug,
            asked: BTreeSet::new(),
            early_meta: self.early_meta.clone(),
        }
    }

    pub(super) fn set_bug(&mut self, bug: Option<Bug>) {
        self.bug = bug;
    }

    /// The channel.
    #[must_use]
    pub fn channel(&self) -> &Channel {
        self.driven.channel()
    }

    /// Whether it runs: it did not leave, and did not crash, or was restarted.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.down.is_none() && !self.left
    }

    /// Whether it left for good.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.left
    }

    /// Its log from the newest message down to this one, which is not among them.
    fn log_above(&self, bound: Option<&LogKey>) -> impl Iterator<Item = &LogKey> {
        self.channel().log().rev().map(|logged| &logged.body.key).take_while(move |key| Some(*key) > bound)
    }

    /// Below or at this its log need not have what others have: what was evicted, and a newcomer's past.
    fn bound(&self) -> Option<LogKey> {
        let ChannelMeta { horizon, floor, .. } = self.channel().meta();
        // No id is higher than 256 bytes of the highest value.
        let past = horizon.map(|lamport| LogKey { lamport, id: MessageId::from(&[0xFF; 256][..]) });
        past.max(floor.clone())
    }

    /// Whether two logs are the same where they overlap.
    pub(super) fn has_log_of(&self, other: &Self) -> bool {
        let bound = self.bound().max(other.bound());
        self.log_above(bound.as_ref()).eq(other.log_above(bound.as_ref()))
    }

    /// Ids of the log, in order.
    pub fn log_ids(&self) -> impl Iterator<Item = &MessageId> {
        let mut logged: Vec<_> = self.channel().log().collect();
        if self.bug == Some(Bug::ArrivalOrder) {
            logged.sort_by_key(|logged| logged.seen);
        }
        logged.into_iter().map(|logged| &logged.body.key.id)
    }

    /// When it wants to be woken, in milliseconds of virtual time.
    pub(super) fn wakes_at(&self) -> Option<u64> {
        let running = self.driven.poll_timeout().filter(|_| self.is_up())?;
        Some(self.clock.virtual_ms(running))
    }

    /// The number up to which the application could confirm deliveries now.
    pub(super) fn unconfirmed(&self) -> Option<u64> {
        (self.channel().config().confirm_deliveries && self.channel().meta().told < self.told.number)
            .then_some(self.told.number)
    }

    /// Carries one input out: save, then transmit, then tell.
    pub(super) fn handle(&mut self, now_ms: u64, mut input: Input) -> Carried {
        let nothing = || Carried { transmit: Vec::new(), events: Vec::new(), outcome: Ok(Outcome::Done) };
        let moment = self.clock.moment(now_ms);
        let timeout = input == Input::Timeout;
        if let Some(bug) = self.bug {
            if bug.ignores(&input) {
                return nothing();
            }
            if let Input::Receive(message) = &mut input
                && !bug.received(self.driven.channel(), message)
            {
                return nothing();
            }
            if let Input::Send { content, id: id @ None } = &mut input {
                *id = bug.id(content);
            }
        }
        let Some(carried) = self.driven.handle(&mut self.medium, &moment, input, self.crash) else {
            (self.down, self.crash) = (self.crash, None);
            return nothing();
        };
        if timeout {
            let next = self.channel().poll_timeout();
            assert!(next.is_none_or(|next| next > moment.running), "a timeout must do all that is due: {next:?}");
        }
        self.tell(carried)
    }

    pub(super) fn restart(&mut self, now_ms: u64, seed: u64) -> Restarted {
        self.clock.began_ms = now_ms;
        let saved = self.medium.load();
        let crash = self.down.take();
        let whole = !matches!(crash, Some(Crash::BeforeSave | Crash::BetweenWrites));
        let exact = !whole || saved == self.channel().data();
        if let Some(bug) = self.bug {
            bug.restarts(&mut self.medium, self.early_meta.clone());
        }
        let (name, config) = (self.channel().participant().clone(), self.channel().config().clone());
        let moment = self.clock.moment(now_ms);
        let (driven, mut carried) = Driven::open(&mut self.medium, name, config, &moment, seed);
        self.driven = driven;
        self.asked.clear();
        // The application reads again what it was not told: docs/protocol.md section 5.
        let mut from = self.told;
        if self.bug == Some(Bug::DeliveredAgain) {
            from.number = from.number.saturating_sub(1);
        }
        if !self.channel().config().confirm_deliveries {
            let channel = self.channel();
            let unread =
                channel.deliveries_since(from).or_else(|renumbered| channel.deliveries_since(renumbered.valid_to));
            let told: BTreeSet<u64> = carried.events.iter().filter_map(number).collect();
            let unread = unread.unwrap_or_default().deliveries.into_iter();
            let unread = unread.filter(|delivery| !told.contains(&delivery.number));
            carried.events.splice(0..0, unread.map(Event::MessageDelivered));
        }
        let carried = self.tell(carried);
        assert!(carried.transmit.is_empty(), "restoring transmits nothing");
        Restarted { saved, exact, torn: crash == Some(Crash::BetweenWrites), events: carried.events }
    }

    /// Takes note of what was carried out, as the application sees it.
    fn tell(&mut self, mut carried: Carried) -> Carried {
        if self.early_meta.is_none() && self.channel().log().nth(2).is_some() {
            self.early_meta = self.medium.meta_bytes();
        }
        if let Some(bug) = self.bug {
            let channel = self.driven.channel();
            carried.transmit.retain_mut(|transmit| bug.sends(channel, &mut self.asked, transmit));
            carried.events.iter_mut().for_each(|event| bug.told(channel, event));
        }
        for event in &carried.events {
            if let Event::MessageDelivered(delivery) = event {
                if delivery.number > self.told.number {
                    self.told = delivery.cursor();
                }
                self.delivered.push(delivery.body.key.id.clone());
            }
        }
        if self.keep_events {
            self.events.extend(carried.events.iter().cloned());
        }
        carried
    }

    /// Own messages of the log, as they were sent.
    pub(super) fn own_messages(&self) -> Vec<Message> {
        let own = self.channel().log().filter(|logged| logged.body.sender == *self.channel().participant());
        own.map(|logged| Message {
            id: logged.body.key.id.clone(),
            sender: logged.body.sender.clone(),
            channel: self.channel().id().clone(),
            lamport: Some(logged.body.key.lamport),
            causal_history: logged.body.causal_history.clone(),
            filter: crate::types::FilterField::Absent,
            repair_request: Vec::new(),
            content: logged.body.content.clone(),
            catch_up: crate::types::CatchUpField::Absent,
            author_signature: logged.body.signature.clone(),
            sender_signature: None,
        })
        .collect()
    }
}

/// The number of a delivery.
fn number(event: &Event) -> Option<u64> {
    match event {
        Event::MessageDelivered(delivery) => Some(delivery.number),
        _ => None,
    }
}
