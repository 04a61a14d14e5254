//! The files of a sled store, and what sled does not do for them.
//!
//! What: where they are, how a store is made, cleaned and copied. Why: sled makes its files without syncing their
//! names, and its reader trips over a snapshot that was being written when the process died. How it moves:
//!
//! ```text
//! channels.sled.lock    our lock: sled's own goes with its last thread, some time after it was dropped
//! channels.sled/layout  our layout version, a number; written last of all when a store is made
//! channels.sled/db/     sled's directory: conf, db, blobs/, snap.*
//! ```

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::store::engine_thread::Failure;
use crate::store::medium::{Lock, corrupt, create_dir_of, io_failure, sync_dir, sync_name_of};
use crate::store::{PersistenceErrorKind, owner_only};

/// Version of the tree's keys and values.
const LAYOUT: u32 = 1;
/// More than a layout file can hold.
const LAYOUT_BYTES: u64 = 64;

const DIR: &str = "channels.sled";
const LOCK: &str = "channels.sled.lock";

/// Sled's directory, and what must live as long as it is used.
pub(super) struct Files {
    pub(super) sled: PathBuf,
    /// Removed when dropped.
    _copy: Option<TempDir>,
    _lock: Option<Lock>,
}

impl Files {
    /// Locks the store in this directory, makes it with `make` where there is none, and readies it for sled.
    pub(super) fn for_writing(dir: &Path, make: impl FnOnce(&Path) -> Result<(), Failure>) -> Result<Self, Failure> {
        let (store, lock) = (dir.join(DIR), dir.join(LOCK));
        create_dir_of(&lock)?;
        let lock = Lock::exclusive(&lock)?;
        if !fs::exists(&store).map_err(io_failure)? {
            create(&store, make)?;
        }
        check_layout(&store)?;
        let sled = sled_dir(&store);
        remove_unfinished_snapshots(&sled)?;
        Ok(Self { sled, _copy: None, _lock: Some(lock) })
    }

    /// Locks the store in this directory against writers and copies it: sled writes when it opens.
    pub(super) fn for_reading(dir: &Path) -> Result<Self, Failure> {
        let store = dir.join(DIR);
        fs::metadata(&store).map_err(io_failure)?;
        // Where there is no lock file, as in a backup, nobody has the lock.
        let lock = dir.join(LOCK);
        let lock = if fs::exists(&lock).map_err(io_failure)? { Some(Lock::shared(&lock)?) } else { None };
        check_layout(&store)?;
        let copy = TempDir::new().map_err(io_failure)?;
        copy_dir(&sled_dir(&store), copy.path()).map_err(io_failure)?;
        remove_unfinished_snapshots(copy.path())?;
        Ok(Self { sled: copy.path().to_owned(), _copy: Some(copy), _lock: lock })
    }
}

/// Makes an empty store under another name and then gives it its own: a directory of that name was a store once, so
/// that one without layout is damaged, not new. The caller has the lock.
fn create(store: &Path, make: impl FnOnce(&Path) -> Result<(), Failure>) -> Result<(), Failure> {
    let new = store.with_extension("sled.new");
    match fs::remove_dir_all(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_failure(error)),
        _ => {}
    }
    let sled = sled_dir(&new);
    owner_only::create_dir_all(&sled).map_err(io_failure)?;
    make(&sled)?;
    remove_unfinished_snapshots(&sled)?;
    sync_dir(&sled).map_err(io_failure)?;
    let mut layout = owner_only::create_new(&new.join("layout")).map_err(io_failure)?;
    layout.write_all(LAYOUT.to_string().as_bytes()).and_then(|()| layout.sync_all()).map_err(io_failure)?;
    sync_name_of(&new.join("layout"))?;
    fs::rename(&new, store).map_err(io_failure)?;
    sync_name_of(store)
}

fn check_layout(store: &Path) -> Result<(), Failure> {
    let no_store = || corrupt("the directory is not a store of this library");
    let file = store.join("layout");
    match fs::metadata(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(no_store()),
        Err(error) => return Err(io_failure(error)),
        Ok(file) if file.len() > LAYOUT_BYTES => return Err(no_store()),
        Ok(_) => {}
    }
    let layout = fs::read_to_string(file).map_err(io_failure)?;
    match layout.parse::<u32>() {
        Ok(LAYOUT) if has_database(store) => Ok(()),
        Ok(found) if found > LAYOUT => Err(Failure::new(PersistenceErrorKind::UnknownVersion { found, known: LAYOUT })),
        _ => Err(no_store()),
    }
}

/// Sled makes what is missing anew, and with it an empty store.
fn has_database(store: &Path) -> bool {
    let has = |name: &str| fs::metadata(sled_dir(store).join(name)).is_ok_and(|file| file.len() > 0);
    has("db") && has("conf")
}

/// Opens sled; the files that it makes for that belong to their owner alone. It writes snapshots at no other time.
pub(super) fn owned<T>(sled: &Path, open: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let before = entries(sled).map_err(io_failure)?;
    let opened = open()?;
    for path in entries(sled).map_err(io_failure)? {
        if !before.contains(&path) {
            owner_only::restrict(&path).map_err(io_failure)?;
        }
    }
    Ok(opened)
}

fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
}

fn sled_dir(store: &Path) -> PathBuf {
    store.join("db")
}

/// A snapshot that was being written when the process died blocks every later open.
fn remove_unfinished_snapshots(sled: &Path) -> Result<(), Failure> {
    for entry in fs::read_dir(sled).map_err(io_failure)? {
        let path = entry.map_err(io_failure)?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(path).map_err(io_failure)?;
        }
    }
    Ok(())
}

fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&to)?;
            copy_dir(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
