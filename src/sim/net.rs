//! The network: what becomes of a packet on its way to one receiver.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand_chacha::rand_core::Rng;

/// How a network misbehaves, for every receiver independently.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Chance that a packet is lost, 0 to 1.
    pub loss: f64,
    /// Chance that a packet arrives twice, 0 to 1.
    pub duplicate: f64,
    /// Bounds of the delay in milliseconds; a wide span reorders.
    pub delay_ms: (u64, u64),
}

impl Default for Network {
    fn default() -> Self {
        Self { loss: 0.0, duplicate: 0.0, delay_ms: (10, 50) }
    }
}

impl Network {
    /// The delays after which copies of a packet arrive: none when it is lost.
    pub(super) fn fates(&self, rng: &mut impl Rng) -> Vec<u64> {
        let copies = usize::from(!chance(rng, self.loss)) + usize::from(chance(rng, self.duplicate));
        let (min, max) = self.delay_ms;
        (0..copies).map(|_| min + rng.next_u64() % (max.saturating_sub(min) + 1)).collect()
    }
}

fn chance(rng: &mut impl Rng, probability: f64) -> bool {
    f64::from(rng.next_u32()) < probability * f64::from(u32::MAX)
}

/// Bytes on their way.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Index of the receiver.
    pub to: usize,
    /// One encoded message.
    pub bytes: Bytes,
}

/// Packets by arrival time; in one millisecond, in the order they were sent.
#[derive(Debug, Default)]
pub(super) struct Queue {
    packets: BTreeMap<(u64, u64), Packet>,
    sequence: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: u64, to: usize, bytes: Bytes) {
        self.sequence += 1;
        self.packets.insert((at, self.sequence), Packet { to, bytes });
    }

    pub(super) fn next_at(&self) -> Option<u64> {
        self.packets.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn pop(&mut self) -> Option<Packet> {
        self.packets.pop_first().map(|(_, packet)| packet)
    }
}
