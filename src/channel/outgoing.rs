//! Own messages nobody acknowledged yet: evidence, acknowledgement states, resend schedule (docs/protocol.md sections 7, 8).
//!
//! How it moves: [`Outgoing::add`] on send; [`Outgoing::acknowledge`] and [`Outgoing::review`] on what others send;
//! [`Outgoing::due`] when time passes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::filter::{self, IdHash, ReceivedFilter};
use crate::state::{Evidence, LogKey, Outgoing as Entry};
use crate::types::{ParticipantId, RunningTime, WallTime, millis};

use super::budget::Allowance;
use super::probes::Probes;
use super::tested::{Tested, Watch};
use super::witnesses::Witnesses;
use super::{Config, FilterEvidence};

/// Senders whose filter evidence is kept for one message; the weakest gives way.
const MAX_WITNESSES: usize = 8;
/// Seeds remembered per witness, so that a repeated filter is not counted twice.
const MAX_SEEDS: usize = 8;
/// Fewer open messages are tested sooner than looked up.
const MANY: usize = 32;

#[derive(Debug)]
pub(super) struct Open {
    /// As it was saved last.
    pub(super) entry: Entry,
    /// When it is due; later than saved where filters have shown something since.
    pub(super) due: RunningTime,
    /// What filters have shown, one entry per sender. In memory alone: saved, it would cost a commit per finding, and one
    /// forged filter would write every open message anew.
    pub(super) evidence: Vec<Evidence>,
    number: u64,
    bytes: usize,
}

impl Open {
    /// The strongest evidence, as a chance of error over all trials: filters tested, or, where their hashes are fixed,
    /// participants who have shown some.
    fn chance(&self, filters_heard: u64, witnesses: &Witnesses) -> Option<f64> {
        let sent = self.entry.filters_heard_at_send;
        let best = self.evidence.iter().min_by(|a, b| a.chance.total_cmp(&b.chance))?;
        let trials = if best.seeds.is_empty() { witnesses.since(sent) } else { filters_heard.saturating_sub(sent) };
        #[allow(clippy::cast_precision_loss, reason = "a count of filters, far below 2^52")]
        Some((best.chance * trials.max(1) as f64).min(1.0))
    }

    /// Whether there is evidence, and none that the next filter of the same sender could strengthen.
    fn is_all_fixed(&self) -> bool {
        !self.evidence.is_empty() && self.evidence.iter().all(|evidence| evidence.seeds.is_empty())
    }
}

/// What a filter showed about one message.
#[derive(Debug)]
pub(super) enum Finding {
    /// Enough to call it acknowledged.
    Acknowledged(LogKey),
    /// First evidence of receipt, with the chance of error.
    Possibly(LogKey, f64),
}

impl Finding {
    fn key(&self) -> &LogKey {
        match self {
            Self::Acknowledged(key) | Self::Possibly(key, _) => key,
        }
    }
}

/// What came of a filter.
#[derive(Debug)]
pub(super) struct Reviewed {
    pub(super) findings: Vec<Finding>,
    /// Units of testing that it took.
    pub(super) tests: u64,
    /// It was tested against everything that it can show anything new of.
    pub(super) whole: bool,
}

/// The outgoing buffer.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    open: BTreeMap<LogKey, Open>,
    schedule: BTreeSet<(RunningTime, LogKey)>,
    probes: Probes,
    tested: Tested,
    witnesses: Witnesses,
    /// Where a review goes on that cannot test a filter against everything: the number of a message.
    review_from: u64,
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

    /// Adds a message; `hash` is [`IdHash::in_dialect`] of its id.
    pub(super) fn add(&mut self, entry: Entry, hash: IdHash, due: RunningTime, bytes: usize) {
        let key = entry.key.clone();
        if !entry.failed {
            self.schedule.insert((due, key.clone()));
            self.bytes += bytes;
            self.active += 1;
        }
        // An older version saved evidence: it counts, until the entry is saved anew.
        let evidence = entry.evidence.clone();
        let number = self.probes.add(hash, key.clone(), !evidence.is_empty());
        self.open.insert(key, Open { entry, due, evidence, number, bytes });
    }

    /// Takes an entry out: acknowledged, or its message was evicted.
    pub(super) fn remove(&mut self, key: &LogKey) -> Option<Entry> {
        let open = self.open.remove(key)?;
        self.probes.remove(open.number);
        self.retire(&open);
        Some(open.entry)
    }

    /// The chance that what filters have shown of a message is an error; `None` where they have shown nothing.
    pub(super) fn chance(&self, key: &LogKey, filters_heard: u64) -> Option<f64> {
        self.open.get(key)?.chance(filters_heard, &self.witnesses)
    }

    /// Marks an entry as given up; as uncertain, where filters with fixed hashes alone have shown it.
    pub(super) fn fail(&mut self, key: &LogKey, filters_heard: u64) -> Option<&Entry> {
        let mut open = self.open.remove(key)?;
        let chance = open.chance(filters_heard, &self.witnesses);
        open.entry.uncertain = chance.filter(|_| open.is_all_fixed());
        self.retire(&open);
        let open = self.open.entry(key.clone()).or_insert(open);
        open.entry.failed = true;
        open.entry.evidence.clear();
        Some(&open.entry)
    }

    /// Tests a received filter against everything open, as far as it can show anything new and is allowed. What is not
    /// tested now is tested first with the next filter that is not tested against everything.
    pub(super) fn review(
        &mut self,
        filter: &ReceivedFilter,
        sender: &ParticipantId,
        filters_heard: u64,
        rule: FilterEvidence,
        allowance: Allowance,
    ) -> Reviewed {
        if self.open.len() < MANY {
            self.tested = Tested::default();
        }
        if filter.witness().is_none() {
            self.witnesses.heard(sender, filters_heard);
        }
        let most = usize::try_from(allowance.tests / filter.test_cost()).unwrap_or(usize::MAX);
        if most == 0 && !self.open.is_empty() {
            return Reviewed { findings: Vec::new(), tests: 0, whole: false };
        }
        let (mut due, mut watch) = self.tested.resume(sender, filter, self.open.len());
        let mut whole = due.len() + self.probes.count(watch.from) <= most;
        if !whole {
            // A watch leaves nothing out, so that none is kept of this one.
            due.clear();
            let from = if self.probes.count(self.review_from) > 0 { self.review_from } else { 0 };
            watch = Watch::starting_at(from);
        }
        due.sort_unstable();
        let ids = self.probes.select(&due, watch.from);
        let ids = &ids[..ids.len().min(most)];
        let tests = ids.len() as u64 * filter.test_cost();
        let last = ids.last().map_or(watch.from, |(number, _)| number + 1);
        let hits = filter.sift(ids, &mut watch.missed);
        let doubted = self.probes.with_evidence(&due, watch.from..last.max(watch.from));
        // Hits have the order of what was tested: by number.
        let missed =
            doubted.into_iter().filter(|number| hits.binary_search(number).is_err()).map(|number| (number, false));
        let mut changes: Vec<(u64, bool)> = missed.chain(hits.iter().map(|number| (*number, true))).collect();
        changes.sort_unstable();
        let mut stopped_at = (!whole).then_some(last);
        if let Some((number, _)) = usize::try_from(allowance.changes).ok().and_then(|most| changes.get(most)) {
            stopped_at = Some(*number);
            let most = changes.partition_point(|(other, _)| other < number);
            changes.truncate(most);
            whole = false;
        }
        watch.from = self.probes.next();
        let (open, probes, findings, displaced) = (&mut self.open, &mut self.probes, Vec::new(), Vec::new());
        let witnesses = &self.witnesses;
        let mut review =
            Review { filter, sender, filters_heard, witnesses, rule, open, probes, watch, findings, displaced };
        for (number, hit) in changes {
            if hit { review.hit(number) } else { review.take_back(number) }
        }
        let Review { watch, mut findings, displaced, .. } = review;
        if let Some(number) = stopped_at {
            self.review_from = number;
        } else if filter.witness().is_some() && self.open.len() >= MANY {
            self.tested.put(sender, filter, watch);
        }
        for sender in displaced {
            self.tested.forget(&sender);
        }
        findings.sort_by(|a, b| a.key().cmp(b.key()));
        Reviewed { findings, tests, whole }
    }

    /// The filter that this sender sent last, where it is known.
    pub(super) fn last_filter(&self, sender: &ParticipantId) -> Option<&ReceivedFilter> {
        self.tested.last(sender)
    }

    #[cfg(test)]
    pub(super) fn tested(&self) -> &Tested {
        &self.tested
    }

    /// As if no filter had been heard yet.
    #[cfg(test)]
    pub(super) fn forget_tested(&mut self) {
        self.tested = Tested::default();
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
        open.entry.evidence.clear();
        if resent {
            open.entry.attempts += 1;
            open.entry.last_sent = WallTime::from_millis(wall_ms);
        }
        open.due = now.after(wait);
        open.entry.next_due = WallTime::from_millis(wall_ms.saturating_add(millis(wait)));
        self.schedule.insert((open.due, key.clone()));
        Some(&open.entry)
    }

    /// Begins anew with a message, a given-up one too: it is due now, as if it had never been sent again.
    pub(super) fn begin_anew(&mut self, key: &LogKey, now: RunningTime, wall: WallTime) {
        let Some(mut open) = self.open.remove(key) else { return };
        self.retire(&open);
        (open.entry.failed, open.entry.uncertain, open.entry.attempts) = (false, None, 0);
        (open.entry.first_sent, open.entry.next_due, open.due) = (wall, wall, now);
        open.entry.evidence.clear();
        self.schedule.insert((now, key.clone()));
        self.bytes += open.bytes;
        self.active += 1;
        self.open.insert(key.clone(), open);
    }

    /// A message for which there is evidence is due later, which is not saved, as the evidence is not.
    pub(super) fn postpone(&mut self, key: &LogKey, due: RunningTime) {
        let Some(open) = self.open.get_mut(key) else { return };
        self.schedule.remove(&(open.due, key.clone()));
        open.due = due;
        self.schedule.insert((due, key.clone()));
    }

    fn retire(&mut self, open: &Open) {
        if !open.entry.failed {
            self.schedule.remove(&(open.due, open.entry.key.clone()));
            self.bytes -= open.bytes;
            self.active -= 1;
        }
    }
}

/// One filter under review.
struct Review<'a> {
    filter: &'a ReceivedFilter,
    sender: &'a ParticipantId,
    filters_heard: u64,
    witnesses: &'a Witnesses,
    rule: FilterEvidence,
    open: &'a mut BTreeMap<LogKey, Open>,
    probes: &'a mut Probes,
    watch: Watch,
    findings: Vec<Finding>,
    /// Whose evidence had to make room.
    displaced: Vec<ParticipantId>,
}

impl Review<'_> {
    fn hit(&mut self, number: u64) {
        let Some((key, hash)) = self.probes.get(number) else { return };
        // Where every bit is set, that says nothing, for or against.
        let Some(chance) = self.filter.chance(&hash).filter(|chance| *chance < 1.0) else { return };
        let Some(open) = self.open.get_mut(key) else { return };
        let evidence = &mut open.evidence;
        let first = evidence.is_empty();
        match strengthen(evidence, self.sender, chance, self.filter.witness()) {
            Weight::Nothing => {
                if evidence.iter().all(|evidence| evidence.sender != *self.sender) {
                    self.watch.again(number);
                }
                return;
            }
            Weight::More => {}
            Weight::InPlaceOf(displaced) => self.displaced.push(displaced),
        }
        let hits: u32 = evidence.iter().map(|evidence| evidence.hits).sum();
        let chance = open.chance(self.filters_heard, self.witnesses).unwrap_or(1.0);
        let enough = match self.rule {
            FilterEvidence::Chance(limit) => chance <= limit,
            FilterEvidence::Hits(limit) => hits >= limit,
        };
        match (enough, first) {
            (true, _) => self.findings.push(Finding::Acknowledged(key.clone())),
            (false, true) => self.findings.push(Finding::Possibly(key.clone(), chance)),
            (false, false) => {}
        }
        self.probes.set_evidence(number, true);
    }

    /// A miss takes back what this sender's filters have shown.
    fn take_back(&mut self, number: u64) {
        let Some((key, _)) = self.probes.get(number) else { return };
        let Some(open) = self.open.get_mut(key) else { return };
        let evidence = &mut open.evidence;
        let before = evidence.len();
        evidence.retain(|evidence| evidence.sender != *self.sender);
        if evidence.len() < before {
            let none_left = evidence.is_empty();
            self.probes.set_evidence(number, !none_left);
        }
    }
}

/// What a hit adds to the evidence.
enum Weight {
    /// Nothing new.
    Nothing,
    More,
    /// It has displaced the weakest, which was this sender's.
    InPlaceOf(ParticipantId),
}

/// Adds a hit to a sender's evidence.
fn strengthen(evidence: &mut Vec<Evidence>, sender: &ParticipantId, chance: f64, seed: Option<[u8; 8]>) -> Weight {
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
            Some(_) => return Weight::Nothing,
        }
        known.hits += 1;
        return Weight::More;
    }
    let added = Evidence { sender: sender.clone(), chance, hits: 1, seeds: seed.into_iter().collect() };
    if evidence.len() < MAX_WITNESSES {
        evidence.push(added);
        return Weight::More;
    }
    let weakest = evidence.iter().enumerate().max_by(|a, b| a.1.chance.total_cmp(&b.1.chance));
    match weakest {
        Some((at, known)) if known.chance > chance => {
            let displaced = evidence.swap_remove(at).sender;
            evidence.push(added);
            Weight::InPlaceOf(displaced)
        }
        _ => Weight::Nothing,
    }
}

/// How long an entry waits after `attempts` resends (docs/protocol.md section 8).
pub(super) fn wait(config: &Config, participant: &ParticipantId, open: &Open, now: WallTime) -> Duration {
    let entry = &open.entry;
    let elapsed = now.as_millis().saturating_sub(entry.first_sent.as_millis());
    let possibly = !open.evidence.is_empty();
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
