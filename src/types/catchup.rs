//! What catch-up says on the wire (docs/protocol.md section 13): a digest in sync messages, or a frame in a message that
//! is nothing else.
//!
//! How it moves: `channel` makes and reads them, `wire` writes them in the fields 101 and 102.

use bytes::Bytes;

use super::size::{delimited, number, unless_empty};
use super::{Lamport, MessageId, ParticipantId};

/// What a message carries for catch-up, boxed: most messages carry nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CatchUpField {
    /// Nothing.
    #[default]
    Absent,
    /// Field 101, in sync messages.
    Digest(Box<Digest>),
    /// Field 102: the message is a frame, and nothing else.
    Frame(Box<Frame>),
}

/// What its sender holds of two ranges of Lamport time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Digest {
    /// Both ranges end here, this time included.
    pub upper: Lamport,
    /// The newest messages.
    pub short: DigestRange,
    /// All messages above the sender's floor; `None` where that is the short range.
    pub long: Option<DigestRange>,
    /// Its sender answers frames.
    pub frames: bool,
    /// Its sender serves from an archive, also what its log has no more.
    pub archive: bool,
    /// All at or below is stable, as its sender sees it; where members are set (docs/protocol.md section 15).
    pub stable: Option<Lamport>,
}

/// What a participant holds above one Lamport time, up to that of its [`Digest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DigestRange {
    /// The range begins here, this time excluded; not above the digest's `upper`.
    pub lower: Lamport,
    /// Messages in it.
    pub count: u64,
    /// Negentropy's fingerprint of them.
    pub fingerprint: [u8; 16],
}

/// One step of a catch-up session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// The session, as who began it has numbered it.
    pub session: u64,
    /// The participant meant: others ignore it.
    pub to: ParticipantId,
    /// The sender's set begins above this Lamport time.
    pub floor: Lamport,
    /// What it says.
    pub body: FrameBody,
}

/// What a [`Frame`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameBody {
    /// A message of reconciliation.
    Reconcile {
        /// Number of the rules that both sides must share.
        rules: u32,
        /// Compared is what lies above both floors, up to this Lamport time.
        upper: Lamport,
        /// It answers one.
        answer: bool,
        /// Of a question: bytes of missing messages that are welcome at once. Of an answer: how many messages follow.
        push: u64,
        /// Negentropy, version 1.
        message: Bytes,
    },
    /// Asks for messages.
    Fetch {
        /// Their rids.
        rids: Vec<[u8; 32]>,
    },
    /// Asks for messages that are named somewhere, and of which no more is known.
    FetchIds {
        /// Their ids.
        ids: Vec<MessageId>,
    },
    /// All that will be sent of what was asked for was sent.
    End {
        /// Messages sent.
        sent: u64,
        /// Rids asked for that are not here.
        gone: Vec<[u8; 32]>,
        /// There was no room for all that was asked for.
        more: bool,
        /// Ids asked for that were here, and have left the log.
        evicted: Vec<MessageId>,
    },
    /// Not now.
    Busy {
        /// Ask again after so many milliseconds.
        retry_after_ms: u64,
    },
    /// The session ends.
    Cancel {
        /// Why: 1 for other rules.
        reason: u32,
    },
    /// A step that this version does not know.
    Unknown,
}

impl Digest {
    /// A digest up to this Lamport time.
    #[must_use]
    pub fn new(upper: Lamport, short: DigestRange, long: Option<DigestRange>, frames: bool) -> Self {
        Self { upper, short, long, frames, archive: false, stable: None }
    }

    /// Both ranges, the short one first.
    pub fn ranges(&self) -> impl Iterator<Item = &DigestRange> {
        [&self.short].into_iter().chain(&self.long)
    }

    /// Length of a digest by itself.
    pub(crate) fn body_len(&self) -> usize {
        let range = |field, range: &DigestRange| delimited(field, range.body_len(self.upper));
        number(1, self.upper.0)
            + range(2, &self.short)
            + self.long.as_ref().map_or(0, |long| range(3, long))
            + number(4, u64::from(!self.frames))
            + number(5, u64::from(self.archive))
            + number(6, self.stable.map_or(0, |stable| stable.0))
    }
}

impl DigestRange {
    /// A range above this Lamport time.
    #[must_use]
    pub fn new(lower: Lamport, count: u64, fingerprint: [u8; 16]) -> Self {
        Self { lower, count, fingerprint }
    }

    /// Length of a range by itself.
    pub(crate) fn body_len(&self, upper: Lamport) -> usize {
        number(1, upper.0.saturating_sub(self.lower.0)) + number(2, self.count) + delimited(3, self.fingerprint.len())
    }
}

impl Frame {
    /// A step of a session, for one participant.
    #[must_use]
    pub fn new(session: u64, to: ParticipantId, floor: Lamport, body: FrameBody) -> Self {
        Self { session, to, floor, body }
    }

    /// Length of a frame by itself.
    pub(crate) fn body_len(&self) -> usize {
        let body = self.body.field().map_or(0, |field| delimited(u64::from(field), self.body.body_len()));
        number(1, self.session) + delimited(2, self.to.len()) + number(3, self.floor.0) + body
    }
}

impl FrameBody {
    /// The number of its field.
    pub(crate) fn field(&self) -> Option<u32> {
        match self {
            Self::Reconcile { .. } => Some(4),
            Self::Fetch { .. } => Some(5),
            Self::End { .. } => Some(6),
            Self::Busy { .. } => Some(7),
            Self::Cancel { .. } => Some(8),
            Self::FetchIds { .. } => Some(9),
            Self::Unknown => None,
        }
    }

    /// Length of what it says by itself.
    pub(crate) fn body_len(&self) -> usize {
        match self {
            Self::Reconcile { rules, upper, answer, push, message } => {
                number(1, u64::from(*rules))
                    + number(2, upper.0)
                    + number(3, u64::from(*answer))
                    + number(4, *push)
                    + unless_empty(5, message.len())
            }
            Self::Fetch { rids } => unless_empty(1, rids.len() * 32),
            Self::FetchIds { ids } => ids_len(1, ids),
            Self::End { sent, gone, more, evicted } => {
                let lists = unless_empty(2, gone.len() * 32) + ids_len(4, evicted);
                number(1, *sent) + number(3, u64::from(*more)) + lists
            }
            Self::Busy { retry_after_ms } => number(1, *retry_after_ms),
            Self::Cancel { reason } => number(1, u64::from(*reason)),
            Self::Unknown => 0,
        }
    }
}

fn ids_len(field: u64, ids: &[MessageId]) -> usize {
    ids.iter().map(|id| delimited(field, id.len())).sum()
}
