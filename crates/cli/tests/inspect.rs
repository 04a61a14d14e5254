//! `inspect`: shows what a store holds, changes nothing, and says clearly what keeps it from looking.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::fs;
use std::path::Path;

use bytes::Bytes;
use common::{keep_demo, run};
use reliable_channel::state::{
    Body, ChannelMeta, Commit, HistoryUpdate, LogKey, Logged, Outgoing, Parked, Request, Response, Row, RowCounts,
};
use reliable_channel::store::{Persistence, RedbPersistence};
use reliable_channel::types::{ChannelId, HistoryEntry, Lamport, MessageId, WallTime};
use serde_json::json;
use tap::Tap as _;

fn inspect(dir: &Path, more: &[&str]) -> common::Run {
    run(&[&["inspect", "--data", dir.to_str().unwrap()], more].concat(), b"")
}

#[test]
fn it_shows_what_a_demo_left_and_changes_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("demo");
    keep_demo(&dir, "one\nbob: two\n");
    let file = dir.join("carol").join("channels.redb");
    let before = fs::read(&file).unwrap();

    let run = inspect(&dir.join("carol"), &["--json"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let store = run.json();
    let channel = &store["channels"][0];
    assert_eq!((store["channels"].as_array().unwrap().len(), &channel["id"]), (1, &json!("demo")));
    let log = channel["log"].as_array().unwrap();
    let shown: Vec<_> = log.iter().map(|logged| (&logged["sender"], &logged["bytes"])).collect();
    assert_eq!(shown, [(&json!("alice"), &json!(3)), (&json!("bob"), &json!(3))]);
    assert!(log.iter().all(|logged| logged["id"].as_str().unwrap().len() == 64 && logged["lamport"].is_u64()));
    assert_eq!((&channel["waiting"], &channel["floor"]), (&json!([]), &json!(null)));

    let text = inspect(&dir.join("carol"), &["--channel", "demo"]);
    assert_eq!(text.code, 0, "{}", text.stderr);
    for said in
        ["1 channel\n", "channel demo\n", "log: 2\n", "  alice  3 bytes  delivery ", "waiting for dependencies: 0"]
    {
        assert!(text.stdout.contains(said), "{said}\n{}", text.stdout);
    }
    inspect(&dir.join("carol"), &["--channel", "other"]).failed(1, "has no channel other; it has: demo");
    assert_eq!(before, fs::read(&file).unwrap());

    inspect(&dir, &[]).failed(1, "holds the stores of: alice, bob, carol");
}

/// One message of each kind in a channel, in a directory.
fn store_with_everything(dir: &Path) -> RedbPersistence {
    let key = |lamport, id: &[u8]| LogKey { lamport: Lamport(lamport), id: MessageId::new(id) };
    let body = |lamport, id: &[u8], history: &[&str]| {
        let causal_history = history.iter().map(|id| HistoryEntry::new(*id)).collect();
        let content = Bytes::from_static(b"content");
        Body::new(key(lamport, id), "bob".into(), content).tap_mut(|it| it.causal_history = causal_history).into()
    };
    let seen = WallTime::from_millis(1_700_000_000_000);
    let logged = |body, delivery| Logged::new(body, seen).tap_mut(|it| it.delivery = delivery);
    let parked = |body| Parked::new(body, seen, 0);
    let entry = HistoryEntry::new("gone").tap_mut(|it| it.sender = Some("dave".into()));
    let put = vec![
        Row::Message(logged(body(1, b"first", &[]), Some(1))),
        Row::Message(logged(body(2, &[0xff, 0x07], &["first"]), None)),
        Row::Parked(parked(body(3, b"third", &["first", "gone"]))),
        Row::Parked(parked(body(4, b"fourth", &["third"]))),
        Row::Outgoing(Outgoing::new(key(2, &[0xff, 0x07]), seen).tap_mut(|it| {
            it.last_sent = WallTime::from_millis(1);
            it.next_due = WallTime::from_millis(1_700_000_005_000);
            it.attempts = 2;
        })),
        Row::Request(Request::new(entry, seen).tap_mut(|it| {
            it.sent = 1;
            it.heard = 2;
        })),
        Row::Response(Response::new("first".into(), seen)),
    ];
    let counts = RowCounts::default().tap_mut(|it| {
        it.messages = 2;
        it.parked = 2;
        it.outgoing = 1;
        it.requests = 1;
        it.responses = 1;
    });
    let (oldest, newest) = (Some(key(1, b"first")), Some(key(2, &[0xff, 0x07])));
    let meta = ChannelMeta::default().tap_mut(|it| {
        it.lamport = Lamport(9);
        it.next_delivery = 2;
        it.counts = counts;
        it.oldest = oldest;
        it.newest = newest;
    });
    let commit = Commit { meta: Some(meta), history: HistoryUpdate { put, delete: vec![] }, hints: vec![] };
    let store = RedbPersistence::open(dir).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(store.commit(&ChannelId::from("room"), &commit)).unwrap();
    store
}

#[test]
fn it_shows_what_is_open() {
    let dir = tempfile::tempdir().unwrap();
    drop(store_with_everything(dir.path()));
    let run = inspect(dir.path(), &["--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let channel = run.json()["channels"][0].clone();
    assert_eq!((&channel["log"][0]["text"], &channel["waiting"][0]["text"]), (&json!("content"), &json!("content")));
    assert_eq!(channel["log"][1]["id_hex"], "ff07");
    assert_eq!(channel["log"][1]["id"], json!(null));
    assert_eq!(channel["unacknowledged"][0]["id_hex"], "ff07");
    assert_eq!(channel["unacknowledged"][0]["attempts"], 2);
    assert_eq!(channel["waiting"][0]["waits_for"], json!([{"id": "gone", "received": false}]));
    assert_eq!(channel["waiting"][1]["waits_for"], json!([{"id": "third", "received": true}]));
    let request = json!([{"id": "gone", "sender": "dave", "t_req_ms": 1_700_000_000_000_u64, "sent": 1, "heard": 2}]);
    assert_eq!(channel["repair_out"], request);
    assert_eq!(channel["repair_in"], json!([{"id": "first", "t_resp_ms": 1_700_000_000_000_u64}]));

    let text = inspect(dir.path(), &[]).stdout;
    for said in [
        "2  0xff07  bob  7 bytes  own",
        "0xff07  sent 2023-11-14T22:13:20.000Z, 2 resends, next 2023-11-14T22:13:25.000Z",
        "third  bob  7 bytes\n      \"content\"\n      waits for\n        gone  missing",
        "waits for\n        third  received, waits itself",
        "gone  dave  T_req 2023-11-14T22:13:20.000Z, asked 1 times, heard 2 times",
        "first  T_resp 2023-11-14T22:13:20.000Z",
    ] {
        assert!(text.contains(said), "{said}\n{text}");
    }
}

/// One message in a channel of that name.
fn store_with(dir: &Path, name: &str, content: &[u8]) {
    let key = LogKey { lamport: Lamport(1), id: "one".into() };
    let content = Bytes::copy_from_slice(content);
    let body = Body::new(key.clone(), "bob".into(), content).into();
    let seen = WallTime::from_millis(1);
    let row = Row::Message(Logged::new(body, seen).tap_mut(|it| it.delivery = Some(1)));
    let counts = RowCounts::default().tap_mut(|it| it.messages = 1);
    let (oldest, newest) = (Some(key.clone()), Some(key));
    let meta = ChannelMeta::default().tap_mut(|it| {
        it.next_delivery = 2;
        it.counts = counts;
        it.oldest = oldest;
        it.newest = newest;
    });
    let commit = Commit { meta: Some(meta), history: HistoryUpdate { put: vec![row], delete: vec![] }, hints: vec![] };
    let store = RedbPersistence::open(dir).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(store.commit(&ChannelId::from(name), &commit)).unwrap();
}

#[test]
fn text_that_turns_or_moves_other_text_is_escaped() {
    let text = "pay \u{202e}001\u{2066}\u{200f} \x1b[2J\u{9b}31m";
    let dir = tempfile::tempdir().unwrap();
    store_with(dir.path(), "ro\u{202e}om", text.as_bytes());
    let (shown, json) = (inspect(dir.path(), &[]), inspect(dir.path(), &["--json"]));
    assert!(shown.stdout.contains(r#""pay \u{202e}001\u{2066}\u{200f} \u{1b}[2J\u{9b}31m""#), "{}", shown.stdout);
    assert_eq!(json.json()["channels"][0]["log"][0]["text"], text);
    for stdout in [shown.stdout, json.stdout] {
        let bad = stdout.chars().find(|c| *c != '\n' && (c.is_control() || "\u{202e}\u{2066}\u{200f}".contains(*c)));
        assert_eq!(bad, None, "{stdout}");
    }
    let dir = tempfile::tempdir().unwrap();
    store_with(dir.path(), "room", &[0xff, 0x00]);
    assert!(inspect(dir.path(), &[]).stdout.contains("      0xff00\n"));
    assert_eq!(inspect(dir.path(), &["--json"]).json()["channels"][0]["log"][0]["hex"], "ff00");
}

#[test]
fn a_store_in_use_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_with_everything(dir.path());
    inspect(dir.path(), &[]).failed(1, "is in use");
    drop(store);
    assert_eq!(inspect(dir.path(), &[]).code, 0);
}

#[test]
fn what_is_no_store_is_told() {
    let dir = tempfile::tempdir().unwrap();
    inspect(dir.path(), &[]).failed(1, "there is no store in");
    inspect(&dir.path().join("missing"), &["--json"]).failed(1, "cannot look into");
    fs::write(dir.path().join("channels.redb"), "hello, I am no store").unwrap();
    inspect(dir.path(), &["--json"]).failed(1, "is damaged");
}

#[test]
fn damage_anywhere_is_one_line_or_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    drop(store_with_everything(dir.path()));
    let (file, whole) = (dir.path().join("channels.redb"), inspect(dir.path(), &["--json"]).stdout);
    let intact = fs::read(&file).unwrap();
    let mut damaged = 0;
    for start in (0..intact.len()).step_by(1_500) {
        let mut bytes = intact.clone();
        bytes[start..].iter_mut().take(700).for_each(|byte| *byte ^= 0x5a);
        fs::write(&file, bytes).unwrap();
        let run = inspect(dir.path(), &["--json"]);
        if run.code == 0 {
            assert_eq!(run.stdout, whole, "damage at {start} went unnoticed");
        } else {
            // A damaged channel is in the list of those; a damaged store has no list.
            let list = (!run.stdout.is_empty()).then(|| run.json());
            assert!(list.is_none_or(|list| list["channels"] == json!([]) && list["damaged"][0]["id"] == "room"));
            common::Run { stdout: String::new(), ..run }.failed(1, "the store in");
            damaged += 1;
        }
    }
    assert!(damaged > 2, "{damaged}");
}
