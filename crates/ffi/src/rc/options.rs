//! What a manager is made with.
#![allow(unsafe_code, non_camel_case_types, reason = "names and types that C programs know")]

use std::ffi::c_void;
use std::path::PathBuf;
use std::ptr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use reliable_channel::channel::{Config, Join};
use reliable_channel::types::{Dialect, ParticipantId};

use crate::handles::{Handles, Held};
use crate::rc::code::rc_code::{self, *};
use crate::rc::code::{Failed, answer};
use crate::rc::hear::{Hearer, rc_on_event};
use crate::rc::network::{Callbacks, rc_transport};
use crate::rc::types::rc_bytes;
use crate::sync::{Mutex, lock};

/// Options of a manager in the making. Never followed: a handle.
pub struct rc_options {
    _private: [u8; 0],
}

/// What can be set; what is not set has the default of the dialect. Durations are in milliseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rc_option {
    /// `RC_DIALECT_*`. Set it first: it sets all others, but for the last three, to what its peers expect.
    RC_OPTION_DIALECT = 0,
    /// A newcomer is shown what is said from now on, and up to so many older messages, marked as history. Default 100.
    RC_OPTION_JOIN_RECENT = 1,
    /// A newcomer is shown nothing before up to so many older messages are there; `UINT64_MAX` for everything.
    RC_OPTION_JOIN_BACKFILL = 2,
    /// Messages kept in the log. Default 1,000.
    RC_OPTION_MAX_MESSAGES = 3,
    /// Bytes of messages kept in the log. Default 32 MiB.
    RC_OPTION_MAX_LOG_BYTES = 4,
    /// Age after which a message leaves the log, in milliseconds; 0 for never, the default.
    RC_OPTION_MAX_LOG_AGE = 5,
    /// The wait before an own message is first sent again. Default 5 s.
    RC_OPTION_RESEND_INTERVAL = 6,
    /// The longest such wait. Default 60 s.
    RC_OPTION_MAX_RESEND_INTERVAL = 7,
    /// How often it is sent again before it is given up. Default 5.
    RC_OPTION_MAX_RESENDS = 8,
    /// Between two sync messages while there is something new. Default 30 s.
    RC_OPTION_SYNC_INTERVAL = 9,
    /// The same in an idle channel. Default 15 min.
    RC_OPTION_MAX_SYNC_INTERVAL = 10,
    /// 1 to compare with others what is held and fetch all that is missing, 0 not to. Default 1, and 0 in other dialects.
    RC_OPTION_CATCH_UP = 11,
    /// The largest encoded message in bytes; 0 for no limit, the default. With a transport it gives the limit.
    RC_OPTION_MAX_TRANSMIT_BYTES = 12,
    /// The largest content of a message in bytes. Default 1 MiB.
    RC_OPTION_MAX_CONTENT_BYTES = 13,
    /// How long a message waits for what it refers to before it goes ahead. Default 60 s.
    RC_OPTION_WAIT_TIMEOUT = 14,
    /// Response groups of SDS-R: about one for 128 participants. Default 1.
    RC_OPTION_RESPONSE_GROUPS = 15,
    /// 1 to keep every delivery until `rc_confirm`, and to deliver again after a restart what was not confirmed. Default 0.
    RC_OPTION_CONFIRM_DELIVERIES = 16,
    /// How far ahead of our clock a message's time may be. Default 24 h.
    RC_OPTION_MAX_CLOCK_DRIFT = 17,
    /// 1 to join a channel when a message for it is unwrapped. Strangers can make you join. Default 0. This and the next two
    /// are for managers without a transport; with one, `rc_open` refuses other values than the defaults.
    RC_OPTION_AUTO_JOIN = 18,
    /// Channels at a time. Default 10,000.
    RC_OPTION_MAX_CHANNELS = 19,
    /// Bytes of memory for the logs of all channels. Default 256 MiB.
    RC_OPTION_MAX_MEMORY = 20,
}

/// For `RC_OPTION_DIALECT`: LIP-109 with this library's filters. The default.
pub const RC_DIALECT_LIP109: u64 = 0;
/// For `RC_OPTION_DIALECT`: what js-waku (@waku/sds) speaks.
pub const RC_DIALECT_JS_WAKU: u64 = 1;
/// For `RC_OPTION_DIALECT`: what nim-sds speaks.
pub const RC_DIALECT_NIM_SDS: u64 = 2;

use rc_option::*;

/// Default of `RC_OPTION_MAX_CHANNELS`; a node has the same.
const MAX_CHANNELS: usize = 10_000;
/// Default of `RC_OPTION_MAX_MEMORY`; a node has the same.
const MAX_MEMORY: u64 = 256 << 20;

/// Options as they are.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) participant: ParticipantId,
    pub(crate) config: Config,
    pub(crate) auto_join: bool,
    pub(crate) max_channels: usize,
    pub(crate) max_memory: u64,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) transport: Option<Callbacks>,
    pub(crate) hearer: Option<Hearer>,
}

impl Options {
    fn new(participant: ParticipantId) -> Self {
        Self {
            participant,
            config: Config::default(),
            auto_join: false,
            max_channels: MAX_CHANNELS,
            max_memory: MAX_MEMORY,
            directory: None,
            transport: None,
            hearer: None,
        }
    }

    /// Whether something was set that a manager with a transport does not have.
    pub(crate) fn are_for_no_transport(&self) -> bool {
        (self.auto_join, self.max_channels, self.max_memory) != (false, MAX_CHANNELS, MAX_MEMORY)
    }

    fn set(&mut self, option: u32, value: u64) -> Result<(), Failed> {
        let time = Duration::from_millis(value);
        let size = usize::try_from(value).unwrap_or(usize::MAX);
        let small = u32::try_from(value).unwrap_or(u32::MAX);
        let config = &mut self.config;
        let is = |known: rc_option| option == known as u32;
        match () {
            () if is(RC_OPTION_DIALECT) => *config = Config::of(dialect(value)?),
            () if is(RC_OPTION_JOIN_RECENT) => {
                config.join = if value == 0 { Join::FromNow } else { Join::Recent(value) }
            }
            () if is(RC_OPTION_JOIN_BACKFILL) => config.join = Join::Backfill(value),
            () if is(RC_OPTION_MAX_MESSAGES) => config.max_message_history = size,
            () if is(RC_OPTION_MAX_LOG_BYTES) => config.max_log_bytes = size,
            () if is(RC_OPTION_MAX_LOG_AGE) => config.max_log_age = (value > 0).then_some(time),
            () if is(RC_OPTION_RESEND_INTERVAL) => config.resend_interval = time,
            () if is(RC_OPTION_MAX_RESEND_INTERVAL) => config.max_resend_interval = time,
            () if is(RC_OPTION_MAX_RESENDS) => config.max_resend_attempts = small,
            () if is(RC_OPTION_SYNC_INTERVAL) => config.sync_interval = time,
            () if is(RC_OPTION_MAX_SYNC_INTERVAL) => config.max_sync_interval = time,
            () if is(RC_OPTION_CATCH_UP) => config.catch_up = yes_or_no(value)?,
            () if is(RC_OPTION_MAX_TRANSMIT_BYTES) => config.max_transmit_bytes = (value > 0).then_some(size),
            () if is(RC_OPTION_MAX_CONTENT_BYTES) => config.limits.max_content_bytes = size,
            () if is(RC_OPTION_WAIT_TIMEOUT) => config.wait_timeout = time,
            () if is(RC_OPTION_RESPONSE_GROUPS) => config.response_groups = small,
            () if is(RC_OPTION_CONFIRM_DELIVERIES) => config.confirm_deliveries = yes_or_no(value)?,
            () if is(RC_OPTION_MAX_CLOCK_DRIFT) => config.max_clock_drift = time,
            () if is(RC_OPTION_AUTO_JOIN) => self.auto_join = yes_or_no(value)?,
            () if is(RC_OPTION_MAX_CHANNELS) => self.max_channels = size,
            () if is(RC_OPTION_MAX_MEMORY) => self.max_memory = value,
            () => return Err(Failed::new(RC_ERR_ARGUMENT, format!("there is no option {option}"))),
        }
        Ok(())
    }
}

fn dialect(value: u64) -> Result<Dialect, Failed> {
    match value {
        RC_DIALECT_LIP109 => Ok(Dialect::Lip109),
        RC_DIALECT_JS_WAKU => Ok(Dialect::JsWaku),
        RC_DIALECT_NIM_SDS => Ok(Dialect::NimSds),
        _ => Err(Failed::new(RC_ERR_ARGUMENT, format!("there is no dialect {value}"))),
    }
}

fn yes_or_no(value: u64) -> Result<bool, Failed> {
    match value {
        0 | 1 => Ok(value == 1),
        _ => Err(Failed::new(RC_ERR_ARGUMENT, format!("{value} is neither 0 nor 1"))),
    }
}

static OPTIONS: LazyLock<Handles<Mutex<Options>>> = LazyLock::new(Handles::new);

fn find(options: *mut rc_options) -> Result<Held<Mutex<Options>>, Failed> {
    OPTIONS.get(options.addr()).ok_or(Failed::plain(RC_ERR_HANDLE))
}

fn change(options: *mut rc_options, change: impl FnOnce(&mut Options) -> Result<(), Failed>) -> rc_code {
    answer(|| change(&mut lock(&*find(options)?)).map(|()| RC_OK))
}

/// A copy of what was set.
pub(crate) fn look(options: *mut rc_options) -> Result<Options, Failed> {
    Ok(lock(&*find(options)?).clone())
}

/// Options for a manager of this participant: one id for each device, the same after every restart, 1 to 128 bytes of UTF-8.
/// They are the caller's, until `rc_options_free`. NULL where the id is no bytes, or there is no room.
///
/// # Safety
/// `participant` is as `rc_bytes` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_options_new(participant: rc_bytes) -> *mut rc_options {
    let mut made = ptr::null_mut();
    answer(|| {
        // SAFETY: the caller's promise.
        let participant = unsafe { participant.copy() }?;
        let options = Arc::new(Mutex::new(Options::new(ParticipantId::new(&participant))));
        let handle = OPTIONS.insert(options).ok_or(Failed::plain(RC_ERR_FULL))?;
        made = ptr::without_provenance_mut(handle);
        Ok(RC_OK)
    });
    made
}

/// Sets one of `rc_option`. `RC_ERR_ARGUMENT` for one that does not exist; whether they go together, `rc_open` says.
#[unsafe(no_mangle)]
pub extern "C" fn rc_options_set(options: *mut rc_options, option: u32, value: u64) -> rc_code {
    change(options, |options| options.set(option, value))
}

/// Saves channels in this directory (a path in UTF-8), which is made where it is not there. One manager at a time has it.
/// Without a store, nothing is known any more after a restart.
///
/// # Safety
/// `directory` is as `rc_bytes` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_options_store(options: *mut rc_options, directory: rc_bytes) -> rc_code {
    change(options, |options| {
        // SAFETY: the caller's promise.
        let directory = unsafe { directory.text() }?;
        if directory.is_empty() {
            return Err(Failed::new(RC_ERR_ARGUMENT, "the store has no directory"));
        }
        options.directory = Some(directory.into());
        Ok(())
    })
}

/// Gives the manager a network of the host's; the structure is copied.
///
/// # Safety
/// `transport` is NULL or can be read. Its functions may be called with its `user_data` from any thread, until `rc_close` of
/// every manager that was opened with these options has returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_options_transport(options: *mut rc_options, transport: *const rc_transport) -> rc_code {
    change(options, |options| {
        if transport.is_null() {
            options.transport = None;
            return Ok(());
        }
        // SAFETY: not NULL, and by the caller's promise it can be read.
        let transport = unsafe { transport.read() };
        options.transport = Some(Callbacks::new(transport)?);
        Ok(())
    })
}

/// Events are told to this callback, in order and one at a time, on threads of the library; with NULL they wait for
/// `rc_next_event`. The callback may call the library, also `rc_close`. The event is the library's, and gone when it returns.
///
/// # Safety
/// `callback` may be called with `user_data` from any thread, until `rc_close` of every manager that was opened with these
/// options has returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_options_on_event(
    options: *mut rc_options,
    callback: rc_on_event,
    user_data: *mut c_void,
) -> rc_code {
    change(options, |options| {
        options.hearer = Hearer::new(callback, user_data);
        Ok(())
    })
}

/// Gives options back; managers that were opened with them stay. Nothing for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn rc_options_free(options: *mut rc_options) {
    drop(OPTIONS.remove(options.addr()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_can_be_set_and_no_other() {
        let mut options = Options::new("alice".into());
        let before = format!("{options:?}");
        for option in 0..=RC_OPTION_MAX_MEMORY as u32 {
            let mut other = Options::new("alice".into());
            // Neither a default of any of them.
            let (first, second) = (other.set(option, 1), Options::new("alice".into()).set(option, 0));
            assert!(first.is_ok() && second.is_ok(), "option {option}: {first:?}");
            let mut zero = Options::new("alice".into());
            zero.set(option, 0).unwrap();
            let changed = [format!("{other:?}"), format!("{zero:?}")].iter().any(|set| *set != before);
            assert!(changed, "option {option} sets nothing");
        }
        assert_eq!(options.set(RC_OPTION_MAX_MEMORY as u32 + 1, 1).unwrap_err().code, RC_ERR_ARGUMENT);
        assert_eq!(options.set(RC_OPTION_DIALECT as u32, 3).unwrap_err().code, RC_ERR_ARGUMENT);
        assert_eq!(options.set(RC_OPTION_CATCH_UP as u32, 2).unwrap_err().code, RC_ERR_ARGUMENT);
    }
}
