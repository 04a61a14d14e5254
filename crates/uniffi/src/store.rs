//! A store that the host writes in its own language: bytes under keys.

use std::sync::Arc;

use reliable_channel::store::blocking::{
    self, BlockingPersistence, BlockingStore, Failure, Raw, Write, channel_of_key,
};
use reliable_channel::store::{Capabilities, Durability, PersistenceError, PersistenceErrorKind};
use reliable_channel::types::ChannelId;

use crate::gate::Hosts;

/// One of three kinds of values; keys of different tables are different.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Table {
    /// One value for each channel.
    Meta,
    /// Messages, and what is known of them.
    Rows,
    /// Where archives have messages.
    Hints,
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Change {
    /// This value is under this key from now on.
    Put {
        /// In which table.
        table: Table,
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// Nothing is under this key any more, where anything was.
    Delete {
        /// In which table.
        table: Table,
        /// The key.
        key: Vec<u8>,
    },
    /// Nothing is under any key with this prefix any more, in all tables.
    DropPrefix {
        /// The prefix.
        prefix: Vec<u8>,
    },
}

/// What is stored.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Value {
    /// In which table.
    pub table: Table,
    /// Under which key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// Why a store did not do its part. Any other exception counts as this one.
#[derive(Clone, Debug, thiserror::Error, uniffi::Error)]
pub enum StoreError {
    /// It may work again: what failed is tried again.
    #[error("{reason}")]
    Failed {
        /// For people.
        reason: String,
    },
}

impl From<uniffi::UnexpectedUniFFICallbackError> for StoreError {
    fn from(error: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Failed { reason: error.reason }
    }
}

/// A database of bytes under keys. It is called on one thread of the library, one call at a time, and may block.
#[uniffi::export(foreign)]
pub trait Store: Send + Sync {
    /// Makes these changes in order, all or none, and on stable storage when it returns.
    fn apply(&self, changes: Vec<Change>) -> Result<(), StoreError>;

    /// All that is under keys with this prefix, with their whole keys, in the order of keys within each table.
    fn load(&self, prefix: Vec<u8>) -> Result<Vec<Value>, StoreError>;

    /// All keys, or one for each channel at least, in any order.
    fn keys(&self) -> Result<Vec<Vec<u8>>, StoreError>;
}

/// It as a store of the library.
pub(crate) fn persistence(store: Arc<dyn Store>) -> Result<BlockingPersistence, PersistenceError> {
    BlockingPersistence::open::<HostsStore>("a store of the host's", Durability::Immediate, Hosts::new(store))
}

struct HostsStore(Arc<Hosts<dyn Store>>);

impl BlockingStore for HostsStore {
    type Options = Arc<Hosts<dyn Store>>;

    fn open(store: &Self::Options) -> Result<Self, Failure> {
        Ok(Self(store.clone()))
    }

    fn capabilities(durability: Durability) -> Capabilities {
        let mut capabilities = Capabilities::default();
        (capabilities.atomic, capabilities.durability) = (true, Some(durability));
        capabilities
    }

    fn apply(&mut self, writes: &[Write]) -> Result<(), Failure> {
        let changes: Option<Vec<Change>> = writes.iter().flat_map(|write| &write.changes).map(change).collect();
        let changes = changes.ok_or_else(|| Failure::new(PersistenceErrorKind::Unsupported))?;
        self.call(|store| store.apply(changes))
    }

    fn load(&mut self, prefix: &[u8]) -> Result<Raw, Failure> {
        let mut raw = Raw::default();
        for Value { table, key, value } in self.call(|store| store.load(prefix.to_vec()))? {
            let Some(key) = key.strip_prefix(prefix) else { continue };
            match table {
                Table::Meta => raw.meta = Some(value.into()),
                Table::Rows => raw.rows.push((key.to_vec(), value.into())),
                Table::Hints => raw.hints.push((key.to_vec(), value.into())),
            }
        }
        raw.rows.sort_by(|(one, _), (other, _)| one.cmp(other));
        raw.hints.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(raw)
    }

    fn list(&mut self) -> Result<Vec<ChannelId>, Failure> {
        let keys = self.call(|store| store.keys())?;
        let mut channels: Vec<_> = keys.iter().filter_map(|key| channel_of_key(key)).collect();
        channels.sort();
        channels.dedup();
        Ok(channels)
    }
}

impl HostsStore {
    fn call<T>(&self, call: impl FnOnce(&(dyn Store + 'static)) -> Result<T, StoreError>) -> Result<T, Failure> {
        let ends = || Err(StoreError::Failed { reason: "the program ends".into() });
        let answer = self.0.call(call).unwrap_or_else(ends);
        answer.map_err(|error| Failure::new(PersistenceErrorKind::Io).with_source(error))
    }
}

/// A change as the host sees it; nothing of an archive, which its store is none of.
fn change(change: &blocking::Change) -> Option<Change> {
    let table = |table: &blocking::Table| match table {
        blocking::Table::Meta => Some(Table::Meta),
        blocking::Table::Rows => Some(Table::Rows),
        blocking::Table::Hints => Some(Table::Hints),
        blocking::Table::Archive => None,
    };
    Some(match change {
        blocking::Change::Put { table: of, key, value } => {
            Change::Put { table: table(of)?, key: key.clone(), value: value.clone() }
        }
        blocking::Change::Delete { table: of, key } => Change::Delete { table: table(of)?, key: key.clone() },
        blocking::Change::DropChannel { prefix } => Change::DropPrefix { prefix: prefix.clone() },
    })
}
