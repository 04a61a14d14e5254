//! Why bytes make no message, or a message no bytes.
//!
//! What: [`WireError`] and the name of the identifier concerned. Why one enum: decoding and encoding keep the
//! same rules. From [`decode`](super::decode) every variant is the peer's fault, from
//! [`encode`](super::encode) the caller's. How it moves: it does not.

use std::fmt;

/// Why bytes make no message: the peer's fault when decoding, the caller's when encoding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The packet is over `Limits::max_message_bytes`.
    #[error("message of {found} bytes, at most {max} are allowed")]
    MessageTooLarge {
        /// Bytes received.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// The content is over `Limits::max_content_bytes`.
    #[error("content of {found} bytes, at most {max} are allowed")]
    ContentTooLarge {
        /// Bytes received.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// A retrieval hint is over `Limits::max_hint_bytes`.
    #[error("retrieval hint of {found} bytes, at most {max} are allowed")]
    HintTooLarge {
        /// Bytes received.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// A signature is over `Limits::max_signature_bytes`.
    #[error("signature of {found} bytes, at most {max} are allowed")]
    SignatureTooLarge {
        /// Bytes received.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// More causal dependencies than `Limits::max_causal_entries`.
    #[error("{found} or more causal history entries, at most {max} are allowed")]
    TooManyCausalEntries {
        /// Entries counted before reading stopped.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// More repair requests than `Limits::max_causal_entries`, which bounds both lists.
    #[error("{found} or more repair requests, at most {max} are allowed")]
    TooManyRepairEntries {
        /// Entries counted before reading stopped.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// An identifier is over `Limits::max_id_bytes`.
    #[error("{role} of {found} bytes, at most {max} are allowed")]
    IdTooLong {
        /// Which identifier.
        role: IdRole,
        /// Bytes received.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// An identifier is missing or empty.
    #[error("empty {role}")]
    EmptyId {
        /// Which identifier.
        role: IdRole,
    },
    /// An identifier is not UTF-8, which this dialect requires.
    #[error("{role} is not UTF-8")]
    NotUtf8 {
        /// Which identifier.
        role: IdRole,
    },
    /// The bytes end inside a field.
    #[error("truncated: the field at byte {at} runs past the end of what holds it")]
    Truncated {
        /// Offset in the packet.
        at: usize,
    },
    /// A varint of more than 64 bits.
    #[error("the number at byte {at} does not fit 64 bits")]
    VarintOverflow {
        /// Offset in the packet.
        at: usize,
    },
    /// A field number that protobuf does not have: 0, or 2^29 and above.
    #[error("invalid field number at byte {at}")]
    FieldNumber {
        /// Offset in the packet.
        at: usize,
    },
    /// A wire type this field does not have, or one that no field has: groups, 6 and 7.
    #[error("field {field} has wire type {found}")]
    WireType {
        /// Field number, in the message or in the history entry.
        field: u32,
        /// Wire type received.
        found: u8,
    },
    /// A number that nim-sds refuses because it is written longer than need be.
    #[error("the number at byte {at} is longer than need be")]
    VarintOverlong {
        /// Offset in the packet.
        at: usize,
    },
    /// A Lamport time in seconds that no clock can show in milliseconds.
    #[error("a Lamport time of {seconds} seconds is out of range")]
    LamportRange {
        /// As it was received.
        seconds: u64,
    },
    /// The dialect has no such messages: nim-sds has no ephemeral and no sync ones.
    #[error("the dialect has no such message: {what}")]
    NotInDialect {
        /// What it does not have.
        what: &'static str,
    },
    /// A list of rids that is no multiple of 32 bytes.
    #[error("{found} bytes are no list of rids")]
    Rids {
        /// Bytes received.
        found: usize,
    },
    /// More ids than a frame may name.
    #[error("{found} or more ids, at most {max} are allowed")]
    TooManyIds {
        /// Ids counted before reading stopped.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// A frame that is larger than frames may be.
    #[error("a frame of {found} bytes, at most {max} are allowed")]
    FrameTooLarge {
        /// Bytes received.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// Neither content nor Lamport time nor a frame: no kind of message has this shape.
    #[error("malformed: neither content nor Lamport time nor frame")]
    NoKind,
}

/// Which identifier of a message a [`WireError`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IdRole {
    /// The message's id.
    Message,
    /// The message's sender.
    Sender,
    /// The message's channel.
    Channel,
    /// The id in a history entry.
    EntryMessage,
    /// The sender in a history entry.
    EntrySender,
    /// The participant that a frame is for.
    Recipient,
}

impl fmt::Display for IdRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Message => "message id",
            Self::Sender => "sender id",
            Self::Channel => "channel id",
            Self::EntryMessage => "message id in a history entry",
            Self::EntrySender => "sender id in a history entry",
            Self::Recipient => "recipient id of a frame",
        })
    }
}
