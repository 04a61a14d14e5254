//! Large values in parts.
//!
//! What: how a value becomes entries of the tree and back. Why: sled keeps large entries in files of their own, which
//! it never syncs; entries of at most [`PART_BYTES`] stay in its log. How it moves: a value that fits is one entry that
//! begins with [`WHOLE`]; of one that does not, the entry says how many parts there are, and each part is an entry under
//! a key of its own. Parts are written and removed in the same `Batch` as what they are part of.

use crate::store::engine_thread::Failure;
use crate::store::medium::corrupt;

/// Bytes of value in one entry.
pub(super) const PART_BYTES: usize = 64 << 10;

const WHOLE: u8 = 0;
const PARTED: u8 = 1;

/// The entry under the value's own key.
pub(super) fn entry(value: &[u8]) -> Vec<u8> {
    if value.len() <= PART_BYTES {
        return [&[WHOLE], value].concat();
    }
    // Values are limited to far less.
    let parts = u32::try_from(parts(value).count()).unwrap_or(u32::MAX);
    [&[PARTED][..], &parts.to_be_bytes()].concat()
}

/// The parts of a value that does not fit into one entry.
pub(super) fn parts(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let parted = if value.len() <= PART_BYTES { &[] } else { value };
    parted.chunks(PART_BYTES)
}

/// The key of a part: `tag` is that of all parts, `key` that of the value's own entry with its tag.
pub(super) fn part_key(tag: u8, prefix: &[u8], key: &[u8], part: u32) -> Vec<u8> {
    // The channel first, so that a channel's parts lie in one range.
    [&[tag], prefix, key, &part.to_be_bytes()].concat()
}

/// What an entry says.
pub(super) enum Entry<'a> {
    Whole(&'a [u8]),
    Parts(u32),
}

pub(super) fn read(entry: &[u8]) -> Result<Entry<'_>, Failure> {
    match entry.split_first() {
        Some((&WHOLE, value)) => Ok(Entry::Whole(value)),
        Some((&PARTED, parts)) => {
            let parts = parts.try_into().map_err(|_| corrupt("a value's number of parts"))?;
            Ok(Entry::Parts(u32::from_be_bytes(parts)))
        }
        _ => Err(corrupt("a value of no known form")),
    }
}
