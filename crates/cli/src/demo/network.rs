//! The network between the participants: it drops, duplicates and reorders.
//!
//! What: [`Network`], packets on their way and what became of the others. Why seeded: the same seed and the same
//! packets have the same fate. How it moves: a broadcast becomes a copy for each other participant, each with its own
//! fate; a copy arrives when its time has come, unless its receiver cannot be reached then.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Chance that a copy arrives twice.
const DUPLICATE: f64 = 0.05;
/// Bounds of a copy's delay, in milliseconds: wide enough that messages overtake each other.
const DELAY_MS: (u64, u64) = (20, 900);

/// Packets on their way, and counters.
pub(super) struct Network {
    rng: ChaCha8Rng,
    loss: f64,
    /// By time of arrival; in one millisecond, in the order they were sent.
    packets: BTreeMap<(u64, u64), (usize, Bytes)>,
    sequence: u64,
    reachable: Vec<bool>,
    pub(super) counts: Counts,
}

/// What the network did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Broadcasts handed in.
    pub(super) transmissions: u64,
    /// Bytes of them.
    pub(super) bytes: u64,
    /// Copies that did not arrive.
    pub(super) dropped: u64,
    /// Copies that were added.
    pub(super) duplicated: u64,
}

impl Network {
    pub(super) fn new(participants: usize, loss: f64, seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            loss,
            packets: BTreeMap::new(),
            sequence: 0,
            reachable: vec![true; participants],
            counts: Counts::default(),
        }
    }

    /// Connects a participant, or cuts it off.
    pub(super) fn set_reachable(&mut self, who: usize, reachable: bool) {
        self.reachable[who] = reachable;
    }

    pub(super) fn broadcast(&mut self, now_ms: u64, from: usize, bytes: &Bytes) {
        self.counts.transmissions += 1;
        self.counts.bytes += bytes.len() as u64;
        for to in (0..self.reachable.len()).filter(|to| *to != from) {
            if !self.reachable[from] || self.chance(self.loss) {
                self.counts.dropped += 1;
                continue;
            }
            self.put(now_ms, to, bytes);
            if self.chance(DUPLICATE) {
                self.counts.duplicated += 1;
                self.put(now_ms, to, bytes);
            }
        }
    }

    /// What has arrived by now, by receiver.
    pub(super) fn arrived(&mut self, now_ms: u64) -> Vec<Vec<Bytes>> {
        let mut arrived = vec![Vec::new(); self.reachable.len()];
        let later = self.packets.split_off(&(now_ms + 1, 0));
        for (to, bytes) in std::mem::replace(&mut self.packets, later).into_values() {
            if self.reachable[to] {
                arrived[to].push(bytes);
            } else {
                self.counts.dropped += 1;
            }
        }
        arrived
    }

    fn put(&mut self, now_ms: u64, to: usize, bytes: &Bytes) {
        let (min, max) = DELAY_MS;
        let at = now_ms + min + self.rng.next_u64() % (max - min + 1);
        self.sequence += 1;
        self.packets.insert((at, self.sequence), (to, bytes.clone()));
    }

    fn chance(&mut self, probability: f64) -> bool {
        f64::from(self.rng.next_u32()) < probability * f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_lost_doubled_and_reordered_as_often_as_asked_for() {
        let mut network = Network::new(3, 0.4, 1);
        for number in 0..5_000_u16 {
            network.broadcast(u64::from(number), 0, &Bytes::copy_from_slice(&number.to_be_bytes()));
        }
        let arrived = network.arrived(100_000);
        let lost = network.counts.dropped as f64 / 10_000.0;
        let doubled = network.counts.duplicated as f64 / (10_000.0 - network.counts.dropped as f64);
        assert!((0.37..0.43).contains(&lost), "{lost}");
        assert!((0.04..0.06).contains(&doubled), "{doubled}");
        assert!(arrived[0].is_empty());
        assert!(!arrived[1].is_sorted());
    }

    #[test]
    fn who_is_cut_off_neither_hears_nor_is_heard() {
        let mut network = Network::new(2, 0.0, 1);
        network.broadcast(0, 0, &Bytes::from_static(b"on its way"));
        network.set_reachable(1, false);
        network.broadcast(0, 1, &Bytes::from_static(b"unheard"));
        let copies = 2 + network.counts.duplicated;
        assert_eq!(network.arrived(100_000), vec![Vec::<Bytes>::new(); 2]);
        assert_eq!(network.counts.dropped, copies);
    }
}
