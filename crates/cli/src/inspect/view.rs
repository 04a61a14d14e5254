//! What is shown of a channel: its rows, sorted by what they mean.
//!
//! What: [`ChannelView`] and its parts. Why a shape of its own: text and JSON show the same, and JSON must not change
//! with the library's inner types. How it moves: rows go in, serde and `text` take it from there. Identifiers that are
//! not UTF-8 are hex, under names that end in `_hex`; times are Unix milliseconds.

use std::collections::HashSet;
use std::fmt::{self, Write};

use reliable_channel::state::{Body, ChannelData, LogKey, MarkKind, Outgoing, Row};
use reliable_channel::types::{ChannelId, MessageId, ParticipantId};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::screen::quoted;

/// Characters shown of a content.
const SHOWN: usize = 80;

/// A message's or channel's id.
#[derive(Clone, Debug)]
pub(super) struct Id(Vec<u8>);

/// A participant.
#[derive(Clone, Debug)]
pub(super) struct Sender(Vec<u8>);

/// What a message says: text, or bytes in hex.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Content {
    Text(String),
    Hex(String),
}

/// A channel that cannot be loaded, and why.
#[derive(Debug, Serialize)]
pub(crate) struct Damaged {
    #[serde(flatten)]
    id: Id,
    pub(crate) error: String,
}

#[derive(Debug, Serialize)]
pub(super) struct ChannelView {
    #[serde(flatten)]
    pub(super) id: Id,
    pub(super) lamport: u64,
    pub(super) next_delivery: u64,
    pub(super) floor: Option<KeyView>,
    pub(super) stub_floor: Option<KeyView>,
    pub(super) horizon: Option<u64>,
    pub(super) log: Vec<LoggedView>,
    pub(super) unacknowledged: Vec<OutgoingView>,
    pub(super) waiting: Vec<WaitingView>,
    pub(super) repair_out: Vec<RequestView>,
    pub(super) repair_in: Vec<ResponseView>,
    pub(super) marks: Vec<MarkView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) members: Option<MembersView>,
    pub(super) stubs: usize,
    pub(super) hints: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct KeyView {
    #[serde(flatten)]
    pub(super) id: Id,
    pub(super) lamport: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct LoggedView {
    #[serde(flatten)]
    pub(super) key: KeyView,
    #[serde(flatten)]
    pub(super) sender: Sender,
    pub(super) bytes: usize,
    #[serde(flatten)]
    pub(super) content: Content,
    /// None for messages of the store's own participant.
    pub(super) delivery: Option<u64>,
    pub(super) late: bool,
    pub(super) below_floor: bool,
    /// Its content is not there any more.
    pub(super) erased: bool,
    pub(super) missing: Vec<Id>,
}

#[derive(Debug, Serialize)]
pub(super) struct OutgoingView {
    #[serde(flatten)]
    pub(super) key: KeyView,
    pub(super) attempts: u32,
    pub(super) failed: bool,
    pub(super) first_sent_ms: u64,
    pub(super) next_due_ms: u64,
    pub(super) evidence: Vec<EvidenceView>,
}

#[derive(Debug, Serialize)]
pub(super) struct EvidenceView {
    #[serde(flatten)]
    pub(super) sender: Sender,
    pub(super) chance_of_error: f64,
    pub(super) hits: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct WaitingView {
    #[serde(flatten)]
    pub(super) key: KeyView,
    #[serde(flatten)]
    pub(super) sender: Sender,
    pub(super) bytes: usize,
    #[serde(flatten)]
    pub(super) content: Content,
    pub(super) waits_for: Vec<DependencyView>,
}

#[derive(Debug, Serialize)]
pub(super) struct DependencyView {
    #[serde(flatten)]
    pub(super) id: Id,
    /// It was received and waits itself.
    pub(super) received: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct RequestView {
    #[serde(flatten)]
    pub(super) id: Id,
    #[serde(flatten)]
    pub(super) sender: Option<Sender>,
    pub(super) t_req_ms: u64,
    pub(super) sent: u32,
    pub(super) heard: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct ResponseView {
    #[serde(flatten)]
    pub(super) id: Id,
    pub(super) t_resp_ms: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct MarkView {
    #[serde(flatten)]
    pub(super) id: Id,
    pub(super) kind: &'static str,
}

/// The members that were set.
#[derive(Debug, Serialize)]
pub(super) struct MembersView {
    pub(super) epoch: u64,
    pub(super) stable: Option<u64>,
    pub(super) members: Vec<MemberView>,
}

#[derive(Debug, Serialize)]
pub(super) struct MemberView {
    #[serde(flatten)]
    pub(super) sender: Sender,
    /// What was sent before is not due to it.
    pub(super) since: u64,
    /// It holds what the log holds above the one Lamport time, up to the other.
    pub(super) agreed_above: Option<u64>,
    pub(super) agreed_up_to: Option<u64>,
}

impl Damaged {
    pub(crate) fn new(channel: &ChannelId, error: &anyhow::Error) -> Self {
        Self { id: Id(channel.as_bytes().to_vec()), error: format!("{error:#}") }
    }

    /// Their names, as one line.
    pub(crate) fn names(damaged: &[Self]) -> String {
        damaged.iter().map(|damaged| damaged.id.to_string()).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channel {}", self.id)
    }
}

impl ChannelView {
    pub(super) fn new(channel: &ChannelId, data: &ChannelData) -> Self {
        let meta = data.meta.clone().unwrap_or_default();
        let mut view = Self {
            id: Id(channel.as_bytes().to_vec()),
            lamport: meta.lamport.0,
            next_delivery: meta.next_delivery,
            floor: meta.floor.as_ref().map(KeyView::new),
            stub_floor: meta.stub_floor.as_ref().map(KeyView::new),
            horizon: meta.horizon.map(|horizon| horizon.0),
            log: Vec::new(),
            unacknowledged: Vec::new(),
            waiting: Vec::new(),
            repair_out: Vec::new(),
            repair_in: Vec::new(),
            marks: Vec::new(),
            members: meta.members.map(|set| MembersView {
                epoch: set.epoch,
                stable: set.stable.map(|stable| stable.0),
                members: Vec::new(),
            }),
            stubs: 0,
            hints: data.hints.len(),
        };
        let (mut met, mut parked) = (HashSet::new(), HashSet::new());
        for row in &data.rows {
            match row {
                Row::Message(logged) => drop(met.insert(&logged.body.key.id)),
                Row::Stub(stub) => drop(met.insert(&stub.key.id)),
                Row::Mark(mark) => drop(met.insert(&mark.id)),
                Row::Parked(waiting) => drop(parked.insert(&waiting.body.key.id)),
                _ => {}
            }
        }
        for row in &data.rows {
            view.take(row, &met, &parked);
        }
        view
    }

    fn take(&mut self, row: &Row, met: &HashSet<&MessageId>, parked: &HashSet<&MessageId>) {
        match row {
            Row::Message(logged) => self.log.push(LoggedView {
                key: KeyView::new(&logged.body.key),
                sender: Sender::new(&logged.body.sender),
                bytes: logged.body.content.len(),
                content: Content::new(&logged.body.content),
                delivery: logged.delivery,
                late: logged.late,
                below_floor: logged.below_floor,
                erased: logged.body.is_erased(),
                missing: logged.missing.iter().map(Id::new).collect(),
            }),
            Row::Parked(waiting) => self.waiting.push(WaitingView::new(&waiting.body, met, parked)),
            Row::Outgoing(outgoing) => self.unacknowledged.push(OutgoingView::new(outgoing)),
            Row::Request(request) => self.repair_out.push(RequestView {
                id: Id::new(&request.entry.id),
                sender: request.entry.sender.as_ref().map(Sender::new),
                t_req_ms: request.due.as_millis(),
                sent: request.sent,
                heard: request.heard,
            }),
            Row::Response(response) => {
                self.repair_in.push(ResponseView { id: Id::new(&response.id), t_resp_ms: response.due.as_millis() });
            }
            Row::Mark(mark) => {
                let kind = match mark.kind {
                    MarkKind::Lost => "lost",
                    MarkKind::DeclaredMet => "declared met",
                    MarkKind::Withdrawn => "withdrawn",
                    MarkKind::History => "history",
                    MarkKind::Overdue => "overdue",
                    MarkKind::Erased => "erased",
                    _ => "other",
                };
                self.marks.push(MarkView { id: Id::new(&mark.id), kind });
            }
            Row::Stub(_) => self.stubs += 1,
            Row::Member(member) => {
                let view = MemberView {
                    sender: Sender::new(&member.name()),
                    since: member.since.0,
                    agreed_above: member.agreed.map(|(lower, _)| lower.0),
                    agreed_up_to: member.agreed.map(|(_, upper)| upper.0),
                };
                if let Some(set) = &mut self.members {
                    set.members.push(view);
                }
            }
            // An incarnation is of use to cursors alone.
            _ => {}
        }
    }
}

impl WaitingView {
    fn new(body: &Body, met: &HashSet<&MessageId>, parked: &HashSet<&MessageId>) -> Self {
        let own = &body.key.id;
        let unmet = body.causal_history.iter().map(|entry| &entry.id).filter(|id| *id != own && !met.contains(id));
        Self {
            key: KeyView::new(&body.key),
            sender: Sender::new(&body.sender),
            bytes: body.content.len(),
            content: Content::new(&body.content),
            waits_for: unmet.map(|id| DependencyView { id: Id::new(id), received: parked.contains(id) }).collect(),
        }
    }
}

impl OutgoingView {
    fn new(outgoing: &Outgoing) -> Self {
        let evidence = outgoing.evidence.iter().map(|evidence| EvidenceView {
            sender: Sender::new(&evidence.sender),
            chance_of_error: evidence.chance,
            hits: evidence.hits,
        });
        Self {
            key: KeyView::new(&outgoing.key),
            attempts: outgoing.attempts,
            failed: outgoing.failed && outgoing.uncertain.is_none(),
            first_sent_ms: outgoing.first_sent.as_millis(),
            next_due_ms: outgoing.next_due.as_millis(),
            evidence: evidence.collect(),
        }
    }
}

impl KeyView {
    fn new(key: &LogKey) -> Self {
        Self { id: Id::new(&key.id), lamport: key.lamport.0 }
    }
}

impl Content {
    fn new(content: &[u8]) -> Self {
        std::str::from_utf8(content).map_or_else(|_| Self::Hex(hex(content)), |text| Self::Text(text.to_owned()))
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quoted(text, SHOWN)),
            Self::Hex(hex) if hex.len() > SHOWN => write!(f, "0x{}...", &hex[..SHOWN]),
            Self::Hex(hex) => write!(f, "0x{hex}"),
        }
    }
}

impl Id {
    pub(super) fn new(id: &MessageId) -> Self {
        Self(id.as_bytes().to_vec())
    }
}

impl Sender {
    fn new(sender: &ParticipantId) -> Self {
        Self(sender.as_bytes().to_vec())
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        named(serializer, "id", "id_hex", &self.0)
    }
}

impl Serialize for Sender {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        named(serializer, "sender", "sender_hex", &self.0)
    }
}

fn named<S: Serializer>(to: S, name: &'static str, hex_name: &'static str, bytes: &[u8]) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(Some(1))?;
    match std::str::from_utf8(bytes) {
        Ok(text) => map.serialize_entry(name, text)?,
        Err(_) => map.serialize_entry(hex_name, &hex(bytes))?,
    }
    map.end()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        MessageId::new(&self.0).fmt(f)
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ParticipantId::new(&self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_that_are_not_text_are_hex() {
        let key = |id: &[u8]| serde_json::to_string(&KeyView { id: Id(id.to_vec()), lamport: 7 }).unwrap();
        assert_eq!(key(b"m"), r#"{"id":"m","lamport":7}"#);
        assert_eq!(key(&[0xff, 0x01]), r#"{"id_hex":"ff01","lamport":7}"#);
        assert_eq!(serde_json::to_string(&Sender(vec![0xfe])).unwrap(), r#"{"sender_hex":"fe"}"#);
    }
}
