//! Campaign (c): damage. Bytes on the disk are not what was written; the store says so or has everything.
//!
//! What: [`run`], one damaged file a round. Why two beginnings: a store that was closed holds everything in its tables,
//! one that was killed has logs and half-done work that are read differently. How it moves: a store is filled once and
//! kept in memory; a round puts it on disk, damages one file, and looks at what loads. Each channel must be whole or be
//! refused; a whole store refused is clear too.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::disk::{Image, read_image, write_image};
use crate::model::Workload;
use crate::random::Random;
use crate::results::{Line, Log};
use crate::stores::{Backend, Mode};
use crate::verify::{Found, Task, Verdict, Verifier};

const CHANNELS: usize = 4;

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, value_delimiter = ',', required = true)]
    pub backend: Vec<Backend>,
    /// Rounds for each beginning.
    #[arg(long, default_value_t = 500)]
    pub rounds: u64,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

pub fn run(args: &Args, work: &Path, log: &mut Log) -> Result<()> {
    let place = TempDir::new_in(work)?;
    let dir = place.path().join("store");
    for backend in &args.backend {
        for (group, killed) in [("closed before", false), ("killed before", true)] {
            let missing = |round: &u64| !log.has("damage", &backend.name(), group, *round);
            let rounds: Vec<u64> = (0..args.rounds).filter(missing).collect();
            if rounds.is_empty() {
                continue;
            }
            let filled = Filled::make(*backend, args.seed, killed, &dir)?;
            let mut verifier = Verifier::default();
            for round in rounds {
                let mut random = Random::new(&[args.seed, u64::from(killed), round]);
                let mut image = filled.image.clone();
                let what = damage(&mut image, &mut random);
                write_image(&dir, &image)?;
                let mut line = Line::new("damage", &backend.name(), group, round);
                line.acknowledged = filled.done.iter().sum();
                judge(&mut line, &verifier.check(&filled.task(&dir))?, &what);
                log.add(line)?;
            }
        }
    }
    Ok(())
}

/// A store that is whole.
struct Filled {
    backend: Backend,
    workload: Workload,
    done: Vec<u64>,
    image: Image,
}

impl Filled {
    fn make(backend: Backend, seed: u64, killed: bool, dir: &Path) -> Result<Self> {
        std::fs::remove_dir_all(dir).ok();
        let workload = Workload { seed, channels: CHANNELS, max_value: 3_000 };
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["child", &backend.name()]).arg(dir).arg(serde_json::to_string(&workload)?);
        if !killed {
            command.args(["--operations", "50"]);
        }
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
        let mut done = vec![0; CHANNELS];
        for (number, line) in lines.enumerate() {
            if number == 200 && killed {
                child.kill()?;
            }
            let line = line?;
            ensure!(!line.starts_with("error"), "a child could not work: {line}");
            if let Some((channel, at)) = line.split_once(' ') {
                done[channel.parse::<usize>()?] = at.parse()?;
            }
        }
        child.wait()?;
        let filled = Self { backend, workload, done, image: read_image(dir)? };
        let whole = Verifier::default().check(&filled.task(dir))?;
        let is_whole = |found: &Found| matches!(found, Found::At(_));
        ensure!(matches!(&whole, Verdict::Opened(found) if found.iter().all(is_whole)), "not whole: {whole:?}");
        Ok(filled)
    }

    fn task(&self, dir: &Path) -> Task {
        Task {
            backend: self.backend,
            dir: dir.into(),
            mode: Mode::Immediate,
            workload: self.workload,
            acknowledged: self.done.clone(),
            begun: 1,
            go_on: false,
        }
    }
}

/// A silent loss counts once a round, whatever the number of operations: damage may take any.
fn judge(line: &mut Line, verdict: &Verdict, what: &str) {
    let channels = match verdict {
        Verdict::Refused(_) => return line.count("refused to open", 1),
        Verdict::Panicked(why) => return line.fault("panics", 1, format!("{what}: {why}")),
        Verdict::Died(how) => return line.fault("panics", 1, format!("{what}: died: {how}")),
        Verdict::Opened(channels) => channels,
    };
    for (channel, found) in channels.iter().enumerate() {
        match found {
            Found::At(_) | Found::Refused(_) => {}
            Found::Lost(at) => line.fault(
                "lost",
                u64::from(!line.counts.contains_key("lost")),
                format!("{what}: channel {channel} at {at}"),
            ),
            Found::Torn(how) => line.fault("torn", 1, format!("{what}: channel {channel}: {how}")),
        }
    }
    if line.is_clean() {
        let refused = channels.iter().filter(|found| matches!(found, Found::Refused(_))).count();
        line.count(if refused == 0 { "everything intact" } else { "channels refused" }, 1);
        line.count("intact beside a refused one", if refused == 0 { 0 } else { (CHANNELS - refused) as u64 });
    }
}

/// Damages one file that is not empty; says how.
fn damage(image: &mut Image, random: &mut Random) -> String {
    let files: Vec<PathBuf> = image
        .iter()
        .filter(|(path, content)| !content.is_empty() && !is_index(path))
        .map(|(path, _)| path.clone())
        .collect();
    let path = &files[random.below(files.len())];
    let Some(content) = image.get_mut(path) else { return String::new() };
    let len = content.len();
    let mut fill = |size: usize, random: &mut Random, zero: bool| {
        let page = random.below(len.div_ceil(size)) * size;
        let end = len.min(page + size);
        let bytes = if zero { vec![0; end - page] } else { random.bytes(end - page) };
        content[page..end].copy_from_slice(&bytes);
        format!("{size} bytes at {page} {}", if zero { "zeroed" } else { "overwritten" })
    };
    let how = match random.below(7) {
        0 => fill(4_096, random, true),
        1 => fill(4_096, random, false),
        2 => fill(512, random, true),
        3 => fill(512, random, false),
        4 => {
            let to = if random.one_in(4) { 0 } else { random.below(len) };
            content.truncate(to);
            format!("cut to {to}")
        }
        bits => {
            let bits = if bits == 5 { 1 } else { 8 };
            for _ in 0..bits {
                content[random.below(len)] ^= 1 << random.below(8);
            }
            format!("{bits} bits flipped")
        }
    };
    format!("{} of {len}: {how}", path.display())
}

/// SQLite's index of its log is made anew after a crash.
fn is_index(path: &Path) -> bool {
    path.to_string_lossy().ends_with("-shm")
}
