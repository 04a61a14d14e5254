//! The process that is killed: works on a store and says on standard output what was acknowledged.
//!
//! What: [`run`], one task per channel, each carrying out its model's operations one after the other. Why one at a time:
//! the next is asked for after the last was acknowledged, so that at most one per channel is in doubt; tasks together
//! still share syncs. How it moves: `open`, then a line `channel operation` for every operation whose future resolved,
//! `error ...` for one that failed, `closed`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::ValueEnum;
use reliable_channel::store::{Persistence, PersistenceError};
use tokio::task::{JoinSet, LocalSet};

use crate::model::{Model, Operation, Workload};
use crate::stores::{Backend, Mode};

#[derive(clap::Args)]
pub struct Args {
    pub backend: Backend,
    pub dir: PathBuf,
    /// A [`Workload`] as JSON.
    pub workload: String,
    /// Operations already done, per channel, with commas between.
    #[arg(long, value_delimiter = ',')]
    pub done: Vec<u64>,
    /// Operations to do in each channel.
    #[arg(long, default_value_t = u64::MAX)]
    pub operations: u64,
    #[arg(long, value_enum, default_value_t)]
    pub mode: Mode,
    #[arg(long)]
    pub breach: Option<Breach>,
}

/// Promises broken on purpose, to see the check fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Breach {
    /// An operation is acknowledged and handed to the store with the next one.
    Behind,
    /// A commit's rows and meta are stored one after the other.
    Torn,
}

pub fn run(args: &Args) -> Result<()> {
    let workload: Workload = serde_json::from_str(&args.workload).context("the workload")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(LocalSet::new().run_until(async {
        let store = args.backend.open(&args.dir, args.mode).context("open")?;
        say("open");
        let mut tasks = JoinSet::new();
        for channel in 0..workload.channels {
            let done = args.done.get(channel).copied().unwrap_or(0);
            let model = Model::at(workload, channel, done);
            let (persistence, operations, breach) = (store.persistence.clone(), args.operations, args.breach);
            tasks.spawn_local(async move { work(model, channel, operations, persistence, breach).await });
        }
        while tasks.join_next().await.transpose()?.is_some() {}
        store.close().await.context("close")?;
        say("closed");
        Ok(())
    }))
}

async fn work(mut model: Model, channel: usize, operations: u64, store: Arc<dyn Persistence>, breach: Option<Breach>) {
    let mut held = None;
    for _ in 0..operations {
        let mut operation = Some(model.step());
        if breach == Some(Breach::Behind) {
            operation = std::mem::replace(&mut held, operation);
        }
        let result = match &operation {
            Some(operation) => carry_out(&model, &*store, operation, breach).await,
            None => Ok(()),
        };
        match result {
            Ok(()) => say(&format!("{channel} {}", model.done)),
            Err(error) => return say(&format!("error in {channel} at {}: {error}: {:?}", model.done, error.source)),
        }
    }
}

async fn carry_out(
    model: &Model,
    store: &dyn Persistence,
    operation: &Operation,
    breach: Option<Breach>,
) -> Result<(), PersistenceError> {
    let id = model.id();
    match operation {
        Operation::Drop => store.drop_channel(&id).await,
        Operation::Commit(commit) if breach == Some(Breach::Torn) => {
            store.update_history(&id, &commit.history).await?;
            for (message, hint) in &commit.hints {
                store.set_retrieval_hint(&id, message, hint).await?;
            }
            match &commit.meta {
                Some(meta) => store.save_channel_meta(&id, meta).await,
                None => Ok(()),
            }
        }
        Operation::Commit(commit) => store.commit(&id, commit).await,
    }
}

/// One line, in one write: whoever reads half of it knows nothing.
pub fn say(line: &str) {
    // A parent that is gone reads nothing.
    let _ = io::stdout().write_all(format!("{line}\n").as_bytes());
    let _ = io::stdout().flush();
}
