//! Campaign (b): power cuts. What a child wrote is recorded; states are made of it that a power cut could leave.
//!
//! What: [`run`]; a recording is one child, a round is one state. Why a shim and not redb's own seam: it also sees how a
//! store is made (files named, directories synced), and it is the same for all stores. How it moves: a child runs under
//! the shim to its end; at random points of the record a [`Disk`] is cut; the state is opened and held against what the
//! child had said up to that point. Every other recording starts from a state of the one before.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::disk::{Disk, Image, read_image, write_image};
use crate::model::Workload;
use crate::random::Random;
use crate::results::{Line, Log};
use crate::shim::{self, Record};
use crate::stores::{Backend, Mode};
use crate::verify::{Found, Task, Verdict, Verifier};

/// States of one recording.
const STATES: u64 = 20;

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, value_delimiter = ',', required = true)]
    pub backend: Vec<Backend>,
    /// Rounds for each size.
    #[arg(long, default_value_t = 500)]
    pub rounds: u64,
    /// Bytes of a value at most.
    #[arg(long, value_delimiter = ',', default_values_t = [3_000, 40_000, 400_000])]
    pub sizes: Vec<usize>,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[arg(long, value_enum, default_value_t)]
    pub mode: Mode,
    /// Takes the store's syncs for not made, to see the check fail.
    #[arg(long)]
    pub no_sync: bool,
}

pub fn run(args: &Args, work: &Path, log: &mut Log) -> Result<()> {
    let place = TempDir::new_in(work)?;
    let library = shim::build(place.path())?;
    for backend in &args.backend {
        for size in &args.sizes {
            let group = args.mode.group(&format!("values to {size}"));
            let mut before = None;
            for recording in 0..args.rounds.div_ceil(STATES) {
                let rounds = recording * STATES..args.rounds.min((recording + 1) * STATES);
                if rounds.clone().all(|round| log.has("cut", &backend.name(), &group, round)) {
                    continue;
                }
                let random = &mut Random::new(&[args.seed, *size as u64, recording]);
                let start = before.take().filter(|_| recording % 2 == 1);
                let child = Recorded::make(args, *backend, *size, start, random, place.path(), &library)?;
                let states =
                    Campaign { backend: *backend, mode: args.mode, group: &group, child: &child, place: place.path() };
                before = states.cut(rounds, random, log)?;
            }
        }
    }
    Ok(())
}

/// Where a recording begins: a state, and the operations in it.
struct Start {
    image: Image,
    workload: Workload,
    done: Vec<u64>,
}

/// A child's life, step by step.
struct Recorded {
    dir: PathBuf,
    start: Start,
    records: Vec<Record>,
}

impl Recorded {
    fn make(
        args: &Args,
        backend: Backend,
        size: usize,
        start: Option<Start>,
        random: &mut Random,
        place: &Path,
        library: &Path,
    ) -> Result<Self> {
        let (dir, log) = (place.join("recorded"), place.join("log"));
        let start = start.unwrap_or_else(|| {
            let workload = Workload { seed: random.next(), channels: 4, max_value: size };
            Start { image: Image::new(), workload, done: vec![0; workload.channels] }
        });
        // A new store makes its own directory.
        std::fs::remove_dir_all(&dir).ok();
        if !start.image.is_empty() {
            write_image(&dir, &start.image)?;
        }
        std::fs::remove_file(&log).ok();
        let operations = (3_000_000 / size).clamp(25, 120);
        let done: Vec<String> = start.done.iter().map(u64::to_string).collect();
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["child", &backend.name()]).arg(&dir).arg(serde_json::to_string(&start.workload)?);
        command.args(["--done", &done.join(","), "--operations", &operations.to_string(), "--mode", &args.mode.name()]);
        command.env("LD_PRELOAD", library).env("RC_SHIM_DIR", &dir).env("RC_SHIM_LOG", &log);
        if args.no_sync {
            command.env("RC_SHIM_NOSYNC", "1");
        }
        let output = command.stderr(Stdio::inherit()).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success() && said.ends_with("closed\n"), "a child could not work: {said}");
        ensure!(!said.contains("error"), "a child could not work: {said}");
        Ok(Self { dir, start, records: shim::read(&log)? })
    }
}

struct Campaign<'a> {
    backend: Backend,
    mode: Mode,
    group: &'a str,
    child: &'a Recorded,
    place: &'a Path,
}

impl Campaign<'_> {
    /// Cuts the recording at random points; gives a state back that a recording may start from.
    fn cut(&self, rounds: std::ops::Range<u64>, random: &mut Random, log: &mut Log) -> Result<Option<Start>> {
        let Recorded { start, records, .. } = self.child;
        let mut points: Vec<usize> = rounds.clone().map(|_| random.below(records.len() + 1)).collect();
        points.sort_unstable();
        let mut disk = Disk::new(&self.child.dir, start.image.clone());
        let mut acknowledged = start.done.clone();
        let (mut at, mut good) = (0, None);
        let mut verifier = Verifier::default();
        for (round, point) in rounds.zip(points) {
            for record in &records[at..point] {
                disk.follow(record);
                hear(record, &mut acknowledged);
            }
            at = point;
            let image = disk.cut(random);
            let dir = self.place.join("state");
            write_image(&dir, &image)?;
            let task = Task {
                backend: self.backend,
                dir: dir.clone(),
                mode: self.mode,
                workload: start.workload,
                acknowledged: acknowledged.clone(),
                begun: 1,
                go_on: true,
            };
            let verdict = verifier.check(&task)?;
            let mut line = Line::new("cut", &self.backend.name(), self.group, round);
            line.judge(&verdict, &acknowledged, self.mode != Mode::Immediate);
            line.count("states not whole", u64::from(!line.is_clean()));
            if let (true, Verdict::Opened(found)) = (line.is_clean(), &verdict) {
                let done = found.iter().filter_map(|found| match found {
                    // One more was done to see that it goes on.
                    Found::At(done) => Some(done + 1),
                    Found::Lost(done) => Some(*done),
                    _ => None,
                });
                let image = read_image(&dir)?;
                good = Some(Start { image, workload: start.workload, done: done.collect() });
            }
            log.add(line)?;
        }
        Ok(good)
    }
}

fn hear(record: &Record, acknowledged: &mut [u64]) {
    let Record::Said(text) = record else { return };
    for line in text.lines() {
        if let Some((channel, done)) = line.split_once(' ')
            && let (Ok(channel), Ok(done)) = (channel.parse::<usize>(), done.parse())
            && let Some(acknowledged) = acknowledged.get_mut(channel)
        {
            *acknowledged = done;
        }
    }
}
