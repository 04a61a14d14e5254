//! Every rule can fail: for each there is a transport that breaks it, and the rule's check says so.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use reliable_channel::transport::conformance::{Network, RULES};
use reliable_channel::transport::{
    Hint, MemoryNetwork, MemoryTransport, PeerAddr, Subscribers, Subscription, Topic, Transport, TransportError,
};
use tokio::sync::watch;

/// A network that is sound but for one rule.
struct Model {
    network: MemoryNetwork,
    breaks: &'static str,
    members: AtomicUsize,
}

impl Model {
    fn breaking(breaks: &'static str) -> Self {
        Self { network: MemoryNetwork::new(), breaks, members: AtomicUsize::new(0) }
    }
}

#[async_trait::async_trait]
impl Network for Model {
    async fn member(&self) -> Result<Arc<dyn Transport>, TransportError> {
        let inner = self.network.member();
        if self.breaks == "everybody_hears" && self.members.fetch_add(1, Ordering::Relaxed) == 2 {
            inner.partition(1);
        }
        Ok(Arc::new(Member {
            inner,
            breaks: self.breaks,
            subscribed: Mutex::default(),
            published: AtomicUsize::new(0),
            last: Mutex::default(),
            deaf: Subscribers::default(),
        }))
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(700)
    }
}

struct Member {
    inner: MemoryTransport,
    breaks: &'static str,
    subscribed: Mutex<BTreeMap<Topic, usize>>,
    published: AtomicUsize,
    last: Mutex<Bytes>,
    /// Where nothing arrives.
    deaf: Subscribers,
}

impl Member {
    fn breaks(&self, rule: &str) -> bool {
        self.breaks == rule
    }

    /// The second half of what was published before, in place of this message's.
    fn mixed(&self, bytes: &Bytes) -> Bytes {
        let last = std::mem::replace(&mut *self.last.lock().unwrap(), bytes.clone());
        let half = bytes.len() / 2;
        [&bytes[..half], last.get(half..).unwrap_or(&bytes[half..])].concat().into()
    }
}

#[async_trait::async_trait]
impl Transport for Member {
    async fn subscribe(&self, topic: &Topic) -> Result<Subscription, TransportError> {
        let before = {
            let mut subscribed = self.subscribed.lock().unwrap();
            let count = subscribed.entry(topic.clone()).or_default();
            *count += 1;
            *count - 1
        };
        match before {
            1.. if self.breaks("two_subscriptions_of_one_member_both_hear") => Ok(self.deaf.subscribe(topic)),
            1.. if self.breaks("a_dropped_subscription_can_be_made_again") => Ok(self.deaf.subscribe(topic)),
            _ => self.inner.subscribe(topic).await,
        }
    }

    async fn publish(
        &self,
        topic: &Topic,
        to: Option<&PeerAddr>,
        bytes: Bytes,
    ) -> Result<Option<Hint>, TransportError> {
        let max = *self.max_bytes().borrow();
        let published = self.published.fetch_add(1, Ordering::Relaxed);
        let bytes = match self.breaks {
            "what_is_published_arrives_unchanged" if bytes.len() == 1_169 => Bytes::from(vec![0; bytes.len()]),
            "topics_are_any_bytes" if std::str::from_utf8(topic.as_bytes()).is_err() => return Ok(None),
            "the_largest_message_arrives" if bytes.len() == max => return Ok(None),
            "what_is_too_large_is_refused_for_good" if bytes.len() > max => return Ok(None),
            "an_answer_reaches_who_was_heard" if to.is_some() => return Ok(None),
            "who_does_not_read_stops_nobody" if published > 5_000 => pending().await,
            "messages_of_many_tasks_stay_whole" => self.mixed(&bytes),
            "another_topic_does_not_hear" => {
                self.inner.publish(&"one ".into(), to, bytes.clone()).await?;
                bytes
            }
            _ => bytes,
        };
        let hint = self.inner.publish(topic, to, bytes).await?;
        Ok(if self.breaks("what_was_hinted_is_fetched_or_unsupported") { Some("lost".into()) } else { hint })
    }

    async fn fetch(&self, _: &Topic, _: &[Hint]) -> Result<Vec<Bytes>, TransportError> {
        if self.breaks("what_was_hinted_is_fetched_or_unsupported") {
            return Ok(vec!["something else".into()]);
        }
        Err(TransportError::Unsupported)
    }

    fn max_bytes(&self) -> watch::Receiver<usize> {
        self.inner.max_bytes()
    }
}

#[tokio::test]
async fn a_breach_of_every_rule_is_noticed() {
    let mut unnoticed = Vec::new();
    for rule in RULES {
        if rule.check(&Model::breaking(rule.name)).await.is_ok() {
            unnoticed.push(rule.name);
        }
    }
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}

/// A breach that nobody makes would prove nothing: the model must be sound but for the one named.
#[tokio::test]
async fn the_model_is_sound_without_a_breach() {
    for rule in RULES {
        rule.check(&Model::breaking("nothing")).await.unwrap_or_else(|broken| panic!("{}: {broken}", rule.name));
    }
    assert_eq!(RULES.len(), 12);
}
