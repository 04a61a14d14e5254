//! Several messages sent as one: all of them or none, in one step and so in one commit.
//!
//! What: [`Channel::send_many`]. Why: what was split must not be saved by halves, or a crash leaves a beginning without end.
//! How it moves: what could refuse any of them is looked at first; then each is sent as usual, and names the one before it.

use bytes::Bytes;

use crate::types::{HistoryEntry, Lamport, MessageId};

use super::send::KEPT_HEADS;
use super::trim::ID_BYTES;
use super::{Channel, ChannelError, Outcome};

impl Channel {
    pub(super) fn send_many(&mut self, contents: Vec<Bytes>) -> Result<Outcome, ChannelError> {
        contents.iter().try_for_each(|content| self.check_content(content))?;
        let bytes = contents.iter().fold(0_usize, |sum, content| sum.saturating_add(content.len()));
        self.check_room(contents.len(), bytes)?;
        if let Some(largest) = contents.iter().max_by_key(|content| content.len()) {
            self.check_heads(largest)?;
        }
        let mut ids = Vec::with_capacity(contents.len());
        for content in contents {
            // Setting the clock right may deliver what waited, with longer names than were looked at.
            let sent = self.send(content.clone(), None, KEPT_HEADS).or_else(|_| self.send(content, None, 0))?;
            if let Outcome::Sent(id) = sent {
                ids.push(id);
            }
        }
        Ok(Outcome::SentMany(ids))
    }

    /// Checks that a message with this content has room for the longest names that it may have to carry.
    fn check_heads(&self, content: &Bytes) -> Result<(), ChannelError> {
        let id = MessageId::new([b'0'; ID_BYTES]);
        let own = HistoryEntry { id: id.clone(), hint: None, sender: Some(self.participant.clone()) };
        let heads = self.log.newest_heads(usize::MAX).filter_map(|key| self.entry_of(key));
        let mut entries: Vec<HistoryEntry> = heads.chain([own]).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.encoded_len(self.config.dialect)));
        entries.truncate(KEPT_HEADS);
        let mut message = self.bare_message(id, Some(Lamport(u64::MAX >> 1)), content.clone());
        message.causal_history = entries;
        self.check_size(&message)
    }
}
