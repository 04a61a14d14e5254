//! Read access: what an application may look at between inputs.

use crate::types::{HistoryEntry, MessageId, ParticipantId, RunningTime};

use super::Delivery;

/// How far an own message has come (docs/protocol.md section 7).
///
/// See the [example](crate::channel#example).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum DeliveryState {
    /// Nobody is known to have received it.
    Unacknowledged,
    /// Somebody probably received it.
    PossiblyAcknowledged {
        /// The chance that this is an error.
        chance: f64,
    },
    /// Another participant received it.
    Acknowledged,
    /// Given up; still listened for.
    Failed,
}

/// How far a participant is with what it missed.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncStatus {
    /// Nothing is known to be missing.
    #[default]
    InSync,
    /// Missing messages are being fetched from another participant.
    Syncing {
        /// Messages fetched so far.
        received: u64,
        /// Messages known to be missing still.
        missing: u64,
    },
    /// Messages are missing, and nobody gives them now; there will be another try.
    Behind,
}

/// An own message in the outgoing buffer.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OutgoingView {
    /// The message.
    pub id: MessageId,
    /// How far it has come.
    pub state: DeliveryState,
    /// Resends so far.
    pub attempts: u32,
    /// When it is due again; `None` once given up.
    pub next_due: Option<RunningTime>,
}

/// A message in the incoming buffer.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IncomingView {
    /// The message.
    pub id: MessageId,
    /// Its sender.
    pub sender: ParticipantId,
    /// Dependencies not met yet, parked ones among them.
    pub waits_for: Vec<MessageId>,
}

/// A missing message in the outgoing repair buffer.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestView {
    /// What is missing.
    pub entry: HistoryEntry,
    /// T_req.
    pub due: RunningTime,
    /// Requests sent by this participant.
    pub sent: u32,
    /// Requests heard from others.
    pub heard: u32,
}

/// A message to rebroadcast.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponseView {
    /// The message.
    pub id: MessageId,
    /// T_resp.
    pub due: RunningTime,
}

/// How far an application has come in a channel's deliveries, to go on from there at any time. The default is the beginning.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Cursor {
    /// To which opening the number belongs, see [`Delivery::incarnation`].
    pub incarnation: u64,
    /// The number of the last delivery that was dealt with.
    pub number: u64,
}

impl Cursor {
    /// The cursor with these parts, as an application kept them.
    #[must_use]
    pub const fn new(incarnation: u64, number: u64) -> Self {
        Self { incarnation, number }
    }
}

/// A cursor's number has been given to another delivery, or to none yet: the store is an older copy, or a crash took what
/// it had not saved. Nobody can say which of the deliveries since were seen.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("deliveries were numbered anew after {}", valid_to.number)]
#[non_exhaustive]
pub struct Renumbered {
    /// Up to here all is as it was. What comes after this may be new to the application, or may be known to it.
    pub valid_to: Cursor,
}

/// Deliveries read again from the log.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deliveries {
    /// In delivery order.
    pub deliveries: Vec<Delivery>,
    /// How many deliveries after the number asked for have left the log already.
    pub evicted: u64,
}

/// Counters of one channel since it was opened, and its present sizes.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Own messages sent.
    pub sent: u64,
    /// Messages received, of every kind, refused ones not counted.
    pub received: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Known messages received again, echoes among them.
    pub duplicates: u64,
    /// Received messages refused.
    pub refused: u64,
    /// Messages that were not demonstrably of who they name: refused ones, and genuine ones with forged claims.
    pub forgeries: u64,
    /// Own messages acknowledged.
    pub acknowledged: u64,
    /// Own messages given up.
    pub failed: u64,
    /// Resends.
    pub resends: u64,
    /// Sync messages sent.
    pub syncs: u64,
    /// Repair requests sent.
    pub requests_sent: u64,
    /// Messages rebroadcast for others.
    pub answered: u64,
    /// Dependencies given up.
    pub lost: u64,
    /// Filters ignored because they do not parse or are absurd.
    pub filters_ignored: u64,
    /// Filters tested against a part of the messages open, because all of them would take too long.
    pub reviews_cut: u64,
    /// Limits hit.
    pub limits_hit: u64,
    /// Units of work done: map operations, filter tests, rows written. For tests of growth.
    pub work: u64,
    /// Messages in the log now.
    pub log_len: usize,
    /// Bytes of messages in the log now.
    pub log_bytes: usize,
    /// Bytes of what is remembered besides log and parked messages: stubs, retrieval hints, unconfirmed deliveries below
    /// the floor, and the set of catch-up.
    pub remembered_bytes: usize,
    /// Deliveries that wait for their confirmation now ([`Config::confirm_deliveries`](super::Config::confirm_deliveries)).
    pub unconfirmed_len: usize,
    /// Bytes of these.
    pub unconfirmed_bytes: usize,
    /// Messages parked now.
    pub parked_len: usize,
    /// Bytes of messages parked now.
    pub parked_bytes: usize,
    /// Messages in the outgoing buffer now, given-up ones not counted.
    pub outgoing_len: usize,
}
