//! Where a peer keeps its channel.
//!
//! What: [`Store`], a store or none. Why so small: everything that depends on the engine is in [`Store::open`]. How it
//! moves: loaded once, then one commit a step, and each is on disk before the next line is read.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use reliable_channel::ChannelId;
use reliable_channel::state::{ChannelData, Commit};
use reliable_channel::store::Persistence;
use tokio::runtime::Runtime;

use crate::store::{Kind, StoreArgs, explain};

pub(super) struct Store {
    kept: Option<(Runtime, Arc<dyn Persistence>)>,
    channel: ChannelId,
}

impl Store {
    pub(super) fn open(dir: Option<&Path>, kind: StoreArgs, channel: ChannelId) -> anyhow::Result<Self> {
        let Some(dir) = dir else { return Ok(Self { kept: None, channel }) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().context("cannot start")?;
        let shown = dir.display();
        let found = Kind::all_in(dir);
        if !found.contains(&kind.store)
            && let Some(found) = found.first()
        {
            bail!(
                "cannot open the store in {shown}: it is one of {}; say so with --store, or migrate it",
                found.name()
            );
        }
        let store = kind.open(dir).map_err(|error| explain(dir, &error))?;
        Ok(Self { kept: Some((runtime, store)), channel })
    }

    pub(super) fn load(&self) -> anyhow::Result<ChannelData> {
        match &self.kept {
            Some((runtime, store)) => {
                runtime.block_on(store.load_channel(&self.channel)).context("cannot load the channel")
            }
            None => Ok(ChannelData::default()),
        }
    }

    pub(super) fn commit(&self, commit: &Commit) -> anyhow::Result<()> {
        match &self.kept {
            Some((runtime, store)) if !commit.is_empty() => {
                runtime.block_on(store.commit(&self.channel, commit)).context("cannot save")
            }
            _ => Ok(()),
        }
    }

    pub(super) fn close(self) -> anyhow::Result<()> {
        match self.kept {
            Some((runtime, store)) => runtime.block_on(store.flush()).context("cannot write the last of it"),
            None => Ok(()),
        }
    }
}
