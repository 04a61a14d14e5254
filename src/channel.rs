//! [`Channel`]: the state machine of one channel, without clock, randomness, I/O or threads.
//!
//! What: everything docs/protocol.md sections 3 to 12 says of one conversation. Why sans-IO: the caller owns time, and
//! every behaviour can be tested. How it moves: [`Channel::handle`] takes one [`Input`] and returns one
//! [`Step`], to be carried out in order: save, then transmit, then tell the events. [`Channel::poll_timeout`]
//! says when to come back with [`Input::Timeout`].
//!
//! # Example
//! ```
//! use std::sync::Arc;
//!
//! use reliable_channel::channel::{Channel, Config, Context, Event, Input, Join};
//! use reliable_channel::types::{RunningTime, WallTime};
//!
//! let mut config = Config::default();
//! config.join = Join::FromNow;
//! let config = Arc::new(config);
//!
//! // The caller owns time and chance.
//! let at = |ms| Context::new(WallTime::from_millis(1_767_225_600_000 + ms), RunningTime::from_millis(ms), 7);
//! let mut alice = Channel::new("lobby", "alice", config.clone(), &at(0))?;
//! let mut bob = Channel::new("lobby", "bob", config, &at(0))?;
//!
//! let step = alice.handle(&at(1), Input::Send { content: "hello".into(), id: None });
//! // 1. Save `step.save`. 2. Transmit. 3. Tell `step.events`. The answer is `step.outcome`.
//! let message = step.transmit[0].message.clone();
//! let step = bob.handle(&at(2), Input::Receive(message));
//! assert!(step.events.iter().any(|event| matches!(event, Event::MessageDelivered(_))));
//!
//! // Bob acknowledges when the time has come that he names.
//! let due = bob.poll_timeout().expect("a channel keeps its schedule");
//! let step = bob.handle(&at(due.as_millis()), Input::Timeout);
//! # let _ = step;
//! # Ok::<(), reliable_channel::channel::RestoreError>(())
//! ```

pub mod config;
pub mod event;
pub mod view;

mod acknowledgers;
mod batch;
mod budget;
mod catchup;
mod clock;
mod company;
mod cycle;
mod delivery;
mod echoes;
mod effects;
mod gap;
mod hints;
mod incarnations;
mod incoming;
mod join;
mod known;
mod laggards;
mod log;
mod marks;
mod names;
mod outgoing;
mod pending;
mod probes;
mod read;
mod receive;
mod repair;
mod restore;
mod review;
mod send;
mod send_many;
mod shares;
mod slice;
mod sync;
mod tested;
mod timeout;
mod trim;
mod unconfirmed;
mod waits;
mod widening;
mod witnesses;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use config::{Config, ConfigError, FilterEvidence, Join, response_groups, response_groups_in};
pub use event::{Delivery, Event, Limit, Position};
pub use restore::RestoreError;
pub use view::{
    Cursor, Deliveries, DeliveryState, IncomingView, OutgoingView, Renumbered, RequestView, ResponseView, Stats,
    SyncStatus,
};

use crate::filter::RollingFilter;
use crate::state::{ChannelMeta, Commit, LogKey, Logged, Row, RowCounts};
use crate::types::{ChannelId, Lamport, Message, MessageId, ParticipantId, RunningTime, WallTime, millis, split_mix};

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
    /// The caller's fault: another participant has the message already.
    #[error("message {0} is acknowledged already")]
    AcknowledgedAlready(MessageId),
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
    fn is_limit(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::OutgoingFull | Self::PeerLimit { .. } | Self::ClockDrift { .. })
    }
}

/// One conversation, as one participant sees it.
///
/// See the [example](crate::channel#example).
#[derive(Debug)]
pub struct Channel {
    id: ChannelId,
    participant: ParticipantId,
    config: Arc<Config>,
    now: Now,
    /// As it would be saved now.
    meta: ChannelMeta,
    /// As it was saved last, or began.
    saved: ChannelMeta,
    /// Whether anything was saved yet.
    stored: bool,
    known: known::Known,
    names: names::Names,
    log: log::Log,
    /// Deliveries below the floor that the application may not have seen yet.
    late: BTreeMap<LogKey, Logged>,
    unconfirmed: unconfirmed::Unconfirmed,
    incoming: incoming::Incoming,
    outgoing: outgoing::Outgoing,
    budget: budget::Budget,
    requests: repair::Requests,
    refill: timeout::Refill,
    responses: repair::Responses,
    marks: marks::Marks,
    hints: hints::Hints,
    filter: RollingFilter,
    sync: sync::Schedule,
    company: company::Company,
    echoes: echoes::Echoes,
    acknowledgers: acknowledgers::Acknowledgers,
    incarnations: incarnations::Incarnations,
    batches: batch::Batches,
    /// None where it is off.
    catch_up: Option<Box<catchup::CatchUp>>,
    answers: waits::Answers,
    joining: join::Joining,
    gap: gap::Gap,
    laggards: laggards::Laggards,
    widening: widening::Widening,
    pace: repair::Pace,
    /// In the next message that must be trimmed, names come before our filter.
    names_first: bool,
    /// Resends wait for this after a batch of them.
    resends_allowed: RunningTime,
    slice: slice::Slice,
    cycles: cycle::Search,
    /// Looking for messages that wait for each other waits for this after a look.
    cycles_allowed: RunningTime,
    /// When losses were looked for last.
    losses_checked: RunningTime,
    stats: Stats,
    effects: effects::Effects,
}

/// Bytes of requests sent or heard that one commit takes along.
const REQUEST_BYTES: usize = 512;
/// Age that a crash may give back while something is waited for.
const AGE_LAG_MS: u64 = 10_000;

/// The present input's time and entropy.
#[derive(Debug)]
struct Now {
    wall: WallTime,
    running: RunningTime,
    entropy: u64,
}

impl Now {
    /// Fresh random bits from the caller's entropy.
    fn random(&mut self) -> u64 {
        split_mix(&mut self.entropy)
    }

    /// The wall time at which a running time comes, as things look now.
    fn wall_at(&self, due: RunningTime) -> WallTime {
        WallTime::from_millis(self.wall.as_millis().saturating_add(millis(due.since(self.running))))
    }
}

impl Channel {
    /// Takes one input in and says what it led to.
    pub fn handle(&mut self, context: &Context, input: Input) -> Step {
        self.advance(context);
        self.slice.begin();
        let checkpoint = input == Input::Checkpoint;
        let outcome = match input {
            Input::Send { content, id } => self.send(content, id, send::KEPT_HEADS),
            Input::SendMany(contents) => self.send_many(contents),
            Input::SendEphemeral { content } => self.send_ephemeral(content),
            Input::SendSync => {
                self.send_sync();
                Ok(Outcome::Done)
            }
            Input::Online => {
                self.online();
                Ok(Outcome::Done)
            }
            Input::Receive(message) => self.receive(message, false),
            Input::Relay(message) => self.receive(message, true),
            Input::DependenciesMet(ids) => self.dependencies_met(ids),
            Input::SetHint { id, hint } => self.set_hint(id, hint),
            Input::Resend(id) => self.send_again(&id),
            Input::Withdraw(id) => self.withdraw(&id),
            Input::DeliveriesTold(number) => {
                self.deliveries_told(number);
                Ok(Outcome::Done)
            }
            Input::Shrink { log_bytes, parked_bytes } => {
                self.shrink(log_bytes, parked_bytes);
                Ok(Outcome::Done)
            }
            Input::Timeout => {
                self.timeout();
                Ok(Outcome::Done)
            }
            Input::Checkpoint => Ok(Outcome::Done),
        };
        self.step(outcome, checkpoint)
    }

    /// Sets the time. A pause longer than any timer is not counted as waiting: the machine slept.
    fn advance(&mut self, context: &Context) {
        let running = context.running.max(self.now.running);
        let passed = running.since(self.now.running).min(self.longest_pause());
        self.meta.age_ms = self.meta.age_ms.saturating_add(millis(passed));
        let entropy = context.entropy ^ self.now.entropy.rotate_left(17);
        self.now = Now { wall: context.wall, running, entropy };
    }

    fn longest_pause(&self) -> Duration {
        self.config.t_max.max(self.config.max_resend_interval).saturating_mul(2)
    }

    fn step(&mut self, outcome: Result<Outcome, ChannelError>, checkpoint: bool) -> Step {
        self.stats.work += 1 + self.effects.rows_changed() as u64;
        self.stats.limits_hit += self.effects.limits;
        self.effects.limits = 0;
        self.stats.limits_hit += u64::from(outcome.as_ref().is_err_and(ChannelError::is_limit));
        self.refresh_meta();
        let waiting = self.meta != self.saved || self.requests.is_unsaved();
        let save = if self.effects.saves() || self.meta_changed() || checkpoint && waiting {
            self.save_requests(if checkpoint { usize::MAX } else { REQUEST_BYTES });
            self.saved = self.meta.clone();
            self.stored = true;
            self.effects.commit(Some(self.meta.clone()))
        } else {
            Commit::default()
        };
        let effects = std::mem::take(&mut self.effects);
        Step { save, transmit: effects.transmit, events: effects.events, outcome }
    }

    /// What was sent or heard of requests is saved with what must be saved anyway, so many bytes of it at once.
    fn save_requests(&mut self, mut bytes: usize) {
        while let Some((id, cost)) = self.requests.next_unsaved(bytes) {
            bytes -= cost;
            if let Some(request) = self.requests.save(&id) {
                self.effects.put(Row::Request(request));
            }
        }
    }

    /// Copies into the meta what the parts know.
    fn refresh_meta(&mut self) {
        self.meta.counts = RowCounts {
            messages: (self.log.len() + self.late.len()) as u64,
            parked: self.incoming.len() as u64,
            stubs: self.log.stubs_len() as u64,
            outgoing: self.outgoing.len() as u64,
            requests: self.requests.len() as u64,
            responses: self.responses.len() as u64,
            marks: self.marks.len() as u64,
            hints: Some(self.hints.len() as u64),
        };
        if !self.config.confirm_deliveries {
            self.meta.told = self.meta.next_delivery.saturating_sub(1);
        }
        self.meta.oldest = self.log.oldest().cloned();
        self.meta.newest = self.log.newest().cloned();
    }

    /// Whether the meta changed in more than what may wait for the next commit. While something is waited for, the age
    /// waits only so long: else an application that runs for a minute at a time would never get any older.
    fn meta_changed(&mut self) -> bool {
        let waits = self.incoming.len() > 0 || self.requests.len() > 0;
        if waits && self.meta.age_ms.saturating_sub(self.saved.age_ms) >= AGE_LAG_MS {
            return true;
        }
        let may_wait = (self.saved.age_ms, self.saved.told, self.saved.filters_heard);
        (self.saved.age_ms, self.saved.told) = (self.meta.age_ms, self.meta.told);
        self.saved.filters_heard = self.meta.filters_heard;
        let changed = self.saved != self.meta;
        (self.saved.age_ms, self.saved.told, self.saved.filters_heard) = may_wait;
        changed
    }

    /// Whether a message at this place is so old that dependencies it names may be gone (docs/protocol.md section 5).
    fn is_old(&self, key: &LogKey) -> bool {
        self.meta.horizon.is_some_and(|horizon| key.lamport <= horizon)
            || self.meta.floor.as_ref().is_some_and(|floor| key <= floor)
    }

    fn is_own(&self, sender: &ParticipantId) -> bool {
        *sender == self.participant
    }
}
