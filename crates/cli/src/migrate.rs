//! `migrate`: moves a store to another engine.
//!
//! What: every channel of one store, written to a new one. Why through the trait alone: then it works between any two
//! engines, and what it moves is what a manager would have loaded. How it moves: a channel is loaded, written as one
//! commit, loaded back and compared; the old store is opened for reading and stays as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use reliable_channel::state::{ChannelData, Commit, HistoryUpdate};
use reliable_channel::store::{Durability, Persistence, PersistenceError};
use serde::Serialize;

use crate::screen::Screen;
use crate::store::{Kind, explain};

/// One sync for what is written in this time, and one at the end: nothing is told before that.
const WINDOW: Duration = Duration::from_secs(1);

/// Move a store to another engine. The old one is only read; delete it when you have seen the new one work.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  reliable-channel migrate --from old --to new --store sqlite")]
pub(crate) struct Args {
    /// The directory of a store, of any engine
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The directory of the new store; new or empty
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The engine of the new store
    #[arg(long, value_enum, value_name = "ENGINE")]
    store: Kind,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What was moved.
#[derive(Debug, Default, Serialize)]
struct Moved {
    channels: usize,
    rows: usize,
    hints: usize,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let Some(kind) = Kind::find(&args.from) else {
        bail!("there is no store in {}", args.from.display());
    };
    check_empty(&args.to)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().context("cannot start")?;
    let from = kind.open_read_only(&args.from).map_err(|error| explain(&args.from, &error))?;
    let durability = Durability::Batched { max_delay: WINDOW };
    let to = args.store.open_with(&args.to, durability).map_err(|error| explain(&args.to, &error))?;
    let moved = runtime.block_on(migrate(&*from, &*to, args)).with_context(|| {
        format!("{} is as it was; {} is not complete and must be deleted", args.from.display(), args.to.display())
    })?;
    let mut screen = Screen::new();
    if args.json {
        screen.line(serde_json::to_string(&moved)?);
    } else {
        let Moved { channels, rows, hints } = moved;
        screen.line(format!("moved {channels} channels, {rows} rows, {hints} hints to {}", args.to.display()));
    }
    screen.end()
}

async fn migrate(from: &dyn Persistence, to: &dyn Persistence, args: &Args) -> anyhow::Result<Moved> {
    let of_old = |error: PersistenceError| explain(&args.from, &error);
    let of_new = |error: PersistenceError| explain(&args.to, &error);
    let channels = from.list_channels().await.map_err(of_old)?;
    let bar = ProgressBar::new(channels.len() as u64);
    let mut moved = Moved::default();
    for channel in &channels {
        let data = from.load_channel(channel).await.map_err(of_old)?;
        let ChannelData { meta, rows, hints } = data.clone();
        moved.channels += 1;
        moved.rows += rows.len();
        moved.hints += hints.len();
        let commit = Commit { meta, history: HistoryUpdate { put: rows, delete: vec![] }, hints };
        to.commit(channel, &commit).await.map_err(of_new)?;
        if to.load_channel(channel).await.map_err(of_new)? != data {
            bail!("channel {channel} is not the same in the new store");
        }
        bar.inc(1);
    }
    to.flush().await.map_err(of_new)?;
    bar.finish_and_clear();
    Ok(moved)
}

fn check_empty(dir: &Path) -> anyhow::Result<()> {
    let shown = dir.display();
    match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot use --to {shown}")),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => bail!("--to {shown} is not empty; a store is moved to a new or empty directory"),
        },
    }
}
