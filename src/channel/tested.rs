//! What each sender's last filter has shown, so that its next one is tested only where it can show more.
//!
//! What: [`Tested`] keeps, per sender, that filter and a [`Watch`]: for each message it missed, one position that it has
//! not set. Why: between two seeds a filter only gains bits, so a message is missed until that one position is set; a
//! thousand open messages cost a few lookups instead of a thousand tests. How it moves: `Outgoing::review` takes the
//! watch of a sender out, tests what it says is due, and puts it back with what was missed. Forgetting costs nothing but
//! time: without a watch, everything open is tested.

use std::collections::{BTreeMap, BTreeSet};

use crate::filter::ReceivedFilter;
use crate::types::ParticipantId;

#[cfg(test)]
mod tests;

/// Bytes of filters and watches kept; senders heard longest ago go first.
const MAX_BYTES: usize = 1 << 20;
/// What a sender costs beyond that, in bytes.
const OVERHEAD: usize = 256;

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
    /// A position that is not set, and the message that is missed as long as it is not: those of the first filter under
    /// this seed, in order. What came after is apart, so that a thousand are sorted once and never inserted.
    missed: Vec<(u64, u64)>,
    later: BTreeSet<(u64, u64)>,
    /// Messages to test again in any case.
    again: Vec<u64>,
}

impl Tested {
    /// The numbers of messages open before that this filter must be tested against, and the watch to put back; or
    /// nothing, where it does not continue the sender's last one: then it must be tested against all.
    pub(super) fn resume(&mut self, sender: &ParticipantId, filter: &ReceivedFilter) -> (Vec<u64>, Watch) {
        let Some((earlier, mut watch)) = self.forget(sender) else { return Default::default() };
        // Where more positions are new than are watched, looking them up costs more than testing.
        let Some(gained) = filter.gained(&earlier, watch.missed.len() + watch.later.len()) else {
            return Default::default();
        };
        let mut due: Vec<u64> = std::mem::take(&mut watch.again);
        for position in gained {
            // Those of the first filter may stay: a position is gained once.
            let from = watch.missed.partition_point(|missed| missed.0 < position);
            due.extend(watch.missed[from..].iter().take_while(|missed| missed.0 == position).map(|missed| missed.1));
            let first = due.len();
            due.extend(watch.later.range((position, 0)..=(position, u64::MAX)).map(|(_, number)| *number));
            for number in &due[first..] {
                watch.later.remove(&(position, *number));
            }
        }
        (due, watch)
    }

    /// Remembers what this filter was tested against.
    pub(super) fn put(&mut self, sender: &ParticipantId, filter: &ReceivedFilter, watch: Watch) {
        self.forget(sender);
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
    /// Positions that are not set, with the numbers of the messages that were missed for them.
    pub(super) fn missed(&mut self, mut missed: Vec<(u64, u64)>) {
        if self.missed.is_empty() {
            missed.sort_unstable();
            self.missed = missed;
        } else {
            self.later.extend(missed);
        }
    }

    /// This message is to be tested again whatever the next filter gains.
    pub(super) fn again(&mut self, number: u64) {
        self.again.push(number);
    }

    fn len(&self) -> usize {
        self.missed.len() + self.later.len() + self.again.len()
    }
}

fn cost(filter: &ReceivedFilter, watch: &Watch) -> usize {
    OVERHEAD + filter.bytes() + watch.len() * size_of::<(u64, u64)>()
}
