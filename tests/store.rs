//! What a store promises, rule by rule, on every bundled store.
#![cfg(feature = "redb")]
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use common::{a, all, content, data, every_kind, key, message, meta_for, outgoing, parked, put, request, rows, stub};
use reliable_channel::state::{ChannelData, ChannelMeta, Commit, HistoryUpdate, Row, RowKey};
use reliable_channel::store::{Durability, MemoryPersistence, NoPersistence, Persistence, RedbPersistence};
use reliable_channel::types::{ChannelId, Lamport, MessageId};
use tempfile::TempDir;

/// Where stores are opened, one after the other, on the same data.
trait Place {
    fn open(&self) -> Arc<dyn Persistence>;
}

struct Memory(MemoryPersistence);

impl Place for Memory {
    fn open(&self) -> Arc<dyn Persistence> {
        Arc::new(self.0.clone())
    }
}

struct Redb(TempDir);

impl Redb {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn redb(&self) -> RedbPersistence {
        RedbPersistence::open(self.0.path()).unwrap()
    }
}

impl Place for Redb {
    fn open(&self) -> Arc<dyn Persistence> {
        Arc::new(self.redb())
    }
}

/// Makes every rule a test on every store.
macro_rules! rules {
    ($($rule:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $rule() {
                super::$rule(&super::Memory(super::MemoryPersistence::new())).await;
            })*
        }
        mod redb {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                super::$rule(&super::Redb::new()).await;
            })*
        }
    };
}

rules![
    unknown_channel_is_empty,
    meta_comes_back_with_all_fields,
    last_meta_wins,
    every_kind_of_row_comes_back,
    bodies_are_byte_identical,
    rows_come_in_key_order,
    ties_are_broken_by_id_bytes,
    put_replaces,
    one_kind_replaces_another,
    delete,
    put_wins_over_delete,
    empty_update_changes_nothing,
    rows_come_before_any_meta,
    writes_repeated_change_nothing,
    one_id_in_two_channels,
    channel_ids_are_any_bytes,
    drop_takes_one_channel_whole,
    dropped_channel_does_not_come_back,
    list_names_the_live_ones,
    hints_come_back,
    hints_go_with_their_body,
    lamport_extremes,
    a_reopened_store_has_it_all,
    many_tasks_on_many_channels,
    two_writers_on_one_channel,
    loads_during_writes_see_whole_commits,
    a_dropped_future_does_no_harm,
    merged_commits_are_as_one_after_the_other,
];

fn deleting(rows: impl IntoIterator<Item = Row>) -> HistoryUpdate {
    HistoryUpdate { put: vec![], delete: rows.into_iter().map(|row| row.key()).collect() }
}

async fn unknown_channel_is_empty(place: &dyn Place) {
    let store = place.open();
    assert_eq!(store.load_channel(&a()).await.unwrap(), ChannelData::default());
    assert!(store.list_channels().await.unwrap().is_empty());
}

async fn meta_comes_back_with_all_fields(place: &dyn Place) {
    let store = place.open();
    let rows = every_kind();
    store.commit(&a(), &all(&rows)).await.unwrap();
    store.save_channel_meta(&"empty".into(), &ChannelMeta::default()).await.unwrap();
    assert_eq!(store.load_channel(&a()).await.unwrap().meta, Some(meta_for(&rows)));
    assert_eq!(store.load_channel(&"empty".into()).await.unwrap().meta, Some(ChannelMeta::default()));
}

async fn last_meta_wins(place: &dyn Place) {
    let store = place.open();
    for lamport in [5, 3, 4] {
        let meta = ChannelMeta { lamport: Lamport(lamport), ..meta_for(&[]) };
        store.save_channel_meta(&a(), &meta).await.unwrap();
    }
    assert_eq!(store.load_channel(&a()).await.unwrap().meta.unwrap().lamport, Lamport(4));
}

async fn every_kind_of_row_comes_back(place: &dyn Place) {
    let store = place.open();
    store.commit(&a(), &all(&every_kind())).await.unwrap();
    assert_eq!(store.load_channel(&a()).await.unwrap(), data(every_kind()));
}

async fn bodies_are_byte_identical(place: &dyn Place) {
    let store = place.open();
    let noise: Vec<u8> = (0..1_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let bodies = vec![content(1, "one", vec![0]), content(2, "empty", vec![]), content(3, "mebibyte", noise)];
    store.update_history(&a(), &put(bodies.clone())).await.unwrap();
    assert_eq!(rows(&*store, &a()).await, bodies);
}

async fn rows_come_in_key_order(place: &dyn Place) {
    let store = place.open();
    let mut expected = every_kind();
    expected.extend([1, 255, 256, 65_536, 1 << 40].map(|lamport| message(lamport, "m")));
    for step in [7, 5, 1] {
        let channel = ChannelId::from(format!("step {step}"));
        // 7 and 5 are coprime to the number of rows: each row is put once, in another order.
        for at in (0..expected.len()).map(|at| at * step % expected.len()) {
            store.update_history(&channel, &put([expected[at].clone()])).await.unwrap();
        }
        let mut sorted = expected.clone();
        sorted.sort_by_key(Row::key);
        assert_eq!(rows(&*store, &channel).await, sorted);
    }
}

async fn ties_are_broken_by_id_bytes(place: &dyn Place) {
    let store = place.open();
    let ids: [&[u8]; 6] = [&[0], &[0, 0], &[0, 1], &[1], &[127, 255], &[255]];
    let at = |id: &[u8]| {
        let Row::Stub(mut row) = stub(1, "any") else { unreachable!() };
        row.key.id = MessageId::new(id);
        Row::Stub(row)
    };
    store.update_history(&a(), &put(ids.into_iter().rev().map(at))).await.unwrap();
    assert_eq!(rows(&*store, &a()).await, ids.map(at));
}

async fn put_replaces(place: &dyn Place) {
    let store = place.open();
    for text in ["first", "second"] {
        store.update_history(&a(), &put([content(1, "m", text)])).await.unwrap();
    }
    assert_eq!(rows(&*store, &a()).await, [content(1, "m", "second")]);
}

async fn one_kind_replaces_another(place: &dyn Place) {
    let store = place.open();
    for row in [parked(1, "m"), message(1, "m"), stub(1, "m")] {
        store.commit(&a(), &all(std::slice::from_ref(&row))).await.unwrap();
        assert_eq!(store.load_channel(&a()).await.unwrap(), data(vec![row]));
    }
}

async fn delete(place: &dyn Place) {
    let store = place.open();
    store.update_history(&a(), &deleting([message(1, "m")])).await.unwrap();
    store.update_history(&a(), &put([message(1, "m"), outgoing(1, "m"), message(2, "n")])).await.unwrap();
    store.update_history(&a(), &deleting([message(1, "m"), message(9, "unknown")])).await.unwrap();
    assert_eq!(rows(&*store, &a()).await, [message(2, "n"), outgoing(1, "m")]);
    store.update_history(&a(), &put([message(1, "m")])).await.unwrap();
    assert_eq!(rows(&*store, &a()).await, [message(1, "m"), message(2, "n"), outgoing(1, "m")]);
}

async fn put_wins_over_delete(place: &dyn Place) {
    let store = place.open();
    store.set_retrieval_hint(&a(), &"m".into(), &Bytes::from_static(b"kept")).await.unwrap();
    let both = HistoryUpdate { put: vec![message(1, "m")], delete: vec![message(1, "m").key()] };
    for _ in 0..2 {
        store.update_history(&a(), &both).await.unwrap();
        assert_eq!(rows(&*store, &a()).await, [message(1, "m")]);
    }
    assert_eq!(store.load_channel(&a()).await.unwrap().hints.len(), 1);
}

async fn empty_update_changes_nothing(place: &dyn Place) {
    let store = place.open();
    store.update_history(&a(), &HistoryUpdate::default()).await.unwrap();
    store.commit(&a(), &Commit::default()).await.unwrap();
    assert!(store.load_channel(&a()).await.unwrap().is_empty());
    assert!(store.list_channels().await.unwrap().is_empty());
    store.commit(&a(), &all(&every_kind())).await.unwrap();
    store.update_history(&a(), &HistoryUpdate::default()).await.unwrap();
    assert_eq!(store.load_channel(&a()).await.unwrap(), data(every_kind()));
}

async fn rows_come_before_any_meta(place: &dyn Place) {
    let store = place.open();
    store.update_history(&a(), &put(every_kind())).await.unwrap();
    let expected = ChannelData { meta: None, ..data(every_kind()) };
    assert_eq!(store.load_channel(&a()).await.unwrap(), expected);
    assert_eq!(store.list_channels().await.unwrap(), [a()]);
}

async fn writes_repeated_change_nothing(place: &dyn Place) {
    let store = place.open();
    let mut commit = all(&every_kind());
    commit.history.delete = vec![message(99, "gone").key()];
    commit.hints = vec![("message".into(), Bytes::from_static(b"where"))];
    for _ in 0..3 {
        store.commit(&a(), &commit).await.unwrap();
    }
    assert_eq!(store.load_channel(&a()).await.unwrap(), ChannelData { hints: commit.hints, ..data(every_kind()) });
}

async fn one_id_in_two_channels(place: &dyn Place) {
    let store = place.open();
    store.update_history(&a(), &put([content(1, "m", "in a")])).await.unwrap();
    store.update_history(&"b".into(), &put([content(1, "m", "in b")])).await.unwrap();
    store.update_history(&a(), &deleting([message(1, "m")])).await.unwrap();
    assert!(rows(&*store, &a()).await.is_empty());
    assert_eq!(rows(&*store, &"b".into()).await, [content(1, "m", "in b")]);
}

/// Ids that are prefixes of each other, with bytes that separators, lengths and text are made of.
fn odd_channels() -> Vec<ChannelId> {
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

async fn channel_ids_are_any_bytes(place: &dyn Place) {
    let store = place.open();
    let own = |at: usize| vec![content(at as u64, "m", format!("of channel {at}")), request("missing")];
    for (at, channel) in odd_channels().iter().enumerate() {
        store.commit(channel, &all(&own(at))).await.unwrap();
    }
    for (at, channel) in odd_channels().iter().enumerate() {
        assert_eq!(store.load_channel(channel).await.unwrap(), data(own(at)), "{channel}");
    }
    let mut sorted = odd_channels();
    sorted.sort();
    assert_eq!(store.list_channels().await.unwrap(), sorted);
}

async fn drop_takes_one_channel_whole(place: &dyn Place) {
    let store = place.open();
    let commit = Commit { hints: vec![("h".into(), Bytes::from_static(b"hint"))], ..all(&every_kind()) };
    for channel in odd_channels() {
        store.commit(&channel, &commit).await.unwrap();
    }
    store.drop_channel(&"unknown".into()).await.unwrap();
    let mut left = odd_channels();
    while let Some(dropped) = left.pop() {
        for _ in 0..2 {
            store.drop_channel(&dropped).await.unwrap();
        }
        assert!(store.load_channel(&dropped).await.unwrap().is_empty(), "{dropped}");
        for channel in &left {
            let expected = ChannelData { hints: commit.hints.clone(), ..data(every_kind()) };
            assert_eq!(store.load_channel(channel).await.unwrap(), expected, "{channel} after {dropped}");
        }
    }
}

async fn dropped_channel_does_not_come_back(place: &dyn Place) {
    let store = place.open();
    let commit = Commit { hints: vec![("h".into(), Bytes::from_static(b"hint"))], ..all(&every_kind()) };
    store.commit(&a(), &commit).await.unwrap();
    store.drop_channel(&a()).await.unwrap();
    drop(store);
    let store = place.open();
    assert!(store.load_channel(&a()).await.unwrap().is_empty());
    store.commit(&a(), &all(&[message(1, "new")])).await.unwrap();
    assert_eq!(store.load_channel(&a()).await.unwrap(), data(vec![message(1, "new")]));
}

async fn list_names_the_live_ones(place: &dyn Place) {
    let store = place.open();
    store.save_channel_meta(&"with meta".into(), &meta_for(&[])).await.unwrap();
    store.update_history(&"with rows".into(), &put((0..50).map(|at| message(at, "m")))).await.unwrap();
    store.set_retrieval_hint(&"with hint".into(), &"m".into(), &Bytes::from_static(b"h")).await.unwrap();
    store.commit(&"dropped".into(), &all(&every_kind())).await.unwrap();
    store.drop_channel(&"dropped".into()).await.unwrap();
    store.update_history(&"emptied".into(), &put([message(1, "m")])).await.unwrap();
    store.update_history(&"emptied".into(), &deleting([message(1, "m")])).await.unwrap();
    let expected = ["with hint", "with meta", "with rows"].map(ChannelId::from);
    assert_eq!(store.list_channels().await.unwrap(), expected);
}

async fn hints_come_back(place: &dyn Place) {
    let store = place.open();
    let hint = |id: &str, hint: &'static str| (MessageId::from(id), Bytes::from_static(hint.as_bytes()));
    for (id, bytes) in [hint("z without", "old"), hint("before", "b"), hint("z without", "new"), hint("empty", "")] {
        store.set_retrieval_hint(&a(), &id, &bytes).await.unwrap();
    }
    let rows = vec![message(1, "before"), message(2, "with"), message(3, "after")];
    store.commit(&a(), &Commit { hints: vec![hint("with", "w")], ..all(&rows) }).await.unwrap();
    store.set_retrieval_hint(&a(), &"after".into(), &Bytes::from_static(b"a")).await.unwrap();
    drop(store);
    let hints =
        vec![hint("after", "a"), hint("before", "b"), hint("empty", ""), hint("with", "w"), hint("z without", "new")];
    assert_eq!(place.open().load_channel(&a()).await.unwrap(), ChannelData { hints, ..data(rows) });
}

async fn hints_go_with_their_body(place: &dyn Place) {
    let store = place.open();
    let ids = ["evicted", "other", "stubbed"];
    let rows: Vec<Row> = ids.iter().map(|id| message(1, id)).collect();
    let hints = ids.map(|id| (MessageId::from(id), Bytes::from_static(b"h")));
    store.commit(&a(), &Commit { hints: hints.to_vec(), ..all(&rows) }).await.unwrap();
    let gone = [RowKey::body(&key(1, "evicted")), RowKey::outgoing(&key(1, "other"))];
    let update = HistoryUpdate { put: vec![stub(1, "stubbed")], delete: gone.to_vec() };
    let meta = meta_for(&[message(1, "other"), stub(1, "stubbed")]);
    let commit = Commit { meta: Some(meta), history: update, hints: vec![] };
    store.commit(&a(), &commit).await.unwrap();
    assert_eq!(store.load_channel(&a()).await.unwrap().hints, hints[1..]);
    let again = (MessageId::from("other"), Bytes::from_static(b"set as its body goes"));
    let commit = Commit { history: deleting([message(1, "other")]), hints: vec![again.clone()], meta: None };
    let meta = meta_for(&[stub(1, "stubbed")]);
    store.commit(&a(), &Commit { meta: Some(meta), ..commit }).await.unwrap();
    assert_eq!(store.load_channel(&a()).await.unwrap().hints, [again, hints[2].clone()]);
}

async fn lamport_extremes(place: &dyn Place) {
    let store = place.open();
    let rows: Vec<Row> =
        [0, 1, i64::MAX as u64, 1 << 63, u64::MAX].map(|lamport| message(lamport, "m")).into_iter().collect();
    store.commit(&a(), &all(&rows)).await.unwrap();
    assert_eq!(store.load_channel(&a()).await.unwrap(), data(rows));
}

async fn a_reopened_store_has_it_all(place: &dyn Place) {
    for round in 0..3 {
        let store = place.open();
        let rows: Vec<Row> = (0..100).map(|at| message(at, &format!("{round}"))).collect();
        store.commit(&format!("{round}").into(), &all(&rows)).await.unwrap();
        drop(store);
        let store = place.open();
        assert_eq!(store.list_channels().await.unwrap().len(), round + 1);
        assert_eq!(store.load_channel(&format!("{round}").into()).await.unwrap(), data(rows));
    }
}

async fn many_tasks_on_many_channels(place: &dyn Place) {
    let store = place.open();
    let rows: Vec<Row> = (0..20).map(|at| message(at, "m")).collect();
    let tasks = (0..64).map(|task| {
        let (store, rows) = (store.clone(), rows.clone());
        tokio::spawn(async move {
            let channel = ChannelId::from(format!("{task}"));
            for count in 1..=rows.len() {
                let history = put([rows[count - 1].clone()]);
                let commit = Commit { meta: Some(meta_for(&rows[..count])), history, hints: vec![] };
                store.commit(&channel, &commit).await.unwrap();
            }
            assert_eq!(store.load_channel(&channel).await.unwrap(), data(rows));
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(store.list_channels().await.unwrap().len(), 64);
}

async fn two_writers_on_one_channel(place: &dyn Place) {
    let store = place.open();
    let tasks = [0, 1].map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for at in 0..50 {
                store.update_history(&a(), &put([message(at * 2 + writer, "m")])).await.unwrap();
                store.update_history(&a(), &put([content(1_000, "shared", writer.to_string())])).await.unwrap();
            }
        })
    });
    for task in tasks {
        task.await.unwrap();
    }
    let rows = rows(&*store, &a()).await;
    assert_eq!(rows[..100], (0..100).map(|at| message(at, "m")).collect::<Vec<_>>());
    assert!([content(1_000, "shared", "0"), content(1_000, "shared", "1")].contains(&rows[100]));
}

async fn loads_during_writes_see_whole_commits(place: &dyn Place) {
    let store = place.open();
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for count in 1..=60 {
                let rows: Vec<Row> = (0..count).map(|at| message(at, "m")).collect();
                store.commit(&a(), &all(&rows)).await.unwrap();
            }
        }
    });
    while !writer.is_finished() {
        // The redb store refuses rows that do not fit the meta; here the test does, for every store.
        store.load_channel(&a()).await.unwrap().check().unwrap();
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}

async fn a_dropped_future_does_no_harm(place: &dyn Place) {
    let store = place.open();
    let channel = a();
    for at in 0..50 {
        let update = put([message(at, "m")]);
        let mut write = store.update_history(&channel, &update);
        // Polled once, then dropped: it is done or not, and whole.
        let _ = poll_once(write.as_mut());
    }
    store.update_history(&a(), &put([message(50, "m")])).await.unwrap();
    let found: BTreeSet<RowKey> = rows(&*store, &a()).await.iter().map(Row::key).collect();
    assert!(found.contains(&message(50, "m").key()));
    assert!(found.iter().all(|key| key.lamport <= Lamport(50)));
}

async fn merged_commits_are_as_one_after_the_other(place: &dyn Place) {
    let store = place.open();
    let hint = |text: &'static str| vec![(MessageId::from("m"), Bytes::from_static(text.as_bytes()))];
    let commit = |put: &[Row], delete: &[RowKey], hints| Commit {
        meta: None,
        history: HistoryUpdate { put: put.to_vec(), delete: delete.to_vec() },
        hints,
    };
    let (row, gone) = ([message(1, "m")], [message(1, "m").key()]);
    let commits = [
        Commit::default(),
        commit(&row, &[], vec![]),
        commit(&[], &gone, vec![]),
        commit(&[stub(1, "m")], &[], vec![]),
        commit(&[], &[], hint("one")),
        commit(&[], &[], hint("two")),
        commit(&row, &gone, vec![]),
        commit(&row, &[], hint("three")),
        commit(&[], &gone, hint("four")),
    ];
    for (at, first) in commits.iter().enumerate() {
        for (then, second) in commits.iter().enumerate() {
            let [apart, merged] = ["apart", "merged"].map(|name| ChannelId::from(format!("{name} {at} {then}")));
            store.commit(&apart, first).await.unwrap();
            store.commit(&apart, second).await.unwrap();
            let mut both = first.clone();
            both.merge(second.clone());
            store.commit(&merged, &both).await.unwrap();
            let [apart, merged] = [store.load_channel(&apart).await, store.load_channel(&merged).await];
            assert_eq!(apart.unwrap(), merged.unwrap(), "{first:?} then {second:?}");
        }
    }
}

fn poll_once<T>(future: std::pin::Pin<&mut (dyn Future<Output = T> + Send)>) -> std::task::Poll<T> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

#[test]
fn capabilities_are_stated() {
    let redb = Redb::new().redb().capabilities();
    assert_eq!((redb.atomic, redb.durability, redb.checksummed), (true, Some(Durability::Immediate), true));
    assert!(redb.max_value_bytes.is_some());
    let memory = MemoryPersistence::new().capabilities();
    assert_eq!((memory.atomic, memory.durability), (true, None));
}

#[tokio::test]
async fn no_persistence_keeps_nothing() {
    let store = NoPersistence;
    store.commit(&a(), &all(&every_kind())).await.unwrap();
    assert!(store.load_channel(&a()).await.unwrap().is_empty());
    assert!(store.list_channels().await.unwrap().is_empty());
}
