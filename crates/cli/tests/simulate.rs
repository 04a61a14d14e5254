//! `simulate`: exit codes, the fields that design and documents name, and the same bytes for the same seed.

#![allow(clippy::unwrap_used)] // these are tests

mod common;

use common::run;

const SMALL: [&str; 8] = ["simulate", "--participants", "4", "--messages", "20", "--loss", "0.2", "--json"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&SMALL[..], more].concat()
}

#[test]
fn a_seed_is_one_json_object_with_every_field() {
    let run = run(&with(&["--seed", "3"]), b"");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let line = run.json();
    for (field, value) in [("seed", 3), ("participants", 4), ("messages", 20), ("false_acks", 0)] {
        assert_eq!(line[field].as_u64(), Some(value), "{field}");
    }
    assert_eq!((line["converged"].as_bool(), line["delivered_fraction"].as_f64()), (Some(true), Some(1.0)));
    assert_eq!(line["violations"].as_array().map(Vec::len), Some(0));
    for field in ["virtual_ms_to_converge", "never_acknowledged"] {
        assert!(line[field].is_u64(), "{field}");
    }
    for percentile in ["p50", "p99", "max"] {
        assert!(line["delivery_ms"][percentile].as_u64().is_some_and(|ms| ms >= 10), "{percentile}");
    }
    for field in ["transmissions_per_message", "wire_bytes_per_message", "invariants_checked"] {
        assert!(line[field].as_f64().is_some_and(|figure| figure >= 1.0), "{field}");
    }
}

#[test]
fn the_same_seeds_give_the_same_bytes() {
    let seeds = |first: &str| run(&with(&["--seed", first, "--seeds", "3"]), b"");
    let (one, two, other) = (seeds("1"), seeds("1"), seeds("2"));
    assert_eq!((one.code, one.stdout.lines().count()), (0, 3), "{}", one.stderr);
    assert_eq!(one.stdout, two.stdout);
    assert_ne!(one.stdout, other.stdout);
}

#[test]
fn more_messages_than_a_channel_keeps_by_default_agree() {
    let run = run(&["simulate", "--participants", "5", "--messages", "1200", "--loss", "0", "--pause", "20"], b"");
    assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("logs agree: true"), "{}", run.stdout);
}

#[test]
fn what_does_not_converge_exits_with_1_and_says_how_to_see_it_again() {
    let run = run(&["simulate", "--participants", "2", "--messages", "5", "--loss", "1", "--seed", "9"], b"");
    assert_eq!(run.code, 1, "{}", run.stdout);
    assert!(run.stdout.contains("logs agree: false"), "{}", run.stdout);
    assert!(run.stderr.contains("replay: reliable-channel simulate --participants 2"), "{}", run.stderr);
    assert!(run.stderr.contains("--seed 9") && !run.stderr.contains("nim-sds"), "{}", run.stderr);
}

#[test]
fn a_silent_nim_group_is_told_to_be_one() {
    let run = run(&["simulate", "--participants", "8", "--messages", "30", "--loss", "0.2", "--dialect", "nim"], b"");
    assert_eq!(run.code, 1, "{}", run.stdout);
    assert!(!run.stdout.contains("violation"), "{}", run.stdout);
    assert!(run.stderr.contains("a silent nim-sds group never asks"), "{}", run.stderr);
}

#[test]
fn a_plot_is_an_svg_file() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("group.svg");
    let run = run(&with(&["--plot", path.to_str().unwrap()]), b"");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let svg = std::fs::read_to_string(path).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg:.100}");
    assert!(svg.contains("Delivery latency"), "the panels are named");
}

#[test]
fn a_mixed_world_takes_no_options_of_a_group() {
    for option in [&["--loss", "0.5"][..], &["--dialect", "js"], &["--no-resend"], &["--participants", "3"]] {
        let run = run(&[&["simulate", "--mixed"], option].concat(), b"");
        assert_eq!(run.code, 2, "{option:?}: {}", run.stderr);
        assert!(run.stderr.contains("cannot be used with"), "{option:?}: {}", run.stderr);
    }
    let run = run(&["simulate", "--mixed", "--seed", "1", "--json"], b"");
    assert_eq!((run.code, run.json()["seed"].as_u64()), (0, Some(1)), "{}", run.stderr);
}
