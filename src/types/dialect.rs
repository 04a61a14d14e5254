//! [`Dialect`]: whose conventions a channel follows, and what follows from that for every module.
//!
//! What: the three dialects and their differences in ids and time. Why here: `wire`, `filter` and `channel` must agree
//! on them. How it moves: it does not; a channel has one dialect for its life.

use crate::types::{Lamport, WallTime};

/// Which peers' conventions a channel speaks (docs/protocol.md section 1). All members of a channel should share one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// LIP-109 field numbers, milliseconds, our compact filter in field 100.
    #[default]
    Lip109,
    /// What js-waku (@waku/sds) speaks: as `Lip109`, with its fixed filter of 18,752 bytes in field 12.
    JsWaku,
    /// What nim-sds speaks: its own field numbers, filter and hash, Lamport time in whole seconds, ids that need not
    /// be UTF-8, no sync and no ephemeral messages.
    NimSds,
}

impl Dialect {
    /// Whether both have the same field numbers, ids and unit of time, as `Lip109` and `JsWaku` have.
    #[must_use]
    pub fn same_family(self, other: Self) -> bool {
        (self == Self::NimSds) == (other == Self::NimSds)
    }

    /// Whether an id of 1 to `max` bytes may be used: text in the family of LIP-109, any bytes in nim-sds.
    #[must_use]
    pub fn allows_id(self, id: &[u8], max: usize) -> bool {
        // Most are ASCII, which is told faster.
        let any = self == Self::NimSds;
        !id.is_empty() && id.len() <= max && (any || id.is_ascii() || std::str::from_utf8(id).is_ok())
    }

    /// Whether the dialect has sync and ephemeral messages.
    #[must_use]
    pub fn has_sync(self) -> bool {
        self != Self::NimSds
    }

    /// Whether the newest message stands last in a causal history, as the peers write it; we name the newest first.
    pub(crate) fn names_newest_last(self) -> bool {
        self != Self::Lip109
    }

    /// Milliseconds in the unit in which clocks count: every Lamport time of the dialect is a multiple of it.
    #[must_use]
    pub fn tick_ms(self) -> u64 {
        if self == Self::NimSds { 1_000 } else { 1 }
    }

    /// The time as the dialect can say it: whole ticks, rounded down.
    #[must_use]
    pub fn whole(self, lamport: Lamport) -> Lamport {
        Lamport(lamport.0 - lamport.0 % self.tick_ms())
    }

    /// Now, as a Lamport time of the dialect.
    #[must_use]
    pub fn lamport_at(self, now: WallTime) -> Lamport {
        self.whole(Lamport(now.as_millis()))
    }
}
