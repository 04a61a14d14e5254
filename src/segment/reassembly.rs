//! Putting together: contents of delivered messages become payloads.
//!
//! What: [`Reassembly`], which keeps segments until their payload is whole. Why an index that is held opens another payload:
//! the channel delivers each message once, so that the same payload came twice. How it moves: [`Reassembly::take`] takes
//! each content in the order of delivery, and says what came of it. What is given up at a bound stays in the log.

mod assembly;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use sha3::{Digest, Keccak256};

use self::assembly::{Assembly, Attempt, Check};
use super::{HASH, Read, Segment, Shape, read};
use crate::types::ParticipantId;

/// What may be kept of payloads that are not whole. Who takes most gives way.
///
/// See the [example](crate::segment#example).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bounds {
    /// Payloads in all. Default 256.
    pub max_open: usize,
    /// Payloads of one sender. Default 64.
    pub max_open_per_sender: usize,
    /// Bytes of segments in all. Default 64 MiB.
    pub max_bytes: usize,
    /// Bytes of one sender, and so of a payload. Default 64 MiB.
    pub max_bytes_per_sender: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { max_open: 256, max_open_per_sender: 64, max_bytes: 64 << 20, max_bytes_per_sender: 64 << 20 }
    }
}

impl Bounds {
    /// No bounds, for what is bounded elsewhere.
    #[must_use]
    pub fn none() -> Self {
        let max = usize::MAX;
        Self { max_open: max, max_open_per_sender: max, max_bytes: max, max_bytes_per_sender: max }
    }

    /// The defaults, for payloads and segments of so many bytes.
    #[must_use]
    pub fn of_bytes(bytes: usize) -> Self {
        Self { max_bytes: bytes, max_bytes_per_sender: bytes, ..Self::default() }
    }
}

/// What came of a content.
///
/// See the [example](crate::segment#example).
#[derive(Debug)]
#[non_exhaustive]
pub struct Taken<T> {
    /// What it was for.
    pub fate: Fate<T>,
    /// What was given up to keep the bounds, or because it was not what its hash says.
    pub abandoned: Vec<Abandoned>,
}

impl<T> Taken<T> {
    /// The payload that is whole now, if one is.
    #[must_use]
    pub fn whole(self) -> Option<Bytes> {
        match self.fate {
            Fate::Whole { payload, .. } => Some(payload),
            _ => None,
        }
    }
}

/// What a content was for.
///
/// See the [example](crate::segment#example).
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum Fate<T> {
    /// A payload is whole.
    Whole {
        /// The payload.
        payload: Bytes,
        /// The segments that it was made of, by number: data in order, then parity. A payload of no segments is one.
        segments: Vec<(usize, T)>,
        /// How many data segments there are: the numbers of parity begin here.
        needed: usize,
    },
    /// A segment is kept.
    Kept(Progress),
    /// A segment of a payload that was whole without it.
    Surplus,
    /// A segment that breaks the rules, or is of a payload that is too large.
    Refused(&'static str),
}

/// How far a payload has come.
///
/// See the [example](crate::segment#example).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Keccak-256 of the whole.
    pub hash: [u8; 32],
    /// Segments that are here.
    pub held: usize,
    /// Segments that are needed.
    pub needed: usize,
    /// Bytes that are here, those of parity too.
    pub bytes: usize,
    /// Bytes of the whole, where its sender says so.
    pub length: Option<u64>,
}

/// A payload that was given up.
///
/// See the [example](crate::segment#example).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Abandoned {
    /// Whose it was.
    pub sender: ParticipantId,
    /// How far it had come.
    pub progress: Progress,
    /// Why.
    pub why: Why,
}

/// Why a payload was given up.
///
/// See the [example](crate::segment#example).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// Too much was open.
    Bounds,
    /// It is not what its hash says (LIP-243, "Integrity").
    Mismatch,
}

/// Segments that wait for the rest of their payloads. Each has a tag of the caller's, which comes back with the whole.
///
/// See the [example](crate::segment#example).
#[derive(Debug)]
pub struct Reassembly<T> {
    bounds: Bounds,
    /// Under one key the payload that was begun first comes first.
    open: BTreeMap<Key, VecDeque<Assembly<T>>>,
    senders: BTreeMap<ParticipantId, Share>,
    all: Share,
    /// Segments taken so far.
    clock: u64,
}

type Key = (ParticipantId, [u8; HASH]);

/// What is open, of one sender or in all.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    open: usize,
    bytes: usize,
}

impl<T> Default for Reassembly<T> {
    fn default() -> Self {
        Self::new(Bounds::default())
    }
}

impl<T> Reassembly<T> {
    /// Nothing yet, within these bounds.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, open: BTreeMap::new(), senders: BTreeMap::new(), all: Share::default(), clock: 0 }
    }

    /// Takes the content of a message in, in the order of delivery.
    pub fn take(&mut self, sender: &ParticipantId, content: &Bytes, tag: T) -> Taken<T> {
        self.take_checked(sender, content, tag, Check::Hash)
    }

    /// Takes in again what was taken before, in the same order. What is whole by its data is neither joined nor hashed, so
    /// that it costs nothing of its length.
    #[cfg(feature = "manager")]
    pub(crate) fn recall(&mut self, sender: &ParticipantId, content: &Bytes, tag: T) -> Option<Recalled<T>> {
        match self.take_checked(sender, content, tag, Check::Trust).fate {
            Fate::Whole { payload, segments, needed } => {
                // No payload is empty.
                let recovered = Some(payload).filter(|payload| !payload.is_empty());
                Some(Recalled { segments, needed, recovered })
            }
            _ => None,
        }
    }

    fn take_checked(&mut self, sender: &ParticipantId, content: &Bytes, tag: T, check: Check) -> Taken<T> {
        let fate = match read(content) {
            Read::Plain => Fate::Whole { payload: content.clone(), segments: vec![(0, tag)], needed: 1 },
            Read::Invalid(why) => Fate::Refused(why),
            Read::Segment(segment) if segment.shape == (Shape { data: 1, parity: 0 }) => match check {
                Check::Trust => Fate::Whole { payload: Bytes::new(), segments: vec![(0, tag)], needed: 1 },
                Check::Hash if is_whole(&segment) => {
                    Fate::Whole { payload: segment.payload, segments: vec![(0, tag)], needed: 1 }
                }
                Check::Hash => Fate::Refused("it is not what its hash says"),
            },
            Read::Segment(segment) if self.is_too_large(&segment) => Fate::Refused("the payload is too large"),
            Read::Segment(segment) => return self.keep(sender, segment, tag, check),
        };
        Taken { fate, abandoned: Vec::new() }
    }

    /// Payloads that are open, those that were whole early and still have segments to come among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.open
    }

    /// Whether nothing is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.open == 0
    }

    /// Bytes of segments kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.all.bytes
    }

    fn is_too_large(&self, segment: &Segment) -> bool {
        // All but the last data segment are of one size, which is that of parity.
        let is_last = segment.index + 1 == segment.shape.data;
        let at_least = if is_last { segment.payload.len() } else { segment.payload.len() * (segment.shape.data - 1) };
        let length = segment.length.map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
        at_least.max(length) > self.bounds.max_bytes_per_sender.min(self.bounds.max_bytes)
    }

    fn keep(&mut self, sender: &ParticipantId, segment: Segment, tag: T, check: Check) -> Taken<T> {
        self.clock += 1;
        let key = (sender.clone(), segment.hash);
        let queue = self.open.entry(key.clone()).or_default();
        let place = queue.iter().position(|assembly| assembly.lacks(&segment)).unwrap_or_else(|| {
            queue.push_back(Assembly::new(&segment));
            self.all.open += 1;
            self.senders.entry(sender.clone()).or_default().open += 1;
            queue.len() - 1
        });
        let Some(assembly) = queue.get_mut(place) else {
            return Taken { fate: Fate::Surplus, abandoned: Vec::new() };
        };
        let bytes = assembly.add(segment, tag, self.clock);
        let (fate, ends) = match assembly.attempt(&key.1, check) {
            Attempt::Waits if assembly.done => (Some(Fate::Surplus), assembly.is_seen()),
            Attempt::Waits => (None, false),
            Attempt::Whole { payload, segments } => {
                let needed = assembly.shape.data;
                (Some(Fate::Whole { payload, segments, needed }), assembly.is_seen())
            }
            Attempt::Mismatch => (None, true),
        };
        let progress = assembly.progress(key.1);
        let freed = if assembly.done { std::mem::take(&mut assembly.bytes) } else { 0 };
        self.count(sender, bytes, freed);
        let mut abandoned = Vec::new();
        if ends {
            self.remove(&key, place);
            if fate.is_none() {
                let (sender, progress) = (sender.clone(), progress.clone());
                abandoned.push(Abandoned { sender, progress, why: Why::Mismatch });
            }
        }
        while let Some((key, place)) = self.excess(sender) {
            if let Some(given_up) = self.remove(&key, place).filter(|assembly| !assembly.done) {
                let progress = given_up.progress(key.1);
                abandoned.push(Abandoned { sender: key.0, progress, why: Why::Bounds });
            }
        }
        Taken { fate: fate.unwrap_or(Fate::Kept(progress)), abandoned }
    }

    fn count(&mut self, sender: &ParticipantId, added: usize, freed: usize) {
        self.all.bytes = (self.all.bytes + added).saturating_sub(freed);
        let share = self.senders.entry(sender.clone()).or_default();
        share.bytes = (share.bytes + added).saturating_sub(freed);
    }

    fn remove(&mut self, key: &Key, place: usize) -> Option<Assembly<T>> {
        let queue = self.open.get_mut(key)?;
        let removed = queue.remove(place)?;
        if queue.is_empty() {
            self.open.remove(key);
        }
        self.all.open -= 1;
        self.all.bytes -= removed.bytes;
        let share = self.senders.get_mut(&key.0)?;
        share.open -= 1;
        share.bytes -= removed.bytes;
        if share.open == 0 {
            self.senders.remove(&key.0);
        }
        Some(removed)
    }

    /// What is to be given up for the bounds: of who takes most, what was whole already, then what has come least far, then
    /// what waited longest.
    fn excess(&self, sender: &ParticipantId) -> Option<(Key, usize)> {
        let bounds = &self.bounds;
        let own = self.senders.get(sender).copied().unwrap_or_default();
        if own.open > bounds.max_open_per_sender || own.bytes > bounds.max_bytes_per_sender {
            return self.least(|other| other == sender);
        }
        if self.all.open > bounds.max_open {
            let most = self.senders.values().map(|share| share.open).max();
            return self.least(|other| self.senders.get(other).map(|share| share.open) == most);
        }
        if self.all.bytes > bounds.max_bytes {
            let most = self.senders.values().map(|share| share.bytes).max();
            return self.least(|other| self.senders.get(other).map(|share| share.bytes) == most);
        }
        None
    }

    fn least(&self, of: impl Fn(&ParticipantId) -> bool) -> Option<(Key, usize)> {
        let queues = self.open.iter().filter(|(key, _)| of(&key.0));
        let places = queues.flat_map(|(key, queue)| (0..).zip(queue).map(move |(place, found)| (key, place, found)));
        let rank = |found: &Assembly<T>| (!found.done, found.parts.len(), found.touched);
        let (key, place, _) = places.min_by_key(|(_, _, found)| rank(found))?;
        Some((key.clone(), place))
    }
}

/// A payload that was whole before.
#[cfg(feature = "manager")]
pub(crate) struct Recalled<T> {
    /// What it was made of, by number.
    pub(crate) segments: Vec<(usize, T)>,
    /// How many data segments there are.
    pub(crate) needed: usize,
    /// The payload, where it was no segments, or was recovered from parity.
    pub(crate) recovered: Option<Bytes>,
}

fn is_whole(segment: &Segment) -> bool {
    segment.length.is_none_or(|length| length == segment.payload.len() as u64) && is_of(&segment.hash, &segment.payload)
}

pub(super) fn is_of(hash: &[u8; HASH], payload: &[u8]) -> bool {
    Keccak256::digest(payload)[..] == hash[..]
}
