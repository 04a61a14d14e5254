//! docs/where.md names items and files: each is there.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::fs;
use std::path::{Path, PathBuf};

const DOCUMENT: &str = include_str!("../docs/where.md");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What stands between backticks.
fn spans(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The sources of a module: its file, and those below its folder.
fn sources(module: &str) -> Vec<String> {
    let mut files = vec![root().join("src").join(module).with_extension("rs")];
    let mut folders = vec![root().join("src").join(module)];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
        let (below, here): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
        folders.extend(below);
        files.extend(here);
    }
    files
        .into_iter()
        .map(|file| fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}")))
        .collect()
}

/// Whether the text defines this name: as an item, or as a member or variant on a line of its own.
fn defines(text: &str, name: &str) -> bool {
    const ITEMS: [&str; 7] = ["fn ", "struct ", "enum ", "trait ", "type ", "const ", "mod "];
    let ends = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
    text.lines().any(|line| {
        let words = line.trim_start();
        let item = ITEMS.iter().any(|kind| {
            words
                .split_once(kind)
                .is_some_and(|(before, rest)| !before.contains("//") && rest.strip_prefix(name).is_some_and(ends))
        });
        let member = words.strip_prefix("pub ").unwrap_or(words).strip_prefix(name);
        item || member.is_some_and(|rest| rest.starts_with([':', ',', '(']) || rest.starts_with(" {"))
    })
}

#[test]
fn every_item_is_defined_where_the_document_says() {
    let named: Vec<&str> = spans(DOCUMENT).into_iter().filter(|span| span.contains("::")).collect();
    assert!(named.len() > 50, "the test is blind: it sees {} items", named.len());
    let lost: Vec<&str> = named
        .into_iter()
        .filter(|item| {
            let (module, names) = item.split_once("::").unwrap();
            !sources(module).iter().any(|text| names.split("::").all(|name| defines(text, name)))
        })
        .collect();
    assert!(lost.is_empty(), "docs/where.md names what is not there: {lost:#?}");
}

#[test]
fn every_file_is_there() {
    let is_file = |span: &&str| span.contains(['/', '.']) && !span.contains([' ', ':']);
    let named: Vec<&str> = spans(DOCUMENT).into_iter().filter(is_file).collect();
    assert!(named.len() > 20, "the test is blind: it sees {} files", named.len());
    let lost: Vec<&str> = named.into_iter().filter(|file| !root().join(file).exists()).collect();
    assert!(lost.is_empty(), "docs/where.md names what is not there: {lost:#?}");
}

#[test]
fn what_is_not_defined_is_found_missing() {
    let text =
        "impl A {\n    // fn gone() {}\n    pub(super) fn here(&self) {}\n}\npub enum E {\n    One,\n    Two(u8),\n}\n";
    assert_eq!(["here", "E", "One", "Two"].map(|name| defines(text, name)), [true; 4]);
    assert_eq!(["her", "gone", "Three", "A"].map(|name| defines(text, name)), [false; 4]);
}
