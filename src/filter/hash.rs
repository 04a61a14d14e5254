//! H, the hash that filters and SDS-R share.
//!
//! What: [`h`], [`h2`] and [`h3`] are H of docs/protocol.md section 10, [`h2_in`] and [`distance`] what each dialect computes
//! with its own; [`IdHash`] is what a filter of a dialect holds of an id, kept so that it is computed once per message.
//! Why SHA-256: nobody can craft ids that collide, as they can with nim-sds's FarmHash. How it moves: it does not;
//! these are values.

use sha2::{Digest, Sha256};

use super::{farm, murmur};
use crate::types::{Dialect, MessageId};

/// H(x): the first 8 bytes of SHA-256(x), big-endian.
#[must_use]
pub fn h(bytes: &[u8]) -> u64 {
    first_8(Sha256::new().chain_update(bytes))
}

/// H(a ++ b).
#[must_use]
pub fn h2(a: &[u8], b: &[u8]) -> u64 {
    first_8(Sha256::new().chain_update(a).chain_update(b))
}

/// H(a ++ b ++ c).
#[must_use]
pub fn h3(a: &[u8], b: &[u8], c: &[u8]) -> u64 {
    first_8(Sha256::new().chain_update(a).chain_update(b).chain_update(c))
}

/// H(a ++ b) as a dialect computes it: SHA-256, or the absolute value of Nim's string hash.
#[must_use]
pub fn h2_in(dialect: Dialect, a: &[u8], b: &[u8]) -> u64 {
    if dialect == Dialect::NimSds { farm::hash2(a, b).unsigned_abs() } else { h2(a, b) }
}

/// The distance of two participants times H(id), of which T_resp is the remainder (docs/protocol.md section 10).
#[must_use]
pub fn distance(dialect: Dialect, participant: &[u8], sender: &[u8], id: &[u8]) -> u128 {
    let (distance, id) = if dialect == Dialect::NimSds {
        let distance = farm::hash(participant) ^ farm::hash(sender);
        (distance.unsigned_abs(), farm::hash(id).unsigned_abs())
    } else {
        (h(participant) ^ h(sender), h(id))
    };
    u128::from(distance) * u128::from(id)
}

/// What a filter holds of a message id, as its dialect hashes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdHash(Hashed);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hashed {
    /// H of the id, which a keyed compact filter hashes once more.
    Compact(u64),
    /// The hash of the id and that of the id with [`SECOND`] behind it.
    JsWaku(i32, i32),
    NimSds(i64, i64),
}

/// What both peers append to an id for their second hash.
const SECOND: &str = " b";

impl IdHash {
    /// The hash of this id in the `Lip109` dialect.
    #[must_use]
    pub fn of(id: &MessageId) -> Self {
        Self(Hashed::Compact(h(id.as_bytes())))
    }

    /// The hash of this id in a dialect. In another dialect's filter it is a miss.
    #[must_use]
    pub fn in_dialect(id: &MessageId, dialect: Dialect) -> Self {
        match dialect {
            Dialect::Lip109 => Self::of(id),
            Dialect::JsWaku => {
                // A channel of this dialect refuses ids that are no text.
                let text = id.as_str().unwrap_or_default();
                Self(Hashed::JsWaku(murmur::hash(text, ""), murmur::hash(text, SECOND)))
            }
            Dialect::NimSds => {
                let id = id.as_bytes();
                Self(Hashed::NimSds(farm::hash(id), farm::hash2(id, SECOND.as_bytes())))
            }
        }
    }

    /// A number that tells nearly all ids apart, to be compared before they are.
    pub(super) fn part(self) -> u64 {
        match self.0 {
            Hashed::Compact(h) => h,
            Hashed::JsWaku(a, b) => u64::from(a.cast_unsigned()) << 32 | u64::from(b.cast_unsigned()),
            Hashed::NimSds(a, _) => a.cast_unsigned(),
        }
    }

    /// What compact filters feed to their keyed hash functions: H, little-endian.
    pub(super) fn compact(self) -> Option<[u8; 8]> {
        match self.0 {
            Hashed::Compact(h) => Some(h.to_le_bytes()),
            _ => None,
        }
    }

    /// The two numbers that give the positions in js-waku's filter, before the first remainder.
    pub(super) fn js(self) -> Option<(u32, u32)> {
        match self.0 {
            Hashed::JsWaku(a, b) => Some((a.unsigned_abs(), b.unsigned_abs())),
            _ => None,
        }
    }

    /// Likewise in nim-sds's: absolute values wrap there, so that the lowest number stays negative.
    pub(super) fn nim(self) -> Option<(i64, i64)> {
        match self.0 {
            Hashed::NimSds(a, b) => Some((a.wrapping_abs(), b.wrapping_abs())),
            _ => None,
        }
    }
}

fn first_8(hash: Sha256) -> u64 {
    let digest = hash.finalize();
    let mut first = [0; 8];
    // A SHA-256 digest has 32 bytes.
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h_is_the_head_of_sha_256() {
        assert_eq!(h(b"abc"), 0xba78_16bf_8f01_cfea);
        assert_eq!(h2(b"a", b"bc"), h(b"abc"));
        assert_eq!(h3(b"a", b"b", b"c"), h(b"abc"));
        assert_eq!(IdHash::of(&MessageId::from("abc")).compact(), Some(h(b"abc").to_le_bytes()));
    }
}
