//! Payloads that are too large for one message: split into segments, and put together again (LIP-243).
//!
//! What: [`split`] makes the contents of one or more messages of a payload, and [`Reassembly`] makes payloads of such contents.
//! Why here and not in the channel: each segment is an ordinary message to that, with its own acknowledgement and repair.
//! How it moves: out, segments first and then the channel; in, the channel first, and what it delivers comes here in that order.
//! Nothing here has a clock or does I/O: what is kept can be made again from the messages in the log.
//!
//! # Example
//! ```
//! use reliable_channel::segment::{Options, Reassembly, split};
//!
//! let payload = bytes::Bytes::from(vec![7; 3_000]);
//! let contents = split(&payload, &Options::of_room(1_200))?;
//! assert_eq!(contents.len(), 3);
//!
//! let mut reassembly = Reassembly::default();
//! let mut whole = Vec::new();
//! for (number, content) in contents.iter().enumerate() {
//!     whole.extend(reassembly.take(&"alice".into(), content, number).whole());
//! }
//! assert_eq!(whole, [payload]);
//! # Ok::<(), reliable_channel::segment::SplitError>(())
//! ```

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
#[rustfmt::skip]
mod generated;
mod parity;
mod reassembly;
mod split;

use bytes::Bytes;
use prost::Message as _;

#[cfg(feature = "manager")]
pub(crate) use reassembly::Recalled;
pub use reassembly::{Abandoned, Bounds, Fate, Progress, Reassembly, Taken, Why};
pub use split::{Options, SplitError, split};

/// Segments of one payload at most, data and parity together: fewer than 256 (LIP-243, "Configuration").
pub const MAX_SEGMENTS: usize = 255;

/// Bytes of payload in one segment at most (LIP-173, `segmentSizeBytes`).
pub const MAX_SEGMENT_BYTES: usize = 102_400;

/// Bytes that a segment takes at most beyond its payload.
pub const OVERHEAD: usize = 58;

/// Bytes of a Keccak-256.
const HASH: usize = 32;

/// When a payload becomes segments.
///
/// See the [example](crate::segment#example).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Always, also where one would do: what LIP-243 says.
    Always,
    /// Where one message cannot carry it. A payload that reads as a segment itself is sent as one, so that nobody takes it
    /// for one. The default.
    #[default]
    WhenLarge,
    /// Never, and nothing that is received is taken for a segment.
    Off,
}

/// What a message's content is.
#[derive(Debug)]
enum Read {
    /// A payload itself.
    Plain,
    /// A segment of one.
    Segment(Segment),
    /// It has a segment's hash, and breaks the rules of LIP-243 ("Validation").
    Invalid(&'static str),
}

/// A segment that keeps the rules.
#[derive(Clone, Debug)]
struct Segment {
    hash: [u8; HASH],
    /// Data segments, then parity segments, counted from 0.
    index: usize,
    shape: Shape,
    payload: Bytes,
    /// Bytes of the whole, where its sender says so.
    length: Option<u64>,
}

/// Of how many segments something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    data: usize,
    parity: usize,
}

impl Shape {
    fn all(self) -> usize {
        self.data + self.parity
    }
}

/// Of how many data segments the payload of this content is.
#[cfg(feature = "manager")]
pub(crate) fn data_segments(content: &Bytes) -> usize {
    match read(content) {
        Read::Segment(segment) => segment.shape.data,
        Read::Plain | Read::Invalid(_) => 1,
    }
}

/// What this content carries of a payload, and the hash of the whole; none for a payload itself.
#[cfg(feature = "manager")]
pub(crate) fn piece(content: &Bytes) -> Option<(Bytes, [u8; HASH])> {
    match read(content) {
        Read::Segment(segment) => Some((segment.payload, segment.hash)),
        Read::Plain | Read::Invalid(_) => None,
    }
}

/// Whether a payload is what the hash in its segments says.
#[cfg(feature = "manager")]
pub(crate) fn is_of(hash: &[u8; HASH], payload: &[u8]) -> bool {
    reassembly::is_of(hash, payload)
}

/// Which of several segments of a payload this content is, if it is one.
pub(crate) fn place(content: &Bytes) -> Option<Place> {
    let Read::Segment(segment) = read(content) else { return None };
    match (segment.shape.all(), segment.index) {
        (1, _) => None,
        (_, 0) => Some(Place::First),
        _ => Some(Place::Further),
    }
}

/// Which of several segments something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    First,
    Further,
}

fn read(content: &Bytes) -> Read {
    // Any text or number decodes as protobuf now and then; a hash of the right length tells.
    let Ok(found) = generated::Segment::decode(content.clone()) else { return Read::Plain };
    let Ok(hash) = <[u8; HASH]>::try_from(&*found.entire_message_hash) else { return Read::Plain };
    let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    let shape = Shape { data: size(found.data_segment_count), parity: size(found.parity_segment_count) };
    let (index, of, first) = match found.is_parity {
        false => (size(found.data_segment_index), shape.data, 0),
        true => (size(found.parity_segment_index), shape.parity, shape.data),
    };
    if shape.data == 0 {
        return Read::Invalid("it is of no data segments");
    }
    if shape.data.saturating_add(shape.parity) > MAX_SEGMENTS {
        return Read::Invalid("it is of too many segments");
    }
    if index >= of {
        return Read::Invalid("its index is beyond the count");
    }
    if found.payload.is_empty() {
        return Read::Invalid("it carries nothing");
    }
    let length = Some(found.original_payload_length).filter(|length| *length > 0);
    Read::Segment(Segment { hash, index: first + index, shape, payload: found.payload, length })
}
