//! `inspect`: what a store holds, without changing it.
//!
//! What: channels, their logs, what is unacknowledged, what waits for what, and repair timers. Why read-only: a look at
//! a store somebody is worried about must not make it worse. How it moves: rows are loaded as they lie on disk and
//! become a [`ChannelView`], which is printed as it is or as JSON.

mod text;
mod view;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use reliable_channel::store::PersistenceError;
use reliable_channel::types::ChannelId;
use serde::Serialize;

use crate::screen::Screen;
use crate::store::{self, Kind};
use view::ChannelView;
pub(crate) use view::Damaged;

/// Look into a store: channels, logs, what is unacknowledged, what waits for what, repair timers. Changes nothing.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  reliable-channel demo --data /tmp/demo && reliable-channel inspect --data /tmp/demo/alice"
)]
pub(crate) struct Args {
    /// The directory of a store
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The engine; needed only where a directory has stores of several
    #[arg(long, value_enum, value_name = "ENGINE")]
    store: Option<Kind>,
    /// Only this channel
    #[arg(long, value_name = "ID")]
    channel: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct StoreView {
    store: String,
    channels: Vec<ChannelView>,
    damaged: Vec<Damaged>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let dir = &args.data;
    let kind = find(dir, args.store)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().context("cannot start")?;
    let store = runtime.block_on(load(dir, kind, args.channel.as_deref()))?;
    let mut screen = Screen::new();
    if args.json {
        screen.json(&store)?;
    } else {
        text::print(&store, &mut screen);
    }
    screen.end()?;
    if store.damaged.is_empty() {
        return Ok(());
    }
    bail!("the store in {} cannot be read whole; damaged: {}", dir.display(), Damaged::names(&store.damaged))
}

async fn load(dir: &Path, kind: Kind, only: Option<&str>) -> anyhow::Result<StoreView> {
    let explain = |error: PersistenceError| store::explain(dir, &error);
    let (store, _) = kind.open(dir, None).map_err(explain)?;
    let mut channels = store.list_channels().await.map_err(explain)?;
    if let Some(only) = only {
        let wanted = ChannelId::from(only);
        if !channels.contains(&wanted) {
            let known: Vec<String> = channels.iter().take(10).map(ToString::to_string).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            bail!("{} has no channel {wanted}; it has: {known}", dir.display());
        }
        channels = vec![wanted];
    }
    let (mut views, mut damaged) = (Vec::with_capacity(channels.len()), Vec::new());
    for channel in channels {
        match store::load(&*store, dir, &channel).await {
            Ok(data) => views.push(ChannelView::new(&channel, &data)),
            Err(error) => damaged.push(Damaged::new(&channel, &error)),
        }
    }
    Ok(StoreView { store: dir.display().to_string(), channels: views, damaged })
}

/// A directory without a store may hold directories with one, as `demo --data` leaves it.
fn find(dir: &Path, wanted: Option<Kind>) -> anyhow::Result<Kind> {
    let shown = dir.display();
    if let Some(kind) = Kind::find(dir, wanted, "--store")? {
        return Ok(kind);
    }
    let entries = fs::read_dir(dir).with_context(|| format!("cannot look into {shown}"))?;
    let mut stores: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| !Kind::all_in(&entry.path()).is_empty())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    stores.sort();
    match stores.first() {
        None => bail!("there is no store in {shown}: it has no channels.redb, channels.sled or channels.sqlite"),
        Some(first) => bail!(
            "{shown} is no store, but it holds the stores of: {}; try inspect --data {}",
            stores.join(", "),
            dir.join(first).display()
        ),
    }
}
