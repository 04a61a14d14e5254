//! sled as an [`Engine`]: its tree, its syncs, and its errors in our words.
//!
//! What: [`SledEngine`]. Why apart: all that knows sled is here. How it moves: one `Batch` per operation, then sled's
//! `flush`, which writes, then our own `fdatasync`, which makes it last; all of a shared transaction with one sync.
//!
//! Keys are a tag (which table), then the key as in [`encoded`](crate::store::encoded).

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use sled::{Batch, Db};

use super::chunks::{self, Entry};
use super::files::{Files, owned};
use crate::store::anchor::Anchor;
use crate::store::blocking::BlockingStore;
use crate::store::encoded::{Change, Raw, Scan, Scanned, Table, Write, channels_by_seeking, prefix_of};
use crate::store::engine_thread::Failure;
use crate::store::medium::{corrupt, io_failure, write_again};
use crate::store::on_disk::Options;
use crate::store::{Durability, PersistenceErrorKind};
use crate::types::ChannelId;

/// sled's largest: an entry larger than a quarter of it goes to a file that is never synced.
const SEGMENT_BYTES: usize = 16 << 20;
/// Bytes of pages kept in memory.
const CACHE_BYTES: u64 = 16 << 20;
/// sled writes by itself this often: without that its buffers wait for the next segment.
const FLUSH_EVERY_MS: u64 = 500;
/// sled lets go of its files some time after it was dropped; our own lock says that it will.
const OPEN_ATTEMPTS: u32 = 100;
const OPEN_PAUSE: Duration = Duration::from_millis(20);

const META: u8 = 1;
const ROWS: u8 = 2;
const HINTS: u8 = 3;
const PARTS: u8 = 4;
const ARCHIVE: u8 = 5;

/// An open store; the database ends before the files' lock does.
pub(super) struct SledEngine {
    database: Db,
    /// The file that sled writes to, for syncing it.
    log: File,
    durability: Durability,
    /// `None` where it is only read.
    anchor: Option<Arc<Anchor>>,
    _files: Files,
}

impl BlockingStore for SledEngine {
    type Options = Options;

    fn open(options: &Options) -> Result<Self, Failure> {
        Self::open_after(options, |_| Ok(()))
    }

    fn reopen(options: &Options) -> Result<Self, Failure> {
        options.must_be_there(&options.dir.join("channels.sled"))?;
        Self::open_after(options, write_again)
    }

    fn elsewhere(_: &Options, dir: &Path) -> Option<Options> {
        Some(Options::elsewhere(dir))
    }

    fn apply(&mut self, writes: &[Write]) -> Result<(), Failure> {
        let Some(anchor) = self.anchor.clone() else { return Err(Failure::new(PersistenceErrorKind::Unsupported)) };
        for write in writes {
            let batch = self.batch(write)?;
            self.database.apply_batch(batch).map_err(failure)?;
        }
        match self.durability {
            Durability::Immediate => self.sync(),
            _ => anchor.check(),
        }
    }

    fn load(&mut self, prefix: &[u8]) -> Result<Raw, Failure> {
        let scan = |tag| {
            let prefix = [&[tag], prefix].concat();
            let mut found = Vec::new();
            for entry in self.database.scan_prefix(&prefix) {
                let (key, entry) = entry.map_err(failure)?;
                let value = self.value(&key, &entry)?;
                let key = key.strip_prefix(prefix.as_slice()).ok_or_else(|| corrupt("keys out of order"))?;
                found.push((key.to_vec(), value));
            }
            if !found.is_sorted_by(|one, next| one.0 < next.0) {
                return Err(corrupt("keys out of order"));
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
        let key = |key: &[u8]| [&[ARCHIVE], key].concat();
        let mut range = self.database.range(key(&scan.from)..key(&scan.to));
        scan.gather(|| {
            let entry = if scan.backwards { range.next_back() } else { range.next() };
            let Some((key, entry)) = entry.transpose().map_err(failure)? else { return Ok(None) };
            let value = self.value(&key, &entry)?;
            Ok(Some((key[1..].to_vec(), value)))
        })
    }

    fn list(&mut self) -> Result<Vec<ChannelId>, Failure> {
        channels_by_seeking([META, ROWS, HINTS, ARCHIVE], |tag, from| {
            let mut keys = self.database.range([&[tag], from].concat()..vec![tag + 1]).keys();
            let key = keys.next().transpose().map_err(failure)?;
            Ok(key.map(|key| key[1..].to_vec()))
        })
    }

    fn sync(&mut self) -> Result<(), Failure> {
        let Some(anchor) = &self.anchor else { return Ok(()) };
        self.database.flush().map_err(failure)?;
        self.log.sync_data().map_err(io_failure)?;
        anchor.check()
    }
}

impl SledEngine {
    /// Opens the store once this is done with its files, under their lock.
    fn open_after(options: &Options, first: impl FnOnce(&Path) -> Result<(), Failure>) -> Result<Self, Failure> {
        let files = if options.read_only {
            Files::for_reading(&options.dir)?
        } else {
            Files::for_writing(&options.dir, |sled| {
                let database = owned(sled, || open(sled))?;
                database.flush().map(drop).map_err(failure)
            })?
        };
        first(&files.sled)?;
        let database = owned(&files.sled, || open(&files.sled))?;
        let file = files.sled.join("db");
        let log = File::open(&file).map_err(io_failure)?;
        let anchor = if options.read_only { None } else { Some(options.anchor(&file)?) };
        Ok(Self { database, log, durability: options.durability, anchor, _files: files })
    }

    /// The changes of one operation as one batch.
    fn batch(&self, write: &Write) -> Result<Batch, Failure> {
        let mut batch = Batch::default();
        // Of several changes under one key the last: so that no part of an earlier one stays behind.
        let mut last: BTreeMap<Vec<u8>, Option<&[u8]>> = BTreeMap::new();
        for change in &write.changes {
            match change {
                Change::Put { table, key, value } => {
                    last.insert([&[tag(*table)], key.as_slice()].concat(), Some(value));
                }
                Change::Delete { table, key } => {
                    last.insert([&[tag(*table)], key.as_slice()].concat(), None);
                }
                Change::DropChannel { prefix } => self.drop_channel(prefix, &mut batch)?,
            }
        }
        for (key, value) in last {
            self.remove_parts(write.prefix(), &key, &mut batch)?;
            let Some(value) = value else {
                batch.remove(key);
                continue;
            };
            for (number, part) in (0_u32..).zip(chunks::parts(value)) {
                batch.insert(chunks::part_key(PARTS, write.prefix(), &key, number), part);
            }
            let entry = chunks::entry(value);
            batch.insert(key, entry);
        }
        Ok(batch)
    }

    fn drop_channel(&self, prefix: &[u8], batch: &mut Batch) -> Result<(), Failure> {
        for tag in [META, ROWS, HINTS, PARTS, ARCHIVE] {
            for key in self.database.scan_prefix([&[tag], prefix].concat()).keys() {
                batch.remove(key.map_err(failure)?);
            }
        }
        Ok(())
    }

    /// Removes the parts of the value that is under this key now.
    fn remove_parts(&self, prefix: &[u8], key: &[u8], batch: &mut Batch) -> Result<(), Failure> {
        let Some(entry) = self.database.get(key).map_err(failure)? else { return Ok(()) };
        if let Entry::Parts(_) = chunks::read(&entry)? {
            let first = chunks::part_key(PARTS, prefix, key, 0);
            let last = chunks::part_key(PARTS, prefix, key, u32::MAX);
            for part in self.database.range(first.clone()..=last).keys() {
                let part = part.map_err(failure)?;
                // A longer key of another value may lie between.
                if part.len() == first.len() {
                    batch.remove(part);
                }
            }
        }
        Ok(())
    }

    /// The value of an entry, put together where it is in parts.
    fn value(&self, key: &[u8], entry: &[u8]) -> Result<Bytes, Failure> {
        match chunks::read(entry)? {
            Entry::Whole(value) => Ok(Bytes::copy_from_slice(value)),
            Entry::Parts(parts) => {
                let prefix = prefix_of(&key[1..]).ok_or_else(|| corrupt("a key"))?;
                let mut value = Vec::new();
                for number in 0..parts {
                    let part = self.database.get(chunks::part_key(PARTS, prefix, key, number)).map_err(failure)?;
                    value.extend_from_slice(&part.ok_or_else(|| corrupt("a part of a value is missing"))?);
                }
                Ok(value.into())
            }
        }
    }
}

fn tag(table: Table) -> u8 {
    match table {
        Table::Meta => META,
        Table::Rows => ROWS,
        Table::Hints => HINTS,
        Table::Archive => ARCHIVE,
    }
}

fn open(sled: &Path) -> Result<Db, Failure> {
    let config = sled::Config::new()
        .path(sled)
        .cache_capacity(CACHE_BYTES)
        .segment_size(SEGMENT_BYTES)
        .flush_every_ms(Some(FLUSH_EVERY_MS));
    let mut attempts = 0;
    loop {
        match config.open() {
            Err(error) if is_locked(&error) && attempts < OPEN_ATTEMPTS => {
                attempts += 1;
                thread::sleep(OPEN_PAUSE);
            }
            database => return database.map_err(failure),
        }
    }
}

/// sled has no error of its own for this.
fn is_locked(error: &sled::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// After any error sled says the same error again, or worse: it can only be dropped.
fn failure(error: sled::Error) -> Failure {
    match error {
        error if is_locked(&error) => Failure::new(PersistenceErrorKind::Locked).with_source(error).unusable(),
        sled::Error::Io(error) => io_failure(error),
        sled::Error::Corruption { .. } => corrupt(error.to_string()).unusable(),
        sled::Error::Unsupported(_) => corrupt(error.to_string()).unusable(),
        error => Failure::new(PersistenceErrorKind::Poisoned).with_source(error).unusable(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_gone_is_not_made_anew() {
        crate::store::on_disk::assert_gone_is_not_made_anew::<SledEngine>("channels.sled");
    }

    #[test]
    fn no_part_of_a_value_outlives_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut engine = SledEngine::open(&Options::elsewhere(dir.path())).expect("a new store");
        let mut parts_after = |channel: &str, id: &str, size: Option<usize>| {
            let channel = ChannelId::from(channel);
            let write = match size {
                Some(size) => Write::hint_alone(&channel, &id.into(), &vec![7; size].into()),
                None => Write::drop_channel(&channel),
            };
            engine.apply(&[write.expect("not too large")]).expect("it is made");
            engine.database.scan_prefix([PARTS]).count()
        };
        const PART: usize = chunks::PART_BYTES;
        assert_eq!(parts_after("a", "id", Some(3 * PART)), 4, "the value has a few bytes around the hint");
        assert_eq!(parts_after("a", "id, longer", Some(PART)), 4 + 2);
        assert_eq!(parts_after("b", "id", Some(PART)), 6 + 2);
        assert_eq!(parts_after("a", "id", Some(PART)), 8 - 2);
        assert_eq!(parts_after("a", "id", Some(10)), 6 - 2);
        assert_eq!(parts_after("a", "", None), 2, "those of b");
    }
}
