//! What comes from a host of `libsds.h` and goes to it: its pointers are read and called here. `rc` copies by this, too.
//!
//! What: functions that copy what a pointer shows, and the host's callbacks. Why apart: with [`abi`](crate::abi) and
//! [`rc`](crate::rc) this is all the unsafe code there is. How it moves: what the host gave is copied before its call returns; what it is given is kept
//! for a while ([`Kept`]) after its callback has returned.
#![allow(unsafe_code, reason = "the border to C")]

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::slice;

use bytes::Bytes;
use reliable_channel::types::MessageId;

use crate::abi::{RET_ERR, RET_OK, SdsCallBack, SdsRetrievalHintProvider};
use crate::kept::Kept;
use crate::text::Text;

/// Every text that a callback was given lately.
static KEPT: Kept = Kept::new();

thread_local! {
    /// Callbacks for events that this thread is in.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
}

/// What a host passes along and gets back, untouched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UserData(pub(crate) *mut c_void);

// SAFETY: it is never followed here. The host promises that its callback may be called with it from any thread.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

/// A callback of the host, and what it wants to be called with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Callback {
    call: unsafe extern "C" fn(c_int, *const c_char, usize, *mut c_void),
    user_data: UserData,
}

impl Callback {
    /// `None` without a function.
    pub(crate) fn new(call: SdsCallBack, user_data: *mut c_void) -> Option<Self> {
        call.map(|call| Self { call, user_data: UserData(user_data) })
    }

    /// Gives the host the result of a call.
    pub(crate) fn answer(&self, result: Result<Text, Text>) {
        match result {
            Ok(text) => self.call(RET_OK, text),
            Err(text) => self.call(RET_ERR, text),
        }
    }

    /// Tells the host an event.
    pub(crate) fn tell(&self, event: Text) {
        inside(|| self.call(RET_OK, event));
    }

    fn call(&self, code: c_int, text: Text) {
        KEPT.keep(text.clone(), self.user_data.0.addr());
        let bytes = text.as_bytes();
        // SAFETY: the host gave a function of this type, to be called from any thread with its user data. The text is
        // alive until after the call: `text` holds it, and `KEPT` for some time more.
        unsafe { (self.call)(code, bytes.as_ptr().cast(), bytes.len(), self.user_data.0) }
    }
}

/// Calls the host with an event. What it calls from inside knows that it is inside.
pub(crate) fn inside(call: impl FnOnce()) {
    INSIDE.set(INSIDE.get() + 1);
    call();
    INSIDE.set(INSIDE.get() - 1);
}

/// Whether this thread is in a callback for an event: it must not wait for one to end.
pub(crate) fn is_inside() -> bool {
    INSIDE.get() > 0
}

/// The host's provider of retrieval hints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HintProvider {
    call: unsafe extern "C" fn(*const c_char, *mut *mut c_char, *mut usize, *mut c_void),
    user_data: UserData,
}

impl HintProvider {
    /// `None` without a function.
    pub(crate) fn new(call: SdsRetrievalHintProvider, user_data: *mut c_void) -> Option<Self> {
        call.map(|call| Self { call, user_data: UserData(user_data) })
    }

    /// The hint for a message, if the host has one. An id that holds a zero byte cannot be asked for.
    pub(crate) fn ask(&self, id: &MessageId) -> Option<Bytes> {
        let id = CString::new(id.as_bytes()).ok()?;
        let (mut hint, mut len) = (ptr::null_mut::<c_char>(), 0);
        // SAFETY: the host gave a function of this type. The id ends with a zero byte, and all three pointers are good for
        // the time of the call.
        unsafe { (self.call)(id.as_ptr(), &raw mut hint, &raw mut len, self.user_data.0) };
        if hint.is_null() {
            return None;
        }
        // SAFETY: by the contract `hint` is the start of `len` bytes that `malloc` gave, and they are ours now.
        let copy = unsafe { bytes(hint.cast(), len) };
        // SAFETY: by the contract it is from `malloc`, and nobody else frees it; it was copied.
        unsafe { libc::free(hint.cast()) };
        copy.filter(|copy| !copy.is_empty())
    }
}

/// A copy of so many bytes; `None` for NULL with a length.
///
/// # Safety
/// `start` is NULL or the start of `len` readable bytes.
pub(crate) unsafe fn bytes(start: *const u8, len: usize) -> Option<Bytes> {
    if len == 0 {
        return Some(Bytes::new());
    }
    if start.is_null() || len > isize::MAX as usize {
        return None;
    }
    // SAFETY: not NULL, and by the caller's promise `len` bytes can be read.
    let shown = unsafe { slice::from_raw_parts(start, len) };
    Some(Bytes::copy_from_slice(shown))
}

/// A copy of a C string without its end; `None` for NULL.
///
/// # Safety
/// `start` is NULL or the start of readable bytes up to a zero byte.
pub(crate) unsafe fn c_string(start: *const c_char) -> Option<Bytes> {
    if start.is_null() {
        return None;
    }
    // SAFETY: not NULL, and by the caller's promise there is a zero byte.
    let shown = unsafe { CStr::from_ptr(start) };
    Some(Bytes::copy_from_slice(shown.to_bytes()))
}

/// Copies of so many C strings; `None` for NULL with a count, or where one of them is NULL.
///
/// # Safety
/// `start` is NULL or the start of `count` readable pointers, each as for [`c_string`].
pub(crate) unsafe fn c_strings(start: *const *const c_char, count: usize) -> Option<Vec<Bytes>> {
    if count == 0 {
        return Some(Vec::new());
    }
    if start.is_null() || count > isize::MAX as usize / size_of::<*const c_char>() {
        return None;
    }
    // SAFETY: not NULL, and by the caller's promise `count` pointers can be read.
    let shown = unsafe { slice::from_raw_parts(start, count) };
    // SAFETY: by the caller's promise each is NULL or a C string.
    shown.iter().map(|&string| unsafe { c_string(string) }).collect()
}
