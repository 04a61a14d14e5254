//! A map from ids that peers choose, whose growth is spread over many steps.
//!
//! A hash table that is full moves all that it holds into a larger one, within one step: 15 ms of processor time at 115,000
//! ids. So a large map is many tables, by the hash of the id, which fill up one after the other. The hashes are keyed, so
//! that nobody can aim at one table or one bucket.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

use super::known::{IdMap, Keyed};

/// A table that holds so many becomes [`TABLES`] of them.
const LARGE: usize = 14_000;
const TABLES: usize = 16;
/// Room that is not worth giving back.
const SMALL: usize = 16;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct WideMap<K, V> {
    /// Everything, until it is large.
    one: IdMap<K, V>,
    many: Option<Box<[IdMap<K, V>; TABLES]>>,
}

impl<K: Hash + Eq, V> WideMap<K, V> {
    pub(super) fn new(keys: Keyed) -> Self {
        Self { one: HashMap::with_hasher(keys), many: None }
    }

    /// What ids are hashed under.
    pub(super) fn keys(&self) -> Keyed {
        *self.one.hasher()
    }

    pub(super) fn len(&self) -> usize {
        self.tables().map(HashMap::len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tables().all(HashMap::is_empty)
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.table(key).get(key)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.table_mut(key).get_mut(key)
    }

    pub(super) fn get_key_value(&self, key: &K) -> Option<(&K, &V)> {
        self.table(key).get_key_value(key)
    }

    pub(super) fn contains_key(&self, key: &K) -> bool {
        self.table(key).contains_key(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.grow(1);
        self.table_mut(&key).insert(key, value)
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.table_mut(key).remove(key)
    }

    /// The value of this key, which is this one if there is none.
    pub(super) fn or_insert(&mut self, key: K, value: V) -> &mut V {
        self.grow(1);
        self.table_mut(&key).entry(key).or_insert(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.tables().flatten()
    }

    /// Makes room for so many more at once.
    pub(super) fn reserve(&mut self, more: usize) {
        self.grow(more);
        match &mut self.many {
            None => self.one.reserve(more),
            Some(many) => many.iter_mut().for_each(|table| table.reserve(more / TABLES)),
        }
    }

    /// Gives memory back where most of the table is empty that this key was in: limits count what there is, and a table
    /// keeps what it once took.
    pub(super) fn tidy(&mut self, key: &K) {
        let table = self.table_mut(key);
        if table.capacity() > 4 * table.len() + SMALL {
            table.shrink_to(2 * table.len());
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.tables().map(HashMap::capacity).sum()
    }

    /// Becomes many tables where one would be too large with so many more.
    fn grow(&mut self, more: usize) {
        if self.many.is_none() && self.one.len() + more > LARGE {
            let keys = self.keys();
            let all = std::mem::replace(&mut self.one, HashMap::with_hasher(keys));
            self.many = Some(Box::new(std::array::from_fn(|_| HashMap::with_hasher(keys))));
            for (key, value) in all {
                self.table_mut(&key).insert(key, value);
            }
        }
    }

    fn tables(&self) -> impl Iterator<Item = &IdMap<K, V>> {
        std::iter::once(&self.one).chain(self.many.iter().flat_map(|many| many.iter()))
    }

    fn table(&self, key: &K) -> &IdMap<K, V> {
        match &self.many {
            None => &self.one,
            Some(many) => &many[number(self.one.hasher(), key)],
        }
    }

    fn table_mut(&mut self, key: &K) -> &mut IdMap<K, V> {
        match &mut self.many {
            None => &mut self.one,
            Some(many) => &mut many[number(self.one.hasher(), key)],
        }
    }
}

/// The table of a key, by bits that tables look at neither for its place nor for its tag.
fn number(keys: &Keyed, key: &impl Hash) -> usize {
    (keys.hash_one(key) >> 40) as usize % TABLES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::MessageId;

    fn id(n: u64) -> MessageId {
        MessageId::new(n.to_be_bytes())
    }

    /// How many ids lie in the fullest table.
    fn largest(map: &WideMap<MessageId, u64>) -> usize {
        map.tables().map(HashMap::len).max().unwrap_or_default()
    }

    #[test]
    fn a_large_map_is_many_tables_that_hold_everything() {
        let mut map = WideMap::new(Keyed::new(7));
        for n in 0..200_000 {
            assert_eq!(map.insert(id(n), n), None);
            assert!(largest(&map) <= LARGE, "{} of {n} in one table", largest(&map));
        }
        assert_eq!((map.len(), map.iter().count()), (200_000, 200_000));
        for n in 0..200_000 {
            assert_eq!((map.get(&id(n)), map.contains_key(&id(n))), (Some(&n), true));
            assert_eq!(*map.or_insert(id(n), 0), n);
        }
        assert_eq!(map.get(&id(200_000)), None);
        for n in 0..200_000 {
            assert_eq!(map.remove(&id(n)), Some(n));
            map.tidy(&id(n));
        }
        assert!(map.is_empty() && map.capacity() <= (TABLES + 1) * 4 * SMALL, "room for {}", map.capacity());
    }

    #[test]
    fn room_made_at_once_is_spread_too() {
        let mut map: WideMap<MessageId, u64> = WideMap::new(Keyed::new(7));
        map.reserve(1_000_000);
        assert!(map.many.is_some());
        assert!(map.capacity() >= 1_000_000);
    }
}
