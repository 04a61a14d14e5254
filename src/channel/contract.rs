//! What goes into a channel and what comes out: inputs, steps, answers, refusals.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::{ArchiveRead, Event, ForArchive, Forgery};
#[cfg(doc)]
use super::{Config, Stats};
use crate::reconcile::Item;
use crate::state::{Body, Commit};
use crate::types::{Lamport, Message, MessageId, ParticipantId, RunningTime, WallTime};

/// What the caller brings to every input: the time and fresh entropy.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Context {
    /// Wall-clock time.
    pub wall: WallTime,
    /// Monotonic time; one that lies before an earlier input's counts as that input's.
    pub running: RunningTime,
    /// Fresh random bits: for filter seeds and for spreading timers.
    pub entropy: u64,
}

impl Context {
    /// The time, and fresh random bits.
    #[must_use]
    pub const fn new(wall: WallTime, running: RunningTime, entropy: u64) -> Self {
        Self { wall, running, entropy }
    }
}

/// All that can happen to a channel. Nothing else changes it.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Input {
    /// Send content to the group (docs/protocol.md section 4).
    Send {
        /// 1 byte to [`Limits::max_content_bytes`](crate::types::Limits::max_content_bytes).
        content: Bytes,
        /// The message's id; without one, a hash as LIP-173 defines it.
        id: Option<MessageId>,
    },
    /// Send several contents as one: all of them in one step, or none (docs/protocol.md section 4). Each names the one before.
    SendMany(Vec<Bytes>),
    /// Send content that is not kept (LIP-109, "Ephemeral Messages").
    SendEphemeral {
        /// As in [`Input::Send`].
        content: Bytes,
    },
    /// Send a sync message now, whether or not one is due. Nothing happens where there is nothing to say, or in the
    /// nim-sds dialect, which has none.
    SendSync,
    /// The network is back, after sleep too: send again what is pending, say what is here and ask for what is missing, now
    /// and not when their turns come (docs/protocol.md section 9).
    Online,
    /// Compare with another participant now and fetch what is missing, without waiting for a sign that something is; how it
    /// ends is told with [`Event::SyncStatus`]. Nothing happens where [`Config::catch_up`] is off, where nobody was heard
    /// who could be asked, or while it is going on (docs/protocol.md section 13.4).
    CatchUp,
    /// From now on these are the members of the channel, in the application's count of such sets (docs/protocol.md section 15):
    /// a sender id each, `user/device` where users have several. Saved. A later set has a higher epoch; an empty one ends it.
    SetMembers {
        /// Not below that of the set before.
        epoch: u64,
        /// Up to 1,024, with or without this participant.
        members: BTreeSet<ParticipantId>,
    },
    /// Take in another participant's message and pass it on unchanged (for bridges); in a dialect without sync messages
    /// with our own repair requests, which have no other way out.
    Relay(Message),
    /// Take in a message (docs/protocol.md section 5).
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
    /// Send an own message again as if it had been sent now, one that was given up too. It goes out at the next
    /// [`Input::Timeout`], which is due at once (docs/protocol.md section 8).
    Resend(MessageId),
    /// Take an own message back that nobody has acknowledged: it is erased here, never sent again, and named nowhere
    /// (docs/protocol.md section 8).
    Withdraw(MessageId),
    /// Erase the content of a message, an own one or not: from log, store and archive. It keeps its place in the order, is
    /// not sent to anybody any more, and not taken in again. Of a message that is not here, its id is remembered
    /// (docs/protocol.md section 16).
    Erase(MessageId),
    /// Deliveries up to this number have reached the application: see [`Config::confirm_deliveries`].
    DeliveriesTold(u64),
    /// Give up log and parked bytes beyond these: the oldest unconfirmed deliveries and stubs, then the lowest log key; the
    /// costliest sender's parked messages.
    Shrink {
        /// Bytes of log, and of what is remembered besides it ([`Stats::remembered_bytes`]), to keep at most.
        log_bytes: usize,
        /// Bytes of parked messages to keep at most.
        parked_bytes: usize,
    },
    /// An archive has these messages: what it had already, page after page, the last one with `whole`; later, what it took.
    /// The first one, with or without messages, says that there is an archive. No more than 4,096 at once. Only with
    /// [`Config::catch_up`].
    Archived {
        /// What stands for them.
        items: Vec<Item>,
        /// Now all that it had was named. What it lacks of the log is given to it.
        whole: bool,
    },
    /// What the archive answered to [`ForArchive::Read`].
    FromArchive {
        /// What was to be read.
        read: ArchiveRead,
        /// What is there, in any order. What does not hash to what was asked for counts as lost.
        bodies: Vec<Arc<Body>>,
        /// So many of the messages were looked for, the first ones. What is not there of them is lost.
        looked: usize,
        /// The others were not looked for because the archive failed, and not because there was no room for more.
        failed: bool,
    },
    /// Do what is due.
    Timeout,
    /// Save now what otherwise waits for the next change: before the channel is closed.
    Checkpoint,
}

/// What an input led to: data, to be carried out in this order: `save`, `transmit`, `events`.
///
/// It is exhaustive, and stays so: who drives a channel must see at compile time that there is something new to carry out.
///
/// See the [example](crate::channel#example).
#[derive(Debug)]
#[must_use = "a step must be carried out: save, then transmit, then tell the events"]
pub struct Step {
    /// What to save, as one commit; often empty.
    pub save: Commit,
    /// What to transmit, in order.
    pub transmit: Vec<Transmit>,
    /// What to tell the application, in order.
    pub events: Vec<Event>,
    /// What an archive has to do, after the rest; empty where none was ever named with [`Input::Archived`].
    pub archive: Vec<ForArchive>,
    /// The answer to the input. An error means that nothing else changed.
    pub outcome: Result<Outcome, ChannelError>,
}

/// A message that must go out.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Transmit {
    /// Why.
    pub kind: TransmitKind,
    /// What.
    pub message: Message,
    /// Whom it is for; nobody else needs it. A transport that cannot reach one participant alone broadcasts it.
    pub to: Option<ParticipantId>,
}

/// Why a message goes out.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransmitKind {
    /// The answer to [`Input::Send`], or to [`Input::SendMany`].
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
    /// A step of catch-up, or a message that somebody was found to lack.
    CatchUp,
}

/// The answer to an input that was not refused.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing to say.
    Done,
    /// The message with this id is in [`Step::transmit`].
    Sent(MessageId),
    /// The messages with these ids are in [`Step::transmit`], in this order.
    SentMany(Vec<MessageId>),
    /// A received message was taken in.
    Received(Received),
}

/// What became of a received message.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// The message.
    pub id: MessageId,
    /// Its fate.
    pub fate: Fate,
    /// Messages delivered by this input, in order, itself included.
    pub released: Vec<MessageId>,
}

/// The fate of a received message.
///
/// See the [example](crate::channel#example).
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
    /// Of what was erased here, or is older than [`Config::max_body_age`]: it has its place in the log, without its content,
    /// and is not told.
    Erased,
    /// Known already.
    Duplicate,
    /// An own message that came back.
    Echo,
    /// A sync message: taken in, nothing to show.
    Sync,
    /// Content that is not kept; the event tells it.
    Ephemeral,
    /// A step of catch-up: nothing to show.
    Frame,
    /// Below everything still remembered: not delivered.
    TooOld,
    /// Another message is known under this id: not delivered.
    Conflict,
    /// Gave way at once to smaller users of a full incoming buffer; stays in repair.
    GaveWay,
}

/// Why an input was refused. Nothing changed but a counter.
///
/// See the [example](crate::channel#example).
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
    /// The caller's fault: an id must have 1 to `max` bytes of UTF-8; in the nim-sds dialect, of anything.
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
    /// The caller's fault: the message is another participant's.
    #[error("message {0} is not an own one")]
    NotOwn(MessageId),
    /// The caller's fault: another participant has the message already, or may count us among the members who have it
    /// (docs/protocol.md section 15.3).
    #[error("message {0} is acknowledged already")]
    AcknowledgedAlready(MessageId),
    /// The caller's fault: members are set already, of this epoch or a later one.
    #[error("members of epoch {epoch} come after those of epoch {current}")]
    EpochPassed {
        /// As given.
        epoch: u64,
        /// That of the present members.
        current: u64,
    },
    /// The caller's fault: the channel's dialect has no such messages (nim-sds: ephemeral ones).
    #[error("the channel's dialect has no {what}")]
    NotInDialect {
        /// What it does not have.
        what: &'static str,
    },
    /// Too many own messages are neither acknowledged nor given up.
    #[error("the outgoing buffer is full")]
    OutgoingFull,
    /// The peer's fault: the message belongs to another channel.
    #[error("the message belongs to another channel")]
    WrongChannel,
    /// The peer's fault: neither content nor Lamport time.
    #[error("the message has neither content nor a Lamport timestamp")]
    NoKind,
    /// Nobody knows whose fault: the message is not, or not demonstrably, of who it names (docs/protocol.md section 14).
    #[error("a message in the name of {sender} is {why}")]
    NotAuthentic {
        /// In whose name.
        sender: ParticipantId,
        /// What is wrong with it.
        why: Forgery,
    },
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

impl ChannelError {
    /// Whether a limit of docs/protocol.md section 11 was hit.
    pub(super) fn is_limit(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::OutgoingFull | Self::PeerLimit { .. } | Self::ClockDrift { .. })
    }
}
