//! The manager from outside: nothing here looks behind its public methods.
//!
//! A file per promise. `bob` is always the peer whose messages the manager under test, `alice`, takes in.

#![cfg(all(feature = "manager", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod batches;
mod bounds;
mod callbacks;
mod cancel;
mod clock;
mod crash;
mod dialects;
mod ends;
mod exchange;
mod failures;
mod failures_unseen;
mod hangs;
mod idle;
mod lifecycle;
mod observer;
mod place;
mod restart;
mod script;
mod streams;
mod stuck;

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use reliable_channel::channel::{Config, Event, Join};
use reliable_channel::manager::{EventStream, ManagerBuilder, ManagerEvent, ReliabilityManager, Wrapped};
use reliable_channel::store::FaultyPersistence;
use reliable_channel::store::{MemoryPersistence, Persistence};
use reliable_channel::types::{ChannelId, MessageId};
use tap::Tap as _;

const CHANNEL: &str = "garden";

fn channel() -> ChannelId {
    CHANNEL.into()
}

/// Founding members: everything counts.
fn config() -> Config {
    Config::default().tap_mut(|it| it.join = Join::Backfill(u64::MAX))
}

fn builder(name: &str) -> ManagerBuilder {
    ReliabilityManager::builder(name).config(config())
}

async fn opened(builder: ManagerBuilder) -> ReliabilityManager {
    let manager = builder.build().unwrap();
    manager.ensure_channel(CHANNEL).await.unwrap();
    manager
}

async fn alice() -> ReliabilityManager {
    opened(builder("alice")).await
}

/// A store that can be told to fail, and what is behind it.
fn faulty() -> (FaultyPersistence, MemoryPersistence) {
    let memory = MemoryPersistence::new();
    (FaultyPersistence::new(Arc::new(memory.clone())), memory)
}

/// This many messages of `bob`, each referring to the one before.
async fn messages_of_bob(count: usize) -> Vec<Bytes> {
    let bob = opened(builder("bob")).await;
    let mut messages = Vec::new();
    for number in 0..count {
        messages.push(wrap(&bob, &format!("bob {number}")).await.bytes);
    }
    messages
}

async fn wrap(manager: &ReliabilityManager, text: &str) -> Wrapped {
    manager.wrap_outgoing(CHANNEL, text.to_owned()).await.unwrap()
}

/// Contents of the log, in its order.
fn texts(manager: &ReliabilityManager) -> Vec<String> {
    let log = manager.log(&channel()).unwrap();
    log.iter().map(|logged| String::from_utf8(logged.body.content.to_vec()).unwrap()).collect()
}

/// What the store has of the channel is what the manager has.
async fn assert_saved(manager: &ReliabilityManager, store: &dyn Persistence) {
    assert_eq!(store.load_channel(&channel()).await.unwrap(), manager.data(&channel()).unwrap());
}

/// Drops the future after this many polls; `None` when it was not ready by then.
fn poll_times<F: Future>(times: usize, future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    for _ in 0..times {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(output);
        }
    }
    None
}

/// Fails instead of hanging.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("hangs")
}

/// Waits, a little at a time, until it is so.
async fn eventually(mut is_so: impl FnMut() -> bool) {
    soon(async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// All events there are by now.
fn told(events: &mut EventStream) -> Vec<ManagerEvent> {
    std::iter::from_fn(|| events.try_next()).map(Result::unwrap).collect()
}

/// Number and id of each delivery among these events.
fn deliveries(events: &[ManagerEvent]) -> Vec<(u64, MessageId)> {
    let delivery = |event: &ManagerEvent| match event {
        ManagerEvent::Channel { event: Event::MessageDelivered(delivery), .. } => {
            Some((delivery.number, delivery.body.key.id.clone()))
        }
        _ => None,
    };
    events.iter().filter_map(delivery).collect()
}

fn count(events: &[ManagerEvent], is: impl Fn(&ManagerEvent) -> bool) -> usize {
    events.iter().filter(|event| is(event)).count()
}

fn is_failed(event: &ManagerEvent) -> bool {
    matches!(event, ManagerEvent::PersistenceFailed { .. })
}

fn is_recovered(event: &ManagerEvent) -> bool {
    matches!(event, ManagerEvent::PersistenceRecovered { .. })
}
