//! The rules of a transport, on servers of both generations, with history and without.

#![allow(clippy::disallowed_methods)] // real servers take real time

mod common;

use std::sync::Arc;

use reliable_channel::transport::conformance::Network;
use reliable_channel::transport::{Transport, TransportError};
use reliable_channel::transport_conformance;
use reliable_channel_nats::{History, Nats, Options};

use common::{Generation, Server};

struct OneServer {
    server: Result<Server, String>,
    history: Option<History>,
}

impl OneServer {
    fn new(generation: Generation, history: Option<History>) -> Self {
        Self { server: generation.program().map(|program| Server::start(&program)), history }
    }
}

#[async_trait::async_trait]
impl Network for OneServer {
    async fn member(&self) -> Result<Arc<dyn Transport>, TransportError> {
        let server = self.server.as_ref().map_err(|why| TransportError::Refused(why.clone()))?;
        let options = Options { history: self.history.clone(), ..server.options() };
        let connected = Nats::connect(options).await;
        Ok(Arc::new(connected.map_err(|error| TransportError::Refused(error.to_string()))?))
    }

    fn skipped(&self) -> Option<String> {
        self.server.as_ref().err().cloned()
    }
}

mod on_an_older_server {
    use super::*;
    transport_conformance!(OneServer::new(Generation::Older, Some(History::default())));
}

mod on_a_newer_server {
    use super::*;
    transport_conformance!(OneServer::new(Generation::Newer, Some(History::default())));
}

mod without_history {
    use super::*;
    transport_conformance!(OneServer::new(Generation::Newer, None));
}
