//! Filter fields to [`FilterField`]: 12 and 100 of the LIP-109 family, 6 of nim-sds.
//!
//! What: their conversion. Why apart: a filter is optional
//! evidence, so a bad one must cost its sender the filter and never the message. How it moves: in the family of LIP-109 an
//! oversized or unparsable filter becomes [`FilterField::Unusable`] here; whether the rest is absurd, `filter` says.
//! Field 100 is read as prost reads it, by prost where it holds a group: nothing writes them any more.

use bytes::Bytes;
use prost::Message as _;

use super::generated::lip109 as proto;
use super::scan::Fields;
use super::{WireError, compact};
use crate::types::{FilterField, JS_FILTER_BYTES};

/// The filter a message carries: ours where it has one, else what field 12 holds.
pub(super) fn decode(ours: Option<&[u8]>, field_12: Option<&[u8]>, max_bytes: usize, packet: &Bytes) -> FilterField {
    match (ours, field_12) {
        (Some(body), _) => decode_compact(body, max_bytes, packet).unwrap_or(FilterField::Unusable),
        (None, Some(body)) if body.len() <= max_bytes => FilterField::Unspecified(compact(packet, body)),
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
pub(super) fn decode_nim(field_6: &[u8], packet: &Bytes) -> FilterField {
    FilterField::NimSds(compact(packet, field_6))
}

fn decode_compact(body: &[u8], max_bytes: usize, packet: &Bytes) -> Option<FilterField> {
    match walk(body) {
        Ok(parts) => parts.into_field(max_bytes, packet),
        Err(WireError::WireType { found: START_GROUP, .. }) => {
            let proto::CompactFilter { k, seed, bits } = proto::CompactFilter::decode(packet.slice_ref(body)).ok()?;
            Parts { k, seed: &seed, bits: &bits }.into_field(max_bytes, packet)
        }
        Err(_) => None,
    }
}

const START_GROUP: u8 = 3;

/// A compact filter in the packet.
struct Parts<'a> {
    k: u32,
    seed: &'a [u8],
    bits: &'a [u8],
}

impl Parts<'_> {
    fn into_field(self, max_bytes: usize, packet: &Bytes) -> Option<FilterField> {
        let seed = self.seed.try_into().ok()?;
        let bits = (self.bits.len() <= max_bytes).then(|| compact(packet, self.bits))?;
        Some(FilterField::Compact { k: self.k, seed, bits })
    }
}

fn walk(body: &[u8]) -> Result<Parts<'_>, WireError> {
    let mut parts = Parts { k: 0, seed: &[], bits: &[] };
    let mut fields = Fields::new(body, 0);
    while let Some(field) = fields.next()? {
        match field.number {
            // Protobuf cuts a longer number down to 32 bits.
            1 => parts.k = field.varint()? as u32,
            2 => parts.seed = field.bytes()?.0,
            3 => parts.bits = field.bytes()?.0,
            _ => {}
        }
    }
    Ok(parts)
}
