//! [`Channel`]: the state machine of one channel, without clock, randomness, I/O or threads.
//!
//! What: everything PROTOCOL sections 3 to 12 says of one conversation. Why sans-IO: the caller owns time, and
//! every behaviour can be tested. How it moves: [`Channel::handle`] takes one [`Input`] and returns one
//! [`Step`], to be carried out in order: save, then transmit, then tell the events. [`Channel::poll_timeout`]
//! says when to come back with [`Input::Timeout`].

pub mod config;
pub mod event;
pub mod view;

use std::sync::Arc;

use bytes::Bytes;

pub use config::{Config, ConfigError, FilterEvidence, Join, response_groups};
pub use event::{Delivery, Event, Limit, Position};
pub use view::{Deliveries, DeliveryState, IncomingView, OutgoingView, RequestView, ResponseView, Stats};

use crate::state::{ChannelData, ChannelMeta, Commit, Logged};
use crate::types::{ChannelId, Lamport, Message, MessageId, ParticipantId, RunningTime, WallTime};

/// What the caller brings to every input: the time and fresh entropy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Wall-clock time.
    pub wall: WallTime,
    /// Monotonic time; one that lies before an earlier input's counts as that input's.
    pub running: RunningTime,
    /// Fresh random bits: for filter seeds and for spreading timers.
    pub entropy: u64,
}

/// All that can happen to a channel. Nothing else changes it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Input {
    /// Send content to the group (PROTOCOL section 4).
    Send {
        /// 1 byte to [`Limits::max_content_bytes`](crate::types::Limits::max_content_bytes).
        content: Bytes,
        /// The message's id; without one, a hash as LIP-173 defines it.
        id: Option<MessageId>,
    },
    /// Send content that is not kept (LIP-109, "Ephemeral Messages").
    SendEphemeral {
        /// As in [`Input::Send`].
        content: Bytes,
    },
    /// Send a sync message now, whether or not one is due.
    SendSync,
    /// Take in another participant's message and pass it on unchanged (for bridges).
    Relay(Message),
    /// Take in a message (PROTOCOL section 5).
    Receive(Message),
    /// These dependencies need not be waited for.
    DependenciesMet(Vec<MessageId>),
    /// Keep what helps others to fetch a message from elsewhere.
    SetHint {
        /// A message of this channel.
        id: MessageId,
        /// Up to [`Limits::max_hint_bytes`](crate::types::Limits::max_hint_bytes).
        hint: Bytes,
    },
    /// Give up log and parked bytes beyond these, lowest log key and costliest sender first.
    Shrink {
        /// Bytes of log to keep at most.
        log_bytes: usize,
        /// Bytes of parked messages to keep at most.
        parked_bytes: usize,
    },
    /// Do what is due.
    Timeout,
}

/// What an input led to: data, to be carried out in this order: `save`, `transmit`, `events`.
#[derive(Debug)]
#[must_use = "a step must be carried out: save, then transmit, then tell the events"]
pub struct Step {
    /// What to save, as one commit; often empty.
    pub save: Commit,
    /// What to transmit, in order.
    pub transmit: Vec<Transmit>,
    /// What to tell the application, in order.
    pub events: Vec<Event>,
    /// The answer to the input. An error means that nothing else changed.
    pub outcome: Result<Outcome, ChannelError>,
}

/// A message that must go out.
#[derive(Clone, Debug, PartialEq)]
pub struct Transmit {
    /// Why.
    pub kind: TransmitKind,
    /// What.
    pub message: Message,
}

/// Why a message goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransmitKind {
    /// The answer to [`Input::Send`].
    Content,
    /// The answer to [`Input::SendEphemeral`].
    Ephemeral,
    /// The answer to [`Input::Relay`].
    Relay,
    /// An own message nobody acknowledged.
    Resend,
    /// A sync message.
    Sync,
    /// A message somebody asked for.
    Repair,
}

/// The answer to an input that was not refused.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing to say.
    Done,
    /// The message with this id is in [`Step::transmit`].
    Sent(MessageId),
    /// A received message was taken in.
    Received(Received),
}

/// What became of a received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The message.
    pub id: MessageId,
    /// Its fate.
    pub fate: Fate,
    /// Messages delivered by this input, in order, itself included.
    pub released: Vec<MessageId>,
}

/// The fate of a received message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// Delivered; the event tells it.
    Delivered,
    /// Kept until its dependencies are met.
    Parked {
        /// Dependencies never received; what is only parked itself is not among them.
        missing: Vec<MessageId>,
    },
    /// Known already.
    Duplicate,
    /// An own message that came back.
    Echo,
    /// A sync message: taken in, nothing to show.
    Sync,
    /// Content that is not kept; the event tells it.
    Ephemeral,
    /// Below everything still remembered: not delivered.
    TooOld,
    /// Another message is known under this id: not delivered.
    Conflict,
    /// Gave way at once to smaller users of a full incoming buffer; stays in repair.
    GaveWay,
}

/// Why an input was refused. Nothing changed but a counter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The caller's fault: content must not be empty.
    #[error("content is empty")]
    EmptyContent,
    /// The caller's fault: content or message is larger than allowed.
    #[error("{what} has {len} bytes, {max} are allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The caller's fault: an id must have 1 to `max` bytes of UTF-8.
    #[error("an id must have 1 to {max} bytes of UTF-8")]
    InvalidId {
        /// The limit in bytes.
        max: usize,
    },
    /// The caller's fault: a message with this id exists.
    #[error("message {0} exists already")]
    IdKnown(MessageId),
    /// The caller's fault: no message with this id is known.
    #[error("message {0} is not known")]
    UnknownMessage(MessageId),
    /// Too many own messages are neither acknowledged nor given up.
    #[error("the outgoing buffer is full")]
    OutgoingFull,
    /// The peer's fault: the message belongs to another channel.
    #[error("the message belongs to another channel")]
    WrongChannel,
    /// The peer's fault: neither content nor Lamport time.
    #[error("the message has neither content nor a Lamport timestamp")]
    NoKind,
    /// The peer's fault: the message breaks a limit.
    #[error("a message of {sender} breaks {limit}: {found}, {max} allowed")]
    PeerLimit {
        /// Whose message.
        sender: ParticipantId,
        /// Which limit.
        limit: &'static str,
        /// What was found.
        found: usize,
        /// What is allowed.
        max: usize,
    },
    /// The peer's fault: adopting this timestamp would poison every clock.
    #[error("a message of {sender} claims Lamport time {lamport}, too far in the future")]
    ClockDrift {
        /// Whose message.
        sender: ParticipantId,
        /// What it claims.
        lamport: Lamport,
    },
}

/// One conversation, as one participant sees it.
#[derive(Debug)]
pub struct Channel {
    id: ChannelId,
}

/// Why stored state makes no channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The options are refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The channel id is empty or too long.
    #[error("a channel id must have 1 to {max} bytes of UTF-8")]
    ChannelId {
        /// Bytes allowed.
        max: usize,
    },
}

#[allow(unused_variables, clippy::todo, missing_docs)]
impl Channel {
    /// A channel with the state that was saved of it; empty data makes a new one. The step saves what was mended.
    pub fn restore(
        id: ChannelId,
        participant: ParticipantId,
        config: Arc<Config>,
        data: ChannelData,
        context: &Context,
    ) -> Result<(Self, Step), RestoreError> {
        todo!()
    }

    /// Takes one input in.
    pub fn handle(&mut self, context: &Context, input: Input) -> Step {
        todo!()
    }

    /// When to come back with [`Input::Timeout`]; later than now after a timeout.
    pub fn poll_timeout(&self) -> Option<RunningTime> {
        todo!()
    }

    pub fn id(&self) -> &ChannelId {
        &self.id
    }

    pub fn participant(&self) -> &ParticipantId {
        todo!()
    }

    pub fn config(&self) -> &Arc<Config> {
        todo!()
    }

    pub fn meta(&self) -> &ChannelMeta {
        todo!()
    }

    /// The log in (lamport, id) order.
    pub fn log(&self) -> impl DoubleEndedIterator<Item = &Logged> {
        std::iter::empty()
    }

    /// Deliveries with numbers above `number`, in order.
    pub fn deliveries_since(&self, number: u64) -> Deliveries {
        todo!()
    }

    pub fn delivery_state(&self, id: &MessageId) -> Option<DeliveryState> {
        todo!()
    }

    pub fn outgoing(&self) -> Vec<OutgoingView> {
        todo!()
    }

    pub fn incoming(&self) -> Vec<IncomingView> {
        todo!()
    }

    pub fn requests(&self) -> Vec<RequestView> {
        todo!()
    }

    pub fn responses(&self) -> Vec<ResponseView> {
        todo!()
    }

    pub fn stats(&self) -> Stats {
        todo!()
    }

    /// Everything that would be saved of the channel, as `load_channel` gives it back.
    pub fn data(&self) -> ChannelData {
        todo!()
    }
}
