//! Group messaging made reliable over any lossy broadcast.

#![forbid(unsafe_code)]

pub mod channel;
pub mod filter;
#[cfg(feature = "manager")]
pub mod manager;
#[cfg(feature = "testing")]
pub mod sim;
pub mod state;
#[cfg(feature = "store")]
pub mod store;
pub mod types;
pub mod wire;
