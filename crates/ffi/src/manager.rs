//! One manager, as a host of nim-sds knows it.
//!
//! What: [`Manager`], the manager of reliable-channel with nim-sds's options, its channels made as they are named, and its
//! events in nim-sds's words. How it moves: a call does its work on the host's thread, for nothing here waits for a store;
//! what the manager tells meanwhile or by its timers goes to [`Events`].

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use reliable_channel::channel::{ChannelError, Config, Event, Fate};
use reliable_channel::manager::{
    Clock, ManagerError, ManagerEvent, Observer, ReliabilityManager, SystemClock, Transmission, Unwrapped,
};
use reliable_channel::types::{ChannelId, Dialect, Message, MessageId};
use reliable_channel::wire;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::warn;

use crate::answer::Failure;
use crate::config::{SYNC_INTERVAL, config};
use crate::events::Events;
use crate::foreign::{Callback, HintProvider, is_inside};
use crate::queue::Next;
use crate::runtime::{run_apart, runtime, wait_for};
use crate::sent::Sent;
use crate::sync::{Mutex, lock};
use crate::text::{self, Text};

/// Times that a channel is made again for a call, where others remove it meanwhile.
const ATTEMPTS: usize = 8;

/// A manager.
pub(crate) struct Manager {
    inner: ReliabilityManager,
    runtime: Handle,
    told: Arc<Told>,
    hints: Mutex<Option<HintProvider>>,
    periodic: Mutex<Option<JoinHandle<()>>>,
}

/// What it tells, and what others may name in what they send next.
struct Told {
    events: Arc<Events<Callback, Text>>,
    runtime: Handle,
    sent: Sent,
    /// The newest messages of each channel that have no retrieval hint yet: as many as a causal history may name.
    without_hint: Mutex<HashMap<ChannelId, VecDeque<MessageId>>>,
    nameable: usize,
}

impl Manager {
    /// A new one, under a participant id that nobody else has: the interface has no way to give one.
    pub(crate) fn new() -> Result<Self, Failure> {
        Self::with(Arc::new(SystemClock::new()), Sent::of_environment())
    }

    fn with(clock: Arc<dyn Clock>, sent: Sent) -> Result<Self, Failure> {
        let runtime = runtime().map_err(|_| Failure::OutOfMemory)?.clone();
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|_| Failure::Internal)?;
        let participant = id.iter().fold(String::new(), |name, byte| format!("{name}{byte:02x}"));
        let config: Config = config();
        let told = Arc::new(Told {
            events: Arc::new(Events::new()),
            runtime: runtime.clone(),
            sent,
            without_hint: Mutex::default(),
            nameable: config.causal_history_size + config.max_causal_heads,
        });
        let _entered = runtime.enter();
        let builder = ReliabilityManager::builder(participant).config(config).auto_create(true);
        // Nobody reads the streams: they need no room.
        let inner = builder.clock(clock).observer(told.clone()).stream_capacity(1).build()?;
        Ok(Self { inner, runtime, told, hints: Mutex::default(), periodic: Mutex::default() })
    }

    /// Who hears events from now on; the one before is not called any more.
    pub(crate) fn hear(&self, callback: Option<Callback>) {
        self.told.events.hear(callback, !is_inside());
    }

    /// Who is asked for retrieval hints from now on.
    pub(crate) fn ask_for_hints(&self, provider: Option<HintProvider>) {
        *lock(&self.hints) = provider;
    }

    /// Makes a message to broadcast. One that was made before, with the same content, is given again.
    pub(crate) fn wrap(&self, channel: &ChannelId, id: &MessageId, content: &Bytes) -> Result<Text, Failure> {
        self.give_hints(channel);
        let wrapped = self.in_channel(async || self.inner.wrap_outgoing_with_id(channel, id, content.clone()).await);
        let bytes = match wrapped {
            Ok(wrapped) => {
                self.told.may_be_named(channel, id);
                wrapped.bytes
            }
            Err(ManagerError::Channel(ChannelError::IdKnown(_))) => self.made_before(channel, id, content)?,
            Err(error) => return Err(error.into()),
        };
        Ok(text::wrapped(&bytes))
    }

    /// Takes a message in, and gives back what it says and what it waits for.
    pub(crate) fn unwrap(&self, bytes: &Bytes) -> Result<Text, Failure> {
        let unwrapped = self.in_channel(async || self.inner.unwrap_received(bytes.clone()).await);
        let Unwrapped { message, fate, .. } = unwrapped?;
        let mut missing: HashSet<MessageId> = match fate {
            Fate::Parked { missing } => missing.into_iter().collect(),
            _ => HashSet::new(),
        };
        let missing = message.causal_history.iter().filter(|entry| missing.remove(&entry.id));
        Ok(text::unwrapped(&message.content, &message.channel, missing))
    }

    /// What these messages are to others: met.
    pub(crate) fn mark_dependencies_met(&self, channel: &ChannelId, ids: Vec<MessageId>) -> Result<Text, Failure> {
        wait_for(&self.runtime, self.inner.mark_dependencies_met(channel, ids))?;
        Ok(Text::empty())
    }

    /// Forgets all channels.
    pub(crate) fn reset(&self) -> Result<Text, Failure> {
        wait_for(&self.runtime, self.inner.reset())?;
        lock(&self.told.without_hint).clear();
        self.told.sent.forget();
        Ok(Text::empty())
    }

    /// Sends again, gives up and repairs from now on, and tells `periodic_sync` at once and at intervals. Once is enough.
    pub(crate) fn start_periodic_tasks(&self) -> Result<Text, Failure> {
        let mut periodic = lock(&self.periodic);
        if periodic.is_none() {
            self.inner.start_periodic_tasks();
            let told = self.told.clone();
            *periodic = Some(self.runtime.spawn(async move {
                loop {
                    told.tell(text::periodic_sync);
                    tokio::time::sleep(SYNC_INTERVAL).await;
                }
            }));
        }
        Ok(Text::empty())
    }

    /// Tells nothing any more. What else it has goes with the last call that uses it.
    pub(crate) fn clean_up(&self) -> Result<Text, Failure> {
        self.told.events.close(!is_inside());
        Ok(Text::empty())
    }

    /// Does it, in a channel that is made where it is not there.
    fn in_channel<T>(&self, work: impl AsyncFn() -> Result<T, ManagerError>) -> Result<T, ManagerError> {
        wait_for(&self.runtime, async {
            let mut attempts = 0;
            loop {
                match work().await {
                    Err(ManagerError::UnknownChannel(channel)) if attempts < ATTEMPTS => {
                        attempts += 1;
                        self.inner.ensure_channel(channel).await?;
                    }
                    outcome => return outcome,
                }
            }
        })
    }

    /// Asks the host for hints of what the next message may name, as nim-sds does when it makes one.
    fn give_hints(&self, channel: &ChannelId) {
        let Some(provider) = *lock(&self.hints) else { return };
        let asked: Vec<MessageId> = lock(&self.told.without_hint).get(channel).into_iter().flatten().cloned().collect();
        let max = self.inner.config().limits.max_hint_bytes;
        for id in asked {
            let Some(hint) = provider.ask(&id) else { continue };
            let bytes = hint.len();
            if let Err(error) = wait_for(&self.runtime, self.inner.set_retrieval_hint(channel, &id, hint)) {
                warn!(%channel, %id, %error, bytes, max, "a retrieval hint is left out");
            }
            if let Some(ids) = lock(&self.told.without_hint).get_mut(channel) {
                ids.retain(|other| *other != id);
            }
        }
    }

    /// An own message that is in the log, as it is repeated: without a filter.
    fn made_before(&self, channel: &ChannelId, id: &MessageId, content: &Bytes) -> Result<Bytes, Failure> {
        let log = self.inner.log(channel)?;
        let own = self.inner.participant();
        let body = log.iter().map(|logged| &logged.body).find(|body| body.key.id == *id && body.sender == *own);
        let body = body.filter(|body| body.content == *content).ok_or(Failure::InvalidArgument)?;
        let mut message = Message::new(id.clone(), body.sender.clone(), channel.clone());
        message.lamport = Some(body.key.lamport);
        message.causal_history = body.causal_history.clone();
        message.content = body.content.clone();
        wire::encode(&message, Dialect::NimSds).map_err(|error| ManagerError::from(error).into())
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Some(periodic) = lock(&self.periodic).take() {
            periodic.abort();
        }
    }
}

impl Told {
    /// Queues an event; it is made only where somebody hears it.
    fn tell(&self, make: impl FnOnce() -> Text) {
        if !self.events.are_heard() {
            return;
        }
        let event = make();
        let bytes = event.size();
        if self.events.push(event, bytes) {
            let events = self.events.clone();
            let work = move || {
                events.empty(|callback, next| match next {
                    Next::Event(event) => callback.tell(event),
                    Next::GivenUp(count) => {
                        warn!(count, "the host hears events too slowly: the oldest were given up");
                    }
                });
            };
            if !run_apart(&self.runtime, work) {
                warn!("the system gives no thread for callbacks: events wait for the next one");
                self.events.not_started();
            }
        }
    }

    /// Remembers a message that what is sent next may name, for its retrieval hint.
    fn may_be_named(&self, channel: &ChannelId, id: &MessageId) {
        let mut channels = lock(&self.without_hint);
        let ids = channels.entry(channel.clone()).or_default();
        ids.push_back(id.clone());
        if ids.len() > self.nameable {
            ids.pop_front();
        }
    }
}

impl Observer for Told {
    fn event(&self, event: &ManagerEvent) {
        let ManagerEvent::Channel { channel, event } = event else { return };
        match event {
            Event::MessageDelivered(delivery) => {
                let id = &delivery.body.key.id;
                self.may_be_named(channel, id);
                self.tell(|| text::of_message("message_ready", id, channel));
            }
            Event::MissingDependencies { id, missing } => {
                self.tell(|| text::missing_dependencies(id, channel, missing));
            }
            event => {
                if let Some(id) = self.sent.by(channel, event) {
                    self.tell(|| text::of_message("message_sent", id, channel));
                }
            }
        }
    }

    fn transmission(&self, transmission: &Transmission) {
        self.tell(|| text::repair_ready(&transmission.channel, &transmission.bytes));
    }
}

#[cfg(test)]
mod tests;
