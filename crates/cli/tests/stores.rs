//! `--store` and `migrate`: every engine does the same, and a store moves from one to the next whole.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::fs;

use common::run;

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
        .failed(1, "cannot keep that durability");
}
