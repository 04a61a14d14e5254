//! All that an application can hear of a channel (docs/protocol.md section 12).

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::state::{Body, LogKey};
use crate::types::{HistoryEntry, Lamport, MessageId, ParticipantId};

use super::{Cursor, SyncStatus};

/// A message handed to the application: once per message, in causal order, numbered.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// Number of this delivery in its channel, from 1, without gaps.
    pub number: u64,
    /// To which opening of the channel the number belongs; 0 for those before the last 64 openings that delivered.
    pub incarnation: u64,
    /// The message: id, Lamport time, sender, causal history, content.
    pub body: Arc<Body>,
    /// Where it stands in the log.
    pub position: Position,
    /// It sorts below the newest message of the log, or was given up as lost before it arrived.
    pub late: bool,
    /// Dependencies that are lost or overdue.
    pub missing: Vec<MessageId>,
    /// It is from before this participant joined: no news.
    pub history: bool,
    /// Its sender is a member; true where no members are set (docs/protocol.md section 15).
    pub from_member: bool,
    /// It came after all at its place had been told as stable.
    pub below_stable: bool,
}

impl Delivery {
    /// Where to go on from once this is dealt with.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { incarnation: self.incarnation, number: self.number }
    }
}

/// Where a delivered message stands in the log.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Position {
    /// At the end.
    Newest,
    /// Directly before this message.
    Before(MessageId),
    /// Below the floor: not in the log.
    BelowFloor,
}

/// What happened in a channel.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A message is ready for the application.
    MessageDelivered(Delivery),
    /// An own message was received by another participant.
    MessageAcknowledged {
        /// The message.
        id: MessageId,
        /// Who received it.
        by: ParticipantId,
        /// It had been reported as failed before.
        after_failure: bool,
    },
    /// An own message that is acknowledged already was received by a further participant too: up to 32 are told, of the last
    /// 1,024 messages acknowledged since the opening.
    AlsoAcknowledged {
        /// The message.
        id: MessageId,
        /// Who received it.
        by: ParticipantId,
    },
    /// An own message was probably received by another participant.
    MessagePossiblyAcknowledged {
        /// The message.
        id: MessageId,
        /// Who probably received it.
        by: ParticipantId,
        /// The chance that this is an error.
        chance: f64,
    },
    /// An own message was given up. It may still be acknowledged later.
    DeliveryFailed {
        /// The message.
        id: MessageId,
        /// There was some evidence of receipt.
        possibly: bool,
    },
    /// An own message is no longer sent again. Filters show that it was received, as far as filters of this dialect can: it
    /// has neither failed nor is it acknowledged, which it may still be.
    DeliveryUncertain {
        /// The message.
        id: MessageId,
        /// The chance that nobody received it.
        chance: f64,
    },
    /// A message waits for others that were never received.
    MissingDependencies {
        /// The message that waits, or a sync message.
        id: MessageId,
        /// What is missing, with hints where known.
        missing: Vec<HistoryEntry>,
    },
    /// Messages went ahead without what they had waited for: something is missing before them. It may still come, late.
    HistoryGap {
        /// So many messages that others named were not received. How many these name in turn is not known.
        missing: u64,
        /// The last message that is here before the gap, if there is one.
        after: Option<LogKey>,
        /// The first message that is here after the gap.
        before: LogKey,
    },
    /// A dependency was given up: it is not asked for any more, and what waited for it goes ahead without.
    DependencyLost {
        /// The dependency.
        id: MessageId,
    },
    /// The first message of others was heard: what counts from here on is shown. Told before that message.
    Joined {
        /// That message.
        first: MessageId,
        /// So many older messages are fetched at most; they come marked as history.
        history: u64,
    },
    /// A message lies below everything still remembered, and was not delivered.
    TooOld {
        /// The message.
        id: MessageId,
        /// Its sender.
        sender: ParticipantId,
    },
    /// Two different messages came under one id; the first stays.
    IdConflict {
        /// The id.
        id: MessageId,
        /// Sender of the message refused.
        sender: ParticipantId,
    },
    /// A message that is not kept.
    EphemeralReceived {
        /// The message.
        id: MessageId,
        /// Its sender.
        sender: ParticipantId,
        /// Application content.
        content: Bytes,
    },
    /// A message under our own name was not sent from here: another device uses this sender id, or the store was lost or
    /// is an old copy. Told once an opening. Each device needs a sender id of its own.
    SharedIdentity {
        /// The message.
        id: MessageId,
    },
    /// Messages came that are not demonstrably of who they name, and changed nothing (docs/protocol.md section 14). Told at most
    /// once a second.
    NotAuthentic {
        /// The last of them.
        id: MessageId,
        /// In whose name it came. Who sent it nobody knows.
        sender: ParticipantId,
        /// What is wrong with it, and so whose fault it may be.
        why: Forgery,
        /// So many since this event was told last.
        count: u64,
    },
    /// A sync message.
    SyncReceived {
        /// Its sender.
        sender: ParticipantId,
    },
    /// Another participant asked for a message that this one will rebroadcast unless somebody else does.
    RepairRequested {
        /// The message.
        id: MessageId,
        /// Who asked.
        by: ParticipantId,
    },
    /// A message was rebroadcast for somebody who asked.
    RepairAnswered {
        /// The message.
        id: MessageId,
    },
    /// An own message has come to every user among the members to whom it is due, on one device at least. After a restart it
    /// may be told once more. Told where senders are authenticated alone: by
    /// [`Config::authenticator`](super::Config::authenticator), or [outside](super::Config::authenticated_senders).
    DeliveredToAll {
        /// The message.
        id: MessageId,
    },
    /// At or below this Lamport time the log will not change any more: every member holds the same messages. Told as
    /// [`DeliveredToAll`](Self::DeliveredToAll) is.
    Stable {
        /// That time.
        up_to: Lamport,
    },
    /// For [`Config::stability_timeout`](super::Config::stability_timeout) nothing has become stable, for this member has not
    /// been seen to hold what is here. Only a set without it lets stability go on before it comes.
    StabilityWaits {
        /// The member.
        member: ParticipantId,
    },
    /// A member has sent a message where it had vouched that there is none: it lies at or below what was told as stable. It
    /// is delivered, marked `below_stable`.
    StabilityBroken {
        /// The message.
        id: MessageId,
        /// Its sender.
        sender: ParticipantId,
    },
    /// Catching up has begun, goes on, or has ended. Told at most once a second while it goes on.
    SyncStatus(SyncStatus),
    /// The content of this message is older than [`Config::max_body_age`](super::Config::max_body_age), and was erased.
    MessageExpired {
        /// The message.
        id: MessageId,
    },
    /// A limit was hit; what it cost is named.
    LimitReached {
        /// Which limit.
        limit: Limit,
        /// The message that was given up or refused, where there is one.
        id: Option<MessageId>,
        /// Whose message led to it, where it was a peer's.
        by: Option<ParticipantId>,
    },
    /// The own clock stood too far in the future and was set back.
    ClockReset {
        /// Before.
        from: Lamport,
        /// After.
        to: Lamport,
    },
    /// Stored state did not fit together and was mended.
    StateMended {
        /// What was wrong.
        what: String,
    },
}

/// Limits whose being hit is reported (docs/protocol.md section 11).
///
/// See the [example](crate::channel#example).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// The incoming buffer: a parked message gave way and stays in repair.
    Parked,
    /// The outgoing repair buffer: of who named most of its entries, the one asked most often gave way.
    RepairRequests,
    /// Missing dependencies of one message: the rest is asked for later.
    RepairRequestsPerMessage,
    /// The incoming repair buffer: a request was not taken in.
    RepairResponses,
    /// Repair requests in one message: the rest was skipped.
    RequestsPerMessage,
    /// A filter that does not parse or is absurd: ignored.
    Filter,
    /// Remembered marks: the oldest was forgotten.
    Marks,
    /// Bytes of the log: this message and all below it that a buffer does not need left it before its length asked for it.
    LogBytes,
    /// Bytes of unconfirmed deliveries: this one is kept no longer for the sake of its confirmation. A restart may not deliver
    /// it again.
    Unconfirmed,
    /// Memory of all channels: this message and all before it left the log and are not known any more; they are too old.
    Stubs,
}

/// What is wrong with a message that is not demonstrably of who it names (docs/protocol.md section 14).
///
/// See the [example](crate::channel#example).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Forgery {
    /// It has no signature: of a stranger, or of a member that has no authenticator or passes on what it received without.
    Unsigned,
    /// Its signature is not of who it names: that one's key is not known, somebody speaks in its name, or it was changed on
    /// the way.
    BadSignature,
    /// Its content is genuine and was taken in; somebody else has put a filter, repair requests or a bad signature on it, which
    /// were not.
    Claims,
}

impl fmt::Display for Forgery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsigned => "not signed",
            Self::BadSignature => "not signed by that participant",
            Self::Claims => "genuine, with claims that are not",
        })
    }
}
