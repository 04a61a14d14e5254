//! The table at the end of docs/protocol.md names tests that are there, and leaves out no part of the protocol.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const PROTOCOL: &str = include_str!("../../docs/protocol.md");

/// Files of this folder that prove rules of several sections.
const ANY_SECTION: [&str; 2] = ["dialects.rs", "restart.rs"];

/// A row of the table.
struct Proof<'a> {
    part: &'a str,
    test: &'a str,
    /// Where the row names a file, from the root of the repository.
    file: Option<&'a str>,
}

fn proofs() -> Vec<Proof<'static>> {
    let (_, table) = PROTOCOL.split_once("## Rules and their tests").expect("the table is there");
    let rows = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| part "));
    let proof = |row: &'static str| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [part, _, proof] = cells[..] else { panic!("{row}: a row has three cells") };
        let mut quoted = proof.split('`').skip(1).step_by(2);
        Proof { part, test: quoted.next().expect("a test"), file: quoted.next() }
    };
    rows.map(proof).collect()
}

/// The numbers of the parts of the numbered sections; of a section that has none, its own.
fn parts() -> BTreeSet<&'static str> {
    let number = |line: &'static str, hashes: &str| line.strip_prefix(hashes)?.split([' ', '.']).next();
    let mut parts: BTreeSet<&str> = PROTOCOL
        .lines()
        .filter_map(|line| line.strip_prefix("### ")?.split(' ').next())
        .filter(|part| part.starts_with(|first: char| first.is_ascii_digit()))
        .collect();
    let sections = PROTOCOL.lines().filter_map(|line| number(line, "## "));
    for section in sections.filter(|section| section.parse::<u32>().is_ok()) {
        if !parts.iter().any(|part| part.split('.').next() == Some(section)) {
            parts.insert(section);
        }
    }
    parts
}

fn has_test(file: &Path, test: &str) -> bool {
    std::fs::read_to_string(file).is_ok_and(|text| {
        text.contains(&format!("#[test]\nfn {test}()")) || text.contains(&format!("#[test]\n    fn {test}()"))
    })
}

/// The files of this folder in which a rule of this part may be proved.
fn files_of(part: &str) -> Vec<PathBuf> {
    let section: u32 = part.split('.').next().unwrap().parse().unwrap();
    let begins = format!("section_{section:02}_");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spec");
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    names
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(&begins) || ANY_SECTION.contains(&name)
        })
        .collect()
}

#[test]
fn each_test_that_the_table_names_is_there_in_a_file_of_its_section() {
    let lost: Vec<&str> = proofs()
        .iter()
        .filter(|proof| match proof.file {
            Some(file) => !has_test(&Path::new(env!("CARGO_MANIFEST_DIR")).join(file), proof.test),
            None => !files_of(proof.part).iter().any(|file| has_test(file, proof.test)),
        })
        .map(|proof| proof.test)
        .collect();
    assert!(lost.is_empty(), "docs/protocol.md names what is not there: {lost:#?}");
}

#[test]
fn each_part_of_the_protocol_has_a_proof() {
    let parts = parts();
    assert!(parts.len() > 60 && parts.contains("12") && parts.contains("10.8"), "{parts:?}");
    let proved: BTreeSet<&str> = proofs().iter().map(|proof| proof.part).collect();
    assert_eq!(parts, proved);
}
