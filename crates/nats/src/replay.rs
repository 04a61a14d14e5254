//! What the stream has of a topic, read from somewhere on: [`Replay`].
//!
//! Why: live messages reach who is there, and the stream has the rest. How it moves: a consumer of the stream from a sequence
//! or a time on, of one topic, read to the end that it had, and removed. A member has one at a time, in however many channels
//! it is: a server carries many channels, but not many consumers.

use std::time::{Duration, SystemTime};

use async_nats::Message;
use async_nats::datetime::from_nanos;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy};
use futures_util::StreamExt as _;

/// Messages asked for at once, and their bytes.
const BATCH: u64 = 256;
const BATCH_BYTES: usize = 4 << 20;
/// How long the server keeps a consumer that nobody reads.
const UNREAD: Duration = Duration::from_secs(30);
/// How long the next message may take.
const SILENCE: Duration = Duration::from_secs(5);

/// From where on a topic is read from the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Replay {
    /// So many messages, the newest ones, oldest first.
    Newest(u64),
    /// All that came to the server since.
    Since(SystemTime),
    /// All after this sequence of the stream, or all, where the stream was made anew since.
    After(u64),
}

/// What of a message is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Whole,
    Headers,
}

/// What the stream had.
pub(crate) struct Reading {
    context: Context,
    stream: String,
    consumer: Consumer<Config>,
    /// Messages to be read.
    left: u64,
    /// Of those, so many come first that were not asked for.
    skip: u64,
    batch: Vec<Message>,
}

impl Reading {
    /// Begins to read. The error says what the server said.
    pub(crate) async fn begin(
        context: Context,
        stream: &str,
        subject: &str,
        from: Replay,
        content: Content,
    ) -> Result<Self, String> {
        let found = context.get_stream(stream).await.map_err(|error| error.to_string())?;
        let state = found.cached_info().state.clone();
        let (first, last) = (state.first_sequence.max(1), state.last_sequence);
        let after = |sequence: u64| DeliverPolicy::ByStartSequence { start_sequence: sequence.saturating_add(1) };
        let mut skip = 0;
        let consumer = match from {
            Replay::Since(time) => {
                let nanos = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
                let start_time =
                    from_nanos(i128::try_from(nanos).unwrap_or(i128::MAX)).map_err(|error| error.to_string())?;
                consume(&context, stream, (subject, content), DeliverPolicy::ByStartTime { start_time }).await?
            }
            Replay::After(sequence) if sequence <= last => {
                consume(&context, stream, (subject, content), after(sequence)).await?
            }
            Replay::After(_) => consume(&context, stream, (subject, content), DeliverPolicy::All).await?,
            Replay::Newest(wanted) => {
                let mut window = wanted.saturating_mul(2);
                loop {
                    let before = last.saturating_sub(window);
                    let consumer = consume(&context, stream, (subject, content), after(before)).await?;
                    let pending = consumer.cached_info().num_pending;
                    if pending >= wanted || before < first {
                        skip = pending.saturating_sub(wanted);
                        break consumer;
                    }
                    remove(&context, stream, &consumer).await;
                    window = window.saturating_mul(8);
                }
            }
        };
        let left = consumer.cached_info().num_pending;
        Ok(Self { context, stream: stream.to_owned(), consumer, left, skip, batch: Vec::new() })
    }

    /// The next messages; none at the end.
    pub(crate) async fn next(&mut self) -> Result<&[Message], String> {
        self.batch.clear();
        while self.left > 0 && self.batch.is_empty() {
            let came = match self.fetch(self.left.min(BATCH) as usize, BATCH_BYTES).await {
                // A message that is larger than all of a batch may be.
                Ok(0) | Err(_) => self.fetch(1, usize::MAX >> 1).await?,
                Ok(came) => came,
            };
            // What left the stream since it was counted does not come.
            self.left = if came == 0 { 0 } else { self.left.saturating_sub(came) };
        }
        Ok(&self.batch)
    }

    /// Asks once. Gives how many came.
    async fn fetch(&mut self, messages: usize, bytes: usize) -> Result<u64, String> {
        let fetch = self.consumer.fetch().max_messages(messages).max_bytes(bytes);
        let mut messages = fetch.messages().await.map_err(|error| error.to_string())?;
        let mut came = 0;
        let silent = |_| "the stream does not answer".to_owned();
        while let Some(item) = tokio::time::timeout(SILENCE, messages.next()).await.map_err(silent)? {
            let message = match item {
                Ok(message) => message,
                // The bytes are used up.
                Err(_) if came > 0 => break,
                Err(error) => return Err(error.to_string()),
            };
            came += 1;
            match self.skip {
                0 => self.batch.push(message.message),
                _ => self.skip -= 1,
            }
        }
        Ok(came)
    }

    /// Removes what the server has of it.
    pub(crate) async fn end(self) {
        remove(&self.context, &self.stream, &self.consumer).await;
    }
}

async fn consume(
    context: &Context,
    stream: &str,
    (subject, content): (&str, Content),
    deliver_policy: DeliverPolicy,
) -> Result<Consumer<Config>, String> {
    let config = Config {
        deliver_policy,
        ack_policy: AckPolicy::None,
        filter_subject: subject.to_owned(),
        headers_only: content == Content::Headers,
        inactive_threshold: UNREAD,
        memory_storage: true,
        num_replicas: 1,
        ..Config::default()
    };
    context.create_consumer_on_stream(config, stream).await.map_err(|error| error.to_string())
}

/// What cannot be removed the server removes by itself.
async fn remove(context: &Context, stream: &str, consumer: &Consumer<Config>) {
    let _ = context.delete_consumer_from_stream(&consumer.cached_info().name, stream).await;
}
