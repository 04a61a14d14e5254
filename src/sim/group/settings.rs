//! Members with settings of their own, as in a channel whose applications are not all the same.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::channel::Config;

/// The options of one member, drawn from the seed: half to twice what the group has.
pub(super) fn of_member(config: &Config, seed: u64, member: usize) -> Config {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ (member as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut quarters = || u32::try_from(2 + rng.next_u64() % 7).unwrap_or(4);
    let mut scaled = |time: Duration| time * quarters() / 4;
    let sync_interval = scaled(config.sync_interval);
    let resend_interval = scaled(config.resend_interval);
    let acknowledge_within = scaled(config.acknowledgement_delay.1);
    let log = config.max_message_history.saturating_mul(quarters() as usize) / 4;
    Config {
        sync_interval,
        max_sync_interval: config.max_sync_interval.max(sync_interval),
        resend_interval,
        max_resend_interval: config.max_resend_interval.max(resend_interval),
        acknowledgement_delay: (config.acknowledgement_delay.0.min(acknowledge_within), acknowledge_within),
        max_message_history: log.max(1),
        causal_history_size: 1 + quarters() as usize / 2,
        ..config.clone()
    }
}
