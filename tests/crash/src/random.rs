//! Seeded choices: the generator SplitMix64, and what campaigns draw from it.
//!
//! What: [`Random`]. Why not a crate: a campaign's states are recomputed from a seed for years, so the sequence must be
//! ours. How it moves: each operation and each round has a generator of its own, made from the numbers that name it.

/// A generator; the same names give the same sequence.
pub struct Random(u64);

impl Random {
    /// The generator of what these numbers name.
    pub fn new(names: &[u64]) -> Self {
        let mut random = Self(0);
        for name in names {
            random.0 = random.next() ^ name;
        }
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap_or(0)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}
