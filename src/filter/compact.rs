//! The compact filter: field 100 of the `Lip109` dialect. This page is its definition.
//!
//! What: a Bloom filter of the `bloomfilter` crate (version 3), without its 45-byte header. On the wire are
//! k, an 8-byte seed and the bit array, bit `p` in byte `p / 8` at `1 << (p % 8)`; m = 8 times the bytes.
//! An id enters as the 8 bytes of H(id) in little-endian order, H being the first 8 bytes of SHA-256(id) as a
//! big-endian number. SHA-256 of the seed gives 32 bytes, whose halves key two SipHash-1-3: S0 and S1.
//! Position i of an id is h(i) mod m, with h(0) = S0(id), h(1) = S1(id), and for i from 2 to k - 1
//! h(i) = (h(0) + i * h(1)) mod (2^64 - 59), sum and product wrapping at 64 bits.
//!
//! Why [`CompactReader`] computes positions itself: what a hit is worth depends on how many of them are
//! distinct, which the crate does not say; a test holds both equal. How it moves: `rolling` fills a
//! [`CompactWriter`], anew under each seed; `ReceivedFilter` reads.

use bloomfilter::Bloom;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use siphasher::sip::SipHasher13;

use super::{IdHash, MAX_HASHES};
use crate::types::FilterField;

/// Bytes of the crate's own header: version, length, k and its 32-byte seed.
const CRATE_HEADER: usize = 1 + 8 + 4 + 32;
/// The largest prime below 2^64.
const PRIME: u64 = 0xFFFF_FFFF_FFFF_FFC5;

/// A filter of our own, being filled.
#[derive(Clone, Debug)]
pub(super) struct CompactWriter {
    bloom: Bloom<IdHash>,
    seed: [u8; 8],
}

impl CompactWriter {
    /// An empty filter for `capacity` ids, at least 1, at this error rate, above 0 and below 1.
    pub(super) fn new(capacity: usize, error_rate: f64, seed: [u8; 8]) -> Self {
        let bytes = Bloom::<IdHash>::compute_bitmap_size(capacity, error_rate).max(1);
        let bloom = Bloom::new_with_seed(bytes, capacity, &expand(seed));
        // The crate's constructor has no failing path once the size is given; it panics on sizes of 0 alone.
        Self { bloom: bloom.expect("sizes are above 0"), seed }
    }

    pub(super) fn insert(&mut self, hash: IdHash) {
        self.bloom.set(&hash);
    }

    pub(super) fn field(&self) -> FilterField {
        FilterField::Compact {
            k: self.bloom.number_of_hash_functions(),
            seed: self.seed,
            bits: Bytes::copy_from_slice(&self.bloom.as_slice()[CRATE_HEADER..]),
        }
    }
}

/// Another participant's filter.
#[derive(Clone, Debug)]
pub(super) struct CompactReader {
    k: u32,
    seed: [u8; 8],
    sips: [SipHasher13; 2],
    bits: Bytes,
    /// Bits set / bits.
    fill: f64,
    /// No hit is worth more than this: `k` positions come from two hashes, so that about bits squared sets of
    /// positions exist, and in a nearly empty filter many of them are hit.
    floor: f64,
}

impl CompactReader {
    /// The filter with `bits`, not empty, and `k` in 1 to [`MAX_HASHES`].
    pub(super) fn new(k: u32, seed: [u8; 8], bits: Bytes) -> Self {
        debug_assert!(!bits.is_empty() && (1..=MAX_HASHES).contains(&k));
        let ones: u64 = bits.iter().map(|byte| u64::from(byte.count_ones())).sum();
        let all = bits.len() as f64 * 8.0;
        let (fill, floor) = (ones as f64 / all, (ones as f64 / (f64::from(k) * all * all)).min(1.0));
        Self { k, seed, sips: sips(&expand(seed)), bits, fill, floor }
    }

    pub(super) fn seed(&self) -> [u8; 8] {
        self.seed
    }

    pub(super) fn chance(&self, hash: IdHash) -> Option<f64> {
        // A position is below the number of bits.
        let is_set = |position: u64| self.bits[(position / 8) as usize] & (1 << (position % 8)) != 0;
        if !self.positions(hash).all(is_set) {
            return None;
        }
        let mut positions = [0; MAX_HASHES as usize];
        // There are k of them, at most MAX_HASHES.
        let positions = &mut positions[..self.k as usize];
        positions.iter_mut().zip(self.positions(hash)).for_each(|(slot, position)| *slot = position);
        positions.sort_unstable();
        let distinct = positions.chunk_by(|a, b| a == b).count();
        // Multiplied out, because `powi` may differ between platforms.
        Some((0..distinct).fold(1.0, |chance, _| chance * self.fill).max(self.floor))
    }

    /// The `k` positions of an id, computed one by one.
    fn positions(&self, hash: IdHash) -> impl Iterator<Item = u64> + '_ {
        let bits = self.bits.len() as u64 * 8;
        let item = hash.to_le_bytes();
        let (mut h0, mut h1) = (0_u64, 0_u64);
        (0..self.k).map(move |i| {
            let h = match i {
                0 => {
                    h0 = self.sips[0].hash(&item);
                    h0
                }
                1 => {
                    h1 = self.sips[1].hash(&item);
                    h1
                }
                _ => h0.wrapping_add(u64::from(i).wrapping_mul(h1)) % PRIME,
            };
            h % bits
        })
    }
}

/// The crate's 32-byte seed: SHA-256 of ours.
fn expand(seed: [u8; 8]) -> [u8; 32] {
    Sha256::digest(seed).into()
}

fn sips(seed: &[u8; 32]) -> [SipHasher13; 2] {
    let (mut first, mut second) = ([0; 16], [0; 16]);
    first.copy_from_slice(&seed[..16]);
    second.copy_from_slice(&seed[16..]);
    [SipHasher13::new_with_key(&first), SipHasher13::new_with_key(&second)]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::MessageId;

    fn hash(n: u64) -> IdHash {
        IdHash::of(&MessageId::new(n.to_le_bytes()))
    }

    /// The crate's filter with these parts.
    fn of_crate(k: u32, seed: [u8; 8], bits: &[u8]) -> Bloom<IdHash> {
        let mut bytes = vec![1];
        bytes.extend((bits.len() as u64).to_le_bytes());
        bytes.extend(k.to_le_bytes());
        bytes.extend(expand(seed));
        bytes.extend(bits);
        Bloom::from_bytes(bytes).unwrap()
    }

    proptest! {
        #[test]
        fn positions_are_those_of_the_crate(k in 1..=64_u32, seed: [u8; 8], len in 1..300_usize, n: u64) {
            let mut bloom = of_crate(k, seed, &vec![0; len]);
            bloom.set(&hash(n));
            let mut ours = vec![0; len];
            let reader = CompactReader::new(k, seed, Bytes::from(vec![0; len]));
            for position in reader.positions(hash(n)) {
                ours[(position / 8) as usize] |= 1 << (position % 8);
            }
            prop_assert_eq!(&bloom.as_slice()[CRATE_HEADER..], &ours);
        }

        #[test]
        fn hits_are_those_of_the_crate(k in 1..=4_u32, seed: [u8; 8], bits in prop::collection::vec(any::<u8>(), 1..50)) {
            let bloom = of_crate(k, seed, &bits);
            let reader = CompactReader::new(k, seed, bits.into());
            for n in 0..200 {
                prop_assert_eq!(bloom.check(&hash(n)), reader.chance(hash(n)).is_some());
            }
        }
    }

    #[test]
    fn only_distinct_positions_count() {
        // 4 of 8 bits set and 64 hash functions: at most 4 distinct positions can hit.
        let reader = CompactReader::new(64, [0; 8], Bytes::from_static(&[0xff]));
        assert_eq!(reader.chance(hash(1)), Some(1.0));
        for n in 0..10_000 {
            let reader = CompactReader::new(6, [0; 8], Bytes::from_static(&[0x0f]));
            if let Some(chance) = reader.chance(hash(n)) {
                let distinct = reader.positions(hash(n)).collect::<std::collections::BTreeSet<_>>().len();
                assert_eq!(chance, 0.5_f64.powi(i32::try_from(distinct).unwrap()));
            }
        }
    }

    #[test]
    fn golden_bits() {
        let mut writer = CompactWriter::new(8, 0.01, *b"12345678");
        for id in ["a", "b", "c"] {
            writer.insert(IdHash::of(&MessageId::from(id)));
        }
        let FilterField::Compact { k, seed, bits } = writer.field() else { panic!() };
        assert_eq!((k, seed, hex::encode(bits)), (7, *b"12345678", "c044300882183d880081".to_owned()));
    }
}
