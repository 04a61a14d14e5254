//! nim-sds's hash: Nim 2.2's `hash(string)`, which is FarmHash's 64-bit `farmhashna` (its Fingerprint64) as a signed
//! number, over bytes.
//!
//! What: [`hash`], faithful at every length and [`hash2`] of a concatenation. Why own code: the published crate differs
//! at lengths that are multiples of 64. How it moves: four sizes of input, each with its own mixing; above 64 bytes in
//! blocks of 64, the last of which overlaps its predecessor. Invertible, so nothing that must resist a peer uses it.

const K0: u64 = 0xc3a5_c85c_97cb_3127;
const K1: u64 = 0xb492_b66f_be98_f273;
const K2: u64 = 0x9ae1_6a3b_2f90_404f;

/// The hash of these bytes.
pub(super) fn hash(bytes: &[u8]) -> i64 {
    let hash = match bytes.len() {
        0..=16 => up_to_16(bytes),
        17..=32 => up_to_32(bytes),
        33..=64 => up_to_64(bytes),
        _ => over_64(bytes),
    };
    hash.cast_signed()
}

/// The hash of `a` followed by `b`.
pub(super) fn hash2(a: &[u8], b: &[u8]) -> i64 {
    const STACK: usize = 320;
    let len = a.len() + b.len();
    if len > STACK {
        return hash(&[a, b].concat());
    }
    let mut joined = [0; STACK];
    joined[..a.len()].copy_from_slice(a);
    joined[a.len()..len].copy_from_slice(b);
    hash(&joined[..len])
}

fn up_to_16(s: &[u8]) -> u64 {
    let len = s.len() as u64;
    let multiplier = K2.wrapping_add(len * 2);
    match s.len() {
        8.. => {
            let a = word(s, 0).wrapping_add(K2);
            let b = word(s, s.len() - 8);
            let c = b.rotate_right(37).wrapping_mul(multiplier).wrapping_add(a);
            let d = a.rotate_right(25).wrapping_add(b).wrapping_mul(multiplier);
            mix(c, d, multiplier)
        }
        4.. => mix(len + (half(s, 0) << 3), half(s, s.len() - 4), multiplier),
        1.. => {
            let (a, b, c) = (u64::from(s[0]), u64::from(s[s.len() >> 1]), u64::from(s[s.len() - 1]));
            let (y, z) = (a + (b << 8), len + (c << 2));
            shift_mix(y.wrapping_mul(K2) ^ z.wrapping_mul(K0)).wrapping_mul(K2)
        }
        0 => K2,
    }
}

fn up_to_32(s: &[u8]) -> u64 {
    let multiplier = K2.wrapping_add(s.len() as u64 * 2);
    let a = word(s, 0).wrapping_mul(K1);
    let b = word(s, 8);
    let c = word(s, s.len() - 8).wrapping_mul(multiplier);
    let d = word(s, s.len() - 16).wrapping_mul(K2);
    mix(first_of_four(a, b, c, d), second_of_three(a, b, c), multiplier)
}

fn up_to_64(s: &[u8]) -> u64 {
    let multiplier = K2.wrapping_add(s.len() as u64 * 2);
    let a = word(s, 0).wrapping_mul(K2);
    let b = word(s, 8);
    let c = word(s, s.len() - 8).wrapping_mul(multiplier);
    let d = word(s, s.len() - 16).wrapping_mul(K2);
    let y = first_of_four(a, b, c, d);
    let z = mix(y, second_of_three(a, b, c), multiplier);
    let e = word(s, 16).wrapping_mul(multiplier);
    let f = word(s, 24);
    let g = y.wrapping_add(word(s, s.len() - 32)).wrapping_mul(multiplier);
    let h = z.wrapping_add(word(s, s.len() - 24)).wrapping_mul(multiplier);
    let first = e.wrapping_add(f).rotate_right(43).wrapping_add(g.rotate_right(30)).wrapping_add(h);
    let second = e.wrapping_add(f.wrapping_add(a).rotate_right(18)).wrapping_add(g);
    mix(first, second, multiplier)
}

fn over_64(s: &[u8]) -> u64 {
    let seed = 81_u64;
    let mut state = State { x: seed, y: seed.wrapping_mul(K1).wrapping_add(113), z: 0, v: (0, 0), w: (0, 0) };
    state.z = shift_mix(state.y.wrapping_mul(K2).wrapping_add(113)).wrapping_mul(K2);
    state.x = state.x.wrapping_mul(K2).wrapping_add(word(s, 0));
    // A length that is a multiple of 64 leaves its last block to the end, like any other remainder.
    let blocks = (s.len() - 1) / 64;
    (0..blocks).for_each(|block| state.take(&s[block * 64..], K1, 1));

    let multiplier = K1.wrapping_add((state.z & 0xff) << 1);
    state.w.0 = state.w.0.wrapping_add((s.len() as u64 - 1) & 63);
    state.v.0 = state.v.0.wrapping_add(state.w.0);
    state.w.0 = state.w.0.wrapping_add(state.v.0);
    state.take(&s[s.len() - 64..], multiplier, 9);
    let State { x, y, z, v, w } = state;
    let first = mix(v.0, w.0, multiplier).wrapping_add(shift_mix(y).wrapping_mul(K0)).wrapping_add(z);
    mix(first, mix(v.1, w.1, multiplier).wrapping_add(x), multiplier)
}

/// What is carried from block to block.
struct State {
    x: u64,
    y: u64,
    z: u64,
    v: (u64, u64),
    w: (u64, u64),
}

impl State {
    fn take(&mut self, s: &[u8], multiplier: u64, weight: u64) {
        let Self { mut x, mut y, mut z, v, w } = *self;
        x = x.wrapping_add(y).wrapping_add(v.0).wrapping_add(word(s, 8)).rotate_right(37).wrapping_mul(multiplier);
        y = y.wrapping_add(v.1).wrapping_add(word(s, 48)).rotate_right(42).wrapping_mul(multiplier);
        x ^= w.1.wrapping_mul(weight);
        y = y.wrapping_add(v.0.wrapping_mul(weight)).wrapping_add(word(s, 40));
        z = z.wrapping_add(w.0).rotate_right(33).wrapping_mul(multiplier);
        let v = weak_pair(s, v.1.wrapping_mul(multiplier), x.wrapping_add(w.0));
        let w = weak_pair(&s[32..], z.wrapping_add(w.1), y.wrapping_add(word(s, 16)));
        *self = Self { x: z, y, z: x, v, w };
    }
}

fn weak_pair(s: &[u8], a: u64, b: u64) -> (u64, u64) {
    let (w, x, y, z) = (word(s, 0), word(s, 8), word(s, 16), word(s, 24));
    let a = a.wrapping_add(w);
    let b = b.wrapping_add(a).wrapping_add(z).rotate_right(21);
    let sum = a.wrapping_add(x).wrapping_add(y);
    (sum.wrapping_add(z), b.wrapping_add(sum.rotate_right(44)).wrapping_add(a))
}

fn first_of_four(a: u64, b: u64, c: u64, d: u64) -> u64 {
    a.wrapping_add(b).rotate_right(43).wrapping_add(c.rotate_right(30)).wrapping_add(d)
}

fn second_of_three(a: u64, b: u64, c: u64) -> u64 {
    a.wrapping_add(b.wrapping_add(K2).rotate_right(18)).wrapping_add(c)
}

fn mix(u: u64, v: u64, multiplier: u64) -> u64 {
    let a = (u ^ v).wrapping_mul(multiplier);
    let a = a ^ (a >> 47);
    let b = (v ^ a).wrapping_mul(multiplier);
    (b ^ (b >> 47)).wrapping_mul(multiplier)
}

fn shift_mix(value: u64) -> u64 {
    value ^ (value >> 47)
}

/// Eight bytes at `at`, little-endian; callers know that they are there.
fn word(s: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&s[at..at + 8]);
    u64::from_le_bytes(word)
}

/// Four bytes, likewise.
fn half(s: &[u8], at: usize) -> u64 {
    let mut half = [0; 4];
    half.copy_from_slice(&s[at..at + 4]);
    u64::from(u32::from_le_bytes(half))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_branch_has_a_known_value() {
        // From tests/vectors/nim/hashes.json; tests/vectors.rs holds all of them.
        assert_eq!(hash(b""), -7_286_425_919_675_154_353);
        assert_eq!(hash(b"a"), -5_528_939_962_900_187_677);
        assert_eq!(hash(b"abc"), 2_640_714_258_260_161_385);
    }

    #[test]
    fn a_concatenation_is_hashed_like_the_whole() {
        let long = [b'x'; 1_000];
        for split in [0, 1, 63, 64, 319, 320, 321, 999, 1_000] {
            assert_eq!(hash2(&long[..split], &long[split..]), hash(&long));
            assert_eq!(hash2(&long[..split.min(320)], b""), hash(&long[..split.min(320)]));
        }
    }
}
