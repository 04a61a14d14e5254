//! Which channels are open, and how all of them end.
//!
//! A channel's coming and going is its lane's business. What is here spans them: how many there may be, and shutting
//! down. The directory's lock is held while a channel is asked to open, so that no cell is forgotten meanwhile, and
//! never across an await.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::watch;
use tracing::debug;

use super::callbacks;
use super::cell::{Asked, Cell};
use super::error::ManagerError;
use super::shared::Shared;
use super::storing::{runtime_ended, without_panic};
use crate::channel::Config;
use crate::executor::{ExecutorError, Order, Unfinished};
use crate::store::{PersistenceError, PersistenceErrorKind};
use crate::types::ChannelId;

/// The channels of a manager.
#[derive(Debug, Default)]
pub(super) struct Directory(RwLock<Entries>);

#[derive(Debug, Default)]
struct Entries {
    cells: HashMap<ChannelId, Arc<Cell>>,
    shut_down: bool,
}

/// How shutting down ended, once it has.
pub(super) type ShutDown = watch::Receiver<Option<ShutdownReport>>;

/// What [`shutdown`](super::ReliabilityManager::shutdown) could not save, or not wait for.
///
/// See the [example](crate::manager#example).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Channels whose last changes are not on stable storage, and why.
    pub unsaved: Vec<(ChannelId, Arc<PersistenceError>)>,
    /// Why the store's last flush failed: what was acknowledged under a relaxed durability may be lost.
    pub flush: Option<Arc<PersistenceError>>,
    /// Channels that had not ended when [`end_timeout`](super::ManagerBuilder::end_timeout) was over, and what they
    /// waited for. Of what they had to save nothing is known.
    pub unfinished: Vec<(ChannelId, Unfinished)>,
}

impl ShutdownReport {
    /// Whether everything was saved, and all callbacks have returned.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.unsaved.is_empty() && self.flush.is_none() && self.unfinished.is_empty()
    }
}

impl Directory {
    pub(super) fn cell(&self, channel: &ChannelId) -> Result<Arc<Cell>, ManagerError> {
        self.read().cells.get(channel).cloned().ok_or_else(|| ManagerError::UnknownChannel(channel.clone()))
    }

    pub(super) fn cells(&self) -> Vec<Arc<Cell>> {
        self.read().cells.values().cloned().collect()
    }

    pub(super) fn is_shut_down(&self) -> bool {
        self.read().shut_down
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        // Map operations do not panic halfway.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        // Map operations do not panic halfway.
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Opens a channel, loading what was saved of it. Concurrent calls share one load, and its error.
    pub(super) async fn open(self: &Arc<Self>, channel: &ChannelId, config: &Arc<Config>) -> Result<(), ManagerError> {
        let (cell, asked) = self.ask(channel, Order::Open(config.clone()))?;
        let answer = asked.go(self, &cell).await;
        cell.told(answer).map(|_| ())
    }

    /// Wipes a channel, open or not, from memory and from the store.
    pub(super) async fn remove(self: &Arc<Self>, channel: &ChannelId) -> Result<(), ManagerError> {
        self.end(channel, Order::Remove).await
    }

    /// Carries out what is queued in a channel and forgets it; what the store has of it stays.
    pub(super) async fn close(self: &Arc<Self>, channel: &ChannelId) -> Result<(), ManagerError> {
        self.end(channel, Order::Close).await
    }

    async fn end(self: &Arc<Self>, channel: &ChannelId, order: Order) -> Result<(), ManagerError> {
        let (cell, asked) = self.ask(channel, order)?;
        let answer = asked.go_until(self.end_timeout, self, &cell).await;
        cell.told(answer).map(|_| ())
    }

    /// Asks for what makes a channel come or go.
    fn ask(self: &Arc<Self>, channel: &ChannelId, order: Order) -> Result<(Arc<Cell>, Asked), ManagerError> {
        let (opens, inside) = (matches!(order, Order::Open(_)), callbacks::is_inside());
        {
            let entries = self.directory.read();
            if entries.shut_down {
                return Err(ManagerError::ShutDown);
            }
            if let Some(cell) = entries.cells.get(channel)
                && (!opens || cell.look(|lane| lane.counts()))
            {
                return Ok((cell.clone(), cell.ask(self, order, inside)));
            }
            if matches!(order, Order::Close) {
                return Err(ManagerError::UnknownChannel(channel.clone()));
            }
        }
        let mut entries = self.directory.write();
        if entries.shut_down {
            return Err(ManagerError::ShutDown);
        }
        let max = self.common.options.max_channels;
        let counted = |cells: &HashMap<ChannelId, Arc<Cell>>| {
            cells.iter().filter(|(id, cell)| *id != channel && cell.look(|lane| lane.counts())).count()
        };
        if opens && entries.cells.len() >= max && counted(&entries.cells) >= max {
            return Err(ManagerError::TooManyChannels { max });
        }
        let new = || Cell::new(channel.clone(), self.number());
        let cell = entries.cells.entry(channel.clone()).or_insert_with(new).clone();
        let asked = cell.ask(self, order, inside);
        Ok((cell, asked))
    }

    /// Forgets a cell of which nothing is left.
    pub(super) fn forget(&self, cell: &Arc<Cell>) {
        let mut entries = self.directory.write();
        if entries.cells.get(&cell.id).is_some_and(|known| Arc::ptr_eq(known, cell)) && cell.is_vacant() {
            entries.cells.remove(&cell.id);
        }
    }

    /// Every channel that is open, or that the store knows of.
    pub(super) async fn all_channels(self: &Arc<Self>) -> Result<Vec<ChannelId>, ManagerError> {
        let mut channels: Vec<_> = self.directory.cells().iter().map(|cell| cell.id.clone()).collect();
        let store = self.store().ok_or(ManagerError::ShutDown)?;
        let (shared, asked) = (self.clone(), store.clone());
        // There, since who calls this may be on no runtime.
        let listed = self.runtime.spawn(async move {
            shared.patient("list_channels", without_panic("list_channels", None, || asked.list_channels())).await
        });
        let listed = match listed.await {
            Ok(listed) => listed,
            // The runtime has ended, and there is nothing that could end the wait.
            Err(_) => without_panic("list_channels", None, || store.list_channels()).await,
        };
        match listed {
            Ok(stored) => channels.extend(stored),
            Err(error) if error.kind == PersistenceErrorKind::Unsupported => {}
            Err(error) => return Err(error.into()),
        }
        channels.sort();
        channels.dedup();
        Ok(channels)
    }

    /// Shuts down, once; all callers get the same report.
    pub(super) async fn shut_down(self: &Arc<Self>) -> ShutdownReport {
        let mut first = false;
        let end = self.shut_down.get_or_init(|| {
            first = true;
            self.directory.write().shut_down = true;
            self.timers.stop();
            let (done, end) = watch::channel(None);
            let (shared, inside) = (self.clone(), callbacks::is_inside());
            self.runtime.spawn(async move {
                let asked = shared.ask_all_to_shut_down(inside);
                let report = shared.shutting_down(asked).await;
                shared.give_up_store();
                shared.feeds.end();
                // Whoever hears the report may drop the manager and open the store again.
                drop(shared);
                done.send_replace(Some(report));
            });
            end
        });
        if !first && callbacks::is_inside() {
            // It must not wait for callbacks, so nobody does any more.
            for (cell, asked) in self.ask_all_to_shut_down(true) {
                drop(asked.begin(self, &cell));
            }
        }
        let mut end = end.clone();
        if let Some(report) = end.wait_for(Option::is_some).await.ok().and_then(|report| report.clone()) {
            return report;
        }
        let flush = self.flush().await.err().map(Arc::new);
        let mut report = ShutdownReport { flush, ..ShutdownReport::default() };
        for cell in self.directory.cells().iter().filter(|cell| cell.look(|lane| lane.owes())) {
            let why = cell.save_failure().unwrap_or_else(|| Arc::new(runtime_ended("commit", &cell.id)));
            report.unsaved.push((cell.id.clone(), why));
        }
        report.unsaved.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.feeds.end();
        debug!(unsaved = report.unsaved.len(), "shut down without a runtime");
        report
    }

    fn ask_all_to_shut_down(self: &Arc<Self>, inside: bool) -> Vec<(Arc<Cell>, Asked)> {
        let cells = self.directory.cells();
        cells.into_iter().map(|cell| (cell.clone(), cell.ask(self, Order::ShutDown, inside))).collect()
    }

    async fn shutting_down(self: &Arc<Self>, asked: Vec<(Arc<Cell>, Asked)>) -> ShutdownReport {
        let mut report = ShutdownReport::default();
        // All of them begin before any is waited for.
        let ends: Vec<_> = asked
            .into_iter()
            .map(|(cell, asked)| {
                let shared = self.clone();
                let ending = cell.clone();
                (cell, self.runtime.spawn(async move { asked.go_until(shared.end_timeout, &shared, &ending).await }))
            })
            .collect();
        for (cell, end) in ends {
            match end.await {
                Ok(Ok(_)) => {}
                Ok(Err(ExecutorError::Persistence(error))) => report.unsaved.push((cell.id.clone(), error)),
                Ok(Err(ExecutorError::Unfinished(what))) => report.unfinished.push((cell.id.clone(), what)),
                _ => report.unsaved.push((cell.id.clone(), Arc::new(runtime_ended("commit", &cell.id)))),
            }
        }
        report.unsaved.sort_by(|(a, _), (b, _)| a.cmp(b));
        report.unfinished.sort_by(|(a, _), (b, _)| a.cmp(b));
        report.flush = self.patient("flush", self.flush()).await.err().map(Arc::new);
        debug!(unsaved = report.unsaved.len(), "shut down");
        report
    }

    async fn flush(&self) -> Result<(), PersistenceError> {
        let Some(store) = self.store() else { return Ok(()) };
        without_panic("flush", None, || store.flush()).await
    }

    /// What a call of the store for no one channel gives, or that it has not come back in the time that an end may take.
    async fn patient<T>(
        &self,
        verb: &'static str,
        call: impl Future<Output = Result<T, PersistenceError>>,
    ) -> Result<T, PersistenceError> {
        let patience = self.end_timeout.unwrap_or(Duration::MAX);
        tokio::time::timeout(patience, call).await.unwrap_or_else(|_| {
            let kind = PersistenceErrorKind::Backend(Unfinished::Store(verb).to_string());
            Err(PersistenceError::new(verb, None, kind))
        })
    }
}
