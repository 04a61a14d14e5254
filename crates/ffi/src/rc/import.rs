//! Taking over what nim-sds saved: its interface has no stores, but its hosts may have kept its snapshots.
#![allow(unsafe_code, reason = "the border to C")]

use std::sync::Arc;

use reliable_channel::state::{ChannelData, Commit, HistoryUpdate};
use reliable_channel::store::nim::{Imported, Snapshot, import};
use reliable_channel::store::{Persistence, RedbPersistence};
use reliable_channel::types::{ChannelId, ParticipantId};

use crate::rc::calls::channel_id;
use crate::rc::code::rc_code::{self, *};
use crate::rc::code::{Failed, answer};
use crate::rc::types::{put_if, rc_bytes};
use crate::runtime::{runtime, wait_for};

/// For `rc_import_nim`: the snapshot is a `ChannelData`, all there is of a channel.
pub const RC_NIM_DATA: u32 = 0;
/// For `rc_import_nim`: the snapshot is a `ChannelMeta`, without the history.
pub const RC_NIM_META: u32 = 1;

/// Writes what nim-sds saved of a channel (`kind` is `RC_NIM_*`) into the store in `directory`, under the dialect nim-sds: open a
/// manager of the same participant with that store and `RC_DIALECT_NIM_SDS`, and join the channel. `length` is the
/// snapshot's length as you know it, or 0: a snapshot that was cut short cannot be told from a whole one otherwise. `*doubts` is
/// how many of its entries were left out, or are doubted for that reason. `RC_ERR_REFUSED` for what is no snapshot, or of another
/// channel, and where the store has the channel already; nothing is written then.
///
/// # Safety
/// The arguments are as `rc_bytes` says; `doubts` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_import_nim(
    directory: rc_bytes,
    participant: rc_bytes,
    channel: rc_bytes,
    kind: u32,
    snapshot: rc_bytes,
    length: usize,
    doubts: *mut usize,
) -> rc_code {
    answer(|| {
        // SAFETY: the caller's promise.
        let directory = unsafe { directory.text() }?;
        // SAFETY: the caller's promise.
        let participant = unsafe { participant.copy() }?;
        // SAFETY: the caller's promise.
        let channel = unsafe { channel_id(channel) }?;
        // SAFETY: the caller's promise.
        let blob = unsafe { snapshot.copy() }?;
        let snapshot = match kind {
            RC_NIM_DATA => Snapshot::Data(&blob),
            RC_NIM_META => Snapshot::Meta(&blob),
            other => return Err(Failed::new(RC_ERR_ARGUMENT, format!("there is no kind {other}"))),
        };
        let length = (length > 0).then_some(length);
        let imported = import(snapshot, &ParticipantId::new(&participant), length);
        let imported = imported.map_err(|error| Failed::new(RC_ERR_REFUSED, error))?;
        let doubted = imported.doubts.len();
        write(&directory, &channel, imported)?;
        // SAFETY: the caller's promise.
        unsafe { put_if(doubts, doubted) };
        Ok(RC_OK)
    })
}

fn write(directory: &str, channel: &ChannelId, imported: Imported) -> Result<(), Failed> {
    if let Some(other) = imported.channel.filter(|named| named != channel) {
        return Err(Failed::new(RC_ERR_REFUSED, format!("the snapshot is of channel {other}")));
    }
    let runtime = runtime().map_err(|error| Failed::new(RC_ERR_SYSTEM, error))?;
    let store = Arc::new(RedbPersistence::open(directory)?);
    let written = wait_for(runtime, async {
        if store.load_channel(channel).await? != ChannelData::default() {
            return Err(Failed::new(RC_ERR_REFUSED, format!("the store has channel {channel} already")));
        }
        let ChannelData { meta, rows, hints, .. } = imported.data;
        let commit = Commit { meta, history: HistoryUpdate { put: rows, delete: Vec::new() }, hints };
        store.commit(channel, &commit).await?;
        Ok(store.flush().await?)
    });
    let closed = wait_for(runtime, store.close());
    written.and(closed.map_err(Failed::from))
}
