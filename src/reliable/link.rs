//! A channel's two ends of the network: what goes out, and what comes in.
//!
//! What: [`Link`] and its tasks. Why each tries again by itself: networks come and go, and whoever chats does not want
//! to join again. How it moves: [`publish`] sends what is in the outbox, in order, and tries again what the network may
//! take later; [`listen`] takes in what arrives, and subscribes again with back-off when that ends.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tracing::debug;

use super::encryption::Keys;
use super::events::ChannelEvent;
use super::outbox::Outbox;
use super::parts::Parts;
use super::rate_limit::Pacer;
use super::retrieval::Wanted;
use super::segmentation::Segmentation;
use crate::manager::{ManagerError, ReliabilityManager};
use crate::transport::mailbox::Mailbox;
use crate::transport::{Hint, Subscription, Topic, Transport, TransportError};
use crate::types::{ChannelId, MessageId};

/// Wait before the network is asked again; it doubles up to [`LAST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LAST_WAIT: Duration = Duration::from_secs(10);
/// Messages taken in whose saving is not done: these share commits.
const IN_FLIGHT: usize = 64;

#[derive(Default)]
pub(super) struct Link {
    pub(super) inbox: Mailbox<ChannelEvent>,
    pub(super) outbox: Outbox,
    pub(super) parts: Parts,
    pub(super) wanted: Wanted,
    pub(super) segmentation: Segmentation,
    pub(super) keys: Keys,
    /// Bytes of content that a message has room for.
    pub(super) room: usize,
    pacer: Arc<Pacer>,
    is_down: AtomicBool,
    tasks: Mutex<Option<Tasks>>,
}

struct Tasks {
    publishing: JoinHandle<()>,
    listening: JoinHandle<()>,
    retrieving: JoinHandle<()>,
}

impl Link {
    /// A link of a channel whose messages have so much room.
    pub(super) fn new(segmentation: Segmentation, keys: Keys, room: usize, pacer: Arc<Pacer>) -> Self {
        let (parts, outbox) = (Parts::new(&segmentation), Outbox::new(pacer.is_limited()));
        Self { parts, outbox, segmentation, keys, room, pacer, ..Self::default() }
    }

    /// Tells what becomes of an event of the channel, or of what was published.
    pub(super) fn tell(&self, event: ChannelEvent) {
        self.parts.pass(event, &mut |event| self.inbox.put(event));
    }

    /// Starts its tasks.
    pub(super) fn run(
        &self,
        publishing: impl Future<Output = ()> + Send + 'static,
        listening: impl Future<Output = ()> + Send + 'static,
        retrieving: impl Future<Output = ()> + Send + 'static,
    ) {
        let (publishing, listening) = (tokio::spawn(publishing), tokio::spawn(listening));
        let tasks = Tasks { publishing, listening, retrieving: tokio::spawn(retrieving) };
        *self.tasks.lock().unwrap_or_else(PoisonError::into_inner) = Some(tasks);
    }

    /// Takes nothing more in, and waits so long until what is in the outbox has gone.
    pub(super) async fn finish(&self, patience: Duration) {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut tasks) = tasks {
            tasks.listening.abort();
            tasks.retrieving.abort();
            // Whoever stops waiting must not leave it running.
            let publishing = AbortOnDrop(&mut tasks.publishing);
            let _ = tokio::time::timeout(patience, &mut *publishing.0).await;
        }
    }

    /// Ends its tasks and the events.
    pub(super) fn end(&self) {
        if let Some(tasks) = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take() {
            tasks.publishing.abort();
            tasks.listening.abort();
            tasks.retrieving.abort();
        }
        self.outbox.end();
        self.inbox.end();
    }

    fn down(&self, error: TransportError) {
        if !self.is_down.swap(true, Ordering::Relaxed) {
            self.inbox.put(ChannelEvent::Disconnected { error });
        }
    }

    /// A message waited so long that it counts as sent again, or given up, and was sent now: its answers are waited for from now.
    async fn count_from_now(&self, manager: &ReliabilityManager, channel: &ChannelId, message: &MessageId) {
        self.outbox.drop_resend(message, true);
        if let Err(error) = manager.resend(channel.clone(), message.clone()).await {
            self.outbox.drop_resend(message, false);
            debug!(%channel, %error, "a message is not waited for anew");
        }
    }

    /// An own message can be fetched by this hint from now on, which travels with what refers to it.
    async fn hint(&self, manager: &ReliabilityManager, channel: &ChannelId, own: MessageId, hint: Hint) {
        let hint = hint.as_bytes().to_vec();
        if let Err(error) = manager.set_retrieval_hint(channel.clone(), own, hint).await {
            debug!(%channel, %error, "a hint is not kept");
        }
    }

    /// The network works. If it did not before, what is open goes out now.
    async fn up(&self, manager: &ReliabilityManager, channel: &ChannelId) {
        if self.is_down.swap(false, Ordering::Relaxed) {
            self.inbox.put(ChannelEvent::Connected);
            if let Err(error) = manager.online_in(channel).await {
                debug!(%channel, %error, "not told that the network is back");
            }
        }
    }
}

struct AbortOnDrop<'a>(&'a mut JoinHandle<()>);

impl Drop for AbortOnDrop<'_> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Publishes what is in the outbox, until it has ended.
pub(super) async fn publish(
    link: Arc<Link>,
    transport: Arc<dyn Transport>,
    topic: Topic,
    manager: ReliabilityManager,
    channel: ChannelId,
) {
    while let Some(priority) = link.outbox.first().await {
        tokio::select! {
            biased;
            () = link.pacer.permit(priority) => {}
            // Something more urgent came.
            () = link.outbox.before(priority) => continue,
        }
        let Some(outgoing) = link.outbox.take() else { continue };
        let (mut wait, request) = (FIRST_WAIT, outgoing.request().cloned());
        let own = outgoing.own().cloned();
        let priority = outgoing.priority();
        let sealed = link.keys.seal(&channel, outgoing.bytes);
        let outcome = loop {
            let bytes = match &sealed {
                Ok(sealed) => sealed.clone(),
                Err(error) => break Err(TransportError::Refused(format!("it cannot be sealed: {error}"))),
            };
            match transport.publish(&topic, None, bytes).await {
                Err(error) if error.should_retry() => {
                    link.down(error);
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LAST_WAIT);
                    link.pacer.permit(priority).await;
                }
                outcome => break outcome,
            }
        };
        match (outcome, request) {
            (Ok(hint), request) => {
                link.up(&manager, &channel).await;
                if let Some((own, hint)) = own.zip(hint) {
                    link.hint(&manager, &channel, own, hint).await;
                }
                if let Some(request) = request {
                    if link.outbox.end_wait(request.message()) {
                        link.count_from_now(&manager, &channel, request.message()).await;
                    }
                    link.tell(ChannelEvent::Sent { request });
                }
            }
            (Err(error), Some(request)) => {
                link.outbox.end_wait(request.message());
                link.tell(ChannelEvent::SendError { request, segment: None, error });
            }
            (Err(error), None) => debug!(%channel, %error, "a transmission was refused"),
        }
    }
}

/// Takes in what arrives, until the channel is closed or the network refuses for good. `tried` hears of the first attempt.
pub(super) async fn listen(
    link: Arc<Link>,
    transport: Arc<dyn Transport>,
    topic: Topic,
    manager: ReliabilityManager,
    channel: ChannelId,
    tried: oneshot::Sender<Result<(), TransportError>>,
) {
    let mut tried = Some(tried);
    let mut first = |outcome| {
        // Whoever joined may have stopped waiting.
        tried.take().is_some_and(|tried| tried.send(outcome).is_ok())
    };
    let mut wait = FIRST_WAIT;
    loop {
        match transport.subscribe(&topic).await {
            Ok(subscription) => {
                first(Ok(()));
                link.up(&manager, &channel).await;
                match take_in(subscription, &link.keys, &manager, &channel).await {
                    Taken::Closed => return,
                    Taken::Something => wait = FIRST_WAIT,
                    Taken::Nothing => {}
                }
                link.down(TransportError::Unavailable("the subscription ended".into()));
            }
            Err(error) if error.should_retry() => {
                first(Ok(()));
                link.down(error);
            }
            Err(error) => {
                if !first(Err(error.clone())) {
                    link.down(error);
                }
                return;
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LAST_WAIT);
    }
}

/// What came of a subscription that ended.
enum Taken {
    Closed,
    Something,
    Nothing,
}

async fn take_in(
    mut subscription: Subscription,
    keys: &Keys,
    manager: &ReliabilityManager,
    channel: &ChannelId,
) -> Taken {
    let mut taken = Taken::Nothing;
    let mut in_flight = JoinSet::new();
    while let Some(item) = subscription.next().await {
        let incoming = match item {
            Ok(incoming) => incoming,
            Err(error) => {
                debug!(%channel, %error, "the network lost something");
                continue;
            }
        };
        taken = Taken::Something;
        let bytes = match keys.open(channel, incoming.bytes) {
            Ok(bytes) => bytes,
            Err(error) => {
                debug!(%channel, %error, "a message was not opened");
                continue;
            }
        };
        let (manager, own) = (manager.clone(), channel.clone());
        let mut call = Box::pin(async move { manager.unwrap_in(&own, bytes).await.map(drop) });
        // Polled once here, it enters the channel in the order of arrival. Then only its saving is waited for.
        let outcome = match poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => {
                in_flight.spawn(call);
                match in_flight.len() {
                    IN_FLIGHT.. => in_flight.join_next().await.and_then(Result::ok).unwrap_or(Ok(())),
                    _ => Ok(()),
                }
            }
        };
        match outcome {
            Ok(()) => {}
            Err(ManagerError::UnknownChannel(_) | ManagerError::ShutDown) => return Taken::Closed,
            Err(error) => debug!(%channel, %error, "a message was refused"),
        }
        while in_flight.try_join_next().is_some() {}
    }
    in_flight.join_all().await;
    taken
}
