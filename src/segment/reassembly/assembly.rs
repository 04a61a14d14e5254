//! One payload that is put together.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use sha3::{Digest, Keccak256};

use super::{Progress, is_of};
use crate::segment::{HASH, Segment, Shape, parity};

/// Zeros at the end of a recovered last segment of unknown length, each of which may be padding.
const MAX_GUESSES: usize = 1_024;

#[derive(Debug)]
pub(super) struct Assembly<T> {
    pub(super) shape: Shape,
    pub(super) length: Option<u64>,
    /// Segments that came, a bit each.
    pub(super) seen: [u64; 4],
    pub(super) parts: BTreeMap<usize, (Bytes, T)>,
    pub(super) bytes: usize,
    /// When a segment came last.
    pub(super) touched: u64,
    /// It was made whole; what still comes of it is surplus.
    pub(super) done: bool,
    /// It cannot be recovered from parity.
    pub(super) needs_data: bool,
}

/// How it is told that a payload is what its hash says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Hash,
    /// It was, when it was taken first.
    #[cfg_attr(not(feature = "manager"), allow(dead_code))]
    Trust,
}

pub(super) enum Attempt<T> {
    Waits,
    Whole { payload: Bytes, segments: Vec<(usize, T)> },
    Mismatch,
}

impl<T> Assembly<T> {
    pub(super) fn new(first: &Segment) -> Self {
        Self {
            shape: first.shape,
            length: first.length,
            seen: [0; 4],
            parts: BTreeMap::new(),
            bytes: 0,
            touched: 0,
            done: false,
            needs_data: false,
        }
    }

    /// Whether this segment is one of its, and did not come yet.
    pub(super) fn lacks(&self, segment: &Segment) -> bool {
        let (word, bit) = place(segment.index);
        self.shape == segment.shape && self.length == segment.length && self.seen[word] & bit == 0
    }

    /// Whether all of its segments came.
    pub(super) fn is_seen(&self) -> bool {
        self.seen.iter().map(|word| word.count_ones() as usize).sum::<usize>() == self.shape.all()
    }

    /// Adds a segment, and says how many bytes it keeps of it.
    pub(super) fn add(&mut self, segment: Segment, tag: T, now: u64) -> usize {
        let (word, bit) = place(segment.index);
        self.seen[word] |= bit;
        self.touched = now;
        if self.done {
            return 0;
        }
        let bytes = segment.payload.len();
        self.bytes += bytes;
        self.parts.insert(segment.index, (segment.payload, tag));
        bytes
    }

    pub(super) fn progress(&self, hash: [u8; HASH]) -> Progress {
        let held = if self.done { self.shape.data } else { self.parts.len() };
        Progress { hash, held, needed: self.shape.data, bytes: self.bytes, length: self.length }
    }

    /// Makes it whole, once there is enough.
    pub(super) fn attempt(&mut self, hash: &[u8; HASH], check: Check) -> Attempt<T> {
        if self.done || self.parts.len() < self.shape.data {
            return Attempt::Waits;
        }
        let has_data = self.parts.range(..self.shape.data).count() == self.shape.data;
        let payload = match has_data {
            true if check == Check::Trust => {
                let bytes: usize = self.parts.range(..self.shape.data).map(|(_, (piece, _))| piece.len()).sum();
                return match self.length.is_none_or(|length| length == bytes as u64) {
                    true => self.whole(Bytes::new()),
                    false => Attempt::Mismatch,
                };
            }
            true => Some(self.concatenated()).filter(|payload| is_of(hash, payload)),
            false if self.needs_data => return Attempt::Waits,
            false => match self.recovered(hash) {
                Ok(payload) => payload,
                Err(NotRecoverable) => {
                    self.needs_data = true;
                    return Attempt::Waits;
                }
            },
        };
        let fits = |payload: &Bytes| self.length.is_none_or(|length| length == payload.len() as u64);
        let Some(payload) = payload.filter(fits) else { return Attempt::Mismatch };
        self.whole(payload)
    }

    fn whole(&mut self, payload: Bytes) -> Attempt<T> {
        self.done = true;
        let parts = std::mem::take(&mut self.parts);
        Attempt::Whole { payload, segments: parts.into_iter().map(|(index, (_, tag))| (index, tag)).collect() }
    }

    fn concatenated(&self) -> Bytes {
        let mut payload = BytesMut::with_capacity(self.bytes);
        self.parts.range(..self.shape.data).for_each(|(_, (piece, _))| payload.extend_from_slice(piece));
        payload.freeze()
    }

    /// The payload by its parity; `None` where it is not what its hash says.
    fn recovered(&self, hash: &[u8; HASH]) -> Result<Option<Bytes>, NotRecoverable> {
        let pieces: Vec<Option<Bytes>> =
            (0..self.shape.all()).map(|index| self.parts.get(&index).map(|(piece, _)| piece.clone())).collect();
        let shards = parity::recover(&pieces, self.shape.data).ok_or(NotRecoverable)?;
        let mut payload = BytesMut::new();
        let (last, full) = shards.split_last().ok_or(NotRecoverable)?;
        full.iter().for_each(|shard| payload.extend_from_slice(shard));
        // What came tells how long the last one is; if it was recovered, the length of the whole does.
        let came = self.parts.get(&(self.shape.data - 1)).map(|(piece, _)| piece.len());
        let told =
            self.length.map(|length| usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(payload.len()));
        if let Some(len) = came.or(told) {
            payload.extend_from_slice(&last[..len.min(last.len())]);
            return Ok(Some(payload.freeze()).filter(|payload| is_of(hash, payload)));
        }
        let zeros = last.iter().rev().take_while(|byte| **byte == 0).count();
        let least = last.len() - zeros;
        let mut hasher = Keccak256::new();
        hasher.update(&payload);
        hasher.update(&last[..least]);
        for guess in 0..=zeros.min(MAX_GUESSES) {
            if least + guess > 0 && hasher.clone().finalize()[..] == hash[..] {
                payload.extend_from_slice(&last[..least + guess]);
                return Ok(Some(payload.freeze()));
            }
            hasher.update([0]);
        }
        if zeros > MAX_GUESSES { Err(NotRecoverable) } else { Ok(None) }
    }
}

/// The parity there is does not help.
struct NotRecoverable;

fn place(index: usize) -> (usize, u64) {
    // An index is below 255.
    (index / 64 % 4, 1 << (index % 64))
}
