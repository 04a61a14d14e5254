//! The Lamport rule (docs/protocol.md section 3), in the unit of the dialect: nim-sds counts whole seconds.

use std::time::Duration;

use crate::types::{Dialect, Lamport, WallTime, millis};

/// The time of the next own message: `max(now, current + 1)`.
pub(super) fn next(current: Lamport, now: WallTime, dialect: Dialect) -> Lamport {
    let after = Lamport(current.0.saturating_add(dialect.tick_ms()));
    dialect.lamport_at(now).max(dialect.whole(after))
}

/// The highest time that is accepted or kept at this moment.
pub(super) fn limit(now: WallTime, drift: Duration) -> Lamport {
    Lamport(now.as_millis().saturating_add(millis(drift)))
}

/// Where a clock that stands beyond the limit is set back to: the highest time accepted from others if that is
/// itself within the limit, but not before now.
pub(super) fn reset(now: WallTime, highest_received: Lamport, limit: Lamport, dialect: Dialect) -> Lamport {
    let received = if highest_received <= limit { highest_received } else { Lamport(0) };
    dialect.lamport_at(now).max(received)
}
