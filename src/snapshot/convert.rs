//! Saved state to protobuf types and back.
//!
//! What: one pair of functions per sort of value. Why apart: the frame knows nothing of what is in it, and this
//! knows nothing of the frame. How it moves: going out cannot fail; coming in fails with the reason as text.

use std::sync::Arc;

use bytes::Bytes;

use crate::state::{
    Body, ChannelMeta, Evidence, Incarnation, LogKey, Logged, Mark, MarkKind, Member, MemberSet, Outgoing, Parked,
    Place, Request, Response, Row, RowCounts, RowKey, Stub,
};
use crate::types::{Dialect, HistoryEntry, Lamport, MessageId, ParticipantId, Signature, WallTime};
use crate::wire::generated::snapshot::{self as proto, row::Kind};

/// A row without its key.
pub(super) fn to_kind(row: &Row) -> Kind {
    match row {
        Row::Message(row) => Kind::Message(proto::Message {
            body: Some(to_body(&row.body)),
            delivery: row.delivery,
            seen: row.seen.as_nanos(),
            late: row.late,
            below_floor: row.below_floor,
            missing: row.missing.iter().map(|id| copy(id.as_bytes())).collect(),
            below_stable: row.below_stable,
        }),
        Row::Parked(row) => Kind::Parked(proto::Parked {
            body: Some(to_body(&row.body)),
            seen: row.seen.as_nanos(),
            parked_at_age_ms: row.parked_at_age_ms,
        }),
        Row::Stub(row) => Kind::Stub(proto::Stub { sender: Some(copy(row.sender.as_bytes())) }),
        Row::Outgoing(row) => Kind::Outgoing(proto::Outgoing {
            first_sent: row.first_sent.as_nanos(),
            last_sent: row.last_sent.as_nanos(),
            next_due: row.next_due.as_nanos(),
            attempts: row.attempts,
            failed: row.failed,
            filters_heard_at_send: row.filters_heard_at_send,
            evidence: row.evidence.iter().map(to_evidence).collect(),
            uncertain: row.uncertain,
        }),
        Row::Request(row) => Kind::Request(proto::Request {
            hint: row.entry.hint.clone(),
            sender: row.entry.sender.as_ref().map(|sender| copy(sender.as_bytes())),
            due: row.due.as_nanos(),
            sent: row.sent,
            heard: row.heard,
            since_age_ms: row.since_age_ms,
            named_at_age_ms: row.named_at_age_ms,
        }),
        Row::Response(row) => Kind::Response(proto::Response { due: row.due.as_nanos() }),
        Row::Mark(row) => {
            let kind = match row.kind {
                MarkKind::Lost => proto::MarkKind::Lost,
                MarkKind::DeclaredMet => proto::MarkKind::DeclaredMet,
                MarkKind::Withdrawn => proto::MarkKind::Withdrawn,
                MarkKind::History => proto::MarkKind::History,
                MarkKind::Overdue => proto::MarkKind::Overdue,
                MarkKind::Erased => proto::MarkKind::Erased,
            };
            Kind::Mark(proto::Mark { kind: kind.into(), sequence: row.sequence })
        }
        Row::Incarnation(row) => Kind::Incarnation(proto::Incarnation { first: row.first }),
        Row::Member(row) => Kind::Member(proto::Member {
            since: row.since.0,
            base: row.base.map(|base| base.0),
            agreed_above: row.agreed.map(|(lower, _)| lower.0),
            agreed_up_to: row.agreed.map(|(_, upper)| upper.0),
        }),
    }
}

/// The row that was kept under this key.
pub(super) fn from_kind(key: &RowKey, kind: Option<Kind>) -> Result<Row, String> {
    let RowKey { place, lamport, id } = key.clone();
    let log_key = LogKey { lamport, id: id.clone() };
    Ok(match (place, required(kind, "kind")?) {
        (Place::Body, Kind::Message(row)) => Row::Message(Logged {
            body: from_body(log_key, row.body)?,
            delivery: row.delivery,
            seen: WallTime::from_nanos(row.seen),
            late: row.late,
            below_floor: row.below_floor,
            missing: row.missing.iter().map(MessageId::new).collect(),
            below_stable: row.below_stable,
        }),
        (Place::Body, Kind::Parked(row)) => Row::Parked(Parked {
            body: from_body(log_key, row.body)?,
            seen: WallTime::from_nanos(row.seen),
            parked_at_age_ms: row.parked_at_age_ms,
        }),
        (Place::Body, Kind::Stub(row)) => Row::Stub(Stub { key: log_key, sender: from_sender(row.sender)? }),
        (Place::Outgoing, Kind::Outgoing(row)) => Row::Outgoing(Outgoing {
            key: log_key,
            first_sent: WallTime::from_nanos(row.first_sent),
            last_sent: WallTime::from_nanos(row.last_sent),
            next_due: WallTime::from_nanos(row.next_due),
            attempts: row.attempts,
            failed: row.failed,
            uncertain: row.uncertain,
            filters_heard_at_send: row.filters_heard_at_send,
            evidence: row.evidence.into_iter().map(from_evidence).collect::<Result<_, _>>()?,
        }),
        (Place::Request, Kind::Request(row)) => Row::Request(Request {
            entry: HistoryEntry { id, hint: row.hint, sender: row.sender.map(ParticipantId::new) },
            due: WallTime::from_nanos(row.due),
            sent: row.sent,
            heard: row.heard,
            since_age_ms: row.since_age_ms,
            named_at_age_ms: row.named_at_age_ms,
        }),
        (Place::Response, Kind::Response(row)) => Row::Response(Response { id, due: WallTime::from_nanos(row.due) }),
        (Place::Mark, Kind::Mark(row)) => {
            let kind = match proto::MarkKind::try_from(row.kind) {
                Ok(proto::MarkKind::Lost) => MarkKind::Lost,
                Ok(proto::MarkKind::DeclaredMet) => MarkKind::DeclaredMet,
                Ok(proto::MarkKind::Withdrawn) => MarkKind::Withdrawn,
                Ok(proto::MarkKind::History) => MarkKind::History,
                Ok(proto::MarkKind::Overdue) => MarkKind::Overdue,
                Ok(proto::MarkKind::Erased) => MarkKind::Erased,
                Ok(proto::MarkKind::Unspecified) | Err(_) => return Err("unknown kind of mark".into()),
            };
            Row::Mark(Mark { id, kind, sequence: row.sequence })
        }
        (Place::Incarnation, Kind::Incarnation(row)) => Row::Incarnation(Incarnation { id, first: row.first }),
        (Place::Member, Kind::Member(row)) => Row::Member(Member {
            id,
            since: Lamport(row.since),
            base: row.base.map(Lamport),
            agreed: row.agreed_above.map(Lamport).zip(row.agreed_up_to.map(Lamport)),
        }),
        (_, kind) => return Err(format!("it holds a row of another place ({})", name(&kind))),
    })
}

/// The meta with its schema version.
pub(super) fn to_meta(schema: u32, meta: &ChannelMeta) -> proto::Meta {
    let RowCounts { messages, parked, stubs, outgoing, requests, responses, marks, hints } = meta.counts;
    proto::Meta {
        schema,
        lamport: meta.lamport.0,
        highest_received: meta.highest_received.0,
        next_delivery: meta.next_delivery,
        horizon: meta.horizon.map(|horizon| horizon.0),
        backfill_left: meta.backfill_left,
        joined_at_age_ms: meta.joined_at_age_ms,
        floor: meta.floor.as_ref().map(to_log_key),
        stub_floor: meta.stub_floor.as_ref().map(to_log_key),
        age_ms: meta.age_ms,
        filters_heard: meta.filters_heard,
        marks_set: meta.marks_set,
        counts: Some(proto::RowCounts { messages, parked, stubs, outgoing, requests, responses, marks, hints }),
        oldest: meta.oldest.as_ref().map(to_log_key),
        newest: meta.newest.as_ref().map(to_log_key),
        told: meta.told,
        dialect: to_dialect(meta.dialect).into(),
        members: meta.members.map(|set| proto::MemberSet {
            epoch: set.epoch,
            members: set.members,
            stable: set.stable.map(|stable| stable.0),
        }),
    }
}

/// The meta that was kept.
pub(super) fn from_meta(meta: proto::Meta) -> Result<ChannelMeta, String> {
    let proto::RowCounts { messages, parked, stubs, outgoing, requests, responses, marks, hints } =
        required(meta.counts, "counts")?;
    Ok(ChannelMeta {
        lamport: Lamport(meta.lamport),
        highest_received: Lamport(meta.highest_received),
        next_delivery: meta.next_delivery,
        horizon: meta.horizon.map(Lamport),
        joined_at_age_ms: meta.joined_at_age_ms,
        backfill_left: meta.backfill_left,
        floor: meta.floor.map(from_log_key).transpose()?,
        stub_floor: meta.stub_floor.map(from_log_key).transpose()?,
        age_ms: meta.age_ms,
        filters_heard: meta.filters_heard,
        marks_set: meta.marks_set,
        counts: RowCounts { messages, parked, stubs, outgoing, requests, responses, marks, hints },
        oldest: meta.oldest.map(from_log_key).transpose()?,
        newest: meta.newest.map(from_log_key).transpose()?,
        told: meta.told,
        dialect: from_dialect(meta.dialect)?,
        members: meta.members.map(|set| MemberSet {
            epoch: set.epoch,
            members: set.members,
            stable: set.stable.map(Lamport),
        }),
    })
}

fn to_dialect(dialect: Dialect) -> proto::DialectKind {
    match dialect {
        Dialect::Lip109 => proto::DialectKind::Lip109,
        Dialect::JsWaku => proto::DialectKind::JsWaku,
        Dialect::NimSds => proto::DialectKind::NimSds,
    }
}

fn from_dialect(dialect: i32) -> Result<Dialect, String> {
    match proto::DialectKind::try_from(dialect) {
        Ok(proto::DialectKind::Lip109) => Ok(Dialect::Lip109),
        Ok(proto::DialectKind::JsWaku) => Ok(Dialect::JsWaku),
        Ok(proto::DialectKind::NimSds) => Ok(Dialect::NimSds),
        Err(_) => Err("unknown dialect".into()),
    }
}

fn to_body(body: &Body) -> proto::Body {
    proto::Body {
        sender: Some(copy(body.sender.as_bytes())),
        causal_history: body.causal_history.iter().map(to_entry).collect(),
        content: body.content.clone(),
        signature: body.signature.as_ref().map(|signature| copy(signature.as_bytes())),
        erased: body.erased.as_ref().map(|hash| copy(&hash[..])),
    }
}

fn from_body(key: LogKey, body: Option<proto::Body>) -> Result<Arc<Body>, String> {
    let body = required(body, "body")?;
    Ok(Arc::new(Body {
        key,
        sender: from_sender(body.sender)?,
        causal_history: body.causal_history.into_iter().map(from_entry).collect::<Result<_, _>>()?,
        content: body.content,
        signature: body.signature.map(Signature::new),
        erased: body
            .erased
            .map(|hash| hash[..].try_into().map(Box::new))
            .transpose()
            .map_err(|_| "a hash has 32 bytes")?,
    }))
}

fn to_entry(entry: &HistoryEntry) -> proto::HistoryEntry {
    proto::HistoryEntry {
        id: Some(copy(entry.id.as_bytes())),
        hint: entry.hint.clone(),
        sender: entry.sender.as_ref().map(|sender| copy(sender.as_bytes())),
    }
}

fn from_entry(entry: proto::HistoryEntry) -> Result<HistoryEntry, String> {
    let id = MessageId::new(required(entry.id, "causal_history.id")?);
    Ok(HistoryEntry { id, hint: entry.hint, sender: entry.sender.map(ParticipantId::new) })
}

fn to_evidence(evidence: &Evidence) -> proto::Evidence {
    proto::Evidence {
        sender: Some(copy(evidence.sender.as_bytes())),
        chance: evidence.chance,
        seeds: evidence.seeds.concat().into(),
        hits: evidence.hits,
    }
}

fn from_evidence(evidence: proto::Evidence) -> Result<Evidence, String> {
    let (seeds, []) = evidence.seeds.as_chunks::<8>() else {
        return Err("evidence.seeds is cut short".into());
    };
    let (chance, hits) = (evidence.chance, evidence.hits);
    Ok(Evidence { sender: from_sender(evidence.sender)?, chance, hits, seeds: seeds.to_vec() })
}

fn to_log_key(key: &LogKey) -> proto::LogKey {
    proto::LogKey { lamport: key.lamport.0, id: Some(copy(key.id.as_bytes())) }
}

fn from_log_key(key: proto::LogKey) -> Result<LogKey, String> {
    Ok(LogKey { lamport: Lamport(key.lamport), id: MessageId::new(required(key.id, "log_key.id")?) })
}

fn from_sender(sender: Option<Bytes>) -> Result<ParticipantId, String> {
    required(sender, "sender").map(ParticipantId::new)
}

fn required<T>(field: Option<T>, name: &str) -> Result<T, String> {
    field.ok_or_else(|| format!("field {name} is missing"))
}

fn copy(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Message(_) => "message",
        Kind::Parked(_) => "parked",
        Kind::Stub(_) => "stub",
        Kind::Outgoing(_) => "outgoing",
        Kind::Request(_) => "request",
        Kind::Response(_) => "response",
        Kind::Mark(_) => "mark",
        Kind::Incarnation(_) => "incarnation",
        Kind::Member(_) => "member",
    }
}
