//! `migrate`: moves a store to another engine.
//!
//! What: every channel of one store with its archive, written to a new one. Why through the traits alone: then it works
//! between any two engines, and what it moves is what a manager would have loaded. How it moves: a channel is loaded,
//! written as one commit, loaded back and compared, its archive likewise page by page; the old store is opened for reading and stays as it is. The new one is in
//! `DIR.partial` until it is whole, so that what a crash leaves is not taken for a store.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use indicatif::ProgressBar;
use reliable_channel::channel::item_of;
use reliable_channel::reconcile::Item;
use reliable_channel::state::{Body, ChannelData, Commit, HistoryUpdate};
use reliable_channel::store::{Durability, PersistenceError};
use reliable_channel::types::ChannelId;
use serde::Serialize;

use crate::inspect::Damaged;
use crate::screen::{Screen, plain};
use crate::store::{Both, Kind, explain, load};

/// One sync for what is written in this time, and one at the end: nothing is told before that.
const WINDOW: Duration = Duration::from_secs(1);
/// Archived messages that are read, written and read back at once.
const PAGE: usize = 256;

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
    archived: usize,
    left: Vec<Damaged>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let Some(kind) = Kind::find(&args.from, args.from_store, "--from-store")? else {
        bail!("there is no store in {}", args.from.display());
    };
    check_empty(&args.to)?;
    let from = kind.open(&args.from, None).map_err(|error| explain(&args.from, &error))?;
    let target = Target::new(&args.to)?;
    let moved = move_to(&target.partial, &from, args).or_else(|error| target.give_up(error))?;
    target.complete()?;
    let mut screen = Screen::new();
    if args.json {
        screen.json(&moved)?;
    } else {
        let Moved { channels, rows, hints, archived, left } = &moved;
        let to = args.to.display();
        screen.line(format!(
            "moved {channels} channels, {rows} rows, {hints} hints, {archived} archived messages to {to}"
        ));
        left.iter().for_each(|left| screen.line(format!("left {left}: {}", plain(&left.error))));
    }
    screen.end()?;
    if moved.left.is_empty() {
        return Ok(());
    }
    bail!("left in {}, being damaged: {}", args.from.display(), Damaged::names(&moved.left))
}

/// The new store is closed when this ends.
fn move_to(dir: &Path, from: &Both, args: &Args) -> anyhow::Result<Moved> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().context("cannot start")?;
    let durability = Durability::Batched { max_delay: WINDOW };
    let to = args.store.open(dir, Some(durability)).map_err(|error| explain(dir, &error))?;
    runtime.block_on(migrate(from, &to, args))
}

async fn migrate(from: &Both, to: &Both, args: &Args) -> anyhow::Result<Moved> {
    let of_new = |error: PersistenceError| explain(&args.to, &error);
    let channels = from.0.list_channels().await.map_err(|error| explain(&args.from, &error))?;
    let bar = ProgressBar::new(channels.len() as u64);
    let mut moved = Moved::default();
    for channel in &channels {
        let read = async {
            let data = load(&*from.0, &args.from, channel).await.map_err(Fault::Old)?;
            Ok((data, move_archive(from, to, args, channel).await?))
        };
        let (data, archived) = match read.await {
            Ok(read) => read,
            Err(Fault::Old(error)) if args.skip_damaged => {
                to.0.drop_channel(channel).await.map_err(of_new)?;
                moved.left.push(Damaged::new(channel, &error));
                bar.inc(1);
                continue;
            }
            Err(Fault::Old(error)) => return Err(error.context("not moved; --skip-damaged moves the other channels")),
            Err(Fault::New(error)) => return Err(error),
        };
        let ChannelData { meta, rows, hints } = data.clone();
        moved.channels += 1;
        moved.rows += rows.len();
        moved.hints += hints.len();
        moved.archived += archived;
        let commit = Commit { meta, history: HistoryUpdate { put: rows, delete: vec![] }, hints };
        to.0.commit(channel, &commit).await.map_err(of_new)?;
        if to.0.load_channel(channel).await.map_err(of_new)? != data {
            bail!("channel {channel} is not the same in the new store");
        }
        bar.inc(1);
    }
    to.0.flush().await.map_err(of_new)?;
    bar.finish_and_clear();
    Ok(moved)
}

/// Which store something failed in: a channel that cannot be read may be left behind, and where the new store fails all ends.
enum Fault {
    Old(anyhow::Error),
    New(anyhow::Error),
}

/// How many messages a channel's archive has, all of them moved.
async fn move_archive(from: &Both, to: &Both, args: &Args, channel: &ChannelId) -> Result<usize, Fault> {
    let of_old = |error: PersistenceError| Fault::Old(explain(&args.from, &error));
    let of_new = |error: PersistenceError| Fault::New(explain(&args.to, &error));
    let (mut moved, mut before) = (0, None);
    loop {
        let page = from.1.page(channel, before.as_ref(), PAGE).await.map_err(of_old)?;
        let Some(last) = page.last() else { return Ok(moved) };
        before = Some(last.key.clone());
        moved += page.len();
        let items: Vec<Item> = page.iter().map(|body| item_of(channel, body)).collect();
        let mut bodies: Vec<(_, Arc<Body>)> = items.iter().map(|item| item.rid).zip(page).collect();
        to.1.put(channel, &bodies).await.map_err(of_new)?;
        let mut there = to.1.get(channel, &items).await.map_err(of_new)?;
        there.sort_by(|one, next| one.key.cmp(&next.key));
        bodies.sort_by(|(_, one), (_, next)| one.key.cmp(&next.key));
        if !there.iter().eq(bodies.iter().map(|(_, body)| body)) {
            return Err(Fault::New(anyhow!("channel {channel}: the archive is not the same in the new store")));
        }
    }
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

#[cfg(test)]
mod tests {
    use reliable_channel::state::{ChannelMeta, LogKey};
    use reliable_channel::store::{MemoryArchive, MemoryPersistence};
    use reliable_channel::types::Lamport;

    use super::*;

    #[tokio::test]
    async fn a_new_store_that_cannot_keep_it_ends_the_move_also_where_damaged_channels_may_be_left() {
        let (dir, lobby) = (tempfile::tempdir().unwrap(), ChannelId::from("lobby"));
        let from: Both = (Arc::new(MemoryPersistence::new()), Arc::new(MemoryArchive::new()));
        from.0.commit(&lobby, &Commit { meta: Some(ChannelMeta::default()), ..Commit::default() }).await.unwrap();
        let key = LogKey { lamport: Lamport(1), id: "a".into() };
        let body = Arc::new(Body::new(key, "alice".into(), "hello".into()));
        from.1.put(&lobby, &[(item_of(&lobby, &body).rid, body)]).await.unwrap();
        drop(Kind::Sqlite.open(dir.path(), Some(Durability::Immediate)).unwrap());
        let (_, for_reading) = Kind::Sqlite.open(dir.path(), None).unwrap();
        let to: Both = (Arc::new(MemoryPersistence::new()), for_reading);
        let args = Args {
            from: "old".into(),
            to: "new".into(),
            store: Kind::Sqlite,
            from_store: None,
            skip_damaged: true,
            json: false,
        };
        let error = migrate(&from, &to, &args).await.unwrap_err().to_string();
        assert!(error.starts_with("cannot use the store in new"), "{error}");
    }
}
