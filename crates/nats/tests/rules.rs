//! The rules of a transport, on servers of both generations, with history and without; and those of an archive.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // tests, of real servers that take real time

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use reliable_channel::reconcile::{Item, Rid};
use reliable_channel::state::{Body, LogKey};
use reliable_channel::store::Archive;
use reliable_channel::store::archive::conformance;
use reliable_channel::transport::conformance::Network;
use reliable_channel::transport::{Transport, TransportError};
use reliable_channel::transport_conformance;
use reliable_channel::types::Lamport;
use reliable_channel_nats::{ArchiveOptions, History, Nats, Options};

use common::{BOTH, Generation, Server};

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

#[tokio::test]
async fn an_archive_in_a_stream_keeps_the_rules_also_over_a_restart() {
    for generation in BOTH {
        let mut server = Server::start(&program_or_skip!(generation));
        let nats = Nats::connect(server.options()).await.unwrap();
        conformance::check(|| Arc::new(nats.archive(ArchiveOptions::default()))).await;
        let in_memory = ArchiveOptions { stream: "other".into(), in_memory: true, ..ArchiveOptions::default() };
        let elsewhere = Nats::connect(Options { prefix: "team".into(), ..server.options() }).await.unwrap();
        conformance::check(|| Arc::new(elsewhere.archive(in_memory.clone()))).await;

        let (archive, lobby) = (nats.archive(ArchiveOptions::default()), "lobby".into());
        archive.put(&lobby, &[message(1)]).await.unwrap();
        server.kill();
        archive.put(&lobby, &[message(2)]).await.unwrap_err();
        server.up();
        put(&archive, message(3)).await;
        let there: Vec<u64> =
            archive.list(&lobby, None, 9).await.unwrap().iter().map(|(key, _)| key.lamport.0).collect();
        assert_eq!(there, [1, 3]);

        // Another archive on the same stream replaces a message, and a third one's are read by the first as its own.
        let second = nats.archive(ArchiveOptions::default());
        assert_eq!(second.list(&lobby, None, 9).await.unwrap().len(), 2);
        let (rid, body) = message(3);
        second.put(&lobby, &[(Rid([9; 32]), body)]).await.unwrap();
        assert_eq!(archive.get(&lobby, &[Item { lamport: Lamport(3), rid }]).await.unwrap(), []);
        assert_eq!(second.page(&lobby, None, 1).await.unwrap(), [message(3).1]);

        // What the server lost is not there, and what comes then is kept.
        server.kill();
        server.forget();
        server.up();
        put(&archive, message(4)).await;
        let page = archive.page(&lobby, None, 9).await.unwrap();
        assert_eq!(page, [message(4).1], "{generation:?}");
    }
}

#[tokio::test]
async fn a_stream_that_is_none_of_an_archives_or_is_full_says_so() {
    for generation in BOTH {
        let server = Server::start(&program_or_skip!(generation));
        let nats = Nats::connect(server.options()).await.unwrap();
        let options = |stream: &str| ArchiveOptions { stream: stream.into(), ..ArchiveOptions::default() };
        let error = nats.archive(options("rc")).put(&"lobby".into(), &[message(1)]).await.unwrap_err();
        assert!(error.to_string().contains("add rc.archive.1.*.*.* to it, or name another stream"), "{error}");
        let error = nats.archive(options("a b")).list(&"lobby".into(), None, 1).await.unwrap_err();
        assert!(error.to_string().contains("cannot be the name of a stream"), "{error}");
        let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
        let limits = stream::Config {
            name: "limits".into(),
            subjects: vec!["rc.archive.>".into()],
            max_messages_per_subject: 1,
            ..stream::Config::default()
        };
        for not in [
            stream::Config { max_messages_per_subject: 2, ..limits.clone() },
            stream::Config { max_age: Duration::from_secs(60), ..limits },
        ] {
            context.create_stream(not).await.unwrap();
            let error = nats.archive(options("limits")).put(&"lobby".into(), &[message(1)]).await.unwrap_err();
            assert!(error.to_string().contains("make it with `--max-msgs-per-subject 1 --discard new`"), "{error}");
            context.delete_stream("limits").await.unwrap();
        }
        let full = nats.archive(ArchiveOptions { max_bytes: Some(1_000), ..options("full") });
        full.put(&"lobby".into(), &[message(1)]).await.unwrap();
        let (rid, body) = message(2);
        let mut large = (*body).clone();
        large.content = vec![7; 2_000].into();
        let error = full.put(&"lobby".into(), &[(rid, Arc::new(large))]).await.unwrap_err();
        assert!(error.to_string().contains("look at its limits"), "{error}");
        assert_eq!(full.page(&"lobby".into(), None, 9).await.unwrap(), [message(1).1]);
    }
}

fn message(lamport: u64) -> (Rid, Arc<Body>) {
    let key = LogKey { lamport: Lamport(lamport), id: format!("m{lamport}").as_str().into() };
    (Rid([u8::try_from(lamport).unwrap(); 32]), Arc::new(Body::new(key, "alice".into(), "hello".into())))
}

/// Puts it as soon as there is a server.
async fn put(archive: &impl Archive, message: (Rid, Arc<Body>)) {
    let put = async {
        while archive.put(&"lobby".into(), std::slice::from_ref(&message)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), put).await.unwrap();
}
