//! Rules of channels beside each other, of hints, and of restarts.
//!
//! What: no channel is part of another, and a dropped one is gone. Why: ids are chosen by people. How it moves: each rule
//! writes several channels and looks at all of them; some open the store again.

use bytes::Bytes;

use super::samples::{
    a, all, content, data, deleting, every_kind, hint, key, listed, message, meta_for, odd_channels, put, request,
    rows, stub,
};
use super::{Outcome, Place, holds, same};
use crate::state::{ChannelData, Commit, HistoryUpdate, Row, RowKey};
use crate::types::{ChannelId, MessageId};

/// The same message id in two channels is two rows.
pub(super) async fn one_id_in_two_channels(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    store.update_history(&a(), &put([content(1, "m", "in a")])).await?;
    store.update_history(&"b".into(), &put([content(1, "m", "in b")])).await?;
    store.update_history(&a(), &deleting([message(1, "m")])).await?;
    holds!(rows(&*store, &a()).await?.is_empty());
    same!(rows(&*store, &"b".into()).await?, [content(1, "m", "in b")]);
    Ok(())
}

/// Channel ids are 1 to 256 bytes of any kind, and may be prefixes of each other.
pub(super) async fn channel_ids_are_any_bytes(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    let own = |at: usize| vec![content(at as u64, "m", format!("of channel {at}")), request("missing")];
    for (at, channel) in odd_channels().iter().enumerate() {
        store.commit(channel, &all(&own(at))).await?;
    }
    for (at, channel) in odd_channels().iter().enumerate() {
        same!(store.load_channel(channel).await?, data(own(at)), "{channel}");
    }
    let mut sorted = odd_channels();
    sorted.sort();
    if let Some(listed) = listed(&*store).await? {
        same!(listed, sorted);
    }
    Ok(())
}

/// A drop takes a channel with its hints and touches no other; twice or unknown is fine.
pub(super) async fn drop_takes_one_channel_whole(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    let commit = Commit { hints: vec![("h".into(), Bytes::from_static(b"hint"))], ..all(&every_kind()) };
    for channel in odd_channels() {
        store.commit(&channel, &commit).await?;
    }
    store.drop_channel(&"unknown".into()).await?;
    let mut left = odd_channels();
    while let Some(dropped) = left.pop() {
        for _ in 0..2 {
            store.drop_channel(&dropped).await?;
        }
        holds!(store.load_channel(&dropped).await?.is_empty(), "{dropped}");
        for channel in &left {
            let expected = ChannelData { hints: commit.hints.clone(), ..data(every_kind()) };
            same!(store.load_channel(channel).await?, expected, "{channel} after {dropped}");
        }
    }
    Ok(())
}

/// A dropped channel stays away after a restart, and one made anew inherits nothing.
pub(super) async fn dropped_channel_does_not_come_back(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    let commit = Commit { hints: vec![("h".into(), Bytes::from_static(b"hint"))], ..all(&every_kind()) };
    store.commit(&a(), &commit).await?;
    store.drop_channel(&a()).await?;
    drop(store);
    let store = place.open()?;
    holds!(store.load_channel(&a()).await?.is_empty());
    store.commit(&a(), &all(&[message(1, "new")])).await?;
    same!(store.load_channel(&a()).await?, data(vec![message(1, "new")]));
    Ok(())
}

/// The list names channels with anything saved, in id order, and no others.
pub(super) async fn list_names_the_live_ones(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    store.save_channel_meta(&"with meta".into(), &meta_for(&[])).await?;
    store.update_history(&"with rows".into(), &put((0..50).map(|at| message(at, "m")))).await?;
    store.set_retrieval_hint(&"with hint".into(), &"m".into(), &Bytes::from_static(b"h")).await?;
    store.commit(&"dropped".into(), &all(&every_kind())).await?;
    store.drop_channel(&"dropped".into()).await?;
    store.update_history(&"emptied".into(), &put([message(1, "m")])).await?;
    store.update_history(&"emptied".into(), &deleting([message(1, "m")])).await?;
    let expected = ["with hint", "with meta", "with rows"].map(ChannelId::from);
    if let Some(listed) = listed(&*store).await? {
        same!(listed, expected);
    }
    Ok(())
}

/// Hints come back in id order: set before, with, after and without their message.
pub(super) async fn hints_come_back(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    for (id, bytes) in [hint("z without", "old"), hint("before", "b"), hint("z without", "new"), hint("empty", "")] {
        store.set_retrieval_hint(&a(), &id, &bytes).await?;
    }
    let rows = vec![message(1, "before"), message(2, "with"), message(3, "after")];
    store.commit(&a(), &Commit { hints: vec![hint("with", "w")], ..all(&rows) }).await?;
    store.set_retrieval_hint(&a(), &"after".into(), &Bytes::from_static(b"a")).await?;
    drop(store);
    let hints =
        vec![hint("after", "a"), hint("before", "b"), hint("empty", ""), hint("with", "w"), hint("z without", "new")];
    same!(place.open()?.load_channel(&a()).await?, ChannelData { hints, ..data(rows) });
    Ok(())
}

/// A hint goes when its message's body row is deleted, and only then.
pub(super) async fn hints_go_with_their_body(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    let ids = ["evicted", "other", "stubbed"];
    let rows: Vec<Row> = ids.iter().map(|id| message(1, id)).collect();
    let hints = ids.map(|id| (MessageId::from(id), Bytes::from_static(b"h")));
    store.commit(&a(), &Commit { hints: hints.to_vec(), ..all(&rows) }).await?;
    let gone = [RowKey::body(&key(1, "evicted")), RowKey::outgoing(&key(1, "other"))];
    let update = HistoryUpdate { put: vec![stub(1, "stubbed")], delete: gone.to_vec() };
    let meta = meta_for(&[message(1, "other"), stub(1, "stubbed")]);
    let commit = Commit { meta: Some(meta), history: update, hints: vec![] };
    store.commit(&a(), &commit).await?;
    same!(store.load_channel(&a()).await?.hints, hints[1..]);
    let again = (MessageId::from("other"), Bytes::from_static(b"set as its body goes"));
    let commit = Commit { history: deleting([message(1, "other")]), hints: vec![again.clone()], meta: None };
    let meta = meta_for(&[stub(1, "stubbed")]);
    store.commit(&a(), &Commit { meta: Some(meta), ..commit }).await?;
    same!(store.load_channel(&a()).await?.hints, [again, hints[2].clone()]);
    Ok(())
}

/// What was saved is there after a clean restart.
pub(super) async fn a_reopened_store_has_it_all(place: &dyn Place) -> Outcome {
    for round in 0..3 {
        let store = place.open()?;
        let rows: Vec<Row> = (0..100).map(|at| message(at, &format!("{round}"))).collect();
        store.commit(&format!("{round}").into(), &all(&rows)).await?;
        drop(store);
        let store = place.open()?;
        if let Some(listed) = listed(&*store).await? {
            same!(listed.len(), round + 1);
        }
        same!(store.load_channel(&format!("{round}").into()).await?, data(rows));
    }
    Ok(())
}
