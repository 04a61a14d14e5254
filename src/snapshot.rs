//! The versioned codec between [`state`](crate::state) and the bytes that whoever keeps them keeps: the bundled stores, a
//! store of your own, or a program that embeds the core alone.
//!
//! Every row has a sortable key, and every value a frame: format byte, flags byte, CRC-32C (little-endian), and a protobuf
//! payload that carries the schema version. No engine detects a flipped bit in a value by itself, and a value that comes
//! back under another key, in another channel or as another sort of record is damage too. So the checksum covers sort,
//! format, flags, channel, key and payload.
//!
//! A future format changes the format byte and with it what the checksum covers, so a flipped format byte
//! (the rest still fits version 1) is told from a newer format. Nothing here panics on any bytes, and decoding
//! takes memory in proportion to the bytes given.
//!
//! # Example
//! ```
//! use reliable_channel::snapshot;
//! use reliable_channel::state::{Mark, MarkKind, Row};
//! use reliable_channel::types::ChannelId;
//!
//! let (lobby, row) = (ChannelId::from("lobby"), Row::Mark(Mark::new("an id".into(), MarkKind::Lost, 1)));
//! let (key, value) = (snapshot::row_key(&row.key()), snapshot::encode_row(&lobby, &row));
//! // Keep the value under channel and key. Later, give both back:
//! let key = snapshot::parse_row_key(&key)?;
//! assert_eq!(snapshot::decode_row(&lobby, &key, value.into())?, row);
//! # Ok::<(), snapshot::SnapshotError>(())
//! ```

mod convert;

use bytes::Bytes;
use prost::Message as _;

use crate::state::{ChannelMeta, Place, Row, RowKey};
use crate::types::{ChannelId, Lamport, MessageId};
use crate::wire::generated::snapshot as proto;

/// Version of the frame, the first byte of every value.
const FORMAT: u8 = 1;
/// Version of the payload, its field 1.
const SCHEMA: u32 = 1;
/// Bytes before the payload.
const HEADER: usize = 6;
/// Bytes of a row key before the id.
const KEY_HEADER: usize = 9;

/// Why bytes are not what [`encode_row`], [`encode_meta`], [`encode_hint`] or [`row_key`] made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// They are not what was written: the medium's fault.
    #[error("damaged: {what}")]
    Corrupt {
        /// What is damaged.
        what: String,
    },
    /// A newer version of this library wrote them.
    #[error("version {found} is not known, this library reads up to {known}")]
    UnknownVersion {
        /// The version found.
        found: u32,
        /// The newest version this library reads.
        known: u32,
    },
}

/// The key bytes of a row within its channel: place, Lamport time (big-endian), id. They sort as [`RowKey`]s do.
#[must_use]
pub fn row_key(key: &RowKey) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(KEY_HEADER + key.id.len());
    bytes.push(key.place as u8);
    bytes.extend_from_slice(&key.lamport.0.to_be_bytes());
    bytes.extend_from_slice(key.id.as_bytes());
    bytes
}

/// The row key that these bytes are.
///
/// # Errors
/// [`SnapshotError::Corrupt`] when they are none.
pub fn parse_row_key(bytes: &[u8]) -> Result<RowKey, SnapshotError> {
    let damaged = |why: &str| SnapshotError::Corrupt { what: format!("a row key: {why}") };
    let Some((&[place, a, b, c, d, e, f, g, h], id)) = bytes.split_first_chunk::<KEY_HEADER>() else {
        return Err(damaged("too short"));
    };
    let places =
        [Place::Body, Place::Outgoing, Place::Request, Place::Response, Place::Mark, Place::Incarnation, Place::Member];
    let place = places.into_iter().find(|known| *known as u8 == place).ok_or_else(|| damaged("unknown place"))?;
    let lamport = Lamport(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
    if lamport != Lamport(0) && !matches!(place, Place::Body | Place::Outgoing) {
        return Err(damaged("a Lamport time where none belongs"));
    }
    Ok(RowKey { place, lamport, id: MessageId::new(id) })
}

/// The value kept under [`row_key`] of the row's key.
#[must_use]
pub fn encode_row(channel: &ChannelId, row: &Row) -> Vec<u8> {
    seal(&Record::Row(&row.key()), channel, &proto::Row { schema: SCHEMA, kind: Some(convert::to_kind(row)) })
}

/// The row kept under this key.
///
/// # Errors
/// [`SnapshotError::Corrupt`] or [`SnapshotError::UnknownVersion`].
pub fn decode_row(channel: &ChannelId, key: &RowKey, value: Bytes) -> Result<Row, SnapshotError> {
    let record = Record::Row(key);
    let payload: proto::Row = unseal(&record, channel, value)?;
    convert::from_kind(key, payload.kind).map_err(|why| record.corrupt(&why))
}

/// The value kept for a channel's meta.
#[must_use]
pub fn encode_meta(channel: &ChannelId, meta: &ChannelMeta) -> Vec<u8> {
    seal(&Record::Meta, channel, &convert::to_meta(SCHEMA, meta))
}

/// The meta kept for a channel.
///
/// # Errors
/// [`SnapshotError::Corrupt`] or [`SnapshotError::UnknownVersion`].
pub fn decode_meta(channel: &ChannelId, value: Bytes) -> Result<ChannelMeta, SnapshotError> {
    let payload: proto::Meta = unseal(&Record::Meta, channel, value)?;
    convert::from_meta(payload).map_err(|why| Record::Meta.corrupt(&why))
}

/// The value kept for a message's retrieval hint.
#[must_use]
pub fn encode_hint(channel: &ChannelId, id: &MessageId, hint: &Bytes) -> Vec<u8> {
    seal(&Record::Hint(id), channel, &proto::Hint { schema: SCHEMA, hint: Some(hint.clone()) })
}

/// The retrieval hint kept for a message.
///
/// # Errors
/// [`SnapshotError::Corrupt`] or [`SnapshotError::UnknownVersion`].
pub fn decode_hint(channel: &ChannelId, id: &MessageId, value: Bytes) -> Result<Bytes, SnapshotError> {
    let record = Record::Hint(id);
    let payload: proto::Hint = unseal(&record, channel, value)?;
    payload.hint.ok_or_else(|| record.corrupt("field hint is missing"))
}

/// The three sorts of value, with what tells one from another within its channel.
enum Record<'a> {
    Meta,
    Row(&'a RowKey),
    Hint(&'a MessageId),
}

impl Record<'_> {
    fn tag(&self) -> u8 {
        match self {
            Self::Meta => 0,
            Self::Row(_) => 1,
            Self::Hint(_) => 2,
        }
    }

    fn key(&self) -> Vec<u8> {
        match self {
            Self::Meta => Vec::new(),
            Self::Row(key) => row_key(key),
            Self::Hint(id) => id.as_bytes().to_vec(),
        }
    }

    fn corrupt(&self, why: &str) -> SnapshotError {
        let what = match self {
            Self::Meta => format!("the meta: {why}"),
            Self::Row(RowKey { place, lamport, id }) => format!("the {place:?} row ({lamport}, {id}): {why}"),
            Self::Hint(id) => format!("the hint of {id}: {why}"),
        };
        SnapshotError::Corrupt { what }
    }
}

/// Puts the frame around a payload.
fn seal(record: &Record<'_>, channel: &ChannelId, payload: &impl prost::Message) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEADER + payload.encoded_len());
    value.resize(HEADER, 0);
    // A `Vec` grows as needed, and room is the one thing that encoding can lack.
    payload.encode(&mut value).expect("a Vec has room");
    value[0] = FORMAT;
    let checksum = checksum(record, channel, FORMAT, 0, &value[HEADER..]);
    value[2..HEADER].copy_from_slice(&checksum.to_le_bytes());
    value
}

/// Checks and takes off the frame.
fn unseal<M: prost::Message + Default>(
    record: &Record<'_>,
    channel: &ChannelId,
    value: Bytes,
) -> Result<M, SnapshotError> {
    let Some(&[format, flags, a, b, c, d]) = value.first_chunk::<HEADER>() else {
        return Err(record.corrupt("too short"));
    };
    let payload = value.slice(HEADER..);
    let intact = checksum(record, channel, FORMAT, flags, &payload) == u32::from_le_bytes([a, b, c, d]);
    match (format == FORMAT, intact) {
        (true, true) => {}
        (true, false) => return Err(record.corrupt("its checksum does not fit")),
        (false, true) => return Err(record.corrupt("its format byte is damaged")),
        (false, false) => return Err(unknown_version(u32::from(format), u32::from(FORMAT))),
    }
    if flags != 0 {
        // No flag is known: they count as the upper byte of the format.
        return Err(unknown_version(u32::from_le_bytes([format, flags, 0, 0]), u32::from(FORMAT)));
    }
    let invalid = |error: prost::DecodeError| record.corrupt(&format!("invalid protobuf: {error}"));
    // The version alone first: the rest of a newer schema may not decode as ours.
    match proto::Versioned::decode(payload.clone()).map_err(invalid)?.schema {
        SCHEMA => M::decode(payload).map_err(invalid),
        0 => Err(record.corrupt("field schema is missing")),
        newer => Err(unknown_version(newer, SCHEMA)),
    }
}

fn unknown_version(found: u32, known: u32) -> SnapshotError {
    SnapshotError::UnknownVersion { found, known }
}

fn checksum(record: &Record<'_>, channel: &ChannelId, format: u8, flags: u8, payload: &[u8]) -> u32 {
    let mut sum = crc32c::crc32c(&[record.tag(), format, flags]);
    // The lengths keep channel and key, key and payload apart.
    for part in [channel.as_bytes(), &record.key()] {
        sum = crc32c::crc32c_append(sum, &(part.len() as u64).to_be_bytes());
        sum = crc32c::crc32c_append(sum, part);
    }
    crc32c::crc32c_append(sum, payload)
}
