//! A saved value, and the key under which it is kept.

use super::{Incarnation, LogKey, Logged, Mark, Member, Outgoing, Parked, Request, Response, Stub};
use crate::types::{Lamport, MessageId};

/// One saved value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Row {
    /// A delivered message.
    Message(Logged),
    /// A message that waits.
    Parked(Parked),
    /// An evicted message.
    Stub(Stub),
    /// An unacknowledged own message.
    Outgoing(Outgoing),
    /// A missing message.
    Request(Request),
    /// A message to rebroadcast.
    Response(Response),
    /// A dependency given up or declared met.
    Mark(Mark),
    /// To which opening delivery numbers belong.
    Incarnation(Incarnation),
    /// A member of the channel.
    Member(Member),
}

/// The kinds of place a row can take; a message, a parked message and a stub share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Place {
    /// [`Row::Message`], [`Row::Parked`] or [`Row::Stub`].
    Body = 0,
    /// [`Row::Outgoing`].
    Outgoing = 1,
    /// [`Row::Request`]; its Lamport time is 0.
    Request = 2,
    /// [`Row::Response`]; its Lamport time is 0.
    Response = 3,
    /// [`Row::Mark`]; its Lamport time is 0.
    Mark = 4,
    /// [`Row::Incarnation`]; its Lamport time is 0.
    Incarnation = 5,
    /// [`Row::Member`]; its Lamport time is 0.
    Member = 6,
}

/// The sortable key of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// Kind of place.
    pub place: Place,
    /// Logical time, or 0.
    pub lamport: Lamport,
    /// Message id.
    pub id: MessageId,
}

impl RowKey {
    /// The key of the body at this place in the log.
    #[must_use]
    pub fn body(key: &LogKey) -> Self {
        Self { place: Place::Body, lamport: key.lamport, id: key.id.clone() }
    }

    /// The key of the outgoing entry of this message.
    #[must_use]
    pub fn outgoing(key: &LogKey) -> Self {
        Self { place: Place::Outgoing, lamport: key.lamport, id: key.id.clone() }
    }

    /// The key of a row that is found by id alone.
    #[must_use]
    pub fn by_id(place: Place, id: &MessageId) -> Self {
        Self { place, lamport: Lamport(0), id: id.clone() }
    }
}

impl Row {
    /// The key under which this row is kept.
    #[must_use]
    pub fn key(&self) -> RowKey {
        let (place, lamport, id) = self.place();
        RowKey { place, lamport, id: id.clone() }
    }

    /// The parts of [`key`](Self::key), in its order.
    pub(crate) fn place(&self) -> (Place, Lamport, &MessageId) {
        match self {
            Self::Message(row) => (Place::Body, row.body.key.lamport, &row.body.key.id),
            Self::Parked(row) => (Place::Body, row.body.key.lamport, &row.body.key.id),
            Self::Stub(row) => (Place::Body, row.key.lamport, &row.key.id),
            Self::Outgoing(row) => (Place::Outgoing, row.key.lamport, &row.key.id),
            Self::Request(row) => (Place::Request, Lamport(0), &row.entry.id),
            Self::Response(row) => (Place::Response, Lamport(0), &row.id),
            Self::Mark(row) => (Place::Mark, Lamport(0), &row.id),
            Self::Incarnation(row) => (Place::Incarnation, Lamport(0), &row.id),
            Self::Member(row) => (Place::Member, Lamport(0), &row.id),
        }
    }
}
