//! Rules of calls that overlap.
//!
//! What: tasks that write and read at the same time, and callers that stop waiting. Why: a manager has one task per
//! busy channel, and any of them may be dropped. How it moves: tasks on one runtime; a store may have threads of its own.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::samples::{a, all, content, data, listed, message, meta_for, put, rows};
use super::{Outcome, Place, holds, same};
use crate::state::{Commit, Row, RowKey};
use crate::types::{ChannelId, Lamport};

/// 64 tasks write 64 channels at the same time.
pub(super) async fn many_tasks_on_many_channels(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    let rows: Vec<Row> = (0..20).map(|at| message(at, "m")).collect();
    let tasks = (0..64).map(|task| {
        let (store, rows) = (store.clone(), rows.clone());
        tokio::spawn(async move {
            let channel = ChannelId::from(format!("{task}"));
            for count in 1..=rows.len() {
                let history = put([rows[count - 1].clone()]);
                let commit = Commit { meta: Some(meta_for(&rows[..count])), history, hints: vec![] };
                store.commit(&channel, &commit).await?;
            }
            same!(store.load_channel(&channel).await?, data(rows));
            Outcome::Ok(())
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    if let Some(listed) = listed(&*store).await? {
        same!(listed.len(), 64);
    }
    Ok(())
}

/// Two tasks write one channel: each write is whole.
pub(super) async fn two_writers_on_one_channel(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    let tasks = [0, 1].map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for at in 0..50 {
                store.update_history(&a(), &put([message(at * 2 + writer, "m")])).await?;
                store.update_history(&a(), &put([content(1_000, "shared", writer.to_string())])).await?;
            }
            Outcome::Ok(())
        })
    });
    for task in tasks {
        task.await??;
    }
    let rows = rows(&*store, &a()).await?;
    same!(rows.get(..100), Some((0..100).map(|at| message(at, "m")).collect::<Vec<_>>().as_slice()));
    holds!([content(1_000, "shared", "0"), content(1_000, "shared", "1")].contains(&rows[100]));
    Ok(())
}

/// A load sees all or nothing of a commit (where commits are atomic).
pub(super) async fn loads_during_writes_see_whole_commits(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    let atomic = store.capabilities().atomic;
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for count in 1..=60 {
                let rows: Vec<Row> = (0..count).map(|at| message(at, "m")).collect();
                store.commit(&a(), &all(&rows)).await?;
            }
            Outcome::Ok(())
        }
    });
    while !writer.is_finished() {
        let loaded = store.load_channel(&a()).await?;
        if atomic {
            loaded.check()?;
        }
        tokio::task::yield_now().await;
    }
    writer.await??;
    Ok(())
}

/// A caller that stops waiting leaves a write done or not done.
pub(super) async fn a_dropped_future_does_no_harm(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    let channel = a();
    for at in 0..50 {
        let update = put([message(at, "m")]);
        let mut write = store.update_history(&channel, &update);
        // Polled once, then dropped: it is done or not, and whole.
        let _ = poll_once(write.as_mut());
    }
    store.update_history(&a(), &put([message(50, "m")])).await?;
    let found: BTreeSet<RowKey> = rows(&*store, &a()).await?.iter().map(Row::key).collect();
    holds!(found.contains(&message(50, "m").key()));
    holds!(found.iter().all(|key| key.lamport <= Lamport(50)));
    Ok(())
}

fn poll_once<T>(future: Pin<&mut (dyn Future<Output = T> + Send)>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
