//! Bytes of a message: numbers, bounds and ranges, as negentropy version 1 writes them.
//!
//! A number has seven bits a byte, the highest first. A bound's time is one more than its distance from the bound before,
//! and 0 for the end of time; of the id where a range ends only as much is written as tells it from its neighbour.

use super::{Item, Options, ReconcileError, Rid};
use crate::types::Lamport;

pub(super) const VERSION: u8 = 0x61;

const SKIP: u64 = 0;
const FINGERPRINT: u64 = 1;
const IDS: u64 = 2;

/// Where a range ends: before the first message at or after this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    lamport: u64,
    prefix: [u8; 32],
    len: usize,
}

impl Bound {
    /// Before this Lamport time; before nothing, with `u64::MAX`.
    pub(super) fn at(lamport: u64) -> Self {
        Self { lamport, prefix: [0; 32], len: 0 }
    }

    /// Just before this message.
    pub(super) fn before(item: &Item) -> Self {
        Self { lamport: item.lamport.0, prefix: item.rid.0, len: 32 }
    }

    /// The shortest bound between two messages that follow each other.
    pub(super) fn between(left: &Item, right: &Item) -> Self {
        if left.lamport != right.lamport {
            return Self::at(right.lamport.0);
        }
        let shared = left.rid.0.iter().zip(right.rid.0).take_while(|(left, right)| **left == *right).count();
        let len = (shared + 1).min(32);
        let mut prefix = [0; 32];
        prefix[..len].copy_from_slice(&right.rid.0[..len]);
        Self { lamport: right.lamport.0, prefix, len }
    }

    /// The least message that is not before this bound.
    pub(super) fn item(&self) -> Item {
        Item { lamport: Lamport(self.lamport), rid: Rid(self.prefix) }
    }

    pub(super) fn is_before(&self, other: &Self) -> bool {
        self.item() < other.item()
    }
}

/// What the sender of a message says of a range.
pub(super) enum Claim<'a> {
    Skip,
    Fingerprint([u8; 16]),
    Ids(&'a [[u8; 32]]),
}

/// Reads a message, range by range, within limits.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    lamport: u64,
    end: Bound,
    ranges: usize,
    ids: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'a [u8]) -> Result<Self, ReconcileError> {
        match message.split_first() {
            None => Err(ReconcileError::Truncated),
            Some((&VERSION, rest)) => Ok(Self { rest, lamport: 0, end: Bound::at(0), ranges: 0, ids: 0 }),
            Some((&found, _)) => Err(ReconcileError::Version { found }),
        }
    }

    /// The next range: where it begins and ends, and what is said of it.
    pub(super) fn range(&mut self, options: &Options) -> Result<Option<(Bound, Bound, Claim<'a>)>, ReconcileError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.ranges += 1;
        within("ranges", self.ranges, options.max_ranges)?;
        let (from, to) = (self.end, self.bound()?);
        if to.is_before(&from) {
            return Err(ReconcileError::Descending);
        }
        self.end = to;
        let claim = match self.number("a kind of range")? {
            SKIP => Claim::Skip,
            FINGERPRINT => {
                let mut fingerprint = [0; 16];
                fingerprint.copy_from_slice(self.bytes(16)?);
                Claim::Fingerprint(fingerprint)
            }
            IDS => {
                let count = usize::try_from(self.number("a number of ids")?).unwrap_or(usize::MAX);
                self.ids = self.ids.saturating_add(count);
                within("ids", self.ids, options.max_ids)?;
                Claim::Ids(self.bytes(count.saturating_mul(32))?.as_chunks().0)
            }
            _ => return Err(ReconcileError::Invalid { what: "a kind of range" }),
        };
        Ok(Some((from, to, claim)))
    }

    fn bound(&mut self) -> Result<Bound, ReconcileError> {
        let distance = self.number("a bound's time")?;
        self.lamport = match distance.checked_sub(1) {
            Some(distance) => self.lamport.saturating_add(distance),
            None => u64::MAX,
        };
        let len = self.number("the length of an id prefix")?;
        let len = usize::try_from(len).ok().filter(|len| *len <= 32);
        let len = len.ok_or(ReconcileError::Invalid { what: "the length of an id prefix" })?;
        let mut prefix = [0; 32];
        prefix[..len].copy_from_slice(self.bytes(len)?);
        Ok(Bound { lamport: self.lamport, prefix, len })
    }

    fn number(&mut self, what: &'static str) -> Result<u64, ReconcileError> {
        let mut number: u64 = 0;
        loop {
            let (byte, rest) = self.rest.split_first().ok_or(ReconcileError::Truncated)?;
            self.rest = rest;
            if number > u64::MAX >> 7 {
                return Err(ReconcileError::Invalid { what });
            }
            number = number << 7 | u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], ReconcileError> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(ReconcileError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }
}

fn within(what: &'static str, found: usize, max: usize) -> Result<(), ReconcileError> {
    if found > max { Err(ReconcileError::Limit { what, found, max }) } else { Ok(()) }
}

/// Writes a message, range by range; what lies between two ranges is skipped.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    /// What a message so far can be taken back to.
    at: Mark,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    len: usize,
    lamport: u64,
    end: Bound,
    ranges: usize,
    ids: usize,
}

impl Writer {
    pub(super) fn new() -> Self {
        let at = Mark { len: 1, lamport: 0, end: Bound::at(0), ranges: 0, ids: 0 };
        Self { bytes: vec![VERSION], at }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at.ranges == 0
    }

    /// Where the last range written ends.
    pub(super) fn end(&self) -> Bound {
        self.at.end
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn fingerprint(&mut self, from: &Bound, to: &Bound, fingerprint: [u8; 16]) {
        self.range(from, to, FINGERPRINT);
        self.bytes.extend(fingerprint);
        self.at.len = self.bytes.len();
    }

    pub(super) fn ids(&mut self, from: &Bound, to: &Bound, ids: &[Rid]) {
        self.range(from, to, IDS);
        push_number(&mut self.bytes, ids.len() as u64);
        ids.iter().for_each(|rid| self.bytes.extend(rid.0));
        self.at.ids += ids.len();
        self.at.len = self.bytes.len();
    }

    /// Lets `write` write, and takes it back where the message became too large; false if so.
    pub(super) fn attempt(&mut self, options: &Options, write: impl FnOnce(&mut Self)) -> bool {
        let before = self.at;
        write(self);
        let fits = self.has_room(options, 0, 0);
        if !fits {
            self.at = before;
            self.bytes.truncate(before.len);
        }
        fits
    }

    /// Whether there is room for so many ids more and so many bytes more, and for the last range of a message.
    pub(super) fn has_room(&self, options: &Options, ids: usize, bytes: usize) -> bool {
        let size = options.max_message_bytes.is_none_or(|max| self.at.len + bytes <= max.saturating_sub(RESERVE));
        size && self.at.ranges <= options.max_ranges.saturating_sub(RESERVED_RANGES)
            && self.at.ids.saturating_add(ids) <= options.max_ids
    }

    fn range(&mut self, from: &Bound, to: &Bound, kind: u64) {
        if self.at.end.is_before(from) {
            self.bound(from);
            push_number(&mut self.bytes, SKIP);
        }
        self.bound(to);
        push_number(&mut self.bytes, kind);
    }

    fn bound(&mut self, bound: &Bound) {
        let distance = bound.lamport.saturating_sub(self.at.lamport);
        push_number(&mut self.bytes, if bound.lamport == u64::MAX { 0 } else { distance.saturating_add(1) });
        push_number(&mut self.bytes, bound.len as u64);
        self.bytes.extend(&bound.prefix[..bound.len]);
        self.at.lamport = bound.lamport;
        self.at.end = *bound;
        self.at.ranges += 1;
    }
}

/// Bytes kept for the range that ends a message which became too large.
const RESERVE: usize = 200;
/// Ranges kept for the same.
const RESERVED_RANGES: usize = 2;

pub(super) fn push_number(bytes: &mut Vec<u8>, number: u64) {
    let groups = (64 - number.leading_zeros()).div_ceil(7).max(1);
    for group in (0..groups).rev() {
        let more = if group > 0 { 0x80 } else { 0 };
        bytes.push((number >> (7 * group)) as u8 & 0x7f | more);
    }
}
