//! What is known of every message id: where its body is, and how many logged messages refer to it.
//!
//! One lookup answers "is this a duplicate", "is this dependency met" and "is this a head".

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use siphasher::sip::SipHasher13;

use crate::state::LogKey;
use crate::types::{Lamport, MessageId};

/// A map from ids that peers choose: keyed, so that they cannot aim at one bucket. Never iterated.
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
        KeyedHasher(SipHasher13::new_with_keys(self.0, self.1))
    }
}

/// SipHash-1-3 under the channel's keys.
pub(super) struct KeyedHasher(SipHasher13);

impl Hasher for KeyedHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.finish()
    }
}

/// Where the body of a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nowhere: never received, or given away.
    Unknown,
    /// In the log.
    Logged,
    /// Delivered below the floor, kept until the application was told.
    Late,
    /// In the incoming buffer.
    Parked,
    /// Evicted.
    Stub,
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
    entries: IdMap<MessageId, Entry>,
}

impl Known {
    pub(super) fn new(keys: Keyed) -> Self {
        Self { entries: HashMap::with_hasher(keys) }
    }

    pub(super) fn standing(&self, id: &MessageId) -> Standing {
        self.entries.get(id).map_or(Standing::Unknown, |entry| entry.standing)
    }

    /// The log key of a message whose body is somewhere.
    pub(super) fn key(&self, id: &MessageId) -> Option<LogKey> {
        let entry = self.entries.get(id).filter(|entry| entry.standing != Standing::Unknown)?;
        Some(LogKey { lamport: entry.lamport, id: id.clone() })
    }

    pub(super) fn set(&mut self, key: &LogKey, standing: Standing) {
        match self.entries.get_mut(&key.id) {
            Some(entry) => (entry.standing, entry.lamport) = (standing, key.lamport),
            None => {
                self.entries.insert(key.id.clone(), Entry { standing, lamport: key.lamport, references: 0 });
            }
        }
    }

    /// Forgets where the body is; references to it stay counted.
    pub(super) fn forget(&mut self, id: &MessageId) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.standing = Standing::Unknown;
            if entry.references == 0 {
                self.entries.remove(id);
            }
        }
    }

    pub(super) fn references(&self, id: &MessageId) -> u32 {
        self.entries.get(id).map_or(0, |entry| entry.references)
    }

    /// Counts one more logged message that refers to this id.
    pub(super) fn refer(&mut self, id: &MessageId) {
        match self.entries.get_mut(id) {
            Some(entry) => entry.references += 1,
            None => {
                let entry = Entry { standing: Standing::Unknown, lamport: Lamport(0), references: 1 };
                self.entries.insert(id.clone(), entry);
            }
        }
    }

    /// Counts one less; returns the key of a logged message that nothing refers to any more.
    pub(super) fn unrefer(&mut self, id: &MessageId) -> Option<LogKey> {
        let entry = self.entries.get_mut(id)?;
        entry.references = entry.references.saturating_sub(1);
        match (entry.references, entry.standing) {
            (0, Standing::Unknown) => {
                self.entries.remove(id);
                None
            }
            (0, Standing::Logged) => Some(LogKey { lamport: entry.lamport, id: id.clone() }),
            _ => None,
        }
    }
}
