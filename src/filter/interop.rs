//! The filters of js-waku and nim-sds, bit for bit (docs/protocol.md section 2).
//!
//! What: Bloom filters of m bits in whole 64-bit words, position i of an id being (A + i * B) mod m, where A and B are
//! the peer's hash of the id and of the id with `" b"` behind it. js writes its words big-endian and nothing else;
//! nim-sds writes a protobuf {1: words little-endian, 2: capacity, 3: error rate in millionths, 4: k, 5: m}. Why the
//! bits are kept as they go on the wire: offering the filter is one copy. How it moves: `rolling` fills an
//! [`InteropWriter`]; `ReceivedFilter` reads with an [`InteropReader`], which a peer's absurd numbers never enter.

use std::sync::OnceLock;

use bytes::Bytes;
use prost::Message as _;

use super::{FilterError, IdHash, MAX_HASHES, worth};
use crate::types::{FilterField, JS_FILTER_BYTES};

/// Ids for which both peers make their filters.
pub(super) const CAPACITY: usize = 10_000;
/// The share of accidental hits for which both peers make their filters.
pub(super) const ERROR_RATE: f64 = 0.001;

/// Whose order of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    JsWaku,
    NimSds,
}

/// How many hash functions and bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// 1 to [`MAX_HASHES`].
    k: u32,
    /// Above 0, and as many as there are words for.
    m: i64,
}

impl Shape {
    /// The shape both peers give a filter for this many ids, at least 1, at this error rate, in 1e-9 to 0.5.
    pub(super) fn of(capacity: usize, error_rate: f64) -> Self {
        let bits_per_id = (-error_rate.ln() / std::f64::consts::LN_2.powi(2)).ceil();
        let k = (std::f64::consts::LN_2 * bits_per_id).round();
        // At most 44 bits and 30 functions, by the range of rates.
        Self::given((k as u32).max(1), bits_per_id as usize, capacity)
    }

    fn given(k: u32, bits_per_id: usize, capacity: usize) -> Self {
        Self { k, m: i64::try_from(capacity.saturating_mul(bits_per_id)).unwrap_or(i64::MAX) }
    }

    fn words(self) -> usize {
        1 + (self.m / 64) as usize
    }

    /// The positions of an id hashed for `peer`; `None` for one hashed for somebody else.
    fn positions(self, peer: Peer, hash: IdHash) -> Option<impl Iterator<Item = usize> + Clone> {
        let (a, b) = match peer {
            Peer::JsWaku => hash.js().map(|(a, b)| (i64::from(a), i64::from(b)))?,
            Peer::NimSds => hash.nim()?,
        };
        let Self { k, m } = self;
        let (a, b) = (a % m, b % m);
        // Never beyond m - 1, which has its word.
        Some(
            (0..i64::from(k))
                .map(move |i| (a.wrapping_add(i.wrapping_mul(b)).unsigned_abs() % m.unsigned_abs()) as usize),
        )
    }
}

/// The byte of a position, and the bit in it.
fn place(peer: Peer, position: usize) -> (usize, u8) {
    let byte = match peer {
        Peer::JsWaku => (position / 8) ^ 7,
        Peer::NimSds => position / 8,
    };
    (byte, 1 << (position % 8))
}

/// A filter of our own in a peer's layout, being filled.
#[derive(Clone, Debug)]
pub(super) struct InteropWriter {
    peer: Peer,
    shape: Shape,
    /// The field as it goes on the wire.
    bytes: Vec<u8>,
    /// Where in it the words begin.
    start: usize,
}

impl InteropWriter {
    /// An empty filter.
    pub(super) fn new(peer: Peer, capacity: usize, error_rate: f64) -> Self {
        Self::with_shape(peer, Shape::of(capacity, error_rate), capacity, error_rate)
    }

    fn with_shape(peer: Peer, shape: Shape, capacity: usize, error_rate: f64) -> Self {
        let words = vec![0; shape.words() * 8];
        let (bytes, start) = match peer {
            Peer::JsWaku => (words, 0),
            Peer::NimSds => {
                let start = 1 + prost::length_delimiter_len(words.len());
                let filter = NimFilter {
                    words: Some(words.into()),
                    capacity: Some(capacity as u64),
                    error_rate_millionths: Some((error_rate * 1e6).round() as u64),
                    k: Some(shape.k.into()),
                    m: Some(shape.m.unsigned_abs()),
                };
                (filter.encode_to_vec(), start)
            }
        };
        Self { peer, shape, bytes, start }
    }

    pub(super) fn insert(&mut self, hash: IdHash) {
        for position in self.shape.positions(self.peer, hash).into_iter().flatten() {
            let (byte, bit) = place(self.peer, position);
            self.bytes[self.start + byte] |= bit;
        }
    }

    pub(super) fn field(&self) -> FilterField {
        let bytes = Bytes::copy_from_slice(&self.bytes);
        match self.peer {
            Peer::JsWaku => FilterField::Unspecified(bytes),
            Peer::NimSds => FilterField::NimSds(bytes),
        }
    }
}

/// Another participant's filter.
#[derive(Clone, Debug)]
pub(super) struct InteropReader {
    peer: Peer,
    shape: Shape,
    words: Bytes,
    /// Bits set, counted when first asked for.
    ones: OnceLock<u64>,
}

impl InteropReader {
    /// A filter of js-waku, which has one length and no header.
    pub(super) fn js(words: Bytes) -> Result<Self, FilterError> {
        if words.len() != JS_FILTER_BYTES {
            return Err(FilterError::Length { found: words.len(), expected: JS_FILTER_BYTES });
        }
        Ok(Self::new(Peer::JsWaku, Shape::of(CAPACITY, ERROR_RATE), words))
    }

    /// A filter of nim-sds, which says its shape itself: it is believed only where there are words for it.
    pub(super) fn nim(field: Bytes) -> Result<Self, FilterError> {
        // Decoding shares the memory of the field.
        let NimFilter { words: Some(words), capacity: Some(_), error_rate_millionths: Some(_), k: Some(k), m: Some(m) } =
            NimFilter::decode(field).map_err(|_| FilterError::Unusable)?
        else {
            return Err(FilterError::Unusable);
        };
        let k = u32::try_from(k).unwrap_or(u32::MAX);
        if !(1..=MAX_HASHES).contains(&k) {
            return Err(FilterError::HashCount { found: k, max: MAX_HASHES });
        }
        if m == 0 {
            return Err(FilterError::NoBits);
        }
        let bits = (words.len() / 8) as u64 * 64;
        match i64::try_from(m) {
            Ok(signed) if m <= bits => Ok(Self::new(Peer::NimSds, Shape { k, m: signed }, words)),
            _ => Err(FilterError::TooFewWords { claimed: m, found: bits }),
        }
    }

    fn new(peer: Peer, shape: Shape, words: Bytes) -> Self {
        Self { peer, shape, words, ones: OnceLock::new() }
    }

    pub(super) fn bytes(&self) -> usize {
        self.words.len()
    }

    pub(super) fn fill(&self) -> (f64, u32) {
        // Words may have more bits than are in use.
        ((self.ones() / self.shape.m as f64).min(1.0), self.shape.k)
    }

    fn ones(&self) -> f64 {
        let count = || {
            // A word at a time. What is over is no word, and has no bit.
            let (whole, _) = self.words.as_chunks::<8>();
            whole.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum()
        };
        *self.ones.get_or_init(count) as f64
    }

    pub(super) fn chance(&self, hash: IdHash) -> Option<f64> {
        let is_set = |position| {
            let (byte, bit) = place(self.peer, position);
            self.words[byte] & bit != 0
        };
        let positions = self.shape.positions(self.peer, hash)?;
        if !positions.clone().all(is_set) {
            return None;
        }
        let positions = positions.map(|position| position as u64);
        Some(worth(positions, self.shape.k, self.ones(), self.shape.m as f64, 1.0))
    }
}

/// The protobuf in field 6 of nim-sds. All five are required.
#[derive(Clone, PartialEq, prost::Message)]
struct NimFilter {
    #[prost(bytes = "bytes", optional, tag = "1")]
    words: Option<Bytes>,
    #[prost(uint64, optional, tag = "2")]
    capacity: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    error_rate_millionths: Option<u64>,
    #[prost(uint64, optional, tag = "4")]
    k: Option<u64>,
    #[prost(uint64, optional, tag = "5")]
    m: Option<u64>,
}

#[cfg(test)]
mod tests;
