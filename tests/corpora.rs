//! Replays the corpora of the fuzz targets, and what they found, in the ordinary tests.
//!
//! `fuzz/corpus/<target>` holds a few inputs that reach most of the code, `fuzz/regressions/<target>` one for each
//! defect found. The seeds among them (`seed-*`) are written by this file:
//! `cargo test --features testing --test corpora -- --ignored`.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use reliable_channel::fuzzing::TARGETS;
use reliable_channel::snapshot;
use reliable_channel::types::{ChannelId, Dialect, FilterField, HistoryEntry, Lamport, Message};
use reliable_channel::wire;
use tap::Tap as _;

fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind).join(target)
}

/// Replays what there is of a kind, and counts it for each target.
fn replay(kind: &str) -> BTreeMap<&'static str, usize> {
    let mut inputs = BTreeMap::new();
    for (target, body) in TARGETS {
        let count = inputs.entry(*target).or_default();
        let Ok(files) = fs::read_dir(folder(kind, target)) else { continue };
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files {
            let input = fs::read(&file).unwrap();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(&input))) {
                println!("{}", file.display());
                resume_unwind(panic);
            }
            *count += 1;
        }
    }
    inputs
}

#[test]
fn the_corpora_find_nothing() {
    for (target, inputs) in replay("corpus") {
        assert!(inputs >= 10, "{inputs} in fuzz/corpus/{target}");
    }
}

#[test]
fn what_was_found_stays_mended() {
    let inputs = replay("regressions");
    for (target, found) in [("channel", 12), ("store", 3)] {
        assert!(inputs[target] >= found, "{} of {found} in fuzz/regressions/{target}", inputs[target]);
    }
}

#[test]
fn no_input_is_fine() {
    for (_, body) in TARGETS {
        (0..8).for_each(|len| body(&vec![0; len]));
    }
}

/// Seeds made of real messages, rows and operations.
#[test]
#[ignore = "writes fuzz/corpus"]
fn write_the_seeds() {
    for (target, _) in TARGETS {
        fs::create_dir_all(folder("corpus", target)).unwrap();
    }
    let write = |target: &str, name: String, bytes: Vec<u8>| {
        fs::write(folder("corpus", target).join(format!("seed-{name}")), bytes).unwrap();
    };
    for (name, message) in messages() {
        write("wire", name.into(), wire::encode(&message, Dialect::Lip109).unwrap().to_vec());
    }
    for (name, k, ones) in [("sparse", 7_u32, 0x11), ("half", 7, 0x55), ("full", 1, 0xff), ("absurd", 65, 1)] {
        write("filter", name.into(), [&k.to_le_bytes()[..], b"12345678", &[20], &[ones; 24]].concat());
    }
    for (name, contents) in segments() {
        write("segment", name.into(), contents);
    }
    for sort in 0..4 {
        write("signed", format!("{sort}-intact"), vec![sort]);
        // A byte of each third of the packet, the last one of it, and all after one.
        for (name, changes) in [
            ("front", &[20, 0, 1][..]),
            ("middle", &[100, 0, 0x80]),
            ("end", &[0, 0x80, 1]),
            ("both", &[0, 0x80, 1, 66, 0x80, 1]),
            ("cut", &[70, 0x80, 0, 1]),
        ] {
            write("signed", format!("{sort}-{name}"), [&[sort], changes].concat());
        }
    }
    peers(write);
    snapshots(write);
    for (name, options, operations) in scripts() {
        let operations = operations.concat();
        for (dialect, bits) in [("", 0), ("-js", 3 << 5), ("-nim", 7 << 5)] {
            let options = [options[0], options[1] | bits];
            write("channel", format!("{name}{dialect}"), [&options[..], &operations].concat());
        }
    }
    for (name, damages) in
        [("intact", vec![]), ("bit", vec![[0, 3, 100, 0, 1, 0, 0]]), ("page", vec![[3, 2, 0, 0, 255, 0, 0]])]
    {
        for image in 0..2 {
            write("store", format!("{name}-{image}"), [&[image][..], &damages.concat()].concat());
        }
    }
}

fn messages() -> Vec<(&'static str, Message)> {
    let content = Message::new("id".into(), "alice".into(), "c".into()).tap_mut(|it| {
        it.lamport = Some(Lamport(1_700_000_000_000));
        it.causal_history = vec![
            HistoryEntry::new("bare"),
            HistoryEntry::new("full").tap_mut(|it| {
                it.hint = Some(Bytes::from_static(b"hint"));
                it.sender = Some("bob".into());
            }),
        ];
        it.filter = FilterField::Compact { k: 7, seed: [7; 8], bits: Bytes::from_static(&[0x55; 16]) };
        it.repair_request = vec![HistoryEntry::new("missing")];
        it.content = Bytes::from_static(b"hello");
    });
    vec![
        ("sync", content.clone().tap_mut(|it| it.content = Bytes::new())),
        (
            "ephemeral",
            content.clone().tap_mut(|it| {
                it.lamport = None;
                it.causal_history = Vec::new();
            }),
        ),
        (
            "bare",
            content.clone().tap_mut(|it| {
                it.filter = FilterField::Absent;
                it.repair_request = Vec::new();
            }),
        ),
        ("content", content),
    ]
}

/// Bounds, and segments of a payload or any contents.
fn segments() -> Vec<(&'static str, Vec<u8>)> {
    let of = |payload: u8, places: &[u8]| places.iter().flat_map(|place| [128, payload, *place]).collect::<Vec<u8>>();
    let hash = [&[0x0a, 32][..], &[7; 32]].concat();
    let raw = |fields: &[u8]| [&[(hash.len() + fields.len()) as u8][..], &hash, fields].concat();
    let all: Vec<u8> = (0..11).collect();
    vec![
        ("in-order", [vec![0], of(250, &all)].concat()),
        ("reversed", [vec![0], of(250, &[9, 8, 7, 6, 5, 4, 3, 2, 1, 0])].concat()),
        ("twice", [vec![0], of(251, &[0, 1, 0, 1, 2, 3, 4, 5, 2, 3, 4, 5, 6, 7, 8, 9, 6, 7, 8, 9])].concat()),
        ("parity", [vec![0], of(248, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 9])].concat()),
        ("parity-last", [vec![0], of(253, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11])].concat()),
        ("tight", [vec![3], of(250, &all), of(240, &[1, 2]), of(230, &[3]), of(220, &[4]), of(210, &[5])].concat()),
        ("plain", b"\x00\x05hello".to_vec()),
        ("single", [vec![0], raw(&[0x18, 1, 0x22, 1, 9])].concat()),
        ("of-none", [vec![0], raw(&[0x22, 1, 9])].concat()),
        ("of-many", [vec![0], raw(&[0x18, 0xff, 1, 0x22, 1, 9, 0x30, 1])].concat()),
        ("of-two", [vec![0], raw(&[0x18, 2, 0x22, 1, 9]), raw(&[0x10, 1, 0x18, 2, 0x22, 1, 9])].concat()),
        ("parity-alone", [vec![0], raw(&[0x18, 1, 0x22, 1, 9, 0x30, 1, 0x38, 1])].concat()),
    ]
}

/// Messages and filters of both peers, from their vectors.
fn peers(write: impl Fn(&str, String, Vec<u8>)) {
    let read = |text: &str| -> serde_json::Value { serde_json::from_str(text).unwrap() };
    let unhex = |value: &serde_json::Value| hex::decode(value.as_str().unwrap()).unwrap();
    let js = read(include_str!("vectors/js/messages.json"));
    for (at, vector) in js["messages"].as_array().unwrap().iter().enumerate() {
        // Without the filters of 18 KB a fuzzer gets further.
        let bytes = unhex(&vector["hex"]);
        if bytes.len() < 500 {
            write("wire", format!("js-{at}"), bytes);
        }
    }
    let nim = read(include_str!("vectors/nim/messages.json"));
    for (at, vector) in nim["vectors"].as_array().unwrap().iter().enumerate() {
        write("wire", format!("nim-{at}"), unhex(&vector["serialized_hex"]));
    }
    for (at, vector) in nim["decode_verdicts"].as_array().unwrap().iter().enumerate() {
        write("wire", format!("nim-verdict-{at}"), unhex(&vector["bytes_hex"]));
    }
    for (at, vector) in nim["bloom_decode_verdicts"].as_array().unwrap().iter().enumerate() {
        write("interop", format!("nim-verdict-{at}"), [&[1, 10, 20][..], &unhex(&vector["bytes_hex"])].concat());
    }
    let nim = read(include_str!("vectors/nim/filters.json"));
    for (at, vector) in nim["rolling"].as_array().unwrap().iter().enumerate() {
        write("interop", format!("nim-{at}"), [&[1, 10, 200][..], &unhex(&vector["serialized_hex"])].concat());
    }
    for (name, bits) in [("sparse", &[0, 0x11][..]), ("full", &[0xff]), ("empty", &[])] {
        write("interop", format!("js-{name}"), [&[0, 10, 100][..], bits].concat());
    }
}

/// Frame bytes before the payload, which the target makes itself.
const HEADER: usize = 6;

fn snapshots(write: impl Fn(&str, String, Vec<u8>)) {
    let c = ChannelId::from("c");
    let rows = common::every_kind();
    for (at, row) in rows.iter().enumerate() {
        let (key, value) = (snapshot::row_key(&row.key()), snapshot::encode_row(&c, row));
        let head = |what: u8| [&[what, key.len() as u8][..], &key].concat();
        write("snapshot", format!("row-{at}"), [&head(4)[..], &value[HEADER..]].concat());
        write("snapshot", format!("sealed-row-{at}"), [&head(0)[..], &value].concat());
    }
    let meta = snapshot::encode_meta(&c, &common::meta_for(&rows));
    write("snapshot", "meta".into(), [&[5, 0][..], &meta[HEADER..]].concat());
    write("snapshot", "sealed-meta".into(), [&[1, 0][..], &meta].concat());
    let hint = snapshot::encode_hint(&c, &"id".into(), &Bytes::from_static(b"where"));
    write("snapshot", "hint".into(), [b"\x06\x02id", &hint[HEADER..]].concat());
}

/// Name, options, and operations: what, who, id, names, time, extra.
type Script = (&'static str, [u8; 2], Vec<[u8; 6]>);

fn scripts() -> Vec<Script> {
    let receive = |id: u8, names: u8| [0, id % 3, id, names, id, 0];
    let wait = |time: u8| [14, 0, 0, 0, time, 1];
    let restart = [15, 0, 0, 0, 0, 2];
    let crash = [15, 0, 0, 0, 0, 1];
    let send = [8, 0, 0, 0, 0, 0];
    let told = [12, 0, 0, 0, 255, 0];
    let chain: Vec<[u8; 6]> = (0..8).rev().map(|id| receive(id, if id > 0 { 1 << (id - 1) } else { 0 })).collect();
    let with = |more: &[[u8; 6]]| [&chain[..], more].concat();
    // Everything counts; and in the end the channel comes to rest.
    let founding = [4, 0x10];
    vec![
        ("reverse", founding, with(&[wait(5), restart, wait(8)])),
        ("lost", founding, with(&[receive(9, 0xff), crash, send, wait(8), restart, wait(9)])),
        ("tight", [0x0c, 0x13], with(&[send, send, send, wait(7), restart, wait(9)])),
        ("confirmed", [5, 0x11], with(&[told, restart, send, crash, send, restart, told, wait(8)])),
        ("joining", [0, 0x10], with(&[wait(6), restart])),
        ("acknowledged", founding, vec![send, send, [3, 0, 1, 0, 200, 5 << 3], [3, 0, 2, 0, 200, 5 << 3], wait(8)]),
        ("asked", founding, with(&[send, [3, 0, 1, 0x0f, 200, 0xc0], wait(6), restart, wait(7)])),
        ("cycle", founding, vec![receive(0, 2), receive(1, 1), wait(8), wait(9)]),
        ("clock", founding, vec![[14, 6, 0, 255, 1, 0], send, [14, 7, 0, 255, 1, 0], send, wait(8), restart]),
    ]
}
