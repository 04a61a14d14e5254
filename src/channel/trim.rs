//! What a message leaves out where `max_transmit_bytes` has no room for all of it (docs/protocol.md section 1).
//!
//! The two newest heads come first: without them nobody finds what is missing. Then come our filter, and the names of
//! what we ask for. Where they do not fit together they take turns, so that a small packet silences neither for good.
//! Further heads stand in for requests while none is due. The tail of the log takes what room is left.

use crate::types::{
    CatchUpField, ChannelId, Dialect, FilterField, HistoryEntry, Lamport, Message, MessageId, ParticipantId,
};

use super::{Channel, Config, ConfigError};

/// Bytes of an id that the library makes: hex Keccak-256.
pub(super) const ID_BYTES: usize = 64;

impl Channel {
    /// Leaves out what does not fit into `max_transmit_bytes`. The first `keep` entries of the causal history stay; in a
    /// sync message, which has nothing else to carry, they give way to a request whose turn it is.
    pub(super) fn trim(&mut self, message: &mut Message, keep: usize) {
        let (Some(max), dialect) = (self.config.max_transmit_bytes, self.config.dialect) else { return };
        if message.encoded_len(dialect) <= max {
            return;
        }
        let names_first = self.names_first;
        self.names_first = !names_first;
        let filter = std::mem::replace(&mut message.filter, FilterField::Absent);
        let requests = std::mem::take(&mut message.repair_request);
        let mut history = message.causal_history.split_off(keep.min(message.causal_history.len()));
        let asked = requests.first().filter(|_| names_first).map_or(0, |entry| entry.encoded_len(dialect));
        if message.content.is_empty() {
            while message.encoded_len(dialect) + asked > max && message.causal_history.pop().is_some() {}
        }
        let mut room = Room { left: max.saturating_sub(message.encoded_len(dialect)), dialect };
        if !names_first {
            room.take_filter(message, &filter);
        }
        room.take(&mut message.repair_request, requests);
        let is_head = |entry: &HistoryEntry| self.log.is_head(&entry.id, &self.known);
        if names_first && message.repair_request.is_empty() && history.first().is_some_and(is_head) {
            room.take(&mut message.causal_history, history.drain(..1));
        }
        if names_first {
            room.take_filter(message, &filter);
        }
        room.take(&mut message.causal_history, history);
    }
}

impl Config {
    /// Checks that a sync message with one request fits into `max_transmit_bytes`, or, in a dialect without sync messages,
    /// a byte of content with one: ids as the library makes them, names as long as ours.
    pub(super) fn check_transmit(&self, channel: &ChannelId, participant: &ParticipantId) -> Result<(), ConfigError> {
        let Some(max) = self.max_transmit_bytes else { return Ok(()) };
        let id = MessageId::new([b'0'; ID_BYTES]);
        let request = HistoryEntry { id: id.clone(), hint: None, sender: Some(participant.clone()) };
        let message = Message {
            id,
            sender: participant.clone(),
            channel: channel.clone(),
            lamport: Some(Lamport(u64::MAX >> 1)),
            causal_history: Vec::new(),
            filter: FilterField::Absent,
            repair_request: vec![request],
            content: if self.dialect.has_sync() { "".into() } else { "x".into() },
            catch_up: CatchUpField::Absent,
            author_signature: None,
            sender_signature: self.room_for_signature(),
        };
        let least = message.encoded_len(self.dialect);
        if max < least { Err(ConfigError::TransmitTooSmall { max, least }) } else { Ok(()) }
    }
}

/// Bytes that are left in a message.
struct Room {
    left: usize,
    dialect: Dialect,
}

impl Room {
    /// Adds the entries that fit, in their order.
    fn take(&mut self, to: &mut Vec<HistoryEntry>, entries: impl IntoIterator<Item = HistoryEntry>) {
        for entry in entries {
            if let Some(left) = self.left.checked_sub(entry.encoded_len(self.dialect)) {
                self.left = left;
                to.push(entry);
            }
        }
    }

    fn take_filter(&mut self, message: &mut Message, filter: &FilterField) {
        let absent = message.filter.encoded_len(self.dialect);
        if let Some(left) = self.left.checked_sub(filter.encoded_len(self.dialect).saturating_sub(absent)) {
            self.left = left;
            message.filter = filter.clone();
        }
    }
}
