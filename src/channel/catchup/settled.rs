//! Up to where a digest speaks: what came in just now may still be on its way to others.
//!
//! That is the highest Lamport time there was 20 seconds ago. Where so much comes in that those seconds are most of the
//! log, it is that from before the newest quarter of the log.

use std::collections::VecDeque;
use std::time::Duration;

use crate::types::{Lamport, RunningTime};

/// So long ago a message came in that others had time to receive.
const SETTLED: Duration = Duration::from_secs(20);
/// Messages of one sample lie within so much time.
const SAMPLE: Duration = Duration::from_secs(1);
/// Samples kept: those of the time above, and those of a log's newest quarter.
const MAX_SAMPLES: usize = 64;
/// Parts of a log, of which a sample holds no more than one.
const PARTS: usize = 16;
/// Where a quarter of the log has fewer messages, time alone counts.
const LEAST_QUARTER: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Sample {
    from: RunningTime,
    to: RunningTime,
    /// Messages entered by its end, and by its beginning.
    count: u64,
    before: u64,
    highest: Lamport,
}

/// When which times were the highest.
#[derive(Debug)]
pub(super) struct Settled {
    samples: VecDeque<Sample>,
    opened: RunningTime,
    count: u64,
    highest: Lamport,
}

impl Settled {
    pub(super) fn new(now: RunningTime) -> Self {
        Self { samples: VecDeque::new(), opened: now, count: 0, highest: Lamport(0) }
    }

    /// A message has entered the log, which has so many now.
    pub(super) fn enter(&mut self, lamport: Lamport, now: RunningTime, log_len: usize) {
        self.highest = self.highest.max(lamport);
        let before = self.count;
        self.count += 1;
        let part = (log_len / PARTS).max(1) as u64;
        if let Some(last) = self.samples.back_mut()
            && now.since(last.from) < SAMPLE
            && self.count - last.before <= part
        {
            (last.to, last.count, last.highest) = (now, self.count, self.highest);
            return;
        }
        let sample = Sample { from: now, to: now, count: self.count, before, highest: self.highest };
        self.samples.push_back(sample);
        let settled = |sample: &Sample| now.since(sample.to) >= SETTLED;
        while self.samples.len() > MAX_SAMPLES || self.samples.get(1).is_some_and(settled) {
            self.samples.pop_front();
        }
    }

    /// The Lamport time up to which a digest may speak, for a log of so many messages.
    pub(super) fn upper(&self, now: RunningTime, log_len: usize) -> Option<Lamport> {
        if now.since(self.opened) < SETTLED {
            return None;
        }
        let quarter = log_len / 4;
        let newest = |sample: &&Sample| {
            let old = now.since(sample.to) >= SETTLED;
            let many = quarter >= LEAST_QUARTER && self.count - sample.count >= quarter as u64;
            old || many
        };
        self.samples.iter().rev().find(newest).map(|sample| sample.highest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: u64) -> RunningTime {
        RunningTime::from_millis(n * 1_000)
    }

    #[test]
    fn what_came_in_within_20_seconds_is_not_settled() {
        let mut settled = Settled::new(second(0));
        settled.enter(Lamport(5), second(0), 1);
        assert_eq!(settled.upper(second(19), 1), None, "just opened");
        assert_eq!(settled.upper(second(20), 1), Some(Lamport(5)));
        settled.enter(Lamport(9), second(30), 2);
        settled.enter(Lamport(7), second(31), 3);
        assert_eq!(settled.upper(second(49), 3), Some(Lamport(5)));
        assert_eq!(settled.upper(second(51), 3), Some(Lamport(9)), "the highest then, a lower one came later");
    }

    #[test]
    fn at_many_messages_a_second_all_but_the_newest_quarter_is_settled_and_samples_are_few() {
        let mut settled = Settled::new(second(0));
        for n in 0..100_000 {
            settled.enter(Lamport(n), RunningTime::from_millis(30_000 + n / 10), 1_000);
            assert!(settled.samples.len() <= MAX_SAMPLES);
        }
        let upper = settled.upper(second(41), 1_000).unwrap();
        assert!((99_600..99_750).contains(&upper.0), "{upper}");
    }
}
