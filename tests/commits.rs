//! Commits merged lead where they lead one after the other, whichever are merged first.
#![cfg(feature = "store")]
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use reliable_channel::state::{ChannelData, Commit, HistoryUpdate, LogKey, Mark, MarkKind, Place, Row, RowKey, Stub};
use reliable_channel::store::{MemoryPersistence, Persistence};
use reliable_channel::types::{Lamport, MessageId};

fn id() -> impl Strategy<Value = MessageId> {
    prop_oneof![Just("m".into()), Just("n".into())]
}

/// Bodies under two places of the log, so that an id may change its place, and rows that have none.
fn row() -> impl Strategy<Value = Row> {
    let body =
        (1..3u64, id()).prop_map(|(at, id)| Row::Stub(Stub::new(LogKey { lamport: Lamport(at), id }, "bob".into())));
    let mark = (id(), 0..9u64).prop_map(|(id, sequence)| Row::Mark(Mark::new(id, MarkKind::Lost, sequence)));
    prop_oneof![body, mark]
}

fn key() -> impl Strategy<Value = RowKey> {
    let body = (1..3u64, id()).prop_map(|(at, id)| RowKey { place: Place::Body, lamport: Lamport(at), id });
    prop_oneof![body, id().prop_map(|id| RowKey::by_id(Place::Mark, &id))]
}

fn commit() -> impl Strategy<Value = Commit> {
    let hints = vec((id(), vec(any::<u8>(), 1..3).prop_map(Bytes::from)), 0..2);
    (vec(row(), 0..3), vec(key(), 0..3), hints).prop_map(|(put, delete, hints)| Commit {
        meta: None,
        history: HistoryUpdate { put, delete },
        hints,
    })
}

fn merged(mut first: Commit, then: &Commit) -> Commit {
    first.merge(then.clone());
    first
}

fn stored(commits: &[Commit]) -> ChannelData {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = MemoryPersistence::new();
        for commit in commits {
            store.commit(&"room".into(), commit).await.unwrap();
        }
        store.load_channel(&"room".into()).await.unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn it_does_not_matter_which_are_merged_first(a in commit(), b in commit(), c in commit()) {
        let left = merged(merged(a.clone(), &b), &c);
        let right = merged(a, &merged(b, &c));
        prop_assert_eq!(left, right);
    }

    #[test]
    fn together_they_lead_where_they_lead_one_after_the_other(
        before in commit(),
        commits in vec(commit(), 1..5),
        split in 0..5usize,
    ) {
        let (one, other) = commits.split_at(split.min(commits.len()));
        let all = |commits: &[Commit]| commits.iter().fold(Commit::default(), merged);
        let apart = stored(&[std::slice::from_ref(&before), &commits].concat());
        prop_assert_eq!(stored(&[before, merged(all(one), &all(other))]), apart);
    }
}
