//! Whose group may answer a request that nobody answers (docs/protocol.md section 10).
//!
//! Where those have left who are in a message's response group, nobody would ever answer. So requests that go unanswered
//! are counted, and each lets twice as many groups answer.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::types::{MessageId, RunningTime};

use super::known::{IdMap, Keyed};

/// Messages whose requests are counted; the one asked for first is forgotten.
const MOST: usize = 1_000;

#[derive(Debug)]
struct Asked {
    /// When the last request was counted.
    at: RunningTime,
    /// Requests counted after the first.
    repeated: u32,
    /// Its place in the order of first requests.
    number: u64,
}

/// Requests that nobody has answered, by message.
#[derive(Debug)]
pub(super) struct Widening {
    asked: IdMap<MessageId, Asked>,
    order: BTreeMap<u64, MessageId>,
    next: u64,
}

impl Widening {
    pub(super) fn new(keys: Keyed) -> Self {
        Self { asked: HashMap::with_hasher(keys), order: BTreeMap::new(), next: 0 }
    }

    /// A request is heard. It counts if `t_max`, in which an answer should have come, has passed since the last that
    /// counted, so that several participants who ask at once are one. Says how many groups may answer it.
    pub(super) fn requested(&mut self, id: &MessageId, now: RunningTime, t_max: Duration) -> u64 {
        if let Some(asked) = self.asked.get_mut(id) {
            if now.since(asked.at) >= t_max {
                (asked.at, asked.repeated) = (now, asked.repeated.saturating_add(1));
            }
            return 1 << asked.repeated.min(32);
        }
        if self.asked.len() >= MOST
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.asked.remove(&oldest);
        }
        self.asked.insert(id.clone(), Asked { at: now, repeated: 0, number: self.next });
        self.order.insert(self.next, id.clone());
        self.next += 1;
        1
    }

    /// A copy of the message was heard.
    pub(super) fn answered(&mut self, id: &MessageId) {
        if self.asked.is_empty() {
            return;
        }
        if let Some(asked) = self.asked.remove(id) {
            self.order.remove(&asked.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T_MAX: Duration = Duration::from_secs(10);

    fn second(n: u64) -> RunningTime {
        RunningTime::from_millis(n * 1_000)
    }

    #[test]
    fn a_request_counts_when_t_max_has_passed_since_the_last_that_counted() {
        let mut widening = Widening::new(Keyed::new(1));
        let id = MessageId::from("m");
        let groups = [0, 1, 9, 10, 11, 19, 20, 45, 54].map(|at| widening.requested(&id, second(at), T_MAX));
        assert_eq!(groups, [1, 1, 1, 2, 2, 2, 4, 8, 8]);
        widening.answered(&id);
        assert_eq!(widening.requested(&id, second(60), T_MAX), 1);
        let most = (7..99).map(|n| widening.requested(&id, second(10 * n), T_MAX)).max();
        assert_eq!(most, Some(1 << 32), "beyond any number of groups");
    }

    #[test]
    fn a_thousand_messages_are_counted() {
        let mut widening = Widening::new(Keyed::new(1));
        let id = |n: u64| MessageId::new(n.to_be_bytes());
        for n in 0..5_000 {
            assert_eq!(widening.requested(&id(n), second(0), T_MAX), 1);
            assert!(widening.asked.len() <= MOST && widening.order.len() == widening.asked.len());
        }
        assert_eq!(widening.requested(&id(4_000), second(10), T_MAX), 2);
        assert_eq!(widening.requested(&id(3_999), second(10), T_MAX), 1, "forgotten");
        (0..5_000).for_each(|n| widening.answered(&id(n)));
        assert!(widening.asked.is_empty() && widening.order.is_empty());
    }
}
