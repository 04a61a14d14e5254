//! Group messaging made reliable over any lossy broadcast, and kept reliable across restarts: Scalable Data Sync
//! (LIP-109) with repair, persistence, and a core that the caller drives.
//!
//! ```
//! # #[cfg(feature = "manager")]
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use reliable_channel::manager::{Callbacks, ReliabilityManager};
//!
//! let alice = ReliabilityManager::builder("alice").build()?;
//! let bob = ReliabilityManager::builder("bob")
//!     .callbacks(Callbacks::new().on_message_ready(|_, delivery| println!("{:?}", delivery.body.content)))
//!     .build()?;
//! alice.ensure_channel("lobby").await?;
//! bob.ensure_channel("lobby").await?;
//!
//! let wrapped = alice.wrap_outgoing("lobby", "hello").await?; // broadcast `wrapped.bytes` ...
//! let unwrapped = bob.unwrap_received(wrapped.bytes).await?; // ... and hand in what arrives
//! assert_eq!(unwrapped.released, [wrapped.id]);
//! # Ok::<(), reliable_channel::manager::ManagerError>(()) }).unwrap();
//! ```
//!
//! Start with [`manager::ReliabilityManager`] (tokio, features `manager` and `redb`, both default), or with
//! [`channel::Channel`] to drive everything yourself. The modules stand in one line; each may use those above it:
//!
//! - [`types`]: the words. Ids, three kinds of time, the decoded message, the limits.
//! - [`state`]: what is saved. Plain rows and commits.
//! - [`filter`]: summaries of received ids, our own and those of others.
//! - [`reconcile`]: what two sets of messages differ in, without telling all of either.
//! - [`segment`]: payloads too large for one message, split and put together again.
//! - [`authenticity`]: who said it. What is signed, and the trait of whoever signs and checks.
//! - [`wire`]: bytes to messages and back, per dialect, within limits.
//! - [`snapshot`]: what is saved to bytes and back, versioned and with checksums, for whoever keeps it.
//! - [`channel`]: one conversation as a state machine. An input in, a step out; this is the protocol.
//! - `store` (feature `store`): the five-method trait `Persistence`, memory, redb, sled, SQLite.
//! - `executor` (feature `store`): carries out the steps of many channels, as a state machine too.
//! - `manager` (feature `manager`): many channels on tokio. Locks, timers and tasks are here and nowhere else.
//! - `transport` (feature `manager`): what carries bytes from one participant to the others.
//! - `reliable` (feature `manager`): a participant on a network, who joins channels.
//! - `fuzzing` (feature `testing`): the bodies of the fuzz targets.
//! - `sim` (feature `testing`): a world of channels and a bad network under one seed.

#![forbid(unsafe_code)]

pub mod authenticity;
pub mod channel;
#[cfg(feature = "store")]
pub mod executor;
pub mod filter;
#[cfg(feature = "testing")]
pub mod fuzzing;
#[cfg(feature = "manager")]
pub mod manager;
pub mod reconcile;
#[cfg(feature = "manager")]
pub mod reliable;
pub mod segment;
#[cfg(feature = "testing")]
pub mod sim;
pub mod snapshot;
pub mod state;
#[cfg(feature = "store")]
pub mod store;
#[cfg(feature = "manager")]
pub mod transport;
pub mod types;
pub mod wire;

pub use channel::{Channel, Config, Context, Event, Input, Step};
#[cfg(feature = "manager")]
pub use manager::ReliabilityManager;
pub use types::{ChannelId, MessageId, ParticipantId};

/// The examples of the README, compiled and run.
#[cfg(all(doctest, feature = "manager", feature = "redb"))]
#[doc = include_str!("../README.md")]
struct Readme;
