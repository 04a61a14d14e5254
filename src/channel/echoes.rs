//! Which messages under our own name are ours (docs/protocol.md section 5).
//!
//! A network may bring back what we sent. Another device under the same name, which there should not be, sends messages
//! that look like ours and are not. Content is known by its id. Of sync and ephemeral messages, which nothing else
//! remembers, [`Echoes`] remembers the last ones sent.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use crate::types::{Lamport, Message, MessageId, MessageKind};

use super::known::{Keyed, Standing};
use super::{Channel, Event};

/// Sync and ephemeral messages remembered.
const REMEMBERED: usize = 512;

#[derive(Debug)]
pub(super) struct Echoes {
    keys: Keyed,
    /// Hashes of the ids of what was sent last.
    sent: VecDeque<u64>,
    /// The clock when the channel was opened: sync messages up to it may be of the run before.
    opened_at: Lamport,
    /// Another device under our name was told of.
    shared: bool,
}

impl Echoes {
    pub(super) fn new(keys: Keyed) -> Self {
        Self { keys, sent: VecDeque::new(), opened_at: Lamport(0), shared: false }
    }

    /// The channel stands at this time when it is opened.
    pub(super) fn opened(&mut self, at: Lamport) {
        self.opened_at = at;
    }

    /// A sync or ephemeral message goes out.
    pub(super) fn sent(&mut self, id: &MessageId) {
        if self.sent.len() == REMEMBERED {
            self.sent.pop_front();
        }
        self.sent.push_back(self.keys.hash_one(id.as_bytes()));
    }

    fn contains(&self, id: &MessageId) -> bool {
        self.sent.contains(&self.keys.hash_one(id.as_bytes()))
    }
}

impl Channel {
    /// Whether a message under our name was sent from here, as far as can be said.
    pub(super) fn is_echo(&self, message: &Message, kind: MessageKind) -> bool {
        let id = &message.id;
        match kind {
            MessageKind::Ephemeral | MessageKind::Frame => self.echoes.contains(id),
            MessageKind::Sync => {
                self.echoes.contains(id) || message.lamport.is_none_or(|lamport| lamport <= self.echoes.opened_at)
            }
            MessageKind::Content => match self.known.key(id) {
                // Of an evicted one nobody can say.
                Some(key) if self.known.standing(id) == Standing::Delivered => {
                    let logged = self.log.get(&key).or_else(|| self.late.get(&key));
                    logged.is_none_or(|logged| self.was_sent_here(logged))
                }
                Some(_) => false,
                None => self.is_withdrawn(id) || self.is_too_old(message),
            },
        }
    }

    /// Whether an echo may be another device's: only its date says that it was sent from here before the opening.
    pub(super) fn may_be_of_another_device(&self, message: &Message, kind: MessageKind) -> bool {
        kind == MessageKind::Sync && !self.echoes.contains(&message.id)
    }

    /// Tells, once, that a message under our name was not sent from here.
    pub(super) fn tell_shared_identity(&mut self, message: &Message) {
        if !self.echoes.shared {
            self.echoes.shared = true;
            self.effects.tell(Event::SharedIdentity { id: message.id.clone() });
        }
    }
}
