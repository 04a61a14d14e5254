//! Instructions per operation of the core paths, exact enough to compare commits: `cargo bench --bench counts`.
//!
//! Then cost must not grow faster than the logarithm of what a channel holds: `GROWTH` names the sizes, and a case fails
//! whose largest size takes more than the logarithms' ratio of what its smallest takes, whatever the baseline says.
//!
//! What: each case runs under `valgrind --tool=callgrind`, which counts what [`measured`] executes, and is held against
//! `benches/baseline.json`: more than 10 % above it fails. Why not gungraun: its baselines lie in `target/`, so that
//! comparing with a committed file would take this much code all the same, a binary to install and thirty crates more.
//! How it moves: without arguments this program starts itself under valgrind once per case; `--run CASE` is the inner
//! one; `--save` writes the baseline; `--list` names the cases. Under valgrind SHA-256 runs without the processor's
//! instructions for it, so counts of what hashes are higher than what runs outside.

#![allow(missing_docs, clippy::unwrap_used)]
#![allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

mod fixtures;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::{Command, ExitCode};

use bytes::Bytes;
use fixtures::{Peer, content, deliver_reversed, reversed_chain};
use reliable_channel::types::{Dialect, Limits};
use reliable_channel::wire;
use serde_json::{Value, json};

/// Operations counted in one case: a whole number of reseeds of the filter.
const OPERATIONS: u64 = 128;
/// Per cent above the baseline that fail.
const TOLERANCE: f64 = 10.0;
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/baseline.json");

/// A name, the operations it counts, and what runs them.
type Case = (&'static str, u64, fn());

type Growth = (&'static str, &'static [usize], u64, fn(usize));

const CASES: &[Case] = &[
    ("wrap, 0 unacknowledged", OPERATIONS, || wrap(0)),
    ("wrap, 1000 unacknowledged", OPERATIONS, || wrap(1_000)),
    ("unwrap, 0 unacknowledged", OPERATIONS, || unwrap(0)),
    ("unwrap, 1000 unacknowledged", OPERATIONS, || unwrap(1_000)),
    ("reverse delivery of 1000", 1_000, reverse),
    ("wire encode", OPERATIONS, encode),
    ("wire decode", OPERATIONS, decode),
];

/// Cases that must not grow faster than the logarithm of their size: a name, the sizes, the operations counted at each,
/// and what runs them.
const GROWTH: &[Growth] = &[
    ("wrap, history of", &[1_000, 10_000, 100_000], OPERATIONS, |size| wrap_in(Peer::with_history(size))),
    ("unwrap, history of", &[1_000, 10_000, 100_000], OPERATIONS, |size| unwrap_in(Peer::with_history(size))),
    ("wrap, unacknowledged", &[100, 1_000, 10_000], OPERATIONS, |size| wrap_in(Peer::with_unacknowledged(size))),
    (SAME_SEED_CASE, &[100, 1_000, 10_000], SAME_SEED, same_seed),
    ("wrap, buffered", &[100, 1_000, 10_000], OPERATIONS, |size| wrap_in(Peer::with_parked(size))),
    ("unwrap, buffered", &[100, 1_000, 10_000], OPERATIONS, |size| unwrap_in(Peer::with_parked(size))),
    ("reverse delivery, a message of", &[1_000, 10_000], 0, reverse_of),
];
/// Filters heard under one seed: fewer than a sender inserts before it takes a new one.
const SAME_SEED: u64 = 4;
/// How much more than the logarithm allows: B-trees grow by steps.
const SLACK: f64 = 1.15;
/// Instructions allowed for each open message in the one case that grows with them: each position that a filter gains
/// is watched for by one in some hundred of them.
const FOR_EACH_OPEN: f64 = 12.0;
const SAME_SEED_CASE: &str = "unwrap a known seed, unacknowledged";

/// All that is counted. Not inlined, so that callgrind finds it by its name.
#[inline(never)]
fn measured(operation: &mut dyn FnMut()) {
    operation();
}

fn wrap(open: usize) {
    wrap_in(Peer::with_unacknowledged(open));
}

fn wrap_in(mut peer: Peer) {
    for _ in 0..OPERATIONS {
        peer.pass(1_000);
        let mut made = None;
        let content = content();
        measured(&mut || made = Some(peer.wrap(content.clone())));
        peer.sent(&made.unwrap().0);
        peer.acknowledge();
    }
}

fn unwrap(open: usize) {
    unwrap_in(Peer::with_unacknowledged(open));
}

/// After a message with a new seed, whose filter is tested against everything open.
fn same_seed(open: usize) {
    let mut peer = Peer::with_unacknowledged(open);
    peer.reseed_other();
    let message = peer.next_received();
    peer.receive(message);
    unwrap_some(&mut peer, SAME_SEED);
}

fn unwrap_in(mut peer: Peer) {
    unwrap_some(&mut peer, OPERATIONS);
}

fn unwrap_some(peer: &mut Peer, operations: u64) {
    for _ in 0..operations {
        let bytes = wire::encode(&peer.next_received(), Dialect::Lip109).unwrap();
        measured(&mut || drop(black_box(peer.unwrap(&bytes))));
    }
}

fn reverse() {
    reverse_of(1_000);
}

fn reverse_of(length: usize) {
    let mut messages = Some(reversed_chain(length as u64));
    measured(&mut || drop(black_box(deliver_reversed(messages.take().unwrap()))));
}

fn encode() {
    let message = Peer::with_unacknowledged(0).next_received();
    for _ in 0..OPERATIONS {
        measured(&mut || drop(black_box(wire::encode(&message, Dialect::Lip109))));
    }
}

fn decode() {
    let bytes: Bytes = wire::encode(&Peer::with_unacknowledged(0).next_received(), Dialect::Lip109).unwrap();
    let limits = Limits::default();
    for _ in 0..OPERATIONS {
        measured(&mut || drop(black_box(wire::decode(&bytes, &limits))));
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--run", name] => {
            run(name);
            ExitCode::SUCCESS
        }
        ["--list"] => {
            CASES.iter().for_each(|(name, ..)| println!("{name}"));
            GROWTH.iter().flat_map(|(name, sizes, ..)| sizes.iter().map(move |size| (name, size))).for_each(
                |(name, size)| {
                    println!("{name} {size}");
                },
            );
            ExitCode::SUCCESS
        }
        ["--save"] => {
            let text = serde_json::to_string_pretty(&json!({ "tools": tools(), "instructions": count() })).unwrap();
            std::fs::write(BASELINE, text + "\n").unwrap();
            ExitCode::SUCCESS
        }
        [] => ExitCode::from(u8::from(!compare()) | u8::from(!grows_slowly())),
        _ => panic!("--run CASE, --list, --save, or nothing"),
    }
}

fn run(name: &str) {
    if let Some((_, _, run)) = CASES.iter().find(|(case, ..)| *case == name) {
        return run();
    }
    let (case, size) = name.rsplit_once(' ').expect("a case, see --list");
    let (_, _, _, run) = GROWTH.iter().find(|(name, ..)| *name == case).expect("a case, see --list");
    run(size.parse().expect("a size"));
}

/// What must be the same for counts to be comparable.
fn tools() -> BTreeMap<&'static str, String> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    BTreeMap::from([
        ("rustc", first_line(&rustc)),
        ("valgrind", first_line("valgrind")),
        ("target", format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)),
    ])
}

fn first_line(program: &str) -> String {
    let output = Command::new(program).arg("--version").output().unwrap_or_else(|_| panic!("no {program} here"));
    String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
}

/// Instructions per operation of every case.
fn count() -> BTreeMap<&'static str, u64> {
    CASES.iter().map(|(name, operations, _)| (*name, count_one(name) / operations)).collect()
}

fn count_one(name: &str) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=counts::measured"])
        .arg(std::env::current_exe().unwrap())
        .args(["--run", name])
        .output()
        .expect("valgrind runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let collected = told.lines().find_map(|line| line.split_once("Collected : "));
    let count = collected.and_then(|(_, count)| count.split_whitespace().next()?.parse().ok());
    count.filter(|count| *count > 0).unwrap_or_else(|| panic!("nothing was counted: {told}"))
}

/// Whether the largest size of each case takes no more than logarithmic growth from the smallest allows.
fn grows_slowly() -> bool {
    let mut slowly = true;
    for (name, sizes, operations, _) in GROWTH {
        let counts = sizes.iter().map(|size| {
            let operations = if *operations == 0 { *size as u64 } else { *operations };
            count_one(&format!("{name} {size}")) / operations
        });
        let counts: Vec<u64> = counts.collect();
        let (first, last) = (sizes[0] as f64, sizes[sizes.len() - 1] as f64);
        let linear = if *name == SAME_SEED_CASE { (last - first) * FOR_EACH_OPEN } else { 0.0 };
        let allowed = counts[0] as f64 * last.ln() / first.ln() * SLACK + linear;
        println!("{name} {sizes:?}: {counts:?} instructions, at most {allowed:.0}");
        slowly &= counts[counts.len() - 1] as f64 <= allowed;
    }
    if !slowly {
        println!("a cost grows with what the channel holds");
    }
    slowly
}

/// Whether no case takes much more than in the baseline.
fn compare() -> bool {
    let baseline: Value = serde_json::from_str(&std::fs::read_to_string(BASELINE).unwrap()).unwrap();
    let same_tools = baseline["tools"] == json!(tools());
    if !same_tools {
        println!("other tools than those of the baseline, so this only reports: {:?}, {}", tools(), baseline["tools"]);
    }
    let mut grown = false;
    for (name, now) in count() {
        let Some(before) = baseline["instructions"][name].as_u64() else {
            println!("{name:35} {now:>12} instructions, not in the baseline");
            grown = true;
            continue;
        };
        let change = (now as f64 / before as f64 - 1.0) * 100.0;
        println!("{name:35} {now:>12} instructions, {change:+.1} %");
        grown |= change > TOLERANCE;
    }
    if grown && same_tools {
        println!("over {TOLERANCE} % more: make it cheaper, or run with --save and give the reason in the same commit");
        return false;
    }
    true
}
