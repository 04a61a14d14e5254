//! What each sender's last filter has shown, so that its next one is tested only where it can show more.
//!
//! What: [`Tested`] keeps, per sender, that filter and a [`Watch`]: for each message it missed, one position that it has
//! not set, in a hash table by position. Why: between two seeds a filter only gains bits, so a message is missed until
//! that one position is set; a thousand open messages cost a few lookups instead of a thousand tests. How it moves:
//! `Outgoing::review` takes the watch of a sender out, tests what it says is due, and puts it back with what was missed.
//! Forgetting costs nothing but time: without a watch, everything open is tested.

use std::collections::BTreeMap;

use crate::filter::ReceivedFilter;
use crate::types::ParticipantId;

#[cfg(test)]
mod tests;

/// Bytes of filters and watches kept; senders heard longest ago go first.
const MAX_BYTES: usize = 1 << 20;
/// What a sender costs beyond that, in bytes.
const OVERHEAD: usize = 256;
/// Fewer messages watched for are not looked through for those that need it no more.
const MANY: usize = 32;
/// Where a list of watched positions ends.
const END: u32 = u32::MAX;

/// Filters heard last, by sender.
#[derive(Debug, Default)]
pub(super) struct Tested {
    senders: BTreeMap<ParticipantId, Last>,
    order: BTreeMap<u64, ParticipantId>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Last {
    /// In the order in which senders were heard.
    number: u64,
    filter: ReceivedFilter,
    watch: Watch,
    /// Bytes that the two take.
    cost: usize,
}

/// What a filter was tested against. The empty one: nothing.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Messages numbered from here on were not open then.
    pub(super) from: u64,
    /// Positions that this filter has not set, each with the number of a message that it misses.
    pub(super) missed: Vec<(u64, u64)>,
    /// What it and those before it missed.
    missing: Missing,
    /// Messages to test again in any case.
    again: Vec<u64>,
}

/// Messages by the position that was not set and misses them: a hash table, the position being the hash.
#[derive(Debug, Default)]
struct Missing {
    entries: Vec<Entry>,
    /// Entries when the lists were made; and of each list, of all positions that are the same from the bit `shift` on,
    /// the entry that came last.
    made_for: usize,
    shift: u32,
    lists: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u64,
    /// Below the bits of a filter of at most [`MAX_BYTES`].
    position: u32,
    /// The entry before in the same list.
    before: u32,
}

impl Tested {
    /// The numbers of messages open before that this filter must be tested against, and the watch to put back; or
    /// nothing, where it does not continue the sender's last one, or that watch is mostly of messages that are not among
    /// the `open` ones any more: then it must be tested against all.
    pub(super) fn resume(&mut self, sender: &ParticipantId, filter: &ReceivedFilter, open: usize) -> (Vec<u64>, Watch) {
        let resumed = self.senders.get_mut(sender).and_then(|last| {
            // Taken in any case: what is not put back is tested against all.
            let mut watch = std::mem::take(&mut last.watch);
            let gained = filter.gained(&last.filter).filter(|_| watch.len() <= 2 * open)?;
            let mut due: Vec<u64> = std::mem::take(&mut watch.again);
            let missing = &watch.missing;
            let bits: usize = gained.iter().map(|(_, bits)| bits.count_ones() as usize).sum();
            if bits > missing.entries.len() {
                // A peer may gain every bit it has, and all that is watched may be in one list.
                let is_gained = |position| filter.is_set(position) && !last.filter.is_set(position);
                let entries = missing.entries.iter().filter(|entry| is_gained(entry.position.into()));
                due.extend(entries.map(|entry| entry.number));
                return Some((due, watch));
            }
            for (word, mut bits) in gained {
                while bits != 0 {
                    due.extend(missing.at(64 * word + u64::from(bits.trailing_zeros())));
                    bits &= bits - 1;
                }
            }
            Some((due, watch))
        });
        resumed.unwrap_or_default()
    }

    /// Remembers what this filter was tested against.
    pub(super) fn put(&mut self, sender: &ParticipantId, filter: &ReceivedFilter, mut watch: Watch) {
        if filter.bytes() > MAX_BYTES {
            return self.forget(sender);
        }
        watch.take_in_missed(filter);
        let (cost, newest) = (cost(filter, &watch), self.next);
        self.bytes += cost;
        if let Some(last) = self.senders.get_mut(sender) {
            self.bytes -= last.cost;
            // Else it is the one heard last anyway.
            if last.number + 1 < newest
                && let Some(name) = self.order.remove(&last.number)
            {
                self.order.insert(newest, name);
                (last.number, self.next) = (newest, newest + 1);
            }
            *last = Last { number: last.number, filter: filter.clone(), watch, cost };
        } else {
            self.order.insert(newest, sender.clone());
            self.next += 1;
            self.senders.insert(sender.clone(), Last { number: newest, filter: filter.clone(), watch, cost });
        }
        while self.bytes > MAX_BYTES
            && let Some((_, oldest)) = self.order.first_key_value()
        {
            let oldest = oldest.clone();
            self.forget(&oldest);
        }
    }

    /// Forgets a sender; its next filter is tested against everything.
    pub(super) fn forget(&mut self, sender: &ParticipantId) {
        if let Some(last) = self.senders.remove(sender) {
            self.order.remove(&last.number);
            self.bytes -= last.cost;
        }
    }

    /// The filter that this sender sent last, where it is remembered.
    pub(super) fn last(&self, sender: &ParticipantId) -> Option<&ReceivedFilter> {
        self.senders.get(sender).map(|last| &last.filter)
    }
}

impl Watch {
    /// Of a filter that is tested against messages numbered from here on.
    pub(super) fn starting_at(from: u64) -> Self {
        Self { from, ..Self::default() }
    }

    /// Takes in what this filter missed; once there is twice as much as before, leaves out what was tested again since.
    fn take_in_missed(&mut self, filter: &ReceivedFilter) {
        let missed = std::mem::take(&mut self.missed);
        let all = self.missing.entries.len() + missed.len();
        if all > 2 * self.missing.made_for.max(MANY) || self.missing.lists.is_empty() {
            let mut before = std::mem::take(&mut self.missing).entries;
            before.retain(|entry| !filter.is_set(entry.position.into()));
            self.missing = Missing::new(before.len() + missed.len(), filter.bytes() * 8);
            self.missing.add(before.iter().map(|entry| (entry.position.into(), entry.number)));
        }
        self.missing.add(missed.into_iter());
    }

    /// This message is to be tested again whatever the next filter gains.
    pub(super) fn again(&mut self, number: u64) {
        self.again.push(number);
    }

    fn len(&self) -> usize {
        self.missing.entries.len() + self.again.len()
    }
}

impl Missing {
    /// Room for so many positions below `bits`.
    fn new(room: usize, bits: usize) -> Self {
        // Two to four positions in each list, where they are spread evenly.
        let shift = (4 * bits / room.max(1)).max(1).ilog2();
        Self { entries: Vec::with_capacity(room), made_for: room, shift, lists: vec![END; (bits >> shift) + 1] }
    }

    /// Adds messages behind the positions that miss them, all below the `bits` that this was made for.
    fn add(&mut self, missed: impl ExactSizeIterator<Item = (u64, u64)>) {
        // So many entries that one of them were `END` have no place in memory.
        let numbered = (self.entries.len() as u32..).zip(missed);
        self.entries.extend(numbered.map(|(at, (position, number))| {
            let before = std::mem::replace(&mut self.lists[(position >> self.shift) as usize], at);
            Entry { number, position: position as u32, before }
        }));
    }

    /// The messages that this position misses. They may all stay where they are: a bit is gained once.
    fn at(&self, position: u64) -> impl Iterator<Item = u64> {
        let entry = |at: u32| self.entries.get(at as usize);
        let last = self.lists.get((position >> self.shift) as usize).and_then(|last| entry(*last));
        let list = std::iter::successors(last, move |next| entry(next.before));
        list.filter(move |entry| u64::from(entry.position) == position).map(|entry| entry.number)
    }
}

fn cost(filter: &ReceivedFilter, watch: &Watch) -> usize {
    let lists = watch.missing.lists.len() * size_of::<u32>();
    OVERHEAD + filter.bytes() + watch.len() * size_of::<Entry>() + lists
}
