//! A manager, as a host of `rc_*` knows it.
//!
//! What: [`Client`], a manager of reliable-channel, and a node around it where the host gave a network. How it moves: a call
//! does its work on the host's thread; what it waits for, as a store, it waits for there.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use reliable_channel::channel::DeliveryState;
use reliable_channel::manager::{ManagerError, ReliabilityManager, Unwrapped, Wrapped};
use reliable_channel::reliable::{Events, Node, NodeError, ReliableChannel, RequestId, RequestState};
use reliable_channel::state::Logged;
use reliable_channel::store::{NoPersistence, Persistence, RedbPersistence};
use reliable_channel::transport::CallbackTransport;
use reliable_channel::types::{ChannelId, MessageId};
use tokio::runtime::Handle;

use crate::rc::code::Failed;
use crate::rc::code::rc_code::*;
use crate::rc::event::Told;
use crate::rc::hear::EventFd;
use crate::rc::inbox::Inbox;
use crate::rc::network::Gate;
use crate::rc::options::Options;
use crate::rc::polled::Polled;
use crate::runtime::{runtime, wait_for};
use crate::sync::{Mutex, lock};

/// A manager, with or without a network.
pub(crate) struct Client {
    face: Face,
    inbox: Arc<Inbox>,
    runtime: Handle,
    store: Option<Arc<RedbPersistence>>,
}

enum Face {
    /// The host carries bytes.
    Manager(ReliabilityManager),
    /// The host gave a network.
    Node {
        node: Node,
        network: CallbackTransport,
        gate: Arc<Gate>,
        channels: Mutex<HashMap<ChannelId, ReliableChannel>>,
    },
}

impl Client {
    pub(crate) fn open(options: Options) -> Result<Self, Failed> {
        if options.transport.is_some() && options.are_for_no_transport() {
            let what = "RC_OPTION_AUTO_JOIN, RC_OPTION_MAX_CHANNELS and RC_OPTION_MAX_MEMORY are for managers without a transport";
            return Err(Failed::new(RC_ERR_OPTIONS, what));
        }
        let runtime = runtime().map_err(|error| Failed::new(RC_ERR_SYSTEM, error))?.clone();
        let store = options.directory.map(RedbPersistence::open).transpose()?.map(Arc::new);
        let saved: Arc<dyn Persistence> = match &store {
            Some(store) => store.clone(),
            None => Arc::new(NoPersistence),
        };
        let inbox = Arc::new(Inbox::new(options.hearer, &runtime));
        let face = {
            let _entered = runtime.enter();
            match options.transport {
                None => {
                    let builder = ReliabilityManager::builder(options.participant).config(options.config);
                    let builder = builder.persistence(saved).observer(inbox.clone()).auto_create(options.auto_join);
                    // Nobody reads the streams: they need no room.
                    let builder = builder.max_channels(options.max_channels).stream_capacity(1);
                    let manager = builder.max_log_bytes(options.max_memory).build()?;
                    manager.start_periodic_tasks();
                    Face::Manager(manager)
                }
                Some(callbacks) => {
                    let gate = Arc::new(Gate::default());
                    let network = callbacks.transport(&gate);
                    let builder = Node::builder(options.participant).config(options.config).persistence(saved);
                    let node = builder.transport(network.clone()).build()?;
                    Face::Node { node, network, gate, channels: Mutex::default() }
                }
            }
        };
        Ok(Self { face, inbox, runtime, store })
    }

    /// Saves and ends everything. What could not be saved is told.
    pub(crate) fn close(&self) -> Result<(), Failed> {
        let report = match &self.face {
            Face::Manager(manager) => self.wait(manager.shutdown()),
            Face::Node { node, gate, .. } => {
                let report = self.wait(node.shutdown());
                gate.close();
                report
            }
        };
        let closed = self.store.as_ref().map_or(Ok(()), |store| self.wait(store.close()));
        self.inbox.close();
        if let Some((channel, error)) = report.unsaved.first() {
            return Err(Failed::new(RC_ERR_STORE, format!("channel {channel} is not saved: {error}")));
        }
        if let Some(error) = &report.flush {
            return Err(Failed::new(RC_ERR_STORE, error));
        }
        if let Some((channel, what)) = report.unfinished.first() {
            return Err(Failed::new(RC_ERR_STORE, format!("channel {channel}: {what}")));
        }
        Ok(closed?)
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        wait_for(&self.runtime, future)
    }

    pub(crate) fn manager(&self) -> &ReliabilityManager {
        match &self.face {
            Face::Manager(manager) => manager,
            Face::Node { node, .. } => node.manager(),
        }
    }

    /// The manager whose bytes the host carries itself.
    pub(crate) fn bare(&self) -> Result<&ReliabilityManager, Failed> {
        match &self.face {
            Face::Manager(manager) => Ok(manager),
            Face::Node { .. } => Err(Failed::new(RC_ERR_TRANSPORT_MODE, "this is for managers without a transport")),
        }
    }

    /// What is joined over the network of the host.
    fn joined(&self, channel: &ChannelId) -> Result<ReliableChannel, Failed> {
        match &self.face {
            Face::Node { channels, .. } => {
                let joined = lock(channels).get(channel).cloned();
                Ok(joined.ok_or_else(|| NodeError::NotJoined(channel.clone()))?)
            }
            Face::Manager(_) => Err(no_transport()),
        }
    }

    pub(crate) fn network(&self) -> Result<&CallbackTransport, Failed> {
        match &self.face {
            Face::Node { network, .. } => Ok(network),
            Face::Manager(_) => Err(no_transport()),
        }
    }

    /// Events that wait to be asked for.
    pub(crate) fn polled(&self) -> Result<&Polled<Told, EventFd>, Failed> {
        match &*self.inbox {
            Inbox::Polled(polled) => Ok(polled),
            Inbox::Called(..) => Err(Failed::new(RC_ERR_REFUSED, "events go to a callback")),
        }
    }

    pub(crate) fn join(&self, channel: &ChannelId) -> Result<(), Failed> {
        match &self.face {
            Face::Manager(manager) => Ok(self.wait(manager.ensure_channel(channel))?),
            Face::Node { node, channels, .. } => match self.wait(node.join(channel)) {
                Ok((joined, events)) => {
                    lock(channels).insert(channel.clone(), joined);
                    self.runtime.spawn(tell_all(self.inbox.clone(), channel.clone(), events));
                    Ok(())
                }
                Err(NodeError::AlreadyJoined(_)) => Ok(()),
                Err(error) => Err(error.into()),
            },
        }
    }

    pub(crate) fn leave(&self, channel: &ChannelId) -> Result<(), Failed> {
        match &self.face {
            Face::Manager(manager) => Ok(self.wait(manager.close_channel(channel))?),
            Face::Node { channels, .. } => {
                let left = self.wait(self.joined(channel)?.close());
                let mut channels = lock(channels);
                // It stays joined where it could not be saved, and another thread may have joined it again.
                if channels.get(channel).is_some_and(|joined| joined.unopened().is_err()) {
                    channels.remove(channel);
                }
                Ok(left?)
            }
        }
    }

    /// Leaves a channel where it is joined, and forgets it for good.
    pub(crate) fn forget(&self, channel: &ChannelId) -> Result<(), Failed> {
        if let Face::Node { .. } = &self.face {
            match self.leave(channel) {
                Err(Failed { code: RC_ERR_CHANNEL, .. }) => {}
                left => left?,
            }
        }
        Ok(self.wait(self.manager().remove_channel(channel))?)
    }

    pub(crate) fn wrap(&self, channel: &ChannelId, id: &Bytes, content: Bytes) -> Result<Wrapped, Failed> {
        let manager = self.bare()?;
        Ok(if id.is_empty() {
            self.wait(manager.wrap_outgoing(channel, content))
        } else {
            self.wait(manager.wrap_outgoing_with_id(channel, MessageId::new(id), content))
        }?)
    }

    pub(crate) fn wrap_ephemeral(&self, channel: &ChannelId, content: Bytes) -> Result<Wrapped, Failed> {
        let manager = self.bare()?;
        Ok(self.wait(manager.wrap_ephemeral(channel, content))?)
    }

    pub(crate) fn unwrap(&self, bytes: Bytes) -> Result<Unwrapped, Failed> {
        let manager = self.bare()?;
        Ok(self.wait(manager.unwrap_received(bytes))?)
    }

    pub(crate) fn send(&self, channel: &ChannelId, content: Bytes) -> Result<RequestId, Failed> {
        let joined = self.joined(channel)?;
        Ok(self.wait(joined.send(content))?)
    }

    pub(crate) fn send_ephemeral(&self, channel: &ChannelId, content: Bytes) -> Result<(), Failed> {
        let joined = self.joined(channel)?;
        Ok(self.wait(joined.send_ephemeral(content))?)
    }

    /// The log as people read it: large payloads whole. And the incarnation in which its deliveries have their numbers now.
    pub(crate) fn log(&self, channel: &ChannelId) -> Result<(Vec<Logged>, u64), Failed> {
        let log = match &self.face {
            Face::Manager(manager) => manager.log(channel)?,
            Face::Node { .. } => self.joined(channel)?.history()?,
        };
        Ok((log, self.manager().cursor(channel)?.incarnation))
    }

    pub(crate) fn state(&self, channel: &ChannelId, id: &MessageId) -> Result<Option<RequestState>, Failed> {
        if let Face::Node { .. } = &self.face {
            return Ok(self.joined(channel)?.request(&RequestId::new(id))?);
        }
        let state = self.manager().delivery_state(channel, id)?;
        Ok(state.and_then(|state| match state {
            DeliveryState::Unacknowledged => Some(RequestState::Pending),
            DeliveryState::PossiblyAcknowledged { chance } => Some(RequestState::PossiblyDelivered { chance }),
            DeliveryState::Acknowledged => Some(RequestState::Delivered { by: Vec::new() }),
            DeliveryState::Failed => Some(RequestState::Failed),
            _ => None,
        }))
    }

    /// Does something with the manager, whose bytes the host carries itself.
    pub(crate) fn with_bare<F: Future<Output = Result<(), ManagerError>>>(
        &self,
        work: impl FnOnce(ReliabilityManager) -> F,
    ) -> Result<(), Failed> {
        Ok(self.wait(work(self.bare()?.clone()))?)
    }

    /// Does something with the manager behind it, that answers nothing.
    pub(crate) fn with_manager<F: Future<Output = Result<(), ManagerError>>>(
        &self,
        work: impl FnOnce(ReliabilityManager) -> F,
    ) -> Result<(), Failed> {
        Ok(self.wait(work(self.manager().clone()))?)
    }
}

fn no_transport() -> Failed {
    Failed::new(RC_ERR_TRANSPORT_MODE, "the manager has no transport")
}

/// Tells what happens in a channel until it is left.
async fn tell_all(inbox: Arc<Inbox>, channel: ChannelId, mut events: Events) {
    while let Some(event) = events.next().await {
        inbox.tell(Told::Channel(channel.clone(), event));
    }
}
