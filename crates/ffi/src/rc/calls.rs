//! Managers: opened, closed, and what goes through them.
#![allow(unsafe_code, non_camel_case_types, reason = "names and types that C programs know")]

use std::ptr;
use std::sync::{Arc, LazyLock};

use reliable_channel::channel::Fate;
use reliable_channel::manager::Unwrapped;
use reliable_channel::types::ChannelId;

use crate::handles::Handles;
use crate::rc::client::Client;
use crate::rc::code::rc_code::{self, *};
use crate::rc::code::{Failed, answer};
use crate::rc::event::{dependency, dependency_of, rc_dependency, rc_message};
use crate::rc::options::{self, rc_options};
use crate::rc::types::{put, put_if, rc_buffer, rc_bytes};

/// A participant in any number of channels. Never followed: a handle, and one that ended is an error and no crash.
pub struct rc_manager {
    _private: [u8; 0],
}

static MANAGERS: LazyLock<Handles<Client>> = LazyLock::new(Handles::new);

/// A call as all of them go: the handle is looked up, then the work is done.
pub(crate) fn with(manager: *mut rc_manager, work: impl FnOnce(&Client) -> Result<rc_code, Failed>) -> rc_code {
    answer(|| work(&*MANAGERS.get(manager.addr()).ok_or_else(|| Failed::plain(RC_ERR_HANDLE))?))
}

/// # Safety
/// As for [`rc_bytes::copy`].
pub(crate) unsafe fn channel_id(channel: rc_bytes) -> Result<ChannelId, Failed> {
    // SAFETY: the caller's promise.
    let channel = unsafe { channel.copy() }?;
    if channel.is_empty() {
        return Err(Failed::new(RC_ERR_ARGUMENT, "a channel's id has no bytes"));
    }
    Ok(ChannelId::new(&channel))
}

/// Opens a manager with these options, which stay the caller's, and gives it in `*manager`, until `rc_close`. Resending, repair
/// and catching up begin at once. `RC_ERR_OPTIONS`, `RC_ERR_STORE`, `RC_ERR_SYSTEM`: `*manager` is NULL then.
///
/// # Safety
/// `manager` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_open(options: *mut rc_options, manager: *mut *mut rc_manager) -> rc_code {
    answer(|| {
        // SAFETY: the caller's promise.
        unsafe { put(manager, ptr::null_mut()) }?;
        let client = Arc::new(Client::open(options::look(options)?)?);
        let handle = MANAGERS.insert(client).ok_or_else(|| Failed::plain(RC_ERR_FULL))?;
        // SAFETY: as above.
        unsafe { put(manager, ptr::without_provenance_mut(handle)) }?;
        Ok(RC_OK)
    })
}

/// Saves everything, leaves all channels and ends a manager; whatever it answers, the handle is good for nothing any more. When
/// it returns, none of the host's functions is running for it or will be. But a callback for events that is in progress is not
/// waited for where this is called from inside one, be it of this manager or of another. `RC_ERR_STORE` where not all could be
/// saved.
#[unsafe(no_mangle)]
pub extern "C" fn rc_close(manager: *mut rc_manager) -> rc_code {
    answer(|| {
        let client = MANAGERS.remove(manager.addr()).ok_or_else(|| Failed::plain(RC_ERR_HANDLE))?;
        client.close().map(|()| RC_OK)
    })
}

/// Makes a message to broadcast, in a channel that is joined. Its bytes are in `*bytes`, and its id in `*id` where that is not
/// NULL; both are the caller's. `with_id` may be empty: then the library makes an id. Without a transport alone.
///
/// # Safety
/// The arguments are as `rc_bytes` says; `id` and `bytes` are NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_wrap(
    manager: *mut rc_manager,
    channel: rc_bytes,
    with_id: rc_bytes,
    content: rc_bytes,
    id: *mut rc_buffer,
    bytes: *mut rc_buffer,
) -> rc_code {
    with(manager, |client| {
        // SAFETY: the caller's promise.
        unsafe { put(bytes, rc_buffer::EMPTY) }?;
        // SAFETY: the caller's promise.
        let channel = unsafe { channel_id(channel) }?;
        // SAFETY: the caller's promise.
        let with_id = unsafe { with_id.copy() }?;
        // SAFETY: the caller's promise.
        let content = unsafe { content.copy() }?;
        let wrapped = client.wrap(&channel, &with_id, content)?;
        // SAFETY: the caller's promise.
        unsafe { rc_buffer::give(wrapped.id.as_bytes(), id) };
        // SAFETY: the caller's promise.
        unsafe { rc_buffer::give(&wrapped.bytes, bytes) };
        Ok(RC_OK)
    })
}

/// The same of a message that nobody keeps: it is not repeated, not repaired and not in the log.
///
/// # Safety
/// The arguments are as `rc_bytes` says; `bytes` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_wrap_ephemeral(
    manager: *mut rc_manager,
    channel: rc_bytes,
    content: rc_bytes,
    bytes: *mut rc_buffer,
) -> rc_code {
    with(manager, |client| {
        // SAFETY: the caller's promise.
        unsafe { put(bytes, rc_buffer::EMPTY) }?;
        // SAFETY: the caller's promise.
        let channel = unsafe { channel_id(channel) }?;
        // SAFETY: the caller's promise.
        let content = unsafe { content.copy() }?;
        let wrapped = client.wrap_ephemeral(&channel, content)?;
        // SAFETY: the caller's promise.
        unsafe { rc_buffer::give(&wrapped.bytes, bytes) };
        Ok(RC_OK)
    })
}

/// What became of a message that was unwrapped.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rc_fate {
    /// Delivered: `RC_EVENT_MESSAGE` tells it.
    RC_FATE_DELIVERED = 0,
    /// It waits for `message.missing`.
    RC_FATE_WAITS = 1,
    /// Known already, or one's own.
    RC_FATE_KNOWN = 2,
    /// Nothing to show: it kept the channel in step.
    RC_FATE_SYNC = 3,
    /// Not kept: `RC_EVENT_EPHEMERAL` tells it.
    RC_FATE_EPHEMERAL = 4,
    /// Not delivered: too old, or another message has its id. An event tells which.
    RC_FATE_REFUSED = 5,
}

/// A message that was unwrapped. All pointers are to what it owns.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rc_unwrapped {
    /// What became of it.
    pub fate: rc_fate,
    /// Its channel.
    pub channel: rc_bytes,
    /// The message; `number`, `incarnation` and `flags` are 0.
    pub message: rc_message,
}

/// It, and what it shows; it is first, so that a pointer to it is one to this.
#[repr(C)]
struct Taken {
    shown: rc_unwrapped,
    unwrapped: Unwrapped,
    missing: Vec<rc_dependency>,
}

impl Taken {
    /// Boxed, for what it shows must stay where it is.
    fn new(unwrapped: Unwrapped) -> Box<Self> {
        let fate = match &unwrapped.fate {
            Fate::Delivered => rc_fate::RC_FATE_DELIVERED,
            Fate::Parked { .. } | Fate::GaveWay => rc_fate::RC_FATE_WAITS,
            Fate::Duplicate | Fate::Echo => rc_fate::RC_FATE_KNOWN,
            Fate::Sync | Fate::Frame => rc_fate::RC_FATE_SYNC,
            Fate::Ephemeral => rc_fate::RC_FATE_EPHEMERAL,
            _ => rc_fate::RC_FATE_REFUSED,
        };
        let shown = rc_unwrapped { fate, channel: rc_bytes::EMPTY, message: rc_message::EMPTY };
        let mut taken = Box::new(Self { shown, unwrapped, missing: Vec::new() });
        let Self { shown, unwrapped, missing } = &mut *taken;
        let message = &unwrapped.message;
        if let Fate::Parked { missing: ids } = &unwrapped.fate {
            missing.extend(ids.iter().map(|id| {
                let named = message.causal_history.iter().find(|entry| entry.id == *id);
                named.map_or_else(|| dependency(id), dependency_of)
            }));
        }
        shown.channel = rc_bytes::of(message.channel.as_bytes());
        shown.message = rc_message {
            id: rc_bytes::of(message.id.as_bytes()),
            sender: rc_bytes::of(message.sender.as_bytes()),
            content: rc_bytes::of(&message.content),
            lamport: message.lamport.map_or(0, |lamport| lamport.0),
            ..rc_message::EMPTY
        };
        shown.message.lacks(missing);
        taken
    }
}

/// Takes in a message that arrived. What it says is in `*unwrapped`, the caller's until `rc_unwrapped_free`, where that is not
/// NULL; what may be shown, and when, events tell. `RC_ERR_PEER` for what is no message. Without a transport alone.
///
/// # Safety
/// `bytes` is as `rc_bytes` says; `unwrapped` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_unwrap(
    manager: *mut rc_manager,
    bytes: rc_bytes,
    unwrapped: *mut *mut rc_unwrapped,
) -> rc_code {
    with(manager, |client| {
        // SAFETY: the caller's promise.
        unsafe { put_if(unwrapped, ptr::null_mut()) };
        // SAFETY: the caller's promise.
        let bytes = unsafe { bytes.copy() }?;
        let taken = client.unwrap(bytes)?;
        if !unwrapped.is_null() {
            // SAFETY: the caller's promise.
            unsafe { unwrapped.write(Box::into_raw(Taken::new(taken)).cast()) };
        }
        Ok(RC_OK)
    })
}

/// Gives it back; nothing for NULL.
///
/// # Safety
/// It is NULL, or from `rc_unwrap` and not given back yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_unwrapped_free(unwrapped: *mut rc_unwrapped) {
    if !unwrapped.is_null() {
        // SAFETY: such a one is the first member of a `Taken` that was boxed, and the caller owns it.
        drop(unsafe { Box::from_raw(unwrapped.cast::<Taken>()) });
    }
}

/// Sends a message over the transport, in a channel that is joined; returns when it is saved and on its way. Its id is in `*id`,
/// the caller's, where that is not NULL. What is larger than a message goes in segments. `RC_ERR_TRANSPORT_MODE` without one.
///
/// # Safety
/// The arguments are as `rc_bytes` says; `id` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_send(
    manager: *mut rc_manager,
    channel: rc_bytes,
    content: rc_bytes,
    id: *mut rc_buffer,
) -> rc_code {
    with(manager, |client| {
        // SAFETY: the caller's promise.
        let channel = unsafe { channel_id(channel) }?;
        // SAFETY: the caller's promise.
        let content = unsafe { content.copy() }?;
        let request = client.send(&channel, content)?;
        // SAFETY: the caller's promise.
        unsafe { rc_buffer::give(request.message().as_bytes(), id) };
        Ok(RC_OK)
    })
}

/// The same of a message that nobody keeps, in one piece.
///
/// # Safety
/// The arguments are as `rc_bytes` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_send_ephemeral(manager: *mut rc_manager, channel: rc_bytes, content: rc_bytes) -> rc_code {
    with(manager, |client| {
        // SAFETY: the caller's promise.
        let channel = unsafe { channel_id(channel) }?;
        // SAFETY: the caller's promise.
        let content = unsafe { content.copy() }?;
        client.send_ephemeral(&channel, content).map(|()| RC_OK)
    })
}
