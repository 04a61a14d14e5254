//! A consistent copy of a store that stays open.
//!
//! The copy is a new store of the same engine, with every channel as it was when the copy was asked for. The thread copies
//! one channel after another and serves other calls in between. A write to a channel that is still to be copied waits
//! until that channel is, so the copy has nothing that came later. No call waits for more than two channels,
//! but for one behind a drop, which waits for that channel's archive.
//!
//! Then come the archives, which may be of any size, in parts of up to 4 MiB, again with other calls in between. What is
//! put meanwhile into one that is still to be copied goes to the copy too; before a channel is dropped its archive is
//! copied to the end.
//!
//! Until it is whole and synced the copy is in a directory with `.partial` behind its name. One that fails leaves
//! nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use tracing::debug;

use super::failure::catch;
use super::{BlockingStore, Failure, MAX_BATCH_BYTES, Reply, Worker, answer};
use crate::store::PersistenceErrorKind;
use crate::store::archive::bodies_or_rids;
use crate::store::encoded::{Change, Raw, Write, channel_prefix};
use crate::store::medium::{create_dir_of, io_failure, sync_dir, sync_name_of};
use crate::store::owner_only;
use crate::types::ChannelId;

/// Values of an archive that are copied at once.
const ARCHIVED: usize = 4_096;

/// A copy that is being made.
pub(super) struct Backup<E> {
    /// `None` once it is closed.
    target: Option<E>,
    to: PathBuf,
    partial: PathBuf,
    /// Prefixes of the channels that are still to be copied.
    left: BTreeSet<Vec<u8>>,
    /// Of those that are copied, the archives still to be copied, each from behind a key.
    archives: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Bytes written since the last sync.
    unsynced: usize,
    reply: Reply<()>,
}

impl<E: BlockingStore> Worker<E> {
    /// Begins a copy, after the one that is being made.
    pub(super) fn begin_backup(&mut self, to: PathBuf, reply: Reply<()>) {
        self.finish_backup();
        let begun = self.call("list", E::list).and_then(|channels| prefixes(&channels)).and_then(|left| {
            let partial = make_partial(&to)?;
            let elsewhere = E::elsewhere(&self.options, &partial);
            let open = |options| catch("backup", || E::open(&options));
            match elsewhere.ok_or_else(|| Failure::new(PersistenceErrorKind::Unsupported)).and_then(open) {
                Ok(target) => Ok((target, partial, left)),
                Err(failure) => {
                    remove(&partial);
                    Err(failure)
                }
            }
        });
        match begun {
            Ok((target, partial, left)) => {
                self.backup = Some(Backup {
                    target: Some(target),
                    to,
                    partial,
                    left,
                    archives: BTreeMap::new(),
                    unsynced: 0,
                    reply,
                });
            }
            Err(failure) => answer(reply, Err(failure)),
        }
    }

    /// Copies the next channel, or the next part of an archive, and ends the copy after the last.
    pub(super) fn continue_backup(&mut self) {
        let Some(backup) = &self.backup else { return };
        if let Some(prefix) = backup.left.first().cloned() {
            self.copy_channel(prefix);
        } else if let Some(prefix) = backup.archives.keys().next().cloned() {
            self.copy_archive(&prefix);
        } else if let Some(mut backup) = self.backup.take() {
            let result = backup.complete();
            backup.end(result);
        }
    }

    /// Copies what is left.
    pub(super) fn finish_backup(&mut self) {
        while self.backup.is_some() {
            self.continue_backup();
        }
    }

    /// Copies the channels that these writes are about to change.
    pub(super) fn copy_before(&mut self, writes: &[Write]) {
        for write in writes {
            let prefix = write.prefix();
            if self.backup.as_ref().is_some_and(|backup| backup.left.contains(prefix)) {
                self.copy_channel(prefix.to_vec());
            }
            if !self.is_archive_left(prefix) {
                continue;
            }
            let drops = write.changes.iter().any(|change| matches!(change, Change::DropChannel { .. }));
            while drops && self.is_archive_left(prefix) {
                self.copy_archive(prefix);
            }
            if self.is_archive_left(prefix)
                && let Some(put) = write.archived()
            {
                self.copy(|_, backup| backup.write(put));
            }
        }
    }

    /// Whether a channel is copied, and its archive is not yet.
    fn is_archive_left(&self, prefix: &[u8]) -> bool {
        self.backup.as_ref().is_some_and(|backup| backup.archives.contains_key(prefix))
    }

    fn copy_channel(&mut self, prefix: Vec<u8>) {
        self.copy(|worker, backup| {
            let raw = worker.call("load", |engine| engine.load(&prefix))?;
            backup.take(prefix, raw)
        });
    }

    /// Copies a part of what a channel's archive has.
    fn copy_archive(&mut self, prefix: &[u8]) {
        self.copy(|worker, backup| {
            let after = backup.archives.get(prefix).cloned().flatten();
            let scan = bodies_or_rids(prefix, after.as_deref(), ARCHIVED);
            let found = match worker.call("scan", |engine| engine.scan(&scan)) {
                Err(failure) if failure.kind == PersistenceErrorKind::Unsupported => Vec::new(),
                found => found?,
            };
            match found.last() {
                Some((last, _)) => backup.archives.insert(prefix.to_vec(), Some(last.clone())),
                None => backup.archives.remove(prefix),
            };
            if found.is_empty() { Ok(()) } else { backup.write(Write::copy_of_archive(prefix.to_vec(), found)) }
        });
    }

    /// Copies something; what keeps it from that ends the copy.
    fn copy(&mut self, what: impl FnOnce(&mut Self, &mut Backup<E>) -> Result<(), Failure>) {
        let Some(mut backup) = self.backup.take() else { return };
        match what(self, &mut backup) {
            Ok(()) => self.backup = Some(backup),
            Err(failure) => backup.end(Err(failure)),
        }
    }
}

impl<E: BlockingStore> Backup<E> {
    fn take(&mut self, prefix: Vec<u8>, raw: Raw) -> Result<(), Failure> {
        self.left.remove(&prefix);
        self.archives.insert(prefix.clone(), None);
        self.write(Write::copy(prefix, raw).map_err(Failure::new)?)
    }

    fn write(&mut self, write: Write) -> Result<(), Failure> {
        let Some(target) = &mut self.target else { return Ok(()) };
        let bytes = write.bytes;
        catch("apply", || target.apply(&[write]))?;
        self.unsynced += bytes;
        if self.unsynced >= MAX_BATCH_BYTES {
            catch("sync", || target.sync())?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// Closes the copy, which syncs it and its log, and gives it its name.
    fn complete(&mut self) -> Result<(), Failure> {
        if let Some(mut target) = self.target.take() {
            catch("sync", move || target.sync())?;
        }
        sync_dir(&self.partial).map_err(io_failure)?;
        must_be_free(&self.to)?;
        fs::rename(&self.partial, &self.to).map_err(io_failure)?;
        sync_name_of(&self.to)
    }

    fn end(mut self, result: Result<(), Failure>) {
        if let Err(failure) = &result {
            failure.log("backup");
            if catch("close", || {
                drop(self.target.take());
                Ok(())
            })
            .is_err()
            {
                debug!("the copy's engine panicked while it was closed");
            }
            remove(&self.partial);
        }
        answer(self.reply, result);
    }
}

fn prefixes(channels: &[ChannelId]) -> Result<BTreeSet<Vec<u8>>, Failure> {
    channels.iter().map(|channel| channel_prefix(channel).map_err(Failure::new)).collect()
}

/// Makes the directory that the copy is in until it is whole.
fn make_partial(to: &Path) -> Result<PathBuf, Failure> {
    must_be_free(to)?;
    let mut name = to.file_name().ok_or_else(|| io_failure(ErrorKind::InvalidInput.into()))?.to_owned();
    name.push(".partial");
    let partial = to.with_file_name(name);
    must_be_free(&partial)?;
    create_dir_of(&partial)?;
    owner_only::create_dir_all(&partial).map_err(io_failure)?;
    Ok(partial)
}

fn must_be_free(path: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_failure(error)),
        Ok(_) => {
            let there = format!("{} is there already", path.display());
            let there = io::Error::new(ErrorKind::AlreadyExists, there);
            Err(Failure::new(PersistenceErrorKind::Io).with_source(there))
        }
    }
}

fn remove(partial: &Path) {
    if let Err(error) = fs::remove_dir_all(partial) {
        debug!(%error, "what was copied could not be removed");
    }
}
