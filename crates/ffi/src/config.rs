//! The options of a manager: those of nim-sds, as far as they mean something here.

use std::time::Duration;

use reliable_channel::channel::{Config, Join};
use reliable_channel::types::Dialect;

/// nim-sds's `DefaultMaxCausalHistory`.
const CAUSAL_HISTORY: usize = 10;
/// nim-sds's `DefaultResendInterval`.
const RESEND_INTERVAL: Duration = Duration::from_secs(60);
/// nim-sds's `DefaultSyncMessageInterval`: between two `periodic_sync`.
pub(crate) const SYNC_INTERVAL: Duration = Duration::from_secs(30);

/// Options of every channel. docs/libsds.md has the table.
pub(crate) fn config() -> Config {
    let mut config = Config::of(Dialect::NimSds);
    // nim-sds waits for everything that a message names, whoever has just begun.
    config.join = Join::Backfill(u64::MAX);
    config.causal_history_size = CAUSAL_HISTORY;
    config.resend_interval = RESEND_INTERVAL;
    config.max_resend_interval = RESEND_INTERVAL;
    config
}
