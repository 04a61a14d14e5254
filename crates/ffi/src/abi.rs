//! The functions of `libsds.h`.
//!
//! What: one function for each that a host of nim-sds calls. How a call moves: the handle is looked up, what the host gave
//! is copied, the work is done ([`manager`](crate::manager)), and the callback is called once, before the call returns.
#![allow(unsafe_code, non_snake_case, reason = "names and types that C programs know")]

use std::ffi::{c_char, c_int, c_void};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use reliable_channel::types::{ChannelId, MessageId};

use crate::answer::{Failure, Refusal, Request, answer};
use crate::foreign::{Callback, HintProvider, bytes, c_string, c_strings};
use crate::handles::{Handles, Held};
use crate::manager::Manager;
use crate::text::Text;

/// Done, or taken on: the callback has what came of it.
pub const RET_OK: c_int = 0;
/// Not done: the callback says why, but for a bad `ctx`.
pub const RET_ERR: c_int = 1;
/// Not done: there was no callback.
pub const RET_MISSING_CALLBACK: c_int = 2;

/// Hears a result or an event: code, text, its length, and what the host passed along.
pub type SdsCallBack = Option<unsafe extern "C" fn(c_int, *const c_char, usize, *mut c_void)>;
/// Asked for the retrieval hint of a message: its id, where to put start and length of the hint, and what the host passed
/// along.
pub type SdsRetrievalHintProvider =
    Option<unsafe extern "C" fn(*const c_char, *mut *mut c_char, *mut usize, *mut c_void)>;

static MANAGERS: LazyLock<Handles<Manager>> = LazyLock::new(Handles::new);

/// Makes a manager; NULL where that failed.
///
/// # Safety
/// `callback` may be called with `userData` from this thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SdsNewReliabilityManager(callback: SdsCallBack, userData: *mut c_void) -> *mut c_void {
    let Some(callback) = Callback::new(callback, userData) else { return std::ptr::null_mut() };
    let mut handle = None;
    let answered = answer(Request::Create, || {
        let manager = Arc::new(Manager::new()?);
        handle = Some(MANAGERS.insert(manager).ok_or(Failure::OutOfMemory)?);
        Ok(Text::empty())
    });
    callback.answer(answered);
    handle.map_or(std::ptr::null_mut(), std::ptr::without_provenance_mut)
}

/// From now on events are told to this callback; with NULL to nobody. A bad `ctx` changes nothing.
///
/// # Safety
/// `callback` may be called with `userData` from any thread, until another takes its place or the manager is cleaned up.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SdsSetEventCallback(ctx: *mut c_void, callback: SdsCallBack, userData: *mut c_void) {
    if let Some(manager) = find(ctx) {
        manager.hear(Callback::new(callback, userData));
    }
}

/// From now on this provider is asked for retrieval hints; with NULL nobody is. A bad `ctx` changes nothing.
///
/// # Safety
/// `callback` may be called with `userData` from any thread that wraps, until another takes its place and no wrap is in
/// progress. A hint that it gives is from `malloc`, is as long as it says, and is not freed by the host.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SdsSetRetrievalHintProvider(
    ctx: *mut c_void,
    callback: SdsRetrievalHintProvider,
    userData: *mut c_void,
) {
    if let Some(manager) = find(ctx) {
        manager.ask_for_hints(HintProvider::new(callback, userData));
    }
}

/// Ends a manager. Its handle is good for nothing any more, and nothing is told of it any more.
///
/// # Safety
/// `callback` may be called with `userData` from this thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SdsCleanupReliabilityManager(
    ctx: *mut c_void,
    callback: SdsCallBack,
    userData: *mut c_void,
) -> c_int {
    if find(ctx).is_none() {
        return RET_ERR;
    }
    let Some(callback) = Callback::new(callback, userData) else { return RET_MISSING_CALLBACK };
    let Some(manager) = MANAGERS.remove(ctx.addr()) else { return RET_ERR };
    callback.answer(answer(Request::Cleanup, || {
        let cleaned = manager.clean_up();
        drop(manager);
        cleaned
    }));
    RET_OK
}

/// Forgets all channels of a manager.
///
/// # Safety
/// `callback` may be called with `userData` from this thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SdsResetReliabilityManager(
    ctx: *mut c_void,
    callback: SdsCallBack,
    userData: *mut c_void,
) -> c_int {
    enter(ctx, callback, userData, Request::Reset, || Ok(()), |manager, ()| manager.reset())
}

/// Makes a message to broadcast of this content. The result is its bytes as `10,66,48`.
///
/// # Safety
/// `message` is NULL or the start of `messageLen` bytes; the ids are NULL or C strings; all of them stay as they are during
/// the call. `callback` may be called with `userData` from this thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SdsWrapOutgoingMessage(
    ctx: *mut c_void,
    message: *mut c_void,
    messageLen: usize,
    messageId: *const c_char,
    channelId: *const c_char,
    callback: SdsCallBack,
    userData: *mut c_void,
) -> c_int {
    let copy = || {
        // SAFETY: the host's promise.
        let content = unsafe { bytes(message.cast_const().cast(), messageLen) }.ok_or(Refusal::NoMessage)?;
        // SAFETY: the host's promise.
        let id = unsafe { c_string(messageId) }.ok_or(Refusal::NoMessageId)?;
        // SAFETY: the host's promise.
        let channel = unsafe { channel_id(channelId) }?;
        Ok((channel, MessageId::new(id), content))
    };
    enter(ctx, callback, userData, Request::Wrap, copy, |manager, (channel, id, content)| {
        manager.wrap(&channel, &id, &content)
    })
}

/// Takes in a message from the network. The result is JSON: content, channel, and what it waits for.
///
/// # Safety
/// `message` is NULL or the start of `messageLen` bytes that stay as they are during the call. `callback` may be called with
/// `userData` from this thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SdsUnwrapReceivedMessage(
    ctx: *mut c_void,
    message: *mut c_void,
    messageLen: usize,
    callback: SdsCallBack,
    userData: *mut c_void,
) -> c_int {
    // SAFETY: the host's promise.
    let copy = || unsafe { bytes(message.cast_const().cast(), messageLen) }.ok_or(Refusal::NoMessage);
    enter(ctx, callback, userData, Request::Unwrap, copy, |manager, message: Bytes| manager.unwrap(&message))
}

/// Declares that nothing has to wait for these messages.
///
/// # Safety
/// `messageIds` is NULL or the start of `count` C strings; `channelId` is NULL or a C string; all of them stay as they are
/// during the call. `callback` may be called with `userData` from this thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SdsMarkDependenciesMet(
    ctx: *mut c_void,
    messageIds: *mut *mut c_char,
    count: usize,
    channelId: *const c_char,
    callback: SdsCallBack,
    userData: *mut c_void,
) -> c_int {
    let copy = || {
        // SAFETY: the host's promise. A pointer that may be written through may be read through.
        let ids = unsafe { c_strings(messageIds.cast_const().cast(), count) };
        let missing = if messageIds.is_null() { Refusal::NoMessageIds } else { Refusal::NoMessageId };
        let ids = ids.ok_or(missing)?;
        // SAFETY: the host's promise.
        let channel = unsafe { channel_id(channelId) }?;
        Ok((channel, ids.into_iter().map(MessageId::new).collect::<Vec<_>>()))
    };
    enter(ctx, callback, userData, Request::MarkDependenciesMet, copy, |manager, (channel, ids)| {
        manager.mark_dependencies_met(&channel, ids)
    })
}

/// Starts what goes by itself: repeating, giving up, repairing, and `periodic_sync`, the first of which comes at once.
///
/// # Safety
/// `callback` may be called with `userData` from this thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SdsStartPeriodicTasks(
    ctx: *mut c_void,
    callback: SdsCallBack,
    userData: *mut c_void,
) -> c_int {
    enter(ctx, callback, userData, Request::StartPeriodicTasks, || Ok(()), |manager, ()| manager.start_periodic_tasks())
}

/// A call as all of them go: a bad handle first, then a missing callback, then what else is wrong with it, then the work.
fn enter<T>(
    ctx: *mut c_void,
    callback: SdsCallBack,
    user_data: *mut c_void,
    request: Request,
    copy: impl FnOnce() -> Result<T, Refusal>,
    work: impl FnOnce(&Manager, T) -> Result<Text, Failure>,
) -> c_int {
    let Some(manager) = find(ctx) else { return RET_ERR };
    let Some(callback) = Callback::new(callback, user_data) else { return RET_MISSING_CALLBACK };
    match copy() {
        Ok(copied) => {
            let answered = answer(request, || work(&manager, copied));
            // The callback may end the manager; nothing of it is needed any more.
            drop(manager);
            callback.answer(answered);
            RET_OK
        }
        Err(refusal) => {
            callback.answer(Err(refusal.to_string().into_bytes().into()));
            RET_ERR
        }
    }
}

fn find(ctx: *mut c_void) -> Option<Held<Manager>> {
    MANAGERS.get(ctx.addr())
}

/// # Safety
/// As for [`c_string`].
unsafe fn channel_id(channel: *const c_char) -> Result<ChannelId, Refusal> {
    // SAFETY: the caller's promise.
    let channel = unsafe { c_string(channel) }.ok_or(Refusal::NoChannel)?;
    if channel.is_empty() {
        return Err(Refusal::EmptyChannel);
    }
    Ok(ChannelId::new(channel))
}
