//! Looking: at the log, at what became of a message, at how far catching up is.
#![allow(unsafe_code, non_camel_case_types, reason = "names and types that C programs know")]

use std::ptr;

use reliable_channel::channel::{Cursor, Delivery};
use reliable_channel::reliable::RequestState;
use reliable_channel::state::Logged;
use reliable_channel::types::MessageId;

use crate::rc::calls::{channel_id, rc_manager, with};
use crate::rc::code::rc_code::{self, *};
use crate::rc::event::{dependency, rc_dependency, rc_message, rc_sync, sync_of};
use crate::rc::types::{put, put_if, rc_bytes};

/// Messages. All pointers are to what it owns, and good until `rc_log_free`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rc_log {
    /// How many there are of `messages`.
    pub count: usize,
    /// The messages.
    pub messages: *const rc_message,
    /// So many more have left the log already.
    pub lost: u64,
}

/// It, and what it shows; it is first, so that a pointer to it is one to this.
#[repr(C)]
struct Read {
    shown: rc_log,
    messages: Vec<rc_message>,
    missing: Vec<Vec<rc_dependency>>,
    logged: Vec<Logged>,
    deliveries: Vec<Delivery>,
}

impl Read {
    /// What it shows stays where it is: the ids and contents are shared, and the vectors do not grow any more.
    fn new(logged: Vec<Logged>, incarnation: u64, deliveries: Vec<Delivery>, lost: u64) -> Box<Self> {
        let ids = |missing: &[MessageId]| missing.iter().map(dependency).collect();
        let of_logged = logged.iter().map(|logged| ids(&logged.missing));
        let missing: Vec<Vec<_>> = of_logged.chain(deliveries.iter().map(|delivery| ids(&delivery.missing))).collect();
        let of_logged = logged.iter().map(|logged| rc_message::of_logged(logged, incarnation));
        let mut messages: Vec<_> = of_logged.chain(deliveries.iter().map(rc_message::of_delivery)).collect();
        for (message, missing) in messages.iter_mut().zip(&missing) {
            message.lacks(missing);
        }
        let start = if messages.is_empty() { ptr::null() } else { messages.as_ptr() };
        let shown = rc_log { count: messages.len(), messages: start, lost };
        Box::new(Self { shown, messages, missing, logged, deliveries })
    }
}

/// The log of a channel, in the order that all participants share; own messages have `RC_FLAG_OWN`.
///
/// # Safety
/// `channel` is as `rc_bytes` says; `log` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_log_read(manager: *mut rc_manager, channel: rc_bytes, log: *mut *mut rc_log) -> rc_code {
    with(manager, |client| {
        // SAFETY: the caller's promise.
        unsafe { put(log, ptr::null_mut()) }?;
        // SAFETY: the caller's promise.
        let channel = unsafe { channel_id(channel) }?;
        let (logged, incarnation) = client.log(&channel)?;
        let read = Read::new(logged, incarnation, Vec::new(), 0);
        // SAFETY: as above.
        unsafe { put(log, Box::into_raw(read).cast()) }?;
        Ok(RC_OK)
    })
}

/// Messages of others that were delivered after this one, in the order of their delivery: `incarnation` and `number` are those
/// of the last message that was dealt with, or 0. `RC_ERR_STORE` where the store does not know it, as an older copy does not.
/// Without a transport alone.
///
/// # Safety
/// `channel` is as `rc_bytes` says; `log` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_deliveries_since(
    manager: *mut rc_manager,
    channel: rc_bytes,
    incarnation: u64,
    number: u64,
    log: *mut *mut rc_log,
) -> rc_code {
    with(manager, |client| {
        // SAFETY: the caller's promise.
        unsafe { put(log, ptr::null_mut()) }?;
        // SAFETY: the caller's promise.
        let channel = unsafe { channel_id(channel) }?;
        let since = client.bare()?.deliveries_since(&channel, Cursor::new(incarnation, number))?;
        let read = Read::new(Vec::new(), 0, since.deliveries, since.evicted);
        // SAFETY: as above.
        unsafe { put(log, Box::into_raw(read).cast()) }?;
        Ok(RC_OK)
    })
}

/// Gives messages back; nothing for NULL.
///
/// # Safety
/// `log` is NULL, or as a call gave it and not given back yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_log_free(log: *mut rc_log) {
    if !log.is_null() {
        // SAFETY: such a one is the first member of a `Read` that was boxed, and the caller owns it.
        drop(unsafe { Box::from_raw(log.cast::<Read>()) });
    }
}

/// What became of an own message.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rc_delivery {
    /// It is not known, or not any more.
    RC_DELIVERY_UNKNOWN = 0,
    /// Nobody is known to have it.
    RC_DELIVERY_PENDING = 1,
    /// Somebody probably has it; the chance of an error is told.
    RC_DELIVERY_POSSIBLE = 2,
    /// Somebody has it.
    RC_DELIVERY_DONE = 3,
    /// It was given up. It may still be delivered.
    RC_DELIVERY_FAILED = 4,
}

/// What became of an own message; `chance`, where it is not NULL, is that of an error of `RC_DELIVERY_POSSIBLE`, and 0 else.
///
/// # Safety
/// `channel` and `id` are as `rc_bytes` says; `state` and `chance` are NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_delivery_state(
    manager: *mut rc_manager,
    channel: rc_bytes,
    id: rc_bytes,
    state: *mut rc_delivery,
    chance: *mut f64,
) -> rc_code {
    with(manager, |client| {
        // SAFETY: the caller's promise.
        let channel = unsafe { channel_id(channel) }?;
        // SAFETY: the caller's promise.
        let id = unsafe { id.copy() }?;
        let (found, error) = match client.state(&channel, &MessageId::new(&id))? {
            None => (rc_delivery::RC_DELIVERY_UNKNOWN, 0.0),
            Some(RequestState::PossiblyDelivered { chance }) => (rc_delivery::RC_DELIVERY_POSSIBLE, chance),
            Some(RequestState::Delivered { .. }) => (rc_delivery::RC_DELIVERY_DONE, 0.0),
            Some(RequestState::Failed) => (rc_delivery::RC_DELIVERY_FAILED, 0.0),
            Some(_) => (rc_delivery::RC_DELIVERY_PENDING, 0.0),
        };
        // SAFETY: the caller's promise.
        unsafe { put_if(chance, error) };
        // SAFETY: the caller's promise.
        unsafe { put(state, found) }?;
        Ok(RC_OK)
    })
}

/// How far catching up is, as the last `RC_EVENT_SYNC_STATUS` told it: `received` messages were fetched, and `missing` are known
/// to be missing still; both may be NULL.
///
/// # Safety
/// `channel` is as `rc_bytes` says; the others are NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_sync_status(
    manager: *mut rc_manager,
    channel: rc_bytes,
    status: *mut rc_sync,
    received: *mut u64,
    missing: *mut u64,
) -> rc_code {
    with(manager, |client| {
        // SAFETY: the caller's promise.
        let channel = unsafe { channel_id(channel) }?;
        let (found, fetched, lacking) = sync_of(client.manager().sync_status(&channel)?);
        for (into, value) in [(received, fetched), (missing, lacking)] {
            // SAFETY: the caller's promise.
            unsafe { put_if(into, value) };
        }
        // SAFETY: the caller's promise.
        unsafe { put(status, found) }?;
        Ok(RC_OK)
    })
}
