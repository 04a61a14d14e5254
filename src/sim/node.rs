//! One participant: a channel, its medium, and what it told its application.

use std::sync::Arc;

use bytes::Bytes;

use crate::channel::{Channel, ChannelError, Config, Context, Event, Input, Outcome, Step};
use crate::types::{ChannelId, Message, MessageId};
use crate::wire;

use super::Medium;

/// A participant of a [`World`](super::World).
#[derive(Debug)]
pub struct Node {
    channel: Channel,
    /// What was saved.
    pub medium: Medium,
    /// What was told and not taken yet.
    pub events: Vec<Event>,
    /// All messages delivered, in the order told.
    pub delivered: Vec<MessageId>,
    /// Received bytes that were no message.
    pub undecodable: u64,
    pub(super) cut: bool,
}

impl Node {
    pub(super) fn new(id: ChannelId, name: String, config: Arc<Config>, context: &Context) -> Self {
        let channel = Channel::new(id, name, config, context).expect("a world's configuration is valid");
        let (medium, events, delivered) = (Medium::default(), Vec::new(), Vec::new());
        Self { channel, medium, events, delivered, undecodable: 0, cut: false }
    }

    /// The channel.
    #[must_use]
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Ids of the log, in order.
    pub fn log_ids(&self) -> impl Iterator<Item = &MessageId> {
        self.channel.log().map(|logged| &logged.body.key.id)
    }

    /// When it wants to be woken, in milliseconds of virtual time.
    pub(super) fn wakes_at(&self) -> Option<u64> {
        self.channel.poll_timeout().map(crate::types::RunningTime::as_millis)
    }

    pub(super) fn decode(&mut self, bytes: &Bytes) -> Option<Message> {
        match wire::decode(bytes, &self.channel.config().limits) {
            Ok((message, _)) => Some(message),
            Err(_) => {
                self.undecodable += 1;
                None
            }
        }
    }

    /// Carries one input out: save, then transmit, then tell.
    pub(super) fn handle(&mut self, context: &Context, input: Input) -> (Vec<Bytes>, Result<Outcome, ChannelError>) {
        let timeout = input == Input::Timeout;
        let step = self.channel.handle(context, input);
        if timeout {
            let next = self.channel.poll_timeout();
            assert!(next.is_none_or(|next| next > context.running), "a timeout must do all that is due: {next:?}");
        }
        self.carry_out(step)
    }

    pub(super) fn restart(&mut self, context: &Context) {
        let (id, name) = (self.channel.id().clone(), self.channel.participant().clone());
        let restored = Channel::restore(id, name, self.channel.config().clone(), self.medium.load(), context);
        let (channel, step) = restored.expect("a world's configuration is valid");
        self.channel = channel;
        let (packets, _) = self.carry_out(step);
        assert!(packets.is_empty(), "restoring transmits nothing");
    }

    fn carry_out(&mut self, step: Step) -> (Vec<Bytes>, Result<Outcome, ChannelError>) {
        self.medium.apply(&step.save);
        let dialect = self.channel.config().dialect;
        let encode = |message: &Message| wire::encode(message, dialect).expect("a channel sends what can be encoded");
        let packets = step.transmit.iter().map(|transmit| encode(&transmit.message)).collect();
        for event in &step.events {
            if let Event::MessageDelivered(delivery) = event {
                self.delivered.push(delivery.body.key.id.clone());
            }
        }
        self.events.extend(step.events);
        (packets, step.outcome)
    }
}
