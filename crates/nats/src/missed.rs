//! [`Missed`]: since when each topic may lack something of the stream.
//!
//! Why a place a topic: topics are subscribed to again one by one, and the connection may be lost again before the last of
//! them. How it moves: [`begin`](Missed::begin) with a subscription says what it lacks, [`filled`](Missed::filled) that it has
//! been read, [`lost`](Missed::lost) that from here on all lack something.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reliable_channel::transport::Topic;

#[derive(Debug, Default)]
pub(crate) struct Missed(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How often the connection was lost.
    losses: u64,
    topics: BTreeMap<Topic, Lack>,
}

/// What a topic lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// It was never read.
    History,
    /// What came after this sequence of the stream.
    After(u64),
    /// Nothing.
    Nothing,
}

/// A topic is being read from the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filling {
    pub(crate) lack: Lack,
    losses: u64,
}

impl Missed {
    /// A subscription to this topic, and what it lacks.
    pub(crate) fn begin(&self, topic: &Topic) -> Filling {
        let mut state = self.lock();
        let losses = state.losses;
        let lack = *state.topics.entry(topic.clone()).or_insert(Lack::History);
        Filling { lack, losses }
    }

    /// What it lacked has been read.
    pub(crate) fn filled(&self, topic: &Topic, filling: Filling) {
        let mut state = self.lock();
        // What was lost while it was read is lacking still.
        if state.losses == filling.losses {
            // Nobody may read it any more.
            if let Some(lack) = state.topics.get_mut(topic) {
                *lack = Lack::Nothing;
            }
        }
    }

    /// The connection is lost, when the stream had come to this sequence.
    pub(crate) fn lost(&self, position: u64) {
        let mut state = self.lock();
        state.losses += 1;
        for lack in state.topics.values_mut() {
            if *lack == Lack::Nothing {
                *lack = Lack::After(position);
            }
        }
    }

    /// Nobody reads this topic any more. What it lacks, for the connection is lost, is kept in mind.
    pub(crate) fn left(&self, topic: &Topic) {
        let mut state = self.lock();
        if !matches!(state.topics.get(topic), Some(Lack::After(_))) {
            state.topics.remove(topic);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_topic_lacks_what_came_since_it_was_whole() {
        let (missed, a, b) = (Missed::default(), Topic::from("a"), Topic::from("b"));
        for topic in [&a, &b] {
            let filling = missed.begin(topic);
            assert_eq!(filling.lack, Lack::History);
            missed.filled(topic, filling);
        }
        missed.lost(100);
        let filling = missed.begin(&a);
        assert_eq!(filling.lack, Lack::After(100));
        missed.filled(&a, filling);
        missed.lost(200);
        assert_eq!(missed.begin(&a).lack, Lack::After(200));
        assert_eq!(missed.begin(&b).lack, Lack::After(100), "it was not read between the two");
    }

    #[test]
    fn a_topic_that_was_left_is_new_again_unless_the_connection_was_lost() {
        let (missed, a) = (Missed::default(), Topic::from("a"));
        for expected in [Lack::History, Lack::History] {
            let filling = missed.begin(&a);
            assert_eq!(filling.lack, expected);
            missed.filled(&a, filling);
            missed.left(&a);
        }
        missed.filled(&a, missed.begin(&a));
        missed.lost(3);
        missed.left(&a);
        assert_eq!(missed.begin(&a).lack, Lack::After(3));
    }

    #[test]
    fn nothing_is_kept_of_a_topic_that_was_left_before_it_was_read() {
        let (missed, a) = (Missed::default(), Topic::from("a"));
        let filling = missed.begin(&a);
        missed.left(&a);
        assert!(missed.lock().topics.is_empty(), "it was never read");
        missed.filled(&a, filling);
        assert!(missed.lock().topics.is_empty(), "who read it is gone");
    }

    #[test]
    fn what_was_not_read_to_its_end_is_lacking_still() {
        let (missed, a) = (Missed::default(), Topic::from("a"));
        let first = missed.begin(&a);
        missed.lost(1);
        missed.filled(&a, first);
        let second = missed.begin(&a);
        assert_eq!(second.lack, Lack::History, "lost while it was read");
        missed.filled(&a, second);
        missed.lost(7);
        assert_eq!(missed.begin(&a).lack, Lack::After(7));
        missed.lost(9);
        assert_eq!(missed.begin(&a).lack, Lack::After(7), "never read");
    }
}
