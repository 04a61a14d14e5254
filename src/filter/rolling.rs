//! Our own summary: which ids of the acknowledgement window this participant has received.
//!
//! What: [`RollingFilter`] holds the ids heard in the last minutes and the filter over them. Why reseeded:
//! differently seeded filters are independent witnesses (PROTOCOL section 7), and a new one is where expired
//! and removed ids leave, since a Bloom filter forgets nothing. How it moves: insertions set bits at once;
//! after 64 of them [`needs_reseed`](RollingFilter::needs_reseed) and the caller brings entropy, so a window of
//! n ids costs n / 64 bit settings per insertion. Ordered maps only: the same calls give the same bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::IdHash;
use super::compact::CompactWriter;
use crate::types::{FilterField, MessageId, RunningTime};

/// Insertions after which a filter is reseeded.
const RESEED_AFTER: usize = 64;
/// Error rates a filter can be built for.
const ERROR_RATES: std::ops::RangeInclusive<f64> = 1e-9..=0.5;

/// What a [`RollingFilter`] holds (PROTOCOL section 2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RollingFilterConfig {
    /// The acknowledgement window: how long an id is held after it was last heard. Default 240 s.
    pub window: Duration,
    /// Ids held at most, whatever their age; the oldest leave. Default 10,000.
    pub max_ids: usize,
    /// The newest ids held whatever their age. Default 64.
    pub min_ids: usize,
    /// Chance that an id not held looks held; brought into 1e-9 to 0.5. Default 0.01.
    pub error_rate: f64,
}

impl Default for RollingFilterConfig {
    fn default() -> Self {
        Self { window: Duration::from_secs(240), max_ids: 10_000, min_ids: 64, error_rate: 0.01 }
    }
}

/// A summary of the ids received lately.
#[derive(Clone, Debug)]
pub struct RollingFilter {
    config: RollingFilterConfig,
    by_id: BTreeMap<MessageId, Age>,
    by_age: BTreeMap<Age, (MessageId, IdHash)>,
    next_sequence: u64,
    filter: Option<Seeded>,
}

/// When an id was last heard; ties in the order of the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Age {
    heard: RunningTime,
    sequence: u64,
}

/// The filter since the last reseed.
#[derive(Clone, Debug)]
struct Seeded {
    writer: CompactWriter,
    capacity: usize,
    /// Ids whose bits are set.
    holds: usize,
    inserted: usize,
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
        Self { config, by_id: BTreeMap::new(), by_age: BTreeMap::new(), next_sequence: 0, filter: None }
    }

    /// Takes in an id that was delivered or parked; `hash` is [`IdHash::of`] it. A known one is refreshed.
    pub fn insert(&mut self, id: &MessageId, hash: IdHash, now: RunningTime) {
        if self.refresh(id, now) {
            return;
        }
        self.hold(id.clone(), hash, now);
        if self.by_id.len() > self.config.max_ids {
            self.drop_oldest();
        }
        if let Some(filter) = &mut self.filter {
            filter.writer.insert(hash);
            filter.holds += 1;
            filter.inserted += 1;
        }
    }

    /// A known duplicate was heard: its id stays for another window. False when the id is not held (any
    /// more): then [`insert`](Self::insert) it, so that its sender, who still resends, hears of it.
    pub fn refresh(&mut self, id: &MessageId, now: RunningTime) -> bool {
        let Some(age) = self.by_id.get(id).copied() else { return false };
        if age.heard >= now {
            return true;
        }
        if let Some((id, hash)) = self.by_age.remove(&age) {
            self.hold(id, hash, now);
        }
        true
    }

    /// Takes an id out, as when its message gave way; its bits leave with the next reseed.
    pub fn remove(&mut self, id: &MessageId) {
        let Some(age) = self.by_id.remove(id) else { return };
        self.by_age.remove(&age);
        if let Some(filter) = &mut self.filter {
            filter.stale = true;
        }
    }

    /// When this id was last heard; `None` when it is not held.
    #[must_use]
    pub fn last_heard(&self, id: &MessageId) -> Option<RunningTime> {
        self.by_id.get(id).map(|age| age.heard)
    }

    /// Whether the filter is due to be built anew: after 64 insertions, over capacity, after a removal, or
    /// when it holds ids and was never seeded.
    #[must_use]
    pub fn needs_reseed(&self) -> bool {
        self.filter.as_ref().map_or(!self.by_id.is_empty(), |filter| {
            filter.stale || filter.inserted >= RESEED_AFTER || filter.holds > filter.capacity
        })
    }

    /// Drops expired ids and builds the filter anew under a fresh, unpredictable seed. Also due before every
    /// sync message.
    pub fn reseed(&mut self, now: RunningTime, seed: [u8; 8]) {
        self.drop_expired(now);
        let capacity = self.len() + (self.len() / 4).clamp(8, 64);
        let mut writer = CompactWriter::new(capacity, self.config.error_rate, seed);
        self.by_age.values().for_each(|(_, hash)| writer.insert(*hash));
        self.filter = Some(Seeded { writer, capacity, holds: self.len(), inserted: 0, stale: false });
    }

    /// The filter to send; absent when no id is held or no seed was given yet.
    #[must_use]
    pub fn field(&self) -> FilterField {
        match &self.filter {
            Some(filter) if !self.is_empty() => filter.writer.field(),
            _ => FilterField::Absent,
        }
    }

    /// Ids held, expired ones included until the next reseed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether no id is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    fn hold(&mut self, id: MessageId, hash: IdHash, heard: RunningTime) {
        let age = Age { heard, sequence: self.next_sequence };
        self.next_sequence += 1;
        self.by_id.insert(id.clone(), age);
        self.by_age.insert(age, (id, hash));
    }

    fn drop_expired(&mut self, now: RunningTime) {
        while self.len() > self.config.min_ids
            && let Some((oldest, _)) = self.by_age.first_key_value()
            && now.since(oldest.heard) > self.config.window
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, (id, _))) = self.by_age.pop_first() {
            self.by_id.remove(&id);
        }
    }
}
