//! Splitting: a payload becomes the contents of messages.

use bytes::Bytes;
use prost::Message as _;
use sha3::{Digest, Keccak256};

use super::{MAX_SEGMENT_BYTES, MAX_SEGMENTS, Mode, OVERHEAD, Read, generated, parity, read};

/// How payloads are split.
///
/// See the [example](crate::segment#example).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// When to split.
    pub mode: Mode,
    /// Bytes of content that a message has room for.
    pub room: usize,
    /// Add a parity segment for each eight data segments, so that as many may be lost.
    pub parity: bool,
}

impl Options {
    /// Without parity, of what is too large for messages with so many bytes of content.
    #[must_use]
    pub fn of_room(room: usize) -> Self {
        Self { mode: Mode::default(), room, parity: false }
    }

    /// Bytes of payload in a segment, the last excepted.
    pub(crate) fn segment_bytes(&self) -> usize {
        let bytes = self.room.saturating_sub(OVERHEAD).min(MAX_SEGMENT_BYTES);
        if self.parity { bytes - bytes % parity::UNIT } else { bytes }
    }

    /// Bytes of the largest payload.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        let single = self.room.min(MAX_SEGMENT_BYTES);
        if self.mode == Mode::Off {
            return self.room;
        }
        let data = if self.parity { parity::MAX_DATA } else { MAX_SEGMENTS };
        let split = self.segment_bytes().saturating_mul(data);
        if self.mode == Mode::Always { split } else { split.max(single) }
    }
}

/// Why a payload cannot be split: the caller's fault.
///
/// See the [example](crate::segment#example).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// There is nothing in it.
    #[error("the payload is empty")]
    Empty,
    /// It takes more than 255 segments.
    #[error("the payload has {bytes} bytes, and at most {max} can be sent")]
    TooLarge {
        /// Bytes of the payload.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
}

/// The contents of the messages that carry a payload, in the order in which they are to be sent: data, then parity.
///
/// # Errors
/// [`SplitError`].
pub fn split(payload: &Bytes, options: &Options) -> Result<Vec<Bytes>, SplitError> {
    if payload.is_empty() {
        return Err(SplitError::Empty);
    }
    let max = options.max_payload();
    if payload.len() > max {
        return Err(SplitError::TooLarge { bytes: payload.len(), max });
    }
    let fits = payload.len() <= options.room.min(MAX_SEGMENT_BYTES);
    match options.mode {
        Mode::Off => return Ok(vec![payload.clone()]),
        Mode::WhenLarge if fits && matches!(read(payload), Read::Plain) => return Ok(vec![payload.clone()]),
        Mode::WhenLarge | Mode::Always => {}
    }
    let bytes = options.segment_bytes();
    let pieces: Vec<Bytes> = match bytes {
        // Only where a single message has room for what reads as a segment, and none for its header.
        0 => Vec::new(),
        _ => (0..payload.len()).step_by(bytes).map(|at| payload.slice(at..payload.len().min(at + bytes))).collect(),
    };
    let parity = if options.parity { parity::encode(&pieces, bytes) } else { Vec::new() };
    if pieces.is_empty() || pieces.len() + parity.len() > MAX_SEGMENTS {
        return Err(SplitError::TooLarge { bytes: payload.len(), max: bytes.saturating_mul(MAX_SEGMENTS) });
    }
    // Both are at most 255.
    let count = |pieces: &[Bytes]| pieces.len() as u32;
    let blank = generated::Segment {
        entire_message_hash: Bytes::copy_from_slice(&Keccak256::digest(payload)),
        data_segment_count: count(&pieces),
        parity_segment_count: count(&parity),
        original_payload_length: payload.len() as u64,
        ..generated::Segment::default()
    };
    let data = (0..).zip(pieces).map(|(index, payload)| {
        generated::Segment { data_segment_index: index, payload, ..blank.clone() }.encode_to_vec().into()
    });
    let parity = (0..).zip(parity).map(|(index, payload)| {
        let segment = generated::Segment { parity_segment_index: index, payload, is_parity: true, ..blank.clone() };
        segment.encode_to_vec().into()
    });
    Ok(data.chain(parity).collect())
}
