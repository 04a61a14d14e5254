//! The bytes that are signed: a domain tag, and SHA-256 of all fields in a fixed order (docs/protocol.md section 14).
//!
//! Each string of bytes has its length before it, each number and length is eight bytes, little-endian, and what may be
//! absent begins with a byte that says whether it is there: two messages that differ have different statements. The
//! content enters by its hash, so that who keeps that alone can still check the author's signature.

use sha2::{Digest as _, Sha256};

use crate::types::{
    CatchUpField, ChannelId, Digest, DigestRange, FilterField, Frame, FrameBody, HistoryEntry, Lamport, Message,
    MessageId, ParticipantId,
};

const BODY: &[u8; 24] = b"reliable-channel body 1\0";
const MESSAGE: &[u8; 27] = b"reliable-channel message 1\0";

/// What the author of a content message signs: what is kept of it. `content_hash` is SHA-256 of its content.
#[must_use]
pub fn body_statement(
    channel: &ChannelId,
    id: &MessageId,
    sender: &ParticipantId,
    lamport: Lamport,
    causal_history: &[HistoryEntry],
    content_hash: &[u8; 32],
) -> Vec<u8> {
    let mut fields = Fields(Sha256::new());
    fields.bytes(channel.as_bytes());
    fields.bytes(id.as_bytes());
    fields.bytes(sender.as_bytes());
    fields.number(lamport.0);
    fields.entries(causal_history);
    fields.0.update(content_hash);
    fields.after(BODY)
}

/// What the sender of a message signs: all that it carries but for this signature. `content_hash` is SHA-256 of its content.
#[must_use]
pub fn message_statement(message: &Message, content_hash: &[u8; 32]) -> Vec<u8> {
    // Named one by one, so that no new field is forgotten here.
    let Message {
        id,
        sender,
        channel,
        lamport,
        causal_history,
        filter,
        repair_request,
        content: _,
        catch_up,
        author_signature,
        sender_signature: _,
    } = message;
    let mut fields = Fields(Sha256::new());
    fields.bytes(channel.as_bytes());
    fields.bytes(id.as_bytes());
    fields.bytes(sender.as_bytes());
    fields.optional(lamport.map(|lamport| lamport.0), Fields::number);
    fields.entries(causal_history);
    fields.filter(filter);
    fields.entries(repair_request);
    fields.0.update(content_hash);
    fields.catch_up(catch_up);
    fields.optional(author_signature.as_ref(), |fields, signature| fields.bytes(signature.as_bytes()));
    fields.after(MESSAGE)
}

struct Fields(Sha256);

impl Fields {
    fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn optional<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.0.update([u8::from(value.is_some())]);
        if let Some(value) = value {
            put(self, value);
        }
    }

    fn entries(&mut self, entries: &[HistoryEntry]) {
        self.number(entries.len() as u64);
        for HistoryEntry { id, hint, sender } in entries {
            self.bytes(id.as_bytes());
            self.optional(hint.as_ref(), |fields, hint| fields.bytes(hint));
            // On the wire an empty name is none.
            let sender = sender.as_ref().filter(|sender| !sender.is_empty());
            self.optional(sender, |fields, sender| fields.bytes(sender.as_bytes()));
        }
    }

    fn filter(&mut self, filter: &FilterField) {
        match filter {
            FilterField::Absent => self.number(0),
            FilterField::Compact { k, seed, bits } => {
                self.number(1);
                self.number(u64::from(*k));
                self.bytes(seed);
                self.bytes(bits);
            }
            FilterField::Unspecified(bits) => {
                self.number(2);
                self.bytes(bits);
            }
            FilterField::NimSds(bits) => {
                self.number(3);
                self.bytes(bits);
            }
            FilterField::Unusable => self.number(4),
        }
    }

    fn catch_up(&mut self, catch_up: &CatchUpField) {
        match catch_up {
            CatchUpField::Absent => self.number(0),
            CatchUpField::Digest(digest) => {
                let Digest { upper, short, long, frames, archive, stable } = &**digest;
                self.number(1);
                self.number(upper.0);
                self.range(short);
                self.optional(long.as_ref(), Self::range);
                self.number(u64::from(*frames));
                self.number(u64::from(*archive));
                // On the wire a time of 0 is none.
                self.number(stable.map_or(0, |stable| stable.0));
            }
            CatchUpField::Frame(frame) => {
                let Frame { session, to, floor, body } = &**frame;
                self.number(2);
                self.number(*session);
                self.bytes(to.as_bytes());
                self.number(floor.0);
                self.frame(body);
            }
        }
    }

    fn range(&mut self, range: &DigestRange) {
        let DigestRange { lower, count, fingerprint } = range;
        self.number(lower.0);
        self.number(*count);
        self.bytes(fingerprint);
    }

    fn frame(&mut self, body: &FrameBody) {
        self.number(u64::from(body.field().unwrap_or(0)));
        match body {
            FrameBody::Reconcile { rules, upper, answer, push, message } => {
                self.number(u64::from(*rules));
                self.number(upper.0);
                self.number(u64::from(*answer));
                self.number(*push);
                self.bytes(message);
            }
            FrameBody::Fetch { rids } => self.bytes(rids.as_flattened()),
            FrameBody::FetchIds { ids } => self.ids(ids),
            FrameBody::End { sent, gone, more, evicted } => {
                self.number(*sent);
                self.bytes(gone.as_flattened());
                self.number(u64::from(*more));
                self.ids(evicted);
            }
            FrameBody::Busy { retry_after_ms } => self.number(*retry_after_ms),
            FrameBody::Cancel { reason } => self.number(u64::from(*reason)),
            FrameBody::Unknown => {}
        }
    }

    fn ids(&mut self, ids: &[MessageId]) {
        self.number(ids.len() as u64);
        ids.iter().for_each(|id| self.bytes(id.as_bytes()));
    }

    fn after(self, tag: &[u8]) -> Vec<u8> {
        [tag, &self.0.finalize()].concat()
    }
}
