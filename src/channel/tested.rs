//! What each sender's last filter has shown, so that its next one is tested only where it can show more.
//!
//! What: [`Tested`] keeps, per sender, that filter and a [`Watch`]: for each message it missed, one position that it has
//! not set. Why: between two seeds a filter only gains bits, so a message is missed until that one position is set; a
//! thousand open messages cost a few lookups instead of a thousand tests. How it moves: `Outgoing::review` takes the
//! watch of a sender out, tests what it says is due, and puts it back with what was missed. Forgetting costs nothing but
//! time: without a watch, everything open is tested.

use std::collections::BTreeMap;

use crate::filter::ReceivedFilter;
use crate::types::ParticipantId;

#[cfg(test)]
mod tests;

/// Bytes of filters and watches kept; senders heard longest ago go first.
const MAX_BYTES: usize = 1 << 20;
/// What a sender costs beyond that, in bytes.
const OVERHEAD: usize = 256;
/// Fewer positions are looked through sooner than arranged.
const MANY: usize = 32;

/// Filters heard last, by sender.
#[derive(Debug, Default)]
pub(super) struct Tested {
    senders: BTreeMap<ParticipantId, (u64, ReceivedFilter, Watch)>,
    order: BTreeMap<u64, ParticipantId>,
    next: u64,
    bytes: usize,
}

/// What a filter was tested against.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Messages numbered from here on were not open then.
    pub(super) from: u64,
    /// Positions that were not set, each with the message that is missed as long as it is not: in the order of the words
    /// they are in, and since then.
    arranged: ByWord,
    later: Vec<(u64, u64)>,
    /// Messages to test again in any case.
    again: Vec<u64>,
}

/// Positions in the order of the filter's words, of 64 bits each. Made in one pass: to sort a thousand after each new seed
/// costs as much as to test them, and to look through a word no more than to look at each position.
#[derive(Debug, Default)]
struct ByWord {
    /// Where each word begins.
    starts: Vec<u32>,
    positions: Vec<(u64, u64)>,
}

impl Tested {
    /// The numbers of messages open before that this filter must be tested against, and the watch to put back; or
    /// nothing, where it does not continue the sender's last one, or that watch is mostly of messages that are not among
    /// the `open` ones any more: then it must be tested against all.
    pub(super) fn resume(&mut self, sender: &ParticipantId, filter: &ReceivedFilter, open: usize) -> (Vec<u64>, Watch) {
        let earlier = self.forget(sender).filter(|(_, watch)| watch.len() <= 2 * open);
        let Some((gained, mut watch)) =
            earlier.and_then(|(earlier, watch)| filter.gained(&earlier).map(|gained| (gained, watch)))
        else {
            return (Vec::new(), Watch { later: Vec::with_capacity(open), ..Watch::default() });
        };
        let mut due: Vec<u64> = std::mem::take(&mut watch.again);
        // They may all stay where they are: a bit is gained once.
        for (word, bits) in &gained {
            let arranged = watch.arranged.of(*word).iter().filter(|(at, _)| bits >> (at % 64) & 1 == 1);
            due.extend(arranged.map(|(_, number)| *number));
        }
        let is_gained = |at: &u64| {
            let word = gained.binary_search_by_key(&(at / 64), |(word, _)| *word);
            word.is_ok_and(|word| gained[word].1 >> (at % 64) & 1 == 1)
        };
        due.extend(watch.later.iter().filter(|(at, _)| is_gained(at)).map(|(_, number)| *number));
        (due, watch)
    }

    /// Remembers what this filter was tested against.
    pub(super) fn put(&mut self, sender: &ParticipantId, filter: &ReceivedFilter, mut watch: Watch) {
        self.forget(sender);
        watch.arrange(filter);
        self.bytes += cost(filter, &watch);
        self.order.insert(self.next, sender.clone());
        self.senders.insert(sender.clone(), (self.next, filter.clone(), watch));
        self.next += 1;
        while self.bytes > MAX_BYTES
            && let Some((_, oldest)) = self.order.first_key_value()
        {
            let oldest = oldest.clone();
            self.forget(&oldest);
        }
    }

    /// Forgets a sender; its next filter is tested against everything.
    pub(super) fn forget(&mut self, sender: &ParticipantId) -> Option<(ReceivedFilter, Watch)> {
        let (number, filter, watch) = self.senders.remove(sender)?;
        self.order.remove(&number);
        self.bytes -= cost(&filter, &watch);
        Some((filter, watch))
    }
}

impl Watch {
    /// This message is missed as long as this position is not set.
    pub(super) fn missed(&mut self, position: u64, number: u64) {
        self.later.push((position, number));
    }

    /// Arranges what was missed later, once it is most of what is watched, and keeps no more room than that takes.
    fn arrange(&mut self, filter: &ReceivedFilter) {
        if self.later.len() > self.arranged.positions.len().max(MANY) {
            let mut all = std::mem::take(&mut self.later);
            all.extend(&self.arranged.positions);
            all.retain(|(at, _)| !filter.is_set(*at));
            self.arranged = ByWord::new(&all, filter.bytes().div_ceil(8));
        }
        // There was room for all that is open, and of many senders each may have missed nothing.
        self.later.shrink_to(2 * self.later.len());
    }

    /// This message is to be tested again whatever the next filter gains.
    pub(super) fn again(&mut self, number: u64) {
        self.again.push(number);
    }

    fn len(&self) -> usize {
        self.arranged.positions.len() + self.later.len() + self.again.len()
    }
}

impl ByWord {
    fn new(positions: &[(u64, u64)], words: usize) -> Self {
        let mut starts = vec![0; words];
        positions.iter().for_each(|(at, _)| starts[*at as usize / 64] += 1);
        // From how many there are to where they end; placing each moves that back to where they begin.
        let mut end = 0;
        for start in &mut starts {
            end += *start;
            *start = end;
        }
        let mut placed = vec![(0, 0); positions.len()];
        for position in positions {
            let start = &mut starts[position.0 as usize / 64];
            *start -= 1;
            placed[*start as usize] = *position;
        }
        Self { starts, positions: placed }
    }

    fn of(&self, word: u64) -> &[(u64, u64)] {
        let start = |word: u64| self.starts.get(word as usize).map_or(self.positions.len(), |start| *start as usize);
        &self.positions[start(word)..start(word + 1)]
    }
}

fn cost(filter: &ReceivedFilter, watch: &Watch) -> usize {
    let starts = watch.arranged.starts.len() * size_of::<u32>();
    OVERHEAD + filter.bytes() + watch.len() * size_of::<(u64, u64)>() + starts
}
