//! The shim between a store and its files (`shim/shim.c`), built when a campaign first needs it.
//!
//! What: [`build`], and [`read`], which gives what it recorded. Why at run time: nobody who builds this workspace needs a
//! C compiler for it. How it moves: a campaign puts the library under a child with `LD_PRELOAD`; the child's calls become
//! [`Record`]s in a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

const SOURCE: &str = include_str!("../shim/shim.c");

/// Compiles the shim into this directory.
pub fn build(dir: &Path) -> Result<PathBuf> {
    let (source, library) = (dir.join("shim.c"), dir.join("shim.so"));
    fs::write(&source, SOURCE)?;
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let status = Command::new(&compiler)
        .args(["-shared", "-fPIC", "-O2", "-U_FORTIFY_SOURCE", "-o"])
        .args([&library, &source])
        .args(["-ldl", "-lpthread"])
        .status()
        .with_context(|| format!("{compiler} (a C compiler is needed for this campaign)"))?;
    ensure!(status.success(), "{compiler} cannot compile the shim");
    Ok(library)
}

/// Something that happened, in the order it did.
#[derive(Debug)]
pub enum Record {
    /// A file was opened; `made` when it was not there, `emptied` when it was.
    Open {
        file: u64,
        path: PathBuf,
        made: bool,
        emptied: bool,
    },
    Write {
        file: u64,
        offset: usize,
        data: Vec<u8>,
    },
    Resize {
        file: u64,
        size: usize,
    },
    /// The file's content is on stable storage.
    Sync {
        file: u64,
    },
    /// The names in a directory are.
    SyncNames {
        dir: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    /// The child said this.
    Said(String),
}

/// What the shim recorded. A last record cut short did not happen.
pub fn read(log: &Path) -> Result<Vec<Record>> {
    let bytes = fs::read(log)?;
    let mut rest = bytes.as_slice();
    let mut records = Vec::new();
    let mut mapped = Vec::new();
    while let Some((head, tail)) = rest.split_at_checked(25) {
        let number = |at: usize| Ok::<_, anyhow::Error>(u64::from_le_bytes(head[at..at + 8].try_into()?));
        let (file, offset) = (number(1)?, usize::try_from(number(9)?)?);
        let Some((data, after)) = tail.split_at_checked(usize::try_from(number(17)?)?) else { break };
        rest = after;
        let text = || String::from_utf8_lossy(data).into_owned();
        let path = || PathBuf::from(text());
        let two = || {
            let text = text();
            let (from, to) = text.split_once('\0').context("two paths")?;
            Ok::<_, anyhow::Error>((PathBuf::from(from), PathBuf::from(to)))
        };
        records.push(match head[0] {
            b'O' => {
                let path = path();
                if path.to_string_lossy().ends_with("-shm") {
                    mapped.push(file);
                }
                Record::Open { file, path, made: offset == 1, emptied: offset == 2 }
            }
            b'W' => Record::Write { file, offset, data: data.to_vec() },
            b'T' => Record::Resize { file, size: offset },
            b'S' => Record::Sync { file },
            b'D' => Record::SyncNames { dir: path() },
            b'R' => two().map(|(from, to)| Record::Rename { from, to })?,
            b'L' => two().map(|(from, to)| Record::Link { from, to })?,
            b'U' => Record::Unlink { path: path() },
            // Directories are made where a file below them survives.
            b'M' | b'V' => continue,
            b'A' => Record::Said(text()),
            // SQLite's index of its log is mapped, and need not survive.
            b'X' if mapped.contains(&file) => continue,
            kind => bail!("the shim cannot record this: {} {}", char::from(kind), text()),
        });
    }
    Ok(records)
}
