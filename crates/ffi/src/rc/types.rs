//! Bytes as they cross the border: borrowed ones, and those that the library hands over.
#![allow(unsafe_code, non_camel_case_types, reason = "names and types that C programs know")]

use std::ptr;

use bytes::Bytes;

use crate::foreign;
use crate::rc::code::Failed;
use crate::rc::code::rc_code::RC_ERR_ARGUMENT;

/// So many bytes that somebody else owns. As an argument they are copied before the call returns. `data` may be NULL where
/// `len` is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rc_bytes {
    /// The first one.
    pub data: *const u8,
    /// How many.
    pub len: usize,
}

impl rc_bytes {
    pub(crate) const EMPTY: Self = Self { data: ptr::null(), len: 0 };

    /// A view of bytes that must outlive it.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        if bytes.is_empty() { Self::EMPTY } else { Self { data: bytes.as_ptr(), len: bytes.len() } }
    }

    /// A copy.
    ///
    /// # Safety
    /// `data` is NULL or the start of `len` readable bytes.
    pub(crate) unsafe fn copy(self) -> Result<Bytes, Failed> {
        // SAFETY: the caller's promise.
        let copy = unsafe { foreign::bytes(self.data, self.len) };
        copy.ok_or_else(|| Failed::new(RC_ERR_ARGUMENT, "data is NULL, and len is not 0"))
    }

    /// A copy of a text.
    ///
    /// # Safety
    /// As for [`copy`](Self::copy).
    pub(crate) unsafe fn text(self) -> Result<String, Failed> {
        // SAFETY: the caller's promise.
        let copy = unsafe { self.copy() }?;
        String::from_utf8(copy.into()).map_err(|_| Failed::new(RC_ERR_ARGUMENT, "this must be UTF-8"))
    }
}

/// So many bytes that the caller owns now, and gives back by `rc_buffer_free`.
#[repr(C)]
#[derive(Debug)]
pub struct rc_buffer {
    /// The first one; NULL where there are none.
    pub data: *mut u8,
    /// How many.
    pub len: usize,
}

impl rc_buffer {
    pub(crate) const EMPTY: Self = Self { data: ptr::null_mut(), len: 0 };

    pub(crate) fn new(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::EMPTY;
        }
        let owned: Box<[u8]> = bytes.into();
        let len = owned.len();
        Self { data: Box::into_raw(owned).cast(), len }
    }

    /// Gives it to the caller, where it wants it.
    ///
    /// # Safety
    /// `into` is NULL or may be written; what it held is not freed.
    pub(crate) unsafe fn give(bytes: &[u8], into: *mut Self) {
        if !into.is_null() {
            // SAFETY: the caller's promise.
            unsafe { into.write(Self::new(bytes)) };
        }
    }
}

/// Gives a buffer back, and leaves it empty; nothing for an empty one and for NULL.
///
/// # Safety
/// `buffer` is NULL, or empty, or as a call filled it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_buffer_free(buffer: *mut rc_buffer) {
    if buffer.is_null() {
        return;
    }
    // SAFETY: not NULL, and by the caller's promise it is a buffer.
    let taken = unsafe { buffer.replace(rc_buffer::EMPTY) };
    if !taken.data.is_null() {
        let bytes = ptr::slice_from_raw_parts_mut(taken.data, taken.len);
        // SAFETY: it was made by `rc_buffer::new`, and nobody else has it any more.
        drop(unsafe { Box::from_raw(bytes) });
    }
}

/// Writes a result.
///
/// # Safety
/// `into` is NULL or may be written.
pub(crate) unsafe fn put<T>(into: *mut T, value: T) -> Result<(), Failed> {
    if into.is_null() {
        return Err(Failed::new(RC_ERR_ARGUMENT, "there is no place for the result"));
    }
    // SAFETY: not NULL, and by the caller's promise it may be written.
    unsafe { into.write(value) };
    Ok(())
}

/// Writes a result that not everybody wants.
///
/// # Safety
/// `into` is NULL or may be written.
pub(crate) unsafe fn put_if<T>(into: *mut T, value: T) {
    if !into.is_null() {
        // SAFETY: not NULL, and by the caller's promise it may be written.
        unsafe { into.write(value) };
    }
}
