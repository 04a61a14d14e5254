//! `simulate`: a group, or a mixed world of faults, under one seed after another.
//!
//! What: each seed is run to its end by the library's simulator and reported as one line or one JSON object. Why here: the
//! figures of `docs/reliability.md` are reproduced with it. How it moves: [`run`] collects the reports, [`plot`] draws them.

mod plot;
mod report;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reliable_channel::sim::group::{self, Group};
use reliable_channel::sim::mixed;

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
    /// Let this much virtual time pass in silence after convergence, in milliseconds, and count what is sent.
    #[arg(long, value_name = "MS")]
    idle: Option<u64>,
    /// Wire dialect.
    #[arg(long, default_value = "lip109", value_parser = ["lip109"])]
    dialect: String,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Instead of a group: worlds of crashes, partitions, wrong clocks and hostile members, drawn from the seed.
    #[arg(long)]
    mixed: bool,
    /// One JSON object per seed.
    #[arg(long)]
    json: bool,
    /// Draw delivered fraction, delivery latency, and transmissions against loss.
    #[arg(long, value_name = "SVG", conflicts_with = "mixed")]
    plot: Option<PathBuf>,
}

/// Runs every seed.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if args.mixed {
        return run_mixed(args);
    }
    if args.crash == Some(0) {
        bail!("--crash must be at least 1");
    }
    let mut reports = Vec::new();
    let mut bad = Vec::new();
    for seed in seeds(args) {
        let report = group::run(&args.group(seed, args.loss));
        let line = report::Line::new(args, &report);
        line.print(args.json)?;
        if !line.is_good() {
            bad.push(seed);
            eprintln!("replay: {}", args.replay(seed));
        }
        if args.plot.is_some() {
            reports.push(report);
        }
    }
    if let Some(path) = &args.plot {
        plot::draw(path, args, &reports).with_context(|| format!("cannot draw {}", path.display()))?;
    }
    verdict(args, &bad)
}

fn run_mixed(args: &Args) -> anyhow::Result<()> {
    let mut bad = Vec::new();
    for seed in seeds(args) {
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
            writeln!(std::io::stdout(), "{line}")?;
        }
        for violation in &report.violations {
            eprintln!("seed {seed}: {violation}");
        }
        if !report.violations.is_empty() {
            bad.push(seed);
            eprintln!("replay: reliable-channel simulate --mixed --seed {seed}");
        }
    }
    verdict(args, &bad)
}

fn verdict(args: &Args, bad: &[u64]) -> anyhow::Result<()> {
    if !bad.is_empty() {
        bail!("{} of {} seeds broke an invariant or did not converge: {bad:?}", bad.len(), args.seeds);
    }
    if !args.json {
        writeln!(std::io::stdout(), "all {} seeds kept every invariant", args.seeds)?;
    }
    Ok(())
}

fn seeds(args: &Args) -> std::ops::Range<u64> {
    args.seed..args.seed.saturating_add(args.seeds)
}

fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err("must be between 0 and 1".to_owned()) }
}

impl Args {
    fn group(&self, seed: u64, loss: f64) -> Group {
        let mut group = Group::new(seed, self.participants as usize, self.messages, loss);
        group.network.duplicate = self.duplicate;
        group.network.delay_ms = (10.min(self.reorder), self.reorder);
        group.pause = Duration::from_millis(self.pause);
        group.content_bytes = self.bytes;
        group.cut_off = self.partition.map(Duration::from_millis);
        group.restart_every = self.crash;
        group.idle = self.idle.map(Duration::from_millis);
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
        if let Some(time) = self.idle {
            command += &format!(" --idle {time}");
        }
        command
    }
}
