//! Group messaging made reliable over any lossy broadcast.

#![forbid(unsafe_code)]

pub mod channel;
pub mod filter;
pub mod state;
#[cfg(feature = "store")]
pub mod store;
pub mod types;
pub mod wire;
