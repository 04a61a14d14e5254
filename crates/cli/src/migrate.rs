//! `migrate`: moves a store to another engine.
//!
//! What: every channel of one store, written to a new one. Why through the trait alone: then it works between any two
//! engines, and what it moves is what a manager would have loaded. How it moves: a channel is loaded, written as one
//! commit, loaded back and compared; the old store is opened for reading and stays as it is. The new one is in
//! `DIR.partial` until it is whole, so that what a crash leaves is not taken for a store.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use reliable_channel::state::{ChannelData, Commit, HistoryUpdate};
use reliable_channel::store::{Durability, Persistence, PersistenceError};
use serde::Serialize;

use crate::inspect::Damaged;
use crate::screen::{Screen, plain};
use crate::store::{Kind, explain, load};

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
    /// The engine of the old store; needed only where a directory has stores of several
    #[arg(long, value_enum, value_name = "ENGINE")]
    from_store: Option<Kind>,
    /// Leave damaged channels behind and move the others; the exit code is 1 all the same
    #[arg(long)]
    skip_damaged: bool,
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
    left: Vec<Damaged>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let Some(kind) = Kind::find(&args.from, args.from_store, "--from-store")? else {
        bail!("there is no store in {}", args.from.display());
    };
    check_empty(&args.to)?;
    let from = kind.open_read_only(&args.from).map_err(|error| explain(&args.from, &error))?;
    let target = Target::new(&args.to)?;
    let moved = move_to(&target.partial, &*from, args).or_else(|error| target.give_up(error))?;
    target.complete()?;
    let mut screen = Screen::new();
    if args.json {
        screen.json(&moved)?;
    } else {
        let Moved { channels, rows, hints, left } = &moved;
        screen.line(format!("moved {channels} channels, {rows} rows, {hints} hints to {}", args.to.display()));
        left.iter().for_each(|left| screen.line(format!("left {left}: {}", plain(&left.error))));
    }
    screen.end()?;
    if moved.left.is_empty() {
        return Ok(());
    }
    bail!("left in {}, being damaged: {}", args.from.display(), Damaged::names(&moved.left))
}

/// The new store is closed when this ends.
fn move_to(dir: &Path, from: &dyn Persistence, args: &Args) -> anyhow::Result<Moved> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().context("cannot start")?;
    let durability = Durability::Batched { max_delay: WINDOW };
    let to = args.store.open_with(dir, durability).map_err(|error| explain(dir, &error))?;
    runtime.block_on(migrate(from, &*to, args))
}

async fn migrate(from: &dyn Persistence, to: &dyn Persistence, args: &Args) -> anyhow::Result<Moved> {
    let of_new = |error: PersistenceError| explain(&args.to, &error);
    let channels = from.list_channels().await.map_err(|error| explain(&args.from, &error))?;
    let bar = ProgressBar::new(channels.len() as u64);
    let mut moved = Moved::default();
    for channel in &channels {
        let data = match load(from, &args.from, channel).await {
            Ok(data) => data,
            Err(error) if args.skip_damaged => {
                moved.left.push(Damaged::new(channel, &error));
                bar.inc(1);
                continue;
            }
            Err(error) => return Err(error.context("not moved; --skip-damaged moves the other channels")),
        };
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

/// Where the new store is to be, and where it is until it is whole.
struct Target {
    dir: PathBuf,
    partial: PathBuf,
}

impl Target {
    fn new(to: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot use --to {}", to.display());
        let dir = if to.exists() { fs::canonicalize(to) } else { std::path::absolute(to) }.with_context(cannot)?;
        let mut name = dir.file_name().with_context(cannot)?.to_owned();
        name.push(".partial");
        let partial = dir.with_file_name(name);
        if let Some(parent) = dir.parent() {
            fs::create_dir_all(parent).with_context(cannot)?;
        }
        match fs::create_dir(&partial) {
            Ok(()) => Ok(Self { dir, partial }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                bail!("{} is left of a move that did not end; delete it", partial.display())
            }
            Err(error) => Err(error).with_context(cannot),
        }
    }

    /// Gives the new store, which is closed, its name.
    fn complete(self) -> anyhow::Result<()> {
        let Self { dir, partial } = self;
        // It is empty, or this fails.
        let free = if dir.exists() { fs::remove_dir(&dir) } else { Ok(()) };
        free.and_then(|()| fs::rename(&partial, &dir)).and_then(|()| sync_parent(&dir)).with_context(|| {
            let (partial, dir) = (partial.display(), dir.display());
            format!("the new store is whole, but in {partial}: it cannot be moved to {dir}")
        })
    }

    /// Removes what is not whole.
    fn give_up<T>(&self, why: anyhow::Error) -> anyhow::Result<T> {
        let dir = self.dir.display();
        Err(match fs::remove_dir_all(&self.partial) {
            Ok(()) => why.context(format!("{dir} was not made")),
            Err(_) => why.context(format!("{dir} was not made; delete {}", self.partial.display())),
        })
    }
}

fn sync_parent(dir: &Path) -> io::Result<()> {
    match dir.parent() {
        Some(parent) if cfg!(unix) => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

fn check_empty(dir: &Path) -> anyhow::Result<()> {
    let shown = dir.display();
    match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot use --to {shown}")),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => bail!("--to {shown} is not empty; a store is moved to a new or empty directory"),
        },
    }
}
