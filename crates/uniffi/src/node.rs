//! A participant on a network, and the channels it joined.

use std::sync::Arc;

use reliable_channel::manager::ShutdownReport;
use reliable_channel::reliable::{self, Events, ReliableChannel, RequestId, RequestState};
use reliable_channel::transport::{CallbackTransport, Incoming, PeerAddr, Topic};
use reliable_channel_udp::Udp;
use tokio::sync::Mutex;

use crate::gate::gated;
use crate::runtime::{runtime, spawned};
use crate::transport::{Transport, callbacks};
use crate::{ChannelError, DeliveryState, Event, Message, Options, Store, SyncStatus, UdpOptions};

/// One participant, one device, on one network.
#[derive(uniffi::Object)]
pub struct Node {
    inner: reliable::Node,
    network: Option<CallbackTransport>,
}

#[uniffi::export]
impl Node {
    /// On the local network, by UDP multicast. One participant id for each device, the same after every restart.
    #[uniffi::constructor(default(udp = None, options = None, store = None))]
    pub fn on_udp(
        participant: String,
        udp: Option<UdpOptions>,
        options: Option<Options>,
        store: Option<Arc<dyn Store>>,
    ) -> Result<Arc<Self>, ChannelError> {
        let runtime = runtime()?;
        let _entered = runtime.enter();
        let udp = runtime.block_on(Udp::join(udp.unwrap_or_default().parsed()?))?;
        let options = options.unwrap_or_default();
        let builder = reliable::Node::builder(participant).config(options.config());
        let inner = builder.persistence(options.store(store)?).transport(udp).build()?;
        Ok(Arc::new(Self { inner, network: None }))
    }

    /// On a network of the host's.
    #[uniffi::constructor(default(options = None, store = None))]
    pub fn on_transport(
        participant: String,
        transport: Arc<dyn Transport>,
        options: Option<Options>,
        store: Option<Arc<dyn Store>>,
    ) -> Result<Arc<Self>, ChannelError> {
        let _entered = runtime()?.enter();
        let network = callbacks(transport).map_err(|error| ChannelError::Network { reason: error.to_string() })?;
        let options = options.unwrap_or_default();
        let builder = reliable::Node::builder(participant).config(options.config());
        let inner = builder.persistence(options.store(store)?).transport(network.clone()).build()?;
        Ok(Arc::new(Self { inner, network: Some(network) }))
    }

    /// Hands in what the host's network brought for a topic; `sender` is where an answer reaches whoever sent it.
    #[uniffi::method(default(sender = None))]
    pub fn receive(&self, topic: String, bytes: Vec<u8>, sender: Option<Vec<u8>>) -> Result<(), ChannelError> {
        let network = self.network.as_ref();
        let network = network
            .ok_or_else(|| ChannelError::Refused { reason: "the node is not on a network of the host's".into() })?;
        let incoming = Incoming::new(bytes);
        let incoming = match sender {
            Some(sender) => incoming.sent_by(PeerAddr::new(sender)),
            None => incoming,
        };
        network.receive(&Topic::from(topic.as_str()), &incoming);
        Ok(())
    }

    /// Joins a channel: what the store has of it is loaded, and its events begin.
    pub async fn join(&self, channel: String) -> Result<Arc<Channel>, ChannelError> {
        let node = self.inner.clone();
        spawned(async move {
            let (inner, events) = node.join(channel).await?;
            Ok(Arc::new(Channel { inner, node, events: Mutex::new(events) }))
        })
        .await
    }

    /// Leaves all channels and ends: what is queued is saved and sent.
    pub async fn shutdown(&self) -> Result<(), ChannelError> {
        let node = self.inner.clone();
        spawned(async move { clean(&node.shutdown().await) }).await
    }
}

/// Whether all was saved.
pub(crate) fn clean(report: &ShutdownReport) -> Result<(), ChannelError> {
    if report.is_clean() { Ok(()) } else { Err(ChannelError::Store { reason: format!("{report:?}") }) }
}

/// A channel that a node has joined.
#[derive(uniffi::Object)]
pub struct Channel {
    inner: ReliableChannel,
    node: reliable::Node,
    events: Mutex<Events>,
}

#[uniffi::export]
impl Channel {
    /// Its id.
    pub fn id(&self) -> String {
        self.inner.id().to_string()
    }

    /// Sends a message; returns its id when it is saved and on its way. What is larger than a message goes in segments.
    pub async fn send(&self, content: Vec<u8>) -> Result<String, ChannelError> {
        let channel = self.inner.clone();
        spawned(async move { Ok(channel.send(content).await?.to_string()) }).await
    }

    /// Sends a message that nobody keeps, in one piece.
    pub async fn send_ephemeral(&self, content: Vec<u8>) -> Result<(), ChannelError> {
        let channel = self.inner.clone();
        spawned(async move { Ok(channel.send_ephemeral(content).await?) }).await
    }

    /// What happened next; nothing when the channel was left. Nothing is lost when the wait is given up.
    pub async fn next_event(&self) -> Option<Event> {
        let event = gated(async { self.events.lock().await.next().await }).await?;
        Some(Event::of_channel(self.id(), event))
    }

    /// The log, in the order that all participants share, own messages among them.
    pub fn history(&self) -> Result<Vec<Message>, ChannelError> {
        Ok(self.inner.history()?.iter().map(Message::of_logged).collect())
    }

    /// What became of an own message; nothing for one that is not known any more.
    pub fn delivery_state(&self, id: String) -> Result<Option<DeliveryState>, ChannelError> {
        let state = self.inner.request(&RequestId::new(id))?;
        Ok(state.map(|state| match state {
            RequestState::PossiblyDelivered { chance } => DeliveryState::Possible { chance },
            RequestState::Delivered { .. } => DeliveryState::Delivered,
            RequestState::Failed => DeliveryState::Failed,
            _ => DeliveryState::Pending,
        }))
    }

    /// How far catching up is.
    pub fn sync_status(&self) -> Result<SyncStatus, ChannelError> {
        Ok(self.node.manager().sync_status(self.inner.id())?.into())
    }

    /// Asks the others now for what was missed; it happens by itself, too.
    pub async fn catch_up(&self) -> Result<(), ChannelError> {
        let (node, channel) = (self.node.clone(), self.inner.id().clone());
        spawned(async move { Ok(node.manager().catch_up(channel).await?) }).await
    }

    /// Leaves the channel; its events end after the last. What the store has of it stays.
    pub async fn leave(&self) -> Result<(), ChannelError> {
        let channel = self.inner.clone();
        spawned(async move { Ok(channel.close().await?) }).await
    }
}
