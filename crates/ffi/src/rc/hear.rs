//! How a host hears what a manager tells: it asks, waits, watches a descriptor, or is called.
#![allow(unsafe_code, non_camel_case_types, reason = "names and types that C programs know")]

use std::ffi::{c_int, c_void};
use std::time::Duration;

use crate::foreign::{UserData, inside};
use crate::rc::calls::{rc_manager, with};
use crate::rc::code::Failed;
use crate::rc::code::rc_code::{self, *};
use crate::rc::event::{Shown, Told, rc_event};
use crate::rc::polled::{Asked, Signal};
use crate::rc::types::put;

/// Hears an event, and what the host passed along.
pub type rc_on_event = Option<unsafe extern "C" fn(event: *const rc_event, user_data: *mut c_void)>;

/// A host's callback.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hearer {
    call: unsafe extern "C" fn(*const rc_event, *mut c_void),
    user_data: UserData,
}

impl Hearer {
    /// `None` without a function.
    pub(crate) fn new(call: rc_on_event, user_data: *mut c_void) -> Option<Self> {
        call.map(|call| Self { call, user_data: UserData(user_data) })
    }

    /// Tells the host an event.
    pub(crate) fn tell(&self, told: Told) {
        let shown = Shown::new(told);
        // SAFETY: the host gave a function of this type, to be called from any thread; the event is alive until it returns.
        inside(|| unsafe { (self.call)(&raw const shown.event, self.user_data.0) });
    }
}

/// Gives the next event, which is the caller's until `rc_event_free`. Waits up to `timeout_ms`; not at all with 0, and for ever
/// below 0. `RC_TIMEOUT` when there was none in that time, and `RC_ENDED` when the manager was closed meanwhile: `*event` is NULL
/// then. Of several threads that ask, each gets others. `RC_ERR_REFUSED` where events go to a callback.
///
/// # Safety
/// `event` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_next_event(
    manager: *mut rc_manager,
    timeout_ms: i64,
    event: *mut *mut rc_event,
) -> rc_code {
    with(manager, |client| {
        // SAFETY: the caller's promise.
        unsafe { put(event, std::ptr::null_mut()) }?;
        let polled = client.polled()?;
        let asked = match u64::try_from(timeout_ms) {
            Ok(0) => polled.try_next(),
            Ok(time) => polled.next_within(Duration::from_millis(time)),
            Err(_) => polled.next(),
        };
        let told = match asked {
            Asked::Event(told) => told,
            Asked::GivenUp(count) => Told::Missed(count),
            Asked::Nothing => return Ok(RC_TIMEOUT),
            Asked::Ended => return Ok(RC_ENDED),
        };
        let shown = Box::into_raw(Shown::new(told));
        // SAFETY: not NULL, as the first write showed, and by the caller's promise it may be written.
        unsafe { event.write(shown.cast()) };
        Ok(RC_OK)
    })
}

/// A descriptor that can be read while there are events to ask for, for `poll`, `epoll` and the like. Made by the first call, and
/// the manager's: do not read, write or close it. `rc_close` closes it. Linux and Android alone; `RC_ERR_REFUSED` elsewhere, and
/// where events go to a callback.
///
/// # Safety
/// `descriptor` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_event_fd(manager: *mut rc_manager, descriptor: *mut c_int) -> rc_code {
    with(manager, |client| {
        let fd = client.polled()?.signal(EventFd::new, EventFd::number)?;
        // SAFETY: the caller's promise.
        unsafe { put(descriptor, fd) }?;
        Ok(RC_OK)
    })
}

/// What an event loop watches.
#[derive(Debug)]
pub(crate) struct EventFd {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    counter: std::os::fd::OwnedFd,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    use super::*;

    impl EventFd {
        pub(super) fn new() -> Result<Self, Failed> {
            // SAFETY: there is nothing to keep.
            let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
            if fd < 0 {
                return Err(Failed::new(RC_ERR_SYSTEM, std::io::Error::last_os_error()));
            }
            // SAFETY: it was made just now, and nobody else has it.
            Ok(Self { counter: unsafe { OwnedFd::from_raw_fd(fd) } })
        }

        pub(super) fn number(&self) -> c_int {
            self.counter.as_raw_fd()
        }
    }

    impl Signal for EventFd {
        fn set(&self) {
            let one = 1u64;
            // SAFETY: eight bytes are read. It fails only at the counter's end, and then it is set.
            unsafe { libc::write(self.number(), (&raw const one).cast(), size_of::<u64>()) };
        }

        fn clear(&self) {
            let mut count = 0u64;
            // SAFETY: eight bytes are written. It fails where it is clear.
            unsafe { libc::read(self.number(), (&raw mut count).cast(), size_of::<u64>()) };
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod elsewhere {
    use super::*;

    impl EventFd {
        pub(super) fn new() -> Result<Self, Failed> {
            Err(Failed::new(RC_ERR_REFUSED, "this system has no eventfd"))
        }

        pub(super) fn number(&self) -> c_int {
            -1
        }
    }

    impl Signal for EventFd {
        fn set(&self) {}

        fn clear(&self) {}
    }
}
