//! Crash campaigns: what the stores of reliable-channel survive, seen and not hoped for.
//!
//! What: a program with a command per campaign (`docs/crash-campaigns.md` says what each does and found). Why a program:
//! long campaigns are stopped and go on (`--results FILE`), short ones run in `.ci/run`. How it moves: a campaign starts
//! this program again as the process that is killed or recorded (`child`, `fill`) and as the one that looks at what is
//! left (`verify`). Exit code 1 when a store broke a promise.

mod child;
mod cut;
mod damage;
mod disk;
mod full;
mod kill;
mod model;
mod random;
mod results;
mod shim;
mod stores;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::results::Log;

#[derive(Parser)]
#[command(name = "crash")]
struct Cli {
    /// Results, one line of JSON a round; rounds that are in it are not done again.
    #[arg(long, global = true)]
    results: Option<PathBuf>,
    /// Where stores are put: memory, where there is such a place.
    #[arg(long, global = true)]
    work: Option<PathBuf>,
    /// Known limits: what is counted and does not make the exit code 1.
    #[arg(long, global = true, value_delimiter = ',')]
    allow: Vec<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// (a) A process is killed at random times.
    Kill(kill::Args),
    /// (b) The power is cut: what was not synced is dropped or torn.
    Cut(cut::Args),
    /// (c) Bytes on the disk are not what was written.
    Damage(damage::Args),
    /// (d) The disk is full or fails for a while.
    Full(full::Args),
    /// The tables of a results file.
    Table { file: PathBuf },
    /// The process that is killed or recorded.
    #[command(hide = true)]
    Child(child::Args),
    /// The process whose disk fails.
    #[command(hide = true)]
    Fill(full::FillArgs),
    /// The process that looks at what is left.
    #[command(hide = true)]
    Verify,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let memory = Path::new("/dev/shm");
    let work = cli.work.unwrap_or_else(|| if memory.is_dir() { memory.into() } else { std::env::temp_dir() });
    let mut log = Log::open(cli.results.as_deref())?;
    match &cli.command {
        Command::Kill(args) => kill::run(args, &work, &mut log)?,
        Command::Cut(args) => cut::run(args, &work, &mut log)?,
        Command::Damage(args) => damage::run(args, &work, &mut log)?,
        Command::Full(args) => full::run(args, &work, &mut log)?,
        Command::Table { file } => {
            print!("{}", results::table(&results::read(file)?));
            return Ok(ExitCode::SUCCESS);
        }
        Command::Child(args) => return child::run(args).map(|()| ExitCode::SUCCESS),
        Command::Fill(args) => return full::fill(args).map(|()| ExitCode::SUCCESS),
        Command::Verify => return verify::serve().map(|()| ExitCode::SUCCESS),
    }
    print!("{}", results::table(&log.lines));
    let kept = log.lines.iter().all(|line| line.is_clean_but_for(&cli.allow));
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
