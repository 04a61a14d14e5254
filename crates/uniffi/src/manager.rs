//! A participant that carries bytes itself.

use std::sync::Arc;

use reliable_channel::channel::Fate as CoreFate;
use reliable_channel::manager::{EventStream, ReliabilityManager, TransmitStream, Unwrapped as CoreUnwrapped};
use tokio::sync::Mutex;

use crate::gate::gated;
use crate::runtime::{runtime, spawned};
use crate::{ChannelError, Event, Message, Options, Store, SyncStatus};

/// A message that was made.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Wrapped {
    /// Its id.
    pub id: String,
    /// To be broadcast to the channel.
    pub bytes: Vec<u8>,
}

/// What became of a message that was unwrapped.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Fate {
    /// Delivered: an event tells it.
    Delivered,
    /// It waits for others.
    Waits {
        /// Those that were never received.
        missing: Vec<String>,
    },
    /// Known already, or one's own.
    Known,
    /// Nothing to show: it kept the channel in step.
    Sync,
    /// Not kept: an event tells it.
    Ephemeral,
    /// Not delivered: too old, or another message has its id. An event tells which.
    Refused,
}

/// A message that was unwrapped.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Unwrapped {
    /// Its channel.
    pub channel: String,
    /// Its id.
    pub id: String,
    /// Who sent it.
    pub sender: String,
    /// What it says.
    pub content: Vec<u8>,
    /// What became of it.
    pub fate: Fate,
}

impl From<CoreUnwrapped> for Unwrapped {
    fn from(unwrapped: CoreUnwrapped) -> Self {
        let CoreUnwrapped { message, fate, .. } = unwrapped;
        let fate = match fate {
            CoreFate::Delivered => Fate::Delivered,
            CoreFate::Parked { missing } => Fate::Waits { missing: missing.iter().map(ToString::to_string).collect() },
            CoreFate::GaveWay => Fate::Waits { missing: Vec::new() },
            CoreFate::Duplicate | CoreFate::Echo => Fate::Known,
            CoreFate::Sync | CoreFate::Frame => Fate::Sync,
            CoreFate::Ephemeral => Fate::Ephemeral,
            _ => Fate::Refused,
        };
        let (channel, id) = (message.channel.to_string(), message.id.to_string());
        Self { channel, id, sender: message.sender.to_string(), content: message.content.to_vec(), fate }
    }
}

/// A participant in any number of channels that carries bytes itself: what `wrap` and the event `Transmit` give is broadcast,
/// and what arrives is unwrapped.
#[derive(uniffi::Object)]
pub struct Manager {
    inner: ReliabilityManager,
    streams: Mutex<(EventStream, TransmitStream)>,
}

#[uniffi::export]
impl Manager {
    /// One participant id for each device, the same after every restart.
    #[uniffi::constructor(default(options = None, store = None))]
    pub fn new(
        participant: String,
        options: Option<Options>,
        store: Option<Arc<dyn Store>>,
    ) -> Result<Arc<Self>, ChannelError> {
        let _entered = runtime()?.enter();
        let options = options.unwrap_or_default();
        let builder = ReliabilityManager::builder(participant).config(options.config());
        let inner = builder.persistence(options.store(store)?).build()?;
        let streams = Mutex::new((inner.events(), inner.transmissions()));
        inner.start_periodic_tasks();
        Ok(Arc::new(Self { inner, streams }))
    }

    /// Joins a channel: what the store has of it is loaded. Nothing where it is joined.
    pub async fn join(&self, channel: String) -> Result<(), ChannelError> {
        let manager = self.inner.clone();
        spawned(async move { Ok(manager.ensure_channel(channel).await?) }).await
    }

    /// Leaves a channel. What the store has of it stays.
    pub async fn leave(&self, channel: String) -> Result<(), ChannelError> {
        let manager = self.inner.clone();
        spawned(async move { Ok(manager.close_channel(channel).await?) }).await
    }

    /// Leaves a channel, and erases it from the store.
    pub async fn forget(&self, channel: String) -> Result<(), ChannelError> {
        let manager = self.inner.clone();
        spawned(async move { Ok(manager.remove_channel(channel).await?) }).await
    }

    /// Makes a message to broadcast, which is saved then.
    pub async fn wrap(&self, channel: String, content: Vec<u8>) -> Result<Wrapped, ChannelError> {
        let manager = self.inner.clone();
        spawned(async move {
            let wrapped = manager.wrap_outgoing(channel, content).await?;
            Ok(Wrapped { id: wrapped.id.to_string(), bytes: wrapped.bytes.into() })
        })
        .await
    }

    /// Takes in a message that arrived.
    pub async fn unwrap(&self, bytes: Vec<u8>) -> Result<Unwrapped, ChannelError> {
        let manager = self.inner.clone();
        spawned(async move { Ok(manager.unwrap_received(bytes).await?.into()) }).await
    }

    /// What happened next; nothing when the manager was shut down. Nothing is lost when the wait is given up.
    pub async fn next_event(&self) -> Option<Event> {
        gated(self.next()).await
    }

    /// The log, in the order that all participants share.
    pub fn log(&self, channel: String) -> Result<Vec<Message>, ChannelError> {
        Ok(self.inner.log(&channel.into())?.iter().map(Message::of_logged).collect())
    }

    /// How far catching up is.
    pub fn sync_status(&self, channel: String) -> Result<SyncStatus, ChannelError> {
        Ok(self.inner.sync_status(&channel.into())?.into())
    }

    /// Saves everything and ends; events end after the last.
    pub async fn shutdown(&self) -> Result<(), ChannelError> {
        let manager = self.inner.clone();
        spawned(async move { crate::node::clean(&manager.shutdown().await) }).await
    }
}

impl Manager {
    async fn next(&self) -> Option<Event> {
        let mut streams = self.streams.lock().await;
        let (events, transmissions) = &mut *streams;
        tokio::select! {
            Some(event) = events.next() => match event {
                Ok(event) => Some(Event::of_manager(&event)),
                Err(lagged) => Some(Event::Missed { events: lagged.0 }),
            },
            Some(transmission) = transmissions.next() => match transmission {
                Ok(it) => Some(Event::Transmit { channel: it.channel.to_string(), bytes: it.bytes.into() }),
                Err(lagged) => Some(Event::Missed { events: lagged.0 }),
            },
            else => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_happened_before_the_end_is_told() {
        let made = |name: &str| Manager::new(name.into(), None, None).unwrap();
        let (alice, bob) = (made("alice"), made("bob"));
        runtime().unwrap().block_on(async {
            alice.join("lobby".into()).await.unwrap();
            bob.join("lobby".into()).await.unwrap();
            for number in 0..20 {
                let wrapped = alice.wrap("lobby".into(), vec![number + 1]).await.unwrap();
                bob.unwrap(wrapped.bytes).await.unwrap();
            }
            bob.shutdown().await.unwrap();
            let mut told = Vec::new();
            while let Some(event) = bob.next_event().await {
                if let Event::Received { message, .. } = event {
                    told.push(message.content);
                }
            }
            assert_eq!(told, (1..=20).map(|number| vec![number]).collect::<Vec<_>>());
        });
    }
}
