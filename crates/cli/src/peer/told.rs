//! What a peer says: one JSON object a line.
//!
//! What: [`Told`], and [`Told::from`] an event. Why types of its own: the lines are an interface for other languages
//! and must not change with the library's inner ones. How it moves: serialised as it is. Times are Unix milliseconds;
//! what is not UTF-8 is hex, under a name that ends in `_hex`.

use reliable_channel::channel::{Channel, Event, SyncStatus, TransmitKind};
use reliable_channel::state::{Body, LogKey};
use reliable_channel::types::{Dialect, HistoryEntry, MessageId, ParticipantId};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

#[derive(Debug, Serialize)]
#[serde(tag = "ev", rename_all = "snake_case")]
pub(super) enum Told {
    Ready {
        channel: String,
        sender: String,
        dialect: &'static str,
    },
    Out {
        kind: &'static str,
        #[serde(flatten)]
        id: Named,
        /// Whom alone it is for.
        #[serde(flatten)]
        to: Option<Named>,
        hex: String,
    },
    Delivered {
        #[serde(flatten)]
        message: Kept,
        late: bool,
        history: bool,
        missing: Vec<Plain>,
        #[serde(skip_serializing_if = "is_usual")]
        from_member: bool,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        below_stable: bool,
    },
    Joined {
        #[serde(flatten)]
        id: Named,
        history: u64,
    },
    /// Messages went ahead without what they had waited for.
    Gap {
        missing: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<Place>,
        before: Place,
    },
    Duplicate {
        #[serde(flatten)]
        id: Named,
    },
    Echo {
        #[serde(flatten)]
        id: Named,
    },
    Acked {
        #[serde(flatten)]
        id: Named,
        #[serde(flatten)]
        by: Named,
    },
    AlsoAcked {
        #[serde(flatten)]
        id: Named,
        #[serde(flatten)]
        by: Named,
    },
    Uncertain {
        #[serde(flatten)]
        id: Named,
        chance: f64,
    },
    PossiblyAcked {
        #[serde(flatten)]
        id: Named,
        #[serde(flatten)]
        by: Named,
        chance: f64,
    },
    Failed {
        #[serde(flatten)]
        id: Named,
        possibly: bool,
    },
    Missing {
        #[serde(flatten)]
        id: Named,
        ids: Vec<Plain>,
        entries: Vec<Entry>,
    },
    Lost {
        ids: Vec<Plain>,
    },
    TooOld {
        #[serde(flatten)]
        id: Named,
        #[serde(flatten)]
        sender: Named,
    },
    IdConflict {
        #[serde(flatten)]
        id: Named,
        #[serde(flatten)]
        sender: Named,
    },
    Ephemeral {
        #[serde(flatten)]
        content: Content,
        #[serde(flatten)]
        sender: Named,
    },
    /// Messages that are not demonstrably of who they name.
    NotAuthentic {
        #[serde(flatten)]
        id: Named,
        #[serde(flatten)]
        sender: Named,
        why: String,
        count: u64,
    },
    SyncReceived {
        #[serde(flatten)]
        sender: Named,
    },
    RepairRequested {
        #[serde(flatten)]
        id: Named,
        #[serde(flatten)]
        by: Named,
    },
    RepairAnswered {
        #[serde(flatten)]
        id: Named,
    },
    Limit {
        limit: String,
        #[serde(flatten)]
        id: Option<Named>,
        #[serde(flatten)]
        by: Option<Named>,
    },
    ClockReset {
        from: u64,
        to: u64,
    },
    SharedIdentity {
        #[serde(flatten)]
        id: Named,
    },
    StateMended {
        what: String,
    },
    /// Somebody in this channel speaks as the other network does.
    ForeignDialect {
        heard: &'static str,
    },
    /// How far this participant is with what it missed.
    SyncStatus {
        state: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        received: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        missing: Option<u64>,
    },
    /// Our message has come to every user.
    DeliveredToAll {
        #[serde(flatten)]
        id: Named,
    },
    /// All with such a Lamport time, or a lower one, is stable.
    Stable {
        up_to: u64,
    },
    StabilityWaits {
        #[serde(flatten)]
        member: Named,
    },
    Expired {
        #[serde(flatten)]
        id: Named,
    },
    StabilityBroken {
        #[serde(flatten)]
        id: Named,
        #[serde(flatten)]
        sender: Named,
    },
    /// Who has a message, and who of the members was not seen to have it.
    Who {
        #[serde(flatten)]
        id: Named,
        by: Vec<Plain>,
        missing: Vec<Plain>,
        missing_users: Vec<Plain>,
    },
    /// A page of the log, newest first.
    History {
        messages: Vec<Kept>,
        more: bool,
    },
    /// An event that this program does not know yet.
    Other {
        what: String,
    },
    State(Box<State>),
    Error {
        message: String,
    },
    Done {
        #[serde(skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
    },
}

/// A message that is in the log.
#[derive(Debug, Serialize)]
pub(super) struct Kept {
    #[serde(flatten)]
    id: Named,
    #[serde(flatten)]
    content: Content,
    #[serde(flatten)]
    sender: Named,
    lamport: u64,
}

/// The channel as it is.
#[derive(Debug, Serialize)]
pub(super) struct State {
    pub(super) log: Vec<Plain>,
    pub(super) outgoing: Vec<Plain>,
    pub(super) incoming: Vec<Plain>,
    pub(super) repair_out: Vec<RepairOut>,
    pub(super) repair_in: Vec<RepairIn>,
    pub(super) lamport: u64,
    pub(super) floor: Option<Place>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) members: Option<Members>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stable: Option<u64>,
}

/// The members, as they were set.
#[derive(Debug, Serialize)]
pub(super) struct Members {
    epoch: u64,
    names: Vec<Plain>,
}

#[derive(Debug, Serialize)]
pub(super) struct RepairOut {
    #[serde(flatten)]
    pub(super) id: Named,
    pub(super) t_req: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct RepairIn {
    #[serde(flatten)]
    pub(super) id: Named,
    pub(super) t_resp: u64,
}

/// What a causal history says of a missing message.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    #[serde(flatten)]
    id: Named,
    #[serde(flatten)]
    sender: Option<Named>,
    #[serde(flatten)]
    hint: Option<Named>,
}

/// A place in the log.
#[derive(Debug, Serialize)]
pub(super) struct Place {
    #[serde(flatten)]
    id: Named,
    lamport: u64,
}

/// Application content: as text too, where it is text.
#[derive(Debug, Serialize)]
pub(super) struct Content {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    hex: String,
}

/// An identifier as a field of an object.
#[derive(Debug)]
pub(super) struct Named {
    name: &'static str,
    name_hex: &'static str,
    bytes: Vec<u8>,
}

/// An identifier in a list: a string, or an object with `id_hex`.
#[derive(Debug)]
pub(super) struct Plain(Named);

impl Told {
    pub(super) fn error(message: impl ToString) -> Self {
        Self::Error { message: message.to_string() }
    }

    pub(super) fn who(channel: &Channel, id: &MessageId) -> Self {
        let named = |names: Vec<ParticipantId>| names.iter().map(Plain::name).collect();
        Self::Who {
            id: Named::id(id),
            by: named(channel.acknowledged_by(id)),
            missing: named(channel.missing_members(id)),
            missing_users: named(channel.missing_users(id)),
        }
    }
}

impl From<Event> for Told {
    fn from(event: Event) -> Self {
        match event {
            Event::MessageDelivered(delivery) => Self::Delivered {
                message: Kept::new(&delivery.body),
                late: delivery.late,
                history: delivery.history,
                missing: delivery.missing.iter().map(Plain::new).collect(),
                from_member: delivery.from_member,
                below_stable: delivery.below_stable,
            },
            Event::MessageAcknowledged { id, by, .. } => Self::Acked { id: Named::id(&id), by: Named::by(&by) },
            Event::MessagePossiblyAcknowledged { id, by, chance } => {
                Self::PossiblyAcked { id: Named::id(&id), by: Named::by(&by), chance }
            }
            Event::AlsoAcknowledged { id, by } => Self::AlsoAcked { id: Named::id(&id), by: Named::by(&by) },
            Event::DeliveryUncertain { id, chance } => Self::Uncertain { id: Named::id(&id), chance },
            Event::DeliveryFailed { id, possibly } => Self::Failed { id: Named::id(&id), possibly },
            Event::MissingDependencies { id, missing } => Self::Missing {
                id: Named::id(&id),
                ids: missing.iter().map(|entry| Plain::new(&entry.id)).collect(),
                entries: missing.iter().map(Entry::new).collect(),
            },
            Event::DependencyLost { id } => Self::Lost { ids: vec![Plain::new(&id)] },
            Event::HistoryGap { missing, after, before } => {
                Self::Gap { missing, after: after.as_ref().map(Place::new), before: Place::new(&before) }
            }
            Event::Joined { first, history } => Self::Joined { id: Named::id(&first), history },
            Event::TooOld { id, sender } => Self::TooOld { id: Named::id(&id), sender: Named::sender(&sender) },
            Event::IdConflict { id, sender } => Self::IdConflict { id: Named::id(&id), sender: Named::sender(&sender) },
            Event::EphemeralReceived { sender, content, .. } => {
                Self::Ephemeral { content: Content::new(&content), sender: Named::sender(&sender) }
            }
            Event::NotAuthentic { id, sender, why, count } => {
                Self::NotAuthentic { id: Named::id(&id), sender: Named::sender(&sender), why: why.to_string(), count }
            }
            Event::SyncReceived { sender } => Self::SyncReceived { sender: Named::sender(&sender) },
            Event::RepairRequested { id, by } => Self::RepairRequested { id: Named::id(&id), by: Named::by(&by) },
            Event::RepairAnswered { id } => Self::RepairAnswered { id: Named::id(&id) },
            Event::LimitReached { limit, id, by } => Self::Limit {
                limit: format!("{limit:?}"),
                id: id.as_ref().map(Named::id),
                by: by.as_ref().map(Named::by),
            },
            Event::SharedIdentity { id } => Self::SharedIdentity { id: Named::id(&id) },
            Event::ClockReset { from, to } => Self::ClockReset { from: from.0, to: to.0 },
            Event::SyncStatus(status) => status.into(),
            Event::DeliveredToAll { id } => Self::DeliveredToAll { id: Named::id(&id) },
            Event::Stable { up_to } => Self::Stable { up_to: up_to.0 },
            Event::StabilityWaits { member } => Self::StabilityWaits { member: Named::member(&member) },
            Event::MessageExpired { id } => Self::Expired { id: Named::id(&id) },
            Event::StabilityBroken { id, sender } => {
                Self::StabilityBroken { id: Named::id(&id), sender: Named::sender(&sender) }
            }
            Event::StateMended { what } => Self::StateMended { what },
            other => Self::Other { what: format!("{other:?}") },
        }
    }
}

impl From<SyncStatus> for Told {
    fn from(status: SyncStatus) -> Self {
        let told = |state| Self::SyncStatus { state, received: None, missing: None };
        match status {
            SyncStatus::InSync => told("in_sync"),
            SyncStatus::Syncing { received, missing } => {
                Self::SyncStatus { state: "syncing", received: Some(received), missing: Some(missing) }
            }
            SyncStatus::Behind => told("behind"),
            _ => told("other"),
        }
    }
}

impl Kept {
    pub(super) fn new(body: &Body) -> Self {
        Self {
            id: Named::id(&body.key.id),
            content: Content::new(&body.content),
            sender: Named::sender(&body.sender),
            lamport: body.key.lamport.0,
        }
    }
}

impl Content {
    pub(super) fn new(content: &[u8]) -> Self {
        Self { text: std::str::from_utf8(content).ok().map(str::to_owned), hex: hex::encode(content) }
    }
}

impl Place {
    pub(super) fn new(key: &LogKey) -> Self {
        Self { id: Named::id(&key.id), lamport: key.lamport.0 }
    }
}

impl Named {
    pub(super) fn id(id: &MessageId) -> Self {
        Self { name: "id", name_hex: "id_hex", bytes: id.as_bytes().to_vec() }
    }

    pub(super) fn sender(sender: &ParticipantId) -> Self {
        Self { name: "sender", name_hex: "sender_hex", bytes: sender.as_bytes().to_vec() }
    }

    pub(super) fn to(to: &ParticipantId) -> Self {
        Self { name: "to", name_hex: "to_hex", bytes: to.as_bytes().to_vec() }
    }

    pub(super) fn member(member: &ParticipantId) -> Self {
        Self { name: "member", name_hex: "member_hex", bytes: member.as_bytes().to_vec() }
    }

    pub(super) fn by(by: &ParticipantId) -> Self {
        Self { name: "by", name_hex: "by_hex", bytes: by.as_bytes().to_vec() }
    }
}

impl Plain {
    pub(super) fn new(id: &MessageId) -> Self {
        Self(Named::id(id))
    }

    fn name(name: &ParticipantId) -> Self {
        Self(Named::id(&MessageId::new(name.as_bytes())))
    }
}

impl From<(u64, Vec<ParticipantId>)> for Members {
    fn from((epoch, names): (u64, Vec<ParticipantId>)) -> Self {
        Self { epoch, names: names.iter().map(Plain::name).collect() }
    }
}

/// Where nothing is to be said of it.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_usual(from_member: &bool) -> bool {
    *from_member
}

impl Entry {
    pub(super) fn new(entry: &HistoryEntry) -> Self {
        let hint = |hint: &bytes::Bytes| Named { name: "hint", name_hex: "hint_hex", bytes: hint.to_vec() };
        Self {
            id: Named::id(&entry.id),
            sender: entry.sender.as_ref().map(Named::sender),
            hint: entry.hint.as_ref().map(hint),
        }
    }
}

impl Serialize for Named {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match std::str::from_utf8(&self.bytes) {
            Ok(text) => map.serialize_entry(self.name, text)?,
            Err(_) => map.serialize_entry(self.name_hex, &hex::encode(&self.bytes))?,
        }
        map.end()
    }
}

impl Serialize for Plain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0.bytes) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => self.0.serialize(serializer),
        }
    }
}

/// The name of a dialect, as the command line has it.
pub(super) fn dialect(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Lip109 => "lip109",
        Dialect::JsWaku => "js",
        Dialect::NimSds => "nim",
        _ => "other",
    }
}

/// The name of a transmission's reason.
pub(super) fn kind(kind: TransmitKind) -> &'static str {
    match kind {
        TransmitKind::Content => "content",
        TransmitKind::Ephemeral => "ephemeral",
        TransmitKind::Relay => "relay",
        TransmitKind::Resend => "resend",
        TransmitKind::Sync => "sync",
        TransmitKind::Repair => "repair",
        TransmitKind::CatchUp => "catch_up",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use tap::Tap as _;

    use super::*;

    fn line(told: &Told) -> String {
        serde_json::to_string(told).unwrap()
    }

    #[test]
    fn what_is_not_utf_8_is_hex_under_its_own_name() {
        let odd = MessageId::new([0xff, 0x01]);
        let told = Event::MessageAcknowledged { id: odd.clone(), by: ParticipantId::new([0xfe]), after_failure: false };
        assert_eq!(line(&told.into()), r#"{"ev":"acked","id_hex":"ff01","by_hex":"fe"}"#);
        let hinted = HistoryEntry::new("b").tap_mut(|it| {
            it.hint = Some("shelf".into());
            it.sender = Some("bob".into());
        });
        let told = Event::MissingDependencies { id: "a".into(), missing: vec![HistoryEntry::new(odd), hinted] };
        assert_eq!(
            line(&told.into()),
            r#"{"ev":"missing","id":"a","ids":[{"id_hex":"ff01"},"b"],"entries":[{"id_hex":"ff01"},{"id":"b","sender":"bob","hint":"shelf"}]}"#
        );
    }

    #[test]
    fn content_that_is_no_text_is_hex_alone() {
        let told = |content: &'static [u8]| Event::EphemeralReceived {
            id: "a".into(),
            sender: "bob".into(),
            content: content.into(),
        };
        assert_eq!(line(&told(b"hi").into()), r#"{"ev":"ephemeral","text":"hi","hex":"6869","sender":"bob"}"#);
        assert_eq!(line(&told(b"\xff").into()), r#"{"ev":"ephemeral","hex":"ff","sender":"bob"}"#);
    }

    #[test]
    fn a_limit_says_what_it_cost_where_there_is_something_to_say() {
        let limit = reliable_channel::channel::Limit::Marks;
        assert_eq!(
            line(&Event::LimitReached { limit, id: None, by: None }.into()),
            r#"{"ev":"limit","limit":"Marks"}"#
        );
    }
}
