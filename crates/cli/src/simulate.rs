//! `simulate`: a group, or a mixed world of faults, under one seed after another.
//!
//! What: each seed is run to its end by the library's simulator and reported as one line or one JSON object. Why here: the
//! figures of `docs/reliability.md` are reproduced with it. How it moves: [`run`] collects the reports, [`plot`] draws them.

mod plot;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reliable_channel::sim::group::{self, Group};
use reliable_channel::sim::mixed;
use reliable_channel::types::Dialect;

use crate::screen::{self, Screen};

/// How long a run may take before it shows a bar.
const BAR_AFTER: Duration = Duration::from_secs(1);

/// Why a lossy group of nim-sds does not converge.
const SILENT_NIM: &str =
    "no invariant broke: a silent nim-sds group never asks for what it misses (docs/deviations.md)";

/// Options that a mixed world, which draws everything, would not heed.
const OF_A_GROUP: [&str; 15] = [
    "participants",
    "messages",
    "loss",
    "duplicate",
    "reorder",
    "pause",
    "bytes",
    "partition",
    "crash",
    "no_resend",
    "t_min",
    "t_max",
    "idle",
    "dialect",
    "plot",
];

/// Many participants in one simulated channel, everything from one seed. Exit code 0 only if every seed ends with the same
/// log everywhere and no invariant broken.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: reliable-channel simulate --participants 20 --messages 200 --loss 0.3 --seed 1 --seeds 10"
)]
pub struct Args {
    /// Number of participants.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    participants: u32,
    /// Messages sent, each by a random participant.
    #[arg(long, default_value_t = 200)]
    messages: usize,
    /// Chance that a packet is lost on its way to a receiver, 0 to 1.
    #[arg(long, default_value_t = 0.1, value_parser = share)]
    loss: f64,
    /// Chance that a packet arrives twice, 0 to 1.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    duplicate: f64,
    /// Longest delay of a packet in milliseconds; the shortest is 10.
    #[arg(long, default_value_t = 50)]
    reorder: u64,
    /// Milliseconds from one message to the next.
    #[arg(long, default_value_t = 1_000)]
    pause: u64,
    /// Bytes of content of each message.
    #[arg(long, default_value_t = 50)]
    bytes: usize,
    /// Cut the first participant off until this many milliseconds after the last message.
    #[arg(long, value_name = "MS")]
    partition: Option<u64>,
    /// Drop a random participant and open it from its store after every so many messages.
    #[arg(long, value_name = "MESSAGES")]
    crash: Option<usize>,
    /// Nobody sends a message again: repair alone must do.
    #[arg(long)]
    no_resend: bool,
    /// T_min of repair in milliseconds, instead of the default.
    #[arg(long, value_name = "MS")]
    t_min: Option<u64>,
    /// T_max of repair in milliseconds, instead of the default.
    #[arg(long, value_name = "MS")]
    t_max: Option<u64>,
    /// Let this much virtual time pass in silence after convergence, in milliseconds, and count what is sent.
    #[arg(long, value_name = "MS")]
    idle: Option<u64>,
    /// Wire dialect of all participants, with the options its peers expect.
    #[arg(long, value_enum, default_value_t = Spoken::Lip109)]
    dialect: Spoken,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Instead of a group: worlds of crashes, partitions, wrong clocks and hostile members, drawn from the seed alone.
    #[arg(long, conflicts_with_all = OF_A_GROUP)]
    mixed: bool,
    /// One JSON object per seed.
    #[arg(long)]
    json: bool,
    /// Draw delivered fraction, delivery latency, and transmissions against loss.
    #[arg(long, value_name = "SVG")]
    plot: Option<PathBuf>,
}

/// Runs every seed.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if args.crash == Some(0) {
        bail!("--crash must be at least 1");
    }
    let mut seeds = Seeds::new(args);
    let mut reports = Vec::new();
    while let Some(seed) = seeds.next(args) {
        if args.mixed {
            run_mixed(args, &mut seeds, seed);
            continue;
        }
        let report = group::run(&args.group(seed, args.loss));
        let line = report::Line::new(args, &report);
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
    let report = mixed::run(seed, None);
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
        seeds.is_bad(seed, &format!("reliable-channel simulate --mixed --seed {seed}"));
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

fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err("must be between 0 and 1".to_owned()) }
}

/// The names of dialects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Spoken {
    Lip109,
    Js,
    Nim,
}

impl From<Spoken> for Dialect {
    fn from(spoken: Spoken) -> Self {
        match spoken {
            Spoken::Lip109 => Self::Lip109,
            Spoken::Js => Self::JsWaku,
            Spoken::Nim => Self::NimSds,
        }
    }
}

impl Args {
    fn group(&self, seed: u64, loss: f64) -> Group {
        let mut group = Group::new(seed, self.participants as usize, self.messages, loss).speaking(self.dialect.into());
        group.network.duplicate = self.duplicate;
        group.network.delay_ms = (10.min(self.reorder), self.reorder);
        group.pause = Duration::from_millis(self.pause);
        group.content_bytes = self.bytes;
        group.cut_off = self.partition.map(Duration::from_millis);
        group.restart_every = self.crash;
        group.idle = self.idle.map(Duration::from_millis);
        group.config.t_min = self.t_min.map_or(group.config.t_min, Duration::from_millis);
        group.config.t_max = self.t_max.map_or(group.config.t_max, Duration::from_millis);
        if self.no_resend {
            group.config.max_resend_attempts = 0;
        }
        group
    }

    fn replay(&self, seed: u64) -> String {
        let mut command = format!(
            "reliable-channel simulate --participants {} --messages {} --loss {} --duplicate {} --reorder {} --pause {} \
             --bytes {} --seed {seed}",
            self.participants, self.messages, self.loss, self.duplicate, self.reorder, self.pause, self.bytes
        );
        if let Some(time) = self.partition {
            command += &format!(" --partition {time}");
        }
        if let Some(every) = self.crash {
            command += &format!(" --crash {every}");
        }
        if self.no_resend {
            command += " --no-resend";
        }
        for (name, option) in [("t-min", self.t_min), ("t-max", self.t_max), ("idle", self.idle)] {
            command.extend(option.map(|ms| format!(" --{name} {ms}")));
        }
        if self.dialect != Spoken::Lip109
            && let Some(dialect) = self.dialect.to_possible_value()
        {
            command += &format!(" --dialect {}", dialect.get_name());
        }
        command
    }
}
