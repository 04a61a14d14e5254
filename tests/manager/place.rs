//! Where a manager under test saves, and how that is found again after a crash.

use super::*;

#[cfg(feature = "redb")]
use {reliable_channel::store::RedbPersistence, std::path::Path, tempfile::TempDir};

pub enum Place {
    Memory(MemoryPersistence),
    #[cfg(feature = "redb")]
    Redb(Disk),
}

#[cfg(feature = "redb")]
pub struct Disk {
    dir: TempDir,
    store: Arc<RedbPersistence>,
    crashes: u32,
}

impl Place {
    pub fn memory() -> Self {
        Self::Memory(MemoryPersistence::new())
    }

    #[cfg(feature = "redb")]
    pub fn redb() -> Self {
        let dir = directory();
        Self::Redb(Disk { store: open(dir.path()), dir, crashes: 0 })
    }

    pub fn store(&self) -> Arc<dyn Persistence> {
        match self {
            Self::Memory(memory) => Arc::new(memory.clone()),
            #[cfg(feature = "redb")]
            Self::Redb(disk) => disk.store.clone(),
        }
    }

    /// Opens the store again, once everything that used it is gone. On disk every other time as a power cut leaves it:
    /// what was synced is there, and nobody closed it.
    pub async fn crash(&mut self) {
        match self {
            Self::Memory(_) => {}
            #[cfg(feature = "redb")]
            Self::Redb(disk) => {
                eventually(|| Arc::strong_count(&disk.store) == 1).await;
                disk.crashes += 1;
                if disk.crashes.is_multiple_of(2) {
                    disk.store.close().await.unwrap();
                    disk.store = open(disk.dir.path());
                } else {
                    let copy = directory();
                    std::fs::copy(disk.dir.path().join(FILE), copy.path().join(FILE)).unwrap();
                    disk.store = open(copy.path());
                    disk.dir = copy;
                }
            }
        }
    }
}

#[cfg(feature = "redb")]
const FILE: &str = "channels.redb";

#[cfg(feature = "redb")]
fn open(dir: &Path) -> Arc<RedbPersistence> {
    Arc::new(RedbPersistence::open(dir).unwrap())
}

/// In memory where the system has a place for that: syncing costs nothing there.
#[cfg(feature = "redb")]
fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| TempDir::new()).unwrap()
}
