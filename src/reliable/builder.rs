//! What a node is made of, and how a channel is joined.
//!
//! What: [`NodeBuilder`] and [`ChannelBuilder`]. Why the packet size is set here: only here both the transport and the
//! channel's options are known. How it moves: options, [`build`](NodeBuilder::build); options,
//! [`join`](ChannelBuilder::join).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::channel::{self, ReliableChannel};
use super::encryption::{Encryption, Keys};
use super::events::Events;
use super::rate_limit::{Pacer, RateLimit};
use super::router::Router;
use super::segmentation::Segmentation;
use super::{Inner, Node, NodeError};
use crate::authenticity::SharedAuthenticator;
use crate::channel::Config;
use crate::manager::{Clock, ReliabilityManager, SystemClock};
use crate::store::{Archive, NoPersistence, Persistence};
use crate::transport::{Topic, Transport};
use crate::types::{ChannelId, ParticipantId};

/// Options of a [`Node`].
///
/// See the [example](crate::reliable#example).
#[must_use = "options do nothing before `build`"]
pub struct NodeBuilder {
    participant: ParticipantId,
    transport: Option<Arc<dyn Transport>>,
    store: Arc<dyn Persistence>,
    archive: Option<Arc<dyn Archive>>,
    config: Config,
    authenticator: Option<SharedAuthenticator>,
    clock: Option<Arc<dyn Clock>>,
    seed: Option<u64>,
    segmentation: Segmentation,
    rate_limit: Option<RateLimit>,
}

impl NodeBuilder {
    pub(super) fn new(participant: ParticipantId) -> Self {
        let store = Arc::new(NoPersistence);
        let segmentation = Segmentation::default();
        Self {
            participant,
            transport: None,
            store,
            archive: None,
            config: Config::default(),
            authenticator: None,
            clock: None,
            seed: None,
            segmentation,
            rate_limit: None,
        }
    }

    /// The network. There is no default.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transport = Some(Arc::new(transport));
        self
    }

    /// Where channels are saved. Default: nowhere, so nothing is known any more after a restart.
    pub fn persistence(mut self, store: Arc<dyn Persistence>) -> Self {
        self.store = store;
        self
    }

    /// Where messages are kept that the logs have no more: see [`ManagerBuilder::archive`](crate::manager::ManagerBuilder::archive).
    /// Default: none.
    pub fn archive(mut self, archive: Arc<dyn Archive>) -> Self {
        self.archive = Some(archive);
        self
    }

    /// Options of every channel that is joined without its own.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Signs and checks the messages of every channel that is joined without an own one ([`Config::authenticator`]). Default:
    /// none.
    pub fn authenticator(mut self, authenticator: impl Into<SharedAuthenticator>) -> Self {
        self.authenticator = Some(authenticator.into());
        self
    }

    /// How large payloads are split, in every channel that is joined without an own way.
    pub fn segmentation(mut self, segmentation: Segmentation) -> Self {
        self.segmentation = segmentation;
        self
    }

    /// How much is sent, in all channels together. Default: all at once.
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.rate_limit = Some(limit);
        self
    }

    /// What tells the time. Default: the system's clocks.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Where random choices start, for runs to be repeated. Default: from the system.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The node. Its tasks run in the tokio runtime this is called in.
    ///
    /// # Errors
    /// [`NodeError::NoTransport`]; [`NodeError::Manager`] for options that are refused and outside a runtime;
    /// [`NodeError::RateLimit`] for a limit of nothing, and a count that cannot be read.
    pub fn build(mut self) -> Result<Node, NodeError> {
        if let Some(authenticator) = self.authenticator {
            self.config.authenticator = Some(authenticator);
        }
        let transport = self.transport.ok_or(NodeError::NoTransport)?;
        let router = Arc::new(Router::default());
        let mut manager = ReliabilityManager::builder(self.participant)
            .config(fitted(self.config.clone(), &*transport, &self.segmentation, 0))
            .persistence(self.store)
            .observer(router.clone());
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let limit = self.rate_limit.map(|limit| Pacer::new(limit, clock.clone())).transpose()?;
        let pacer = Arc::new(limit.unwrap_or_default());
        manager = manager.clock(clock);
        if let Some(archive) = self.archive {
            manager = manager.archive(archive);
        }
        if let Some(seed) = self.seed {
            manager = manager.seed(seed);
        }
        let manager = manager.build()?;
        manager.start_periodic_tasks();
        let (config, segmentation) = (self.config, self.segmentation);
        Ok(Node { inner: Arc::new(Inner { manager, transport, router, pacer, config, segmentation }) })
    }
}

/// How a channel is joined; made by [`Node::channel`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use reliable_channel::reliable::Node;
/// use reliable_channel::transport::{MemoryNetwork, Topic};
///
/// let node = Node::builder("alice").transport(MemoryNetwork::new().member()).build()?;
/// let (lobby, events) = node.channel("lobby").topic(Topic::from("/my-app/1/lobby")).join().await?;
/// # let _ = (lobby, events);
/// # Ok::<(), reliable_channel::reliable::NodeError>(()) }).unwrap();
/// ```
#[must_use = "options do nothing before `join`"]
pub struct ChannelBuilder {
    node: Node,
    channel: ChannelId,
    topic: Option<Topic>,
    config: Option<Config>,
    authenticator: Option<SharedAuthenticator>,
    segmentation: Option<Segmentation>,
    keys: BTreeMap<u32, Arc<dyn Encryption>>,
    waits: bool,
}

impl ChannelBuilder {
    pub(super) fn new(node: Node, channel: ChannelId) -> Self {
        Self {
            node,
            channel,
            topic: None,
            config: None,
            authenticator: None,
            segmentation: None,
            keys: BTreeMap::new(),
            waits: true,
        }
    }

    /// Whether joining waits for the first answer of the network, up to two seconds. Without, it is done when the channel is
    /// read from the store, to show what it has at once; what the network refuses for good is then told by
    /// [`ChannelEvent::Disconnected`](super::ChannelEvent::Disconnected). Default: it waits.
    pub fn wait_for_network(mut self, waits: bool) -> Self {
        self.waits = waits;
        self
    }

    /// Where the channel's messages travel. Default: under the channel's id. Several channels may share a topic.
    pub fn topic(mut self, topic: Topic) -> Self {
        self.topic = Some(topic);
        self
    }

    /// Options of this channel. Default: the node's.
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// Signs and checks the channel's messages. Default: what its options name, else the node's.
    pub fn authenticator(mut self, authenticator: impl Into<SharedAuthenticator>) -> Self {
        self.authenticator = Some(authenticator.into());
        self
    }

    /// How large payloads are split. Default: as the node says.
    pub fn segmentation(mut self, segmentation: Segmentation) -> Self {
        self.segmentation = Some(segmentation);
        self
    }

    /// Seals all messages of the channel, from this epoch of its keys on. Given for several epochs, the key of the highest seals,
    /// and each opens what was sealed in its own; up to 64 are kept. Default: nothing is sealed.
    pub fn encryption(mut self, epoch: u32, key: impl Encryption) -> Self {
        self.keys.insert(epoch, Arc::new(key));
        self
    }

    /// Joins the channel, see [`Node::join`].
    ///
    /// # Errors
    /// As there.
    pub async fn join(self) -> Result<(ReliableChannel, Events), NodeError> {
        let Self { node, channel, topic, config, authenticator, segmentation, keys, waits } = self;
        let keys = Keys::new(keys);
        let inner = &node.inner;
        let topic = topic.unwrap_or_else(|| Topic::from(&channel));
        let segmentation = segmentation.unwrap_or(inner.segmentation);
        let mut config = config.unwrap_or_else(|| inner.config.clone());
        let of_the_node = || inner.config.authenticator.clone();
        config.authenticator = authenticator.or(config.authenticator).or_else(of_the_node);
        let config = fitted(config, &*inner.transport, &segmentation, keys.reserved());
        channel::join(inner, channel, Joining { topic, config, segmentation, keys, waits }).await
    }
}

/// Everything that a channel is joined with.
pub(super) struct Joining {
    pub(super) topic: Topic,
    pub(super) config: Config,
    pub(super) segmentation: Segmentation,
    pub(super) keys: Keys,
    /// For the network's first answer.
    pub(super) waits: bool,
}

/// Options whose messages fit into what the transport carries, with so many bytes that sealing adds.
fn fitted(mut config: Config, transport: &dyn Transport, segmentation: &Segmentation, reserved: usize) -> Config {
    let max = transport.max_bytes().borrow().saturating_sub(reserved);
    config.max_transmit_bytes = Some(config.max_transmit_bytes.map_or(max, |wanted| wanted.min(max)));
    segmentation.fit(&mut config);
    config
}
