//! Rules of one channel's meta and rows.
//!
//! What: what is put comes back, in order, whole, and once. Why: a channel is rebuilt from nothing else. How it moves:
//! each rule opens a new store, writes, and loads.

use bytes::Bytes;

use super::samples::{
    a, all, content, data, deleting, every_kind, key, listed, message, meta_for, outgoing, parked, put, rows, stub,
};
use super::{Outcome, Place, holds, same};
use crate::state::{ChannelData, ChannelMeta, Commit, HistoryUpdate, LogKey, Row, RowKey, Stub};
use crate::store::PersistenceErrorKind;
use crate::types::{ChannelId, Lamport, MessageId};

/// A channel that was never saved is empty data, not an error.
pub(super) async fn unknown_channel_is_empty(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    same!(store.load_channel(&a()).await?, ChannelData::default());
    holds!(listed(&*store).await?.unwrap_or_default().is_empty());
    Ok(())
}

/// Every field of a meta comes back.
pub(super) async fn meta_comes_back_with_all_fields(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    let rows = every_kind();
    store.commit(&a(), &all(&rows)).await?;
    store.save_channel_meta(&"empty".into(), &ChannelMeta::default()).await?;
    same!(store.load_channel(&a()).await?.meta, Some(meta_for(&rows)));
    same!(store.load_channel(&"empty".into()).await?.meta, Some(ChannelMeta::default()));
    Ok(())
}

/// A meta replaces the one before, also when its clock is lower.
pub(super) async fn last_meta_wins(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    for lamport in [5, 3, 4] {
        let meta = ChannelMeta { lamport: Lamport(lamport), ..meta_for(&[]) };
        store.save_channel_meta(&a(), &meta).await?;
    }
    same!(store.load_channel(&a()).await?.meta.map(|meta| meta.lamport), Some(Lamport(4)));
    Ok(())
}

/// Every kind of row comes back with every field.
pub(super) async fn every_kind_of_row_comes_back(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    store.commit(&a(), &all(&every_kind())).await?;
    same!(store.load_channel(&a()).await?, data(every_kind()));
    Ok(())
}

/// Bodies are any bytes: one, none, a mebibyte.
pub(super) async fn bodies_are_byte_identical(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    let noise: Vec<u8> = (0..1_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let bodies = vec![content(1, "one", vec![0]), content(2, "empty", vec![]), content(3, "mebibyte", noise)];
    store.update_history(&a(), &put(bodies.clone())).await?;
    same!(rows(&*store, &a()).await?, bodies);
    Ok(())
}

/// Rows come in (place, Lamport time, id) order, whatever the order of puts.
pub(super) async fn rows_come_in_key_order(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    let mut expected = every_kind();
    expected.extend([1, 255, 256, 65_536, 1 << 40].map(|lamport| message(lamport, "m")));
    for step in [5, 3, 1] {
        let channel = ChannelId::from(format!("step {step}"));
        // 5 and 3 are coprime to the number of rows: each row is put once, in another order.
        for at in (0..expected.len()).map(|at| at * step % expected.len()) {
            store.update_history(&channel, &put([expected[at].clone()])).await?;
        }
        let mut sorted = expected.clone();
        sorted.sort_by_key(Row::key);
        same!(rows(&*store, &channel).await?, sorted);
    }
    Ok(())
}

/// At one Lamport time ids sort by their bytes, ascending.
pub(super) async fn ties_are_broken_by_id_bytes(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    let ids: [&[u8]; 6] = [&[0], &[0, 0], &[0, 1], &[1], &[127, 255], &[255]];
    let at = |id: &[u8]| {
        let key = LogKey { lamport: Lamport(1), id: MessageId::new(id) };
        Row::Stub(Stub { key, sender: "alice".into() })
    };
    store.update_history(&a(), &put(ids.into_iter().rev().map(at))).await?;
    same!(rows(&*store, &a()).await?, ids.map(at));
    Ok(())
}

/// A put under a known key replaces the row.
pub(super) async fn put_replaces(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    for text in ["first", "second"] {
        store.update_history(&a(), &put([content(1, "m", text)])).await?;
    }
    same!(rows(&*store, &a()).await?, [content(1, "m", "second")]);
    Ok(())
}

/// A parked message becomes a message, and a message a stub, by a put under the same key.
pub(super) async fn one_kind_replaces_another(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    for row in [parked(1, "m"), message(1, "m"), stub(1, "m")] {
        store.commit(&a(), &all(std::slice::from_ref(&row))).await?;
        same!(store.load_channel(&a()).await?, data(vec![row]));
    }
    Ok(())
}

/// Known rows go, unknown ones are fine, and what went can be put again.
pub(super) async fn delete(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    store.update_history(&a(), &deleting([message(1, "m")])).await?;
    store.update_history(&a(), &put([message(1, "m"), outgoing(1, "m"), message(2, "n")])).await?;
    store.update_history(&a(), &deleting([message(1, "m"), message(9, "unknown")])).await?;
    same!(rows(&*store, &a()).await?, [message(2, "n"), outgoing(1, "m")]);
    store.update_history(&a(), &put([message(1, "m")])).await?;
    same!(rows(&*store, &a()).await?, [message(1, "m"), message(2, "n"), outgoing(1, "m")]);
    Ok(())
}

/// A key both deleted and put in one update stays: it is deleted first, and its hint with it.
pub(super) async fn put_wins_over_delete(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    store.set_retrieval_hint(&a(), &"m".into(), &Bytes::from_static(b"of what was there before")).await?;
    let both = HistoryUpdate { put: vec![message(1, "m")], delete: vec![message(1, "m").key()] };
    for _ in 0..2 {
        store.update_history(&a(), &both).await?;
        same!(rows(&*store, &a()).await?, [message(1, "m")]);
    }
    same!(store.load_channel(&a()).await?.hints, []);
    Ok(())
}

/// An empty update changes nothing and makes no channel.
pub(super) async fn empty_update_changes_nothing(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    store.update_history(&a(), &HistoryUpdate::default()).await?;
    store.commit(&a(), &Commit::default()).await?;
    holds!(store.load_channel(&a()).await?.is_empty());
    holds!(listed(&*store).await?.unwrap_or_default().is_empty());
    store.commit(&a(), &all(&every_kind())).await?;
    store.update_history(&a(), &HistoryUpdate::default()).await?;
    same!(store.load_channel(&a()).await?, data(every_kind()));
    Ok(())
}

/// Rows saved before any meta come back without one.
pub(super) async fn rows_come_before_any_meta(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    store.update_history(&a(), &put(every_kind())).await?;
    let expected = ChannelData { meta: None, ..data(every_kind()) };
    same!(store.load_channel(&a()).await?, expected);
    if let Some(listed) = listed(&*store).await? {
        same!(listed, [a()]);
    }
    Ok(())
}

/// A commit made three times is as one made once: callers retry.
pub(super) async fn writes_repeated_change_nothing(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    let mut commit = all(&every_kind());
    commit.history.delete = vec![message(99, "gone").key()];
    commit.hints = vec![("message".into(), Bytes::from_static(b"where"))];
    for _ in 0..3 {
        store.commit(&a(), &commit).await?;
    }
    same!(store.load_channel(&a()).await?, ChannelData { hints: commit.hints, ..data(every_kind()) });
    Ok(())
}

/// Lamport times go from 0 to the largest u64, as unsigned numbers.
pub(super) async fn lamport_extremes(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    let rows: Vec<Row> =
        [0, 1, i64::MAX as u64, 1 << 63, u64::MAX].map(|lamport| message(lamport, "m")).into_iter().collect();
    store.commit(&a(), &all(&rows)).await?;
    same!(store.load_channel(&a()).await?, data(rows));
    Ok(())
}

/// Two commits merged into one lead where both lead one after the other.
pub(super) async fn merged_commits_are_as_one_after_the_other(place: &dyn Place) -> Outcome {
    let store = place.open()?;
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
            for channel in [&apart, &merged] {
                store.commit(channel, &commit(&row, &[], hint("zero"))).await?;
            }
            store.commit(&apart, first).await?;
            store.commit(&apart, second).await?;
            let mut both = first.clone();
            both.merge(second.clone());
            store.commit(&merged, &both).await?;
            let [apart, merged] = [store.load_channel(&apart).await, store.load_channel(&merged).await];
            same!(apart?, merged?, "{first:?} then {second:?}");
        }
    }
    Ok(())
}

/// 3,000 messages, of which the older become stubs, leave the newest 1,000 whole.
pub(super) async fn eviction_keeps_the_newest_whole(place: &dyn Place) -> Outcome {
    const KEPT: u64 = 1_000;
    let store = place.open()?;
    let row = |at: u64| message(at, &format!("m{at}"));
    for first in (0..3_000_u64).step_by(100) {
        let evicted = (first..first + 100).filter_map(|at| at.checked_sub(KEPT));
        let stubs = evicted.map(|at| stub(at, &format!("m{at}")));
        store.update_history(&a(), &put((first..first + 100).map(row).chain(stubs))).await?;
    }
    let rows = rows(&*store, &a()).await?;
    same!(rows.iter().filter(|row| matches!(row, Row::Stub(_))).count(), 2_000);
    same!(rows.get(2_000..), Some((2_000..3_000).map(row).collect::<Vec<_>>().as_slice()));
    Ok(())
}

/// A meta of 8 MiB comes back whole, or is refused as too large and what was there stays.
pub(super) async fn a_large_meta_is_whole_or_refused(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    let small = meta_for(&[]);
    store.save_channel_meta(&a(), &small).await?;
    let large = ChannelMeta { floor: Some(key(1, &"x".repeat(8 << 20))), ..small.clone() };
    let expected = match store.save_channel_meta(&a(), &large).await {
        Ok(()) => large,
        Err(error) if error.kind == PersistenceErrorKind::TooLarge => small,
        Err(error) => return Err(error.into()),
    };
    holds!(store.load_channel(&a()).await?.meta == Some(expected), "the meta is another");
    Ok(())
}
