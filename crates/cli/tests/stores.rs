//! `--store` and `migrate`: every engine does the same, and a store moves from one to the next whole.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::{Run, run};
use reliable_channel::channel::item_of;
use reliable_channel::state::{Body, ChannelMeta, Commit, HistoryUpdate, LogKey, Logged, Row, RowCounts};
use reliable_channel::store::{Archive, Persistence, RedbPersistence, SqlitePersistence};
use reliable_channel::types::{ChannelId, Lamport, WallTime};
use serde_json::Value;
use tap::Tap as _;

#[test]
fn a_demo_runs_on_every_engine_and_its_store_moves_through_all_of_them() {
    let temporary = tempfile::tempdir().unwrap();
    let at = |name: &str| temporary.path().join(name).to_str().unwrap().to_owned();
    let logs = |dir: &str| {
        let run = run(&["inspect", "--data", dir, "--json"], b"");
        assert_eq!(run.code, 0, "{}", run.stderr);
        run.json()["channels"].clone()
    };
    let mut kept = Vec::new();
    for (engine, durability) in [("redb", "batched"), ("sled", "immediate"), ("sqlite", "os")] {
        let options = ["--store", engine, "--durability", durability, "--seed", "7", "--json"];
        let run = run(&[&["demo", "--data", &at(engine)], &options[..]].concat(), b"one\nbob: two\n");
        assert_eq!(run.code, 0, "{engine}: {}", run.stderr);
        kept.push(logs(&format!("{}/carol", at(engine))));
    }
    assert!(kept[0][0]["log"].as_array().is_some_and(|log| log.len() == 2));
    assert!(kept.iter().all(|channels| *channels == kept[0]), "{kept:?}");

    let (mut from, whole) = (format!("{}/carol", at("redb")), kept.swap_remove(0));
    for engine in ["sqlite", "sled", "redb"] {
        let to = at(&format!("moved to {engine}"));
        let run = run(&["migrate", "--from", &from, "--to", &to, "--store", engine, "--json"], b"");
        assert_eq!((run.code, run.json()["channels"].as_u64()), (0, Some(1)), "{}", run.stderr);
        assert_eq!(logs(&to), whole, "{engine}");
        from = to;
    }
}

#[test]
fn an_archive_moves_with_its_store() {
    let temporary = tempfile::tempdir().unwrap();
    let at = |name: &str| temporary.path().join(name).to_str().unwrap().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // More than a page; of two channels, one has nothing but its archive.
    let channels = ["lobby", "kept alone"].map(ChannelId::from);
    let body = |n: u64| {
        let key = LogKey { lamport: Lamport(n / 2), id: format!("m{n}").as_str().into() };
        Arc::new(Body::new(key, "alice".into(), format!("said {n}").into()))
    };
    let mut kept: Vec<Arc<Body>> = (0..600).map(body).collect();
    kept.sort_by(|one, next| next.key.cmp(&one.key));
    runtime.block_on(async {
        let store = RedbPersistence::open(at("old")).unwrap();
        for channel in &channels {
            let entries: Vec<_> = kept.iter().map(|body| (item_of(channel, body).rid, body.clone())).collect();
            store.put(channel, &entries).await.unwrap();
        }
        store.save_channel_meta(&channels[0], &ChannelMeta::default()).await.unwrap();
    });
    let mut from = at("old");
    for engine in ["sqlite", "sled", "redb"] {
        let to = at(engine);
        let run = run(&["migrate", "--from", &from, "--to", &to, "--store", engine, "--json"], b"");
        assert_eq!((run.code, run.json()["archived"].as_u64()), (0, Some(1_200)), "{}", run.stderr);
        from = to;
    }
    let store = RedbPersistence::open(&from).unwrap();
    for channel in &channels {
        let there = runtime.block_on(store.page(channel, None, 1_000)).unwrap();
        assert_eq!(there, kept, "{channel}");
    }
}

#[test]
fn a_store_of_every_engine_is_copied_to_a_new_directory_alone() {
    let temporary = tempfile::tempdir().unwrap();
    let at = |name: &str| temporary.path().join(name).to_str().unwrap().to_owned();
    for engine in ["redb", "sled", "sqlite"] {
        run(&["demo", "--data", &at(engine), "--store", engine, "--seed", "7", "--json"], b"one\n");
        let (from, to) = (format!("{}/bob", at(engine)), at(&format!("copy of {engine}")));
        let copied = run(&["backup", "--data", &from, "--to", &to], b"");
        assert_eq!((copied.code, copied.stdout.contains("copied")), (0, true), "{engine}: {}", copied.stderr);
        let inspect = |dir: &str| run(&["inspect", "--data", dir, "--json"], b"").json()["channels"].clone();
        assert_eq!(inspect(&to), inspect(&from), "{engine}");
        assert!(inspect(&to)[0]["log"].as_array().is_some_and(|log| log.len() == 1), "{engine}");
        run(&["backup", "--data", &from, "--to", &to], b"").failed(1, "is there already");
        run(&["backup", "--data", &at("nowhere"), "--to", &at("new")], b"").failed(1, "there is no store");
    }
}

#[test]
fn a_target_that_is_not_empty_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = |name: &str| temporary.path().join(name).to_str().unwrap().to_owned();
    run(&["demo", "--data", &dir("demo"), "--seed", "7", "--json"], b"one\n");
    fs::create_dir(dir("to")).unwrap();
    fs::write(temporary.path().join("to").join("mine"), "keep").unwrap();
    let from = format!("{}/bob", dir("demo"));
    run(&["migrate", "--from", &from, "--to", &dir("to"), "--store", "sqlite"], b"").failed(1, "is not empty");
    assert_eq!(fs::read_dir(dir("to")).unwrap().count(), 1);
    run(&["migrate", "--from", &dir("to"), "--to", &dir("new"), "--store", "sled"], b"").failed(1, "there is no store");
}

#[test]
fn a_durability_that_an_engine_cannot_keep_is_refused() {
    run(&["demo", "--store", "redb", "--durability", "os", "--seed", "1", "--json"], b"one\n")
        .failed(1, "cannot keep that durability: \"os\" is kept by SQLite alone, --store sqlite");
}

/// A channel of this many messages, as one commit.
fn channel(count: u64, text: &str) -> Commit {
    let key = |lamport| LogKey { lamport: Lamport(lamport), id: format!("{lamport}").as_str().into() };
    let logged = |lamport| {
        let body = Body::new(key(lamport), "bob".into(), text.to_owned().into());
        let (body, seen) = (body.into(), WallTime::from_millis(1));
        Row::Message(Logged::new(body, seen).tap_mut(|it| it.delivery = Some(lamport)))
    };
    let counts = RowCounts::default().tap_mut(|it| it.messages = count);
    let (oldest, newest, lamport) = (Some(key(1)), Some(key(count)), Lamport(count));
    let meta = ChannelMeta::default().tap_mut(|it| {
        it.lamport = lamport;
        it.next_delivery = count + 1;
        it.counts = counts;
        it.oldest = oldest;
        it.newest = newest;
    });
    let history = HistoryUpdate { put: (1..=count).map(logged).collect(), delete: vec![] };
    Commit { meta: Some(meta), history, hints: vec![] }
}

/// A store of three channels, the middle one damaged.
fn damaged_store(dir: &Path) {
    let store = SqlitePersistence::open(dir).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (id, text) in [("first", "one"), ("middle", "bits of this are flipped"), ("last", "two")] {
        runtime.block_on(store.commit(&id.into(), &channel(2, text))).unwrap();
    }
    drop(store);
    let (file, needle) = (dir.join("channels.sqlite"), b"bits of this are flipped");
    let mut bytes = fs::read(&file).unwrap();
    let found: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(needle)).collect();
    assert!(!found.is_empty());
    found.iter().for_each(|at| bytes[at + 5] ^= 1);
    fs::write(file, bytes).unwrap();
}

fn inspect(dir: &Path, more: &[&str]) -> Run {
    run(&[&["inspect", "--data", dir.to_str().unwrap()], more].concat(), b"")
}

fn migrate(from: &Path, to: &Path, more: &[&str]) -> Run {
    let [from, to] = [from, to].map(|dir| dir.to_str().unwrap());
    run(&[&["migrate", "--from", from, "--to", to, "--store", "redb"], more].concat(), b"")
}

fn ids(store: &Value, list: &str) -> Vec<String> {
    let named = |channel: &Value| channel["id"].as_str().unwrap().to_owned();
    store[list].as_array().map(|list| list.iter().map(named).collect()).unwrap_or_default()
}

#[test]
fn inspect_goes_on_after_a_damaged_channel() {
    let dir = tempfile::tempdir().unwrap();
    damaged_store(dir.path());
    let run = inspect(dir.path(), &["--json"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert_eq!(ids(&run.json(), "channels"), ["first", "last"]);
    assert_eq!(ids(&run.json(), "damaged"), ["middle"]);
    assert!(run.json()["damaged"][0]["error"].as_str().unwrap().contains("is damaged: channel middle: "));
    assert!(run.stderr.starts_with("error: ") && run.stderr.contains("middle"), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 1);

    let text = inspect(dir.path(), &[]);
    assert_eq!(text.code, 1);
    assert!(
        text.stdout.contains("channel last\n") && text.stdout.contains("channel middle\n  the store in"),
        "{}",
        text.stdout
    );
    assert_eq!(inspect(dir.path(), &["--channel", "last"]).code, 0);
}

#[test]
fn a_damaged_channel_stays_behind_only_when_told_so() {
    let temporary = tempfile::tempdir().unwrap();
    let [from, to] = ["from", "to"].map(|name| temporary.path().join(name));
    damaged_store(&from);
    migrate(&from, &to, &[]).failed(1, "--skip-damaged");
    assert!(!to.exists());

    let run = migrate(&from, &to, &["--skip-damaged", "--json"]);
    assert_eq!((run.code, run.json()["channels"].as_u64()), (1, Some(2)), "{}", run.stderr);
    assert_eq!(ids(&run.json(), "left"), ["middle"]);
    assert!(run.stderr.contains("middle"), "{}", run.stderr);
    let moved = inspect(&to, &["--json"]);
    assert_eq!((moved.code, ids(&moved.json(), "channels")), (0, vec!["first".to_owned(), "last".to_owned()]));
}

#[test]
fn an_engine_that_is_not_there_is_told_with_what_is() {
    let dir = tempfile::tempdir().unwrap();
    drop(SqlitePersistence::open(dir.path()).unwrap());
    inspect(dir.path(), &["--store", "redb"])
        .failed(1, "has no channels.redb, but channels.sqlite; try --store sqlite");
    let to = dir.path().join("to");
    migrate(dir.path(), &to, &["--from-store", "redb"]).failed(1, "no channels.redb, but channels.sqlite");
}

#[test]
fn of_several_stores_none_is_taken_without_asking() {
    let dir = tempfile::tempdir().unwrap();
    drop(RedbPersistence::open(dir.path()).unwrap());
    damaged_store(dir.path());
    inspect(dir.path(), &[]).failed(1, "several stores: channels.redb, channels.sqlite; say which with --store");
    assert_eq!(inspect(dir.path(), &["--store", "redb"]).code, 0);
    let to = dir.path().join("to");
    migrate(dir.path(), &to, &[]).failed(1, "say which with --from-store");
    assert!(!to.exists());
    let run = migrate(dir.path(), &to, &["--from-store", "sqlite", "--skip-damaged", "--json"]);
    assert_eq!(run.json()["channels"], 2, "{}", run.stderr);
}

#[test]
fn what_is_not_whole_is_not_where_a_store_is_expected() {
    let temporary = tempfile::tempdir().unwrap();
    let [from, to, partial] = ["from", "to", "to.partial"].map(|name| temporary.path().join(name));
    damaged_store(&from);
    migrate(&from, &to, &[]).failed(1, "was not made");
    assert!(!to.exists() && !partial.exists());

    // As a kill leaves it.
    fs::create_dir(&partial).unwrap();
    migrate(&from, &to, &["--skip-damaged"]).failed(1, "to.partial is left of a move that did not end; delete it");
    assert!(!to.exists() && partial.exists());
    fs::remove_dir(&partial).unwrap();
    fs::create_dir(&to).unwrap();
    let run = migrate(&from, &to, &["--skip-damaged", "--json"]);
    assert_eq!(run.json()["channels"], 2, "{}", run.stderr);
    assert!(to.join("channels.redb").exists() && !partial.exists());
}

#[test]
fn a_backup_needs_no_lock_file() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = |name: &str| temporary.path().join(name);
    for (name, lock) in [("sled", "channels.sled.lock"), ("sqlite", "channels.sqlite.lock")] {
        let demo = dir(&format!("demo {name}"));
        run(&["demo", "--data", demo.to_str().unwrap(), "--store", name, "--seed", "7", "--json"], b"one\n");
        fs::remove_file(demo.join("bob").join(lock)).unwrap();
        let run = inspect(&demo.join("bob"), &["--json"]);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{name}");
        assert_eq!(ids(&run.json(), "channels"), ["demo"]);
        assert_eq!(migrate(&demo.join("bob"), &dir(&format!("new {name}")), &[]).code, 0, "{name}");
        assert!(!demo.join("bob").join(lock).exists(), "a look made a file");
    }
}

/// Runs a command that keeps something, in this directory.
fn in_dir(command: &str, dir: &str) -> Run {
    let args: Vec<&str> = command.split(' ').chain(["--data", dir]).collect();
    run(&args, b"")
}

#[test]
fn a_directory_that_cannot_be_used_is_one_line_that_says_what_to_do() {
    let temporary = tempfile::tempdir().unwrap();
    let file = temporary.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let below = file.join("below");
    for command in ["chat --plain --name a", "archive --channel c", "peer --channel c --sender a", "demo --seed 1"] {
        for dir in [&file, &below] {
            in_dir(command, dir.to_str().unwrap()).failed(1, "choose a directory");
        }
        let long = temporary.path().join("x".repeat(300));
        in_dir(command, long.to_str().unwrap()).failed(1, "choose another directory");
        #[cfg(target_os = "linux")]
        in_dir(command, "/proc/none").failed(1, "choose another one");
    }
}

#[test]
fn a_key_that_is_none_is_one_line_that_says_what_to_do() {
    let temporary = tempfile::tempdir().unwrap();
    let peer = |key: &Path| run(&["peer", "--channel", "c", "--sender", "a", "--key", key.to_str().unwrap()], b"");
    peer(temporary.path()).failed(1, "is no key but a directory; name a file in it");
    peer(&temporary.path().join("none/key")).failed(1, "make it, or name another one");
    let short = temporary.path().join("short");
    std::fs::write(&short, [0; 31]).unwrap();
    #[cfg(unix)]
    {
        peer(&short).failed(1, "chmod 600 ends that");
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&short, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    peer(&short).failed(1, "it has 31 bytes, a key has 32; name another file");
}

#[test]
fn a_name_that_is_too_long_is_told_and_a_long_one_is_kept() {
    let chat = |name: &str| run(&["chat", "--plain", "--interface", "192.0.2.77", "--name", name], b"");
    chat(&"a".repeat(257)).failed(1, "choose a shorter --name");
}
