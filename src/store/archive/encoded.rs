//! An archive as flat keys and values: of each message its rid, and its body.
//!
//! Two ranges of keys, so that all rids can be listed without the bodies. Both have the order of the log: after the
//! channel's prefix a byte for the range, the Lamport time (eight bytes, big-endian), and the message id. The body is the
//! value of a message's row, the rid has a CRC-32C of key and rid behind it.

use std::sync::Arc;

use bytes::Bytes;

use crate::reconcile::Rid;
use crate::state::{Body, LogKey, Logged, Row, RowKey};
use crate::store::encoded::{Scan, Table, Write, above, channel_prefix};
use crate::store::{PersistenceErrorKind, snapshot};
use crate::types::{ChannelId, Lamport, MessageId, WallTime};

const RIDS: u8 = 0;
const BODIES: u8 = 1;
/// Bytes of a key between the channel's prefix and the message id.
const HEADER: usize = 9;

/// Rids, or bodies, of a channel.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Range {
    Rids,
    Bodies,
}

impl Range {
    fn tag(self) -> u8 {
        match self {
            Self::Rids => RIDS,
            Self::Bodies => BODIES,
        }
    }
}

impl Write {
    /// Keeps these messages.
    pub(in crate::store) fn archive(
        channel: &ChannelId,
        messages: &[(Rid, Arc<Body>)],
    ) -> Result<Self, PersistenceErrorKind> {
        let mut write = Self::new(channel)?;
        for (rid, body) in messages {
            let (of_rid, of_body) = (suffix(RIDS, &body.key), suffix(BODIES, &body.key));
            let value = [&rid.0[..], &checksum(channel, &of_rid, &rid.0)].concat();
            write.put(Table::Archive, &of_rid, value)?;
            let row = Row::Message(Logged::new(body.clone(), WallTime::default()));
            write.put(Table::Archive, &of_body, snapshot::encode_row(channel, &row))?;
        }
        Ok(write)
    }
}

impl Scan {
    /// What lies behind this place, in order.
    pub(in crate::store) fn behind(
        channel: &ChannelId,
        range: Range,
        after: Option<&LogKey>,
        limit: usize,
    ) -> Result<Self, PersistenceErrorKind> {
        let prefix = channel_prefix(channel)?;
        let (from, to) = ends(&prefix, range);
        // The lowest key above it.
        let from = after.map_or(from, |after| [&prefix, &suffix(range.tag(), after)[..], &[0]].concat());
        Ok(Self { from, to, limit, backwards: false })
    }

    /// What lies before this place, the last first.
    pub(in crate::store) fn before(
        channel: &ChannelId,
        range: Range,
        before: Option<&LogKey>,
        limit: usize,
    ) -> Result<Self, PersistenceErrorKind> {
        let prefix = channel_prefix(channel)?;
        let (from, to) = ends(&prefix, range);
        let to = before.map_or(to, |before| [&prefix[..], &suffix(range.tag(), before)].concat());
        Ok(Self { from, to, limit, backwards: true })
    }

    /// What has this Lamport time.
    pub(in crate::store) fn at(
        channel: &ChannelId,
        range: Range,
        lamport: Lamport,
    ) -> Result<Self, PersistenceErrorKind> {
        let prefix = channel_prefix(channel)?;
        let from = [&prefix[..], &[range.tag()], &lamport.0.to_be_bytes()].concat();
        let to = above(&from).unwrap_or_else(|| ends(&prefix, range).1);
        Ok(Self { from, to, limit: usize::MAX, backwards: false })
    }

    /// This message.
    pub(in crate::store) fn one(channel: &ChannelId, range: Range, key: &LogKey) -> Result<Self, PersistenceErrorKind> {
        let from = [&channel_prefix(channel)?[..], &suffix(range.tag(), key)].concat();
        let to = [&from[..], &[0]].concat();
        Ok(Self { from, to, limit: 1, backwards: false })
    }
}

/// Everything of a channel's archive behind a key, for a copy.
pub(in crate::store) fn bodies_or_rids(prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Scan {
    let from = after.map_or_else(|| prefix.to_vec(), |after| [after, &[0]].concat());
    let to = above(prefix).unwrap_or_else(|| vec![u8::MAX; 1 << 17]);
    Scan { from, to, limit, backwards: false }
}

/// A rid as it was found.
pub(in crate::store) fn rid(
    channel: &ChannelId,
    key: &[u8],
    value: &[u8],
) -> Result<(LogKey, Rid), PersistenceErrorKind> {
    let (suffix, place) = place(channel, key, RIDS)?;
    let damaged = || PersistenceErrorKind::Corrupt { what: "a rid of the archive".into() };
    let (rid, sum) = value.split_first_chunk::<32>().ok_or_else(damaged)?;
    if *sum != checksum(channel, suffix, rid) {
        return Err(damaged());
    }
    Ok((place, Rid(*rid)))
}

/// A body as it was found.
pub(in crate::store) fn body(channel: &ChannelId, key: &[u8], value: Bytes) -> Result<Arc<Body>, PersistenceErrorKind> {
    let (_, place) = place(channel, key, BODIES)?;
    match snapshot::decode_row(channel, &RowKey::body(&place), value)? {
        Row::Message(logged) => Ok(logged.body),
        _ => Err(PersistenceErrorKind::Corrupt { what: "a body of the archive".into() }),
    }
}

fn place<'a>(channel: &ChannelId, key: &'a [u8], tag: u8) -> Result<(&'a [u8], LogKey), PersistenceErrorKind> {
    let damaged = || PersistenceErrorKind::Corrupt { what: "a key of the archive".into() };
    let suffix = key.strip_prefix(&channel_prefix(channel)?[..]).ok_or_else(damaged)?;
    let (header, id) = suffix.split_first_chunk::<HEADER>().ok_or_else(damaged)?;
    let [found, lamport @ ..] = *header;
    if found != tag {
        return Err(damaged());
    }
    Ok((suffix, LogKey { lamport: Lamport(u64::from_be_bytes(lamport)), id: MessageId::new(id) }))
}

fn suffix(tag: u8, key: &LogKey) -> Vec<u8> {
    [&[tag][..], &key.lamport.0.to_be_bytes(), key.id.as_bytes()].concat()
}

fn ends(prefix: &[u8], range: Range) -> (Vec<u8>, Vec<u8>) {
    ([prefix, &[range.tag()]].concat(), [prefix, &[range.tag() + 1]].concat())
}

fn checksum(channel: &ChannelId, key: &[u8], rid: &[u8; 32]) -> [u8; 4] {
    let sum = crc32c::crc32c(&(channel.len() as u64).to_le_bytes());
    let sum = [channel.as_bytes(), key, rid].iter().fold(sum, |sum, part| crc32c::crc32c_append(sum, part));
    sum.to_le_bytes()
}
