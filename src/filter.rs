//! Summaries of received ids: the one this participant sends, and those of others.
//!
//! What: [`RollingFilter`] keeps the ids of the acknowledgement window and offers them as a [`FilterField`];
//! [`ReceivedFilter`] tests own ids against another's field and says what a hit is worth; [`IdHash`] is what
//! both work on, computed once per message (PROTOCOL sections 2 and 7). Why one module over all layouts:
//! `channel` asks for evidence and must not care whose bits it came from. How it moves: `channel` inserts what
//! it delivers or parks, reseeds with fresh entropy when [`RollingFilter::needs_reseed`] or before a sync, and
//! parses each received field once. A new layout is a file beside `compact` and a variant of `Layout`.

mod compact;
mod hash;
mod rolling;

pub use hash::{IdHash, h, h2, h3};
pub use rolling::{RollingFilter, RollingFilterConfig};

use crate::types::FilterField;
use compact::CompactReader;

/// Most hash functions of a filter that is not absurd.
pub const MAX_HASHES: u32 = 64;

/// Another participant's filter, ready to be tested.
#[derive(Clone, Debug)]
pub struct ReceivedFilter(Layout);

#[derive(Clone, Debug)]
enum Layout {
    Compact(CompactReader),
}

impl ReceivedFilter {
    /// Looks into the filter of a received message; `max_bytes` is
    /// [`Limits::max_filter_bytes`](crate::types::Limits::max_filter_bytes).
    ///
    /// `None` where there is nothing to test: no filter, or field 12 of a dialect this version does not speak
    /// (its layouts come with their dialects).
    ///
    /// # Errors
    /// A [`FilterError`]: the peer's fault. The filter is to be ignored and counted, the message processed.
    pub fn parse(field: &FilterField, max_bytes: usize) -> Result<Option<Self>, FilterError> {
        match field {
            FilterField::Absent | FilterField::Unspecified(_) => Ok(None),
            FilterField::Unusable => Err(FilterError::Unusable),
            FilterField::Compact { bits, .. } if bits.len() > max_bytes => {
                Err(FilterError::TooLarge { found: bits.len(), max: max_bytes })
            }
            FilterField::Compact { bits, .. } if bits.is_empty() => Err(FilterError::NoBits),
            FilterField::Compact { k, .. } if !(1..=MAX_HASHES).contains(k) => {
                Err(FilterError::HashCount { found: *k, max: MAX_HASHES })
            }
            FilterField::Compact { k, seed, bits } => {
                Ok(Some(Self(Layout::Compact(CompactReader::new(*k, *seed, bits.clone())))))
            }
        }
    }

    /// Tests an id: `None` is a miss, `Some(p)` a hit that is accidental with chance `p`, in 0 to 1.
    ///
    /// `p` = (bits set / bits) to the power of the id's distinct positions: 1 in an all-ones filter. In a nearly
    /// empty one it is not below bits set / (k * bits^2): positions come from two hashes and are not independent.
    #[must_use]
    pub fn chance(&self, hash: &IdHash) -> Option<f64> {
        match &self.0 {
            Layout::Compact(reader) => reader.chance(*hash),
        }
    }

    /// What makes this filter an independent witness: its seed, or `None` in a layout with fixed hashes.
    #[must_use]
    pub fn witness(&self) -> Option<[u8; 8]> {
        match &self.0 {
            Layout::Compact(reader) => Some(reader.seed()),
        }
    }
}

/// Why a received filter is ignored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// `wire` could not make sense of the field, or it was over the limit there.
    #[error("the filter does not parse or is over the limit")]
    Unusable,
    /// More bytes than allowed.
    #[error("filter of {found} bytes, at most {max} are allowed")]
    TooLarge {
        /// Bytes received.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// A filter without bits.
    #[error("filter without bits")]
    NoBits,
    /// No hash function, or absurdly many.
    #[error("filter with {found} hash functions, 1 to {max} are allowed")]
    HashCount {
        /// Hash functions claimed.
        found: u32,
        /// The limit.
        max: u32,
    },
}
