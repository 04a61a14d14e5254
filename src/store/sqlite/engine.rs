//! SQLite as an [`Engine`]: its tables, its layout version, and its errors in our words.
//!
//! What: [`SqliteEngine`]. Why apart: all that knows SQLite is here. How it moves: one transaction per batch, a
//! write-ahead log, and no shared memory file, for the store has one process anyway. `synchronous=FULL` syncs the log
//! at every commit; `NORMAL` leaves that to [`Engine::sync`] and to SQLite's checkpoints.
//!
//! The layout version is `user_version` and is looked at, without a write, before the file is opened for writing.

use std::fs::{self, File};
use std::io;
use std::os::raw::c_int;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, TransactionBehavior};

use crate::store::anchor::{Anchor, must_exist};
use crate::store::blocking::BlockingStore;
use crate::store::encoded::{Change, Raw, Scan, Scanned, Table, Write, above, channels_by_seeking};
use crate::store::engine_thread::Failure;
use crate::store::medium::{Lock, corrupt, create_dir_of, io_failure, sync_name_of, write_again};
use crate::store::on_disk::Options;
use crate::store::{Durability, PersistenceErrorKind, owner_only};
use crate::types::ChannelId;

/// The store's file within its directory.
const FILE: &str = "channels.sqlite";
/// Version of the tables below.
const LAYOUT: u32 = 1;
/// Tells our files from other SQLite databases: "rCHN".
const APPLICATION_ID: i32 = 0x7243_484e;
/// Kibibytes of pages kept in memory, and bytes of log kept on disk.
const CACHE_KIB: i32 = 16 << 10;
const LOG_BYTES: i32 = 4 << 20;

const TABLES: [Table; 4] = [Table::Meta, Table::Rows, Table::Hints, Table::Archive];

/// An open store; the connection ends before the lock does.
pub(super) struct SqliteEngine {
    database: Connection,
    file: PathBuf,
    durability: Durability,
    /// `None` where it is only read.
    anchor: Option<Arc<Anchor>>,
    /// The log is there, with what was written since it was opened.
    written: bool,
    /// The log's name is on stable storage.
    log_named: bool,
    _lock: Option<Lock>,
}

impl BlockingStore for SqliteEngine {
    type Options = Options;

    fn open(options: &Options) -> Result<Self, Failure> {
        Self::open_after(options, |_| Ok(()))
    }

    fn reopen(options: &Options) -> Result<Self, Failure> {
        options.must_be_there(&options.dir.join(FILE))?;
        Self::open_after(options, |file| write_again(file).and_then(|()| write_again(&log_of(file))))
    }

    fn keeps(_: Durability) -> bool {
        true
    }

    fn elsewhere(_: &Options, dir: &Path) -> Option<Options> {
        Some(Options::elsewhere(dir))
    }

    fn apply(&mut self, writes: &[Write]) -> Result<(), Failure> {
        if self.anchor.is_none() {
            return Err(Failure::new(PersistenceErrorKind::Unsupported));
        }
        let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failure)?;
        for change in writes.iter().flat_map(|write| &write.changes) {
            make(&transaction, change).map_err(failure)?;
        }
        transaction.commit().map_err(failure)?;
        self.written = true;
        self.check_place()
    }

    fn load(&mut self, prefix: &[u8]) -> Result<Raw, Failure> {
        let transaction = self.database.transaction().map_err(failure)?;
        let scan = |table| {
            let query = format!("SELECT key, value FROM {} WHERE key >= ?1 AND key < ?2 ORDER BY key", name(table));
            let mut query = transaction.prepare_cached(&query).map_err(failure)?;
            // Keys begin with two bytes of length, at most 65,535: all 0xff is above every key of a channel.
            let end = above(prefix).unwrap_or_else(|| vec![u8::MAX; 1 << 17]);
            let mut rows = query.query((prefix, end)).map_err(failure)?;
            let mut found = Vec::new();
            while let Some(row) = rows.next().map_err(failure)? {
                let bytes = |at| row.get_ref(at)?.as_blob().map_err(rusqlite::Error::from);
                let (key, value) = (bytes(0).map_err(failure)?, bytes(1).map_err(failure)?);
                // A damaged page may hold other keys.
                let key = key.strip_prefix(prefix).ok_or_else(|| corrupt("keys out of order"))?;
                found.push((key.to_vec(), Bytes::copy_from_slice(value)));
            }
            if !found.is_sorted_by(|one, next| one.0 < next.0) {
                return Err(corrupt("keys out of order"));
            }
            Ok::<_, Failure>(found)
        };
        let meta = match <[_; 1]>::try_from(scan(Table::Meta)?) {
            Ok([(key, value)]) if key.is_empty() => Some(value),
            Err(none) if none.is_empty() => None,
            _ => return Err(corrupt("the meta has further keys")),
        };
        Ok(Raw { meta, rows: scan(Table::Rows)?, hints: scan(Table::Hints)? })
    }

    fn scan(&mut self, scan: &Scan) -> Result<Scanned, Failure> {
        if !has_archive(&self.database)? {
            return Ok(Vec::new());
        }
        let order = if scan.backwards { "DESC" } else { "ASC" };
        let query = format!("SELECT key, value FROM archive WHERE key >= ?1 AND key < ?2 ORDER BY key {order}");
        let mut query = self.database.prepare_cached(&query).map_err(failure)?;
        let mut rows = query.query((&scan.from, &scan.to)).map_err(failure)?;
        scan.gather(|| {
            let Some(row) = rows.next().map_err(failure)? else { return Ok(None) };
            let blob = |at| row.get_ref(at)?.as_blob().map_err(rusqlite::Error::from);
            let (key, value) = (blob(0).map_err(failure)?, blob(1).map_err(failure)?);
            Ok(Some((key.to_vec(), Bytes::copy_from_slice(value))))
        })
    }

    fn list(&mut self) -> Result<Vec<ChannelId>, Failure> {
        let archive = has_archive(&self.database)?;
        let transaction = self.database.transaction().map_err(failure)?;
        channels_by_seeking(TABLES, |table, from| {
            if table == Table::Archive && !archive {
                return Ok(None);
            }
            let query = format!("SELECT key FROM {} WHERE key >= ?1 ORDER BY key LIMIT 1", name(table));
            let mut query = transaction.prepare_cached(&query).map_err(failure)?;
            query.query_row((from,), |row| row.get(0)).optional().map_err(failure)
        })
    }

    /// The log is all that has not been synced: SQLite syncs it before it writes to the database itself.
    fn sync(&mut self) -> Result<(), Failure> {
        if self.anchor.is_none() || self.durability == Durability::Immediate {
            return Ok(());
        }
        let log = log_of(&self.file);
        match File::open(&log) {
            Ok(opened) => {
                opened.sync_data().map_err(io_failure)?;
                if !self.log_named {
                    sync_name_of(&log)?;
                    self.log_named = true;
                }
                self.check_place()
            }
            // Nothing was written yet, or it is gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.check_place(),
            Err(error) => Err(io_failure(error)),
        }
    }
}

impl SqliteEngine {
    /// Opens the store once this is done with its file, under its lock.
    fn open_after(options: &Options, first: impl FnOnce(&Path) -> Result<(), Failure>) -> Result<Self, Failure> {
        let file = options.dir.join(FILE);
        let lock_file = options.dir.join(format!("{FILE}.lock"));
        if options.read_only {
            fs::metadata(&file).map_err(io_failure)?;
            // Where there is no lock file, as in a backup, nobody has the lock.
            let lock = if fs::exists(&lock_file).map_err(io_failure)? { Some(Lock::shared(&lock_file)?) } else { None };
            return Ok(Self::with(look(&file)?, file, options.durability, None, lock));
        }
        create_dir_of(&file)?;
        let lock = Lock::exclusive(&lock_file)?;
        first(&file)?;
        if fs::exists(&file).map_err(io_failure)? {
            drop(look(&file)?);
        } else {
            create(&file)?;
        }
        let database = Connection::open_with_flags(&file, flags()).map_err(failure)?;
        prepare(&database)?;
        let synchronous = if options.durability == Durability::Immediate { "FULL" } else { "NORMAL" };
        database.pragma_update(None, "synchronous", synchronous).map_err(failure)?;
        let anchor = options.anchor(&file)?;
        // Stores of the first versions have none.
        if !has_archive(&database)? {
            create_table(&database, Table::Archive)?;
        }
        Ok(Self::with(database, file, options.durability, Some(anchor), Some(lock)))
    }

    fn with(
        database: Connection,
        file: PathBuf,
        durability: Durability,
        anchor: Option<Arc<Anchor>>,
        lock: Option<Lock>,
    ) -> Self {
        Self { database, file, durability, anchor, written: false, log_named: false, _lock: lock }
    }

    /// What was written is where it will be looked for, the log included.
    fn check_place(&self) -> Result<(), Failure> {
        self.anchor.as_ref().map_or(Ok(()), |anchor| anchor.check())?;
        if self.written { must_exist(&log_of(&self.file)) } else { Ok(()) }
    }
}

impl Drop for SqliteEngine {
    fn drop(&mut self) {
        if self.anchor.as_ref().is_some_and(|anchor| anchor.check().is_err()) {
            // Closing would remove the log by its name: that of another store perhaps, which lies there now. Where it
            // fails the connection is as good as closed.
            let _ = self.database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
    }
}

fn make(database: &Connection, change: &Change) -> rusqlite::Result<()> {
    match change {
        Change::Put { table, key, value } => {
            let put = format!("INSERT OR REPLACE INTO {} (key, value) VALUES (?1, ?2)", name(*table));
            database.prepare_cached(&put)?.execute((key, value))?;
        }
        Change::Delete { table, key } => {
            let delete = format!("DELETE FROM {} WHERE key = ?1", name(*table));
            database.prepare_cached(&delete)?.execute((key,))?;
        }
        Change::DropChannel { prefix } => {
            let end = above(prefix).unwrap_or_else(|| vec![u8::MAX; 1 << 17]);
            for table in TABLES {
                let delete = format!("DELETE FROM {} WHERE key >= ?1 AND key < ?2", name(table));
                database.prepare_cached(&delete)?.execute((prefix, &end))?;
            }
        }
    }
    Ok(())
}

fn name(table: Table) -> &'static str {
    match table {
        Table::Meta => "meta",
        Table::Rows => "rows",
        Table::Hints => "hints",
        Table::Archive => "archive",
    }
}

fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

/// What every connection for writing, or to a log that a crash left, needs first.
fn prepare(database: &Connection) -> Result<(), Failure> {
    let set = |pragma, value: &dyn rusqlite::ToSql| database.pragma_update(None, pragma, value).map_err(failure);
    // Before the log is touched: its index is then kept in this process, and no other process gets in.
    set("locking_mode", &"EXCLUSIVE")?;
    set("cell_size_check", &true)?;
    set("cache_size", &-CACHE_KIB)?;
    set("journal_size_limit", &LOG_BYTES)
}

/// Makes an empty store under another name and then gives it its own: a file of that name was a store once, so that one
/// without layout is damaged, not new. The caller has the lock.
fn create(file: &Path) -> Result<(), Failure> {
    let new = file.with_extension("sqlite.new");
    for left_behind in [new.clone(), log_of(&new)] {
        match fs::remove_file(&left_behind) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_failure(error)),
            _ => {}
        }
    }
    // An empty file is an empty database; SQLite gives its log the mode of the database's file.
    drop(owner_only::create_new(&new).map_err(io_failure)?);
    let database = Connection::open_with_flags(&new, flags()).map_err(failure)?;
    prepare(&database)?;
    let set = |pragma, value: &dyn rusqlite::ToSql| database.pragma_update(None, pragma, value).map_err(failure);
    set("synchronous", &"FULL")?;
    set("journal_mode", &"WAL")?;
    set("application_id", &APPLICATION_ID)?;
    for table in TABLES {
        create_table(&database, table)?;
    }
    set("user_version", &LAYOUT)?;
    // Checkpoints, and removes the log.
    database.close().map_err(|(_, error)| failure(error))?;
    File::open(&new).and_then(|file| file.sync_all()).map_err(io_failure)?;
    fs::rename(&new, file).map_err(io_failure)?;
    sync_name_of(file)
}

fn create_table(database: &Connection, table: Table) -> Result<(), Failure> {
    let table = name(table);
    let create = format!("CREATE TABLE {table} (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID");
    database.execute(&create, ()).map(drop).map_err(failure)
}

fn has_archive(database: &Connection) -> Result<bool, Failure> {
    database.table_exists(None, name(Table::Archive)).map_err(failure)
}

/// Opens a file that is there for reading, without a write to it, and checks its layout.
fn look(file: &Path) -> Result<Connection, Failure> {
    let has_log = fs::metadata(log_of(file)).is_ok_and(|log| log.len() > 0);
    let database = if has_log {
        // To be read, a log must be opened for writing; it is never copied into the database, nor removed.
        let database = Connection::open_with_flags(file, flags()).map_err(failure)?;
        database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failure)?;
        prepare(&database)?;
        database.pragma_update(None, "query_only", true).map_err(failure)?;
        database
    } else {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(immutable(file)?, flags).map_err(failure)?
    };
    check_layout(&database)?;
    Ok(database)
}

fn check_layout(database: &Connection) -> Result<(), Failure> {
    let pragma = |name| database.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(failure);
    let (id, layout) = (pragma("application_id")?, pragma("user_version")?.cast_unsigned());
    match layout {
        LAYOUT if id == APPLICATION_ID => Ok(()),
        found if id == APPLICATION_ID && found > LAYOUT => {
            Err(Failure::new(PersistenceErrorKind::UnknownVersion { found, known: LAYOUT }))
        }
        _ => Err(corrupt("the file is not a store of this library")),
    }
}

/// The file as an address that SQLite opens without locks and without looking for a log.
fn immutable(file: &Path) -> Result<String, Failure> {
    let absolute = std::path::absolute(file).map_err(io_failure)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
    let escape = |byte: &u8| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    let path: String = absolute.as_os_str().as_encoded_bytes().iter().map(escape).collect();
    Ok(format!("file:{path}?immutable=1"))
}

fn log_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

fn failure(error: rusqlite::Error) -> Failure {
    use PersistenceErrorKind::{Backend, Io, Locked, StorageFull, TooLarge};
    let code = match &error {
        rusqlite::Error::SqliteFailure(error, _) => error.code,
        rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::FromSqlConversionFailure(..) => {
            return corrupt(error.to_string());
        }
        _ => return Failure::new(Backend(error.to_string())).unusable(),
    };
    match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Failure::new(Locked).with_source(error),
        // SQLite takes the transaction back and can go on.
        ErrorCode::DiskFull => Failure::new(StorageFull).with_source(error),
        ErrorCode::TooBig => Failure::new(TooLarge).with_source(error),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => corrupt(error.to_string()),
        ErrorCode::Unknown if is_no_such_table(&error) => corrupt(error.to_string()),
        _ => Failure::new(Io).with_source(error).unusable(),
    }
}

/// SQLITE_ERROR means a defect in a statement, but the statements are fixed: what differs is the file.
fn is_no_such_table(error: &rusqlite::Error) -> bool {
    const SQLITE_ERROR: c_int = 1;
    matches!(error, rusqlite::Error::SqliteFailure(error, _) if error.extended_code == SQLITE_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_gone_is_not_made_anew() {
        crate::store::on_disk::assert_gone_is_not_made_anew::<SqliteEngine>("channels.sqlite");
    }
}
