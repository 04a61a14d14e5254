//! `rc_*`: the C interface of reliable-channel itself, as `include/reliable_channel.h` has it.
//!
//! What: managers with options, stores on disk, channels, and a network of the host's, in functions and structures of C.
//! Why besides `libsds`: that interface has no participant id, no options and no store, and its results are text. How a call
//! moves: [`calls`], [`channels`], [`look`] and [`hear`] find the manager by its handle and copy what the host gave;
//! [`client`] does it on the host's thread; the code is returned, and what went wrong can be read by [`code::rc_last_error`].
//! What happens by itself waits in an [`inbox`] until the host asks for it, or is told by its callback.
//!
//! `docs/bindings.md` has every call with ownership, threads and errors. Each file but `client`, `inbox` and `polled` has unsafe
//! code: it is where C's pointers are followed.

pub mod calls;
pub mod channels;
pub(crate) mod client;
pub mod code;
pub mod event;
pub mod hear;
pub mod import;
pub(crate) mod inbox;
pub mod look;
pub mod network;
pub mod options;
pub(crate) mod polled;
pub mod types;
