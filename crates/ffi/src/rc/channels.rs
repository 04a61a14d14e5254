//! Channels: joined, left, and what can be asked of them.
#![allow(unsafe_code, reason = "the border to C")]

use bytes::Bytes;
use reliable_channel::types::{ChannelId, MessageId};

use crate::rc::calls::{channel_id, rc_manager, with};
use crate::rc::client::Client;
use crate::rc::code::Failed;
use crate::rc::code::rc_code::{self, *};
use crate::rc::types::rc_bytes;

/// A call about a channel.
///
/// # Safety
/// `channel` is as `rc_bytes` says.
unsafe fn in_channel(
    manager: *mut rc_manager,
    channel: rc_bytes,
    work: impl FnOnce(&Client, ChannelId) -> Result<(), Failed>,
) -> rc_code {
    with(manager, |client| {
        // SAFETY: the caller's promise.
        let channel = unsafe { channel_id(channel) }?;
        work(client, channel).map(|()| RC_OK)
    })
}

/// A call about a message.
///
/// # Safety
/// `channel` and `id` are as `rc_bytes` says.
unsafe fn of_message(
    manager: *mut rc_manager,
    channel: rc_bytes,
    id: rc_bytes,
    work: impl FnOnce(&Client, ChannelId, MessageId) -> Result<(), Failed>,
) -> rc_code {
    let work = |client: &Client, channel| {
        // SAFETY: the caller's promise.
        let id = unsafe { id.copy() }?;
        work(client, channel, MessageId::new(&id))
    };
    // SAFETY: the caller's promise.
    unsafe { in_channel(manager, channel, work) }
}

/// Joins a channel: what the store has of it is loaded, and its events begin. Nothing where it is joined.
///
/// # Safety
/// `channel` is as `rc_bytes` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_join(manager: *mut rc_manager, channel: rc_bytes) -> rc_code {
    // SAFETY: the caller's promise.
    unsafe { in_channel(manager, channel, |client, channel| client.join(&channel)) }
}

/// Leaves a channel. What the store has of it stays. `RC_ERR_STORE` where its last changes cannot be saved: it stays joined.
///
/// # Safety
/// `channel` is as `rc_bytes` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_leave(manager: *mut rc_manager, channel: rc_bytes) -> rc_code {
    // SAFETY: the caller's promise.
    unsafe { in_channel(manager, channel, |client, channel| client.leave(&channel)) }
}

/// Leaves a channel, and erases it from the store. `RC_ERR_STORE` as of `rc_leave`, and where it cannot be erased.
///
/// # Safety
/// `channel` is as `rc_bytes` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_forget(manager: *mut rc_manager, channel: rc_bytes) -> rc_code {
    // SAFETY: the caller's promise.
    unsafe { in_channel(manager, channel, |client, channel| client.forget(&channel)) }
}

/// Asks the others now for what was missed; it happens by itself, too.
///
/// # Safety
/// `channel` is as `rc_bytes` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_catch_up(manager: *mut rc_manager, channel: rc_bytes) -> rc_code {
    let work = |client: &Client, channel| client.with_manager(|manager| async move { manager.catch_up(channel).await });
    // SAFETY: the caller's promise.
    unsafe { in_channel(manager, channel, work) }
}

/// Says that the network is back: in all channels, others hear soon what is here, and what is not is asked for.
#[unsafe(no_mangle)]
pub extern "C" fn rc_online(manager: *mut rc_manager) -> rc_code {
    with(manager, |client| client.with_manager(|manager| async move { manager.online().await }).map(|()| RC_OK))
}

/// Declares that nothing has to wait for this message, as when the application has it from elsewhere.
///
/// # Safety
/// `channel` and `id` are as `rc_bytes` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_mark_met(manager: *mut rc_manager, channel: rc_bytes, id: rc_bytes) -> rc_code {
    let work = |client: &Client, channel: ChannelId, id| {
        client.with_manager(|manager| async move { manager.mark_dependencies_met(channel, [id]).await })
    };
    // SAFETY: the caller's promise.
    unsafe { of_message(manager, channel, id, work) }
}

/// Says where an archive has a message, up to 1 KiB; whoever is told to refer to it is told this too.
///
/// # Safety
/// The arguments are as `rc_bytes` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_set_hint(
    manager: *mut rc_manager,
    channel: rc_bytes,
    id: rc_bytes,
    hint: rc_bytes,
) -> rc_code {
    let work = |client: &Client, channel: ChannelId, id| {
        // SAFETY: the caller's promise.
        let hint: Bytes = unsafe { hint.copy() }?;
        client.with_manager(|manager| async move { manager.set_retrieval_hint(channel, id, hint).await })
    };
    // SAFETY: the caller's promise.
    unsafe { of_message(manager, channel, id, work) }
}

/// Sends an own message again that nobody has acknowledged, also one that failed: it is pending again. Without a transport
/// alone: `RC_ERR_TRANSPORT_MODE` with one, where a message may be many segments.
///
/// # Safety
/// `channel` and `id` are as `rc_bytes` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_resend(manager: *mut rc_manager, channel: rc_bytes, id: rc_bytes) -> rc_code {
    let work = |client: &Client, channel: ChannelId, id: MessageId| {
        client.with_bare(|manager| async move { manager.resend(channel, id).await })
    };
    // SAFETY: the caller's promise.
    unsafe { of_message(manager, channel, id, work) }
}

/// Takes an own message back that nobody has acknowledged: it is erased here and goes nowhere any more. Without a transport
/// alone, as `rc_resend`.
///
/// # Safety
/// `channel` and `id` are as `rc_bytes` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_withdraw(manager: *mut rc_manager, channel: rc_bytes, id: rc_bytes) -> rc_code {
    let work = |client: &Client, channel: ChannelId, id: MessageId| {
        client.with_bare(|manager| async move { manager.withdraw(channel, id).await })
    };
    // SAFETY: the caller's promise.
    unsafe { of_message(manager, channel, id, work) }
}

/// Confirms all deliveries up to this number: with `RC_OPTION_CONFIRM_DELIVERIES`, they do not come again after a restart.
///
/// # Safety
/// `channel` is as `rc_bytes` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_confirm(manager: *mut rc_manager, channel: rc_bytes, number: u64) -> rc_code {
    let work = |client: &Client, channel: ChannelId| {
        client.with_manager(|manager| async move { manager.confirm_deliveries(channel, number).await })
    };
    // SAFETY: the caller's promise.
    unsafe { in_channel(manager, channel, work) }
}
