//! `simulate`: a group, or a mixed world of faults, under one seed after another.
//!
//! What: each seed is run to its end by the library's simulator and reported as one line or one JSON object. Why here: the
//! figures of `docs/reliability.md` are reproduced with it. How it moves: [`run`] collects the reports, [`plot`] draws them.

mod args;
mod plot;
mod report;

use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reliable_channel::sim::{Bug, group, mixed};

use crate::screen::{self, Screen};
use args::Spoken;

pub use args::Args;

/// How long a run may take before it shows a bar.
const BAR_AFTER: Duration = Duration::from_secs(1);

/// Why a lossy group of nim-sds does not converge.
const SILENT_NIM: &str =
    "no invariant broke: a silent nim-sds group never asks for what it misses (docs/deviations.md)";

/// Runs every seed.
pub fn run(args: &Args) -> anyhow::Result<()> {
    args.check()?;
    let mut seeds = Seeds::new(args);
    let mut reports = Vec::new();
    while let Some(seed) = seeds.next(args) {
        if args.mixed {
            run_mixed(args, &mut seeds, seed);
            continue;
        }
        let group = args.group(seed, args.loss);
        let report = group::run(&group);
        // The same without members, to show what they cost.
        let without = args.members.then(|| group::run(&group::Group { members: false, ..group }));
        let line = report::Line::new(args, &report, without.as_ref());
        seeds.bar.suspend(|| line.print(&mut seeds.screen, args.json))?;
        if !line.is_good() {
            seeds.is_bad(seed, &args.replay(seed));
            if args.dialect == Spoken::Nim && report.violations.is_empty() {
                seeds.bar.suspend(|| screen::note(SILENT_NIM));
            }
        }
        if args.plot.is_some() {
            reports.push(report);
        }
    }
    if let Some(path) = &args.plot {
        plot::draw(path, args, &reports).with_context(|| format!("cannot draw {}", path.display()))?;
    }
    seeds.verdict(args)
}

fn run_mixed(args: &Args, seeds: &mut Seeds, seed: u64) {
    let (run, option): (fn(u64, Option<Bug>) -> mixed::Report, _) = match (args.signed, args.members) {
        (true, _) => (mixed::run_signed, " --signed"),
        (_, true) => (mixed::run_with_members, " --members"),
        _ => (mixed::run, ""),
    };
    let report = run(seed, None);
    if args.json {
        let violations: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
        let line = serde_json::json!({
            "seed": seed,
            "participants": report.mix.founders,
            "messages": report.sent,
            "delivered": report.delivered,
            "virtual_ms": report.virtual_ms,
            "invariants_checked": report.looks,
            "trace": format!("{:016x}", report.trace),
            "violations": violations,
        });
        seeds.bar.suspend(|| seeds.screen.line(line));
    }
    for violation in &report.violations {
        seeds.bar.suspend(|| screen::note(&format!("seed {seed}: {violation}")));
    }
    if !report.violations.is_empty() {
        seeds.is_bad(seed, &format!("reliable-channel simulate --mixed{option} --seed {seed}"));
    }
}

/// The seeds still to run, and what came of those before.
struct Seeds {
    rest: std::ops::Range<u64>,
    bad: Vec<u64>,
    screen: Screen,
    bar: ProgressBar,
}

impl Seeds {
    fn new(args: &Args) -> Self {
        let bar = ProgressBar::with_draw_target(Some(args.seeds), ProgressDrawTarget::hidden());
        // Without it the bar has its plain style.
        if let Ok(style) = ProgressStyle::with_template("[{elapsed_precise}] {wide_bar} {pos}/{len} seeds") {
            bar.set_style(style);
        }
        let rest = args.seed..args.seed.saturating_add(args.seeds);
        Self { rest, bad: Vec::new(), screen: Screen::new(), bar }
    }

    /// The next seed; none when the reader of the output has gone.
    fn next(&mut self, args: &Args) -> Option<u64> {
        let next = self.rest.next()?;
        if self.bar.is_hidden() && self.bar.elapsed() > BAR_AFTER {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_position(next - args.seed);
        self.screen.flush();
        (!self.screen.has_failed()).then_some(next)
    }

    fn is_bad(&mut self, seed: u64, replay: &str) {
        self.bad.push(seed);
        self.bar.suspend(|| screen::note(&format!("replay: {replay}")));
    }

    fn verdict(mut self, args: &Args) -> anyhow::Result<()> {
        self.bar.finish_and_clear();
        if !self.bad.is_empty() {
            let Self { screen, bad, .. } = self;
            screen.end()?;
            bail!("{} of {} seeds broke an invariant or did not converge: {bad:?}", bad.len(), args.seeds);
        }
        if !args.json {
            self.screen.line(format_args!("all {} seeds kept every invariant", args.seeds));
        }
        self.screen.end()
    }
}
