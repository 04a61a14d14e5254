//! Who is in the channel, as the application has said it, and how far each member was seen to agree with the log here
//! (docs/protocol.md section 15).

use crate::types::{Lamport, MessageId, ParticipantId};

/// The set of members, but for the members themselves, which are rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberSet {
    /// Which set, as the application counts them.
    pub epoch: u64,
    /// [`Member`]s in it.
    pub members: u64,
    /// All at or below is stable; `None` where nothing is yet.
    pub stable: Option<Lamport>,
}

impl MemberSet {
    /// A set of so many members.
    #[must_use]
    pub fn new(epoch: u64, members: u64) -> Self {
        Self { epoch, members, stable: None }
    }
}

/// A member, and what it was seen to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Its sender id, as the key of a row has it.
    pub id: MessageId,
    /// Our clock when it became a member: what was sent before is not due to it.
    pub since: Lamport,
    /// Its set began above this time when it was first heard as a member.
    pub base: Option<Lamport>,
    /// It holds the same messages as the log here, above the first time and up to the second.
    pub agreed: Option<(Lamport, Lamport)>,
}

impl Member {
    /// A member since this time, not heard yet.
    #[must_use]
    pub fn new(name: &ParticipantId, since: Lamport) -> Self {
        Self { id: MessageId::new(name.as_bytes()), since, base: None, agreed: None }
    }

    /// Its sender id.
    #[must_use]
    pub fn name(&self) -> ParticipantId {
        ParticipantId::new(self.id.as_bytes())
    }
}
