//! SDS-R: what to ask others for, what others asked for, and when (docs/protocol.md section 10).
//!
//! [`Requests`] is the outgoing repair buffer (LIP-109 T_req), [`Responses`] the incoming one (T_resp); [`Pace`]
//! bounds the rate of answers. A request sent or heard does not end an entry, it is re-armed.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::filter;
use crate::state::{Request, Response};
use crate::types::{MessageId, ParticipantId, RunningTime, WallTime, millis};

use super::Config;
use super::known::{IdMap, Keyed};
use super::shares::{Namer, Shares};
use super::waits::Waits;

/// Requests for one missing message before it may be given up.
pub(super) const REQUESTS_BEFORE_LOSS: u32 = 3;

/// Milliseconds for which a message may be asked for before it may be given up, however long its dependants wait: a first
/// request and its answer take up to T_max each, and either may get lost once.
pub(super) fn time_before_loss(config: &Config) -> u64 {
    millis(config.t_max).saturating_mul(4)
}

/// The wait before a first request: `H(participant ++ id) mod (T_max - T_min) + T_min`, H being the dialect's.
pub(super) fn request_wait(config: &Config, waits: Waits, participant: &ParticipantId, id: &MessageId) -> Duration {
    let (min, max) = (millis(waits.t_min), millis(waits.t_max));
    let hash = filter::h2_in(config.dialect, participant.as_bytes(), id.as_bytes());
    Duration::from_millis(if max > min { hash % (max - min) + min } else { min })
}

/// The wait before the next request, after `sent` own requests and `heard` ones of others: `w + H(participant ++ id
/// ++ attempt) mod w`, where w starts at T_min and own requests alone double it, up to T_max.
pub(super) fn rearm_wait(waits: Waits, participant: &ParticipantId, request: &Request) -> Duration {
    let attempt = request.sent.saturating_add(request.heard);
    let floor = millis(waits.t_min).max(100);
    let doublings = request.sent.saturating_sub(1).min(16);
    let w = (floor << doublings).min(millis(waits.t_max).max(floor));
    let hash = filter::h3(participant.as_bytes(), request.entry.id.as_bytes(), &attempt.to_be_bytes());
    Duration::from_millis(w + hash % w)
}

/// The wait before an answer: `((H(participant) xor H(sender)) * H(id), 128-bit) mod T_max`; 0 for the sender itself.
pub(super) fn response_wait(
    config: &Config,
    waits: Waits,
    participant: &ParticipantId,
    sender: &ParticipantId,
    id: &MessageId,
) -> Duration {
    let max = millis(waits.t_max);
    if max == 0 || participant == sender {
        return Duration::ZERO;
    }
    let product = filter::distance(config.dialect, participant.as_bytes(), sender.as_bytes(), id.as_bytes());
    Duration::from_millis(u64::try_from(product % u128::from(max)).unwrap_or(max))
}

/// Whether a participant is in the response group of a message (LIP-109, "Determine response group"), or in one of the
/// first `wide` groups from that one on.
pub(super) fn in_response_group(
    config: &Config,
    participant: &ParticipantId,
    sender: &ParticipantId,
    id: &MessageId,
    wide: u64,
) -> bool {
    let groups = u64::from(config.response_groups.max(1));
    let hash = |of: &ParticipantId| filter::h2_in(config.dialect, of.as_bytes(), id.as_bytes());
    let group = |of: &ParticipantId| hash(of) % groups;
    wide >= groups || (group(participant) + groups - group(sender)) % groups < wide
}

/// Bytes of a saved entry beyond its ids and hint.
const ROW_BYTES: usize = 64;

#[derive(Debug)]
pub(super) struct Missing {
    pub(super) request: Request,
    pub(super) due: RunningTime,
    /// When it had been asked for three times.
    pub(super) asked_thrice: Option<RunningTime>,
    /// Nobody waits for it any more.
    pub(super) overdue: bool,
    /// When a sync message named it last.
    pub(super) named: Option<RunningTime>,
    /// When this participant asked for it, if that was once and nobody else has.
    pub(super) asked: Option<RunningTime>,
    namer: Namer,
    /// T_req, requests sent and heard as they were saved last.
    saved: (WallTime, u32, u32),
}

impl Missing {
    pub(super) fn times_asked(&self) -> u32 {
        self.request.sent.saturating_add(self.request.heard)
    }

    /// The entry as it was saved last.
    pub(super) fn as_saved(&self) -> Request {
        let (due, sent, heard) = self.saved;
        Request { due, sent, heard, ..self.request.clone() }
    }
}

fn counters(request: &Request) -> (WallTime, u32, u32) {
    (request.due, request.sent, request.heard)
}

/// The outgoing repair buffer.
#[derive(Debug)]
pub(super) struct Requests {
    entries: IdMap<MessageId, Missing>,
    schedule: BTreeSet<(RunningTime, MessageId)>,
    shares: Shares,
    /// Since when each entry is missed, in channel age.
    ages: BTreeSet<(u64, MessageId)>,
    /// The same of those that are not overdue.
    awaited: BTreeSet<(u64, MessageId)>,
    /// Entries sent or heard since they were saved: that waits for another change, or a request of five bytes would write
    /// an entry of a thousand.
    unsaved: BTreeSet<MessageId>,
}

impl Requests {
    pub(super) fn new(keys: Keyed) -> Self {
        Self {
            entries: HashMap::with_hasher(keys),
            schedule: BTreeSet::new(),
            shares: Shares::new(keys),
            ages: BTreeSet::new(),
            awaited: BTreeSet::new(),
            unsaved: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, id: &MessageId) -> Option<&Missing> {
        self.entries.get(id)
    }

    /// Entries by T_req, lowest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Missing> {
        self.schedule.iter().filter_map(|(_, id)| self.entries.get(id))
    }

    pub(super) fn insert(&mut self, request: Request, due: RunningTime, namer: Namer, overdue: bool) {
        self.remove(&request.entry.id.clone());
        let id = request.entry.id.clone();
        let missing = Missing {
            saved: counters(&request),
            request,
            due,
            asked: None,
            asked_thrice: None,
            overdue,
            named: None,
            namer,
        };
        self.index(&missing);
        self.entries.insert(id, missing);
    }

    pub(super) fn remove(&mut self, id: &MessageId) -> Option<Missing> {
        if self.entries.is_empty() {
            return None;
        }
        let missing = self.entries.remove(id)?;
        self.schedule.remove(&(missing.due, id.clone()));
        self.shares.remove(&missing.namer, missing.times_asked(), id);
        self.ages.remove(&(missing.request.since_age_ms, id.clone()));
        self.awaited.remove(&(missing.request.since_age_ms, id.clone()));
        self.unsaved.remove(id);
        Some(missing)
    }

    /// Changes an entry and keeps the indices right; it is saved with the next commit that has room.
    pub(super) fn change(&mut self, id: &MessageId, change: impl FnOnce(&mut Missing)) {
        let Some(mut missing) = self.remove(id) else { return };
        change(&mut missing);
        self.index(&missing);
        if counters(&missing.request) != missing.saved {
            self.unsaved.insert(id.clone());
        }
        self.entries.insert(id.clone(), missing);
    }

    /// Whether some entry is not saved as it is.
    pub(super) fn is_unsaved(&self) -> bool {
        !self.unsaved.is_empty()
    }

    /// The entry as it is to be saved now.
    pub(super) fn save(&mut self, id: &MessageId) -> Option<Request> {
        let missing = self.entries.get_mut(id)?;
        self.unsaved.remove(id);
        missing.saved = counters(&missing.request);
        Some(missing.request.clone())
    }

    /// An entry to be saved that takes no more than these bytes.
    pub(super) fn next_unsaved(&self, bytes: usize) -> Option<(MessageId, usize)> {
        let id = self.unsaved.first()?;
        let entry = &self.entries.get(id)?.request.entry;
        let hint = entry.hint.as_ref().map_or(0, bytes::Bytes::len);
        let cost = ROW_BYTES + id.len() + hint + entry.sender.as_ref().map_or(0, ParticipantId::len);
        (cost <= bytes).then(|| (id.clone(), cost))
    }

    /// Who named which of them.
    pub(super) fn shares(&self) -> &Shares {
        &self.shares
    }

    /// A sync message names it; says whether it is an overdue entry.
    pub(super) fn named_by_sync(&mut self, id: &MessageId, now: RunningTime) -> bool {
        self.entries.get_mut(id).is_some_and(|missing| {
            missing.named = Some(now);
            missing.overdue
        })
    }

    /// Another participant named it: it belongs to who has fewer entries.
    pub(super) fn named_again(&mut self, id: &MessageId, by: &Namer) {
        let fewer = |missing: &Missing| self.shares.of(by) < self.shares.of(&missing.namer);
        if self.entries.get(id).is_some_and(fewer) {
            self.change(id, |missing| missing.namer.clone_from(by));
        }
    }

    /// Up to `max` entries whose T_req has come, lowest first.
    pub(super) fn due(&self, now: RunningTime, max: usize) -> Vec<MessageId> {
        self.schedule.iter().take_while(|(due, _)| *due <= now).take(max).map(|(_, id)| id.clone()).collect()
    }

    pub(super) fn next_due(&self) -> Option<RunningTime> {
        self.schedule.first().map(|(due, _)| *due)
    }

    /// Entries missed since this age or longer, oldest first.
    pub(super) fn missed_since(&self, age: u64) -> impl Iterator<Item = &Missing> {
        self.ages.iter().take_while(move |(since, _)| *since <= age).filter_map(|(_, id)| self.entries.get(id))
    }

    /// Entries that somebody may wait for since this age or longer, oldest first.
    pub(super) fn awaited_since(&self, age: u64) -> impl Iterator<Item = &Missing> {
        self.awaited.iter().take_while(move |(since, _)| *since <= age).filter_map(|(_, id)| self.entries.get(id))
    }

    fn index(&mut self, missing: &Missing) {
        let id = &missing.request.entry.id;
        self.schedule.insert((missing.due, id.clone()));
        self.shares.insert(&missing.namer, missing.times_asked(), id);
        self.ages.insert((missing.request.since_age_ms, id.clone()));
        if !missing.overdue {
            self.awaited.insert((missing.request.since_age_ms, id.clone()));
        }
    }
}

/// The incoming repair buffer.
#[derive(Debug)]
pub(super) struct Responses {
    entries: IdMap<MessageId, Promised>,
    schedule: BTreeSet<(RunningTime, MessageId)>,
    bytes: usize,
}

#[derive(Debug)]
struct Promised {
    due: RunningTime,
    wall: WallTime,
    /// What the message takes, which stays in the log until it is answered.
    bytes: usize,
}

impl Responses {
    pub(super) fn new(keys: Keyed) -> Self {
        Self { entries: HashMap::with_hasher(keys), schedule: BTreeSet::new(), bytes: 0 }
    }

    /// Bytes of the messages asked for.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn contains(&self, id: &MessageId) -> bool {
        self.entries.contains_key(id)
    }

    /// Entries by T_resp, lowest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RunningTime, Response)> {
        self.schedule.iter().map(|(due, id)| {
            let wall = self.entries.get(id).map_or(WallTime::default(), |promised| promised.wall);
            (*due, Response { id: id.clone(), due: wall })
        })
    }

    /// Promises to send a message that takes `bytes`.
    pub(super) fn insert(&mut self, response: &Response, due: RunningTime, bytes: usize) {
        self.remove(&response.id);
        self.entries.insert(response.id.clone(), Promised { due, wall: response.due, bytes });
        self.bytes += bytes;
        self.schedule.insert((due, response.id.clone()));
    }

    pub(super) fn remove(&mut self, id: &MessageId) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        match self.entries.remove(id) {
            Some(promised) => {
                self.bytes -= promised.bytes;
                self.schedule.remove(&(promised.due, id.clone()))
            }
            None => false,
        }
    }

    pub(super) fn due(&self, now: RunningTime) -> Option<MessageId> {
        self.schedule.first().filter(|(due, _)| *due <= now).map(|(_, id)| id.clone())
    }

    pub(super) fn next_due(&self) -> Option<RunningTime> {
        self.schedule.first().map(|(due, _)| *due)
    }
}

/// Bounds a rate in bytes per second; may go into debt by one message.
#[derive(Debug)]
pub(super) struct Pace {
    rate: u64,
    /// Milli-bytes left; negative is debt.
    left: i128,
    at: RunningTime,
}

impl Pace {
    pub(super) fn new(bytes_per_second: u32, now: RunningTime) -> Self {
        let rate = u64::from(bytes_per_second);
        Self { rate, left: i128::from(rate) * 1_000, at: now }
    }

    /// Whether something may go out now.
    pub(super) fn is_open(&mut self, now: RunningTime) -> bool {
        let gained = i128::from(millis(now.since(self.at))) * i128::from(self.rate);
        self.left = (self.left + gained).min(i128::from(self.rate) * 1_000);
        self.at = self.at.max(now);
        self.left > 0
    }

    pub(super) fn spend(&mut self, bytes: usize) {
        self.left -= i128::try_from(bytes).unwrap_or(i128::MAX / 2_000) * 1_000;
    }

    /// When something may go out again.
    pub(super) fn opens_at(&self) -> RunningTime {
        let debt = u128::try_from(-self.left).unwrap_or(0);
        let wait = debt / u128::from(self.rate.max(1)) + 1;
        self.at.after(Duration::from_millis(if self.left > 0 { 0 } else { u64::try_from(wait).unwrap_or(u64::MAX) }))
    }
}
