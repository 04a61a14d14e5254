//! [`Filler`]: hands what the stream has of a topic to those who read it here.
//!
//! Why apart from the member: it reads for as long as readers take, and must not keep a member alive that was dropped. How it
//! moves: one topic at a time, from where it lacks something, no faster than its readers read.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, jetstream};
use reliable_channel::transport::{Incoming, Topic, TransportError};

use crate::missed::{Filling, Lack};
use crate::options::History;
use crate::replay::{Content, Reading, Replay};
use crate::shared::Shared;
use crate::subject::under;

/// How long a replay waits for readers that are half full.
const FULL: Duration = Duration::from_millis(10);
/// How long the stream is waited for that is not found yet.
const NO_STREAM: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Filler {
    client: Client,
    shared: Arc<Shared>,
    /// One consumer at a time.
    reading: tokio::sync::Mutex<()>,
}

/// What was handed on.
pub(crate) struct Handed {
    pub(crate) messages: u64,
    /// Whether that was all.
    all: bool,
}

impl Filler {
    pub(crate) fn new(client: Client, shared: Arc<Shared>) -> Self {
        Self { client, shared, reading: tokio::sync::Mutex::default() }
    }

    /// Reads what this topic lacks, once there is a stream.
    pub(crate) async fn fill(&self, topic: &Topic, history: &History, filling: Filling) {
        let from = match filling.lack {
            Lack::After(sequence) => Replay::After(sequence),
            Lack::History | Lack::Nothing => Replay::Newest(history.newest),
        };
        let mut status = self.shared.status.subscribe();
        let kept = status.wait_for(crate::Status::keeps);
        if !matches!(tokio::time::timeout(NO_STREAM, kept).await, Ok(Ok(_))) {
            return;
        }
        // What cannot be read is repaired by other members.
        if from == Replay::Newest(0) || self.replay(topic, from).await.is_ok_and(|handed| handed.all) {
            self.shared.missed.filled(&under(topic), filling);
        }
    }

    pub(crate) async fn replay(&self, topic: &Topic, from: Replay) -> Result<Handed, TransportError> {
        let history = self.shared.history.as_ref().ok_or(TransportError::Unsupported)?;
        let _alone = self.reading.lock().await;
        let subject = self.shared.names.topic(topic);
        let context = jetstream::new(self.client.clone());
        let reading = Reading::begin(context, &history.stream, &subject, from, Content::Whole).await;
        let mut reading = reading.map_err(TransportError::Unavailable)?;
        let outcome = self.hand_on(&mut reading, &under(topic)).await;
        reading.end().await;
        outcome.map_err(TransportError::Unavailable)
    }

    async fn hand_on(&self, reading: &mut Reading, token: &Topic) -> Result<Handed, String> {
        let readers = &self.shared.subscribers;
        let mut messages = 0;
        loop {
            let batch = reading.next().await?;
            if batch.is_empty() {
                return Ok(Handed { messages, all: true });
            }
            for message in batch {
                while !readers.have_room(token) {
                    tokio::time::sleep(FULL).await;
                }
                if !readers.is_read(token) {
                    return Ok(Handed { messages, all: false });
                }
                readers.hand_in(token, &Incoming::new(message.payload.clone()));
                messages += 1;
            }
        }
    }
}
