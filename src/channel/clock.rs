//! The Lamport rule (PROTOCOL section 3).

use std::time::Duration;

use crate::types::{Lamport, WallTime, millis};

/// The time of the next own message: `max(now, current + 1)`.
pub(super) fn next(current: Lamport, now: WallTime) -> Lamport {
    Lamport(now.as_millis().max(current.0.saturating_add(1)))
}

/// The highest time that is accepted or kept at this moment.
pub(super) fn limit(now: WallTime, drift: Duration) -> Lamport {
    Lamport(now.as_millis().saturating_add(millis(drift)))
}

/// Where a clock that stands beyond the limit is set back to: the highest time accepted from others if that is
/// itself within the limit, but not before now.
pub(super) fn reset(now: WallTime, highest_received: Lamport, limit: Lamport) -> Lamport {
    let received = if highest_received <= limit { highest_received } else { Lamport(0) };
    Lamport(now.as_millis()).max(received)
}
