//! What a call answers: a code, and a text for people.
#![allow(unsafe_code, non_camel_case_types, reason = "names and types that C programs know")]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use reliable_channel::channel::ChannelError;
use reliable_channel::manager::{Fault, ManagerError};
use reliable_channel::reliable::NodeError;
use reliable_channel::store::PersistenceError;
use reliable_channel::types::with_causes;

/// What a call came to. Later versions may add codes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rc_code {
    /// Done.
    RC_OK = 0,
    /// `rc_next_event`: nothing happened in that time.
    RC_TIMEOUT = 1,
    /// `rc_next_event`: the manager was closed, and there is nothing more to tell.
    RC_ENDED = 2,
    /// The caller's fault: NULL where something must be, or an option or value that does not exist.
    RC_ERR_ARGUMENT = 3,
    /// The caller's fault: this is not a manager or not options, or not any more.
    RC_ERR_HANDLE = 4,
    /// The caller's fault: the options do not go together.
    RC_ERR_OPTIONS = 5,
    /// The caller's fault: this channel is not joined.
    RC_ERR_CHANNEL = 6,
    /// The caller's fault: this message is not known.
    RC_ERR_MESSAGE = 7,
    /// The caller's fault: more bytes than can be sent.
    RC_ERR_TOO_LARGE = 8,
    /// The caller's fault: the manager has a transport, and the call is for those without, or the other way round.
    RC_ERR_TRANSPORT_MODE = 9,
    /// The caller's fault: it cannot be done for another reason, which `rc_last_error` says.
    RC_ERR_REFUSED = 10,
    /// For now: too much is open already; try again when some of it is acknowledged.
    RC_ERR_FULL = 11,
    /// A peer's fault: these bytes are no message that can be taken in. Nothing changed.
    RC_ERR_PEER = 12,
    /// The store's fault.
    RC_ERR_STORE = 13,
    /// The network's fault.
    RC_ERR_NETWORK = 14,
    /// The system's fault: no thread, no descriptor or no random bits.
    RC_ERR_SYSTEM = 15,
    /// A defect of this library.
    RC_ERR_DEFECT = 16,
}

use rc_code::*;

impl rc_code {
    fn text(self) -> &'static CStr {
        match self {
            RC_OK => c"done",
            RC_TIMEOUT => c"nothing happened in that time",
            RC_ENDED => c"the manager was closed",
            RC_ERR_ARGUMENT => c"an argument is missing or does not exist",
            RC_ERR_HANDLE => c"not a handle of this kind, or not any more",
            RC_ERR_OPTIONS => c"the options do not go together",
            RC_ERR_CHANNEL => c"the channel is not joined",
            RC_ERR_MESSAGE => c"the message is not known",
            RC_ERR_TOO_LARGE => c"more bytes than can be sent",
            RC_ERR_TRANSPORT_MODE => c"not with, or not without, a transport",
            RC_ERR_REFUSED => c"it cannot be done",
            RC_ERR_FULL => c"too much is open already",
            RC_ERR_PEER => c"no message that can be taken in",
            RC_ERR_STORE => c"the store failed",
            RC_ERR_NETWORK => c"the network failed",
            RC_ERR_SYSTEM => c"the system gives no more threads, descriptors or random bits",
            RC_ERR_DEFECT => c"a defect of the library",
        }
    }

    const ALL: [Self; 17] = [
        RC_OK,
        RC_TIMEOUT,
        RC_ENDED,
        RC_ERR_ARGUMENT,
        RC_ERR_HANDLE,
        RC_ERR_OPTIONS,
        RC_ERR_CHANNEL,
        RC_ERR_MESSAGE,
        RC_ERR_TOO_LARGE,
        RC_ERR_TRANSPORT_MODE,
        RC_ERR_REFUSED,
        RC_ERR_FULL,
        RC_ERR_PEER,
        RC_ERR_STORE,
        RC_ERR_NETWORK,
        RC_ERR_SYSTEM,
        RC_ERR_DEFECT,
    ];
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The kind.
    pub code: rc_code,
    /// For people.
    pub text: String,
}

impl Failed {
    pub(crate) fn new(code: rc_code, text: impl Display) -> Self {
        Self { code, text: text.to_string() }
    }

    /// With the code's own text.
    pub(crate) fn plain(code: rc_code) -> Self {
        Self::new(code, code.text().to_string_lossy())
    }
}

impl From<ManagerError> for Failed {
    fn from(error: ManagerError) -> Self {
        let code = match &error {
            ManagerError::UnknownChannel(_) => RC_ERR_CHANNEL,
            ManagerError::ShutDown => RC_ERR_HANDLE,
            ManagerError::Config(_) | ManagerError::Restore(_) => RC_ERR_OPTIONS,
            ManagerError::TooManyChannels { .. } | ManagerError::Channel(ChannelError::OutgoingFull) => RC_ERR_FULL,
            ManagerError::Channel(ChannelError::TooLarge { .. }) => RC_ERR_TOO_LARGE,
            ManagerError::Channel(ChannelError::UnknownMessage(_)) => RC_ERR_MESSAGE,
            ManagerError::Entropy(_) | ManagerError::NoRuntime | ManagerError::NoTimeDriver => RC_ERR_SYSTEM,
            _ => match error.fault() {
                Fault::Peer => RC_ERR_PEER,
                Fault::Caller => RC_ERR_REFUSED,
                Fault::Backend => RC_ERR_STORE,
                _ => RC_ERR_DEFECT,
            },
        };
        Self::new(code, with_causes(&error))
    }
}

impl From<NodeError> for Failed {
    fn from(error: NodeError) -> Self {
        let code = match &error {
            NodeError::Manager(_) => {
                let NodeError::Manager(error) = error else { return Self::plain(RC_ERR_DEFECT) };
                return error.into();
            }
            NodeError::NotJoined(_) => RC_ERR_CHANNEL,
            NodeError::TooLarge { .. } => RC_ERR_TOO_LARGE,
            NodeError::Transport(_) => RC_ERR_NETWORK,
            _ => RC_ERR_REFUSED,
        };
        Self::new(code, error)
    }
}

impl From<PersistenceError> for Failed {
    fn from(error: PersistenceError) -> Self {
        Self::new(RC_ERR_STORE, with_causes(&error))
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Does what is asked; a failure, or a panic, becomes a code, and its text is kept for this thread.
pub(crate) fn answer(work: impl FnOnce() -> Result<rc_code, Failed>) -> rc_code {
    let outcome = catch_unwind(AssertUnwindSafe(work));
    match outcome.unwrap_or_else(|_| Err(Failed::plain(RC_ERR_DEFECT))) {
        Ok(code) => code,
        Err(Failed { code, text }) => {
            let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
            // Not there while the thread ends.
            let _ = LAST.try_with(|last| *last.borrow_mut() = text);
            code
        }
    }
}

/// The text of a code: a constant, never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn rc_code_text(code: i32) -> *const c_char {
    let known = rc_code::ALL.into_iter().find(|known| *known as i32 == code);
    known.map_or(c"no such code", rc_code::text).as_ptr()
}

/// Why the last call that failed on this thread did, for people: never NULL, empty before the first. It stays until the next
/// call fails on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn rc_last_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_number_and_a_text_of_its_own() {
        let mut texts: Vec<_> = rc_code::ALL.into_iter().map(rc_code::text).collect();
        assert!(rc_code::ALL.into_iter().enumerate().all(|(number, code)| code as usize == number));
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), rc_code::ALL.len());
    }

    #[test]
    fn a_panic_is_a_code_and_a_failure_is_told() {
        assert_eq!(answer(|| panic!("a defect")), RC_ERR_DEFECT);
        let told = answer(|| Err(ManagerError::UnknownChannel("lob\0by".into()).into()));
        assert_eq!(told, RC_ERR_CHANNEL);
        // SAFETY: it stays until the next failure on this thread.
        let text = unsafe { CStr::from_ptr(rc_last_error()) };
        assert!(text.to_str().unwrap().contains("is not open"), "{text:?}");
    }
}
