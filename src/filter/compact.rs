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
use std::sync::OnceLock;

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
        let Self { positions, bits, .. } = self;
        // A position is below the number of bits.
        let mut set = |position: u64| bits[(position / 8) as usize] |= 1 << (position % 8);
        let [first, step] = [0, 1].map(|i| positions.sips[i].hash(item));
        set(positions.modulo(first));
        if positions.k > 1 {
            set(positions.modulo(step));
        }
        let mut sum = first.wrapping_add(step);
        for _ in 2..positions.k {
            sum = sum.wrapping_add(step);
            set(positions.modulo(reduce(sum)));
        }
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
    /// Bits set, counted when first asked for.
    ones: OnceLock<u64>,
}

/// Ids tested together: as many as bits in a word.
const GROUP: usize = 64;

impl CompactReader {
    /// The filter with `bits`, not empty, and `k` in 1 to [`MAX_HASHES`]. What only depends on seed and size is taken
    /// from an `earlier` one where both are the same.
    pub(super) fn new(k: u32, seed: [u8; 8], bits: Bytes, earlier: Option<&Self>) -> Self {
        debug_assert!(!bits.is_empty() && (1..=MAX_HASHES).contains(&k));
        let positions = match earlier {
            Some(earlier) if earlier.is_made_as(k, seed, bits.len()) => earlier.positions.clone(),
            _ => Positions::new(k, seed, bits.len()),
        };
        Self { seed, positions, bits, ones: OnceLock::new() }
    }

    /// The chance that two ids with the same first two positions have the same k of them. Sums wrap at 2^64, which m does
    /// not divide, at different i for different ids: found by drawing pairs of ids, at most 8 / k^2 with half of the other
    /// bits set, at any k and m; but where m is nearly a power of two, wrapping moves nothing.
    fn alike(&self) -> f64 {
        let bytes = self.bits.len();
        let k = f64::from(self.positions.k);
        if bytes >> bytes.trailing_zeros() > MAX_HASHES as usize { (8.0 / (k * k)).min(1.0) } else { 1.0 }
    }

    fn is_made_as(&self, k: u32, seed: [u8; 8], bytes: usize) -> bool {
        (self.positions.k, self.seed, self.bits.len()) == (k, seed, bytes)
    }

    pub(super) fn seed(&self) -> [u8; 8] {
        self.seed
    }

    pub(super) fn bytes(&self) -> usize {
        self.bits.len()
    }

    /// As [`ReceivedFilter::sift`](super::ReceivedFilter::sift). All ids of a group go through the first position, then
    /// those left through the second, and so on: nothing depends on the id before, and nothing branches on a bit of the
    /// filter, so that the processor works on many ids at a time.
    pub(super) fn sift(&self, ids: &[(u64, IdHash)], missed: &mut Vec<(u64, u64)>) -> Vec<u64> {
        let Positions { k, sips: [first, second], .. } = &self.positions;
        let bits = &self.bits[..];
        // 1 where the position of this hash is set.
        let test = |h: u64, position: &mut u64| {
            *position = self.positions.modulo(h);
            u64::from(is_set(bits, *position))
        };
        let mut hits = Vec::new();
        missed.reserve(ids.len());
        // Of each id: the position tested last; h(0) and as many h(1) as were tested; h(1), before that the id.
        let (mut last, mut sums, mut steps) = ([0; GROUP], [0; GROUP], [0; GROUP]);
        for ids in ids.chunks(GROUP) {
            let mut left = 0;
            for (at, (_, hash)) in ids.iter().enumerate() {
                let Some(item) = hash.compact() else {
                    // Another dialect's hash is a miss.
                    last[at] = 0;
                    continue;
                };
                (sums[at], steps[at]) = (first.hash(item), u64::from_le_bytes(item));
                left |= test(sums[at], &mut last[at]) << at;
            }
            if *k > 1 {
                left = ones(left).fold(0, |left, at| {
                    steps[at] = second.hash(steps[at].to_le_bytes());
                    sums[at] = sums[at].wrapping_add(steps[at]);
                    left | test(steps[at], &mut last[at]) << at
                });
            }
            for _ in 2..*k {
                left = ones(left).fold(0, |left, at| {
                    sums[at] = sums[at].wrapping_add(steps[at]);
                    left | test(reduce(sums[at]), &mut last[at]) << at
                });
            }
            hits.extend(ones(left).map(|at| ids[at].0));
            missed.extend(ones(!left).take_while(|at| *at < ids.len()).map(|at| (last[at], ids[at].0)));
        }
        hits
    }

    /// The position is below the number of bits.
    pub(super) fn is_set(&self, position: u64) -> bool {
        is_set(&self.bits, position)
    }

    pub(super) fn gained(&self, earlier: &Self) -> Option<Vec<(u64, u64)>> {
        if !earlier.is_made_as(self.positions.k, self.seed, self.bits.len()) {
            return None;
        }
        let (now, now_rest) = self.bits.as_chunks::<8>();
        let (earlier, earlier_rest) = earlier.bits.as_chunks::<8>();
        // One more id sets `k` bits.
        let mut gained = Vec::with_capacity(self.positions.k as usize);
        let mut compare = |at: usize, now: u64, earlier: u64| {
            if now != earlier {
                gained.push((at as u64, now & !earlier));
            }
            earlier & !now == 0
        };
        let mut whole = now.iter().zip(earlier).enumerate();
        let kept = whole
            .all(|(at, (now, earlier))| compare(at, u64::from_le_bytes(*now), u64::from_le_bytes(*earlier)))
            && compare(now.len(), word(now_rest), word(earlier_rest));
        kept.then_some(gained)
    }

    pub(super) fn chance(&self, hash: IdHash) -> Option<f64> {
        let item = hash.compact()?;
        let mut all = Vec::with_capacity(self.positions.k as usize);
        let unset = self.positions.find(item, |position| {
            all.push(position);
            !self.is_set(position)
        });
        if unset.is_some() {
            return None;
        }
        Some(worth(all.into_iter(), self.positions.k, self.ones(), self.bits.len() as f64 * 8.0, self.alike()))
    }

    pub(super) fn fill(&self) -> (f64, u32) {
        (self.ones() / (self.bits.len() as f64 * 8.0), self.positions.k)
    }

    fn ones(&self) -> f64 {
        let count = || self.bits.chunks(8).map(|bytes| u64::from(word(bytes).count_ones())).sum();
        *self.ones.get_or_init(count) as f64
    }
}

/// The places of the bits set in a word, the lowest first.
fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (word != 0).then_some(word.trailing_zeros() as usize % GROUP);
        word &= word.wrapping_sub(1);
        lowest
    })
}

/// The position is below the number of bits.
fn is_set(bits: &[u8], position: u64) -> bool {
    bits[(position / 8) as usize] & (1 << (position % 8)) != 0
}

/// Where ids are in a filter of this size, under this seed.
#[derive(Clone, Debug)]
struct Positions {
    k: u32,
    sips: [Sip13; 2],
    bits: u64,
    /// 2^64 / bits, rounded up, so that what is left of a division takes a multiplication.
    inverse: u64,
}

impl Positions {
    /// `bytes` is not 0.
    fn new(k: u32, seed: [u8; 8], bytes: usize) -> Self {
        let bits = bytes as u64 * 8;
        Self { k, sips: sips(&expand(seed)), bits, inverse: u64::MAX / bits + 1 }
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
        try_hash(h1)
            .or_else(|| (2..u64::from(self.k)).find_map(|i| try_hash(reduce(h0.wrapping_add(i.wrapping_mul(h1))))))
    }

    /// `h % bits`.
    fn modulo(&self, h: u64) -> u64 {
        let quotient = (u128::from(h) * u128::from(self.inverse)) >> 64;
        // `h / bits` or one more: then this is negative, and what is added makes it the smaller of the two.
        let rest = h.wrapping_sub((quotient as u64).wrapping_mul(self.bits));
        rest.min(rest.wrapping_add(self.bits))
    }
}

/// `h % PRIME`: below it, the difference wraps and is the larger one.
fn reduce(h: u64) -> u64 {
    h.min(h.wrapping_sub(PRIME))
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

    fn all_positions(reader: &CompactReader, hash: IdHash) -> Vec<u64> {
        let mut all = Vec::new();
        reader.positions.find(hash.compact().unwrap(), |position| {
            all.push(position);
            false
        });
        all
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
            let reader = CompactReader::new(k, seed, Bytes::from(vec![0; len]), None);
            for position in all_positions(&reader, hash(n)) {
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
        fn many_ids_are_sifted_as_each_is_tested(
            k in 1..=9_u32,
            seed: [u8; 8],
            bits in prop::collection::vec(any::<u8>(), 1..50),
            full: bool,
            ids in 0..300_u64,
        ) {
            let bits: Vec<u8> = bits.into_iter().map(|byte| if full { byte | 0x7f } else { byte }).collect();
            let reader = CompactReader::new(k, seed, bits.into(), None);
            let foreign = IdHash::in_dialect(&MessageId::from("foreign"), crate::types::Dialect::JsWaku);
            let ids: Vec<(u64, IdHash)> = (0..ids).map(|n| (3 * n, if n % 50 == 9 { foreign } else { hash(n) })).collect();
            let mut missed = vec![(7, 7)];
            let hits = reader.sift(&ids, &mut missed);
            prop_assert_eq!(missed.remove(0), (7, 7), "what was there stays");
            missed.sort_by_key(|(_, number)| *number);
            let is_hit = |(_, hash): &&(u64, IdHash)| reader.chance(*hash).is_some();
            let (hit, not): (Vec<_>, Vec<_>) = ids.iter().partition(is_hit);
            prop_assert_eq!(hits, hit.iter().map(|(number, _)| *number).collect::<Vec<_>>());
            let first_unset = |hash: IdHash| if hash == foreign { Some(0) } else {
                all_positions(&reader, hash).into_iter().find(|position| !reader.is_set(*position))
            };
            let expected: Vec<_> = not.iter().map(|(number, hash)| (first_unset(*hash).unwrap(), *number)).collect();
            prop_assert_eq!(missed, expected);
        }

        #[test]
        fn what_is_left_of_a_division_by_the_prime_is_that(h: u64) {
            for h in [h, 0, PRIME - 1, PRIME, u64::MAX] {
                prop_assert_eq!(reduce(h), h % PRIME);
            }
        }

        #[test]
        fn hits_are_those_of_the_crate(k in 1..=4_u32, seed: [u8; 8], bits in prop::collection::vec(any::<u8>(), 1..50)) {
            let bloom = of_crate(k, seed, &bits);
            let reader = CompactReader::new(k, seed, bits.into(), None);
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
            let read = |bits: &[u8], seed| CompactReader::new(3, [seed; 8], Bytes::copy_from_slice(bits), None);
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
        let reader = CompactReader::new(64, [0; 8], Bytes::from_static(&[0xff]), None);
        assert_eq!(reader.chance(hash(1)), Some(1.0));
        for n in 0..10_000 {
            let reader = CompactReader::new(6, [0; 8], Bytes::from_static(&[0x0f]), None);
            if let Some(chance) = reader.chance(hash(n)) {
                let distinct: BTreeSet<u64> = all_positions(&reader, hash(n)).into_iter().collect();
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
