//! A [`Place`] for stores that are files in a directory.
//!
//! What: [`Directory`]. Why: crashes and damage are then the same for all of them. How it moves: the directory is a
//! temporary one; a crash is a copy of it, made while the store is open; damage is done to its files while it is closed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::Place;
use crate::store::{Persistence, PersistenceError, PersistenceErrorKind};

/// How a store in a directory is opened.
pub type Open = fn(&Path) -> Result<Arc<dyn Persistence>, PersistenceError>;

/// A temporary directory, removed when dropped.
#[derive(Debug)]
pub struct Directory {
    dir: TempDir,
    open: Open,
}

impl Directory {
    /// An empty one.
    ///
    /// # Panics
    /// When there can be no temporary directory.
    #[must_use]
    pub fn new(open: Open) -> Self {
        Self { dir: TempDir::new().expect("a temporary directory can be made"), open }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Place for Directory {
    fn open(&self) -> Result<Arc<dyn Persistence>, PersistenceError> {
        (self.open)(self.path())
    }

    fn crashed(&self) -> Option<Box<dyn Place>> {
        let copy = Self::new(self.open);
        copy_dir(self.path(), copy.path()).ok()?;
        Some(Box::new(copy))
    }

    fn damage(&self, bytes: &[u8]) -> bool {
        let mut found = false;
        for file in files(self.path()).unwrap_or_default() {
            let Ok(mut content) = fs::read(&file) else { continue };
            let places: Vec<usize> = (0..content.len()).filter(|at| content[*at..].starts_with(bytes)).collect();
            for at in &places {
                content[at + bytes.len() / 2] ^= 1;
            }
            found |= !places.is_empty() && fs::write(&file, content).is_ok();
        }
        found
    }

    fn cut(&self) -> bool {
        let all = files(self.path()).unwrap_or_default();
        let largest = all.iter().max_by_key(|file| fs::metadata(file).map_or(0, |file| file.len()));
        largest.is_some_and(|file| {
            let cut = |file: fs::File| file.set_len(file.metadata()?.len() / 2);
            fs::OpenOptions::new().write(true).open(file).and_then(cut).is_ok()
        })
    }
}

/// All files below a directory.
fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    Ok(found)
}

fn copy_dir(from: &Path, to: &Path) -> Result<(), PersistenceError> {
    let fail = |error: io::Error| PersistenceError::new("crash", None, PersistenceErrorKind::Io).with_source(error);
    for file in files(from).map_err(fail)? {
        let Ok(below) = file.strip_prefix(from) else { continue };
        let target = to.join(below);
        target.parent().map_or(Ok(()), fs::create_dir_all).map_err(fail)?;
        match fs::copy(&file, target) {
            // Removed since it was listed.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
            _ => {}
        }
    }
    Ok(())
}
