//! What engines share of the file system: locks, names that last, and the medium's errors in our words.
//!
//! What: [`Lock`] and a few functions. Why: two engines that open one store would destroy it, and a file whose name
//! was never synced is gone after a power cut, however well its content was. How it moves: an engine takes the lock
//! first, and lets go of it after everything else; the operating system lets go of it when the process dies.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;

use super::engine_thread::Failure;
use super::{PersistenceErrorKind, owner_only};

/// A lock on a file that exists for nothing else. Held until dropped.
#[cfg(any(feature = "sled", feature = "sqlite"))]
pub(super) struct Lock {
    _file: File,
}

#[cfg(any(feature = "sled", feature = "sqlite"))]
impl Lock {
    /// The only one. Makes the file where it is not there.
    pub(super) fn exclusive(path: &Path) -> Result<Self, Failure> {
        let file = owner_only::file().create(true).truncate(false).open(path).map_err(io_failure)?;
        file.try_lock().map_err(lock_failure)?;
        Ok(Self { _file: file })
    }

    /// One among others that only look. The file must be there.
    pub(super) fn shared(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path).map_err(io_failure)?;
        file.try_lock_shared().map_err(lock_failure)?;
        Ok(Self { _file: file })
    }
}

fn lock_failure(error: TryLockError) -> Failure {
    match error {
        TryLockError::WouldBlock => Failure::new(PersistenceErrorKind::Locked),
        TryLockError::Error(error) => io_failure(error),
    }
}

/// Writes a file, or all files below a directory, once more as they are read, and syncs them. For opening again after a
/// failed sync: the kernel may keep pages that never reached the disk and call them clean, so that no later sync would
/// write them. What is not there is passed over.
pub(super) fn write_again(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(io_failure)? {
            write_again(&entry.map_err(io_failure)?.path())?;
        }
        return Ok(());
    }
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file.map_err(io_failure)?,
    };
    // Else another process has opened the store meanwhile.
    file.try_lock().map_err(lock_failure)?;
    let mut block = vec![0; 1 << 20];
    let mut again = || -> io::Result<()> {
        loop {
            let at = file.stream_position()?;
            let read = file.read(&mut block)?;
            if read == 0 {
                return file.sync_all();
            }
            file.seek(io::SeekFrom::Start(at))?;
            file.write_all(&block[..read])?;
        }
    };
    again().map_err(io_failure)
}

pub(super) fn create_dir_of(file: &Path) -> Result<(), Failure> {
    file.parent().map_or(Ok(()), owner_only::create_dir_all).map_err(io_failure)
}

/// Makes a new file's name, and that of its directory, survive a power cut.
pub(super) fn sync_name_of(file: &Path) -> Result<(), Failure> {
    if cfg!(unix) {
        for dir in file.ancestors().skip(1).take(2) {
            let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_failure)?;
        }
    }
    Ok(())
}

/// Syncs all files below a directory, and their names.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { sync_dir(&path)? } else { File::open(path)?.sync_all()? }
    }
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

pub(super) fn corrupt(what: impl Into<String>) -> Failure {
    Failure::new(PersistenceErrorKind::Corrupt { what: what.into() })
}

pub(super) fn io_failure(error: io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => PersistenceErrorKind::StorageFull,
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            PersistenceErrorKind::Corrupt { what: error.to_string() }
        }
        _ => PersistenceErrorKind::Io,
    };
    Failure::new(kind).with_source(error).unusable()
}
