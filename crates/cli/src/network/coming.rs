//! A network that may not be there yet: what the store has is shown meanwhile.
//!
//! What: [`Coming`], and its transport, whose calls wait for the network. Why: who opens a chat wants to read, and a server is
//! far away or gone. How it moves: the local network is joined at once, or not at all; a server is connected to beside
//! everything else, and [`Coming::notice`] says how that ended.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use reliable_channel::transport::{Hint, PeerAddr, Subscription, Topic, Transport, TransportError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{NatsArgs, Network, UdpArgs};

/// The largest message until the network says otherwise: what every network here carries.
const MAX_BYTES: usize = 64 << 10;

pub(crate) struct Coming {
    pub(crate) transport: Arc<dyn Transport>,
    now: Now,
}

enum Now {
    Joining(JoinHandle<anyhow::Result<Network>>),
    There { network: Network, notes: VecDeque<String> },
}

impl Coming {
    /// The local network, or an error; a server is only asked.
    pub(crate) async fn join(udp: &UdpArgs, nats: &NatsArgs) -> anyhow::Result<Self> {
        if nats.nats.is_none() {
            let network = Network::join(udp, nats).await?;
            return Ok(Self { transport: network.transport.clone(), now: Now::there(network) });
        }
        let (tells, there) = watch::channel(None);
        let (udp, nats) = (udp.clone(), nats.clone());
        let joining = tokio::spawn(async move {
            let network = Network::join(&udp, &nats).await?;
            tells.send_replace(Some(network.transport.clone()));
            Ok(network)
        });
        Ok(Self { transport: Arc::new(Late { there, max: watch::Sender::new(MAX_BYTES) }), now: Now::Joining(joining) })
    }

    /// Whether it is joined, and what there was to say of that was said. A server may be gone again.
    pub(crate) fn is_there(&self) -> bool {
        matches!(&self.now, Now::There { notes, .. } if notes.is_empty())
    }

    /// What there is to say next; nothing when it has just been joined. Nothing is lost when the wait is given up.
    ///
    /// # Errors
    /// It cannot be joined. That is the end.
    pub(crate) async fn notice(&mut self) -> anyhow::Result<Option<String>> {
        match &mut self.now {
            Now::Joining(joining) => {
                let network = joining.await??;
                self.now = Now::there(network);
                Ok(None)
            }
            Now::There { network, notes } => match notes.pop_front() {
                Some(note) => Ok(Some(note)),
                None => match network.notices.recv().await {
                    Some(notice) => Ok(Some(notice)),
                    None => std::future::pending().await,
                },
            },
        }
    }
}

impl Now {
    fn there(mut network: Network) -> Self {
        let notes = std::mem::take(&mut network.notes).into();
        Self::There { network, notes }
    }
}

/// Calls wait until the network is there.
struct Late {
    there: watch::Receiver<Option<Arc<dyn Transport>>>,
    max: watch::Sender<usize>,
}

impl Late {
    async fn there(&self) -> Result<Arc<dyn Transport>, TransportError> {
        let mut there = self.there.clone();
        let found = there.wait_for(Option::is_some).await.ok().and_then(|there| there.clone());
        found.ok_or_else(|| TransportError::Refused("it cannot be joined".to_owned()))
    }
}

#[async_trait]
impl Transport for Late {
    async fn subscribe(&self, topic: &Topic) -> Result<Subscription, TransportError> {
        self.there().await?.subscribe(topic).await
    }

    async fn publish(
        &self,
        topic: &Topic,
        to: Option<&PeerAddr>,
        bytes: Bytes,
    ) -> Result<Option<Hint>, TransportError> {
        self.there().await?.publish(topic, to, bytes).await
    }

    async fn fetch(&self, topic: &Topic, hints: &[Hint]) -> Result<Vec<Bytes>, TransportError> {
        self.there().await?.fetch(topic, hints).await
    }

    fn max_bytes(&self) -> watch::Receiver<usize> {
        self.max.subscribe()
    }
}
