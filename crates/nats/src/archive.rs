//! [`NatsArchive`]: messages beyond the log, in a stream of JetStream.
//!
//! What: each message under a subject of its own, which says its channel and its place in the log. Why not the stream of
//! [`History`](crate::History): that has what was sent, once for each time it was sent, in the order of arrival and until its
//! limits. How it moves: what is put is published all at once, and all acknowledgements are waited for; which messages there
//! are is read once for each channel, without their bodies, and kept in memory; a body is read by its subject.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::stream::{
    Config, DirectGetErrorKind, DiscardPolicy, LastRawMessageErrorKind, StorageType, Stream,
};
use async_nats::jetstream::{self, Context};
use async_trait::async_trait;
use futures_util::future::{join_all, try_join_all};
use reliable_channel::reconcile::{Item, Rid};
use reliable_channel::state::{Body, LogKey};
use reliable_channel::store::{Archive, PersistenceError, PersistenceErrorKind};
use reliable_channel::types::ChannelId;

use crate::Nats;
use crate::archived::{Places, decode, encode, headers, place, rid};
use crate::replay::{Content, Reading, Replay};
use crate::stream::{self, or_any};

/// Bodies that are asked for at once.
const AT_ONCE: usize = 64;

/// The stream that an archive keeps its messages in. It is made where there is none of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveOptions {
    /// Its name. Default `rc-archive`.
    pub stream: String,
    /// Bytes kept in all; beyond, nothing more is kept, and that is an error. Default any number.
    pub max_bytes: Option<u64>,
    /// How many servers of a cluster keep each message: 1, 3 or 5. Default 1.
    pub replicas: usize,
    /// Whether it is kept in memory alone. Default no.
    pub in_memory: bool,
}

impl Default for ArchiveOptions {
    fn default() -> Self {
        Self { stream: "rc-archive".to_owned(), max_bytes: None, replicas: 1, in_memory: false }
    }
}

/// An archive in a stream of JetStream. Clones are the same archive.
///
/// It takes some 150 bytes of memory for each message that it has. Several may use one stream: what all of them keep is
/// there once, and each knows what was there when it read the channel, and what it kept itself.
#[derive(Clone, Debug)]
pub struct NatsArchive(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    nats: Nats,
    options: ArchiveOptions,
    places: Places,
    /// The stream, once it was found or made.
    found: tokio::sync::Mutex<Option<Found>>,
    channels: Mutex<BTreeMap<ChannelId, Arc<Known>>>,
}

#[derive(Clone, Debug)]
struct Found {
    stream: Stream<()>,
    is_direct: bool,
    /// When it was made: another one has nothing of what was there.
    made: i128,
}

/// What a channel has, once it was read.
type Known = tokio::sync::Mutex<Option<Index>>;

#[derive(Debug)]
struct Index {
    /// When the stream was made that was read.
    made: i128,
    messages: BTreeMap<LogKey, Rid>,
}

impl Nats {
    /// An archive on the servers of this member, over its connection. Nothing is asked of them before it is used.
    #[must_use]
    pub fn archive(&self, options: ArchiveOptions) -> NatsArchive {
        let places = Places::new(self.prefix());
        let (found, channels) = (tokio::sync::Mutex::default(), Mutex::default());
        NatsArchive(Arc::new(Inner { nats: self.clone(), options, places, found, channels }))
    }
}

impl Inner {
    fn context(&self) -> Context {
        jetstream::new(self.nats.client().clone())
    }

    fn config(&self) -> Config {
        let ArchiveOptions { stream, max_bytes, replicas, in_memory } = &self.options;
        Config {
            name: stream.clone(),
            subjects: vec![self.places.all()],
            max_bytes: or_any(*max_bytes),
            max_messages: -1,
            // Another message in the same place replaces it.
            max_messages_per_subject: 1,
            discard: DiscardPolicy::New,
            num_replicas: *replicas,
            storage: if *in_memory { StorageType::Memory } else { StorageType::File },
            allow_direct: true,
            ..Config::default()
        }
    }

    /// The stream, found or made if nothing is known of it.
    async fn found(&self) -> Result<Found, String> {
        let mut found = self.found.lock().await;
        if let Some(found) = &*found {
            return Ok(found.clone());
        }
        self.nats.connected().await.map_err(|error| error.to_string())?;
        let context = self.context();
        let name = &self.options.stream;
        let is = stream::find(&context, &self.config()).await?;
        if !is.keeps_each {
            return Err(format!(
                "the stream {name} does not keep one message a subject for good; make it with `--max-msgs-per-subject 1 \
                 --discard new` and no limit of age, or name another stream"
            ));
        }
        let stream = context.get_stream_no_info(name).await.map_err(|error| error.to_string())?;
        Ok(found.insert(Found { stream, is_direct: is.is_direct, made: is.made }).clone())
    }

    fn known(&self, channel: &ChannelId) -> Arc<Known> {
        // Nothing under this lock panics halfway.
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.entry(channel.clone()).or_default().clone()
    }

    /// Which messages of a channel there are.
    async fn read(&self, channel: &ChannelId) -> Result<BTreeMap<LogKey, Rid>, String> {
        let (all, from) = (self.places.channel(channel), Replay::After(0));
        let mut reading = Reading::begin(self.context(), &self.options.stream, &all, from, Content::Headers).await?;
        let mut there = BTreeMap::new();
        let outcome = loop {
            match reading.next().await {
                Ok([]) => break Ok(()),
                Ok(batch) => there.extend(batch.iter().filter_map(|message| {
                    let headers = message.headers.as_ref()?;
                    Some((place(&message.subject, headers)?, rid(headers)?))
                })),
                Err(why) => break Err(why),
            }
        };
        reading.end().await;
        outcome.map(|()| there)
    }

    /// The message of this place, if it is there and is the one that is meant.
    async fn body(
        &self,
        found: &Found,
        channel: &ChannelId,
        key: &LogKey,
        meant: Rid,
    ) -> Result<Option<Arc<Body>>, String> {
        let subject = self.places.message(channel, key);
        let message = if found.is_direct {
            match found.stream.direct_get_last_for_subject(subject).await {
                Ok(message) => message,
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error.to_string()),
            }
        } else {
            match found.stream.get_last_raw_message_by_subject(&subject).await {
                Ok(message) => message,
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(None),
                Err(error) => return Err(error.to_string()),
            }
        };
        let is_meant = rid(&message.headers) == Some(meant);
        Ok(if is_meant { decode(channel, key, message.payload) } else { None })
    }

    /// What is known of a channel in this stream, which is read if it was not.
    async fn index<'a>(
        &self,
        found: &Found,
        channel: &ChannelId,
        known: &'a mut Option<Index>,
    ) -> Result<&'a mut BTreeMap<LogKey, Rid>, String> {
        let index = match known.take().filter(|index| index.made == found.made) {
            Some(index) => index,
            None => Index { made: found.made, messages: self.read(channel).await? },
        };
        Ok(&mut known.insert(index).messages)
    }

    async fn put(&self, channel: &ChannelId, messages: &[(Rid, Arc<Body>)]) -> Result<(), String> {
        let found = self.found().await?;
        let known = self.known(channel);
        let mut known = known.lock().await;
        let (context, stream) = (self.context(), &self.options.stream);
        let mut waiting = Vec::with_capacity(messages.len());
        for (rid, body) in messages {
            let (subject, bytes) = (self.places.message(channel, &body.key), encode(channel, body));
            let sent = context.publish_with_headers(subject, headers(&body.key, rid), bytes).await;
            waiting.push(sent.map_err(|error| error.to_string())?.into_future());
        }
        for answer in join_all(waiting).await {
            answer.map_err(|error| match error.kind() {
                PublishErrorKind::StreamNotFound => format!("the stream {stream} is gone; it is made again"),
                _ => format!("the stream {stream} does not keep it ({error}); look at its limits and at the server"),
            })?;
        }
        if let Some(index) = known.as_mut().filter(|index| index.made == found.made) {
            index.messages.extend(messages.iter().map(|(rid, body)| (body.key.clone(), *rid)));
        }
        Ok(())
    }

    async fn list(
        &self,
        channel: &ChannelId,
        after: Option<&LogKey>,
        limit: usize,
    ) -> Result<Vec<(LogKey, Rid)>, String> {
        let found = self.found().await?;
        let known = self.known(channel);
        let mut known = known.lock().await;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let there = self.index(&found, channel, &mut known).await?.range((from, Bound::Unbounded));
        Ok(there.take(limit).map(|(key, rid)| (key.clone(), *rid)).collect())
    }

    async fn get(&self, channel: &ChannelId, items: &[Item]) -> Result<Vec<Arc<Body>>, String> {
        let found = self.found().await?;
        let known = self.known(channel);
        let mut known = known.lock().await;
        let index = self.index(&found, channel, &mut known).await?;
        let place = |item: &Item| {
            let at = index.range(LogKey::first_at(item.lamport)..);
            let mut at = at.take_while(|(key, _)| key.lamport == item.lamport);
            at.find(|(_, rid)| **rid == item.rid).map(|(key, rid)| (key.clone(), *rid))
        };
        let places: Vec<(LogKey, Rid)> = items.iter().filter_map(place).collect();
        let mut bodies = Vec::with_capacity(places.len());
        for some in places.chunks(AT_ONCE) {
            bodies.extend(self.bodies(&found, channel, some, index).await?);
        }
        Ok(bodies)
    }

    async fn page(&self, channel: &ChannelId, before: Option<&LogKey>, limit: usize) -> Result<Vec<Arc<Body>>, String> {
        let found = self.found().await?;
        let known = self.known(channel);
        let mut known = known.lock().await;
        let index = self.index(&found, channel, &mut known).await?;
        let to = before.map_or(Bound::Unbounded, Bound::Excluded);
        loop {
            let places = index.range((Bound::Unbounded, to)).rev().take(limit.min(AT_ONCE));
            let places: Vec<(LogKey, Rid)> = places.map(|(key, rid)| (key.clone(), *rid)).collect();
            let bodies = self.bodies(&found, channel, &places, index).await?;
            // Those that were not there are not in the index any more.
            if places.is_empty() || !bodies.is_empty() {
                return Ok(bodies);
            }
        }
    }

    /// The messages of these places, in their order. What is not there, whoever removed it, is known no more.
    async fn bodies(
        &self,
        found: &Found,
        channel: &ChannelId,
        places: &[(LogKey, Rid)],
        index: &mut BTreeMap<LogKey, Rid>,
    ) -> Result<Vec<Arc<Body>>, String> {
        let read = places.iter().map(|(key, rid)| self.body(found, channel, key, *rid));
        let mut bodies = Vec::with_capacity(places.len());
        for ((key, _), body) in places.iter().zip(try_join_all(read).await?) {
            match body {
                Some(body) => bodies.push(body),
                None => drop(index.remove(key)),
            }
        }
        Ok(bodies)
    }

    async fn drop_channel(&self, channel: &ChannelId) -> Result<(), String> {
        let found = self.found().await?;
        let known = self.known(channel);
        let mut known = known.lock().await;
        *known = None;
        let purged = found.stream.purge().filter(self.places.channel(channel)).await;
        purged.map(drop).map_err(|error| error.to_string())
    }

    /// What became of a call. After one that failed, the stream is looked for again.
    async fn ended<T>(
        &self,
        verb: &'static str,
        channel: &ChannelId,
        call: impl Future<Output = Result<T, String>> + Send,
    ) -> Result<T, PersistenceError> {
        match call.await {
            Ok(done) => Ok(done),
            Err(why) => {
                *self.found.lock().await = None;
                Err(PersistenceError::new(verb, Some(channel), PersistenceErrorKind::Backend(why)))
            }
        }
    }
}

#[async_trait]
impl Archive for NatsArchive {
    async fn put(&self, channel: &ChannelId, messages: &[(Rid, Arc<Body>)]) -> Result<(), PersistenceError> {
        self.0.ended("put", channel, self.0.put(channel, messages)).await
    }

    async fn list(
        &self,
        channel: &ChannelId,
        after: Option<&LogKey>,
        limit: usize,
    ) -> Result<Vec<(LogKey, Rid)>, PersistenceError> {
        self.0.ended("list", channel, self.0.list(channel, after, limit)).await
    }

    async fn get(&self, channel: &ChannelId, items: &[Item]) -> Result<Vec<Arc<Body>>, PersistenceError> {
        self.0.ended("get", channel, self.0.get(channel, items)).await
    }

    async fn page(
        &self,
        channel: &ChannelId,
        before: Option<&LogKey>,
        limit: usize,
    ) -> Result<Vec<Arc<Body>>, PersistenceError> {
        self.0.ended("page", channel, self.0.page(channel, before, limit)).await
    }

    async fn drop_channel(&self, channel: &ChannelId) -> Result<(), PersistenceError> {
        self.0.ended("drop_channel", channel, self.0.drop_channel(channel)).await
    }
}
