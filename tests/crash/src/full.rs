//! Campaign (d): a full or failing disk under a real manager, and then a working one.
//!
//! What: [`run`], one manager a round; and [`fill`], the process it lives in. Why the manager too: what an application is
//! told, and that nothing needs to be restarted, is its promise. How it moves: the child sends messages, makes the shim
//! fail every write (or those that need space, or syncs), goes on sending until channels report
//! `PersistenceFailed`, makes it work again and waits for `PersistenceRecovered`; then disk must equal memory. Or it dies
//! while the disk fails: what was acknowledged must be there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reliable_channel::manager::{ManagerEvent, OnSaveFailure, ReliabilityManager, ScaledClock};
use reliable_channel::state::Row;
use reliable_channel::types::ChannelId;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::child::say;
use crate::random::Random;
use crate::results::{Line, Log};
use crate::shim;
use crate::stores::{Backend, Mode};

const CHANNELS: usize = 6;
/// Messages sent to each channel while the disk fails, at most; until it has noticed.
const WHILE_FAILING: usize = 40;
/// How often to look whether all have recovered, every 10 ms.
const LOOKS: usize = 6_000;
const FAULTS: [&str; 4] = ["no space for new blocks", "no space", "EIO on writes and syncs", "EIO on syncs"];

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, value_delimiter = ',', required = true)]
    pub backend: Vec<Backend>,
    /// Rounds for each fault.
    #[arg(long, default_value_t = 40)]
    pub rounds: u64,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

#[derive(clap::Args)]
pub struct FillArgs {
    backend: Backend,
    dir: PathBuf,
    control: PathBuf,
    fault: u8,
    seed: u64,
    /// A failed save fails the operation.
    #[arg(long)]
    strict: bool,
    /// It ends while the disk fails.
    #[arg(long)]
    dies: bool,
}

/// What a child reports: what must be on disk, and what was seen.
#[derive(Default, Serialize, Deserialize)]
struct Report {
    /// Ids of messages, per channel.
    acknowledged: BTreeMap<String, Vec<Vec<u8>>>,
    told_failed: usize,
    told_recovered: usize,
    wrong: Vec<String>,
}

pub fn run(args: &Args, work: &Path, log: &mut Log) -> Result<()> {
    let place = TempDir::new_in(work)?;
    let library = shim::build(place.path())?;
    for backend in &args.backend {
        for (fault, group) in (1..).zip(FAULTS) {
            for round in 0..args.rounds {
                if !log.has("full", &backend.name(), group, round) {
                    let mut line = Line::new("full", &backend.name(), group, round);
                    one(args.seed, *backend, fault, place.path(), &library, &mut line)?;
                    log.add(line)?;
                }
            }
        }
    }
    Ok(())
}

fn one(seed: u64, backend: Backend, fault: u8, place: &Path, library: &Path, line: &mut Line) -> Result<()> {
    let (dir, control) = (place.join("store"), place.join("control"));
    fs::remove_dir_all(&dir).ok();
    fs::write(&control, [0])?;
    let mut random = Random::new(&[seed, u64::from(fault), line.round]);
    // All four, and in two rounds as different ones as can be.
    let strict = line.round % 2 == 1;
    let dies = strict != (line.round / 2 % 2 == 1);
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["fill", &backend.name()]).arg(&dir).arg(&control);
    command.args([fault.to_string(), random.next().to_string()]);
    command.args(strict.then_some("--strict")).args(dies.then_some("--dies"));
    command.env("LD_PRELOAD", library).env("RC_SHIM_DIR", &dir).env("RC_SHIM_CONTROL", &control);
    let output = command.stderr(Stdio::piped()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let Some(report) = said.lines().last().and_then(|line| serde_json::from_str::<Report>(line).ok()) else {
        let last = String::from_utf8_lossy(&output.stderr);
        line.fault("errors", 1, format!("no report, {}: {last}", output.status));
        return Ok(());
    };
    line.count("channels told of failure", report.told_failed as u64);
    line.count("channels told of recovery", report.told_recovered as u64);
    line.count("died meanwhile", u64::from(dies));
    for wrong in report.wrong {
        line.fault("errors", 1, format!("strict {strict}, dies {dies}: {wrong}"));
    }
    look(backend, &dir, &report.acknowledged, line)
}

/// Every acknowledged message is there.
fn look(backend: Backend, dir: &Path, acknowledged: &BTreeMap<String, Vec<Vec<u8>>>, line: &mut Line) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = match backend.open(dir, Mode::Immediate) {
            Ok(store) => store,
            Err(error) => {
                line.fault("failed opens", 1, format!("{error}: {:?}", error.source));
                return Ok(());
            }
        };
        for (channel, ids) in acknowledged {
            line.acknowledged += ids.len() as u64;
            match store.persistence.load_channel(&ChannelId::from(channel.as_str())).await {
                Ok(data) => {
                    let there: BTreeSet<&[u8]> = data.rows.iter().filter_map(message).collect();
                    let lost = ids.iter().filter(|id| !there.contains(id.as_slice())).count() as u64;
                    if lost > 0 {
                        line.fault("lost", lost, format!("{channel}: of {}", ids.len()));
                    }
                }
                Err(error) => line.fault("failed loads", 1, error.to_string()),
            }
        }
        store.close().await.context("close")
    })
}

fn message(row: &Row) -> Option<&[u8]> {
    match row {
        Row::Message(logged) => Some(logged.body.key.id.as_bytes()),
        _ => None,
    }
}

/// The child.
pub fn fill(args: &FillArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut report = Report::default();
        live(args, &mut report).await?;
        say(&serde_json::to_string(&report)?);
        if args.dies {
            // Without any destructor.
            std::process::exit(9);
        }
        Ok(())
    })
}

/// Channels that reported a failure, and those that reported its end.
type Told = Arc<Mutex<(BTreeSet<ChannelId>, BTreeSet<ChannelId>)>>;

async fn live(args: &FillArgs, report: &mut Report) -> Result<()> {
    let mut random = Random::new(&[args.seed]);
    let store = args.backend.open(&args.dir, Mode::Immediate).context("open")?;
    // Retries after 1 to 60 s come after 50 ms to 3 s.
    let manager = ReliabilityManager::builder("alice")
        .persistence(store.persistence.clone())
        .clock(Arc::new(ScaledClock::new(20)))
        .on_save_failure(if args.strict { OnSaveFailure::Fail } else { OnSaveFailure::Degrade })
        .build()?;
    let told = listen(&manager);
    let channels: Vec<ChannelId> = (0..CHANNELS).map(|number| ChannelId::from(format!("channel-{number}"))).collect();
    for channel in &channels {
        manager.ensure_channel(channel.clone()).await?;
    }
    manager.start_periodic_tasks();
    for _ in 0..10 {
        for channel in &channels {
            ensure!(send(&manager, channel, &mut random, report).await, "a disk that works failed");
        }
    }
    set(&args.control, args.fault)?;
    for _ in 0..WHILE_FAILING {
        let failed = told.lock().expect("unpoisoned").0.clone();
        let left: Vec<&ChannelId> = channels.iter().filter(|channel| !failed.contains(*channel)).collect();
        if left.is_empty() {
            break;
        }
        for channel in left {
            // What succeeds without being saved is not promised to survive a crash.
            let mut unpromised = Report::default();
            let kept = if args.strict || !args.dies { &mut *report } else { &mut unpromised };
            send(&manager, channel, &mut random, kept).await;
        }
        tokio::task::yield_now().await;
    }
    if args.dies {
        report.told_failed = told.lock().expect("unpoisoned").0.len();
        return Ok(());
    }
    set(&args.control, 0)?;
    recovered(&told, report).await;
    for channel in &channels {
        if !send(&manager, channel, &mut random, report).await {
            report.wrong.push(format!("{channel} does not work after the disk does"));
        }
    }
    let end = manager.shutdown().await;
    store.close().await.context("close")?;
    // Opening with a disk that fails may fail, and leaves everything as it was.
    set(&args.control, args.fault)?;
    if let Ok(store) = args.backend.open(&args.dir, Mode::Immediate) {
        let _ = store.close().await;
    }
    set(&args.control, 0)?;
    let store = args.backend.open(&args.dir, Mode::Immediate).context("open again")?;
    for channel in &channels {
        let disk = store.persistence.load_channel(channel).await.context("load again")?;
        if disk != manager.data(channel)? {
            report.wrong.push(format!("{channel}: disk is not memory; shutdown said {end:?}"));
        }
    }
    store.close().await.context("close again")
}

async fn recovered(told: &Told, report: &mut Report) {
    for _ in 0..LOOKS {
        {
            let told = told.lock().expect("unpoisoned");
            (report.told_failed, report.told_recovered) = (told.0.len(), told.1.len());
        }
        if report.told_failed == report.told_recovered {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    report.wrong.push(format!("{} channels failed, {} recovered", report.told_failed, report.told_recovered));
}

fn listen(manager: &ReliabilityManager) -> Told {
    let told = Told::default();
    let mut events = manager.events();
    let hears = told.clone();
    tokio::spawn(async move {
        while let Some(Ok(event)) = events.next().await {
            let mut told = hears.lock().expect("unpoisoned");
            match event {
                ManagerEvent::PersistenceFailed { channel, .. } => drop(told.0.insert(channel)),
                ManagerEvent::PersistenceRecovered { channel } => drop(told.1.insert(channel)),
                _ => {}
            }
        }
    });
    told
}

/// Sends a message; whether that was acknowledged.
async fn send(manager: &ReliabilityManager, channel: &ChannelId, random: &mut Random, report: &mut Report) -> bool {
    let len = 1 + random.below(8_000);
    let Ok(sent) = manager.wrap_outgoing(channel.clone(), random.bytes(len)).await else { return false };
    report.acknowledged.entry(channel.to_string()).or_default().push(sent.id.as_bytes().to_vec());
    true
}

/// Tells the shim, which has the file mapped: it must not become shorter.
fn set(control: &Path, fault: u8) -> Result<()> {
    OpenOptions::new().write(true).open(control)?.write_all(&[fault]).context("the control file")
}
