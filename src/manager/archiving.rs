//! Calls to the archive, each of which ends with an input, as those to the store do.

use std::sync::Arc;

use super::cell::Cell;
use super::shared::Shared;
use super::storing::{End, closed, start, without_panic};
use crate::channel::{Erasure, erased, item_of};
use crate::executor::{ArchiveAnswer, ArchiveCall, Generation, Input};
use crate::reconcile::{Item, Rid};
use crate::state::Body;
use crate::store::{Archive, PersistenceError};
use crate::types::ChannelId;

/// Messages read at once, and bytes of content after which no further ones are: no more is sent in one answer.
const READ: usize = 16;
const READ_BYTES: usize = 1 << 20;
/// Messages listed at once to find those that are to be erased.
const LISTED: usize = 4_096;

pub(super) fn call(shared: &Arc<Shared>, cell: &Arc<Cell>, generation: Generation, call: ArchiveCall) {
    let end =
        End::new(shared, cell, "archive", generation, |generation, result| Input::Archived { generation, result });
    let archive = shared.archive();
    start(shared, async move {
        let channel = end.channel().clone();
        let result = match &archive {
            Some(archive) => carry_out(&**archive, &channel, call).await,
            None => Err(closed("archive", &channel)),
        };
        drop(archive);
        end.with(result);
    });
}

async fn carry_out(
    archive: &dyn Archive,
    channel: &ChannelId,
    call: ArchiveCall,
) -> Result<ArchiveAnswer, PersistenceError> {
    match call {
        ArchiveCall::Put(messages) => {
            without_panic("put", Some(channel), || archive.put(channel, &messages)).await?;
            Ok(ArchiveAnswer::Put)
        }
        ArchiveCall::List { after, limit } => {
            let list = || archive.list(channel, after.as_ref(), limit);
            Ok(ArchiveAnswer::Listed(without_panic("list", Some(channel), list).await?))
        }
        ArchiveCall::Get(items) => get(archive, channel, &items).await,
        ArchiveCall::Erase(erasure) => erase(archive, channel, &erasure).await,
    }
}

/// Looks through the places that are meant. A message that replaces another one in its place is all that this takes.
async fn erase(
    archive: &dyn Archive,
    channel: &ChannelId,
    erasure: &Erasure,
) -> Result<ArchiveAnswer, PersistenceError> {
    let mut after = erasure.after.clone();
    loop {
        let listed = without_panic("list", Some(channel), || archive.list(channel, after.as_ref(), LISTED)).await?;
        let covered = listed.iter().filter(|(key, _)| erasure.covers(key));
        let items: Vec<Item> = covered.map(|(key, rid)| Item { lamport: key.lamport, rid: *rid }).collect();
        for some in items.chunks(READ) {
            let found = without_panic("get", Some(channel), || archive.get(channel, some)).await?;
            let with_content = found.iter().filter(|body| !body.is_erased());
            let erased = with_content.map(|body| Arc::new(erased(body)));
            let erased: Vec<(Rid, Arc<Body>)> = erased.map(|body| (item_of(channel, &body).rid, body)).collect();
            if !erased.is_empty() {
                without_panic("put", Some(channel), || archive.put(channel, &erased)).await?;
            }
        }
        match listed.last() {
            Some((last, _)) if listed.len() == LISTED && last.lamport <= erasure.up_to => after = Some(last.clone()),
            _ => return Ok(ArchiveAnswer::Erased),
        }
    }
}

async fn get(archive: &dyn Archive, channel: &ChannelId, items: &[Item]) -> Result<ArchiveAnswer, PersistenceError> {
    let (mut bodies, mut looked, mut bytes) = (Vec::new(), 0, 0);
    for some in items.chunks(READ) {
        let found = without_panic("get", Some(channel), || archive.get(channel, some)).await?;
        bytes += found.iter().map(|body| body.content.len()).sum::<usize>();
        bodies.extend(found);
        looked += some.len();
        if bytes >= READ_BYTES {
            break;
        }
    }
    Ok(ArchiveAnswer::Got { bodies, looked })
}

/// Wipes a channel, where there is an archive.
pub(super) async fn drop_channel(
    archive: Option<Arc<dyn Archive>>,
    channel: &ChannelId,
) -> Result<(), PersistenceError> {
    let Some(archive) = archive else { return Ok(()) };
    without_panic("drop_channel", Some(channel), || archive.drop_channel(channel)).await
}
