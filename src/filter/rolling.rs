//! Our own summary: which ids this participant has received lately.
//!
//! What: [`RollingFilter`] holds ids by the time they were last heard, and the filter over them in the layout of its
//! dialect. A compact filter holds the acknowledgement window and is reseeded: differently seeded filters are
//! independent witnesses (docs/protocol.md section 7), and a new one is where expired and removed ids leave, since a Bloom
//! filter forgets nothing. The peers' layouts have no seed and no window: they hold the newest ids and *roll*, as
//! nim-sds does, to the newest 80% of their capacity when they are too full. (js-waku itself never rolls; past its
//! capacity its filter says yes to everything, which its peers take for receipt.) How it moves: insertions set bits at
//! once; after a 16th of its capacity of them [`needs_reseed`](RollingFilter::needs_reseed) and the caller brings
//! entropy, so that an insertion costs about 16 more, however large the window; rolling costs at most two. Nothing
//! is hashed with a random key: the same calls give the same bytes.

use std::time::Duration;

use super::IdHash;
use super::compact::CompactWriter;
use super::held::Held;
use super::interop::{self, InteropWriter, Peer};
use crate::types::{Dialect, FilterField, MessageId, RunningTime};

/// The part of a filter's capacity after which it is reseeded: in a conversation of two, an acknowledgement needs three
/// differently seeded filters, and with few of them took half a minute (`docs/reliability.md`).
const RESEED_PART: usize = 16;
/// Insertions after which a filter is reseeded at the earliest.
const RESEED_AFTER: usize = 4;
/// Room for insertions in the smallest filter, whose hits would be worth little if it had fewer bits.
const LEAST_ROOM: usize = 8;
/// Error rates a filter can be built for.
const ERROR_RATES: std::ops::RangeInclusive<f64> = 1e-9..=0.5;

/// What a [`RollingFilter`] holds (docs/protocol.md section 2).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RollingFilterConfig {
    /// Whose layout. Default `Lip109`: the compact one.
    pub dialect: Dialect,
    /// The acknowledgement window: how long an id is held after it was last heard. Default 240 s.
    pub window: Duration,
    /// Ids held at most, whatever their age; the oldest leave. Default 10,000. In the peers' layouts the capacity, which
    /// nim-sds's exceeds by a fifth before it rolls; in js-waku's, no more than 10,000.
    pub max_ids: usize,
    /// The newest ids held whatever their age. Default 64.
    pub min_ids: usize,
    /// Chance that an id not held looks held; brought into 1e-9 to 0.5. Default 0.01. js-waku's layout has 0.001.
    pub error_rate: f64,
}

impl RollingFilterConfig {
    /// The defaults of a dialect: the peers make their filters for 10,000 ids at 0.001.
    #[must_use]
    pub fn of(dialect: Dialect) -> Self {
        let compact = Self { dialect, ..Self::default() };
        match dialect {
            Dialect::Lip109 => compact,
            Dialect::JsWaku | Dialect::NimSds => {
                Self { max_ids: interop::CAPACITY, error_rate: interop::ERROR_RATE, ..compact }
            }
        }
    }
}

impl Default for RollingFilterConfig {
    fn default() -> Self {
        Self {
            dialect: Dialect::default(),
            window: Duration::from_secs(240),
            max_ids: 10_000,
            min_ids: 64,
            error_rate: 0.01,
        }
    }
}

/// A summary of the ids received lately.
#[derive(Clone, Debug)]
pub struct RollingFilter {
    config: RollingFilterConfig,
    held: Held,
    bits: Bits,
}

/// The filter over the ids, in its layout.
#[derive(Clone, Debug)]
enum Bits {
    /// `None` before the first seed.
    Compact(Option<Seeded>),
    Interop(Fixed),
}

/// The filter since the last reseed.
#[derive(Clone, Debug)]
struct Seeded {
    writer: CompactWriter,
    capacity: usize,
    inserted: usize,
    /// The bits of a removed id are still set, or it was made for one message.
    stale: bool,
}

/// A filter with a peer's fixed hashes.
#[derive(Clone, Debug)]
struct Fixed {
    peer: Peer,
    error_rate: f64,
    /// Ids above which it rolls, and how many it then keeps.
    max: usize,
    keep: usize,
    /// Ids for which the next filter is made: another number once it has rolled.
    capacity: usize,
    rolled_capacity: usize,
    /// `None` before the first id.
    writer: Option<InteropWriter>,
    /// The bits of a removed id are still set.
    stale: bool,
}

impl RollingFilter {
    /// An empty summary. It offers no filter before it is first seeded.
    #[must_use]
    pub fn new(config: RollingFilterConfig) -> Self {
        let error_rate = if config.error_rate.is_nan() {
            RollingFilterConfig::default().error_rate
        } else {
            config.error_rate.clamp(*ERROR_RATES.start(), *ERROR_RATES.end())
        };
        let config = RollingFilterConfig { error_rate, ..config };
        let bits = match config.dialect {
            Dialect::Lip109 => Bits::Compact(None),
            Dialect::JsWaku => Bits::Interop(Fixed::js(config.max_ids)),
            Dialect::NimSds => Bits::Interop(Fixed::nim(config.max_ids, error_rate)),
        };
        Self { config, held: Held::default(), bits }
    }

    /// Takes in an id that was delivered or parked; `hash` is [`IdHash::in_dialect`] of it. A known one is refreshed.
    pub fn insert(&mut self, id: &MessageId, hash: IdHash, now: RunningTime) {
        if !self.held.hear(id, hash, now) {
            return;
        }
        match &mut self.bits {
            Bits::Compact(filter) => {
                if let Some(filter) = filter {
                    filter.writer.insert(hash);
                    filter.inserted += 1;
                }
                // Their bits stay until the next seed; who only receives takes none, and must not hold more and more.
                self.drop_expired(now);
                if self.held.len() > self.config.max_ids {
                    self.held.drop_oldest();
                }
            }
            Bits::Interop(filter) if self.held.len() > filter.max => self.roll(),
            Bits::Interop(filter) => filter.insert(hash),
        }
    }

    /// A known duplicate was heard: its id stays for another window. False when the id is not held (any
    /// more): then [`insert`](Self::insert) it, so that its sender, who still resends, hears of it.
    pub fn refresh(&mut self, id: &MessageId, now: RunningTime) -> bool {
        let hash = self.hash(id);
        let held = self.held.last_heard(id, hash).is_some();
        if held {
            self.held.hear(id, hash, now);
        }
        held
    }

    /// Takes an id out, as when its message gave way; its bits leave with the next reseed.
    pub fn remove(&mut self, id: &MessageId) {
        if !self.held.remove(id, self.hash(id)) {
            return;
        }
        match &mut self.bits {
            Bits::Compact(None) => {}
            Bits::Compact(Some(filter)) => filter.stale = true,
            Bits::Interop(filter) => filter.stale = true,
        }
    }

    /// When this id was last heard; `None` when it is not held.
    #[must_use]
    pub fn last_heard(&self, id: &MessageId) -> Option<RunningTime> {
        self.held.last_heard(id, self.hash(id))
    }

    /// Whether the filter is due to be built anew: after a removal; a compact one also after a 16th of its
    /// capacity of insertions, or when it holds ids and was never seeded.
    #[must_use]
    pub fn needs_reseed(&self) -> bool {
        match &self.bits {
            Bits::Compact(None) => !self.is_empty(),
            Bits::Compact(Some(filter)) => {
                filter.stale || filter.inserted >= (filter.capacity / RESEED_PART).max(RESEED_AFTER)
            }
            Bits::Interop(filter) => filter.stale,
        }
    }

    /// Drops expired ids and builds the filter anew under a fresh, unpredictable seed. Also due before every
    /// sync message. A peer's layout has no seed: it is built anew only where an id was removed.
    pub fn reseed(&mut self, now: RunningTime, seed: [u8; 8]) {
        match &mut self.bits {
            Bits::Interop(filter) if filter.stale => filter.refill(self.held.hashes()),
            Bits::Interop(_) => {}
            Bits::Compact(_) => self.seed(now, seed, self.config.error_rate),
        }
    }

    /// As [`reseed`](Self::reseed), for one message only: at another error rate, so that it is due again.
    pub fn reseed_once(&mut self, now: RunningTime, seed: [u8; 8], error_rate: f64) {
        match &self.bits {
            Bits::Interop(_) => self.reseed(now, seed),
            Bits::Compact(_) => {
                let error_rate = error_rate.clamp(*ERROR_RATES.start(), *ERROR_RATES.end());
                self.seed(now, seed, error_rate);
            }
        }
    }

    /// The filter to send; absent when no id is held or no seed was given yet.
    #[must_use]
    pub fn field(&self) -> FilterField {
        match &self.bits {
            _ if self.is_empty() => FilterField::Absent,
            Bits::Compact(None) => FilterField::Absent,
            Bits::Compact(Some(filter)) => filter.writer.field(),
            Bits::Interop(filter) => filter.writer.as_ref().map_or(FilterField::Absent, InteropWriter::field),
        }
    }

    /// Ids held, expired ones included until the next insertion or reseed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether no id is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn hash(&self, id: &MessageId) -> IdHash {
        IdHash::in_dialect(id, self.config.dialect)
    }

    fn seed(&mut self, now: RunningTime, seed: [u8; 8], error_rate: f64) {
        self.drop_expired(now);
        let capacity = self.len() + (self.len() / RESEED_PART).max(LEAST_ROOM);
        let mut writer = CompactWriter::new(capacity, error_rate, seed);
        let stale = error_rate.to_bits() != self.config.error_rate.to_bits();
        self.held.hashes().for_each(|hash| writer.insert(hash));
        self.bits = Bits::Compact(Some(Seeded { writer, capacity, inserted: 0, stale }));
    }

    /// Forgets all but the newest ids of a peer's filter that is too full.
    fn roll(&mut self) {
        let Bits::Interop(filter) = &self.bits else { return };
        for _ in filter.keep..self.len() {
            self.held.drop_oldest();
        }
        let Bits::Interop(filter) = &mut self.bits else { return };
        filter.capacity = filter.rolled_capacity;
        filter.refill(self.held.hashes());
    }

    fn drop_expired(&mut self, now: RunningTime) {
        while self.len() > self.config.min_ids
            && let Some(oldest) = self.held.oldest()
            && now.since(oldest) > self.config.window
        {
            self.held.drop_oldest();
        }
    }
}

impl Fixed {
    /// One layout, for 10,000 ids. It can grow no larger, so it rolls as soon as it is over its capacity.
    fn js(max_ids: usize) -> Self {
        let max = max_ids.clamp(1, interop::CAPACITY);
        Self::new(Peer::JsWaku, interop::ERROR_RATE, max, max * 8 / 10, (interop::CAPACITY, interop::CAPACITY))
    }

    /// Rolls over 120% of its capacity, which it then has, to the newest 80%.
    fn nim(capacity: usize, error_rate: f64) -> Self {
        let capacity = capacity.clamp(1, u32::MAX as usize);
        let max = capacity * 12 / 10;
        Self::new(Peer::NimSds, error_rate, max, capacity * 8 / 10, (capacity, max))
    }

    fn new(peer: Peer, error_rate: f64, max: usize, keep: usize, (capacity, rolled_capacity): (usize, usize)) -> Self {
        Self { peer, error_rate, max, keep: keep.max(1), capacity, rolled_capacity, writer: None, stale: false }
    }

    fn insert(&mut self, hash: IdHash) {
        let new = || InteropWriter::new(self.peer, self.capacity, self.error_rate);
        self.writer.get_or_insert_with(new).insert(hash);
    }

    /// Begins again with these ids.
    fn refill(&mut self, hashes: impl Iterator<Item = IdHash>) {
        (self.writer, self.stale) = (None, false);
        hashes.for_each(|hash| self.insert(hash));
    }
}
