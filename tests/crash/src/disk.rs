//! What a disk may hold after a power cut.
//!
//! What: [`Disk`], which follows what a child did, and [`Disk::cut`], which draws one of the states that its syncs allow.
//! Why our own model: only what was synced is promised, and file systems keep any part of the rest. How it moves: each
//! [`Record`] changes a file's pending writes or the pending names; a sync makes them durable; a cut keeps some.
//!
//! The rules: a file's writes since its last sync may each be there, or not, or in part (pages of 4 KiB or sectors of
//! 512 bytes); names made, changed or removed since the directory's last sync may be there, in their order up to some
//! point, as in a journal of a file system. `sync_file_range` promises nothing. The index of SQLite's log (`-shm`) is
//! never there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::random::Random;
use crate::shim::Record;

/// Files by path from the store's directory.
pub type Image = BTreeMap<PathBuf, Vec<u8>>;

#[derive(Default)]
pub struct Disk {
    root: PathBuf,
    files: BTreeMap<u64, File>,
    /// Durable names.
    names: BTreeMap<PathBuf, u64>,
    /// Names as the child sees them.
    seen: BTreeMap<PathBuf, u64>,
    pending: Vec<Name>,
    /// What was there at the start and has not been opened: its number is not known yet.
    untouched: Image,
}

#[derive(Clone, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Resize(usize),
}

#[derive(Clone)]
enum Name {
    Add(PathBuf, u64),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl Disk {
    /// A disk that holds this, durably.
    pub fn new(root: &Path, image: Image) -> Self {
        Self { root: root.into(), untouched: image, ..Self::default() }
    }

    pub fn follow(&mut self, record: &Record) {
        match record {
            Record::Open { file, path, made, emptied } => self.opened(*file, &self.below(path), *made, *emptied),
            Record::Write { file, offset, data } => self.change(*file, Change::Write(*offset, data.clone())),
            Record::Resize { file, size } => self.change(*file, Change::Resize(*size)),
            Record::Sync { file } => {
                let file = self.files.entry(*file).or_default();
                for change in std::mem::take(&mut file.pending) {
                    change.apply(&mut file.durable);
                }
            }
            Record::SyncNames { dir } => self.sync_names(dir),
            Record::Rename { from, to } => self.rename(&self.below(from), &self.below(to)),
            Record::Link { from, to } => {
                let (from, to) = (self.below(from), self.below(to));
                self.touch(&from);
                if let Some(file) = self.seen.get(&from).copied() {
                    self.seen.insert(to.clone(), file);
                    self.pending.push(Name::Add(to, file));
                }
            }
            Record::Unlink { path } => {
                let path = self.below(path);
                self.touch(&path);
                self.seen.remove(&path);
                self.pending.push(Name::Remove(path));
            }
            Record::Said(_) => {}
        }
    }

    fn below(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).into()
    }

    fn change(&mut self, file: u64, change: Change) {
        self.files.entry(file).or_default().pending.push(change);
    }

    fn opened(&mut self, file: u64, path: &Path, made: bool, emptied: bool) {
        if let Some(durable) = self.untouched.remove(path) {
            self.files.insert(file, File { durable, pending: Vec::new() });
            self.names.insert(path.into(), file);
            self.seen.insert(path.into(), file);
        }
        if made {
            self.files.insert(file, File::default());
            self.seen.insert(path.into(), file);
            self.pending.push(Name::Add(path.into(), file));
        }
        if emptied {
            self.change(file, Change::Resize(0));
        }
    }

    /// Gives what was there and is named without having been opened a number.
    fn touch(&mut self, path: &Path) {
        if self.untouched.contains_key(path) {
            let number = u64::MAX - self.files.len() as u64;
            self.opened(number, path, false, false);
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        self.touch(from);
        self.touch(to);
        let name = Name::Rename(from.into(), to.into());
        name.apply(&mut self.seen);
        self.pending.push(name);
    }

    fn sync_names(&mut self, dir: &Path) {
        let pending = std::mem::take(&mut self.pending);
        for (at, name) in pending.iter().enumerate() {
            // Where it is now, if a directory above it was renamed meanwhile.
            let mut now = name.clone();
            pending[at + 1..].iter().for_each(|later| now.follow(later));
            if now.paths().iter().any(|path| self.root.join(path).parent() == Some(dir)) {
                name.apply(&mut self.names);
                self.pending.iter_mut().for_each(|earlier| earlier.follow(name));
            } else {
                self.pending.push(name.clone());
            }
        }
    }

    /// One of the states a power cut may leave now.
    pub fn cut(&self, random: &mut Random) -> Image {
        let mut names = self.names.clone();
        let kept = match random.below(3) {
            0 => 0,
            1 => self.pending.len(),
            _ => random.below(self.pending.len() + 1),
        };
        self.pending[..kept].iter().for_each(|name| name.apply(&mut names));
        let manner = Manner::draw(random);
        let mut image = self.untouched.clone();
        for (path, file) in names {
            if !path.to_string_lossy().ends_with("-shm") {
                let file = self.files.get(&file).cloned().unwrap_or_default();
                image.insert(path, file.cut(manner, random));
            }
        }
        image
    }
}

impl File {
    fn cut(self, manner: Manner, random: &mut Random) -> Vec<u8> {
        let Self { mut durable, pending } = self;
        let until = random.below(pending.len() + 1);
        for (at, change) in pending.into_iter().enumerate() {
            match manner {
                Manner::Nothing => break,
                Manner::Everything => change.apply(&mut durable),
                Manner::Prefix if at < until => change.apply(&mut durable),
                Manner::Prefix => {
                    change.apply_in_part(&mut durable, 512, random);
                    break;
                }
                Manner::Parts(size) => change.apply_in_part(&mut durable, size, random),
            }
        }
        durable
    }
}

/// What is kept of writes that were not synced.
#[derive(Clone, Copy)]
enum Manner {
    Nothing,
    Everything,
    /// Up to some write, which is torn.
    Prefix,
    /// Pieces of this size, each or not.
    Parts(usize),
}

impl Manner {
    fn draw(random: &mut Random) -> Self {
        match random.below(5) {
            0 => Self::Nothing,
            1 => Self::Everything,
            2 => Self::Prefix,
            3 => Self::Parts(4_096),
            _ => Self::Parts(512),
        }
    }
}

impl Change {
    fn apply(self, content: &mut Vec<u8>) {
        match self {
            Self::Resize(size) => content.resize(size, 0),
            Self::Write(offset, data) => write(content, offset, &data),
        }
    }

    fn apply_in_part(self, content: &mut Vec<u8>, size: usize, random: &mut Random) {
        match self {
            Self::Resize(_) if random.one_in(2) => {}
            Self::Resize(size) => content.resize(size, 0),
            Self::Write(offset, data) => {
                let mut at = 0;
                while at < data.len() {
                    let end = data.len().min(at + size - (offset + at) % size);
                    if random.one_in(2) {
                        write(content, offset + at, &data[at..end]);
                    }
                    at = end;
                }
            }
        }
    }
}

fn write(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(data);
}

impl Name {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Add(path, file) => {
                names.insert(path.clone(), *file);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
            Self::Rename(from, to) => {
                // A file, or all that is below a directory.
                let moved: Vec<PathBuf> = names.keys().filter(|path| path.starts_with(from)).cloned().collect();
                for path in moved {
                    if let Some(file) = names.remove(&path) {
                        names.insert(moved_to(&path, from, to), file);
                    }
                }
            }
        }
    }

    fn paths(&self) -> Vec<&PathBuf> {
        match self {
            Self::Add(path, _) | Self::Remove(path) => vec![path],
            Self::Rename(from, to) => vec![from, to],
        }
    }

    /// Keeps up with a directory above it that gets another name.
    fn follow(&mut self, other: &Self) {
        let Self::Rename(from, to) = other else { return };
        let mine = match self {
            Self::Add(path, _) | Self::Remove(path) => vec![path],
            Self::Rename(from, to) => vec![from, to],
        };
        for path in mine {
            if path.starts_with(from) && path != from {
                *path = moved_to(path, from, to);
            }
        }
    }
}

fn moved_to(path: &Path, from: &Path, to: &Path) -> PathBuf {
    match path.strip_prefix(from) {
        Ok(below) if !below.as_os_str().is_empty() => to.join(below),
        _ => to.into(),
    }
}

/// Puts an image where nothing else is.
pub fn write_image(dir: &Path, image: &Image) -> Result<()> {
    fs::remove_dir_all(dir).ok();
    fs::create_dir_all(dir)?;
    for (path, content) in image {
        let path = dir.join(path);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(&path, content).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// All files below this directory.
pub fn read_image(dir: &Path) -> Result<Image> {
    let mut image = Image::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                image.insert(path.strip_prefix(dir)?.into(), fs::read(&path)?);
            }
        }
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: u64 = 1;

    fn made(path: &str) -> Record {
        Record::Open { file: FILE, path: path.into(), made: true, emptied: false }
    }

    fn written(offset: usize, data: &[u8]) -> Record {
        Record::Write { file: FILE, offset, data: data.to_vec() }
    }

    /// What 200 cuts after these records leave.
    fn cuts(records: &[Record]) -> Vec<Image> {
        let mut disk = Disk::new(Path::new("/store"), Image::new());
        records.iter().for_each(|record| disk.follow(record));
        (0..200).map(|seed| disk.cut(&mut Random::new(&[seed]))).collect()
    }

    fn names(dir: &str) -> Record {
        Record::SyncNames { dir: dir.into() }
    }

    #[test]
    fn what_was_synced_is_always_there() {
        let sync = Record::Sync { file: FILE };
        let left = cuts(&[made("/store/a"), written(0, b"one"), sync, names("/store"), written(3, b"two")]);
        assert!(left.iter().all(|image| image[Path::new("a")].starts_with(b"one")));
        let whole = left.iter().filter(|image| image[Path::new("a")] == b"onetwo").count();
        assert!((1..200).contains(&whole), "{whole}");
    }

    #[test]
    fn a_name_that_was_not_synced_may_go() {
        let left = cuts(&[made("/store/a"), written(0, b"one"), Record::Sync { file: FILE }]);
        let there = left.iter().filter(|image| image.contains_key(Path::new("a"))).count();
        assert!((1..200).contains(&there), "{there}");
    }

    #[test]
    fn a_name_without_its_content_is_possible() {
        let left = cuts(&[made("/store/a"), written(0, b"one"), names("/store")]);
        assert!(left.iter().any(|image| image[Path::new("a")].is_empty()));
    }

    #[test]
    fn pages_are_dropped_one_by_one() {
        let left = cuts(&[made("/store/a"), written(0, &[1; 8_192]), names("/store")]);
        let second_alone = |image: &&Image| {
            let content = &image[Path::new("a")];
            content.len() == 8_192 && content[..4_096] == [0; 4_096] && content[4_096..] == [1; 4_096]
        };
        assert!(left.iter().find(second_alone).is_some());
    }

    #[test]
    fn a_directory_takes_its_files_along() {
        let rename = Record::Rename { from: "/store/new".into(), to: "/store/own".into() };
        let sync = || Record::Sync { file: FILE };
        let left = cuts(&[made("/store/new/a"), written(0, b"one"), sync(), names("/store/new"), rename]);
        let at = |image: &Image, path| image.get(Path::new(path)).is_some_and(|content| content == b"one");
        assert!(left.iter().all(|image| at(image, "new/a") != at(image, "own/a")));
        assert!(left.iter().any(|image| at(image, "new/a")) && left.iter().any(|image| at(image, "own/a")));
        let rename = Record::Rename { from: "/store/new".into(), to: "/store/own".into() };
        let left =
            cuts(&[made("/store/new/a"), written(0, b"one"), sync(), rename, names("/store/own"), names("/store")]);
        assert!(left.iter().all(|image| at(image, "own/a")));
    }
}
