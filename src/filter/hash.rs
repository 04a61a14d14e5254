//! H, the hash that filters and SDS-R share.
//!
//! What: [`h`], [`h2`] and [`h3`] are H of PROTOCOL section 10; [`IdHash`] is H of a message id, kept so that it is
//! computed once per message. Why SHA-256: nobody can craft ids that collide, as they can with the peers'
//! FarmHash. How it moves: it does not; these are values.

use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};

use crate::types::MessageId;

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

/// H of a message id. This, and not the id, is what a compact filter holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdHash(u64);

impl IdHash {
    /// The hash of this id.
    #[must_use]
    pub fn of(id: &MessageId) -> Self {
        Self(h(id.as_bytes()))
    }

    /// H as a number, as SDS-R uses it.
    #[must_use]
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// What filters feed to their keyed hash functions: H, little-endian.
    pub(super) fn to_le_bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }
}

impl Hash for IdHash {
    /// Writes the same 8 bytes on every platform, so that filter bits are the same too.
    fn hash<S: Hasher>(&self, state: &mut S) {
        state.write(&self.to_le_bytes());
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
        assert_eq!(IdHash::of(&MessageId::from("abc")).as_u64(), h(b"abc"));
    }
}
