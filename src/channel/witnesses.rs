//! How many participants have shown filters with fixed hashes (docs/protocol.md section 7).
//!
//! Each of them is one trial: its next filter repeats the accidents of the one before. Filters with a seed of their own are
//! a trial each, and are not counted here.

use std::collections::BTreeMap;

use crate::types::ParticipantId;

/// Participants known by name; who was heard longest ago is forgotten, and counts on.
const MOST: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Witnesses {
    /// The number of the last filter of each.
    last: BTreeMap<ParticipantId, u64>,
    /// The same numbers, in order.
    numbers: Vec<u64>,
    forgotten: u64,
}

impl Witnesses {
    /// A filter was heard; `number` is greater than that of any before.
    pub(super) fn heard(&mut self, sender: &ParticipantId, number: u64) {
        if let Some(before) = self.last.get_mut(sender) {
            let before = std::mem::replace(before, number);
            if let Ok(at) = self.numbers.binary_search(&before) {
                self.numbers.remove(at);
            }
        } else {
            if self.last.len() >= MOST {
                let oldest = self.numbers.remove(0);
                self.last.retain(|_, number| *number != oldest);
                self.forgotten += 1;
            }
            self.last.insert(sender.clone(), number);
        }
        self.numbers.push(number);
    }

    /// How many have shown filters numbered above `number`, at most.
    pub(super) fn since(&self, number: u64) -> u64 {
        let before = self.numbers.partition_point(|heard| *heard <= number);
        (self.numbers.len() - before) as u64 + self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_shows_many_filters_is_one_trial_and_nobody_is_left_out() {
        let mut witnesses = Witnesses::default();
        (1..=50).for_each(|number| witnesses.heard(&"bob".into(), number));
        witnesses.heard(&"carol".into(), 51);
        assert_eq!([0, 49, 50, 51].map(|number| witnesses.since(number)), [2, 2, 1, 0]);
        witnesses.heard(&"bob".into(), 52);
        assert_eq!([50, 51, 52].map(|number| witnesses.since(number)), [2, 1, 0]);
        for number in 0..3_000 {
            witnesses.heard(&ParticipantId::new(number.to_string()), 100 + number);
        }
        assert_eq!((witnesses.since(0), witnesses.last.len(), witnesses.numbers.len()), (3_002, MOST, MOST));
    }
}
