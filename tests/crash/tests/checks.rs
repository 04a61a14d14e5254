//! The campaigns' checks can fail: each sees a promise that is broken on purpose, and none where it is kept.
#![cfg(all(feature = "redb", target_os = "linux"))]
#![allow(missing_docs)]

use std::process::{Command, Output};

fn crash(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_crash")).args(arguments).output().expect("the program runs")
}

/// The sums of these columns in the table that was printed.
fn columns(output: &Output, names: [&str; 2]) -> [u64; 2] {
    let text = String::from_utf8_lossy(&output.stdout);
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = text.lines().filter(|line| line.starts_with('|')).map(cells).collect();
    names.map(|name| {
        let at = rows[0].iter().position(|cell| cell == name).unwrap_or_else(|| panic!("no {name} in {text}"));
        rows[2..].iter().map(|row| row[at].parse::<u64>().expect("a number")).sum()
    })
}

#[test]
fn a_kill_shows_what_was_acknowledged_too_early() {
    let kept = crash(&["kill", "--backend", "redb", "--rounds", "6"]);
    assert!(kept.status.success(), "{}", String::from_utf8_lossy(&kept.stderr));
    let broken = crash(&["kill", "--backend", "redb", "--rounds", "6", "--breach", "behind"]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(columns(&broken, ["lost", "torn"])[0] > 0);
}

#[test]
fn a_kill_shows_operations_in_parts() {
    let broken = crash(&["kill", "--backend", "redb", "--rounds", "10", "--breach", "torn"]);
    assert_eq!(broken.status.code(), Some(1));
    let [torn, refused] = columns(&broken, ["torn", "failed loads"]);
    assert!(torn + refused > 0);
}

#[test]
fn a_power_cut_shows_syncs_that_were_not_made() {
    let options = ["cut", "--backend", "redb", "--rounds", "10", "--sizes", "3000"];
    let kept = crash(&options);
    assert!(kept.status.success(), "{}", String::from_utf8_lossy(&kept.stderr));
    let broken = crash(&[&options[..], &["--no-sync"]].concat());
    assert_eq!(broken.status.code(), Some(1));
    assert!(columns(&broken, ["lost", "torn"])[0] > 0);
}
