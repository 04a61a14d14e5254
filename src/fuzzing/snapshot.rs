//! Snapshot decode: any key and value are an error, or data that is written back as the same bytes.
//!
//! Input: what it is (1 byte: 0 row, 1 meta, 2 hint, 3 row key; the bit 4 puts a fitting frame around the value,
//! else it is the whole value), length of the key (1 byte), the key, the value. The channel is `c`.

use arbitrary::Unstructured;
use bytes::Bytes;

use crate::snapshot::{self as codec, SnapshotError};
use crate::state::RowKey;
use crate::types::{ChannelId, MessageId};

/// The body of the target `snapshot`.
pub fn snapshot(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok((what, key_len)) = input.arbitrary::<(u8, u8)>() else { return };
    let Ok(key) = input.bytes(usize::from(key_len).min(input.len())) else { return };
    let framed = what & 4 != 0;
    let value = input.take_rest();
    let value = |tag, key: &[u8]| if framed { frame(tag, key, value) } else { Bytes::copy_from_slice(value) };
    let channel = ChannelId::from("c");
    match what & 3 {
        0 => {
            let Some(key) = row_key(key) else { return };
            stable(&value(1, &codec::row_key(&key)), |value| {
                codec::decode_row(&channel, &key, value).map(|row| {
                    assert_eq!(row.key(), key);
                    codec::encode_row(&channel, &row)
                })
            });
        }
        1 => stable(&value(0, &[]), |value| {
            codec::decode_meta(&channel, value).map(|meta| codec::encode_meta(&channel, &meta))
        }),
        2 => {
            let id = MessageId::new(key);
            stable(&value(2, key), |value| {
                codec::decode_hint(&channel, &id, value).map(|hint| codec::encode_hint(&channel, &id, &hint))
            });
        }
        _ => drop(row_key(key)),
    }
}

/// Decoding and encoding leads to bytes that stay the same when this is done once more.
fn stable(value: &Bytes, again: impl Fn(Bytes) -> Result<Vec<u8>, SnapshotError>) {
    match again(value.clone()) {
        Ok(encoded) => assert_eq!(again(encoded.clone().into()).as_ref(), Ok(&encoded)),
        Err(error) => {
            let expected = matches!(error, SnapshotError::Corrupt { .. } | SnapshotError::UnknownVersion { .. });
            assert!(expected, "{error:?}");
        }
    }
}

fn row_key(bytes: &[u8]) -> Option<RowKey> {
    let key = codec::parse_row_key(bytes).ok()?;
    assert_eq!(codec::row_key(&key), bytes);
    Some(key)
}

/// The frame of format 1 around a payload, made by hand: the codec itself puts it around what it encodes alone.
fn frame(tag: u8, key: &[u8], payload: &[u8]) -> Bytes {
    let mut sum = crc32c::crc32c(&[tag, 1, 0]);
    for part in [b"c", key] {
        sum = crc32c::crc32c_append(sum, &(part.len() as u64).to_be_bytes());
        sum = crc32c::crc32c_append(sum, part);
    }
    let sum = crc32c::crc32c_append(sum, payload).to_le_bytes();
    [&[1, 0], &sum[..], payload].concat().into()
}
