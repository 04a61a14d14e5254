//! Messages of which some fragments are here.
//!
//! What: [`Reassembly`]. Why it asks by itself: most messages of a file are larger than a datagram, and one lost datagram
//! must not cost the whole message a resend. How it moves: [`Reassembly::take`] adds a fragment and gives the message that
//! it completes; where a hole stays, [`Reassembly::timeout`] gives the NACKs that are due, after 20 ms and then at doubling
//! intervals, until the message is given up. Memory is bounded; of what is over, the oldest message goes of the address
//! that holds most.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::datagram::{Fragment, MessageName, Nack};

/// Bytes of fragments and of what is kept beside them.
pub(crate) const MAX_BYTES: usize = 16 << 20;
/// Taken for a message begun, and for each of its fragments that may come.
const MESSAGE_BYTES: usize = 512;
const SLOT_BYTES: usize = 64;
/// Messages completed that are known as such, so that a late fragment begins nothing.
const MAX_DONE: usize = 4_096;
/// Wait before the first NACK, and after the last fragment that came.
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// NACKs without an answer before a message is given up, each after twice the wait: 2.5 seconds in all.
const MAX_ASKED: u32 = 6;

type Key = (SocketAddr, MessageName);

/// Messages of which some fragments are here.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    begun: BTreeMap<Key, Begun>,
    due: BTreeSet<(Duration, Key)>,
    sources: BTreeMap<IpAddr, Source>,
    /// Bytes held by each address, so that the last one holds most.
    heaviest: BTreeSet<(usize, IpAddr)>,
    bytes: usize,
    started: u64,
    done: BTreeSet<Key>,
    done_order: VecDeque<Key>,
}

#[derive(Debug)]
struct Begun {
    topic: u64,
    pieces: Vec<Option<Bytes>>,
    missing: u64,
    bytes: usize,
    due: Duration,
    asked: u32,
    started: u64,
}

#[derive(Debug, Default)]
struct Source {
    bytes: usize,
    /// By when they were begun.
    messages: BTreeMap<u64, Key>,
}

impl Reassembly {
    /// Takes a fragment in. Gives the message when it is whole.
    pub(crate) fn take(&mut self, now: Duration, from: SocketAddr, fragment: Fragment) -> Option<Bytes> {
        if fragment.count == 1 {
            return Some(fragment.piece);
        }
        let key = (from, fragment.message);
        if self.done.contains(&key) {
            return None;
        }
        if !self.begun.contains_key(&key) {
            self.begin(now, key, &fragment);
        }
        let begun = self.begun.get_mut(&key)?;
        let bit = 1 << fragment.index;
        // Another count or topic under the same name is somebody's lie.
        let fits = begun.pieces.len() == usize::from(fragment.count) && begun.topic == fragment.topic;
        if !fits || begun.missing & bit == 0 {
            return None;
        }
        begun.missing &= !bit;
        let len = fragment.piece.len();
        begun.bytes += len;
        begun.pieces[usize::from(fragment.index)] = Some(fragment.piece);
        let whole = begun.missing == 0;
        begun.asked = 0;
        self.arm(key, now + FIRST_WAIT);
        self.hold(key.0.ip(), len);
        if whole {
            return self.complete(key);
        }
        self.make_room();
        None
    }

    /// When there is something to ask for.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        self.due.first().map(|(due, _)| *due)
    }

    /// The NACKs that are due, and to whom. What was asked for in vain is given up.
    pub(crate) fn timeout(&mut self, now: Duration) -> Vec<(SocketAddr, Nack)> {
        let mut nacks = Vec::new();
        while let Some((due, key)) = self.due.first().copied()
            && due <= now
        {
            let begun = self.begun.get_mut(&key).expect("what is due was begun: `forget` takes both away");
            if begun.asked >= MAX_ASKED {
                self.forget(key);
                continue;
            }
            begun.asked += 1;
            nacks.push((key.0, Nack { message: key.1, missing: begun.missing }));
            let wait = FIRST_WAIT * 2_u32.pow(begun.asked);
            self.arm(key, now + wait);
        }
        nacks
    }

    fn begin(&mut self, now: Duration, key: Key, fragment: &Fragment) {
        let bytes = MESSAGE_BYTES + usize::from(fragment.count) * SLOT_BYTES;
        self.started += 1;
        let (due, started) = (now + FIRST_WAIT, self.started);
        let missing = u64::MAX >> (64 - u32::from(fragment.count));
        let pieces = vec![None; usize::from(fragment.count)];
        self.begun.insert(key, Begun { topic: fragment.topic, pieces, missing, bytes, due, asked: 0, started });
        self.due.insert((due, key));
        self.sources.entry(key.0.ip()).or_default().messages.insert(started, key);
        self.hold(key.0.ip(), bytes);
    }

    fn arm(&mut self, key: Key, due: Duration) {
        if let Some(begun) = self.begun.get_mut(&key) {
            self.due.remove(&(begun.due, key));
            begun.due = due;
            self.due.insert((due, key));
        }
    }

    fn complete(&mut self, key: Key) -> Option<Bytes> {
        let begun = self.forget(key)?;
        self.done.insert(key);
        self.done_order.push_back(key);
        if self.done_order.len() > MAX_DONE
            && let Some(oldest) = self.done_order.pop_front()
        {
            self.done.remove(&oldest);
        }
        let mut whole = BytesMut::with_capacity(begun.bytes);
        begun.pieces.iter().flatten().for_each(|piece| whole.extend_from_slice(piece));
        Some(whole.freeze())
    }

    fn make_room(&mut self) {
        while self.bytes > MAX_BYTES {
            let Some((_, ip)) = self.heaviest.last().copied() else { return };
            let Some(oldest) = self.sources.get(&ip).and_then(|source| source.messages.values().next().copied()) else {
                return;
            };
            self.forget(oldest);
        }
    }

    fn forget(&mut self, key: Key) -> Option<Begun> {
        let begun = self.begun.remove(&key)?;
        self.due.remove(&(begun.due, key));
        let ip = key.0.ip();
        if let Some(source) = self.sources.get_mut(&ip) {
            source.messages.remove(&begun.started);
            self.heaviest.remove(&(source.bytes, ip));
            source.bytes -= begun.bytes;
            if source.messages.is_empty() {
                self.sources.remove(&ip);
            } else {
                self.heaviest.insert((source.bytes, ip));
            }
        }
        self.bytes -= begun.bytes;
        Some(begun)
    }

    /// Counts more bytes of an address.
    fn hold(&mut self, ip: IpAddr, more: usize) {
        self.bytes += more;
        let source = self.sources.entry(ip).or_default();
        self.heaviest.remove(&(source.bytes, ip));
        source.bytes += more;
        self.heaviest.insert((source.bytes, ip));
    }
}

#[cfg(test)]
mod tests;
