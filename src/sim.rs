//! A deterministic world under one seed (feature `testing`): participants, a network that misbehaves, virtual time.
//!
//! What: [`World`] drives real [`Channel`](crate::channel::Channel)s, each in an [`Executor`](crate::executor::Executor),
//! over the real codecs of wire and store; everything random comes from one seed. [`mixed`] draws a whole world of faults from a seed, [`group`] measures a group, and the
//! [`oracle`] watches either. Why in the library: applications can test against it too. How it moves: the world keeps one
//! queue of arrivals and one of wake-ups; [`World::run_for`] jumps from one to the next, and shows everything that happens
//! to the oracle.

pub mod executor;
pub mod group;
pub mod mixed;
pub mod oracle;

mod archive;
mod bug;
mod clock;
mod driven;
mod hostile;
mod keys;
mod liar;
mod medium;
mod net;
mod node;
mod world;

use crate::channel::{Config, Join};

pub use archive::{Archive, Faults as ArchiveFaults};
pub use bug::Bug;
pub use clock::{Clock, EPOCH_MS};
pub use hostile::Attack;
pub use liar::Lie;
pub use medium::Medium;
pub use net::{Burst, Network, Transmission};
pub use node::{Crash, Node};
pub use world::World;

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything random comes from this.
    pub seed: u64,
    /// Number of participants, named `p0`, `p1`, ...
    pub participants: usize,
    /// How the network misbehaves.
    pub network: Network,
    /// Options of every channel.
    pub config: Config,
    /// A known bug of every participant.
    pub bug: Option<Bug>,
    /// Save nothing and keep no events: for large worlds in which nobody restarts.
    pub forgetful: bool,
}

impl Default for Options {
    /// Three participants with the options that everybody has, on a perfect network.
    fn default() -> Self {
        Self {
            seed: 0,
            participants: 3,
            network: Network::default(),
            config: Config { join: Join::Backfill(u64::MAX), ..Config::default() },
            bug: None,
            forgetful: false,
        }
    }
}
