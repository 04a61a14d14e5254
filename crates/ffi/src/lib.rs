//! `libsds`: the C interface of nim-sds, with reliable-channel behind it.
//!
//! What: the nine functions of `include/libsds.h`, which a host calls as it calls those of nim-sds. Why: a host of nim-sds
//! changes the library and nothing else. How a call moves: [`abi`] finds the manager by its handle and copies what the host
//! gave; [`manager`] does it on the host's thread; the result goes through the host's callback before the call returns.
//! What happens by itself waits in a queue for each manager (`events`) and is told on threads of the one runtime.
//!
//! `docs/libsds.md` has every call with ownership, threads and errors. Besides, [`rc`] is the C interface that programs would
//! choose that have none yet.

pub mod abi;
mod answer;
mod config;
mod decimals;
mod events;
mod foreign;
mod handles;
mod kept;
mod manager;
mod queue;
pub mod rc;
mod runtime;
mod sent;
mod sync;
mod text;
