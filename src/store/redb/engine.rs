//! redb as an [`Engine`]: its tables, its layout version, and its errors in our words.
//!
//! What: [`RedbEngine`]. Why apart: all that knows redb is here. How it moves: one write transaction per batch,
//! one read transaction per load, so that a load is of one moment.
//!
//! redb opened for writing writes when it is closed, so the layout version is first looked at through a
//! read-only handle: a store of a newer layout stays as it is, byte for byte. A file that a crash left to be
//! repaired is looked at through an [`Overlay`], which keeps the repair in memory.

use std::fs;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use redb::{
    AccessGuard, Builder, CommitError, Database, DatabaseError, ReadOnlyDatabase, ReadOnlyTable, ReadTransaction,
    ReadableDatabase, StorageError, TableDefinition, TableError, TransactionError, WriteTransaction,
};

use super::overlay::Overlay;
use crate::store::anchor::Anchor;
use crate::store::blocking::BlockingStore;
use crate::store::encoded::{Change, Raw, Scan, Scanned, Table, Write, above, channels_by_seeking};
use crate::store::engine_thread::Failure;
use crate::store::medium::{corrupt, create_dir_of, io_failure, sync_name_of, write_again};
use crate::store::on_disk::Options;
use crate::store::{Durability, PersistenceErrorKind, owner_only};
use crate::types::ChannelId;

/// Version of the tables below.
const LAYOUT: u32 = 1;
/// The key of the layout version in [`SYS`]; its value is four bytes, big-endian.
const LAYOUT_KEY: &[u8] = b"layout";
/// Bytes of pages kept in memory.
const CACHE_BYTES: usize = 16 << 20;

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;
type ReadTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

const META: Definition = TableDefinition::new("meta");
const ROWS: Definition = TableDefinition::new("rows");
const HINTS: Definition = TableDefinition::new("hints");
const ARCHIVE: Definition = TableDefinition::new("archive");
const SYS: Definition = TableDefinition::new("sys");

/// The store's file within its directory.
const FILE: &str = "channels.redb";

/// An open store.
pub(super) enum RedbEngine {
    Writing(Writing),
    Reading(ReadOnlyDatabase),
    /// For reading, with repairs in memory.
    Overlaid(Database),
}

/// A database that is written to. It ends before its anchor does.
pub(super) struct Writing {
    database: Database,
    durability: Durability,
    anchor: Arc<Anchor>,
}

impl BlockingStore for RedbEngine {
    type Options = Options;

    fn open(options: &Options) -> Result<Self, Failure> {
        let file = &options.dir.join(FILE);
        if options.read_only {
            let engine = look(file)?;
            return match read_layout(&engine.read()?)? {
                Some(layout) => check_layout(layout).map(|()| engine),
                None => Err(no_layout()),
            };
        }
        if !fs::exists(file).map_err(io_failure)? {
            create(file)?;
        }
        let looked = look(file)?;
        check_layout(read_layout(&looked.read()?)?.ok_or_else(no_layout)?)?;
        drop(looked);
        let database = builder().open(file).map_err(database_failure)?;
        let (durability, anchor) = (options.durability, options.anchor(file)?);
        let engine = Self::Writing(Writing { database, durability, anchor });
        // Opening for writing may have repaired more than looking did.
        check_layout(read_layout(&engine.read()?)?.ok_or_else(no_layout)?)?;
        Ok(engine)
    }

    fn reopen(options: &Options) -> Result<Self, Failure> {
        let file = options.dir.join(FILE);
        options.must_be_there(&file)?;
        if !options.read_only {
            write_again(&file)?;
        }
        Self::open(options)
    }

    fn elsewhere(_: &Options, dir: &Path) -> Option<Options> {
        Some(Options::elsewhere(dir))
    }

    fn apply(&mut self, writes: &[Write]) -> Result<(), Failure> {
        let writing = self.writing()?;
        let mut transaction = writing.database.begin_write().map_err(transaction_failure)?;
        if let Durability::Batched { .. } = writing.durability {
            transaction.set_durability(redb::Durability::None).map_err(durability_failure)?;
        }
        // Repair after a crash is then quick; alone, an operation would pay more for that than it is worth.
        transaction.set_quick_repair(writes.len() > 1);
        let mut tables = Tables::open(&transaction)?;
        for change in writes.iter().flat_map(|write| &write.changes) {
            tables.change(change).map_err(storage_failure)?;
        }
        drop(tables);
        transaction.commit().map_err(commit_failure)?;
        writing.anchor.check()
    }

    fn load(&mut self, prefix: &[u8]) -> Result<Raw, Failure> {
        let transaction = self.read()?;
        let scan = |table| {
            let end = above(prefix);
            let mut found = Vec::new();
            for entry in open_table(&transaction, table)?
                .range::<&[u8]>(within(prefix, end.as_deref()))
                .map_err(storage_failure)?
            {
                let (key, value) = entry.map_err(storage_failure)?;
                // The range gives keys that start with the prefix; a damaged page might not.
                let key = key.value().strip_prefix(prefix).ok_or_else(|| corrupt("keys out of order"))?;
                found.push((key.to_vec(), Bytes::copy_from_slice(value.value())));
            }
            Ok::<_, Failure>(found)
        };
        let meta = match <[_; 1]>::try_from(scan(META)?) {
            Ok([(key, value)]) if key.is_empty() => Some(value),
            Err(none) if none.is_empty() => None,
            _ => return Err(corrupt("the meta has further keys")),
        };
        Ok(Raw { meta, rows: scan(ROWS)?, hints: scan(HINTS)? })
    }

    fn scan(&mut self, scan: &Scan) -> Result<Scanned, Failure> {
        let transaction = self.read()?;
        let Some(archive) = open_archive(&transaction)? else { return Ok(Vec::new()) };
        let mut range = archive.range(scan.from.as_slice()..scan.to.as_slice()).map_err(storage_failure)?;
        scan.gather(|| {
            let entry = if scan.backwards { range.next_back() } else { range.next() };
            let owned = |(key, value): (AccessGuard<'_, &[u8]>, AccessGuard<'_, &[u8]>)| {
                (key.value().to_vec(), Bytes::copy_from_slice(value.value()))
            };
            entry.map(|entry| entry.map(owned)).transpose().map_err(storage_failure)
        })
    }

    fn list(&mut self) -> Result<Vec<ChannelId>, Failure> {
        let transaction = self.read()?;
        let archive = open_archive(&transaction)?;
        channels_by_seeking([Some(META), Some(ROWS), Some(HINTS), None], |table, from| {
            let opened = table.map(|table| open_table(&transaction, table)).transpose()?;
            let Some(table) = opened.as_ref().or(archive.as_ref()) else { return Ok(None) };
            let mut keys = table.range(from..).map_err(storage_failure)?;
            keys.next().map(|entry| Ok(entry.map_err(storage_failure)?.0.value().to_vec())).transpose()
        })
    }

    /// redb keeps what was committed without a sync until the next commit with one.
    fn sync(&mut self) -> Result<(), Failure> {
        match self {
            Self::Writing(Writing { database, durability: Durability::Batched { .. }, anchor }) => {
                let transaction = database.begin_write().map_err(transaction_failure)?;
                transaction.commit().map_err(commit_failure)?;
                anchor.check()
            }
            _ => Ok(()),
        }
    }
}

impl RedbEngine {
    fn read(&self) -> Result<ReadTransaction, Failure> {
        match self {
            Self::Writing(Writing { database, .. }) | Self::Overlaid(database) => database.begin_read(),
            Self::Reading(database) => database.begin_read(),
        }
        .map_err(transaction_failure)
    }

    fn writing(&self) -> Result<&Writing, Failure> {
        match self {
            Self::Writing(writing) => Ok(writing),
            Self::Reading(_) | Self::Overlaid(_) => Err(Failure::new(PersistenceErrorKind::Unsupported)),
        }
    }
}

/// The tables of channels, open in a transaction.
struct Tables<'t> {
    meta: redb::Table<'t, &'static [u8], &'static [u8]>,
    rows: redb::Table<'t, &'static [u8], &'static [u8]>,
    hints: redb::Table<'t, &'static [u8], &'static [u8]>,
    archive: redb::Table<'t, &'static [u8], &'static [u8]>,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, Failure> {
        let open = |table| transaction.open_table(table).map_err(table_failure);
        Ok(Self { meta: open(META)?, rows: open(ROWS)?, hints: open(HINTS)?, archive: open(ARCHIVE)? })
    }

    fn change(&mut self, change: &Change) -> Result<(), StorageError> {
        match change {
            Change::Put { table, key, value } => {
                self.table(*table).insert(key.as_slice(), value.as_slice())?;
            }
            Change::Delete { table, key } => {
                self.table(*table).remove(key.as_slice())?;
            }
            Change::DropChannel { prefix } => {
                let end = above(prefix);
                for table in [&mut self.meta, &mut self.rows, &mut self.hints, &mut self.archive] {
                    table.retain_in::<&[u8], _>(within(prefix, end.as_deref()), |_, _| false)?;
                }
            }
        }
        Ok(())
    }

    fn table(&mut self, table: Table) -> &mut redb::Table<'t, &'static [u8], &'static [u8]> {
        match table {
            Table::Meta => &mut self.meta,
            Table::Rows => &mut self.rows,
            Table::Hints => &mut self.hints,
            Table::Archive => &mut self.archive,
        }
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Makes an empty store under another name and then gives it its own: a file of that name was a store once, so that one
/// without layout is damaged, not new.
fn create(file: &Path) -> Result<(), Failure> {
    create_dir_of(file)?;
    static MADE: AtomicU64 = AtomicU64::new(0);
    let made = file.with_extension(format!("{}-{}.new", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed)));
    // Left behind by a process of this number.
    let _ = fs::remove_file(&made);
    drop(owner_only::create_new(&made).map_err(io_failure)?);
    let database = builder().create(&made).map_err(database_failure)?;
    let named = set_layout(&database).and_then(|()| {
        drop(database);
        match fs::hard_link(&made, file) {
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // A file system without links.
            Err(_) => fs::rename(&made, file).map_err(io_failure),
            Ok(()) => Ok(()),
        }
    });
    let _ = fs::remove_file(&made);
    named.and_then(|()| sync_name_of(file))
}

/// Makes an empty database a store of the present layout.
fn set_layout(database: &Database) -> Result<(), Failure> {
    let transaction = database.begin_write().map_err(transaction_failure)?;
    for table in [META, ROWS, HINTS, ARCHIVE] {
        transaction.open_table(table).map_err(table_failure)?;
    }
    let layout = LAYOUT.to_be_bytes();
    let mut sys = transaction.open_table(SYS).map_err(table_failure)?;
    sys.insert(LAYOUT_KEY, layout.as_slice()).map_err(storage_failure)?;
    drop(sys);
    transaction.commit().map_err(commit_failure)
}

/// Opens a file that is there for reading, without a write to it.
fn look(file: &Path) -> Result<RedbEngine, Failure> {
    match builder().open_read_only(file) {
        Err(DatabaseError::RepairAborted) => {
            Overlay::new(file).and_then(|overlay| builder().create_with_backend(overlay)).map(RedbEngine::Overlaid)
        }
        database => database.map(RedbEngine::Reading),
    }
    .map_err(database_failure)
}

fn read_layout(transaction: &ReadTransaction) -> Result<Option<u32>, Failure> {
    let sys = match transaction.open_table(SYS) {
        Ok(sys) => sys,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(table_failure(error)),
    };
    let layout = sys.get(LAYOUT_KEY).map_err(storage_failure)?.ok_or_else(no_layout)?;
    let layout = <[u8; 4]>::try_from(layout.value()).map_err(|_| no_layout())?;
    Ok(Some(u32::from_be_bytes(layout)))
}

fn check_layout(layout: u32) -> Result<(), Failure> {
    match layout {
        LAYOUT => Ok(()),
        0 => Err(no_layout()),
        found => Err(Failure::new(PersistenceErrorKind::UnknownVersion { found, known: LAYOUT })),
    }
}

fn open_table(transaction: &ReadTransaction, table: Definition) -> Result<ReadTable, Failure> {
    transaction.open_table(table).map_err(table_failure)
}

/// The table of archives; stores of the first versions have none before they are written to.
fn open_archive(transaction: &ReadTransaction) -> Result<Option<ReadTable>, Failure> {
    match transaction.open_table(ARCHIVE) {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        table => table.map(Some).map_err(table_failure),
    }
}

fn within<'a>(prefix: &'a [u8], end: Option<&'a [u8]>) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    (Bound::Included(prefix), end.map_or(Bound::Unbounded, Bound::Excluded))
}

fn no_layout() -> Failure {
    corrupt("the file is not a store of this library")
}

fn database_failure(error: DatabaseError) -> Failure {
    match error {
        DatabaseError::DatabaseAlreadyOpen => Failure::new(PersistenceErrorKind::Locked).with_source(error),
        DatabaseError::UpgradeRequired(_) => corrupt(error.to_string()),
        DatabaseError::Storage(error) => storage_failure(error),
        error => Failure::new(PersistenceErrorKind::Backend(error.to_string())),
    }
}

fn transaction_failure(error: TransactionError) -> Failure {
    match error {
        TransactionError::Storage(error) => storage_failure(error),
        error => Failure::new(PersistenceErrorKind::Backend(error.to_string())).unusable(),
    }
}

fn table_failure(error: TableError) -> Failure {
    match error {
        TableError::Storage(error) => storage_failure(error),
        error => corrupt(error.to_string()),
    }
}

fn commit_failure(error: CommitError) -> Failure {
    match error {
        CommitError::Storage(error) => storage_failure(error),
        error => Failure::new(PersistenceErrorKind::Poisoned).with_source(error).unusable(),
    }
}

fn durability_failure(error: redb::SetDurabilityError) -> Failure {
    Failure::new(PersistenceErrorKind::Backend(error.to_string()))
}

fn storage_failure(error: StorageError) -> Failure {
    match error {
        StorageError::Corrupted(what) => corrupt(what),
        StorageError::ValueTooLarge(_) => Failure::new(PersistenceErrorKind::TooLarge).with_source(error),
        StorageError::Io(error) => io_failure(error),
        StorageError::Unsupported => Failure::new(PersistenceErrorKind::Unsupported),
        error => Failure::new(PersistenceErrorKind::Poisoned).with_source(error).unusable(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_gone_is_not_made_anew() {
        crate::store::on_disk::assert_gone_is_not_made_anew::<RedbEngine>("channels.redb");
    }
}
