//! `backup`: copies a store that no process has open.
//!
//! A process that has one open copies it itself, with the `backup` of its store. The copy is of the same engine; the
//! library makes it, syncs it, and gives it its name when it is whole.

use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::screen::Screen;
use crate::store::{Kind, explain};

/// Copy a store to a new directory. It is only read, and must not be open in another process.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  reliable-channel backup --data alice --to alice-copy")]
pub(crate) struct Args {
    /// The directory of the store
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The directory of the copy; must not be there
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The engine of the store; needed only where a directory has stores of several
    #[arg(long, value_enum, value_name = "ENGINE")]
    store: Option<Kind>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let Some(kind) = Kind::find(&args.data, args.store, "--store")? else {
        bail!("there is no store in {}", args.data.display());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().context("cannot start")?;
    runtime.block_on(kind.backup(&args.data, &args.to)).map_err(|error| explain(&args.data, &error))?;
    let mut screen = Screen::new();
    screen.line(format!("copied {} to {}", args.data.display(), args.to.display()));
    screen.end()
}
