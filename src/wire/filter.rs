//! Filter fields to [`FilterField`]: 12 and 100 of the LIP-109 family, 6 of nim-sds.
//!
//! What: their conversion. Why apart: a filter is optional
//! evidence, so a bad one must cost its sender the filter and never the message. How it moves: in the family of LIP-109 an
//! oversized or unparsable filter becomes [`FilterField::Unusable`] here; whether the rest is absurd, `filter` says.

use bytes::Bytes;
use prost::Message as _;

use super::compact;
use super::lip109::proto;
use crate::types::{FilterField, JS_FILTER_BYTES};

/// The filter a message carries: ours where it has one, else what field 12 holds.
pub(super) fn decode(ours: Option<Bytes>, field_12: Option<Bytes>, max_bytes: usize, packet_len: usize) -> FilterField {
    match (ours, field_12) {
        (Some(body), _) => decode_compact(body, max_bytes, packet_len).unwrap_or(FilterField::Unusable),
        (None, Some(body)) if body.len() <= max_bytes => FilterField::Unspecified(compact(body, packet_len)),
        (None, Some(_)) => FilterField::Unusable,
        (None, None) => FilterField::Absent,
    }
}

/// What field 12 may hold: js-waku drops a message where it does not have the length of its own layout.
pub(super) fn js(filter: &FilterField) -> Option<&Bytes> {
    match filter {
        FilterField::Unspecified(bits) => Some(bits).filter(|bits| bits.len() == JS_FILTER_BYTES),
        _ => None,
    }
}

/// Field 6 of nim-sds, which looks into it only when it reviews acknowledgements. One over the limit stays in the
/// packet's memory, and `filter` refuses it: the field must still tell empty content from a sync message.
pub(super) fn decode_nim(field_6: Bytes, packet_len: usize) -> FilterField {
    FilterField::NimSds(compact(field_6, packet_len))
}

fn decode_compact(body: Bytes, max_bytes: usize, packet_len: usize) -> Option<FilterField> {
    // Decoding shares the memory of `body`, so its length costs nothing before it is checked.
    let proto::CompactFilter { k, seed, bits } = proto::CompactFilter::decode(body).ok()?;
    let seed = seed.as_ref().try_into().ok()?;
    (bits.len() <= max_bytes).then(|| FilterField::Compact { k, seed, bits: compact(bits, packet_len) })
}
