//! Rows and metas to save, shared by the tests of stores.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

#[cfg(all(feature = "redb", feature = "sled", feature = "sqlite"))]
pub mod engine;

use std::sync::Arc;

use bytes::Bytes;
use reliable_channel::state::{
    Body, ChannelData, ChannelMeta, Commit, Evidence, HistoryUpdate, LogKey, Logged, Mark, MarkKind, Outgoing, Parked,
    Request, Response, Row, RowCounts, Stub,
};
#[cfg(feature = "store")]
use reliable_channel::store::Persistence;
use reliable_channel::types::{ChannelId, HistoryEntry, Lamport, MessageId, ParticipantId, WallTime};
use tap::Tap as _;

/// 2025-07-31T18:40:00.123456789Z
pub const NOW: WallTime = WallTime::from_nanos(1_753_987_200_123_456_789);

pub fn key(lamport: u64, id: &str) -> LogKey {
    LogKey { lamport: Lamport(lamport), id: id.into() }
}

pub fn body(key: LogKey, content: impl Into<Bytes>) -> Arc<Body> {
    let named = HistoryEntry::new("dependency").tap_mut(|it| {
        it.hint = Some(Bytes::from_static(b"hint"));
        it.sender = Some(ParticipantId::from("bob"));
    });
    Arc::new(
        Body::new(key, "alice".into(), content.into())
            .tap_mut(|it| it.causal_history = vec![HistoryEntry::new("bare"), named]),
    )
}

pub fn message(lamport: u64, id: &str) -> Row {
    content(lamport, id, format!("content of {id}"))
}

pub fn content(lamport: u64, id: &str, content: impl Into<Bytes>) -> Row {
    Row::Message(Logged::new(body(key(lamport, id), content), NOW).tap_mut(|it| {
        it.delivery = Some(7);
        it.late = true;
        it.missing = vec!["lost".into(), MessageId::new([0, 255])];
    }))
}

pub fn parked(lamport: u64, id: &str) -> Row {
    Row::Parked(Parked::new(body(key(lamport, id), "waits"), NOW, 86_400_000))
}

pub fn stub(lamport: u64, id: &str) -> Row {
    Row::Stub(Stub::new(key(lamport, id), "alice".into()))
}

pub fn outgoing(lamport: u64, id: &str) -> Row {
    let evidence =
        vec![Evidence::new("bob".into(), 0.001, 2).tap_mut(|it| it.seeds = vec![[1, 2, 3, 4, 5, 6, 7, 8], [255; 8]])];
    Row::Outgoing(Outgoing::new(key(lamport, id), NOW).tap_mut(|it| {
        it.last_sent = NOW;
        it.next_due = WallTime::from_nanos(NOW.as_nanos() + 15_000_000_000);
        it.attempts = 2;
        it.failed = true;
        it.filters_heard_at_send = 300;
        it.evidence = evidence;
    }))
}

pub fn request(id: &str) -> Row {
    let entry = HistoryEntry::new(id).tap_mut(|it| {
        it.hint = Some(Bytes::from_static(b"where"));
        it.sender = Some(ParticipantId::from("carol"));
    });
    Row::Request(Request::new(entry, NOW).tap_mut(|it| {
        it.sent = 1;
        it.heard = 2;
        it.since_age_ms = 3_600_000;
    }))
}

pub fn response(id: &str) -> Row {
    Row::Response(Response::new(id.into(), NOW))
}

pub fn mark(id: &str, kind: MarkKind) -> Row {
    Row::Mark(Mark::new(id.into(), kind, 12))
}

/// One row of every kind, in key order.
pub fn every_kind() -> Vec<Row> {
    vec![
        stub(5, "stub"),
        message(10, "message"),
        parked(20, "parked"),
        outgoing(10, "message"),
        request("missing"),
        response("message"),
        mark("declared", MarkKind::DeclaredMet),
        mark("lost", MarkKind::Lost),
    ]
}

/// A meta with every field set, that fits these rows.
pub fn meta_for(rows: &[Row]) -> ChannelMeta {
    let count = |is: fn(&Row) -> bool| rows.iter().filter(|row| is(row)).count() as u64;
    let mut log: Vec<&LogKey> = rows
        .iter()
        .filter_map(|row| match row {
            Row::Message(logged) if !logged.below_floor => Some(&logged.body.key),
            _ => None,
        })
        .collect();
    log.sort();
    ChannelMeta::default().tap_mut(|it| {
        it.dialect = reliable_channel::types::Dialect::default();
        it.lamport = Lamport(1_753_987_200_123);
        it.highest_received = Lamport(1_753_987_200_124);
        it.next_delivery = 8;
        it.told = 7;
        it.horizon = Some(Lamport(3));
        it.backfill_left = 9;
        it.floor = Some(key(4, "floor"));
        it.stub_floor = Some(key(2, "stub floor"));
        it.age_ms = 86_400_001;
        it.filters_heard = 301;
        it.marks_set = 13;
        it.counts = RowCounts::default().tap_mut(|it| {
            it.messages = count(|row| matches!(row, Row::Message(_)));
            it.parked = count(|row| matches!(row, Row::Parked(_)));
            it.stubs = count(|row| matches!(row, Row::Stub(_)));
            it.outgoing = count(|row| matches!(row, Row::Outgoing(_)));
            it.requests = count(|row| matches!(row, Row::Request(_)));
            it.responses = count(|row| matches!(row, Row::Response(_)));
            it.marks = count(|row| matches!(row, Row::Mark(_)));
        });
        it.oldest = log.first().map(|key| (*key).clone());
        it.newest = log.last().map(|key| (*key).clone());
    })
}

/// These rows with a meta that fits.
pub fn data(rows: Vec<Row>) -> ChannelData {
    ChannelData { meta: Some(meta_for(&rows)), rows, hints: Vec::new() }
}

pub fn a() -> ChannelId {
    "a".into()
}

pub fn put(rows: impl IntoIterator<Item = Row>) -> HistoryUpdate {
    HistoryUpdate { put: rows.into_iter().collect(), delete: vec![] }
}

/// The commit that leads to exactly these rows from nothing.
pub fn all(rows: &[Row]) -> Commit {
    Commit { meta: Some(meta_for(rows)), history: put(rows.to_vec()), hints: vec![] }
}

#[cfg(feature = "store")]
pub async fn rows(store: &dyn Persistence, channel: &ChannelId) -> Vec<Row> {
    store.load_channel(channel).await.unwrap().rows
}
