//! Who else has received what is acknowledged already (docs/protocol.md section 7).

use std::collections::{HashMap, VecDeque};

use crate::types::{MessageId, ParticipantId};

use super::known::{IdMap, Keyed};

/// Participants remembered for one message.
const MOST: usize = 32;
/// Messages for which they are remembered, those acknowledged last.
const MESSAGES: usize = 1_024;

/// The acknowledgers of messages that were acknowledged since the opening.
#[derive(Debug)]
pub(super) struct Acknowledgers {
    by: IdMap<MessageId, Vec<ParticipantId>>,
    order: VecDeque<MessageId>,
}

impl Acknowledgers {
    pub(super) fn new(keys: Keyed) -> Self {
        Self { by: HashMap::with_hasher(keys), order: VecDeque::new() }
    }

    /// A message is acknowledged now.
    pub(super) fn first(&mut self, id: &MessageId, by: &ParticipantId) {
        if self.order.len() >= MESSAGES
            && let Some(oldest) = self.order.pop_front()
        {
            self.by.remove(&oldest);
        }
        self.order.push_back(id.clone());
        self.by.insert(id.clone(), vec![by.clone()]);
    }

    /// Another one has it; says whether that is news.
    pub(super) fn also(&mut self, id: &MessageId, by: &ParticipantId) -> bool {
        if self.by.is_empty() {
            return false;
        }
        let Some(known) = self.by.get_mut(id).filter(|known| known.len() < MOST && !known.contains(by)) else {
            return false;
        };
        known.push(by.clone());
        true
    }

    pub(super) fn of(&self, id: &MessageId) -> &[ParticipantId] {
        self.by.get(id).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgers_are_bounded_and_the_messages_acknowledged_first_are_forgotten() {
        let mut acknowledgers = Acknowledgers::new(Keyed::new(1));
        let name = |n: usize| ParticipantId::new(n.to_string());
        for n in 0..3 * MESSAGES {
            let id = MessageId::new(n.to_be_bytes());
            acknowledgers.first(&id, &name(0));
            assert_eq!((0..99).filter(|n| acknowledgers.also(&id, &name(*n))).count(), MOST - 1);
            assert_eq!(acknowledgers.of(&id), (0..MOST).map(name).collect::<Vec<_>>());
        }
        assert_eq!((acknowledgers.by.len(), acknowledgers.order.len()), (MESSAGES, MESSAGES));
        assert!(acknowledgers.of(&MessageId::new(0_usize.to_be_bytes())).is_empty());
    }
}
