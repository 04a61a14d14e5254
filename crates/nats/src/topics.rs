//! [`Topics`]: one subscription on the server for each topic that is read here, however many read it.
//!
//! What: a task a topic, which empties the client's queue into those of the readers. Why not the client's own queues: those
//! count messages and not bytes. How it moves: [`begin`](Topics::begin) with the first reader, and it ends with the last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::Subscriber;
use futures_util::StreamExt as _;
use reliable_channel::transport::{Subscription, Topic};
use tokio::task::AbortHandle;

use crate::shared::Shared;

#[derive(Debug)]
pub(crate) struct Topics {
    shared: Arc<Shared>,
    read: Mutex<BTreeMap<Topic, Read>>,
}

#[derive(Debug)]
struct Read {
    readers: usize,
    task: AbortHandle,
}

impl Topics {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, read: Mutex::default() }
    }

    /// A further reader of this topic, and a subscription to it, which is not needed where others read one. Readers whose
    /// subscription ended may still be held, and the server may have ended theirs as well.
    pub(crate) fn begin(self: &Arc<Self>, topic: &Topic, subscriber: Subscriber) -> Subscription {
        let mut read = self.lock();
        let is_read = self.shared.subscribers.is_read(topic);
        let inner = self.shared.subscribers.subscribe(topic);
        match read.get_mut(topic) {
            Some(read) if is_read => read.readers += 1,
            before => {
                let held = before.map_or(0, |before| {
                    before.task.abort();
                    before.readers
                });
                let task = tokio::spawn(forward(self.shared.clone(), topic.clone(), subscriber)).abort_handle();
                read.insert(topic.clone(), Read { readers: held + 1, task });
            }
        }
        drop(read);
        inner.holding(Reading { topic: topic.clone(), topics: self.clone() })
    }

    /// Ends all of them.
    pub(crate) fn end(&self) {
        self.lock().values().for_each(|read| read.task.abort());
        self.shared.subscribers.end();
    }

    fn leave(&self, topic: &Topic) {
        let mut read = self.lock();
        let Some(one) = read.get_mut(topic) else { return };
        one.readers -= 1;
        if one.readers == 0 {
            one.task.abort();
            read.remove(topic);
            self.shared.missed.left(topic);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Topic, Read>> {
        // Nothing under this lock panics halfway.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn forward(shared: Arc<Shared>, topic: Topic, mut subscriber: Subscriber) {
    while let Some(message) = subscriber.next().await {
        shared.take_in(&topic, message);
    }
}

/// Somebody reads a topic.
struct Reading {
    topic: Topic,
    topics: Arc<Topics>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.topics.leave(&self.topic);
    }
}
