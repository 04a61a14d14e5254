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
    let hopeless = ["simulate", "--participants", "2", "--messages", "5", "--loss", "0.99999", "--patience", "60000"];
    let run = run(&[&hopeless[..], &["--seed", "9"]].concat(), b"");
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
    assert!(svg.contains("--participants 4 --messages 20 --loss 0.2"), "what was run is told");
    assert!(svg.contains("seed 1"), "the lines are named");
}

#[test]
fn a_scenario_has_an_object_with_its_figures() {
    let scenarios: [(&[&str], &str, &[&str]); 4] = [
        (
            &["--rejoin", "30"],
            "rejoin",
            &["missed", "delivered", "first_shown_ms", "all_ms", "lost", "gaps_told", "transmissions"],
        ),
        (
            &["--late-joiner", "10"],
            "late_joiner",
            &["before", "after", "first_shown_ms", "history", "news", "gaps_told"],
        ),
        (&["--leave", "1"], "leave", &["members", "missing", "gone", "recovered"]),
        (&["--tail"], "tail", &["all_ms"]),
    ];
    for (options, object, fields) in scenarios {
        let run = run(&with(options), b"");
        assert_eq!(run.code, 0, "{options:?}: {}", run.stderr);
        let line = run.json();
        for field in fields {
            assert!(line[object][field].is_u64(), "{options:?}: {field} in {line}");
        }
        assert!(line[object]["logs_identical"].as_bool().unwrap_or(true), "{line}");
    }
}

#[test]
fn other_conditions_are_a_matter_of_an_option() {
    for options in [
        &["--bursty-loss"][..],
        &["--mixed-settings"],
        &["--rate", "10"],
        &["--history", "10"],
        &["--max-transmit-bytes", "1000"],
        &["--groups", "2"],
    ] {
        let run = run(&with(options), b"");
        assert_eq!(run.code, 0, "{options:?}: {}", run.stderr);
    }
    let run = run(&["simulate", "--participants", "3", "--burst", "20", "--loss", "0", "--json"], b"");
    assert_eq!((run.code, run.json()["messages"].as_u64()), (0, Some(20)), "{}", run.stderr);
}

#[test]
fn what_means_nothing_is_refused_in_one_line() {
    for (options, code, says) in [
        (&["--seeds", "0"][..], 2, "0 is not in 1.."),
        (&["--loss", "1"], 2, "below 1"),
        (&["--loss", "NaN"], 2, "below 1"),
        (&["--messages", "0"], 2, "0 is not in 1.."),
        (&["--bytes", "0"], 2, "0 is not in 1.."),
        (&["--bytes", "1048577"], 1, "at most 1048576 bytes"),
        (&["--leave", "20"], 1, "at least one must stay"),
        (&["--late-joiner", "200"], 1, "before one of the 200 messages"),
        (&["--rejoin", "0"], 2, "0 is not in 1.."),
        (&["--rate", "0"], 2, "between 0.001 and 1000"),
        (&["--crash", "0"], 2, "0 is not in 1.."),
        (&["--t-max", "0"], 1, "t_max"),
        (&["--plot", "no/such/folder/out.svg"], 1, "there is no folder no/such/folder"),
    ] {
        run(&[&["simulate"], options].concat(), b"").failed(code, says);
    }
}

#[test]
fn a_mixed_world_takes_no_options_of_a_group() {
    for option in [&["--loss", "0.5"][..], &["--dialect", "js"], &["--no-resend"], &["--participants", "3"]] {
        let run = run(&[&["simulate", "--mixed"], option].concat(), b"");
        assert_eq!(run.code, 2, "{option:?}: {}", run.stderr);
        assert!(run.stderr.contains("cannot be used with"), "{option:?}: {}", run.stderr);
    }
    let mixed = run(&["simulate", "--mixed", "--seed", "1", "--json"], b"");
    assert_eq!((mixed.code, mixed.json()["seed"].as_u64()), (0, Some(1)), "{}", mixed.stderr);
    let signed = run(&["simulate", "--mixed", "--signed", "--seed", "1", "--json"], b"");
    assert_eq!((signed.code, signed.json()["violations"].to_string()), (0, "[]".to_owned()), "{}", signed.stderr);
    assert_ne!(signed.json()["trace"], mixed.json()["trace"]);
    assert_eq!(run(&["simulate", "--signed"], b"").code, 2);
    let members = run(&["simulate", "--mixed", "--members", "--seed", "1", "--json"], b"");
    assert_ne!(members.json()["trace"], mixed.json()["trace"], "another world");
    assert_eq!(run(&["simulate", "--mixed", "--members", "--signed"], b"").code, 2);
}

#[test]
fn members_are_told_when_all_have_a_message_and_when_it_is_stable_and_what_that_costs() {
    let line = &run(&[&SMALL[..], &["--members"]].concat(), b"").json();
    let members = &line["members"];
    assert_eq!(members["stable"], 4 * 20);
    assert!(members["delivered_to_all"].as_u64() >= Some(19), "{members}");
    for times in ["delivered_to_all_ms", "stability_lag_ms"] {
        assert!(members[times]["p50"].as_u64() > Some(0), "{members}");
    }
    let (with, without) = (&line["wire_bytes_per_message"], &members["wire_bytes_per_message_without"]);
    assert!(with.as_f64() > Some(0.0) && without.as_f64() > Some(0.0), "{line}");
    assert!(run(&SMALL, b"").json().get("members").is_none());
    run(&["simulate", "--members", "--dialect", "nim"], b"").failed(1, "--members");
}
