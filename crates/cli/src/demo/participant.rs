//! One participant: a real manager with a store of its own on disk.
//!
//! What: [`Participant`]. Why it goes from hand to hand: in every instant of virtual time each participant is worked on
//! by a task of its own, so that their stores sync at the same time, and comes back from it. How it moves:
//! [`Participant::turn`] takes in what arrived, says a line, does what is due, and gives back what must be broadcast.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use reliable_channel::channel::{ChannelError, Config, Cursor, Delivery, Event};
use reliable_channel::manager::{
    EventStream, Lagged, ManagerError, ManagerEvent, ManualClock, OnSaveFailure, ReliabilityManager, TransmitStream,
};
use reliable_channel::state::Logged;
use reliable_channel::store::{Persistence, PersistenceErrorKind};
use reliable_channel::types::{ChannelId, MessageId};

use crate::store::{StoreArgs, explain};

/// The channel everybody is in.
const CHANNEL: &str = "demo";
/// How long to wait until the store of a participant that was dropped is free.
const RELEASE_WAIT: Duration = Duration::from_millis(5);
const RELEASE_ATTEMPTS: u32 = 4_000;

/// What every participant is made of.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) config: Config,
    pub(super) clock: ManualClock,
    pub(super) store: StoreArgs,
    pub(super) messages: usize,
    pub(super) seed: u64,
}

/// A participant, running or not.
pub(super) struct Participant {
    pub(super) name: String,
    pub(super) restarts: u32,
    dir: PathBuf,
    common: Common,
    watched: bool,
    running: Option<Running>,
}

struct Running {
    manager: ReliabilityManager,
    transmissions: TransmitStream,
    events: Option<EventStream>,
    /// What was delivered last.
    told: Cursor,
    /// Deliveries of earlier runs.
    before: u64,
}

/// What came of a turn.
#[derive(Default)]
pub(super) struct Turned {
    /// What must be broadcast.
    pub(super) packets: Vec<Bytes>,
    /// The id of what was said; none when too much is unacknowledged to say more.
    pub(super) said: Option<MessageId>,
    /// What was delivered, of a participant that is watched.
    pub(super) delivered: Vec<Delivery>,
}

impl Participant {
    /// One that is watched tells what is delivered to it.
    pub(super) fn new(name: String, dir: PathBuf, common: Common, watched: bool) -> Self {
        Self { name, restarts: 0, dir, common, watched, running: None }
    }

    /// Opens the store and starts on what it holds; gives back how many messages that is.
    pub(super) async fn start(&mut self) -> anyhow::Result<usize> {
        let store = self.open_store().await.with_context(|| format!("{}'s store {}", self.name, self.dir.display()))?;
        let manager = ReliabilityManager::builder(self.name.as_str())
            .config(self.common.config.clone())
            .persistence(store)
            .clock(Arc::new(self.common.clock.clone()))
            .on_save_failure(OnSaveFailure::Fail)
            .stream_capacity((self.common.messages + 1).clamp(1_024, 16_384))
            .max_log_bytes(u64::MAX)
            .max_parked_bytes(u64::MAX)
            .seed(self.common.seed.wrapping_add(u64::from(self.restarts) << 32))
            .build()?;
        let transmissions = manager.transmissions();
        manager.ensure_channel(CHANNEL).await.with_context(|| format!("{} cannot open the channel", self.name))?;
        // From here on: what was told before the crash is not told again.
        let events = self.watched.then(|| manager.events());
        let log = manager.log(&CHANNEL.into())?;
        let told = manager.cursor(&CHANNEL.into())?;
        self.running = Some(Running { manager, transmissions, events, before: told.number, told });
        Ok(log.len())
    }

    /// Drops everything without a word, as a crash does. Only the store is left.
    pub(super) fn crash(&mut self) {
        self.running = None;
        self.restarts += 1;
    }

    /// One instant: takes in what arrived, says something, does what is due. One that is not running does nothing.
    pub(super) async fn turn(&mut self, arrived: Vec<Bytes>, say: Option<Bytes>) -> anyhow::Result<Turned> {
        let mut turned = Turned::default();
        let Some(running) = &mut self.running else { return Ok(turned) };
        let outcome = running.turn(arrived, say, &mut turned).await;
        outcome.with_context(|| self.name.clone())?;
        Ok(turned)
    }

    /// The network is back, and the application says so.
    pub(super) async fn online(&mut self) -> anyhow::Result<()> {
        if let Some(running) = &self.running {
            running.manager.online().await.with_context(|| self.name.clone())?;
        }
        Ok(())
    }

    /// Messages delivered so far, in all runs.
    pub(super) fn received(&self) -> usize {
        let Some(running) = &self.running else { return 0 };
        let here = running.manager.stats(&CHANNEL.into()).map_or(0, |stats| stats.delivered);
        usize::try_from(running.before + here).unwrap_or(usize::MAX)
    }

    /// The log, in the order all participants share.
    pub(super) fn log(&self) -> Vec<Logged> {
        self.running.as_ref().and_then(|running| running.manager.log(&CHANNEL.into()).ok()).unwrap_or_default()
    }

    /// Ends in an orderly way.
    pub(super) async fn shut_down(&mut self) -> anyhow::Result<()> {
        if let Some(running) = self.running.take()
            && let report = running.manager.shutdown().await
            && !report.is_clean()
        {
            bail!("{}'s store does not have everything: {report:?}", self.name);
        }
        Ok(())
    }

    /// Opens the store, waiting until a manager that was dropped has let go of it.
    async fn open_store(&self) -> anyhow::Result<Arc<dyn Persistence>> {
        let mut attempts = 0;
        loop {
            match self.common.store.open(&self.dir) {
                Err(error) if error.kind == PersistenceErrorKind::Locked && attempts < RELEASE_ATTEMPTS => {
                    attempts += 1;
                    tokio::time::sleep(RELEASE_WAIT).await;
                }
                outcome => return outcome.map_err(|error| explain(&self.dir, &error)),
            }
        }
    }
}

impl Running {
    async fn turn(&mut self, arrived: Vec<Bytes>, say: Option<Bytes>, turned: &mut Turned) -> Result<(), ManagerError> {
        for bytes in arrived {
            self.manager.unwrap_received(bytes).await?;
            self.collect(turned)?;
        }
        if let Some(text) = say {
            match self.manager.wrap_outgoing(CHANNEL, text).await {
                Ok(wrapped) => {
                    turned.packets.push(wrapped.bytes);
                    turned.said = Some(wrapped.id);
                }
                Err(ManagerError::Channel(ChannelError::OutgoingFull)) => {}
                Err(error) => return Err(error),
            }
        }
        self.manager.sweep(CHANNEL).await?;
        self.collect(turned)
    }

    /// Collects what the manager wants to go out, and what it delivered.
    fn collect(&mut self, turned: &mut Turned) -> Result<(), ManagerError> {
        while let Some(next) = self.transmissions.try_next() {
            // What was missed goes out again by itself, as what the network loses.
            if let Ok(transmission) = next {
                turned.packets.push(transmission.bytes);
            }
        }
        while let Some(next) = self.events.as_mut().and_then(EventStream::try_next) {
            match next {
                Ok(ManagerEvent::Channel { event: Event::MessageDelivered(delivery), .. }) => {
                    // What was read again after a lag may come as an event too.
                    if delivery.number > self.told.number {
                        self.told = delivery.cursor();
                        turned.delivered.push(delivery);
                    }
                }
                Ok(_) => {}
                Err(Lagged(_)) => {
                    let missed = self.manager.deliveries_since(&ChannelId::from(CHANNEL), self.told)?;
                    self.told = missed.deliveries.last().map_or(self.told, Delivery::cursor);
                    turned.delivered.extend(missed.deliveries);
                }
            }
        }
        Ok(())
    }
}
