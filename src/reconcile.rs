//! What two participants hold differently, found without telling all that they hold.
//!
//! Each side keeps its messages in a [`SetIndex`], ordered by Lamport time. They exchange fingerprints of ranges, split
//! those that differ, and list ids where few are left. The messages are those of
//! [negentropy](https://github.com/hoytech/negentropy) version 1, byte for byte.
//!
//! Nothing here waits, sends or remembers: [`initiate`] makes the first message, [`respond`] answers one, [`refine`]
//! takes an answer in and makes the next one, until it makes none. The sets may change between two messages; what changed
//! is found or missed as if it had been so before or after.
//!
//! ```
//! use reliable_channel::reconcile::{Item, Options, Rid, SetIndex, initiate, refine, respond};
//! use reliable_channel::types::Lamport;
//!
//! let item = |time| Item { lamport: Lamport(time), rid: Rid([time as u8; 32]) };
//! let ours: SetIndex = (0..20).map(item).collect();
//! let theirs: SetIndex = (1..21).map(item).collect();
//!
//! let options = Options::default();
//! let first = initiate(&ours, &options);
//! let answer = respond(&theirs, &options, &first)?;
//! let found = refine(&ours, &options, &answer.message)?;
//! assert_eq!(found.only_here, [Rid([0; 32])]);
//! assert_eq!(found.only_there, [Rid([20; 32])]);
//! assert_eq!(found.next, None);
//! # Ok::<(), reliable_channel::reconcile::ReconcileError>(())
//! ```

mod codec;
mod compare;
mod index;
mod rid;
mod split;

use std::ops::RangeInclusive;

pub use compare::{Answer, Found, initiate, refine, respond};
pub use index::{SetIndex, Summary};
pub use rid::{Rid, rid_of};

use crate::types::Lamport;

/// One message of a set: its place in time, and what tells it from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Item {
    /// The message's Lamport time, less than `u64::MAX`.
    pub lamport: Lamport,
    /// The hash that stands for the message.
    pub rid: Rid,
}

/// How the whole set is divided in a first message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Split {
    /// The newest ids singly, then ranges that double with age: whoever missed the end learns it in one round trip.
    #[default]
    ByAge,
    /// Sixteen ranges of the same number of messages, as other implementations of negentropy do.
    Uniform,
}

/// What is compared, and how large a message may become. Both sides may differ in all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// How a first message divides the set.
    pub split: Split,
    /// Only messages of these Lamport times are compared. What lies outside is neither missing nor superfluous.
    pub range: RangeInclusive<u64>,
    /// Bytes of a message, at least 4,096; none for no limit. A message may exceed it by the last range it began, if
    /// that is a list of ids.
    pub max_message_bytes: Option<usize>,
    /// Ranges in a message, ours and theirs. Default 1,024.
    pub max_ranges: usize,
    /// Ids in a message, ours and theirs. Default 8,192.
    pub max_ids: usize,
    /// Whether a list of ids is answered by a list where both are the same, as other implementations do. Default false.
    pub answer_equal_lists: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            split: Split::default(),
            range: 0..=u64::MAX - 1,
            max_message_bytes: Some(256 << 10),
            max_ranges: 1_024,
            max_ids: 8_192,
            answer_equal_lists: false,
        }
    }
}

impl Options {
    /// No limits, a uniform split, and every list answered: what the reference implementation says, byte for byte.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            split: Split::Uniform,
            max_message_bytes: None,
            max_ranges: usize::MAX,
            max_ids: usize::MAX,
            answer_equal_lists: true,
            ..Self::default()
        }
    }
}

/// Why a message of reconciliation is refused: always the peer's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReconcileError {
    /// The message ends within a value.
    #[error("the message ends too early")]
    Truncated,
    /// Another version, or no message of this protocol.
    #[error("version byte {found:#04x}, only 0x61 is known")]
    Version {
        /// The first byte.
        found: u8,
    },
    /// A number with more than 64 bits, an unknown kind of range, or an id prefix of more than 32 bytes.
    #[error("{what} is not valid")]
    Invalid {
        /// What it is.
        what: &'static str,
    },
    /// Ranges must ascend.
    #[error("a range ends before it begins")]
    Descending,
    /// More than this side takes in one message.
    #[error("{found} {what}, {max} are allowed")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How many were found.
        found: usize,
        /// The limit.
        max: usize,
    },
}
