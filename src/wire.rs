//! Bytes to messages and back, per dialect (docs/protocol.md section 1).
//!
//! What: [`decode`] tells the dialect apart, holds the [`Limits`] and gives a [`Message`]; [`encode`] writes
//! one. Why two walks: a length is a claim, so the first takes no memory, and only what passed it is taken out by the
//! second. Why not the decoder that prost generates: it would be a third, through types that are then converted; it
//! stays as what tests hold ours to (and see `filter`). How it moves: bytes, then `scan` (framing), then the dialect's
//! own check of limits, then the parts. A new dialect is a file beside `lip109` and an arm in [`decode`] and [`encode`].

mod catchup;
mod error;
mod filter;
pub(crate) mod generated;
mod lip109;
mod nim;
mod scan;

use bytes::Bytes;

pub use error::{IdRole, WireError};

use crate::types::{Dialect, Limits, Message};
use scan::Family;

/// Decodes one message and tells which dialect it is in: `NimSds`, or `Lip109`, from which no message of js-waku can be
/// told (see [`Dialect::same_family`]). Lamport times of nim-sds, in seconds there, become milliseconds.
///
/// Unknown fields are skipped and the last scalar wins. Contents, hints and filters share the input's memory
/// where they are at least half of it, else they are copied, so that small parts keep no large packet alive.
/// A filter that does not parse, or is over [`Limits::max_filter_bytes`], is no error:
/// it becomes [`FilterField::Unusable`](crate::types::FilterField::Unusable). nim-sds's stays as it is, for whoever looks
/// into it: it tells a message of that family.
///
/// # Errors
/// A [`WireError`]: the peer's fault. What a length claims is held to the limits before memory is taken for it.
pub fn decode(bytes: &Bytes, limits: &Limits) -> Result<(Message, Dialect), WireError> {
    scan::at_most(bytes.len(), limits.max_message_bytes)
        .map_err(|(found, max)| WireError::MessageTooLarge { found, max })?;
    match scan::family(bytes)? {
        Family::Lip109 => Ok((lip109::decode(bytes, limits)?, Dialect::Lip109)),
        Family::NimSds => Ok((nim::decode(bytes, limits)?, Dialect::NimSds)),
    }
}

/// Encodes one message.
///
/// Fields are in ascending order. A filter in another layout than the dialect's is left out, in `JsWaku` also one that
/// does not have its exact length. In the family of LIP-109 empty content leaves its field out; `NimSds` writes its
/// required fields also when empty, and Lamport time in seconds, rounded down. [`Limits`] are for what is received and
/// are not applied here.
///
/// # Errors
/// A [`WireError`] when the dialect cannot carry the message: the caller's fault.
pub fn encode(message: &Message, dialect: Dialect) -> Result<Bytes, WireError> {
    match dialect {
        Dialect::Lip109 | Dialect::JsWaku => lip109::encode(message, dialect),
        Dialect::NimSds => nim::encode(message),
    }
}

/// This part of a packet, in memory of its own when it is less than half of the packet.
fn compact(packet: &Bytes, part: &[u8]) -> Bytes {
    if part.len() >= packet.len().div_ceil(2) { packet.slice_ref(part) } else { Bytes::copy_from_slice(part) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_part_is_shared_and_a_small_one_copied() {
        let packet = Bytes::from(vec![7; 101]);
        let shared = compact(&packet, &packet[..51]);
        assert_eq!(shared.as_ptr(), packet.as_ptr());
        let copied = compact(&packet, &packet[..50]);
        assert_ne!(copied.as_ptr(), packet.as_ptr());
        assert_eq!(copied, packet.slice(..50));
    }
}
