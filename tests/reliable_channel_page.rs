//! docs/reliable-channel.md names tests that are there.
#![allow(clippy::unwrap_used)]

use std::path::Path;

const PAGE: &str = include_str!("../docs/reliable-channel.md");

/// Rows of the tables: the cells between their bars.
fn rows() -> Vec<Vec<&'static str>> {
    let rows = PAGE.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| section "));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

fn has_test(file: &str, test: &str) -> bool {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap_or_default();
    let at = text.find(&format!("fn {test}("));
    at.is_some_and(|at| {
        let before = text[..at].trim_end_matches("async ").trim_end();
        before.ends_with("#[test]") || before.ends_with("#[tokio::test(start_paused = true)]")
    })
}

#[test]
fn each_row_names_a_test_that_is_there_or_says_what_is_not_done() {
    let rows = rows();
    assert!(rows.len() > 25, "{} rows", rows.len());
    for row in rows {
        let [_, _, here, proof] = row[..] else { panic!("{row:?}: a row has four cells") };
        let quoted: Vec<&str> = proof.split('`').skip(1).step_by(2).collect();
        match quoted[..] {
            [test, file] => assert!(has_test(file, test), "{test} is not in {file}"),
            [] => assert!(here.contains("Not done") || here.contains("The caller's"), "{row:?}"),
            _ => panic!("{row:?}: a test and its file"),
        }
    }
}
