//! js-waku's hash: MurmurHash3_x86_32 with seed 0, as @waku/sds computes it over a string.
//!
//! What: one unit per code point of the text, of which js takes the first UTF-16 unit alone; for ASCII this is plain
//! MurmurHash3 over the bytes. Why own code: no crate hashes 16-bit units that run over into the next byte. How it
//! moves: four units make a block, shifted by 8 bits each, so that the high byte of a unit falls together with the low
//! byte of its neighbour.

const C1: u32 = 0xcc9e_2d51;
const C2: u32 = 0x1b87_3593;

/// The hash of `text` followed by `suffix`, as the signed number that js works with.
pub(super) fn hash(text: &str, suffix: &str) -> i32 {
    let (mut hash, mut block, mut len) = (0_u32, [0_u32; 4], 0_usize);
    for unit in text.chars().chain(suffix.chars()).map(first_unit) {
        block[len % 4] = unit;
        len += 1;
        if len % 4 == 0 {
            hash = (hash ^ mix(&block)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
        }
    }
    hash ^= mix(&block[..len % 4]);
    // Lengths above 2^32 cannot occur: ids are short.
    hash ^= len as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    (hash ^ (hash >> 16)).cast_signed()
}

fn first_unit(c: char) -> u32 {
    u32::from(c.encode_utf16(&mut [0; 2])[0])
}

fn mix(units: &[u32]) -> u32 {
    let k = units.iter().rev().fold(0_u32, |k, unit| (k << 8) | unit);
    k.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_ascii_it_is_plain_murmur3() {
        // Published test values of MurmurHash3_x86_32 with seed 0.
        assert_eq!(hash("", ""), 0);
        assert_eq!(hash("hello", "").cast_unsigned(), 0x248b_fa47);
        assert_eq!(hash("hello, ", "world").cast_unsigned(), 0x149b_bb7f);
    }
}
