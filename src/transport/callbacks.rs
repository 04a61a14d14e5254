//! [`CallbackTransport`]: a network that somebody else runs.
//!
//! What: a transport over a pair of callbacks. Why: a host in another language, or with a network stack of its own, brings
//! bytes and takes bytes, and knows nothing of Rust's traits. How it moves: the first closure publishes, the second hears
//! which topics are wanted; what arrives is handed in with [`receive`](CallbackTransport::receive).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::{Hint, Incoming, PeerAddr, Subscribers, Subscription, Topic, Transport, TransportError, lock};

type Publish = dyn Fn(&Topic, Option<&PeerAddr>, Bytes) -> Result<Option<Hint>, TransportError> + Send + Sync;
type Wanted = dyn Fn(&Topic, bool) + Send + Sync;

/// A transport over two closures of the host. Clones are the same transport.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use reliable_channel::transport::{CallbackTransport, Incoming, Topic, Transport};
///
/// let host = CallbackTransport::new(65_536, |_, _, _bytes| Ok(None), |topic, wanted| println!("{topic:?}: {wanted}"));
/// let topic = Topic::from("lobby");
/// let mut heard = host.subscribe(&topic).await?; // tells the host: wanted
/// assert!(host.receive(&topic, &Incoming::new("hello")));
/// assert_eq!(heard.next().await.unwrap()?.bytes, "hello");
/// # Ok::<(), reliable_channel::transport::TransportError>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct CallbackTransport {
    publish: Arc<Publish>,
    topics: Arc<Topics>,
    subscribers: Subscribers,
    max_bytes: Arc<watch::Sender<usize>>,
}

impl CallbackTransport {
    /// A transport for messages of at most `max_bytes`.
    ///
    /// `publish` is called on a task of the runtime, so it hands on and returns. `wanted` is called with `true` when a topic
    /// gets its first reader and with `false` when it lost its last one; it must not call the transport.
    pub fn new(
        max_bytes: usize,
        publish: impl Fn(&Topic, Option<&PeerAddr>, Bytes) -> Result<Option<Hint>, TransportError> + Send + Sync + 'static,
        wanted: impl Fn(&Topic, bool) + Send + Sync + 'static,
    ) -> Self {
        Self {
            publish: Arc::new(publish),
            topics: Arc::new(Topics { wanted: Box::new(wanted), readers: Mutex::default() }),
            subscribers: Subscribers::default(),
            max_bytes: Arc::new(watch::Sender::new(max_bytes)),
        }
    }

    /// Hands in what the host's network brought. Returns whether anybody reads this topic.
    pub fn receive(&self, topic: &Topic, incoming: &Incoming) -> bool {
        self.subscribers.hand_in(topic, incoming) > 0
    }

    /// The host's network carries messages of this size from now on.
    pub fn set_max_bytes(&self, max_bytes: usize) {
        self.max_bytes.send_replace(max_bytes);
    }

    /// The host's network is gone for now: all subscriptions end, and those who want theirs ask again.
    pub fn disconnect(&self) {
        self.subscribers.end();
    }
}

#[async_trait]
impl Transport for CallbackTransport {
    async fn subscribe(&self, topic: &Topic) -> Result<Subscription, TransportError> {
        let inner = self.subscribers.subscribe(topic);
        self.topics.begin(topic);
        Ok(inner.holding(Reading { topic: topic.clone(), topics: self.topics.clone() }))
    }

    async fn publish(
        &self,
        topic: &Topic,
        to: Option<&PeerAddr>,
        bytes: Bytes,
    ) -> Result<Option<Hint>, TransportError> {
        let max = *self.max_bytes.borrow();
        if bytes.len() > max {
            return Err(TransportError::TooLarge { bytes: bytes.len(), max });
        }
        (self.publish)(topic, to, bytes)
    }

    fn max_bytes(&self) -> watch::Receiver<usize> {
        self.max_bytes.subscribe()
    }
}

impl fmt::Debug for CallbackTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackTransport").finish_non_exhaustive()
    }
}

struct Topics {
    wanted: Box<Wanted>,
    /// How many read each topic. Locked while the host is told, so that it hears of a topic in order.
    readers: Mutex<BTreeMap<Topic, usize>>,
}

impl Topics {
    fn begin(&self, topic: &Topic) {
        let mut readers = lock(&self.readers);
        let count = readers.entry(topic.clone()).or_default();
        *count += 1;
        if *count == 1 {
            (self.wanted)(topic, true);
        }
    }

    fn end(&self, topic: &Topic) {
        let mut readers = lock(&self.readers);
        let Some(count) = readers.get_mut(topic) else { return };
        *count -= 1;
        if *count == 0 {
            readers.remove(topic);
            (self.wanted)(topic, false);
        }
    }
}

/// Somebody reads a topic.
struct Reading {
    topic: Topic,
    topics: Arc<Topics>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.topics.end(&self.topic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_host_hears_of_a_topics_first_reader_and_of_its_last() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tells = told.clone();
        let host = CallbackTransport::new(
            10,
            |_, _, _| Ok(None),
            move |topic, wanted| tells.lock().unwrap().push((topic.clone(), wanted)),
        );
        let (a, b) = (Topic::from("a"), Topic::from("b"));
        let one = host.subscribe(&a).await.unwrap();
        let two = host.subscribe(&a).await.unwrap();
        drop((one, host.subscribe(&b).await.unwrap()));
        drop(two);
        let expected = [(a.clone(), true), (b.clone(), true), (b, false), (a.clone(), false)];
        assert_eq!(*told.lock().unwrap(), expected);
        assert!(!host.receive(&a, &Incoming::new("x")));
    }
}
