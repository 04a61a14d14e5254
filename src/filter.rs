//! Summaries of received ids: the one this participant sends, and those of others.
//!
//! What: [`RollingFilter`] keeps the ids received lately and offers them as a [`FilterField`] in the layout of its
//! dialect; [`ReceivedFilter`] tests own ids against another's field and says what a hit is worth; [`IdHash`] is what
//! both work on, computed once per message (docs/protocol.md sections 2 and 7). Why one module over all layouts:
//! `channel` asks for evidence and must not care whose bits it came from. How it moves: `channel` inserts what
//! it delivers or parks, reseeds with fresh entropy when [`RollingFilter::needs_reseed`] or before a sync, and
//! parses each received field of its dialect once. A new layout is a file beside `compact` and a variant of `Layout`.

mod compact;
mod farm;
mod hash;
mod held;
mod interop;
mod murmur;
mod rolling;
mod sip;

pub use hash::{IdHash, distance, h, h2, h2_in, h3};
pub use rolling::{RollingFilter, RollingFilterConfig};

use crate::types::FilterField;
use compact::CompactReader;
use interop::InteropReader;

/// Most hash functions of a filter that is not absurd.
pub const MAX_HASHES: u32 = 64;

/// Another participant's filter, ready to be tested.
#[derive(Clone, Debug)]
pub struct ReceivedFilter(Layout);

#[derive(Clone, Debug)]
enum Layout {
    Compact(CompactReader),
    Interop(InteropReader),
}

impl ReceivedFilter {
    /// Looks into the filter of a received message; `max_bytes` is
    /// [`Limits::max_filter_bytes`](crate::types::Limits::max_filter_bytes).
    ///
    /// `None` where there is no filter to test. Field 12 is taken for js-waku's layout: whether the channel's dialect is
    /// js-waku's, [`FilterField::belongs_to`] says.
    ///
    /// # Errors
    /// A [`FilterError`]: the peer's fault. The filter is to be ignored and counted, the message processed.
    pub fn parse(field: &FilterField, max_bytes: usize) -> Result<Option<Self>, FilterError> {
        Self::parse_after(field, max_bytes, None)
    }

    /// As [`parse`](Self::parse), with less work where an earlier filter of the same sender has the same seed and size.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse).
    pub fn parse_after(
        field: &FilterField,
        max_bytes: usize,
        earlier: Option<&Self>,
    ) -> Result<Option<Self>, FilterError> {
        match field {
            FilterField::Absent => Ok(None),
            FilterField::NimSds(bytes) if bytes.is_empty() => Ok(None),
            FilterField::Unusable => Err(FilterError::Unusable),
            field if field.len() > max_bytes => Err(FilterError::TooLarge { found: field.len(), max: max_bytes }),
            FilterField::Unspecified(bytes) => {
                InteropReader::js(bytes.clone()).map(|js| Some(Self(Layout::Interop(js))))
            }
            FilterField::NimSds(bytes) => InteropReader::nim(bytes.clone()).map(|nim| Some(Self(Layout::Interop(nim)))),
            FilterField::Compact { k, seed, bits } => {
                check_compact(*k, bits)?;
                let earlier = earlier.and_then(|earlier| match &earlier.0 {
                    Layout::Compact(earlier) => Some(earlier),
                    Layout::Interop(_) => None,
                });
                Ok(Some(Self(Layout::Compact(CompactReader::new(*k, *seed, bits.clone(), earlier)))))
            }
        }
    }

    /// What [`parse`](Self::parse) would say, for who has nothing to test: our own layout is not prepared for tests.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse).
    pub fn check(field: &FilterField, max_bytes: usize) -> Result<(), FilterError> {
        match field {
            FilterField::Compact { k, bits, .. } if bits.len() <= max_bytes => check_compact(*k, bits),
            _ => Self::parse(field, max_bytes).map(drop),
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
            Layout::Interop(reader) => reader.chance(*hash),
        }
    }

    /// Tests many ids, each under a number of the caller's. Says which of them are hits, in their order. Each other is
    /// added to `missed` behind the first of its positions that is not set: it is missed as long as that is so.
    #[must_use]
    pub fn sift(&self, ids: &[(u64, IdHash)], missed: &mut Vec<(u64, u64)>) -> Vec<u64> {
        match &self.0 {
            Layout::Compact(reader) => reader.sift(ids, missed),
            Layout::Interop(reader) => {
                let (hits, others): (Vec<_>, Vec<_>) = ids.iter().partition(|(_, hash)| reader.chance(*hash).is_some());
                // Which position it is does not matter: this one is never asked what it gained.
                missed.extend(others.into_iter().map(|(number, _)| (0, number)));
                hits.into_iter().map(|(number, _)| number).collect()
            }
        }
    }

    /// The words of 64 bits in which this filter has bits set that `earlier` had not, with those bits; `None` where this is
    /// no later state of the same filter: another seed or size, a bit that is not set any more, fixed hashes.
    #[must_use]
    pub fn gained(&self, earlier: &Self) -> Option<Vec<(u64, u64)>> {
        match (&self.0, &earlier.0) {
            (Layout::Compact(now), Layout::Compact(earlier)) => now.gained(earlier),
            _ => None,
        }
    }

    /// Whether a position that [`sift`](Self::sift) gave for this filter, or for one of the same seed and
    /// size, is set.
    #[must_use]
    pub fn is_set(&self, position: u64) -> bool {
        match &self.0 {
            Layout::Compact(reader) => reader.is_set(position),
            Layout::Interop(_) => true,
        }
    }

    /// The share of all ids that this filter hits by accident: (bits set / bits) to the power of its hash functions.
    #[must_use]
    pub fn accidental_hits(&self) -> f64 {
        let (fill, k) = self.fill();
        // Multiplied out, because `powi` may differ between platforms.
        (0..k).fold(1.0, |hits, _| hits * fill)
    }

    /// What a test takes, in units of one against a half-full filter: a miss is found at the first position not set, which
    /// comes late in a filter that is nearly full.
    #[must_use]
    pub fn test_cost(&self) -> u64 {
        let (fill, k) = self.fill();
        let until_missed = (1.0 / (1.0 - fill).max(f64::EPSILON)).min(f64::from(k));
        // Between 1 and `MAX_HASHES`.
        1 + until_missed as u64 / 8
    }

    /// Bits set of all bits, in 0 to 1, and hash functions.
    fn fill(&self) -> (f64, u32) {
        match &self.0 {
            Layout::Compact(reader) => reader.fill(),
            Layout::Interop(reader) => reader.fill(),
        }
    }

    /// Bytes of the bits as they came, in any layout.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Layout::Compact(reader) => reader.bytes(),
            Layout::Interop(reader) => reader.bytes(),
        }
    }

    /// Whether there are no bits, which no filter that parses has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the bit array; 0 in layouts with fixed hashes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Layout::Compact(reader) => reader.bytes(),
            Layout::Interop(_) => 0,
        }
    }

    /// What makes this filter an independent witness: its seed, or `None` in a layout with fixed hashes.
    #[must_use]
    pub fn witness(&self) -> Option<[u8; 8]> {
        match &self.0 {
            Layout::Compact(reader) => Some(reader.seed()),
            Layout::Interop(_) => None,
        }
    }
}

/// Refuses what no participant makes.
fn check_compact(k: u32, bits: &[u8]) -> Result<(), FilterError> {
    if bits.is_empty() {
        return Err(FilterError::NoBits);
    }
    let known = (1..=MAX_HASHES).contains(&k);
    if known { Ok(()) } else { Err(FilterError::HashCount { found: k, max: MAX_HASHES }) }
}

/// The chance that these positions of one id, at most [`MAX_HASHES`], are all set by accident where `ones` of `bits` bits
/// are set: only distinct ones count. No hit of `k` hash functions is worth more than this floor: the positions come from
/// two hashes, so that about bits squared sets of positions exist, and in a nearly empty filter many of them are hit.
/// `alike` is the chance that two ids have all positions in common, where they have the first two.
fn worth(positions: impl Iterator<Item = u64>, k: u32, ones: f64, bits: f64, alike: f64) -> f64 {
    let (fill, floor) = ((ones / bits).min(1.0), (alike * ones / (f64::from(k) * bits * bits)).min(1.0));
    let mut sorted = [0; MAX_HASHES as usize];
    let mut len = 0;
    for (slot, position) in sorted.iter_mut().zip(positions) {
        *slot = position;
        len += 1;
    }
    sorted[..len].sort_unstable();
    let distinct = sorted[..len].chunk_by(|a, b| a == b).count();
    // Multiplied out, because `powi` may differ between platforms.
    (0..distinct).fold(1.0, |chance: f64, _| chance * fill).max(floor)
}

/// Why a received filter is ignored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// Nobody can make sense of the field, or `wire` found it over the limit.
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
    /// js-waku's filter has one length.
    #[error("filter of {found} bytes, js-waku's has {expected}")]
    Length {
        /// Bytes received.
        found: usize,
        /// Bytes of the one layout.
        expected: usize,
    },
    /// More bits claimed than sent.
    #[error("filter that claims {claimed} bits and has words for {found}")]
    TooFewWords {
        /// Bits claimed.
        claimed: u64,
        /// Bits in the words received.
        found: u64,
    },
    /// No hash function, or absurdly many.
    #[error("filter with {found} hash functions, 1 to {max} are allowed")]
    HashCount {
        /// Hash functions claimed.
        found: u32,
        /// The limit.
        max: u32,
    },
}
