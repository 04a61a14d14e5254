//! What the rules save: rows of every kind, and metas that fit them.
//!
//! What: constructors, with every field set to something of its own. Why: a field that a store forgets must be missed.
//! How it moves: [`all`] makes the commit that leads from nothing to some rows, [`data`] what must then come back.

use std::sync::Arc;

use bytes::Bytes;

use crate::state::{
    Body, ChannelData, ChannelMeta, Commit, Evidence, HistoryUpdate, LogKey, Logged, Mark, MarkKind, Member, MemberSet,
    Outgoing, Parked, Request, Response, Row, RowCounts, Stub,
};
use crate::store::{Persistence, PersistenceError, PersistenceErrorKind};
use crate::types::{ChannelId, Dialect, HistoryEntry, Lamport, MessageId, ParticipantId, Signature, WallTime};

/// 2025-07-31T18:40:00.123456789Z
pub(super) const NOW: WallTime = WallTime::from_nanos(1_753_987_200_123_456_789);

pub(super) fn key(lamport: u64, id: &str) -> LogKey {
    LogKey { lamport: Lamport(lamport), id: id.into() }
}

pub(super) fn body(key: LogKey, content: impl Into<Bytes>) -> Arc<Body> {
    let named = HistoryEntry {
        id: "dependency".into(),
        hint: Some(Bytes::from_static(b"hint")),
        sender: Some(ParticipantId::from("bob")),
    };
    Arc::new(Body {
        causal_history: vec![HistoryEntry::new("bare"), named],
        signature: Some(Signature::new(b"signature")),
        ..Body::new(key, "alice".into(), content.into())
    })
}

pub(super) fn message(lamport: u64, id: &str) -> Row {
    content(lamport, id, format!("content of {id}"))
}

pub(super) fn content(lamport: u64, id: &str, content: impl Into<Bytes>) -> Row {
    Row::Message(Logged {
        body: body(key(lamport, id), content),
        delivery: Some(7),
        seen: NOW,
        late: true,
        below_floor: false,
        missing: vec!["lost".into(), MessageId::new([0, 255])],
        below_stable: true,
    })
}

pub(super) fn parked(lamport: u64, id: &str) -> Row {
    Row::Parked(Parked { body: body(key(lamport, id), "waits"), seen: NOW, parked_at_age_ms: 86_400_000 })
}

pub(super) fn stub(lamport: u64, id: &str) -> Row {
    Row::Stub(Stub { key: key(lamport, id), sender: "alice".into() })
}

pub(super) fn outgoing(lamport: u64, id: &str) -> Row {
    let evidence = vec![Evidence {
        sender: "bob".into(),
        chance: 0.001,
        hits: 2,
        seeds: vec![[1, 2, 3, 4, 5, 6, 7, 8], [255; 8]],
    }];
    Row::Outgoing(Outgoing {
        key: key(lamport, id),
        first_sent: NOW,
        last_sent: NOW,
        next_due: WallTime::from_nanos(NOW.as_nanos() + 15_000_000_000),
        attempts: 2,
        failed: true,
        uncertain: None,
        filters_heard_at_send: 300,
        evidence,
    })
}

pub(super) fn request(id: &str) -> Row {
    let entry = HistoryEntry {
        id: id.into(),
        hint: Some(Bytes::from_static(b"where")),
        sender: Some(ParticipantId::from("carol")),
    };
    Row::Request(Request { entry, due: NOW, sent: 1, heard: 2, since_age_ms: 3_600_000, named_at_age_ms: 3_600_001 })
}

pub(super) fn response(id: &str) -> Row {
    Row::Response(Response { id: id.into(), due: NOW })
}

pub(super) fn mark(id: &str, kind: MarkKind) -> Row {
    Row::Mark(Mark { id: id.into(), kind, sequence: 12 })
}

pub(super) fn member(name: &str) -> Row {
    let agreed = Some((Lamport(4), Lamport(6)));
    Row::Member(Member { base: Some(Lamport(3)), agreed, ..Member::new(&name.into(), Lamport(2)) })
}

/// One row of every kind, in key order.
pub(super) fn every_kind() -> Vec<Row> {
    vec![
        stub(5, "stub"),
        message(10, "message"),
        parked(20, "parked"),
        outgoing(10, "message"),
        request("missing"),
        response("message"),
        mark("declared", MarkKind::DeclaredMet),
        mark("lost", MarkKind::Lost),
        member("bob"),
    ]
}

/// A meta with every field set, that fits these rows.
pub(super) fn meta_for(rows: &[Row]) -> ChannelMeta {
    let count = |is: fn(&Row) -> bool| rows.iter().filter(|row| is(row)).count() as u64;
    let mut log: Vec<&LogKey> = rows
        .iter()
        .filter_map(|row| match row {
            Row::Message(logged) if !logged.below_floor => Some(&logged.body.key),
            _ => None,
        })
        .collect();
    log.sort();
    ChannelMeta {
        dialect: Dialect::JsWaku,
        lamport: Lamport(1_753_987_200_123),
        highest_received: Lamport(1_753_987_200_124),
        next_delivery: 8,
        told: 7,
        horizon: Some(Lamport(3)),
        joined_at_age_ms: None,
        backfill_left: 9,
        floor: Some(key(4, "floor")),
        stub_floor: Some(key(2, "stub floor")),
        age_ms: 86_400_001,
        filters_heard: 301,
        marks_set: 13,
        counts: RowCounts {
            messages: count(|row| matches!(row, Row::Message(_))),
            parked: count(|row| matches!(row, Row::Parked(_))),
            stubs: count(|row| matches!(row, Row::Stub(_))),
            outgoing: count(|row| matches!(row, Row::Outgoing(_))),
            requests: count(|row| matches!(row, Row::Request(_))),
            responses: count(|row| matches!(row, Row::Response(_))),
            marks: count(|row| matches!(row, Row::Mark(_))),
            hints: None,
        },
        oldest: log.first().map(|key| (*key).clone()),
        newest: log.last().map(|key| (*key).clone()),
        members: Some(MemberSet { epoch: 4, members: 1, stable: Some(Lamport(6)) }),
    }
}

/// These rows with a meta that fits.
pub(super) fn data(rows: Vec<Row>) -> ChannelData {
    ChannelData { meta: Some(meta_for(&rows)), rows, hints: Vec::new() }
}

pub(super) fn a() -> ChannelId {
    "a".into()
}

pub(super) fn put(rows: impl IntoIterator<Item = Row>) -> HistoryUpdate {
    HistoryUpdate { put: rows.into_iter().collect(), delete: vec![] }
}

/// The commit that leads to exactly these rows from nothing.
pub(super) fn all(rows: &[Row]) -> Commit {
    Commit { meta: Some(meta_for(rows)), history: put(rows.to_vec()), hints: vec![] }
}

pub(super) async fn rows(store: &dyn Persistence, channel: &ChannelId) -> Result<Vec<Row>, PersistenceError> {
    Ok(store.load_channel(channel).await?.rows)
}

/// The live channels; `None` from a store that does not list.
pub(super) async fn listed(store: &dyn Persistence) -> Result<Option<Vec<ChannelId>>, PersistenceError> {
    match store.list_channels().await {
        Err(error) if error.kind == PersistenceErrorKind::Unsupported => Ok(None),
        channels => channels.map(Some),
    }
}

pub(super) fn hint(id: &str, hint: &'static str) -> (MessageId, Bytes) {
    (MessageId::from(id), Bytes::from_static(hint.as_bytes()))
}

pub(super) fn deleting(rows: impl IntoIterator<Item = Row>) -> HistoryUpdate {
    HistoryUpdate { put: vec![], delete: rows.into_iter().map(|row| row.key()).collect() }
}

/// Ids that are prefixes of each other, with bytes that separators, lengths and text are made of.
pub(super) fn odd_channels() -> Vec<ChannelId> {
    let ids: [&[u8]; 13] = [
        b"a",
        b"ab",
        b"abc",
        b"a\0",
        b"a\0b",
        b"\0",
        b"\0\0",
        b"\0\x01a",
        b"\xff",
        b"\xff\xff",
        b"/",
        "été".as_bytes(),
        b"b",
    ];
    let mut channels: Vec<_> = ids.into_iter().map(ChannelId::new).collect();
    channels.extend([ChannelId::new([b'a'; 256]), ChannelId::new([255; 256]), ChannelId::new([255; 255])]);
    channels
}
