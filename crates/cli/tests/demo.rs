//! `demo`: everybody ends with everything that was piped in, and the exit code tells the truth.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::io::Read;
use std::process::{Command, Stdio};

use common::run;
use serde_json::Value;

const PEOPLE: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];

#[track_caller]
fn everybody_has(report: &Value, messages: usize) {
    assert_eq!(report["messages"], messages, "{report}");
    let delivered = report["delivered"].as_object().unwrap();
    assert_eq!(report["participants"], delivered.len(), "{report}");
    assert!(delivered.values().all(|count| *count == messages), "{report}");
    assert_eq!(report["logs_identical"], true, "{report}");
    assert_eq!(report["restarts"], 1, "{report}");
}

#[test]
fn every_line_piped_in_reaches_everybody() {
    let input =
        "hi\nbob: how are you?\ncarol: fine, thanks\nand you?\nDave: me too\nerin: \u{1F956} \u{4f60}\u{597d}\n";
    let run = run(&["demo", "--participants", "5", "--loss", "0.4", "--seed", "7", "--json"], input.as_bytes());
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let report = run.json();
    everybody_has(&report, 6);
    assert_eq!(report["delivered"], PEOPLE.into_iter().map(|name| (name, 6)).collect::<Value>());
    assert!(report["dropped"].as_u64().unwrap() > 0);
    let transmissions = report["transmissions"].as_u64().unwrap();
    assert!(transmissions > 6 && report["wire_bytes_per_message"].as_f64().unwrap() > 100.0, "{report}");
    assert!(report["virtual_ms"].as_u64().unwrap() > 10_000);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let input: String = (0..60).map(|line| format!("line {line}\n")).collect();
    let once =
        |seed| run(&["demo", "--participants", "4", "--loss", "0.3", "--seed", seed, "--json"], input.as_bytes());
    let first = once("11");
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert_eq!(first.stdout, once("11").stdout);
    assert_ne!(first.stdout, once("12").stdout);
}

#[test]
fn three_hundred_lines_reach_everybody() {
    let input: String = (0..300).map(|line| format!("line {line} of three hundred\n")).collect();
    let run = run(&["demo", "--participants", "5", "--loss", "0.4", "--seed", "1", "--json"], input.as_bytes());
    assert_eq!(run.code, 0, "{}", run.stderr);
    everybody_has(&run.json(), 300);
}

#[test]
fn few_participants_few_lines_and_great_loss() {
    for (participants, loss, input) in [("2", "0.9", "one"), ("2", "0", "one\ntwo"), ("3", "0.9", "one\ntwo\nthree")] {
        let args = ["demo", "--participants", participants, "--loss", loss, "--seed", "5", "--json"];
        let run = run(&args, input.as_bytes());
        assert_eq!(run.code, 0, "{}", run.stderr);
        everybody_has(&run.json(), input.lines().count());
    }
}

#[test]
fn without_input_a_script_is_played() {
    let run = run(&["demo", "--seed", "3"], b"");
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    for said in [
        "3 participants, 512 messages, loss 0.3, seed 3",
        "as alice sees it",
        "-- bob is cut off",
        "-- bob is connected again",
        "-- carol crashes: dropped without shutdown",
        "-- carol is back with ",
        "-- bob goes away, and the others say 500 messages",
        "-- bob is back, and missed all of them",
        "-- bob has all of them, ",
        "carol          512/512     254       258         1  ",
        "All 3 logs are identical and complete.",
    ] {
        assert!(run.stdout.contains(said), "{said}\n{}", run.stdout);
    }
    assert!(!run.stdout.contains('\u{1b}'), "{}", run.stdout);
    let digests: Vec<&str> = run.stdout.lines().filter(|line| line.contains("512/512")).collect();
    let digests: Vec<&str> = digests.iter().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert!(digests.len() == 3 && digests.iter().all(|digest| *digest == digests[0] && digest.len() == 16));
}

#[test]
fn empty_lines_are_skipped_and_impossible_ones_refused() {
    let mut input = b"one\n\n\r\ntwo\r\n".to_vec();
    input.extend(b"carol: ".iter().chain(&vec![b'x'; 1 << 20]));
    input.push(b'\n');
    input.extend(vec![b'x'; (1 << 20) + 1]);
    input.extend(b"\n\xff\xfe\nlast");
    let run = run(&["demo", "--seed", "4", "--json"], &input);
    assert_eq!(run.code, 0, "{}", run.stderr);
    everybody_has(&run.json(), 4);
    let said: Vec<&str> = run.stderr.lines().collect();
    let expected = [
        "error: line 6 has 1048577 bytes, 1048576 are allowed; not sent",
        "error: line 7 is not UTF-8; not sent",
        "note: 2 empty lines skipped",
    ];
    assert_eq!(said, expected);
}

#[test]
fn input_without_a_message_is_an_error() {
    let run = run(&["demo", "--json"], b"\n\n");
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert_eq!(run.stderr, "note: 2 empty lines skipped\nerror: the input has no line that can be a message\n");
}

#[test]
fn a_seed_that_was_not_given_is_told() {
    let first = run(&["demo", "--json"], b"one\ntwo");
    let seed = first.stderr.trim().strip_prefix("note: seed ").unwrap();
    assert_eq!(first.stdout, run(&["demo", "--json", "--seed", seed], b"one\ntwo").stdout);
}

#[test]
fn wrong_options_are_one_line_each() {
    for (args, says) in [
        (vec!["demo", "--participants", "1"], "1 is not in 2..=26"),
        (vec!["demo", "--participants", "27"], "27 is not in 2..=26"),
        (vec!["demo", "--participants", "many"], "invalid digit"),
        (vec!["demo", "--loss", "1"], "1 is not in 0.0..=0.9"),
        (vec!["demo", "--loss", "-0.1"], "-0.1 is not in 0.0..=0.9"),
        (vec!["demo", "--loss", "NaN"], "NaN is not in 0.0..=0.9"),
        (vec!["demo", "--loss", "x"], "not a number"),
        (vec!["demo", "--seed", "-1"], "--seed"),
        (vec!["demo", "--wat"], "--wat"),
        (vec!["demo", "more"], "more"),
        (vec!["wat"], "wat"),
        (vec!["inspect"], "--data"),
        (vec![], "a command is needed"),
    ] {
        run(&args, b"").failed(2, says);
    }
}

#[test]
fn help_has_an_example() {
    for args in [&["demo", "--help"][..], &["inspect", "--help"], &["--help"], &["--version"]] {
        let run = run(args, b"");
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
        assert!(args.len() == 1 || run.stdout.contains("Example:\n"), "{}", run.stdout);
    }
}

#[test]
fn data_must_be_new_or_empty_and_is_kept() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("kept");
    common::keep_demo(&dir, "one\ntwo\n");
    let mut stores: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    stores.sort();
    assert_eq!(stores, ["alice", "bob", "carol"]);
    run(&["demo", "--data", dir.to_str().unwrap()], b"three").failed(1, "is not empty");
    let file = dir.join("alice").join("channels.redb");
    run(&["demo", "--data", file.to_str().unwrap()], b"three").failed(1, "cannot use --data");
}

#[test]
fn a_reader_that_goes_away_does_no_harm() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_reliable-channel"))
        .args(["demo", "--seed", "3"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn who_was_away_for_five_hundred_messages_has_them_within_seconds() {
    for seed in ["1", "2", "3"] {
        let run = run(&["demo", "--seed", seed, "--json"], b"");
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
        let report = run.json();
        assert_eq!(report["returned"]["missed"], 500, "{report}");
        // Three in ten packets are lost, those that are about catching up too.
        let took = report["returned"]["all_ms"].as_u64().unwrap();
        assert!(took > 0 && took < 120_000, "{report}");
    }
    let piped = run(&["demo", "--seed", "1", "--json"], b"hi");
    assert_eq!(piped.json().get("returned"), None, "what is piped in is all that is said");
}
