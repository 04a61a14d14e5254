//! What a channel is made of when it lies on disk: plain data, without behaviour.
//!
//! What: [`ChannelMeta`] (the small fixed part), [`Row`]s (one per body and one per open matter),
//! [`Commit`] (what one operation changed) and [`ChannelData`] (everything, as loaded). Why: `channel`
//! and `store` both know these types and nothing of each other. How it moves: `channel` fills a
//! [`Commit`] in every step; a store keeps it; `channel::restore` rebuilds a channel from [`ChannelData`].

mod commit;
mod members;
mod row;

use std::sync::Arc;

use bytes::Bytes;

pub use self::commit::{Commit, HistoryUpdate};
pub use self::members::{Member, MemberSet};
pub use self::row::{Place, Row, RowKey};
use crate::types::{Dialect, HistoryEntry, Lamport, MessageId, ParticipantId, Signature, WallTime};

/// Position in the log: logical time, then id bytes ascending (docs/protocol.md section 6).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogKey {
    /// Logical time.
    pub lamport: Lamport,
    /// Tie-break.
    pub id: MessageId,
}

impl LogKey {
    /// Before all messages of this time: no message has an empty id.
    #[must_use]
    pub fn first_at(lamport: Lamport) -> Self {
        Self { lamport, id: MessageId::new("") }
    }

    /// Before all messages above this time.
    #[must_use]
    pub fn first_above(lamport: Lamport) -> Self {
        Self::first_at(Lamport(lamport.0.saturating_add(1)))
    }
}

/// The lasting part of a content message: what is logged, resent and repaired.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Body {
    /// Where it stands in the log.
    pub key: LogKey,
    /// Its original sender.
    pub sender: ParticipantId,
    /// What it depends on.
    pub causal_history: Vec<HistoryEntry>,
    /// Application content, never empty but where it was erased.
    pub content: Bytes,
    /// Its author's signature of all this, where it has one (docs/protocol.md section 14).
    pub signature: Option<Signature>,
    /// The SHA-256 of the content, where that was erased (docs/protocol.md section 16).
    pub erased: Option<Box<[u8; 32]>>,
}

impl Body {
    /// A message that depends on nothing.
    #[must_use]
    pub fn new(key: LogKey, sender: ParticipantId, content: Bytes) -> Self {
        Self { key, sender, causal_history: Vec::new(), content, signature: None, erased: None }
    }

    /// Whether its content was erased.
    #[must_use]
    pub fn is_erased(&self) -> bool {
        self.erased.is_some()
    }
}

/// A delivered message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Logged {
    /// The message.
    pub body: Arc<Body>,
    /// Its delivery number; `None` for messages this participant sent itself.
    pub delivery: Option<u64>,
    /// When it was received or sent.
    pub seen: WallTime,
    /// Delivered after a message that sorts above it, or after it was given up as lost.
    pub late: bool,
    /// Sorted below the floor: kept for `deliveries_since` alone, not part of the log.
    pub below_floor: bool,
    /// Dependencies that were lost when it was delivered.
    pub missing: Vec<MessageId>,
    /// It came after all at its place had been told as stable (docs/protocol.md section 15).
    pub below_stable: bool,
}

impl Logged {
    /// An own message: without a delivery number.
    #[must_use]
    pub fn new(body: Arc<Body>, seen: WallTime) -> Self {
        Self { body, delivery: None, seen, late: false, below_floor: false, missing: Vec::new(), below_stable: false }
    }
}

/// A message that waits for its dependencies.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parked {
    /// The message.
    pub body: Arc<Body>,
    /// When it was received.
    pub seen: WallTime,
    /// The channel's age when it was received, see [`ChannelMeta::age_ms`].
    pub parked_at_age_ms: u64,
}

impl Parked {
    /// A message that waits since this age.
    #[must_use]
    pub fn new(body: Arc<Body>, seen: WallTime, parked_at_age_ms: u64) -> Self {
        Self { body, seen, parked_at_age_ms }
    }
}

/// What is left of an evicted message, so that a replay is known as one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stub {
    /// Where it stood in the log.
    pub key: LogKey,
    /// Its original sender.
    pub sender: ParticipantId,
}

impl Stub {
    /// What is left of the message at this place.
    #[must_use]
    pub fn new(key: LogKey, sender: ParticipantId) -> Self {
        Self { key, sender }
    }
}

/// One sender's consecutive filter hits for one message (docs/protocol.md section 7).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Evidence {
    /// Whose filters.
    pub sender: ParticipantId,
    /// The chance that all hits were accidental.
    pub chance: f64,
    /// Consecutive hits.
    pub hits: u32,
    /// Seeds of the filters counted, newest last; empty for filters with fixed hashes.
    pub seeds: Vec<[u8; 8]>,
}

impl Evidence {
    /// Hits in filters with fixed hashes: without seeds.
    #[must_use]
    pub fn new(sender: ParticipantId, chance: f64, hits: u32) -> Self {
        Self { sender, chance, hits, seeds: Vec::new() }
    }
}

/// An own message that nobody has acknowledged yet.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Outgoing {
    /// The message.
    pub key: LogKey,
    /// When it was first sent, or the application last asked for it to be sent again.
    pub first_sent: WallTime,
    /// When it was sent last.
    pub last_sent: WallTime,
    /// When it is due again.
    pub next_due: WallTime,
    /// Resends so far.
    pub attempts: u32,
    /// Given up: no longer resent, still listened for.
    pub failed: bool,
    /// Given up without being told as failed, for filters show it, as far as they can: with this chance that nobody received
    /// it (docs/protocol.md section 8).
    pub uncertain: Option<f64>,
    /// [`ChannelMeta::filters_heard`] when it was sent.
    pub filters_heard_at_send: u64,
    /// Filter evidence, one entry per sender. Version 0.1 saved it; a channel keeps it in memory, and leaves this empty.
    pub evidence: Vec<Evidence>,
}

impl Outgoing {
    /// A message sent once at this time, and due at once.
    #[must_use]
    pub fn new(key: LogKey, first_sent: WallTime) -> Self {
        Self {
            key,
            first_sent,
            last_sent: first_sent,
            next_due: first_sent,
            attempts: 0,
            failed: false,
            uncertain: None,
            filters_heard_at_send: 0,
            evidence: Vec::new(),
        }
    }
}

/// A missing message in the outgoing repair buffer (SDS-R).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// What is missing, as it was named.
    pub entry: HistoryEntry,
    /// T_req.
    pub due: WallTime,
    /// Requests this participant sent.
    pub sent: u32,
    /// Requests heard from others.
    pub heard: u32,
    /// The channel's age when what it holds up began to wait.
    pub since_age_ms: u64,
    /// The channel's age when it was named.
    pub named_at_age_ms: u64,
}

impl Request {
    /// A missing message, never asked for, named at age 0.
    #[must_use]
    pub fn new(entry: HistoryEntry, due: WallTime) -> Self {
        Self { entry, due, sent: 0, heard: 0, since_age_ms: 0, named_at_age_ms: 0 }
    }
}

/// A message to rebroadcast, in the incoming repair buffer (SDS-R).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response {
    /// The message asked for.
    pub id: MessageId,
    /// T_resp.
    pub due: WallTime,
}

impl Response {
    /// A message to rebroadcast at this time.
    #[must_use]
    pub fn new(id: MessageId, due: WallTime) -> Self {
        Self { id, due }
    }
}

/// Why a dependency counts as met without having been delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MarkKind {
    /// Irretrievably lost (docs/protocol.md section 10).
    Lost,
    /// Declared met by the application.
    DeclaredMet,
    /// An own message that was taken back: it is not kept, and not taken in again.
    Withdrawn,
    /// Waited for no longer, and still asked for (docs/protocol.md section 10, "Overdue").
    Overdue,
    /// From before this participant joined: news does not wait for it (docs/protocol.md section 5, "Joining").
    History,
    /// The application erased it, whether it was here or not: its content is not taken in any more.
    Erased,
}

/// A dependency that counts as met.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mark {
    /// The dependency.
    pub id: MessageId,
    /// Why.
    pub kind: MarkKind,
    /// Order in which marks were set; the oldest gives way.
    pub sequence: u64,
}

impl Mark {
    /// A mark.
    #[must_use]
    pub fn new(id: MessageId, kind: MarkKind, sequence: u64) -> Self {
        Self { id, kind, sequence }
    }
}

/// The deliveries of one opening. Their numbers belong to it, for after an older copy of the store they are given anew.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Incarnation {
    /// Which one: a random number, as eight bytes.
    pub id: MessageId,
    /// The number of its first delivery.
    pub first: u64,
}

impl Incarnation {
    /// An opening.
    #[must_use]
    pub fn new(id: MessageId, first: u64) -> Self {
        Self { id, first }
    }
}

/// The small fixed-size state of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelMeta {
    /// The dialect the channel was last run in.
    pub dialect: Dialect,
    /// Own logical clock.
    pub lamport: Lamport,
    /// Highest Lamport time accepted from another participant.
    pub highest_received: Lamport,
    /// Number of the next delivery; the first is 1.
    pub next_delivery: u64,
    /// Highest delivery number known to have reached the application; saved with the next change.
    pub told: u64,
    /// What lies at or below is from before this participant joined (docs/protocol.md section 5, "Joining").
    pub horizon: Option<Lamport>,
    /// The channel's age when the horizon was set; `None` where it was not, or by an older version.
    pub joined_at_age_ms: Option<u64>,
    /// Older messages that may still be fetched.
    pub backfill_left: u64,
    /// Highest key evicted.
    pub floor: Option<LogKey>,
    /// Highest stub dropped.
    pub stub_floor: Option<LogKey>,
    /// Time this channel has been running, over all its runs, in milliseconds.
    pub age_ms: u64,
    /// Filters of others reviewed so far; saved with the next change.
    pub filters_heard: u64,
    /// Marks set so far.
    pub marks_set: u64,
    /// Rows of each kind, for the check on load.
    pub counts: RowCounts,
    /// Lowest key in the log.
    pub oldest: Option<LogKey>,
    /// Highest key in the log.
    pub newest: Option<LogKey>,
    /// The set of members; `None` where the application has given none.
    pub members: Option<MemberSet>,
}

/// How many rows of each kind a channel has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RowCounts {
    /// [`Row::Message`].
    pub messages: u64,
    /// [`Row::Parked`].
    pub parked: u64,
    /// [`Row::Stub`].
    pub stubs: u64,
    /// [`Row::Outgoing`].
    pub outgoing: u64,
    /// [`Row::Request`].
    pub requests: u64,
    /// [`Row::Response`].
    pub responses: u64,
    /// [`Row::Mark`].
    pub marks: u64,
    /// Retrieval hints; `None` where they were not counted, and then they are not checked.
    pub hints: Option<u64>,
}

/// Everything saved of one channel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChannelData {
    /// The meta; `None` for a channel that was never saved.
    pub meta: Option<ChannelMeta>,
    /// All rows: bodies first, in (lamport, id) order, then the others in key order.
    pub rows: Vec<Row>,
    /// Retrieval hints, in id order.
    pub hints: Vec<(MessageId, Bytes)>,
}

/// What does not fit together in loaded data; from a store that commits atomically this is damage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: the meta says {expected}, found {found}")]
#[non_exhaustive]
pub struct Mismatch {
    /// Which fact.
    pub what: &'static str,
    /// As the meta says.
    pub expected: String,
    /// As the rows show.
    pub found: String,
}

impl ChannelData {
    /// Whether nothing was ever saved.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.meta.is_none() && self.rows.is_empty() && self.hints.is_empty()
    }

    /// Checks counts (of hints at least as many, where the meta counts them) and ends of the log against the meta. Rows
    /// that were put before any meta pass: nothing tells what they should be.
    ///
    /// # Errors
    /// The first [`Mismatch`].
    pub fn check(&self) -> Result<(), Mismatch> {
        let mismatch = |what, expected: String, found: String| {
            if expected == found { Ok(()) } else { Err(Mismatch { what, expected, found }) }
        };
        let Some(meta) = &self.meta else {
            return Ok(());
        };
        let mut counts = RowCounts::default();
        let mut ends: Option<(&LogKey, &LogKey)> = None;
        for row in &self.rows {
            *match row {
                Row::Message(_) => &mut counts.messages,
                Row::Parked(_) => &mut counts.parked,
                Row::Stub(_) => &mut counts.stubs,
                Row::Outgoing(_) => &mut counts.outgoing,
                Row::Request(_) => &mut counts.requests,
                Row::Response(_) => &mut counts.responses,
                Row::Mark(_) => &mut counts.marks,
                // Where one is missing, cursors are doubted, and that is all.
                // What becomes of members that are missing, a channel decides.
                Row::Incarnation(_) | Row::Member(_) => continue,
            } += 1;
            if let Row::Message(logged) = row
                && !logged.below_floor
            {
                let key = &logged.body.key;
                ends = Some(ends.map_or((key, key), |(low, high)| (low.min(key), high.max(key))));
            }
        }
        // One set past the channel, by the trait's own method, is more than was counted, and no damage.
        counts.hints = meta.counts.hints.map(|counted| counted.min(self.hints.len() as u64));
        mismatch("row counts", format!("{:?}", meta.counts), format!("{counts:?}"))?;
        let name = |key: Option<&LogKey>| key.map_or("none".into(), |key| format!("({}, {})", key.lamport, key.id));
        mismatch("oldest message", name(meta.oldest.as_ref()), name(ends.map(|ends| ends.0)))?;
        mismatch("newest message", name(meta.newest.as_ref()), name(ends.map(|ends| ends.1)))
    }
}
