//! What is known of every message id: how far it has come, and how many logged messages refer to it.
//!
//! One lookup answers "is this a duplicate", "is this dependency met" and "is this a head".

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use siphasher::sip::SipHasher13;

use crate::state::LogKey;
use crate::types::{Lamport, MessageId};

use super::wide_map::WideMap;

/// A map from ids that peers choose: keyed, so that they cannot aim at one bucket.
pub(super) type IdMap<K, V> = HashMap<K, V, Keyed>;

/// Builds hashers from keys that came in as entropy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keyed(u64, u64);

impl Keyed {
    pub(super) fn new(entropy: u64) -> Self {
        Self(entropy, entropy.rotate_left(32) ^ 0x9E37_79B9_7F4A_7C15)
    }
}

impl BuildHasher for Keyed {
    type Hasher = KeyedHasher;

    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher { keys: *self, hash: 0 }
    }
}

/// SipHash-1-3 under the channel's keys. An id comes as one part, which is hashed in one go.
pub(super) struct KeyedHasher {
    keys: Keyed,
    hash: u64,
}

impl Hasher for KeyedHasher {
    fn write(&mut self, part: &[u8]) {
        let Keyed(first, second) = self.keys;
        self.hash = SipHasher13::new_with_keys(first ^ self.hash, second).hash(part);
    }

    /// The length that comes before an id says nothing: SipHash takes the length in itself.
    fn write_usize(&mut self, _len: usize) {}

    fn finish(&self) -> u64 {
        self.hash
    }
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nowhere: never received, or given away.
    Unknown,
    /// In the incoming buffer.
    Parked,
    /// Delivered or sent: in the log, below the floor until the application was told, or evicted. Which of them, the log
    /// says: on its way from one to the next a message is not looked up here.
    Delivered,
}

#[derive(Debug)]
struct Entry {
    standing: Standing,
    lamport: Lamport,
    references: u32,
}

/// The index of ids.
#[derive(Debug)]
pub(super) struct Known {
    entries: WideMap<MessageId, Entry>,
}

impl Known {
    pub(super) fn new(keys: Keyed) -> Self {
        Self { entries: WideMap::new(keys) }
    }

    /// Makes room for so many more ids at once.
    pub(super) fn reserve(&mut self, ids: usize) {
        self.entries.reserve(ids);
    }

    pub(super) fn standing(&self, id: &MessageId) -> Standing {
        self.entries.get(id).map_or(Standing::Unknown, |entry| entry.standing)
    }

    /// As [`standing`](Self::standing); a known id comes to share the memory of the one known.
    pub(super) fn recognise(&self, id: &mut MessageId) -> Standing {
        let Some((known, entry)) = self.entries.get_key_value(id) else { return Standing::Unknown };
        id.clone_from(known);
        entry.standing
    }

    /// The log key of a message whose body is somewhere.
    pub(super) fn key(&self, id: &MessageId) -> Option<LogKey> {
        let entry = self.entries.get(id).filter(|entry| entry.standing != Standing::Unknown)?;
        Some(LogKey { lamport: entry.lamport, id: id.clone() })
    }

    /// Says where the body is now; returns how many logged messages refer to it.
    pub(super) fn set(&mut self, key: &LogKey, standing: Standing) -> u32 {
        let unknown = Entry { standing, lamport: key.lamport, references: 0 };
        let entry = self.entries.or_insert(key.id.clone(), unknown);
        (entry.standing, entry.lamport) = (standing, key.lamport);
        entry.references
    }

    /// Forgets where the body is; references to it stay counted.
    pub(super) fn forget(&mut self, id: &MessageId) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.standing = Standing::Unknown;
        if entry.references == 0 {
            self.entries.remove(id);
        }
    }

    /// Counts one more logged message that refers to this id; returns its log key if its body is somewhere.
    pub(super) fn refer(&mut self, id: &MessageId) -> Option<LogKey> {
        let unknown = Entry { standing: Standing::Unknown, lamport: Lamport(0), references: 0 };
        let entry = self.entries.or_insert(id.clone(), unknown);
        entry.references += 1;
        (entry.standing != Standing::Unknown).then(|| LogKey { lamport: entry.lamport, id: id.clone() })
    }

    /// Counts one less; returns the key of a delivered message that nothing in the log refers to any more.
    pub(super) fn unrefer(&mut self, id: &MessageId) -> Option<LogKey> {
        let entry = self.entries.get_mut(id)?;
        entry.references = entry.references.saturating_sub(1);
        match (entry.references, entry.standing) {
            (0, Standing::Unknown) => {
                self.entries.remove(id);
                None
            }
            (0, Standing::Delivered) => Some(LogKey { lamport: entry.lamport, id: id.clone() }),
            _ => None,
        }
    }
}
