//! The Lamport rule (docs/protocol.md section 3), in the unit of the dialect: nim-sds counts whole seconds.

use std::time::Duration;

use crate::types::{Dialect, Lamport, WallTime, millis};

/// 2020-01-01, which is before this library: no wall clock that was set shows an earlier time.
const FIRST_PLAUSIBLE_MS: u64 = 1_577_836_800_000;

/// The time of the next own message: `max(now, current + 1)`.
pub(super) fn next(current: Lamport, now: WallTime, dialect: Dialect) -> Lamport {
    let after = Lamport(current.0.saturating_add(dialect.tick_ms()));
    dialect.lamport_at(now).max(dialect.whole(after))
}

/// The highest time that is accepted or kept at this moment.
pub(super) fn limit(now: WallTime, drift: Duration) -> Lamport {
    Lamport(now.as_millis().saturating_add(millis(drift)))
}

/// Whether a wall clock was not set yet: a machine without a battery boots in 1970, and nothing is judged by that.
pub(super) fn is_unset(now: WallTime) -> bool {
    now.as_millis() < FIRST_PLAUSIBLE_MS
}
