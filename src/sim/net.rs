//! The network: what becomes of a packet on its way to each receiver, and the packets under way.
//!
//! How it moves: a broadcast is one [`Transmission`], decoded once; [`Network::fates`] draws when copies of it arrive at
//! one receiver; [`Queue`] hands the arrivals out in time order, with one place in the order per transmission.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::channel::TransmitKind;
use crate::types::Message;

/// How a network misbehaves, for every receiver independently.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Chance that a packet is lost, 0 to 1.
    pub loss: f64,
    /// Losses in bursts, on top (Gilbert-Elliott).
    pub burst: Option<Burst>,
    /// Chance that a packet arrives twice, 0 to 1.
    pub duplicate: f64,
    /// Bounds of the delay in milliseconds; a wide span reorders.
    pub delay_ms: (u64, u64),
}

impl Default for Network {
    fn default() -> Self {
        Self { loss: 0.0, burst: None, duplicate: 0.0, delay_ms: (10, 50) }
    }
}

/// A receiver is in a good or a bad state, and changes with these chances at every packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst {
    /// Chance to turn bad, 0 to 1.
    pub begins: f64,
    /// Chance to turn good again, 0 to 1.
    pub ends: f64,
    /// Chance that a packet is lost in the bad state, 0 to 1.
    pub loss: f64,
}

impl Network {
    /// The delays after which copies of a packet arrive at a receiver, at most two; `bad` is the receiver's state.
    pub(super) fn fates(&self, rng: &mut ChaCha8Rng, bad: &mut bool) -> [Option<u64>; 2] {
        let mut lost = chance(rng, self.loss);
        if let Some(burst) = &self.burst {
            *bad = if *bad { !chance(rng, burst.ends) } else { chance(rng, burst.begins) };
            lost |= *bad && chance(rng, burst.loss);
        }
        let twice = self.duplicate > 0.0 && chance(rng, self.duplicate);
        [!lost, twice].map(|arrives| arrives.then(|| between(rng, self.delay_ms)))
    }
}

/// Whether something of this probability happens.
pub(super) fn chance(rng: &mut ChaCha8Rng, probability: f64) -> bool {
    probability > 0.0 && f64::from(rng.next_u32()) < probability * f64::from(u32::MAX)
}

/// A number between two bounds, both included.
pub(super) fn between(rng: &mut ChaCha8Rng, (min, max): (u64, u64)) -> u64 {
    min + rng.next_u64() % (max.saturating_sub(min) + 1)
}

/// One message on its way to everybody.
#[derive(Debug)]
pub struct Transmission {
    /// Index of the participant that sent it; `None` for a hostile member.
    pub from: Option<usize>,
    /// Why it was sent; `None` for a hostile member.
    pub kind: Option<TransmitKind>,
    /// As encoded.
    pub bytes: Bytes,
    /// As decoded; `None` when the bytes are no message.
    pub message: Option<Message>,
}

#[derive(Debug)]
struct Flight {
    transmission: Arc<Transmission>,
    /// Times and receivers, latest first.
    arrivals: Vec<(u64, usize)>,
}

/// Transmissions by next arrival; in one millisecond, in the order they were sent.
#[derive(Debug, Default)]
pub(super) struct Queue {
    flights: BTreeMap<(u64, u64), Flight>,
    sequence: u64,
}

impl Queue {
    pub(super) fn push(&mut self, transmission: Arc<Transmission>, mut arrivals: Vec<(u64, usize)>) {
        arrivals.sort_unstable_by(|a, b| b.cmp(a));
        if let Some((at, _)) = arrivals.last() {
            self.sequence += 1;
            self.flights.insert((*at, self.sequence), Flight { transmission, arrivals });
        }
    }

    pub(super) fn next_at(&self) -> Option<u64> {
        self.flights.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next arrival: its receiver and what arrives.
    pub(super) fn pop(&mut self) -> Option<(usize, Arc<Transmission>)> {
        let ((_, sequence), mut flight) = self.flights.pop_first()?;
        let (_, to) = flight.arrivals.pop()?;
        let transmission = flight.transmission.clone();
        if let Some((at, _)) = flight.arrivals.last() {
            self.flights.insert((*at, sequence), flight);
        }
        Some((to, transmission))
    }
}
