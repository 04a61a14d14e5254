//! How many bytes a message takes on the wire, without encoding it.
//!
//! What: `encoded_len` of a message and of its larger parts, pure arithmetic over protobuf lengths. Why here:
//! `channel` trims messages to a transport's size and may not import `wire`. How it moves: it does not; a
//! property test in `tests/wire.rs` holds it equal to what `wire` writes.

use crate::types::{CatchUpField, Dialect, FilterField, HistoryEntry, Message, Signature};

impl Message {
    /// Exact length of this message as `wire::encode` writes it.
    #[must_use]
    pub fn encoded_len(&self, dialect: Dialect) -> usize {
        let entries = self.causal_history.iter().chain(&self.repair_request);
        let entries = entries.map(|entry| entry.encoded_len(dialect)).sum::<usize>();
        let filter = self.filter.encoded_len(dialect);
        if dialect == Dialect::NimSds {
            let seconds = self.lamport.unwrap_or_default().0 / dialect.tick_ms();
            return delimited(1, self.id.len())
                + tag_len(2)
                + varint_len(seconds)
                + entries
                + delimited(4, self.channel.len())
                + delimited(5, self.content.len())
                + filter
                + unless_empty(7, self.sender.len());
        }
        unless_empty(1, self.sender.len())
            + unless_empty(2, self.id.len())
            + unless_empty(3, self.channel.len())
            + self.lamport.map_or(0, |lamport| tag_len(10) + varint_len(lamport.0))
            + entries
            + unless_empty(20, self.content.len())
            + filter
            + self.catch_up.encoded_len()
            + signature(103, self.author_signature.as_ref())
            + signature(104, self.sender_signature.as_ref())
    }
}

impl HistoryEntry {
    /// Exact length this entry adds to a message, as a causal dependency or as a repair request.
    #[must_use]
    pub fn encoded_len(&self, dialect: Dialect) -> usize {
        // Fields 3, 11 and 13 have tags of one byte.
        delimited(11, self.body_len(dialect))
    }

    /// Length of an entry by itself.
    pub(crate) fn body_len(&self, dialect: Dialect) -> usize {
        let (hint, sender) =
            (self.hint.as_ref().map(|hint| hint.len()), self.sender.as_ref().map(|sender| sender.len()));
        let optional = |field, len: Option<usize>| match len {
            // nim-sds leaves out what is empty.
            Some(0) if dialect == Dialect::NimSds => 0,
            len => len.map_or(0, |len| delimited(field, len)),
        };
        unless_empty(1, self.id.len()) + optional(2, hint) + optional(3, sender)
    }
}

impl FilterField {
    /// Exact length this filter adds to a message; what the dialect does not carry adds nothing but the empty field 6
    /// that nim-sds always writes.
    #[must_use]
    pub fn encoded_len(&self, dialect: Dialect) -> usize {
        match (self, dialect) {
            (Self::Compact { .. }, Dialect::Lip109) => delimited(100, self.body_len()),
            (Self::Unspecified(bits), Dialect::JsWaku) if bits.len() == JS_FILTER_BYTES => delimited(12, bits.len()),
            (Self::NimSds(bits), Dialect::NimSds) => delimited(6, bits.len()),
            (_, Dialect::NimSds) => delimited(6, 0),
            _ => 0,
        }
    }

    /// Length of a compact filter by itself, 0 of any other.
    pub(crate) fn body_len(&self) -> usize {
        let Self::Compact { k, seed, bits } = self else { return 0 };
        let k_len = if *k == 0 { 0 } else { tag_len(1) + varint_len(u64::from(*k)) };
        k_len + delimited(2, seed.len()) + unless_empty(3, bits.len())
    }
}

impl CatchUpField {
    /// Exact length this adds to a message of the family of LIP-109.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Digest(digest) => delimited(101, digest.body_len()),
            Self::Frame(frame) => delimited(102, frame.body_len()),
        }
    }
}

/// Bytes of the one filter layout that js-waku takes: any other length makes it drop the message.
pub const JS_FILTER_BYTES: usize = 18_752;

fn signature(field: u64, signature: Option<&Signature>) -> usize {
    signature.map_or(0, |signature| unless_empty(field, signature.as_bytes().len()))
}

/// A number that is left out when 0.
pub(super) fn number(field: u64, value: u64) -> usize {
    if value == 0 { 0 } else { tag_len(field) + varint_len(value) }
}

/// A length-delimited field that is left out when empty.
pub(super) fn unless_empty(field: u64, len: usize) -> usize {
    if len == 0 { 0 } else { delimited(field, len) }
}

pub(super) fn delimited(field: u64, len: usize) -> usize {
    tag_len(field) + varint_len(len as u64) + len
}

fn tag_len(field: u64) -> usize {
    varint_len(field << 3)
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}
