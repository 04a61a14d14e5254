//! reliable-channel for Python, Kotlin and Swift.
//!
//! What: [`Node`] and [`Channel`] over UDP or a network written in the foreign language, [`Manager`] for programs that carry
//! bytes themselves, and a [`Store`] that they may write themselves. UniFFI makes the foreign code of these items. How a call
//! moves: what may wait is spawned on a runtime of this library, so that it goes on when the caller stops waiting; events alone
//! are waited for by the caller, so that none is lost then.
//!
//! `docs/bindings.md` says more. Ids are text here: a dialect whose ids need not be (nim-sds's) is not offered.

mod error;
mod event;
mod gate;
mod manager;
mod message;
mod node;
mod options;
mod runtime;
mod store;
mod transport;

pub use error::ChannelError;
pub use event::{Event, SyncStatus};
pub use gate::end_callbacks;
pub use manager::{Fate, Manager, Unwrapped, Wrapped};
pub use message::{DeliveryState, Message};
pub use node::{Channel, Node};
pub use options::{Dialect, Options, UdpOptions};
pub use store::{Change, Store, StoreError, Table, Value};
pub use transport::{Transport, TransportError};

uniffi::setup_scaffolding!("reliable_channel");
