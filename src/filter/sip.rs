//! SipHash-1-3 of exactly eight bytes.
//!
//! What: [`Sip13`], a key and what it makes of a number. Why here: two of them are computed for every id under every new
//! seed, and the `siphasher` crate, which is for input of any length, takes half as many instructions more; tests hold
//! both equal. How it moves: it does not; these are values.

/// A key, mixed with SipHash's constants, and of the first round the half that the input does not enter.
#[derive(Clone, Debug)]
pub(super) struct Sip13([u64; 4]);

impl Sip13 {
    /// The key's halves are little-endian.
    pub(super) fn new(key: [u8; 16]) -> Self {
        let key = u128::from_le_bytes(key);
        #[allow(clippy::cast_possible_truncation, reason = "the halves of the key")]
        let (k0, k1) = (key as u64, (key >> 64) as u64);
        let mut v = [
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ];
        left(&mut v);
        Self(v)
    }

    /// The hash of eight bytes.
    #[inline]
    pub(super) fn hash(&self, bytes: [u8; 8]) -> u64 {
        let mut v = self.0;
        // The input, then its length in the highest byte: one round each.
        let (input, length) = (u64::from_le_bytes(bytes), 8 << 56);
        v[3] ^= input;
        rest(&mut v);
        v[0] ^= input;
        v[3] ^= length;
        round(&mut v);
        v[0] ^= length;
        v[2] ^= 0xff;
        (0..3).for_each(|_| round(&mut v));
        v[0] ^ v[1] ^ v[2] ^ v[3]
    }
}

#[inline]
fn round(v: &mut [u64; 4]) {
    left(v);
    rest(v);
}

/// What a round begins with on the first two words alone.
#[inline]
fn left(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
}

#[inline]
fn rest(v: &mut [u64; 4]) {
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[2] = v[2].wrapping_add(v[1]);
    v[0] = v[0].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use siphasher::sip::SipHasher13;

    use super::*;

    proptest! {
        #[test]
        fn hashes_are_those_of_the_crate(key: [u8; 16], bytes: [u8; 8]) {
            prop_assert_eq!(Sip13::new(key).hash(bytes), SipHasher13::new_with_key(&key).hash(&bytes));
        }
    }
}
