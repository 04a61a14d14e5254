//! How many bytes a message takes on the wire, without encoding it.
//!
//! What: `encoded_len` of a message and of its larger parts, pure arithmetic over protobuf lengths. Why here:
//! `channel` trims messages to a transport's size and may not import `wire`. How it moves: it does not; a
//! property test in `tests/wire.rs` holds it equal to what `wire` writes.

use crate::types::{Dialect, FilterField, HistoryEntry, Message};

impl Message {
    /// Exact length of this message as `wire::encode` writes it.
    #[must_use]
    pub fn encoded_len(&self, dialect: Dialect) -> usize {
        let Dialect::Lip109 = dialect;
        let entries = self.causal_history.iter().chain(&self.repair_request);
        unless_empty(1, self.sender.len())
            + unless_empty(2, self.id.len())
            + unless_empty(3, self.channel.len())
            + self.lamport.map_or(0, |lamport| tag_len(10) + varint_len(lamport.0))
            + entries.map(|entry| entry.encoded_len(dialect)).sum::<usize>()
            + unless_empty(20, self.content.len())
            + self.filter.encoded_len(dialect)
    }
}

impl HistoryEntry {
    /// Exact length this entry adds to a message, as a causal dependency or as a repair request.
    #[must_use]
    pub fn encoded_len(&self, dialect: Dialect) -> usize {
        let Dialect::Lip109 = dialect;
        let body = unless_empty(1, self.id.len())
            + self.hint.as_ref().map_or(0, |hint| delimited(2, hint.len()))
            + self.sender.as_ref().map_or(0, |sender| delimited(3, sender.len()));
        delimited(11, body)
    }
}

impl FilterField {
    /// Exact length this filter adds to a message; 0 where the dialect does not carry it.
    #[must_use]
    pub fn encoded_len(&self, dialect: Dialect) -> usize {
        let Dialect::Lip109 = dialect;
        match self {
            Self::Compact { k, seed, bits } => {
                let k_len = if *k == 0 { 0 } else { tag_len(1) + varint_len(u64::from(*k)) };
                delimited(100, k_len + delimited(2, seed.len()) + unless_empty(3, bits.len()))
            }
            Self::Absent | Self::Unspecified(_) | Self::Unusable => 0,
        }
    }
}

/// A length-delimited field that is left out when empty.
fn unless_empty(field: u64, len: usize) -> usize {
    if len == 0 { 0 } else { delimited(field, len) }
}

fn delimited(field: u64, len: usize) -> usize {
    tag_len(field) + varint_len(len as u64) + len
}

fn tag_len(field: u64) -> usize {
    varint_len(field << 3)
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}
