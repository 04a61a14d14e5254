//! What only a store on disk can get wrong: locks, closing, crashes, damage.
#![cfg(feature = "redb")]
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use ::redb::{Database, TableDefinition};
use common::{a, all, content, data, every_kind, mark, message, put, response, rows};
use reliable_channel::state::{MarkKind, Row};
use reliable_channel::store::{Persistence, PersistenceError, PersistenceErrorKind, RedbPersistence, snapshot};
use reliable_channel::types::ChannelId;
use tempfile::TempDir;

struct Redb(TempDir);

impl Redb {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn redb(&self) -> RedbPersistence {
        RedbPersistence::open(self.0.path()).unwrap()
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("channels.redb")
    }

    fn open_error(&self) -> PersistenceErrorKind {
        RedbPersistence::open(self.0.path()).unwrap_err().kind
    }
}

async fn filled(place: &Redb) -> RedbPersistence {
    let store = place.redb();
    for channel in ["a", "b"] {
        store.commit(&channel.into(), &all(&every_kind())).await.unwrap();
    }
    store
}

#[tokio::test]
async fn second_opener_is_locked_out() {
    let place = Redb::new();
    let store = filled(&place).await;
    assert_eq!(place.open_error(), PersistenceErrorKind::Locked);
    let error = RedbPersistence::open_read_only(place.0.path()).unwrap_err();
    assert_eq!((error.verb, error.kind.clone()), ("open", PersistenceErrorKind::Locked));
    assert!(error.is_retryable());
    store.close().await.unwrap();
    assert_eq!(rows(&place.redb(), &a()).await, every_kind());
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let place = Redb::new();
    let store = filled(&place).await;
    store.close().await.unwrap();
    store.close().await.unwrap();
    let error = store.commit(&a(), &all(&every_kind())).await.unwrap_err();
    assert_eq!((error.kind, error.channel), (PersistenceErrorKind::Closed, Some(a())));
    assert_eq!(store.load_channel(&a()).await.unwrap_err().kind, PersistenceErrorKind::Closed);
}

#[tokio::test]
async fn opened_for_reading_nothing_is_written() {
    let place = Redb::new();
    let error = RedbPersistence::open_read_only(place.0.path().join("nowhere")).unwrap_err();
    assert_eq!(error.kind, PersistenceErrorKind::Io);
    assert!(error.source.is_some());
    assert_eq!(fs::read_dir(place.0.path()).unwrap().count(), 0);
    filled(&place).await.close().await.unwrap();
    let before = fs::read(place.file()).unwrap();
    let (one, two) = [0, 1].map(|_| RedbPersistence::open_read_only(place.0.path()).unwrap()).into();
    assert_eq!(one.list_channels().await.unwrap(), [a(), "b".into()]);
    assert_eq!(two.load_channel(&a()).await.unwrap(), data(every_kind()));
    assert_eq!(one.capabilities().durability, None);
    let error = one.commit(&a(), &all(&[])).await.unwrap_err();
    assert_eq!(error.kind, PersistenceErrorKind::Unsupported);
    drop((one, two));
    assert_eq!(fs::read(place.file()).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_wait_share_transactions() {
    let place = Redb::new();
    let store = Arc::new(place.redb());
    let tasks = (0..64).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            for lamport in 0..10 {
                let channel = ChannelId::from(format!("{task}"));
                store.update_history(&channel, &put([message(lamport, "m")])).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let done = store.statistics();
    assert_eq!(done.writes, 640);
    assert!(done.transactions <= 320, "{done:?}");
}

#[test]
fn a_store_dropped_with_its_runtime_keeps_what_was_sent() {
    let place = Redb::new();
    let store = Arc::new(place.redb());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        // Fewer than a runtime polls in one turn.
        for at in 0..40 {
            let store = store.clone();
            tokio::spawn(async move { store.update_history(&a(), &put([message(at, "m")])).await });
        }
        tokio::task::yield_now().await;
    });
    drop((runtime, store));
    let store = place.redb();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(rows(&store, &a())).len(), 40);
}

#[tokio::test]
async fn values_too_large_fail_alone() {
    let place = Redb::new();
    let store = place.redb();
    let large = content(1, "m", vec![1; store.capabilities().max_value_bytes.unwrap()]);
    let error = store.update_history(&a(), &put([message(2, "n"), large])).await.unwrap_err();
    assert_eq!(error.kind, PersistenceErrorKind::TooLarge);
    assert!(!error.is_retryable());
    let error = store.update_history(&ChannelId::new(vec![1; 65_536]), &put([message(1, "m")])).await.unwrap_err();
    assert_eq!(error.kind, PersistenceErrorKind::TooLarge);
    assert!(store.list_channels().await.unwrap().is_empty());
}

/// The store as a crash at this moment leaves it: all that was synced, and no clean close.
fn crashed(place: &Redb) -> Redb {
    let copy = Redb::new();
    fs::copy(place.file(), copy.file()).unwrap();
    copy
}

#[tokio::test]
async fn a_crash_loses_nothing_acknowledged() {
    let place = Redb::new();
    let store = place.redb();
    for count in 1..=20 {
        let expected: Vec<Row> = (0..count).map(|at| message(at, "m")).collect();
        store.commit(&a(), &all(&expected)).await.unwrap();
        let after = crashed(&place);
        let before = fs::read(after.file()).unwrap();
        let store = RedbPersistence::open_read_only(after.0.path()).unwrap();
        assert_eq!(after.open_error(), PersistenceErrorKind::Locked);
        assert_eq!(store.load_channel(&a()).await.unwrap(), data(expected.clone()));
        assert_eq!(store.commit(&a(), &all(&[])).await.unwrap_err().kind, PersistenceErrorKind::Unsupported);
        drop(store);
        assert!(fs::read(after.file()).unwrap() == before, "written to");
        assert_eq!(after.redb().load_channel(&a()).await.unwrap(), data(expected));
    }
}

/// `mount -t tmpfs -o size=3m tmpfs /mnt/small && SMALL_DISK=/mnt/small cargo test --test store_redb -- --ignored`
#[tokio::test]
#[ignore = "needs a small disk of its own"]
async fn a_full_disk_that_gets_space_again_loses_nothing() {
    let disk = PathBuf::from(std::env::var_os("SMALL_DISK").expect("a directory on a disk of 3 MiB"));
    let filler = disk.join("filler");
    let store = RedbPersistence::open(disk.join("store")).unwrap();
    fs::write(&filler, vec![1; 600 << 10]).unwrap();
    let row = |at: u64| content(at, "m", vec![at as u8; 20_000]);
    let mut saved = Vec::new();
    let error = loop {
        match store.update_history(&a(), &put([row(saved.len() as u64)])).await {
            Ok(()) => saved.push(row(saved.len() as u64)),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, PersistenceErrorKind::StorageFull);
    for _ in 0..5 {
        let error = store.update_history(&a(), &put([row(saved.len() as u64)])).await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
    }
    fs::remove_file(&filler).unwrap();
    for _ in 0..3 {
        let next = row(saved.len() as u64);
        store.update_history(&a(), &put([next.clone()])).await.unwrap();
        saved.push(next);
    }
    assert_eq!(rows(&store, &a()).await, saved);
    println!("{} rows, {:?}", saved.len(), store.statistics());
}

#[tokio::test]
async fn disk_use_is_bounded() {
    let place = Redb::new();
    let store = place.redb();
    let (mut most, live) = (0, 1_000 * 1_200);
    for round in 0..300_u64 {
        let new = (0..100).map(|at| content(round * 100 + at, "m", vec![round as u8; 1_000]));
        let mut update = put(new);
        if let Some(old) = round.checked_sub(10) {
            update.delete = (0..100).map(|at| message(old * 100 + at, "m").key()).collect();
        }
        store.update_history(&a(), &update).await.unwrap();
        most = most.max(fs::metadata(place.file()).unwrap().len());
    }
    assert!(most <= 4 * live + (4 << 20), "{most}");
}

// Damage. These tests open the file with redb itself, or change its bytes.

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Changes the store's file through redb.
fn change(
    place: &Redb,
    table: &'static str,
    change: impl FnOnce(&mut ::redb::Table<'_, &'static [u8], &'static [u8]>),
) {
    let database = Database::open(place.file()).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&mut transaction.open_table(Table::new(table)).unwrap());
    transaction.commit().unwrap();
}

/// The key in the engine of something in channel "a".
fn key_in_a(rest: &[u8]) -> Vec<u8> {
    [b"\0\x01a", rest].concat()
}

async fn damage_is_told(place: &Redb, says: &str) {
    let store = place.redb();
    let error = store.load_channel(&a()).await.unwrap_err();
    let PersistenceErrorKind::Corrupt { what } = &error.kind else { panic!("{error:?}") };
    assert!(what.contains(says), "{what}");
    assert_eq!((error.verb, &error.channel), ("load_channel", &Some(a())));
    assert!(!error.is_retryable());
    assert_eq!(store.load_channel(&"b".into()).await.unwrap(), data(every_kind()));
    store.commit(&"b".into(), &all(&every_kind())).await.unwrap();
}

#[tokio::test]
async fn newer_layout_is_refused_and_untouched() {
    let place = Redb::new();
    filled(&place).await.close().await.unwrap();
    change(&place, "sys", |table| {
        table.insert(b"layout".as_slice(), [0, 0, 0, 2].as_slice()).unwrap();
    });
    newer_is_refused(&place);
    // The same while redb has it open for writing: as a crash would leave it, to be repaired.
    let database = Database::open(place.file()).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(Table::new("rows")).unwrap().insert([0; 3].as_slice(), [0; 3].as_slice()).unwrap();
    transaction.commit().unwrap();
    newer_is_refused(&crashed(&place));
}

fn newer_is_refused(place: &Redb) {
    let before = fs::read(place.file()).unwrap();
    let newer = PersistenceErrorKind::UnknownVersion { found: 2, known: 1 };
    assert_eq!(place.open_error(), newer);
    assert_eq!(RedbPersistence::open_read_only(place.0.path()).unwrap_err().kind, newer);
    assert!(fs::read(place.file()).unwrap() == before, "written to");
}

#[tokio::test]
async fn newer_value_is_refused() {
    let place = Redb::new();
    filled(&place).await.close().await.unwrap();
    change(&place, "meta", |table| {
        table.insert(key_in_a(&[]).as_slice(), [2, 0, 1, 2, 3, 4].as_slice()).unwrap();
    });
    let store = place.redb();
    let error = store.load_channel(&a()).await.unwrap_err();
    assert_eq!(error.kind, PersistenceErrorKind::UnknownVersion { found: 2, known: 1 });
    assert_eq!(store.load_channel(&"b".into()).await.unwrap(), data(every_kind()));
}

#[tokio::test]
async fn a_missing_row_is_damage() {
    let place = Redb::new();
    filled(&place).await.close().await.unwrap();
    let key = snapshot::row_key(&mark("lost", MarkKind::Lost).key());
    change(&place, "rows", |table| {
        table.remove(key_in_a(&key).as_slice()).unwrap().unwrap();
    });
    damage_is_told(&place, "row counts").await;
}

#[tokio::test]
async fn a_value_under_the_wrong_key_is_damage() {
    let place = Redb::new();
    filled(&place).await.close().await.unwrap();
    let key = |row: Row| key_in_a(&snapshot::row_key(&row.key()));
    change(&place, "rows", |table| {
        let value = table.remove(key(response("message")).as_slice()).unwrap().unwrap().value().to_vec();
        table.insert(key(response("massage")).as_slice(), value.as_slice()).unwrap();
    });
    damage_is_told(&place, "massage").await;
}

#[tokio::test]
async fn a_key_of_nothing_known_is_damage() {
    for (table, key) in [("rows", key_in_a(&[9; 12])), ("rows", key_in_a(b"x")), ("meta", key_in_a(b"x"))] {
        let place = Redb::new();
        filled(&place).await.close().await.unwrap();
        change(&place, table, |table| {
            table.insert(key.as_slice(), b"any".as_slice()).unwrap();
        });
        damage_is_told(&place, "key").await;
    }
}

#[tokio::test]
async fn one_flipped_byte_is_damage() {
    let place = Redb::new();
    let store = place.redb();
    store.commit(&a(), &all(&[content(1, "m", "find me in the file")])).await.unwrap();
    store.commit(&"b".into(), &all(&every_kind())).await.unwrap();
    drop(store);
    let mut bytes = fs::read(place.file()).unwrap();
    let wanted = b"find me in the file";
    let found: Vec<usize> = (0..bytes.len() - wanted.len()).filter(|at| bytes[*at..].starts_with(wanted)).collect();
    // Freed pages may hold it too.
    assert!(!found.is_empty());
    for at in found {
        bytes[at + 5] ^= 1;
    }
    fs::write(place.file(), bytes).unwrap();
    damage_is_told(&place, "checksum").await;
}

/// What may come of a damaged file: an error, or the data as it was; never a panic, never less.
async fn never_less(place: &Redb, what: &str) -> Option<PersistenceError> {
    let store = match RedbPersistence::open(place.0.path()) {
        Ok(store) => store,
        Err(error) => return Some(error),
    };
    match store.load_channel(&a()).await {
        Ok(loaded) => {
            assert_eq!(loaded, data(every_kind()), "{what}");
            None
        }
        Err(error) => Some(error),
    }
}

#[tokio::test]
async fn a_truncated_file_is_an_error() {
    let place = Redb::new();
    filled(&place).await.close().await.unwrap();
    let whole = fs::read(place.file()).unwrap();
    for length in [1, 100, 320, 4_096, whole.len() / 2, whole.len() - 4_096, whole.len() - 1] {
        fs::write(place.file(), &whole[..length]).unwrap();
        let error = never_less(&place, &format!("cut to {length}")).await;
        let kind = error.unwrap_or_else(|| panic!("cut to {length} of {}", whole.len())).kind;
        assert!(matches!(kind, PersistenceErrorKind::Corrupt { .. }), "cut to {length}: {kind:?}");
    }
}

#[tokio::test]
async fn other_content_is_an_error() {
    let place = Redb::new();
    let noise: Vec<u8> = (0..1_u32 << 16).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for bytes in [b"not a database".to_vec(), vec![0; 8_192], noise.clone()] {
        fs::write(place.file(), &bytes).unwrap();
        let kind = place.open_error();
        assert!(matches!(kind, PersistenceErrorKind::Corrupt { .. }), "{kind:?}");
        assert_eq!(fs::read(place.file()).unwrap(), bytes);
    }
    fs::remove_file(place.file()).unwrap();
    Database::create(place.file()).unwrap().begin_write().unwrap().commit().unwrap();
    change(&place, "somebody else's", |_| {});
    assert!(matches!(place.open_error(), PersistenceErrorKind::Corrupt { .. }));
}

#[tokio::test]
async fn overwritten_pages_are_an_error_or_make_no_difference() {
    let place = Redb::new();
    filled(&place).await.close().await.unwrap();
    let whole = fs::read(place.file()).unwrap();
    let used = whole.chunks(4_096).enumerate().filter(|(_, page)| page.iter().any(|byte| *byte != 0));
    for (page, _) in used {
        for fill in [0, 255] {
            let mut damaged = whole.clone();
            damaged[page * 4_096..(page + 1) * 4_096].fill(fill);
            fs::write(place.file(), damaged).unwrap();
            never_less(&place, &format!("page {page} filled with {fill}")).await;
        }
    }
}
