//! [`Transport`]: what carries bytes from one participant to the others.
//!
//! What: one trait for any broadcast, what its calls speak of, and three bundled ones: [`MemoryNetwork`] for tests,
//! [`CallbackTransport`] for hosts with a network of their own, and [`Subscribers`] to build others on. Why so little is
//! asked: what a transport loses, doubles or reorders, the layer above repairs. How it moves: who takes part subscribes to
//! a [`Topic`], publishes bytes to it, and hears [`Incoming`] of others.
//!
//! # Example
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use reliable_channel::transport::{MemoryNetwork, Topic, Transport};
//!
//! let network = MemoryNetwork::new();
//! let (alice, bob) = (network.member(), network.member());
//! let topic = Topic::from("lobby");
//! let mut heard = bob.subscribe(&topic).await?;
//! alice.publish(&topic, None, "hello".into()).await?;
//! assert_eq!(heard.next().await.unwrap()?.bytes, "hello");
//! # Ok::<(), reliable_channel::transport::TransportError>(()) }).unwrap();
//! ```

mod callbacks;
#[cfg(feature = "testing")]
pub mod conformance;
pub(crate) mod mailbox;
mod memory;
mod subscribers;

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::watch;

use crate::types::ChannelId;

pub use callbacks::CallbackTransport;
pub use memory::{Conditions, Counts, MemoryNetwork, MemoryTransport};
pub use subscribers::Subscribers;

/// A broadcast. It may lose, double and reorder what it carries; what arrives has the bytes that were published.
///
/// The rules are tests: [`transport_conformance!`](crate::transport_conformance) runs them on a transport of your own.
///
/// See the [example](crate::transport#example).
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// What others publish to this topic from now on. Whether own messages come back is the transport's choice. A
    /// subscription that ends, with or without an error before, may be asked for again; one that is dropped is over.
    ///
    /// # Errors
    /// [`TransportError::should_retry`] says whether asking again can help.
    async fn subscribe(&self, topic: &Topic) -> Result<Subscription, TransportError>;

    /// Sends bytes to all who subscribed to this topic; with `to`, to this one at least. `Ok` means that they are on their
    /// way, not that they arrived. The hint, where there is one, is what [`fetch`](Self::fetch) finds them by.
    ///
    /// # Errors
    /// [`TransportError::TooLarge`] above [`max_bytes`](Self::max_bytes); others as the network has them.
    async fn publish(&self, topic: &Topic, to: Option<&PeerAddr>, bytes: Bytes)
    -> Result<Option<Hint>, TransportError>;

    /// What an archive still has of these hints, in any order. What it has not is left out.
    ///
    /// # Errors
    /// [`TransportError::Unsupported`] without an archive, which is the default.
    async fn fetch(&self, topic: &Topic, hints: &[Hint]) -> Result<Vec<Bytes>, TransportError> {
        let _ = (topic, hints);
        Err(TransportError::Unsupported)
    }

    /// The largest message in bytes, now and whenever it changes.
    fn max_bytes(&self) -> watch::Receiver<usize>;
}

#[async_trait]
impl<T: Transport + ?Sized> Transport for std::sync::Arc<T> {
    async fn subscribe(&self, topic: &Topic) -> Result<Subscription, TransportError> {
        T::subscribe(self, topic).await
    }

    async fn publish(
        &self,
        topic: &Topic,
        to: Option<&PeerAddr>,
        bytes: Bytes,
    ) -> Result<Option<Hint>, TransportError> {
        T::publish(self, topic, to, bytes).await
    }

    async fn fetch(&self, topic: &Topic, hints: &[Hint]) -> Result<Vec<Bytes>, TransportError> {
        T::fetch(self, topic, hints).await
    }

    fn max_bytes(&self) -> watch::Receiver<usize> {
        T::max_bytes(self)
    }
}

macro_rules! opaque {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// See the [example](crate::transport#example).
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Bytes);

        impl $name {
            /// Made of these bytes.
            #[must_use]
            pub fn new(bytes: impl Into<Bytes>) -> Self {
                Self(bytes.into())
            }

            /// Its bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Bytes::copy_from_slice(text.as_bytes()))
            }
        }
    };
}

opaque! {
    /// What is published under one name and heard under it: any bytes. A channel's topic is its id, if nothing else is said.
    Topic
}

opaque! {
    /// Where a participant can be reached. Only the transport that gave it knows what it means.
    PeerAddr
}

opaque! {
    /// What an archive finds a message by. Only the transport that gave it knows what it means.
    Hint
}

impl From<&ChannelId> for Topic {
    fn from(channel: &ChannelId) -> Self {
        Self(Bytes::copy_from_slice(channel.as_bytes()))
    }
}

/// Bytes that arrived.
///
/// See the [example](crate::transport#example).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Incoming {
    /// What was published.
    pub bytes: Bytes,
    /// Where an answer reaches whoever published it, where the transport knows.
    pub from: Option<PeerAddr>,
}

impl Incoming {
    /// Bytes from nobody in particular.
    #[must_use]
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), from: None }
    }

    /// The same, from this address.
    #[must_use]
    pub fn sent_by(mut self, from: PeerAddr) -> Self {
        self.from = Some(from);
        self
    }
}

/// What arrives under a topic, until it ends. An error between is told and is not the end.
///
/// See the [example](crate::transport#example).
pub struct Subscription(Pin<Box<dyn Stream<Item = Result<Incoming, TransportError>> + Send>>);

impl Subscription {
    /// What this stream gives.
    #[must_use]
    pub fn new(stream: impl Stream<Item = Result<Incoming, TransportError>> + Send + 'static) -> Self {
        Self(Box::pin(stream))
    }

    /// The same, and what is dropped with it: by that a transport learns that somebody reads no more.
    #[must_use]
    pub fn holding(self, held: impl Send + 'static) -> Self {
        Self::new(Holding { _held: Box::new(held), inner: self })
    }

    /// The next item; `None` when the subscription has ended. Nothing is lost when the wait is given up.
    pub async fn next(&mut self) -> Option<Result<Incoming, TransportError>> {
        std::future::poll_fn(|context| self.0.as_mut().poll_next(context)).await
    }
}

impl Stream for Subscription {
    type Item = Result<Incoming, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

struct Holding {
    _held: Box<dyn Send>,
    inner: Subscription,
}

impl Stream for Holding {
    type Item = Result<Incoming, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.inner).poll_next(context)
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}

/// Why a transport did not do what it was asked; [`should_retry`](Self::should_retry) says whether it may later.
///
/// See the [example](crate::transport#example).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// For good: the message is too large for this network.
    #[error("a message of {bytes} bytes is too large for this network, which carries {max}")]
    TooLarge {
        /// Bytes of the message.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// For good: this network cannot do that at all.
    #[error("this network cannot do that")]
    Unsupported,
    /// For good: the network refused it.
    #[error("the network refused it: {0}")]
    Refused(String),
    /// For now: the network does not take it, as when there is no route or no connection.
    #[error("the network is not there: {0}")]
    Unavailable(String),
    /// In a subscription: its reader was too slow, and so many messages were dropped.
    #[error("{0} messages came too fast and were dropped")]
    Missed(u64),
}

impl TransportError {
    /// Whether the same call may do later.
    #[must_use]
    pub fn should_retry(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Missed(_))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks leaves something half changed when it panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
