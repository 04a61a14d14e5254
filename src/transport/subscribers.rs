//! [`Subscribers`]: who listens to which topic, and what waits for each.
//!
//! What: queues that a transport hands messages into. Why bounded and never waited for: one reader that sleeps must cost
//! neither memory without end nor the others' time. How it moves: [`hand_in`](Subscribers::hand_in) copies a message into
//! each queue of its topic; a queue that is full drops it, and its reader is told how many.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_core::Stream;

use super::mailbox::{Mailbox, Next, Weigh};
use super::{Incoming, Subscription, Topic, TransportError, lock};

type Queue = Mailbox<Incoming>;

/// Subscriptions of one transport: a building block for transports. A queue holds 32,768 messages or 16 MiB; beyond,
/// messages are dropped and the reader hears [`TransportError::Missed`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use reliable_channel::transport::{Incoming, Subscribers, Topic};
///
/// let subscribers = Subscribers::default();
/// let topic = Topic::from("lobby");
/// let mut heard = subscribers.subscribe(&topic);
/// assert_eq!(subscribers.hand_in(&topic, &Incoming::new("hello")), 1);
/// subscribers.end();
/// assert_eq!(heard.next().await.unwrap().unwrap().bytes, "hello");
/// assert!(heard.next().await.is_none());
/// # });
/// ```
#[derive(Clone, Debug, Default)]
pub struct Subscribers(Arc<Mutex<BTreeMap<Topic, Vec<Arc<Queue>>>>>);

impl Subscribers {
    /// A further reader of this topic.
    pub fn subscribe(&self, topic: &Topic) -> Subscription {
        let queue = Arc::<Queue>::default();
        lock(&self.0).entry(topic.clone()).or_default().push(queue.clone());
        Subscription::new(Reader { queue, topic: topic.clone(), all: self.clone() })
    }

    /// Puts a message before all readers of a topic, and returns how many there are.
    pub fn hand_in(&self, topic: &Topic, incoming: &Incoming) -> usize {
        let queues = lock(&self.0).get(topic).cloned().unwrap_or_default();
        for queue in &queues {
            queue.put(incoming.clone());
        }
        queues.len()
    }

    /// Whether anybody reads this topic.
    #[must_use]
    pub fn is_read(&self, topic: &Topic) -> bool {
        lock(&self.0).contains_key(topic)
    }

    /// Whether all readers of this topic keep up: no queue of theirs is more than half full. A transport that can ask for
    /// a message again takes none in meanwhile.
    #[must_use]
    pub fn have_room(&self, topic: &Topic) -> bool {
        lock(&self.0).get(topic).is_none_or(|queues| queues.iter().all(|queue| queue.has_room()))
    }

    /// Ends the subscriptions to this topic, each after what waits in it.
    pub fn end_topic(&self, topic: &Topic) {
        for queue in lock(&self.0).remove(topic).unwrap_or_default() {
            queue.end();
        }
    }

    /// Ends every subscription after what waits in it.
    pub fn end(&self) {
        for queue in std::mem::take(&mut *lock(&self.0)).into_values().flatten() {
            queue.end();
        }
    }
}

impl Weigh for Incoming {
    /// A burst of several members at once, while a reader works.
    const MAX_ITEMS: usize = 32_768;

    fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

struct Reader {
    queue: Arc<Queue>,
    topic: Topic,
    all: Subscribers,
}

impl Stream for Reader {
    type Item = Result<Incoming, TransportError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.queue.poll(context).map(|next| match next {
            Next::Item(incoming) => Some(Ok(incoming)),
            Next::Missed(missed) => Some(Err(TransportError::Missed(missed))),
            Next::End => None,
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut all = lock(&self.all.0);
        if let Some(queues) = all.get_mut(&self.topic) {
            queues.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
            if queues.is_empty() {
                all.remove(&self.topic);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kilobytes(count: usize) -> Incoming {
        Incoming::new(vec![7; count << 10])
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_what_was_dropped_is_counted_where_it_is_missing() {
        let (subscribers, topic) = (Subscribers::default(), Topic::from("a"));
        let mut slow = subscribers.subscribe(&topic);
        for _ in 0..20 {
            subscribers.hand_in(&topic, &kilobytes(1 << 10));
        }
        subscribers.hand_in(&topic, &kilobytes(0));
        for _ in 0..16 {
            assert_eq!(slow.next().await.unwrap().unwrap().bytes.len(), 1 << 20);
        }
        assert_eq!(slow.next().await, Some(Err(TransportError::Missed(5))));
        subscribers.hand_in(&topic, &kilobytes(1));
        assert_eq!(slow.next().await, Some(Ok(kilobytes(1))));
        for _ in 0..33_000 {
            subscribers.hand_in(&topic, &kilobytes(0));
        }
        for _ in 0..32_768 {
            assert!(slow.next().await.unwrap().is_ok());
        }
        assert_eq!(slow.next().await, Some(Err(TransportError::Missed(232))));
    }

    #[tokio::test]
    async fn there_is_room_until_the_slowest_reader_is_half_full() {
        let (subscribers, topic) = (Subscribers::default(), Topic::from("a"));
        assert!(subscribers.have_room(&topic));
        let (fast, mut slow) = (subscribers.subscribe(&topic), subscribers.subscribe(&topic));
        for _ in 0..8 {
            assert!(subscribers.have_room(&topic));
            subscribers.hand_in(&topic, &kilobytes(1 << 10));
        }
        assert!(!subscribers.have_room(&topic) && subscribers.have_room(&Topic::from("b")));
        slow.next().await.unwrap().unwrap();
        assert!(!subscribers.have_room(&topic), "the other one did not read");
        drop(fast);
        assert!(subscribers.have_room(&topic));
    }

    #[tokio::test]
    async fn one_topic_ends_and_others_go_on() {
        let (subscribers, a, b) = (Subscribers::default(), Topic::from("a"), Topic::from("b"));
        let (mut ended, mut other) = (subscribers.subscribe(&a), subscribers.subscribe(&b));
        subscribers.hand_in(&a, &kilobytes(1));
        subscribers.end_topic(&a);
        assert_eq!(subscribers.hand_in(&a, &kilobytes(2)), 0);
        assert_eq!(ended.next().await, Some(Ok(kilobytes(1))));
        assert_eq!(ended.next().await, None);
        subscribers.hand_in(&b, &kilobytes(3));
        assert_eq!(other.next().await, Some(Ok(kilobytes(3))));
        let again = subscribers.subscribe(&a);
        drop(ended);
        assert!(subscribers.is_read(&a), "the reader that had ended takes no other one's place with it");
        drop(again);
    }

    #[tokio::test]
    async fn a_dropped_reader_leaves_nothing_behind() {
        let (subscribers, topic) = (Subscribers::default(), Topic::from("a"));
        let (one, other) = (subscribers.subscribe(&topic), subscribers.subscribe(&topic));
        drop(one);
        assert_eq!(subscribers.hand_in(&topic, &kilobytes(1)), 1);
        drop(other);
        assert!(!subscribers.is_read(&topic));
        assert!(lock(&subscribers.0).is_empty());
    }
}
