//! What a store makes belongs to its owner alone; what was there stays as it was.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Engine;
use crate::common::{a, all, content, every_kind};

#[tokio::test]
async fn what_a_store_makes_is_for_its_owner_alone() {
    for engine in Engine::ALL {
        let parent = TempDir::new().unwrap();
        open_up(parent.path(), 0o755);
        let dir = parent.path().join("above").join("store");
        for round in 0..3 {
            let store = engine.open(&dir).unwrap();
            store.commit(&a(), &all(&every_kind())).await.unwrap();
            let large = content(round, "large", vec![1; 300_000]);
            store.commit(&"b".into(), &all(&[large])).await.unwrap();
            // With the log, the locks and the snapshots that are there while it is open, and after it.
            assert_owned(engine, &parent.path().join("above"));
            drop(store);
            assert_owned(engine, &parent.path().join("above"));
        }
    }
}

#[tokio::test]
async fn a_directory_that_was_there_keeps_its_mode() {
    for engine in Engine::ALL {
        let dir = TempDir::new().unwrap();
        open_up(dir.path(), 0o750);
        drop(engine.open(dir.path()).unwrap());
        assert_eq!(mode(dir.path()), 0o750, "{engine:?}");
        let made = below(dir.path());
        for path in &made {
            open_up(path, if path.is_dir() { 0o750 } else { 0o640 });
        }
        let store = engine.open(dir.path()).unwrap();
        store.commit(&a(), &all(&every_kind())).await.unwrap();
        for path in made.iter().filter(|path| path.exists()) {
            assert_eq!(mode(path), if path.is_dir() { 0o750 } else { 0o640 }, "{engine:?}: {}", path.display());
        }
    }
}

pub(crate) fn assert_owned(engine: Engine, dir: &Path) {
    let found = below(dir);
    assert!(found.iter().any(|path| path.ends_with(engine.file())), "{engine:?}: {found:?}");
    for path in found.iter().map(PathBuf::as_path).chain([dir]) {
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(path), expected, "{engine:?}: {} has {:o}", path.display(), mode(path));
    }
}

fn below(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn open_up(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
