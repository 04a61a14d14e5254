//! Notices that a store's files are no longer the ones that were opened.
//!
//! An engine goes on writing to a file that was removed or moved away: every commit succeeds, and nothing of it is found
//! when the store is opened the next time. So after each transaction and sync the file that the path names is compared
//! with the one that was opened first. That one is kept open meanwhile, so that no other file can get its number.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::PersistenceErrorKind;
use super::engine_thread::Failure;
use super::medium::io_failure;

/// A file that must stay where it is.
#[derive(Debug)]
pub(super) struct Anchor {
    path: PathBuf,
    #[cfg_attr(not(unix), allow(dead_code, reason = "only Unix numbers files"))]
    file: File,
}

impl Anchor {
    pub(super) fn new(path: &Path) -> Result<Self, Failure> {
        Ok(Self { path: path.to_owned(), file: File::open(path).map_err(io_failure)? })
    }

    /// Fails with [`PersistenceErrorKind::Gone`] when the file is not there, or is another one. What cannot be looked at
    /// is not known to be gone.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match fs::metadata(&self.path) {
            Ok(there) if !self.is(&there) => Err(gone("another store is where this one was")),
            Err(error) if is_missing(&error) => Err(gone("the store's files were removed")),
            _ => Ok(()),
        }
    }

    #[cfg(unix)]
    fn is(&self, there: &fs::Metadata) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        self.file.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (there.dev(), there.ino()))
    }

    /// Open files cannot be replaced where files have no numbers.
    #[cfg(not(unix))]
    fn is(&self, _: &fs::Metadata) -> bool {
        true
    }
}

/// Fails with [`PersistenceErrorKind::Gone`] when a file is not there.
pub(super) fn must_exist(file: &Path) -> Result<(), Failure> {
    match fs::metadata(file) {
        Ok(_) => Ok(()),
        Err(error) if is_missing(&error) => Err(gone("the store's file is gone")),
        Err(error) => Err(io_failure(error)),
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn gone(what: &str) -> Failure {
    let source = io::Error::new(ErrorKind::NotFound, what);
    Failure::new(PersistenceErrorKind::Gone).with_source(source).unusable()
}
