//! What a peer brings to every input: the time, and entropy.
//!
//! What: [`Time`], the machine's clock or one that stands still. Why: a test that moves the clock itself is fast and
//! ends the same every time, so a stopped clock also stops chance. How it moves: [`Time::context`] for every input.

use anyhow::{Context as _, bail};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use reliable_channel::Context;
use reliable_channel::manager::{Clock, SystemClock};
use reliable_channel::types::{RunningTime, WallTime};
use sha2::{Digest, Sha256};

pub(super) enum Time {
    Machine(SystemClock),
    Stopped { wall_ms: u64, running_ms: u64, chance: Box<ChaCha8Rng> },
}

impl Time {
    pub(super) fn machine() -> Self {
        Self::Machine(SystemClock::new())
    }

    /// A clock that stands; the same `seed` at the same time gives the same entropy.
    pub(super) fn stopped(now_ms: u64, seed: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in seed.iter().copied().chain([now_ms.to_be_bytes().as_slice()]) {
            hash.update(part);
            hash.update([0]);
        }
        let chance = Box::new(ChaCha8Rng::from_seed(hash.finalize().into()));
        Self::Stopped { wall_ms: now_ms, running_ms: now_ms, chance }
    }

    /// Sets a stopped clock. Running time never goes back.
    pub(super) fn set(&mut self, now_ms: u64) -> anyhow::Result<()> {
        match self {
            Self::Machine(_) => bail!("the clock is the machine's; to set it, start with --now"),
            Self::Stopped { wall_ms, running_ms, .. } => {
                *wall_ms = now_ms;
                *running_ms = now_ms.max(*running_ms);
                Ok(())
            }
        }
    }

    pub(super) fn context(&mut self) -> anyhow::Result<Context> {
        let (wall, running) = self.now();
        let entropy = match self {
            Self::Machine(_) => getrandom::u64().context("the machine gives no random numbers")?,
            Self::Stopped { chance, .. } => chance.next_u64(),
        };
        Ok(Context::new(wall, running, entropy))
    }

    /// A running time as Unix milliseconds.
    pub(super) fn wall_ms(&self, at: RunningTime) -> u64 {
        let (wall, running) = self.now();
        wall.as_millis().saturating_add(at.as_millis()).saturating_sub(running.as_millis())
    }

    fn now(&self) -> (WallTime, RunningTime) {
        match self {
            Self::Machine(clock) => (clock.wall(), clock.running()),
            Self::Stopped { wall_ms, running_ms, .. } => {
                (WallTime::from_millis(*wall_ms), RunningTime::from_millis(*running_ms))
            }
        }
    }
}
