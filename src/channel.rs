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
mod archive;
mod authentic;
mod batch;
mod budget;
mod catchup;
mod clock;
mod company;
mod contract;
mod cycle;
mod delivery;
mod echoes;
mod effects;
mod erase;
mod gap;
mod hints;
mod incarnations;
mod incoming;
mod join;
mod known;
mod laggards;
mod log;
mod marks;
mod members;
mod missing;
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
mod wide_map;
mod widening;
mod witnesses;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use archive::{ArchiveRead, ForArchive, item_of};
pub use config::{Config, ConfigError, FilterEvidence, Join, response_groups, response_groups_in};
pub use contract::{ChannelError, Context, Fate, Input, Outcome, Received, Step, Transmit, TransmitKind};
pub use erase::{Erasure, erased};
pub use event::{Delivery, Event, Forgery, Limit, Position};
pub use restore::RestoreError;
pub use view::{
    Cursor, Deliveries, DeliveryState, IncomingView, OutgoingView, Renumbered, RequestView, ResponseView, Stats,
    SyncStatus,
};

use crate::filter::RollingFilter;
use crate::state::{ChannelMeta, Commit, LogKey, Logged, Row, RowCounts};
use crate::types::{ChannelId, ParticipantId, RunningTime, WallTime, millis, split_mix};

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
    expired: erase::Expired,
    filter: RollingFilter,
    sync: sync::Schedule,
    company: company::Company,
    echoes: echoes::Echoes,
    /// None without an authenticator.
    heard: Option<Box<authentic::Heard>>,
    acknowledgers: acknowledgers::Acknowledgers,
    incarnations: incarnations::Incarnations,
    batches: batch::Batches,
    /// None where it is off.
    catch_up: Option<Box<catchup::CatchUp>>,
    /// None where the application has said none.
    members: Option<Box<members::Members>>,
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
            Input::Erase(id) => self.erase(&id),
            Input::DeliveriesTold(number) => {
                self.deliveries_told(number);
                Ok(Outcome::Done)
            }
            Input::Shrink { log_bytes, parked_bytes } => {
                self.shrink(log_bytes, parked_bytes);
                Ok(Outcome::Done)
            }
            Input::SetMembers { epoch, members } => self.set_members(epoch, &members),
            Input::CatchUp => {
                self.catch_up_now();
                Ok(Outcome::Done)
            }
            Input::Archived { items, whole } => {
                self.take_archived(&items, whole);
                Ok(Outcome::Done)
            }
            Input::FromArchive { read, bodies, looked, failed } => {
                self.take_read(read, bodies, looked, failed);
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
        self.sign_transmissions();
        self.refresh_meta();
        let members = self.members.as_ref().is_some_and(|members| members.is_unsaved());
        let waiting = self.meta != self.saved || self.requests.is_unsaved() || members;
        let save = if self.effects.saves() || self.meta_changed() || checkpoint && waiting {
            self.save_requests(if checkpoint { usize::MAX } else { REQUEST_BYTES });
            self.save_members();
            self.saved = self.meta.clone();
            self.stored = true;
            self.effects.commit(Some(self.meta.clone()))
        } else {
            Commit::default()
        };
        let effects::Effects { transmit, events, archive, .. } = std::mem::take(&mut self.effects);
        Step { save, transmit, events, archive, outcome }
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

    /// What is known of members goes with what must be saved anyway.
    fn save_members(&mut self) {
        let rows = self.members.as_mut().map(|members| members.take_unsaved()).unwrap_or_default();
        rows.into_iter().for_each(|row| self.effects.put(row));
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
        self.meta.members = self.members.as_ref().map(|members| members.set());
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
