//! A database file that is only read, with what would be written kept in memory.
//!
//! What: [`Overlay`], a redb backend. Why: after a crash redb can read a file only after a repair, which writes;
//! looking at a store must not, least of all at one that just crashed. How it moves: locks (shared ones only)
//! and reads go to the file, changed blocks lie over it and go when the database is closed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

/// Bytes of a block; redb's pages are as large or larger.
const BLOCK: usize = 4_096;

#[derive(Debug)]
pub(super) struct Overlay {
    file: FileBackend,
    changed: Mutex<Changed>,
}

#[derive(Debug)]
struct Changed {
    /// Length as redb set it.
    length: u64,
    /// Bytes of the file that still count; behind them are zeros.
    of_file: u64,
    blocks: BTreeMap<u64, Box<[u8; BLOCK]>>,
}

impl Overlay {
    pub(super) fn new(path: &Path) -> Result<Self, DatabaseError> {
        let file = FileBackend::new(File::open(path)?)?;
        let length = file.len()?;
        Ok(Self { file, changed: Mutex::new(Changed { length, of_file: length, blocks: BTreeMap::new() }) })
    }

    fn changed(&self) -> MutexGuard<'_, Changed> {
        // A block is put in whole or not at all.
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block as it is now.
    fn block(&self, changed: &Changed, number: u64) -> io::Result<Box<[u8; BLOCK]>> {
        if let Some(block) = changed.blocks.get(&number) {
            return Ok(block.clone());
        }
        let mut block = Box::new([0; BLOCK]);
        let start = number * BLOCK as u64;
        let there = changed.of_file.saturating_sub(start).min(BLOCK as u64) as usize;
        if there > 0 {
            self.file.read(start, &mut block[..there])?;
        }
        Ok(block)
    }
}

/// The blocks that a range of bytes touches: number, range within the block, range within the bytes.
fn blocks(offset: u64, length: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % BLOCK as u64) as usize;
        let count = (BLOCK - within).min(length - done);
        let part = (at / BLOCK as u64, within..within + count, done..done + count);
        done += count;
        (count > 0).then_some(part)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changed().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changed = self.changed();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > changed.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within, part) in blocks(offset, out.len()) {
            out[part].copy_from_slice(&self.block(&changed, number)?[within]);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut changed = self.changed();
        if length < changed.length {
            changed.of_file = changed.of_file.min(length);
            changed.blocks.split_off(&length.div_ceil(BLOCK as u64));
            if let Some(last) = changed.blocks.get_mut(&(length / BLOCK as u64)) {
                last[(length % BLOCK as u64) as usize..].fill(0);
            }
        }
        changed.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changed = self.changed();
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > changed.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within, part) in blocks(offset, data.len()) {
            let mut block = self.block(&changed, number)?;
            block[within].copy_from_slice(&data[part]);
            changed.blocks.insert(number, block);
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
