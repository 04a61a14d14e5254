//! What an archive promises, as one test for an archive of your own (feature `testing`).
//!
//! [`check`] opens the archive, writes, opens it again, and looks. In a test of yours:
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use std::sync::Arc;
//! use reliable_channel::store::{MemoryArchive, archive::conformance};
//!
//! let archive = MemoryArchive::new();
//! conformance::check(|| Arc::new(archive.clone())).await;
//! # });
//! ```

use std::sync::Arc;

use bytes::Bytes;

use super::Archive;
use crate::reconcile::{Item, Rid};
use crate::state::{Body, LogKey};
use crate::types::{ChannelId, HistoryEntry, Lamport, Signature};

/// Channels of which one's name is the beginning of another's, and one is all high bytes.
const CHANNELS: [&[u8]; 3] = [b"room", b"room 2", &[0xff; 3]];

/// Checks all rules; `open` gives the archive anew, with what was put before.
///
/// # Panics
/// Where it breaks one.
#[allow(clippy::unwrap_used, reason = "a test may panic")]
pub async fn check<A: Archive>(open: impl Fn() -> Arc<A>) {
    let channels = CHANNELS.map(ChannelId::new);
    let archive = open();
    for channel in &channels {
        assert_eq!(archive.list(channel, None, 10).await.unwrap(), [], "an unknown channel is empty");
        assert_eq!(archive.page(channel, None, 10).await.unwrap(), []);
        assert_eq!(archive.get(channel, &[item(1, 1)]).await.unwrap(), []);
        archive.drop_channel(channel).await.unwrap();
    }

    // Out of order, some of one time, ids of which one begins another, and one message that is large.
    let mut messages: Vec<(Rid, Arc<Body>)> =
        (0..40).map(|n| message(n / 3, n, if n == 7 { 300_000 } else { 9 })).collect();
    messages.reverse();
    for channel in &channels {
        for some in messages.chunks(7) {
            archive.put(channel, some).await.unwrap();
        }
        archive.put(channel, &messages[..9]).await.unwrap();
    }
    messages.sort_by(|(_, one), (_, next)| one.key.cmp(&next.key));
    drop(archive);

    let archive = open();
    for channel in &channels {
        holds(&*archive, channel, &messages).await;
    }

    // Another message in the same place replaces it; its rid is not there any more.
    let (old, place) = (messages[5].0, messages[5].1.key.clone());
    let other = Arc::new(Body { content: "another".into(), ..(*messages[5].1).clone() });
    messages[5] = (Rid([99; 32]), other);
    archive.put(&channels[0], &messages[5..6]).await.unwrap();
    holds(&*archive, &channels[0], &messages).await;
    let gone = archive.get(&channels[0], &[Item { lamport: place.lamport, rid: old }]).await.unwrap();
    assert_eq!(gone, [], "what was replaced is not there");

    // A message that loses its content stays in its place, with its rid.
    let whole = (*messages[6].1).clone();
    messages[6].1 = Arc::new(Body { content: Bytes::new(), erased: Some(Box::new([6; 32])), ..whole });
    archive.put(&channels[0], &messages[6..7]).await.unwrap();
    holds(&*archive, &channels[0], &messages).await;

    archive.drop_channel(&channels[0]).await.unwrap();
    drop(archive);
    let archive = open();
    assert_eq!(archive.list(&channels[0], None, 99).await.unwrap(), [], "a dropped channel does not come back");
    assert_eq!(archive.page(&channels[0], None, 99).await.unwrap(), []);
    for place in [5, 6] {
        messages[place] = message(place as u64 / 3, place as u64, 9);
    }
    messages.sort_by(|(_, one), (_, next)| one.key.cmp(&next.key));
    for channel in &channels[1..] {
        holds(&*archive, channel, &messages).await;
    }
}

/// Whether all of these are there, and nothing else, however it is looked at.
#[allow(clippy::unwrap_used, reason = "a test may panic")]
async fn holds(archive: &impl Archive, channel: &ChannelId, messages: &[(Rid, Arc<Body>)]) {
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = archive.list(channel, after.as_ref(), 7).await.unwrap();
        after = page.last().map(|(key, _)| key.clone());
        let last = page.len() < 7;
        listed.extend(page);
        if last {
            break;
        }
    }
    let expected: Vec<(LogKey, Rid)> = messages.iter().map(|(rid, body)| (body.key.clone(), *rid)).collect();
    assert_eq!(listed, expected, "all are listed once, in order");

    let (mut read, mut before) = (Vec::new(), None);
    loop {
        let page = archive.page(channel, before.as_ref(), 6).await.unwrap();
        assert!(page.len() <= 6, "no more than asked for");
        let Some(last) = page.last() else { break };
        before = Some(last.key.clone());
        read.extend(page);
    }
    let newest_first: Vec<Arc<Body>> = messages.iter().rev().map(|(_, body)| body.clone()).collect();
    assert_eq!(read, newest_first, "pages give all, the newest first");

    let mut items: Vec<Item> =
        messages.iter().map(|(rid, body)| Item { lamport: body.key.lamport, rid: *rid }).collect();
    items.push(item(2, 200));
    items.push(item(1_000, 1));
    let mut found = archive.get(channel, &items).await.unwrap();
    found.sort_by(|one, next| one.key.cmp(&next.key));
    let bodies: Vec<Arc<Body>> = messages.iter().map(|(_, body)| body.clone()).collect();
    assert_eq!(found, bodies, "what is asked for and there is given");
}

fn item(lamport: u64, rid: u8) -> Item {
    Item { lamport: Lamport(lamport), rid: Rid([rid; 32]) }
}

fn message(lamport: u64, n: u64, size: usize) -> (Rid, Arc<Body>) {
    // "x", "xx", "xxx": at one time.
    let id = "x".repeat(usize::try_from(n % 3).unwrap_or(0) + 1);
    let key = LogKey { lamport: Lamport(lamport), id: id.as_str().into() };
    let causal_history = vec![HistoryEntry::new("before")];
    let content = vec![b'c'; size].into();
    let byte = u8::try_from(n).unwrap_or(u8::MAX);
    (
        Rid([byte; 32]),
        Arc::new(Body {
            causal_history,
            signature: Some(Signature::new("signed")),
            ..Body::new(key, "sender".into(), content)
        }),
    )
}
