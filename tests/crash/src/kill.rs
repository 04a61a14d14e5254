//! Campaign (a): SIGKILL. A child works on a store and is killed; nothing it acknowledged may be missing.
//!
//! What: [`run`], one child and one kill a round. Why rounds build on one another: a store killed again and again, also
//! while it is being opened and repaired, is what a program in a crash loop leaves. How it moves: the child's lines are
//! read up to a number drawn from the seed, or for a time; it is killed; what else it said is read; the store is opened
//! and looked at; the next round goes on from there. Every [`EPOCH`] rounds a new store is begun.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::child::Breach;
use crate::model::Workload;
use crate::random::Random;
use crate::results::{Line, Log};
use crate::stores::{Backend, Mode};
use crate::verify::{Found, Task, Verdict, Verifier};

/// Rounds on one store.
const EPOCH: u64 = 20;

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, value_delimiter = ',', required = true)]
    pub backend: Vec<Backend>,
    #[arg(long, default_value_t = 1_000)]
    pub rounds: u64,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[arg(long, value_enum, default_value_t)]
    pub mode: Mode,
    #[arg(long)]
    pub breach: Option<Breach>,
}

pub fn run(args: &Args, work: &Path, log: &mut Log) -> Result<()> {
    for backend in &args.backend {
        // An epoch is done as a whole: its rounds build on one another.
        for epoch in 0..args.rounds.div_ceil(EPOCH) {
            let rounds = epoch * EPOCH..args.rounds.min((epoch + 1) * EPOCH);
            if rounds.clone().all(|round| log.has("kill", &backend.name(), &args.mode.group("all sizes"), round)) {
                continue;
            }
            self::epoch(args, *backend, epoch, rounds, work, log)?;
        }
    }
    Ok(())
}

fn epoch(
    args: &Args,
    backend: Backend,
    epoch: u64,
    rounds: std::ops::Range<u64>,
    work: &Path,
    log: &mut Log,
) -> Result<()> {
    let place = TempDir::new_in(work)?;
    let dir = place.path().join("store");
    let mut random = Random::new(&[args.seed, epoch]);
    let max_value = [300, 3_000, 40_000][random.below(3)];
    let mut workload = Workload { seed: random.next(), channels: 4 + random.below(13), max_value };
    let mut done = vec![0; workload.channels];
    let mut verifier = Verifier::default();
    for round in rounds {
        let mut line = Line::new("kill", &backend.name(), &args.mode.group("all sizes"), round);
        let mut random = Random::new(&[args.seed, epoch, round]);
        let said = one_life(args, backend, &dir, &workload, &done, &mut random)?;
        for (what, by) in &said.counts {
            line.count(what, *by);
        }
        for error in &said.errors {
            line.fault("errors", 1, error);
        }
        let acknowledged: Vec<u64> = done.iter().zip(&said.acknowledged).map(|(a, b)| *a.max(b)).collect();
        let task = Task {
            backend,
            dir: dir.clone(),
            mode: args.mode,
            workload,
            acknowledged: acknowledged.clone(),
            begun: 1,
            go_on: false,
        };
        let verdict = verifier.check(&task)?;
        line.judge(&verdict, &acknowledged, args.mode == Mode::Batched);
        line.acknowledged = acknowledged.iter().zip(&done).map(|(now, before)| now - before).sum();
        let at = states(&verdict);
        log.add(line)?;
        match at {
            Some(at) => done = at,
            // What is broken is not built upon: a new store.
            None => {
                std::fs::remove_dir_all(&dir).ok();
                workload.seed = random.next();
                done = vec![0; workload.channels];
            }
        }
    }
    Ok(())
}

fn states(verdict: &Verdict) -> Option<Vec<u64>> {
    let Verdict::Opened(channels) = verdict else { return None };
    let state = |found: &Found| match found {
        Found::At(done) | Found::Lost(done) => Some(*done),
        _ => None,
    };
    channels.iter().map(state).collect()
}

/// What a child said before it died.
struct Said {
    acknowledged: Vec<u64>,
    errors: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
}

fn one_life(
    args: &Args,
    backend: Backend,
    dir: &Path,
    workload: &Workload,
    done: &[u64],
    random: &mut Random,
) -> Result<Said> {
    let done: Vec<String> = done.iter().map(u64::to_string).collect();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["child", &backend.name()]).arg(dir).arg(serde_json::to_string(workload)?);
    command.args(["--done", &done.join(","), "--mode", &args.mode.name()]);
    if let Some(breach) = args.breach {
        command.args(["--breach", &format!("{breach:?}").to_lowercase()]);
    }
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
    let mut said = Said { acknowledged: vec![0; workload.channels], errors: Vec::new(), counts: BTreeMap::new() };
    let early = random.one_in(3);
    let mut opened = false;
    if early {
        thread::sleep(Duration::from_micros(random.below(4_000) as u64));
    } else {
        for line in lines.by_ref().take(1 + random.below(300)) {
            opened |= said.hear(&line?);
        }
        thread::sleep(Duration::from_micros(random.below(3_000) as u64));
    }
    child.kill()?;
    for line in lines {
        opened |= said.hear(&line?);
    }
    child.wait()?;
    said.counts.insert("killed while opening", u64::from(!opened));
    Ok(said)
}

impl Said {
    /// Whether the store had been opened.
    fn hear(&mut self, line: &str) -> bool {
        if let Some((channel, done)) = line.split_once(' ')
            && let (Ok(channel), Ok(done)) = (channel.parse::<usize>(), done.parse::<u64>())
            && let Some(acknowledged) = self.acknowledged.get_mut(channel)
        {
            *acknowledged = (*acknowledged).max(done);
        } else if line.starts_with("error") {
            self.errors.push(line.to_owned());
        }
        true
    }
}
