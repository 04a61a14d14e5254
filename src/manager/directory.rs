//! Which channels are open, and how they come and go.
//!
//! What: [`Directory`], and the [`Shared`] methods that open, close and remove channels and shut everything down. Why
//! tasks: loading, wiping and closing must come to an end although their caller stopped waiting. How it moves: an entry
//! is `Live`, or `Busy` while a task opens, closes or removes it; whoever wants something else of it waits for that
//! task first. The directory's lock is held for a look-up and never across an await.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;
use tracing::debug;

use super::callbacks;
use super::drain::{self, without_panic};
use super::error::ManagerError;
use super::shared::Shared;
use super::slot::{Closed, Slot};
use super::step::Waiting;
use crate::channel::{Config, RestoreError};
use crate::store::{PersistenceError, PersistenceErrorKind};
use crate::types::ChannelId;

/// The channels of a manager.
#[derive(Debug, Default)]
pub(super) struct Directory(RwLock<Entries>);

#[derive(Debug, Default)]
struct Entries {
    channels: HashMap<ChannelId, Entry>,
    shut_down: bool,
}

#[derive(Debug)]
enum Entry {
    Live(Arc<Slot>),
    /// Being opened, closed or removed.
    Busy(Task, Transition),
    /// Removed, but the store could not wipe it: it must before the channel is opened again.
    Unwiped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Open,
    Close,
    Remove,
}

/// How a task ended, once it has.
type Transition = watch::Receiver<Option<Result<(), ManagerError>>>;
/// How shutting down ended, once it has.
pub(super) type ShutDown = watch::Receiver<Option<ShutdownReport>>;

/// What [`shutdown`](super::ReliabilityManager::shutdown) could not save.
#[derive(Clone, Debug, Default)]
pub struct ShutdownReport {
    /// Channels whose last changes are not on stable storage, and why.
    pub unsaved: Vec<(ChannelId, Arc<PersistenceError>)>,
    /// Why the store's last flush failed: what was acknowledged under a relaxed durability may be lost.
    pub flush: Option<Arc<PersistenceError>>,
}

impl ShutdownReport {
    /// Whether everything was saved.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.unsaved.is_empty() && self.flush.is_none()
    }
}

impl Directory {
    pub(super) fn slot(&self, channel: &ChannelId) -> Result<Arc<Slot>, ManagerError> {
        match self.read().channels.get(channel) {
            Some(Entry::Live(slot)) => Ok(slot.clone()),
            _ => Err(ManagerError::UnknownChannel(channel.clone())),
        }
    }

    pub(super) fn slots(&self) -> Vec<Arc<Slot>> {
        let live = |entry: &Entry| if let Entry::Live(slot) = entry { Some(slot.clone()) } else { None };
        self.read().channels.values().filter_map(live).collect()
    }

    fn known(&self) -> Vec<ChannelId> {
        self.read().channels.keys().cloned().collect()
    }

    fn busy(&self) -> Vec<Transition> {
        let busy = |entry: &Entry| if let Entry::Busy(_, end) = entry { Some(end.clone()) } else { None };
        self.read().channels.values().filter_map(busy).collect()
    }

    /// What is not saved and, without a runtime, stays so. Of a channel whose closing did not end nobody knows better.
    fn unsaved(&self) -> Vec<(ChannelId, Arc<PersistenceError>)> {
        let unsaved = |(channel, entry): (&ChannelId, &Entry)| match entry {
            Entry::Live(slot) if slot.owes() => Some((channel.clone(), unsaved(slot))),
            Entry::Busy(Task::Close, _) => Some((channel.clone(), runtime_ended(channel))),
            _ => None,
        };
        let mut found: Vec<_> = self.read().channels.iter().filter_map(unsaved).collect();
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        found
    }

    fn set(&self, channel: &ChannelId, entry: Option<Entry>) {
        let mut entries = self.write();
        match entry {
            Some(entry) => drop(entries.channels.insert(channel.clone(), entry)),
            None => drop(entries.channels.remove(channel)),
        }
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

/// What to do about an entry.
enum Plan {
    /// This task runs already, or was started; its end is the answer.
    Share(Transition),
    /// Another task runs: look again after its end.
    After(Transition),
}

impl Shared {
    /// Opens a channel, loading what was saved of it. Concurrent calls share one load, and its error.
    pub(super) async fn open(self: &Arc<Self>, channel: &ChannelId, config: &Arc<Config>) -> Result<(), ManagerError> {
        loop {
            let plan = {
                let mut entries = self.directory.write();
                if entries.shut_down {
                    return Err(ManagerError::ShutDown);
                }
                match entries.channels.get(channel) {
                    Some(Entry::Live(_)) => return Ok(()),
                    Some(Entry::Busy(Task::Open, end)) => Plan::Share(end.clone()),
                    Some(Entry::Busy(_, end)) => Plan::After(end.clone()),
                    None if entries.channels.len() >= self.max_channels => {
                        return Err(ManagerError::TooManyChannels { max: self.max_channels });
                    }
                    known => {
                        let max = config.limits.max_id_bytes;
                        if channel.is_empty() || channel.len() > max {
                            return Err(RestoreError::ChannelId { max }.into());
                        }
                        let wipe = known.is_some();
                        let (done, end) = watch::channel(None);
                        entries.channels.insert(channel.clone(), Entry::Busy(Task::Open, end.clone()));
                        let (shared, channel, config) = (self.clone(), channel.clone(), config.clone());
                        self.runtime.spawn(async move {
                            let outcome = shared.opening(&channel, config, wipe).await;
                            done.send_replace(Some(outcome));
                        });
                        Plan::Share(end)
                    }
                }
            };
            match plan {
                Plan::Share(end) => return ended(end).await,
                Plan::After(end) => after(end).await?,
            }
        }
    }

    async fn opening(
        self: &Arc<Self>,
        channel: &ChannelId,
        config: Arc<Config>,
        wipe: bool,
    ) -> Result<(), ManagerError> {
        match self.load(channel, config, wipe).await {
            Ok((slot, restored)) => {
                debug!(%channel, "opened");
                self.directory.set(channel, Some(Entry::Live(slot.clone())));
                drain::start(self, &slot);
                slot.rearm(self, &mut slot.lock());
                restored.await.unwrap_or(Err(ManagerError::ShutDown)).map(|_| ())
            }
            Err((unwiped, error)) => {
                self.directory.set(channel, unwiped.then_some(Entry::Unwiped));
                Err(error)
            }
        }
    }

    /// The error comes with whether the channel still has to be wiped.
    async fn load(
        &self,
        channel: &ChannelId,
        config: Arc<Config>,
        wipe: bool,
    ) -> Result<(Arc<Slot>, Waiting), (bool, ManagerError)> {
        if wipe {
            let wiping = without_panic("drop_channel", channel, self.store.drop_channel(channel));
            wiping.await.map_err(|error| (true, error.into()))?;
        }
        let loading = without_panic("load_channel", channel, self.store.load_channel(channel));
        let data = loading.await.map_err(|error| (false, error.into()))?;
        Slot::restore(self, channel, config, data).map_err(|error| (false, error))
    }

    /// Wipes a channel, open or not, from memory and from the store.
    pub(super) async fn remove(self: &Arc<Self>, channel: &ChannelId) -> Result<(), ManagerError> {
        self.end(channel, Task::Remove).await
    }

    /// Carries out what is queued in a channel and forgets it; what the store has of it stays.
    pub(super) async fn close(self: &Arc<Self>, channel: &ChannelId) -> Result<(), ManagerError> {
        self.end(channel, Task::Close).await
    }

    async fn end(self: &Arc<Self>, channel: &ChannelId, task: Task) -> Result<(), ManagerError> {
        loop {
            let plan = {
                let mut entries = self.directory.write();
                if entries.shut_down {
                    return Err(ManagerError::ShutDown);
                }
                let slot = match entries.channels.get(channel) {
                    Some(Entry::Busy(running, end)) if *running == task => Err(Plan::Share(end.clone())),
                    Some(Entry::Busy(_, end)) => Err(Plan::After(end.clone())),
                    Some(Entry::Live(slot)) => Ok(Some(slot.clone())),
                    Some(Entry::Unwiped) | None if task == Task::Remove => Ok(None),
                    _ => return Err(ManagerError::UnknownChannel(channel.clone())),
                };
                slot.map_or_else(
                    |plan| plan,
                    |slot| {
                        let (done, end) = watch::channel(None);
                        entries.channels.insert(channel.clone(), Entry::Busy(task, end.clone()));
                        let (shared, channel) = (self.clone(), channel.clone());
                        let inside = callbacks::is_inside();
                        self.runtime.spawn(async move {
                            let outcome = match (task, slot) {
                                (Task::Close, Some(slot)) => shared.closing(slot, inside).await,
                                (_, slot) => shared.removing(&channel, slot).await,
                            };
                            done.send_replace(Some(outcome));
                        });
                        Plan::Share(end)
                    },
                )
            };
            match plan {
                Plan::Share(end) => return ended(end).await,
                Plan::After(end) => after(end).await?,
            }
        }
    }

    async fn removing(&self, channel: &ChannelId, slot: Option<Arc<Slot>>) -> Result<(), ManagerError> {
        if let Some(slot) = slot {
            slot.close(Closed::Removed);
            slot.quiet(false).await;
        }
        let wiping = without_panic("drop_channel", channel, self.store.drop_channel(channel));
        let wiped = wiping.await;
        debug!(%channel, wiped = wiped.is_ok(), "removed");
        self.directory.set(channel, wiped.is_err().then_some(Entry::Unwiped));
        Ok(wiped?)
    }

    async fn closing(self: &Arc<Self>, slot: Arc<Slot>, inside_callback: bool) -> Result<(), ManagerError> {
        slot.close(Closed::Leaving);
        slot.quiet(!inside_callback).await;
        slot.checkpoint(self);
        if let Err(error) = self.settle_debts(&slot).await {
            slot.reopen(self);
            self.directory.set(&slot.id.clone(), Some(Entry::Live(slot)));
            return Err(error.into());
        }
        debug!(channel = %slot.id, "closed");
        self.directory.set(&slot.id, None);
        Ok(())
    }

    /// Waits until nothing is queued, and tries once more to save what is owed.
    async fn settle_debts(self: &Arc<Self>, slot: &Arc<Slot>) -> Result<(), Arc<PersistenceError>> {
        slot.quiet(false).await;
        if !slot.owes() {
            return Ok(());
        }
        // A drainer that ends without an answer ended with its runtime.
        slot.retry(self).await.unwrap_or_else(|_| if slot.owes() { Err(unsaved(slot)) } else { Ok(()) })
    }

    /// Every channel that is open, or that the store knows of.
    pub(super) async fn all_channels(&self) -> Result<Vec<ChannelId>, ManagerError> {
        let mut channels = self.directory.known();
        match self.store.list_channels().await {
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
        let inside = callbacks::is_inside();
        let end = self.shut_down.get_or_init(|| {
            self.directory.write().shut_down = true;
            self.directory.slots().iter().for_each(|slot| slot.close(Closed::ShutDown));
            self.timers.stop();
            let (done, end) = watch::channel(None);
            let shared = self.clone();
            self.runtime.spawn(async move {
                let report = shared.shutting_down(inside).await;
                shared.feeds.end();
                // Whoever hears the report may drop the manager and open the store again.
                drop(shared);
                done.send_replace(Some(report));
            });
            end
        });
        let mut end = end.clone();
        if let Some(report) = end.wait_for(Option::is_some).await.ok().and_then(|report| report.clone()) {
            return report;
        }
        let report = ShutdownReport { unsaved: self.directory.unsaved(), flush: self.flush().await };
        self.feeds.end();
        debug!(unsaved = report.unsaved.len(), "shut down without a runtime");
        report
    }

    async fn shutting_down(self: &Arc<Self>, inside_callback: bool) -> ShutdownReport {
        for end in self.directory.busy() {
            drop(ended(end).await);
        }
        let slots = self.directory.slots();
        // Those that were being opened, or failed to close, meanwhile.
        slots.iter().for_each(|slot| slot.close(Closed::ShutDown));
        let mut report = ShutdownReport::default();
        for slot in &slots {
            slot.quiet(!inside_callback).await;
        }
        slots.iter().for_each(|slot| slot.checkpoint(self));
        for slot in &slots {
            if let Err(error) = self.settle_debts(slot).await {
                report.unsaved.push((slot.id.clone(), error));
            }
        }
        report.unsaved.sort_by(|(a, _), (b, _)| a.cmp(b));
        report.flush = self.flush().await;
        debug!(unsaved = report.unsaved.len(), "shut down");
        report
    }

    async fn flush(&self) -> Option<Arc<PersistenceError>> {
        match catch_unwind(AssertUnwindSafe(|| self.store.flush())) {
            Ok(flush) => flush.await.err().map(Arc::new),
            Err(_) => None,
        }
    }
}

/// Why a channel that owes something could not save it.
fn unsaved(slot: &Slot) -> Arc<PersistenceError> {
    slot.save_failure().unwrap_or_else(|| runtime_ended(&slot.id))
}

fn runtime_ended(channel: &ChannelId) -> Arc<PersistenceError> {
    let kind = PersistenceErrorKind::Backend("the runtime ended before it was saved".into());
    Arc::new(PersistenceError::new("commit", Some(channel), kind))
}

/// Waits for another task, whose outcome is its caller's business, unless it cannot end any more.
async fn after(end: Transition) -> Result<(), ManagerError> {
    match ended(end).await {
        Err(ManagerError::ShutDown) => Err(ManagerError::ShutDown),
        _ => Ok(()),
    }
}

async fn ended(mut end: Transition) -> Result<(), ManagerError> {
    // A task that ends without an answer ended with its runtime.
    let outcome = end.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
    outcome.unwrap_or(Err(ManagerError::ShutDown))
}
