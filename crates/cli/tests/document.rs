//! docs/program.md names every command, every option, and every field of JSON.

#![allow(clippy::unwrap_used)] // these are tests

mod common;

use std::collections::BTreeSet;

use common::{keep_demo, run};
use serde_json::Value;

const DOCUMENT: &str = include_str!("../../../docs/program.md");
const COMMANDS: [&str; 8] = ["archive", "backup", "chat", "demo", "inspect", "migrate", "peer", "simulate"];

/// The part about a command.
fn part(command: &str) -> &'static str {
    let (_, part) =
        DOCUMENT.split_once(&format!("\n## {command}: ")).unwrap_or_else(|| panic!("{command} is not named"));
    part.split_once("\n## ").map_or(part, |(part, _)| part)
}

/// Options in a text, as `--name`, in its order.
fn options(text: &str) -> impl Iterator<Item = &str> {
    let ends = |c: char| !(c.is_ascii_lowercase() || c == '-');
    let options = text.match_indices("--").map(|(at, _)| &text[at..]);
    let options = options.map(move |rest| &rest[..rest[2..].find(ends).map_or(rest.len(), |end| end + 2)]);
    options.filter(|option| option.len() > 3)
}

#[test]
fn every_command_is_named() {
    let help = run(&["--help"], b"").stdout;
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let listed: Vec<_> = commands.lines().map_while(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    assert_eq!(listed, COMMANDS, "{help}");
    COMMANDS.iter().for_each(|command| assert!(!part(command).is_empty()));
}

#[test]
fn every_option_is_named_and_no_other() {
    for command in COMMANDS {
        let help = run(&[command, "--help"], b"").stdout;
        let (_, listed) = help.split_once("Options:\n").unwrap();
        let lines = listed.lines().filter(|line| line.trim_start().starts_with("--"));
        let listed: BTreeSet<_> = lines.filter_map(|line| options(line).next()).collect();
        assert!(listed.len() > 2, "{help}");
        let named: BTreeSet<_> = options(part(command)).collect();
        let missing: Vec<_> = listed.difference(&named).collect();
        assert!(missing.is_empty(), "{command}: {missing:?} are not in docs/program.md");
        let others: Vec<_> = named.difference(&listed).filter(|option| !["--help"].contains(option)).collect();
        assert!(others.is_empty(), "{command} has no {others:?}");
    }
}

/// All names of fields in a value.
fn fields(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| {
            into.insert(name.clone());
            fields(value, into);
        }),
        Value::Array(list) => list.iter().for_each(|value| fields(value, into)),
        _ => {}
    }
}

#[track_caller]
fn named(command: &str, json: &Value, but: &[&str]) {
    let mut all = BTreeSet::new();
    fields(json, &mut all);
    let part = part(command);
    let missing: Vec<_> =
        all.iter().filter(|name| !but.contains(&name.as_str()) && !part.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "{command}: {missing:?} are not in docs/program.md");
}

#[test]
fn every_field_of_json_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let demo = run(&["demo", "--seed", "1", "--json"], b"one\n");
    named("demo", &demo.json(), &["alice", "bob", "carol"]);
    for scenario in [&["--tail", "--leave", "1"][..], &["--rejoin", "2"], &["--late-joiner", "2"], &["--members"]] {
        let group = ["simulate", "--participants", "4", "--messages", "8", "--loss", "0", "--json"];
        named("simulate", &run(&[&group[..], scenario].concat(), b"").json(), &[]);
    }
    named("simulate", &run(&["simulate", "--mixed", "--json"], b"").json(), &[]);
    let (kept, moved) = (dir.path().join("kept"), dir.path().join("moved"));
    keep_demo(&kept, "one\ntwo\n");
    let alice = kept.join("alice");
    named("inspect", &run(&["inspect", "--data", alice.to_str().unwrap(), "--json"], b"").json(), &[]);
    let to = ["--to", moved.to_str().unwrap(), "--store", "sqlite", "--json"];
    named("migrate", &run(&[&["migrate", "--from", alice.to_str().unwrap()][..], &to].concat(), b"").json(), &[]);
}
