//! T_min and T_max that fit the network (docs/protocol.md section 10).
//!
//! How long repair takes is mostly how long requests wait. Where answers come fast, others hear them as fast, so that
//! short waits suffice to keep silent in time. The measure is how long answers to our own requests took.

use std::collections::VecDeque;
use std::time::Duration;

use crate::types::{RunningTime, millis};

use super::Config;

/// Answers remembered.
const SAMPLES: usize = 8;
/// T_min is so many times a fast answer.
const MARGIN: u32 = 3;
/// Among so many participants somebody else asks for most of what is missing.
const CROWD: usize = 64;

/// The waits of SDS-R as they are now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waits {
    pub(super) t_min: Duration,
    pub(super) t_max: Duration,
}

/// Measures answers, and says what waits they allow.
#[derive(Debug)]
pub(super) struct Answers {
    samples: VecDeque<Duration>,
    /// So many others were heard that few of our requests are needed, and few answers can be measured.
    crowd: bool,
    waits: Waits,
}

impl Answers {
    pub(super) fn new(config: &Config) -> Self {
        let waits = Waits { t_min: config.t_min, t_max: config.t_max };
        let mut answers = Self { samples: VecDeque::new(), crowd: false, waits };
        answers.adapt(config);
        answers
    }

    pub(super) fn waits(&self) -> Waits {
        self.waits
    }

    /// A request of ours, which nobody else made, was answered.
    pub(super) fn answered(&mut self, asked: RunningTime, now: RunningTime, config: &Config) {
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(now.since(asked));
        self.adapt(config);
    }

    /// So many participants were heard of.
    pub(super) fn heard_of(&mut self, participants: usize, config: &Config) {
        if !self.crowd && participants >= CROWD {
            self.crowd = true;
            self.adapt(config);
        }
    }

    fn adapt(&mut self, config: &Config) {
        let least = config.fastest_t_min.min(config.t_min);
        let mut sorted: Vec<Duration> = self.samples.iter().copied().collect();
        sorted.sort_unstable();
        // The fastest of all may have answered a request that we did not hear.
        let t_min = match sorted.get(1) {
            Some(fast) => fast.saturating_mul(MARGIN).clamp(least, config.t_min),
            None if self.crowd => config.t_min,
            None => least + (config.t_min - least) / 2,
        };
        self.waits = Waits { t_min, t_max: in_proportion(t_min, config) };
    }
}

/// T_max keeps its proportion to T_min.
fn in_proportion(t_min: Duration, config: &Config) -> Duration {
    if t_min == config.t_min {
        return config.t_max;
    }
    let scaled = u128::from(millis(config.t_max)) * t_min.as_micros() / config.t_min.as_micros().max(1);
    Duration::from_millis(u64::try_from(scaled).unwrap_or(u64::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn after(config: &Config, samples: &[u64]) -> (u64, u64) {
        let mut answers = Answers::new(config);
        for sample in samples {
            answers.answered(RunningTime::from_millis(5), RunningTime::from_millis(5 + sample), config);
        }
        (millis(answers.waits().t_min), millis(answers.waits().t_max))
    }

    #[test]
    fn waits_are_three_times_the_second_fastest_of_the_last_eight_answers_within_bounds() {
        let config = Config::default();
        assert_eq!(after(&config, &[]), (1_150, 5_750), "the middle");
        assert_eq!(after(&config, &[10]), (1_150, 5_750), "one may be an answer to somebody else");
        assert_eq!(after(&config, &[10, 200]), (600, 3_000));
        assert_eq!(after(&config, &[20, 10]), (300, 1_500));
        assert_eq!(after(&config, &[900, 5_000]), (2_000, 10_000));
        assert_eq!(
            after(&config, &[20, 10, 200, 200, 200, 200, 200, 200, 200]),
            (600, 3_000),
            "the first is forgotten"
        );
    }

    #[test]
    fn in_a_crowd_waits_are_long_until_two_answers_were_measured() {
        let config = Config::default();
        let mut answers = Answers::new(&config);
        answers.heard_of(CROWD - 1, &config);
        assert_eq!(millis(answers.waits().t_min), 1_150);
        answers.heard_of(CROWD, &config);
        assert_eq!((millis(answers.waits().t_min), millis(answers.waits().t_max)), (2_000, 10_000));
        for _ in 0..2 {
            answers.answered(RunningTime::from_millis(0), RunningTime::from_millis(200), &config);
        }
        assert_eq!(millis(answers.waits().t_min), 600);
    }

    #[test]
    fn waits_stay_as_they_are_where_no_faster_ones_are_allowed() {
        for fastest_t_min in [2 * SECOND, Duration::MAX] {
            let config = Config { fastest_t_min, ..Config::default() };
            assert_eq!(after(&config, &[10, 10, 10]), (2_000, 10_000));
        }
        let config = Config { t_min: Duration::ZERO, t_max: Duration::MAX, ..Config::default() };
        assert_eq!(after(&config, &[10, 10]), (0, millis(Duration::MAX)));
    }
}
