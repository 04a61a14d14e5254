//! The compact filter: field 100 of the `Lip109` dialect. This page is its definition.
//!
//! What: a Bloom filter of the `bloomfilter` crate (version 3), without its 45-byte header. On the wire are
//! k, an 8-byte seed and the bit array, bit `p` in byte `p / 8` at `1 << (p % 8)`; m = 8 times the bytes.
//! An id enters as the 8 bytes of H(id) in little-endian order, H being the first 8 bytes of SHA-256(id) as a
//! big-endian number. SHA-256 of the seed gives 32 bytes, whose halves key two SipHash-1-3: S0 and S1.
//! Position i of an id is h(i) mod m, with h(0) = S0(id), h(1) = S1(id), and for i from 2 to k - 1
//! h(i) = (h(0) + i * h(1)) mod (2^64 - 59), sum and product wrapping at 64 bits.
//!
//! Why [`Positions`] are computed here: what a hit is worth depends on how many of them are distinct, which the crate
//! does not say, and setting them takes a third of its time; tests hold both equal. How it moves: `rolling` fills a
//! [`CompactWriter`], anew under each seed; `ReceivedFilter` reads.

use std::hash::{Hash, Hasher};

use bloomfilter::Bloom;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::sip::Sip13;
use super::{IdHash, MAX_HASHES, worth};
use crate::types::FilterField;

/// The largest prime below 2^64.
const PRIME: u64 = 0xFFFF_FFFF_FFFF_FFC5;

/// A filter of our own, being filled.
#[derive(Clone, Debug)]
pub(super) struct CompactWriter {
    seed: [u8; 8],
    positions: Positions,
    bits: Vec<u8>,
}

impl CompactWriter {
    /// An empty filter for `capacity` ids, at least 1, at this error rate, above 0 and below 1.
    pub(super) fn new(capacity: usize, error_rate: f64, seed: [u8; 8]) -> Self {
        let bytes = Bloom::<Item>::compute_bitmap_size(capacity, error_rate).max(1);
        let bloom = Bloom::<Item>::new_with_seed(bytes, capacity, &[0; 32]);
        // The crate's constructor has no failing path once the size is given; it panics on sizes of 0 alone.
        let k = bloom.expect("sizes are above 0").number_of_hash_functions();
        Self { seed, positions: Positions::new(k, seed, bytes), bits: vec![0; bytes] }
    }

    pub(super) fn insert(&mut self, hash: IdHash) {
        let Some(item) = hash.compact() else { return };
        let bits = &mut self.bits;
        self.positions.find(item, |position| {
            // A position is below the number of bits.
            bits[(position / 8) as usize] |= 1 << (position % 8);
            false
        });
    }

    pub(super) fn field(&self) -> FilterField {
        FilterField::Compact { k: self.positions.k, seed: self.seed, bits: Bytes::copy_from_slice(&self.bits) }
    }
}

/// Another participant's filter.
#[derive(Clone, Debug)]
pub(super) struct CompactReader {
    seed: [u8; 8],
    positions: Positions,
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
        let ones: u64 = bits.chunks(8).map(|bytes| u64::from(word(bytes).count_ones())).sum();
        let all = bits.len() as f64 * 8.0;
        let (fill, floor) = (ones as f64 / all, (ones as f64 / (f64::from(k) * all * all)).min(1.0));
        Self { seed, positions: Positions::new(k, seed, bits.len()), bits, fill, floor }
    }

    pub(super) fn seed(&self) -> [u8; 8] {
        self.seed
    }

    pub(super) fn bytes(&self) -> usize {
        self.bits.len()
    }

    pub(super) fn first_unset(&self, hash: IdHash) -> Option<u64> {
        // Another dialect's hash is a miss.
        let Some(item) = hash.compact() else { return Some(0) };
        self.positions.find(item, |position| !self.is_set(position))
    }

    /// The position is below the number of bits.
    pub(super) fn is_set(&self, position: u64) -> bool {
        self.bits[(position / 8) as usize] & (1 << (position % 8)) != 0
    }

    pub(super) fn gained(&self, earlier: &Self) -> Option<Vec<(u64, u64)>> {
        if (self.seed, self.positions.k, self.bits.len()) != (earlier.seed, earlier.positions.k, earlier.bits.len()) {
            return None;
        }
        let mut gained = Vec::new();
        for (at, (now, earlier)) in self.bits.chunks(8).zip(earlier.bits.chunks(8)).enumerate() {
            let (now, earlier) = (word(now), word(earlier));
            if earlier & !now != 0 {
                return None;
            }
            if now != earlier {
                gained.push((at as u64, now & !earlier));
            }
        }
        Some(gained)
    }

    pub(super) fn chance(&self, hash: IdHash) -> Option<f64> {
        let item = hash.compact()?;
        if self.first_unset(hash).is_some() {
            return None;
        }
        Some(worth(self.positions.all(item).into_iter(), self.fill).max(self.floor))
    }
}

/// Where ids are in a filter of this size, under this seed.
#[derive(Clone, Debug)]
struct Positions {
    k: u32,
    sips: [Sip13; 2],
    bits: u64,
    /// 2^64 / bits, so that what is left of a division takes a multiplication.
    inverse: u64,
}

impl Positions {
    /// `bytes` is not 0.
    fn new(k: u32, seed: [u8; 8], bytes: usize) -> Self {
        let bits = bytes as u64 * 8;
        Self { k, sips: sips(&expand(seed)), bits, inverse: u64::MAX / bits }
    }

    /// The first of the `k` positions of an id for which this holds; the next is computed only where it does not.
    fn find(&self, item: [u8; 8], mut found: impl FnMut(u64) -> bool) -> Option<u64> {
        let mut try_hash = |h| Some(self.modulo(h)).filter(|position| found(*position));
        let h0 = self.sips[0].hash(item);
        let first = try_hash(h0);
        if first.is_some() || self.k == 1 {
            return first;
        }
        let h1 = self.sips[1].hash(item);
        try_hash(h1).or_else(|| {
            (2..u64::from(self.k)).find_map(|i| {
                let h = h0.wrapping_add(i.wrapping_mul(h1));
                try_hash(if h < PRIME { h } else { h - PRIME })
            })
        })
    }

    /// All `k` positions of an id.
    fn all(&self, item: [u8; 8]) -> Vec<u64> {
        let mut all = Vec::with_capacity(self.k as usize);
        self.find(item, |position| {
            all.push(position);
            false
        });
        all
    }

    /// `h % bits`: the quotient is at most two too small.
    fn modulo(&self, h: u64) -> u64 {
        let quotient = (u128::from(h) * u128::from(self.inverse)) >> 64;
        // At most `h / bits`.
        let mut rest = h - quotient as u64 * self.bits;
        while rest >= self.bits {
            rest -= self.bits;
        }
        rest
    }
}

/// Up to eight bytes as a number in which position `p` of them is bit `p`.
pub(super) fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or_else(
        || bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        |whole| u64::from_le_bytes(*whole),
    )
}

/// What the crate hashes: the same 8 bytes on every platform, so that filter bits are the same too.
#[derive(Clone, Debug)]
struct Item([u8; 8]);

impl Hash for Item {
    fn hash<S: Hasher>(&self, state: &mut S) {
        state.write(&self.0);
    }
}

/// The crate's 32-byte seed: SHA-256 of ours.
fn expand(seed: [u8; 8]) -> [u8; 32] {
    Sha256::digest(seed).into()
}

fn sips(seed: &[u8; 32]) -> [Sip13; 2] {
    let (mut first, mut second) = ([0; 16], [0; 16]);
    first.copy_from_slice(&seed[..16]);
    second.copy_from_slice(&seed[16..]);
    [Sip13::new(first), Sip13::new(second)]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::types::MessageId;

    /// Bytes of the crate's own header: version, length, k and its 32-byte seed.
    const CRATE_HEADER: usize = 1 + 8 + 4 + 32;

    fn hash(n: u64) -> IdHash {
        IdHash::of(&MessageId::new(n.to_le_bytes()))
    }

    /// The crate's filter with these parts.
    fn of_crate(k: u32, seed: [u8; 8], bits: &[u8]) -> Bloom<Item> {
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
            bloom.set(&Item(hash(n).compact().unwrap()));
            let mut ours = vec![0; len];
            let reader = CompactReader::new(k, seed, Bytes::from(vec![0; len]));
            for position in reader.positions.all(hash(n).compact().unwrap()) {
                ours[(position / 8) as usize] |= 1 << (position % 8);
            }
            prop_assert_eq!(&bloom.as_slice()[CRATE_HEADER..], &ours);
        }

        #[test]
        fn what_is_left_of_a_division_is_that(bytes in 1..1_usize << 40, h: u64) {
            let positions = Positions::new(1, [0; 8], bytes);
            let bits = bytes as u64 * 8;
            for h in [h, 0, bits - 1, bits, u64::MAX, u64::MAX / bits * bits, u64::MAX / bits * bits - 1] {
                prop_assert_eq!(positions.modulo(h), h % bits);
            }
        }

        #[test]
        fn a_filter_filled_here_is_that_of_the_crate(capacity in 1..300_usize, rate in 1e-9..0.5, seed: [u8; 8]) {
            let mut ours = CompactWriter::new(capacity, rate, seed);
            let bytes = Bloom::<Item>::compute_bitmap_size(capacity, rate).max(1);
            let mut bloom = Bloom::<Item>::new_with_seed(bytes, capacity, &expand(seed)).unwrap();
            for n in 0..capacity as u64 {
                ours.insert(hash(n));
                bloom.set(&Item(hash(n).compact().unwrap()));
            }
            let FilterField::Compact { k, bits, .. } = ours.field() else { panic!() };
            prop_assert_eq!((k, &bits[..]), (bloom.number_of_hash_functions(), &bloom.as_slice()[CRATE_HEADER..]));
        }

        #[test]
        fn hits_are_those_of_the_crate(k in 1..=4_u32, seed: [u8; 8], bits in prop::collection::vec(any::<u8>(), 1..50)) {
            let bloom = of_crate(k, seed, &bits);
            let reader = CompactReader::new(k, seed, bits.into());
            for n in 0..200 {
                prop_assert_eq!(bloom.check(&Item(hash(n).compact().unwrap())), reader.chance(hash(n)).is_some());
            }
        }
    }

    proptest! {
        #[test]
        fn what_a_filter_gained_is_what_is_set_now_and_was_not(
            earlier in prop::collection::vec(any::<u8>(), 1..40),
            more in prop::collection::vec(any::<u8>(), 40),
            seed in 1..3_u8,
        ) {
            let now: Vec<u8> = earlier.iter().zip(&more).map(|(earlier, more)| earlier | more).collect();
            let read = |bits: &[u8], seed| CompactReader::new(3, [seed; 8], Bytes::copy_from_slice(bits));
            let set = |bits: &[u8], at: usize| bits[at / 8] >> (at % 8) & 1 == 1;
            let expected: Vec<u64> =
                (0..now.len() * 8).filter(|at| set(&now, *at) && !set(&earlier, *at)).map(|at| at as u64).collect();
            let gained = read(&now, seed).gained(&read(&earlier, 1));
            prop_assert_eq!(gained.is_some(), seed == 1);
            let gained = gained.unwrap_or_default();
            prop_assert!(gained.iter().all(|(_, bits)| *bits != 0));
            let gained = gained.iter().flat_map(|(word, bits)| (0..64).filter(move |at| bits >> at & 1 == 1).map(move |at| word * 64 + at));
            prop_assert_eq!(gained.collect::<Vec<_>>(), if seed == 1 { expected.clone() } else { Vec::new() });
            prop_assert_eq!(read(&earlier, 1).gained(&read(&now, 1)).is_some(), expected.is_empty(), "it lost some");
            prop_assert!((0..now.len() * 8).all(|at| read(&now, 1).is_set(at as u64) == set(&now, at)));
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
                let distinct: BTreeSet<u64> = reader.positions.all(hash(n).compact().unwrap()).into_iter().collect();
                assert_eq!(chance, 0.5_f64.powi(i32::try_from(distinct.len()).unwrap()));
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
