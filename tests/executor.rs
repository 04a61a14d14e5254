//! The executor in worlds where stores, callbacks and channels misbehave: see `sim::executor`.
//!
//! `RC_SEEDS=10000 cargo test --release --test executor` runs more of them, `RC_SEED=7` one.

#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used)]

use reliable_channel::sim::executor::{Bug, Tally, run, run_with};

#[test]
fn keeps_its_promises_whatever_store_and_callbacks_do() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = match number("RC_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RC_SEEDS").unwrap_or(300),
    };
    let mut all = Tally::default();
    for seed in seeds.clone() {
        let tally =
            run(seed).unwrap_or_else(|what| panic!("{what}\nreplay: RC_SEED={seed} cargo test --test executor"));
        all.commits += tally.commits;
        all.archived += tally.archived;
        all.failed += tally.failed;
        all.hung += tally.hung;
        all.panics += tally.panics;
        all.defects += tally.defects;
        all.inside += tally.inside;
        all.closed += tally.closed;
        all.gave_up += tally.gave_up;
        all.restarts += tally.restarts;
        all.callbacks += tally.callbacks;
        all.answered += tally.answered;
    }
    println!("{all:?}");
    // Worlds in which nothing happens prove nothing.
    let least = [
        all.commits,
        all.archived,
        all.failed,
        all.hung,
        all.panics,
        all.defects,
        all.inside,
        all.closed,
        all.restarts,
        all.callbacks,
    ];
    assert!(seeds.end - seeds.start < 100 || least.iter().all(|count| *count > 100), "{all:?}");
}

#[test]
fn each_known_bug_put_back_is_reported() {
    for bug in Bug::ALL {
        let found = (0..1_000).find_map(|seed| Some((seed + 1, run_with(seed, Some(bug)).err()?)));
        let (seeds, what) = found.unwrap_or_else(|| panic!("nobody noticed {bug:?}"));
        let shown: String = what.chars().take(200).collect();
        println!("{bug:?} is noticed after {seeds} seeds: {shown}");
    }
}
