//! What an application asks for an own message that nobody has acknowledged: to send it again, or to take it back
//! (docs/protocol.md section 8).
//!
//! A withdrawn message leaves nothing but a mark: its id is not used again, and a copy that comes back is not taken in.
//! It has no stub. A stub says that a message was delivered and others may be sent it, and stubs lie below the floor.

use std::sync::Arc;

use crate::state::{Body, LogKey, MarkKind, RowKey};
use crate::types::{HistoryEntry, Message, MessageId};

use super::{Channel, ChannelError, Event, Fate, Outcome};

impl Channel {
    /// Sends an own message again as if it had been sent now.
    pub(super) fn send_again(&mut self, id: &MessageId) -> Result<Outcome, ChannelError> {
        let key = self.pending(id)?;
        if self.outgoing.get(&key).is_some_and(|open| open.entry.failed) {
            let bytes = self.log.get(&key).map_or(0, |logged| logged.body.content.len());
            self.check_room(1, bytes)?;
            self.log.pin(&key);
        }
        self.outgoing.begin_anew(&key, self.now.running, self.now.wall);
        self.save_outgoing(&key);
        Ok(Outcome::Done)
    }

    /// Takes an own message back.
    pub(super) fn withdraw(&mut self, id: &MessageId) -> Result<Outcome, ChannelError> {
        let key = self.pending(id)?;
        if self.member_told(&key) {
            return Err(ChannelError::AcknowledgedAlready(id.clone()));
        }
        self.outgoing.remove(&key);
        self.effects.delete(RowKey::outgoing(&key));
        self.end_response(id);
        self.filter.remove(id);
        self.hints.remove(id);
        let withdrawn = self.log.remove(&key, &mut self.known);
        self.effects.delete(RowKey::body(&key));
        self.known.forget(id);
        if let Some(withdrawn) = withdrawn {
            self.note_taken_out(&withdrawn.body);
            self.name_no_more(&withdrawn.body);
        }
        self.set_mark(id, MarkKind::Withdrawn);
        self.retain();
        Ok(Outcome::Done)
    }

    pub(super) fn is_withdrawn(&self, id: &MessageId) -> bool {
        self.marks.get(id) == Some(MarkKind::Withdrawn)
    }

    /// A copy of what was withdrawn came back, or another message under its id.
    pub(super) fn take_withdrawn(&mut self, message: Message, own: bool) -> Fate {
        if own {
            self.stats.duplicates += 1;
            return Fate::Echo;
        }
        self.effects.tell(Event::IdConflict { id: message.id, sender: message.sender });
        Fate::Conflict
    }

    /// The place of an own message that nobody has acknowledged, given up or not.
    fn pending(&self, id: &MessageId) -> Result<LogKey, ChannelError> {
        let key = self.known.key(id).ok_or_else(|| ChannelError::UnknownMessage(id.clone()))?;
        if self.outgoing.get(&key).is_some() {
            return Ok(key);
        }
        let logged = self.log.get(&key);
        Err(match logged {
            Some(logged) if self.was_sent_here(logged) => ChannelError::AcknowledgedAlready(id.clone()),
            None if self.log.stub_sender(&key).is_some_and(|sender| self.is_own(sender)) => {
                ChannelError::UnknownMessage(id.clone())
            }
            _ => ChannelError::NotOwn(id.clone()),
        })
    }

    /// Own messages that named a withdrawn one name what it named instead, wherever they still go. So they keep their place
    /// in the order, and nobody asks for what nobody has.
    fn name_no_more(&mut self, withdrawn: &Body) {
        let naming: Vec<Arc<Body>> = self
            .log
            .after(&withdrawn.key)
            .filter(|logged| self.was_sent_here(logged) && names(&logged.body, &withdrawn.key.id))
            .map(|logged| logged.body.clone())
            .collect();
        let most = self.config.max_causal_heads.saturating_add(self.config.causal_history_size);
        for body in naming {
            self.note_taken_out(&body);
            let causal_history = without(&body.causal_history, withdrawn, most);
            let mut body = Body { causal_history, ..(*body).clone() };
            body.signature = self.signed(&body);
            let body = Arc::new(body);
            if let Some(logged) = self.log.replace(body, &mut self.known) {
                self.note_logged(&logged.body.key, true);
                self.keep_in_archive(&logged.body.key);
                self.effects.put(crate::state::Row::Message(logged));
            }
        }
    }
}

fn names(body: &Body, id: &MessageId) -> bool {
    body.causal_history.iter().any(|entry| entry.id == *id)
}

/// A causal history with what a withdrawn message named in its place, at most `most` entries or as many as it had. What it
/// named besides comes first: it stays, whatever the limit.
fn without(history: &[HistoryEntry], withdrawn: &Body, most: usize) -> Vec<HistoryEntry> {
    let mut entries: Vec<HistoryEntry> = history.iter().filter(|entry| entry.id != withdrawn.key.id).cloned().collect();
    for entry in &withdrawn.causal_history {
        if entries.iter().all(|known| known.id != entry.id) {
            entries.push(entry.clone());
        }
    }
    entries.truncate(most.max(history.len()));
    entries
}
