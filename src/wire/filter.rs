//! Fields 12 and 100 to [`FilterField`] and back.
//!
//! What: the conversion of the two filter fields of the LIP-109 family. Why apart: a filter is optional
//! evidence, so a bad one must cost its sender the filter and never the message. How it moves: an oversized
//! or unparsable filter becomes [`FilterField::Unusable`] here; whether the rest is absurd, `filter` says.

use bytes::Bytes;
use prost::Message as _;

use super::compact;
use super::lip109::proto;
use crate::types::FilterField;

/// The filter a message carries: ours where it has one, else what field 12 holds.
pub(super) fn decode(ours: Option<Bytes>, field_12: Option<Bytes>, max_bytes: usize, packet_len: usize) -> FilterField {
    match (ours, field_12) {
        (Some(body), _) => decode_compact(body, max_bytes, packet_len).unwrap_or(FilterField::Unusable),
        (None, Some(body)) if body.len() <= max_bytes => FilterField::Unspecified(compact(body, packet_len)),
        (None, Some(_)) => FilterField::Unusable,
        (None, None) => FilterField::Absent,
    }
}

/// The body of field 100, or `None` when the dialect carries no such filter.
pub(super) fn encode(filter: &FilterField) -> Option<Bytes> {
    let FilterField::Compact { k, seed, bits } = filter else { return None };
    let body = proto::CompactFilter { k: *k, seed: Bytes::copy_from_slice(seed), bits: bits.clone() };
    Some(body.encode_to_vec().into())
}

fn decode_compact(body: Bytes, max_bytes: usize, packet_len: usize) -> Option<FilterField> {
    // Decoding shares the memory of `body`, so its length costs nothing before it is checked.
    let proto::CompactFilter { k, seed, bits } = proto::CompactFilter::decode(body).ok()?;
    let seed = seed.as_ref().try_into().ok()?;
    (bits.len() <= max_bytes).then(|| FilterField::Compact { k, seed, bits: compact(bits, packet_len) })
}
