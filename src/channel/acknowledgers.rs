//! Who else has received what is acknowledged already (docs/protocol.md section 7).

use std::collections::{HashMap, VecDeque};

use crate::types::{MessageId, ParticipantId};

use super::known::{IdMap, Keyed};

/// Participants remembered for one message.
const MOST: usize = 32;
/// Messages for which they are remembered at most, those acknowledged last.
const MESSAGES: usize = 1_024;

/// The acknowledgers of messages that were acknowledged since the opening.
#[derive(Debug)]
pub(super) struct Acknowledgers {
    by: IdMap<MessageId, Vec<ParticipantId>>,
    order: VecDeque<MessageId>,
    messages: usize,
}

impl Acknowledgers {
    /// Remembers no more messages than the log has.
    pub(super) fn new(keys: Keyed, logged: usize) -> Self {
        Self { by: HashMap::with_hasher(keys), order: VecDeque::new(), messages: logged.min(MESSAGES) }
    }

    /// A message is acknowledged now.
    pub(super) fn first(&mut self, id: &MessageId, by: &ParticipantId) {
        if self.order.len() >= self.messages
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
        let mut acknowledgers = Acknowledgers::new(Keyed::new(1), usize::MAX);
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

    #[test]
    fn no_more_messages_are_remembered_than_a_log_has() {
        for logged in [1, 20] {
            let mut acknowledgers = Acknowledgers::new(Keyed::new(1), logged);
            let ids: Vec<_> = (0..100_usize).map(|n| MessageId::new(n.to_be_bytes())).collect();
            ids.iter().for_each(|id| acknowledgers.first(id, &ParticipantId::from("bob")));
            let remembered = ids.iter().map(|id| usize::from(!acknowledgers.of(id).is_empty()));
            assert_eq!(remembered.sum::<usize>(), logged);
        }
    }
}
