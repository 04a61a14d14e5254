//! Writes and loads as flat keys and values, the one language all engines speak.
//!
//! What: [`Write`] (the changes of one operation, encoded and checked for size) and [`Raw`] (a channel as an
//! engine gives it back). Why: encoding happens on the caller's task, not on the engine's thread, and a value
//! too large is refused before it can spoil a batch shared with others. How it moves: a commit becomes a
//! [`Write`], the engine thread hands many to an engine at once; [`Raw`] becomes [`ChannelData`].
//!
//! Keys start with the channel's prefix: its length (two bytes, big-endian), then its bytes. So no channel's
//! keys are inside another's range, whatever bytes the ids are made of.

use std::mem::size_of;

use bytes::Bytes;

use super::engine_thread::Failure;
use super::medium::corrupt;
use super::{PersistenceErrorKind, snapshot};
use crate::state::{ChannelData, ChannelMeta, Commit, HistoryUpdate, Place};
use crate::types::{ChannelId, MessageId};

/// The largest value kept, far above what the limits of a channel let grow.
pub(super) const MAX_VALUE_BYTES: usize = 64 << 20;

/// Where a value is kept. See `examples/custom_backend.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Under the channel's prefix alone.
    Meta,
    /// Under the prefix and [`snapshot::row_key`].
    Rows,
    /// Under the prefix and the message id.
    Hints,
    /// Under the prefix and a place in an archive. It is never loaded as a whole, but in ranges.
    Archive,
}

/// A range of an archive. See `examples/custom_backend.rs`.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The lowest key.
    pub from: Vec<u8>,
    /// The key above the highest.
    pub to: Vec<u8>,
    /// Values wanted at most.
    pub limit: usize,
    /// The highest key first.
    pub backwards: bool,
}

impl Scan {
    /// Takes of a range, whose values come in the wanted order and end with `None`, as much as one scan gives. See
    /// `examples/custom_backend.rs`.
    ///
    /// # Errors
    /// The first that comes.
    pub fn gather<E>(&self, mut next: impl FnMut() -> Result<Option<(Vec<u8>, Bytes)>, E>) -> Result<Scanned, E> {
        let (mut found, mut bytes) = (Scanned::new(), 0);
        while found.len() < self.limit && bytes < SCAN_BYTES {
            let Some((key, value)) = next()? else { break };
            bytes += value.len();
            found.push((key, value));
        }
        Ok(found)
    }
}

/// What a scan of an archive gives at once, in bytes of values, if that is more than one value.
pub const SCAN_BYTES: usize = 4 << 20;

/// A part of a table as it lies in an engine: keys with the channel's prefix, and values.
pub type Scanned = Vec<(Vec<u8>, Bytes)>;

/// One change to what is kept. See `examples/custom_backend.rs`. It is exhaustive, as [`Table`] and [`Raw`] are: a store must
/// see at compile time that there is something new to keep.
#[derive(Clone, Debug)]
pub enum Change {
    /// Keep a value, in place of one that is there under this key.
    Put {
        /// Where.
        table: Table,
        /// The channel's prefix and what follows it.
        key: Vec<u8>,
        /// What to keep.
        value: Vec<u8>,
    },
    /// Remove a value, if there is one.
    Delete {
        /// Where from.
        table: Table,
        /// Its key.
        key: Vec<u8>,
    },
    /// Remove everything whose key has this prefix, from all tables.
    DropChannel {
        /// What the keys start with.
        prefix: Vec<u8>,
    },
}

/// The changes of one operation, to be made in this order and together. See `examples/custom_backend.rs`.
#[derive(Debug)]
pub struct Write {
    prefix: Vec<u8>,
    /// In this order.
    pub changes: Vec<Change>,
    /// Bytes of keys and values.
    pub bytes: usize,
}

/// A channel as it lies in an engine. See `examples/custom_backend.rs`.
#[derive(Debug, Default)]
pub struct Raw {
    /// The value under the prefix alone.
    pub meta: Option<Bytes>,
    /// Keys without the channel's prefix, in key order.
    pub rows: Vec<(Vec<u8>, Bytes)>,
    /// Ids of messages, in byte order.
    pub hints: Vec<(Vec<u8>, Bytes)>,
}

impl Write {
    pub(super) fn new(channel: &ChannelId) -> Result<Self, PersistenceErrorKind> {
        Ok(Self { prefix: channel_prefix(channel)?, changes: Vec::new(), bytes: 0 })
    }

    /// What the keys of all changes start with.
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The changes of a commit: deletions first, so that what is both deleted and put stays.
    pub(super) fn commit(channel: &ChannelId, commit: &Commit) -> Result<Self, PersistenceErrorKind> {
        let mut write = Self::new(channel)?;
        write.history(channel, &commit.history)?;
        for (id, hint) in &commit.hints {
            write.hint(channel, id, hint)?;
        }
        if let Some(meta) = &commit.meta {
            write.meta(channel, meta)?;
        }
        Ok(write)
    }

    pub(super) fn history_alone(channel: &ChannelId, update: &HistoryUpdate) -> Result<Self, PersistenceErrorKind> {
        let mut write = Self::new(channel)?;
        write.history(channel, update)?;
        Ok(write)
    }

    pub(super) fn hint_alone(channel: &ChannelId, id: &MessageId, hint: &Bytes) -> Result<Self, PersistenceErrorKind> {
        let mut write = Self::new(channel)?;
        write.hint(channel, id, hint)?;
        Ok(write)
    }

    pub(super) fn meta_alone(channel: &ChannelId, meta: &ChannelMeta) -> Result<Self, PersistenceErrorKind> {
        let mut write = Self::new(channel)?;
        write.meta(channel, meta)?;
        Ok(write)
    }

    pub(super) fn drop_channel(channel: &ChannelId) -> Result<Self, PersistenceErrorKind> {
        let mut write = Self::new(channel)?;
        write.bytes = write.prefix.len();
        write.changes.push(Change::DropChannel { prefix: write.prefix.clone() });
        Ok(write)
    }

    /// All of a channel, as an engine gave it.
    pub(super) fn copy(prefix: Vec<u8>, raw: Raw) -> Result<Self, PersistenceErrorKind> {
        let mut write = Self { prefix, changes: Vec::new(), bytes: 0 };
        for (key, value) in raw.rows {
            write.put(Table::Rows, &key, value.into())?;
        }
        for (id, value) in raw.hints {
            write.put(Table::Hints, &id, value.into())?;
        }
        if let Some(value) = raw.meta {
            write.put(Table::Meta, &[], value.into())?;
        }
        Ok(write)
    }

    /// A part of a channel's archive, as an engine gave it.
    pub(super) fn copy_of_archive(prefix: Vec<u8>, found: Scanned) -> Self {
        let bytes = found.iter().map(|(key, value)| key.len() + value.len()).sum();
        let put = |(key, value): (Vec<u8>, Bytes)| Change::Put { table: Table::Archive, key, value: value.into() };
        Self { prefix, changes: found.into_iter().map(put).collect(), bytes }
    }

    /// What it puts into the archive; `None` where that is nothing.
    pub(super) fn archived(&self) -> Option<Self> {
        let is_put = |change: &&Change| matches!(change, Change::Put { table: Table::Archive, .. });
        let changes: Vec<Change> = self.changes.iter().filter(is_put).cloned().collect();
        (!changes.is_empty()).then(|| Self { prefix: self.prefix.clone(), changes, bytes: self.bytes })
    }

    fn history(&mut self, channel: &ChannelId, update: &HistoryUpdate) -> Result<(), PersistenceErrorKind> {
        for key in &update.delete {
            self.delete(Table::Rows, &snapshot::row_key(key));
            if key.place == Place::Body {
                self.delete(Table::Hints, key.id.as_bytes());
            }
        }
        for row in &update.put {
            self.put(Table::Rows, &snapshot::row_key(&row.key()), snapshot::encode_row(channel, row))?;
        }
        Ok(())
    }

    fn hint(&mut self, channel: &ChannelId, id: &MessageId, hint: &Bytes) -> Result<(), PersistenceErrorKind> {
        self.put(Table::Hints, id.as_bytes(), snapshot::encode_hint(channel, id, hint))
    }

    fn meta(&mut self, channel: &ChannelId, meta: &ChannelMeta) -> Result<(), PersistenceErrorKind> {
        self.put(Table::Meta, &[], snapshot::encode_meta(channel, meta))
    }

    pub(super) fn put(&mut self, table: Table, key: &[u8], value: Vec<u8>) -> Result<(), PersistenceErrorKind> {
        if value.len() > MAX_VALUE_BYTES || key.len() > MAX_VALUE_BYTES {
            return Err(PersistenceErrorKind::TooLarge);
        }
        let key = [&self.prefix, key].concat();
        self.bytes += key.len() + value.len();
        self.changes.push(Change::Put { table, key, value });
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) {
        let key = [&self.prefix, key].concat();
        self.bytes += key.len();
        self.changes.push(Change::Delete { table, key });
    }
}

impl Raw {
    /// The channel, checked: checksums, versions, and the rows against the meta.
    pub(super) fn decode(self, channel: &ChannelId) -> Result<ChannelData, PersistenceErrorKind> {
        let meta = self.meta.map(|value| snapshot::decode_meta(channel, value)).transpose()?;
        let row = |(key, value): (Vec<u8>, Bytes)| {
            let key = snapshot::parse_row_key(&key)?;
            snapshot::decode_row(channel, &key, value)
        };
        let rows = self.rows.into_iter().map(row).collect::<Result<_, _>>()?;
        let hint = |(id, value): (Vec<u8>, Bytes)| {
            let id = MessageId::new(id);
            let hint = snapshot::decode_hint(channel, &id, value)?;
            Ok::<_, snapshot::SnapshotError>((id, hint))
        };
        let hints = self.hints.into_iter().map(hint).collect::<Result<_, _>>()?;
        let data = ChannelData { meta, rows, hints };
        data.check().map_err(|mismatch| PersistenceErrorKind::Corrupt { what: mismatch.to_string() })?;
        Ok(data)
    }
}

/// What all keys of a channel start with.
pub(super) fn channel_prefix(channel: &ChannelId) -> Result<Vec<u8>, PersistenceErrorKind> {
    let length = u16::try_from(channel.len()).map_err(|_| PersistenceErrorKind::TooLarge)?;
    Ok([&length.to_be_bytes(), channel.as_bytes()].concat())
}

/// The prefix that a key starts with; `None` when it starts with none.
pub(super) fn prefix_of(key: &[u8]) -> Option<&[u8]> {
    let (length, _) = key.split_first_chunk::<{ size_of::<u16>() }>()?;
    key.get(..size_of::<u16>() + usize::from(u16::from_be_bytes(*length)))
}

/// The channels that have a key in any of these tables, in id order. `seek` gives a table's first key at or above
/// another: from each channel's first key the next search is for the first behind its last, however many are between.
///
/// # Errors
/// Those of `seek`, and `Corrupt` for keys out of order.
pub fn channels_by_seeking<T: Copy, const N: usize>(
    tables: [T; N],
    mut seek: impl FnMut(T, &[u8]) -> Result<Option<Vec<u8>>, Failure>,
) -> Result<Vec<ChannelId>, Failure> {
    let mut channels = Vec::new();
    for table in tables {
        let mut from = Some(Vec::new());
        while let Some(start) = from {
            let Some(key) = seek(table, &start)? else { break };
            let prefix = prefix_of(&key).ok_or_else(|| corrupt("a key without a channel"))?;
            from = above(prefix);
            if from.as_ref().is_some_and(|next| *next <= start) {
                return Err(corrupt("keys out of order"));
            }
            channels.push(channel_of(prefix));
        }
    }
    channels.sort();
    channels.dedup();
    Ok(channels)
}

/// The channel that a key belongs to; `None` for bytes that are no key.
#[must_use]
pub fn channel_of_key(key: &[u8]) -> Option<ChannelId> {
    prefix_of(key).map(channel_of)
}

/// The channel with this prefix.
fn channel_of(prefix: &[u8]) -> ChannelId {
    ChannelId::new(&prefix[size_of::<u16>()..])
}

/// The lowest bytes above everything that starts with this prefix; `None` when there are none.
#[must_use]
pub fn above(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut above = prefix[..=last].to_vec();
    above[last] += 1;
    Some(above)
}
