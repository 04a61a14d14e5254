//! Every rule of `transport::conformance` on every bundled transport, and a breach of every rule, which its test must notice.
#![cfg(all(feature = "testing", feature = "manager"))]
#![allow(clippy::unwrap_used)]

mod breaches;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reliable_channel::transport::conformance::Network;
use reliable_channel::transport::{
    CallbackTransport, Conditions, Incoming, MemoryNetwork, PeerAddr, Transport, TransportError,
};
use reliable_channel::transport_conformance;

struct Memory(MemoryNetwork);

#[async_trait::async_trait]
impl Network for Memory {
    async fn member(&self) -> Result<Arc<dyn Transport>, TransportError> {
        Ok(Arc::new(self.0.member()))
    }
}

/// A network that loses, doubles and reorders.
fn bad() -> MemoryNetwork {
    let network = MemoryNetwork::seeded(5);
    let (min_delay, max_delay) = (Duration::from_millis(1), Duration::from_millis(20));
    network.set_conditions(Conditions { loss: 0.3, duplicate: 0.1, min_delay, max_delay });
    network
}

/// A host that passes on between its transports what they publish.
#[derive(Clone, Default)]
struct Host(Arc<Mutex<Vec<CallbackTransport>>>);

#[async_trait::async_trait]
impl Network for Host {
    async fn member(&self) -> Result<Arc<dyn Transport>, TransportError> {
        let host = self.clone();
        let own = self.0.lock().unwrap().len();
        let publish = move |topic: &_, to: Option<&PeerAddr>, bytes| {
            let incoming = Incoming::new(bytes).sent_by(own.to_string().as_str().into());
            for (at, member) in host.0.lock().unwrap().iter().enumerate().filter(|(at, _)| *at != own) {
                if to.is_none_or(|to| to.as_bytes() == at.to_string().as_bytes()) {
                    member.receive(topic, &incoming);
                }
            }
            Ok(None)
        };
        let member = CallbackTransport::new(10_000, publish, |_, _| {});
        self.0.lock().unwrap().push(member.clone());
        Ok(Arc::new(member))
    }
}

mod memory {
    use super::*;
    transport_conformance!(Memory(MemoryNetwork::new()));
}

mod a_bad_network_in_memory {
    use super::*;
    transport_conformance!(Memory(bad()));
}

mod callbacks {
    use super::*;
    transport_conformance!(Host::default());
}
