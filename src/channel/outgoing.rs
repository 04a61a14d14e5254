//! Own messages nobody acknowledged yet: evidence, acknowledgement states, resend schedule (PROTOCOL sections 7, 8).
//!
//! How it moves: [`Outgoing::add`] on send; [`Outgoing::acknowledge`] and [`Outgoing::review`] on what others send;
//! [`Outgoing::due`] when time passes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::filter::{self, IdHash, ReceivedFilter};
use crate::state::{Evidence, LogKey, Outgoing as Entry};
use crate::types::{ParticipantId, RunningTime, WallTime, millis};

use super::{Config, FilterEvidence};

/// Senders whose filter evidence is kept for one message; the weakest gives way.
const MAX_WITNESSES: usize = 8;
/// Seeds remembered per witness, so that a repeated filter is not counted twice.
const MAX_SEEDS: usize = 8;

#[derive(Debug)]
pub(super) struct Open {
    pub(super) entry: Entry,
    pub(super) due: RunningTime,
    hash: IdHash,
    bytes: usize,
}

impl Open {
    /// The strongest evidence, as a chance of error over all filters tested.
    pub(super) fn chance(&self, filters_heard: u64) -> Option<f64> {
        let tested = filters_heard.saturating_sub(self.entry.filters_heard_at_send).max(1);
        let best = self.entry.evidence.iter().map(|evidence| evidence.chance).reduce(f64::min)?;
        #[allow(clippy::cast_precision_loss, reason = "a count of filters, far below 2^52")]
        Some((best * tested as f64).min(1.0))
    }
}

/// What a filter showed about one message.
#[derive(Debug)]
pub(super) enum Finding {
    /// Enough to call it acknowledged.
    Acknowledged(LogKey),
    /// First evidence of receipt, with the chance of error.
    Possibly(LogKey, f64),
    /// Evidence changed; nothing to tell.
    Changed(LogKey),
}

/// The outgoing buffer.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    open: BTreeMap<LogKey, Open>,
    schedule: BTreeSet<(RunningTime, LogKey)>,
    /// Bytes of messages not given up.
    bytes: usize,
    active: usize,
}

impl Outgoing {
    /// Entries, given-up ones among them.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Messages neither acknowledged nor given up.
    pub(super) fn active(&self) -> usize {
        self.active
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, key: &LogKey) -> Option<&Open> {
        self.open.get(key)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Open> {
        self.open.values()
    }

    pub(super) fn add(&mut self, entry: Entry, due: RunningTime, bytes: usize) {
        let key = entry.key.clone();
        if !entry.failed {
            self.schedule.insert((due, key.clone()));
            self.bytes += bytes;
            self.active += 1;
        }
        let hash = IdHash::of(&key.id);
        self.open.insert(key, Open { entry, due, hash, bytes });
    }

    /// Takes an entry out: acknowledged, or its message was evicted.
    pub(super) fn remove(&mut self, key: &LogKey) -> Option<Entry> {
        let open = self.open.remove(key)?;
        self.retire(&open);
        Some(open.entry)
    }

    /// Marks an entry as given up.
    pub(super) fn fail(&mut self, key: &LogKey) -> Option<&Entry> {
        let open = self.open.remove(key)?;
        self.retire(&open);
        let open = self.open.entry(key.clone()).or_insert(open);
        open.entry.failed = true;
        Some(&open.entry)
    }

    /// Tests a received filter against everything open.
    pub(super) fn review(
        &mut self,
        filter: &ReceivedFilter,
        sender: &ParticipantId,
        filters_heard: u64,
        rule: FilterEvidence,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (key, open) in &mut self.open {
            match filter.chance(&open.hash) {
                // A filter with every bit set says nothing, for or against.
                Some(chance) if chance >= 1.0 => {}
                Some(chance) => {
                    let first = open.entry.evidence.is_empty();
                    if !strengthen(&mut open.entry.evidence, sender, chance, filter.witness()) {
                        continue;
                    }
                    let chance = open.chance(filters_heard).unwrap_or(1.0);
                    let hits: u32 = open.entry.evidence.iter().map(|evidence| evidence.hits).sum();
                    let enough = match rule {
                        FilterEvidence::Chance(limit) => chance <= limit,
                        FilterEvidence::Hits(limit) => hits >= limit,
                    };
                    findings.push(match (enough, first) {
                        (true, _) => Finding::Acknowledged(key.clone()),
                        (false, true) => Finding::Possibly(key.clone(), chance),
                        (false, false) => Finding::Changed(key.clone()),
                    });
                }
                None => {
                    let before = open.entry.evidence.len();
                    open.entry.evidence.retain(|evidence| evidence.sender != *sender);
                    if open.entry.evidence.len() < before {
                        findings.push(Finding::Changed(key.clone()));
                    }
                }
            }
        }
        findings
    }

    /// The next entry whose time has come.
    pub(super) fn due(&self, now: RunningTime) -> Option<LogKey> {
        self.schedule.first().filter(|(due, _)| *due <= now).map(|(_, key)| key.clone())
    }

    pub(super) fn next_due(&self) -> Option<RunningTime> {
        self.schedule.first().map(|(due, _)| *due)
    }

    /// Counts a resend if `resent`, and sets when the message is due again: `wait` is how long from now.
    pub(super) fn reschedule(
        &mut self,
        key: &LogKey,
        resent: bool,
        now: RunningTime,
        wall_ms: u64,
        wait: Duration,
    ) -> Option<&Entry> {
        let open = self.open.get_mut(key)?;
        self.schedule.remove(&(open.due, key.clone()));
        if resent {
            open.entry.attempts += 1;
            open.entry.last_sent = WallTime::from_millis(wall_ms);
        }
        open.due = now.after(wait);
        open.entry.next_due = WallTime::from_millis(wall_ms.saturating_add(millis(wait)));
        self.schedule.insert((open.due, key.clone()));
        Some(&open.entry)
    }

    fn retire(&mut self, open: &Open) {
        if !open.entry.failed {
            self.schedule.remove(&(open.due, open.entry.key.clone()));
            self.bytes -= open.bytes;
            self.active -= 1;
        }
    }
}

/// Adds a hit to a sender's evidence; false when it says nothing new.
fn strengthen(evidence: &mut Vec<Evidence>, sender: &ParticipantId, chance: f64, seed: Option<[u8; 8]>) -> bool {
    if let Some(known) = evidence.iter_mut().find(|known| known.sender == *sender) {
        match seed {
            Some(seed) if !known.seeds.contains(&seed) => {
                known.chance *= chance;
                if known.seeds.len() == MAX_SEEDS {
                    known.seeds.remove(0);
                }
                known.seeds.push(seed);
            }
            // Fixed hashes repeat the same accident: only the best filter counts.
            None => known.chance = known.chance.min(chance),
            Some(_) => return false,
        }
        known.hits += 1;
        return true;
    }
    if evidence.len() == MAX_WITNESSES {
        let weakest = evidence.iter().enumerate().max_by(|a, b| a.1.chance.total_cmp(&b.1.chance));
        match weakest {
            Some((at, known)) if known.chance > chance => evidence.swap_remove(at),
            _ => return false,
        };
    }
    evidence.push(Evidence { sender: sender.clone(), chance, hits: 1, seeds: seed.into_iter().collect() });
    true
}

/// How long an entry waits after `attempts` resends (PROTOCOL section 8).
pub(super) fn wait(config: &Config, participant: &ParticipantId, open: &Open, now: WallTime) -> Duration {
    let entry = &open.entry;
    let elapsed = now.as_millis().saturating_sub(entry.first_sent.as_millis());
    let possibly = !entry.evidence.is_empty();
    spread(config, participant, &entry.key, entry.attempts, possibly, Duration::from_millis(elapsed))
}

/// How long a message with this key waits for its first resend.
pub(super) fn first_wait(config: &Config, participant: &ParticipantId, key: &LogKey) -> Duration {
    spread(config, participant, key, 0, false, Duration::ZERO)
}

/// The longest wait that the schedule knows, jitter included, for due times read from disk.
pub(super) fn longest_wait(config: &Config) -> Duration {
    let longest = config.max_resend_interval.max(base(config)).saturating_mul(2);
    longest.saturating_add(longest / 8)
}

fn base(config: &Config) -> Duration {
    config.resend_interval.saturating_mul(config.response_groups)
}

fn spread(
    config: &Config,
    participant: &ParticipantId,
    key: &LogKey,
    attempts: u32,
    possibly: bool,
    elapsed: Duration,
) -> Duration {
    let base = base(config);
    let wait = base.saturating_mul(1 << attempts.min(16)).min(config.max_resend_interval.max(base));
    let wait = match config.acknowledgement_window.checked_sub(elapsed) {
        // Twice as long, but so that what is left of the schedule, jitter included, ends while filters still speak of
        // the message.
        Some(left) if possibly => {
            let waits = config.max_resend_attempts.saturating_sub(attempts).saturating_add(1);
            wait.saturating_mul(2).min((left / waits / 9 * 8).max(base))
        }
        _ => wait,
    };
    let jitter = filter::h3(participant.as_bytes(), key.id.as_bytes(), &attempts.to_be_bytes());
    let wait = millis(wait);
    Duration::from_millis((wait - wait / 8).saturating_add(jitter % (wait / 4).max(1)))
}
