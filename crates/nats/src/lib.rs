//! [`Nats`]: a [`Transport`] over servers of NATS, with what was said kept in a stream of JetStream.
//!
//! What: topics as subjects, one connection a member, and hints that find a message in the stream. Why the server is not
//! trusted with anything: it restarts, forgets and is replaced, and what members have they repair among themselves. How it
//! moves: what is published goes out as plain messages of core NATS, which the stream keeps as one subscriber among others;
//! its answer is the message's hint. One task keeps the stream, one takes what is for this member alone, and one each topic
//! that is read here.
//!
//! README.md has the subjects, the options and what a user of the server must be allowed.
//!
//! ```no_run
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use reliable_channel::transport::{Topic, Transport};
//! use reliable_channel_nats::{Nats, Options};
//!
//! let network = Nats::connect(Options { url: "nats://127.0.0.1:4222".into(), ..Options::default() }).await?;
//! let hint = network.publish(&Topic::from("lobby"), None, "hello".into()).await?;
//! println!("{}, kept under {hint:?}", network.status().borrow().clone());
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```

#![forbid(unsafe_code)]

mod answers;
mod archive;
mod archived;
mod connect;
mod fill;
mod keeper;
mod missed;
mod options;
mod refusals;
mod replay;
mod shared;
mod status;
mod stream;
mod subject;
mod topics;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::client::{PublishError, PublishErrorKind};
use async_nats::{Client, Subscriber, jetstream};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use reliable_channel::transport::{Hint, PeerAddr, Subscription, Topic, Transport, TransportError};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

pub use archive::{ArchiveOptions, NatsArchive};
pub use options::{Credentials, History, NatsError, Options, Tls};
pub use replay::Replay;
pub use status::{ConnectionStatus, HistoryStatus, Status};

use answers::{Answer, UNAWAITED};
use fill::Filler;
use refusals::Act;
use shared::Shared;
use subject::{Names, under};
use topics::Topics;

/// How long a call waits for a connection that is lost.
const RECONNECTING: Duration = Duration::from_secs(2);
/// How long a subscription waits for the server to know of it.
const ROUND_TRIP: Duration = Duration::from_secs(1);
/// How long the first look for the stream may take.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// A member on a server. Clones are the same member, which leaves with the last one.
///
/// Own messages do not come back. Addresses are names that are drawn when the member connects; they are not authenticated.
#[derive(Clone, Debug)]
pub struct Nats(Arc<Member>);

#[derive(Debug)]
struct Member {
    client: Client,
    prefix: String,
    shared: Arc<Shared>,
    topics: Arc<Topics>,
    /// Whether the server says that nobody is there: then it has taken what was sent before.
    tells_nobody: AtomicBool,
    tasks: [AbortHandle; 2],
    filler: Arc<Filler>,
    /// Topics that are read from the stream for new subscriptions.
    fills: Mutex<JoinSet<()>>,
}

impl Nats {
    /// Connects. Must be called inside a tokio runtime with network and time, whose tasks it uses until it is dropped.
    ///
    /// A stream that cannot be had is no error: [`status`](Self::status) says why, and it is tried again.
    ///
    /// # Errors
    /// [`NatsError`], each with what to do about it.
    pub async fn connect(options: Options) -> Result<Self, NatsError> {
        let mut entropy = [0; 10];
        getrandom::fill(&mut entropy).map_err(|error| NatsError::Entropy(error.to_string()))?;
        let names =
            Names::new(&options.prefix, entropy).ok_or_else(|| NatsError::Prefix { prefix: options.prefix.clone() })?;
        let url = options::without_secrets(&options.url);
        let shared = Arc::new(Shared::new(names, url, options.history.clone(), options.max_message));
        let client = connect::connect(&options, &shared).await?;
        if client.try_server_info().is_some() {
            // The event of it may still be on its way.
            shared.connection(ConnectionStatus::Up);
            shared.measure(&client);
        }
        let personal = client
            .subscribe(shared.names.personal())
            .await
            .map_err(|error| NatsError::NoServer { url: shared.url.clone(), why: error.to_string() })?;
        let tasks = [
            tokio::spawn(take_personal(shared.clone(), personal)).abort_handle(),
            tokio::spawn(keeper::keep(client.clone(), shared.clone())).abort_handle(),
        ];
        let topics = Arc::new(Topics::new(shared.clone()));
        let filler = Arc::new(Filler::new(client.clone(), shared.clone()));
        let mut status = shared.status.subscribe();
        let nats = Self(Arc::new(Member {
            client,
            prefix: options.prefix,
            shared,
            topics,
            tells_nobody: AtomicBool::new(true),
            tasks,
            filler,
            fills: Mutex::default(),
        }));
        let is_known = |status: &Status| {
            status.history != HistoryStatus::Unknown || matches!(status.connection, ConnectionStatus::Down(_))
        };
        // What takes longer is told when it is known.
        let _ = tokio::time::timeout(FIRST_LOOK, status.wait_for(is_known)).await;
        Ok(nats)
    }

    /// How the member stands with the server, now and whenever it changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.0.shared.status.subscribe()
    }

    /// Hands what the stream has of a topic to those here who subscribed to it, from somewhere on, as fast as they read it.
    /// Gives how many messages there were. A subscription does that by itself with [`History::newest`]; this is for who knows
    /// better since when it was away.
    ///
    /// # Errors
    /// [`TransportError::Unsupported`] without history, [`TransportError::Unavailable`] when the stream does not answer.
    pub async fn replay(&self, topic: &Topic, from: Replay) -> Result<u64, TransportError> {
        self.0.filler.replay(topic, from).await.map(|handed| handed.messages)
    }

    fn client(&self) -> &Client {
        &self.0.client
    }

    fn prefix(&self) -> &str {
        &self.0.prefix
    }

    async fn connected(&self) -> Result<(), TransportError> {
        let shared = &self.0.shared;
        if shared.status.borrow().connection == ConnectionStatus::Up {
            return Ok(());
        }
        let mut status = shared.status.subscribe();
        let up = status.wait_for(|status| status.connection == ConnectionStatus::Up);
        if tokio::time::timeout(RECONNECTING, up).await.is_ok_and(|up| up.is_ok()) {
            return Ok(());
        }
        Err(TransportError::Unavailable(match &shared.status.borrow().connection {
            ConnectionStatus::Down(why) => why.clone(),
            ConnectionStatus::Up => "the connection is unsteady".to_owned(),
        }))
    }

    async fn send(&self, subject: String, number: u64, bytes: Bytes) -> Result<(), TransportError> {
        let Member { client, shared, .. } = &*self.0;
        let len = bytes.len();
        client.publish_with_reply(subject, shared.names.answer(number), bytes).await.map_err(|error: PublishError| {
            match error.kind() {
                // The server has changed its limit just now.
                PublishErrorKind::MaxPayloadExceeded => {
                    shared.measure(client);
                    TransportError::TooLarge { bytes: len, max: *shared.max_bytes.borrow() }
                }
                PublishErrorKind::Send => TransportError::Unavailable(error.to_string()),
                PublishErrorKind::InvalidSubject => TransportError::Refused(error.to_string()),
            }
        })
    }

    /// Waits until the server has taken what was sent before: it answers that nobody is there. Where somebody listens to all
    /// subjects it does not, and nothing waits for that again.
    async fn round_trip(&self) -> Result<(), TransportError> {
        let Member { shared, tells_nobody, .. } = &*self.0;
        if !tells_nobody.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut waiting = shared.answers.begin();
        self.send(shared.names.nobody(), waiting.number, Bytes::new()).await?;
        match tokio::time::timeout(ROUND_TRIP, waiting.answer()).await {
            Ok(Some(_)) => {}
            Ok(None) => return Err(lost()),
            Err(_) => tells_nobody.store(false, Ordering::Relaxed),
        }
        Ok(())
    }
}

impl Member {
    /// Reads what a new subscription lacks, in a task of its own, which ends with this member.
    fn fill(&self, topic: &Topic) {
        let Some(history) = self.shared.history.clone() else { return };
        let (filler, topic) = (self.filler.clone(), topic.clone());
        let filling = self.shared.missed.begin(&under(&topic));
        let mut fills = self.fills.lock().unwrap_or_else(PoisonError::into_inner);
        while fills.try_join_next().is_some() {}
        fills.spawn(async move { filler.fill(&topic, &history, filling).await });
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.topics.end();
    }
}

#[async_trait]
impl Transport for Nats {
    async fn subscribe(&self, topic: &Topic) -> Result<Subscription, TransportError> {
        self.connected().await?;
        let Member { client, shared, topics, .. } = &*self.0;
        let subject = shared.names.topic(topic);
        // What was said of it before counts no more.
        shared.refusals.take(&subject);
        let subscriber =
            client.subscribe(subject.clone()).await.map_err(|error| TransportError::Unavailable(error.to_string()))?;
        let subscription = topics.begin(&under(topic), subscriber);
        self.round_trip().await?;
        if let Some(why) = shared.refusals.take(&subject) {
            let topics = shared.names.topics();
            return Err(TransportError::Refused(format!("{why}; let this user subscribe to {topics}")));
        }
        shared.done(Act::Subscribe, &subject);
        self.0.fill(topic);
        Ok(subscription)
    }

    async fn publish(
        &self,
        topic: &Topic,
        to: Option<&PeerAddr>,
        bytes: Bytes,
    ) -> Result<Option<Hint>, TransportError> {
        self.connected().await?;
        let Member { shared, .. } = &*self.0;
        let max = *shared.max_bytes.borrow();
        if bytes.len() > max {
            return Err(TransportError::TooLarge { bytes: bytes.len(), max });
        }
        let subject = match to {
            None => shared.names.topic(topic),
            Some(peer) => shared
                .names
                .participant(peer, topic)
                .ok_or_else(|| TransportError::Refused("this address is not one of a participant on NATS".into()))?,
        };
        let Some(history) = shared.history.as_ref().filter(|_| to.is_none() && shared.keeps()) else {
            self.send(subject, UNAWAITED, bytes).await?;
            return Ok(None);
        };
        let mut waiting = shared.answers.begin();
        self.send(subject.clone(), waiting.number, bytes).await?;
        match tokio::time::timeout(history.patience, waiting.answer()).await {
            Ok(Some(Answer::Kept(sequence))) => {
                shared.done(Act::Publish, &subject);
                Ok(Some(hint(sequence)))
            }
            Ok(Some(Answer::Refused { .. })) => Ok(None),
            Ok(Some(Answer::Nobody)) => {
                shared.failing("the stream is gone; it is made again".to_owned());
                shared.anew.notify_one();
                Ok(None)
            }
            // Whether it went out nobody knows: it is published again.
            Ok(None) => Err(lost()),
            Err(_) => {
                shared.failing("the stream does not answer; look at the server's log".to_owned());
                shared.silent.notify_one();
                Ok(None)
            }
        }
    }

    async fn fetch(&self, topic: &Topic, hints: &[Hint]) -> Result<Vec<Bytes>, TransportError> {
        let Member { client, shared, .. } = &*self.0;
        let history = shared.history.as_ref().ok_or(TransportError::Unsupported)?;
        self.connected().await?;
        let is_direct = shared
            .is_direct()
            .ok_or_else(|| TransportError::Unavailable("there is no stream to fetch from yet".to_owned()))?;
        let stream = jetstream::new(client.clone())
            .get_stream_no_info(&history.stream)
            .await
            .map_err(|error| TransportError::Unavailable(error.to_string()))?;
        let subject = shared.names.topic(topic);
        let one = |sequence| stream::get(&stream, is_direct, sequence, &subject);
        let found = join_all(hints.iter().filter_map(sequence).map(one)).await;
        Ok(found.into_iter().flatten().collect())
    }

    fn max_bytes(&self) -> watch::Receiver<usize> {
        self.0.shared.max_bytes.subscribe()
    }
}

async fn take_personal(shared: Arc<Shared>, mut personal: Subscriber) {
    while let Some(message) = personal.next().await {
        shared.take_personal(message);
    }
}

/// A sequence of the stream, big-endian, without zeros in front.
fn hint(sequence: u64) -> Hint {
    let zeros = sequence.leading_zeros() as usize / 8;
    Hint::new(sequence.to_be_bytes()[zeros..].to_vec())
}

fn sequence(hint: &Hint) -> Option<u64> {
    let bytes = hint.as_bytes();
    let is_one = (1..=8).contains(&bytes.len());
    is_one.then(|| bytes.iter().fold(0, |sequence, byte| sequence << 8 | u64::from(*byte)))
}

fn lost() -> TransportError {
    TransportError::Unavailable("the connection was lost before the server had answered".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_as_short_as_its_sequence_and_strange_ones_are_none() {
        for (number, len) in [(1, 1), (255, 1), (256, 2), (u64::MAX, 8)] {
            assert_eq!(hint(number).as_bytes().len(), len);
            assert_eq!(sequence(&hint(number)), Some(number));
        }
        assert_eq!(sequence(&Hint::new("")), None);
        assert_eq!(sequence(&Hint::new("123456789")), None);
    }
}

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
