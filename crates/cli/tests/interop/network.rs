//! The network between the two: drops, doubles and reorders, under one seed.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Longest delay of a packet in milliseconds: wide enough that packets overtake each other.
const MAX_DELAY_MS: u64 = 2_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Ours,
    Js,
}

impl Side {
    pub fn other(self) -> Self {
        match self {
            Self::Ours => Self::Js,
            Self::Js => Self::Ours,
        }
    }
}

pub struct Network {
    chance: ChaCha8Rng,
    /// Of a hundred transmissions.
    pub loss: u64,
    /// By time of arrival, then in the order sent.
    packets: BTreeMap<(u64, u64), (Side, String)>,
    pub sent: u64,
    pub dropped: u64,
}

impl Network {
    /// Drops so many of a hundred transmissions.
    pub fn new(seed: u64, loss: u64) -> Self {
        Self { chance: ChaCha8Rng::seed_from_u64(seed), loss, packets: BTreeMap::new(), sent: 0, dropped: 0 }
    }

    /// Happens to `percent` of those who ask.
    pub fn happens(&mut self, percent: u64) -> bool {
        self.chance.next_u64() % 100 < percent
    }

    /// Some are dropped, one of thirty is doubled.
    pub fn transmit(&mut self, now: u64, from: Side, hex: &str) {
        self.sent += 1;
        if self.happens(self.loss) {
            self.dropped += 1;
            return;
        }
        for _ in 0..1 + u64::from(self.happens(3)) {
            let at = now + self.chance.next_u64() % MAX_DELAY_MS;
            let number = self.packets.len() as u64 + (self.sent << 16);
            self.packets.insert((at, number), (from.other(), hex.to_owned()));
        }
    }

    /// The next packet that has arrived by now.
    pub fn arrived(&mut self, now: u64) -> Option<(Side, String)> {
        let first = self.packets.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }
}
