//! [`MemoryNetwork`]: a network inside one process, as bad as wanted.
//!
//! What: members, and [`Conditions`] between them. Why: tests, demonstrations and examples need a network without sockets
//! whose accidents can be repeated. How it moves: each copy of a message has a fate drawn from the seed and its number:
//! lost, doubled, or late. What is late is overtaken, so a spread of delays reorders. Times are tokio's, so that a paused
//! runtime pauses the network too.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use siphasher::sip::SipHasher13;
use tokio::sync::watch;

use super::{Hint, Incoming, PeerAddr, Subscribers, Subscription, Topic, Transport, TransportError, lock};

/// Copies on their way; what comes beyond is lost, as in a router whose buffers are full.
const MAX_ON_THEIR_WAY: usize = 65_536;

/// What happens to each copy of a message, one for each receiver.
///
/// See the [example](crate::transport::MemoryNetwork).
#[derive(Clone, Debug, PartialEq)]
pub struct Conditions {
    /// Chance that it is lost, 0 to 1.
    pub loss: f64,
    /// Chance that it arrives twice, 0 to 1.
    pub duplicate: f64,
    /// The shortest delay.
    pub min_delay: Duration,
    /// The longest delay; all between are equally likely.
    pub max_delay: Duration,
}

impl Default for Conditions {
    /// Nothing is lost or doubled, and all arrives at once.
    fn default() -> Self {
        Self { loss: 0.0, duplicate: 0.0, min_delay: Duration::ZERO, max_delay: Duration::ZERO }
    }
}

/// What a [`MemoryNetwork`] did.
///
/// See the [example](crate::transport::MemoryNetwork).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Messages published.
    pub published: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Copies lost.
    pub lost: u64,
    /// Copies added.
    pub doubled: u64,
}

/// A network inside one process. Clones are the same network.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use reliable_channel::transport::{Conditions, MemoryNetwork, Topic, Transport};
///
/// let network = MemoryNetwork::seeded(7);
/// network.set_conditions(Conditions { loss: 0.3, duplicate: 0.1, ..Conditions::default() });
/// let (alice, bob) = (network.member(), network.member());
/// let topic = Topic::from("lobby");
/// let _heard = bob.subscribe(&topic).await?;
/// for _ in 0..100 {
///     alice.publish(&topic, None, "hello".into()).await?;
/// }
/// assert!((20..40).contains(&network.counts().lost));
/// # Ok::<(), reliable_channel::transport::TransportError>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct MemoryNetwork(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    max_bytes: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    seed: u64,
    conditions: Conditions,
    members: Vec<Weak<Member>>,
    joined: u64,
    copies: u64,
    on_their_way: usize,
    counts: Counts,
}

/// One member of a [`MemoryNetwork`]. It leaves when it is dropped; clones are the same member.
///
/// See the [example](crate::transport::MemoryNetwork).
#[derive(Clone)]
pub struct MemoryTransport {
    network: MemoryNetwork,
    member: Arc<Member>,
}

struct Member {
    addr: PeerAddr,
    subscribers: Subscribers,
    /// The island it is on; `None` while it is cut off from all.
    island: Mutex<Option<u32>>,
}

impl MemoryNetwork {
    /// A perfect network for messages of up to 64 KiB, until conditions are set.
    #[must_use]
    pub fn new() -> Self {
        Self::seeded(0)
    }

    /// The same, with accidents drawn from this seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        let state = Mutex::new(State { seed, ..State::default() });
        Self(Arc::new(Shared { state, max_bytes: watch::Sender::new(64 << 10) }))
    }

    /// A further member, on island 0.
    #[must_use]
    pub fn member(&self) -> MemoryTransport {
        let mut state = self.lock();
        state.joined += 1;
        let addr = PeerAddr::new(format!("member {}", state.joined));
        let member = Arc::new(Member { addr, subscribers: Subscribers::default(), island: Mutex::new(Some(0)) });
        state.members.retain(|member| member.strong_count() > 0);
        state.members.push(Arc::downgrade(&member));
        MemoryTransport { network: self.clone(), member }
    }

    /// From now on messages have these fates.
    pub fn set_conditions(&self, conditions: Conditions) {
        self.lock().conditions = conditions;
    }

    /// The largest message from now on.
    pub fn set_max_bytes(&self, max_bytes: usize) {
        self.0.max_bytes.send_replace(max_bytes);
    }

    /// What it did so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    /// Sends a copy to each member that should hear it.
    fn broadcast(&self, topic: &Topic, to: Option<&PeerAddr>, from: &Member, bytes: Bytes) {
        let mut at_once = Vec::new();
        let mut state = self.lock();
        state.counts.published += 1;
        state.counts.bytes += bytes.len() as u64;
        let members: Vec<Arc<Member>> = state.members.iter().filter_map(Weak::upgrade).collect();
        for member in members {
            let is_meant = to.is_none_or(|to| *to == member.addr);
            if member.addr == from.addr || !is_meant || !member.hears(from) || !member.subscribers.is_read(topic) {
                continue;
            }
            for delay in state.fate() {
                if delay.is_zero() {
                    at_once.push(member.clone());
                } else {
                    state.on_their_way += 1;
                    let copy = Incoming::new(bytes.clone()).sent_by(from.addr.clone());
                    tokio::spawn(arrive(self.clone(), topic.clone(), member.clone(), from.island(), copy, delay));
                }
            }
        }
        drop(state);
        let copy = Incoming::new(bytes).sent_by(from.addr.clone());
        for member in at_once {
            member.subscribers.hand_in(topic, &copy);
        }
    }
}

async fn arrive(
    network: MemoryNetwork,
    topic: Topic,
    member: Arc<Member>,
    island: Option<u32>,
    copy: Incoming,
    delay: Duration,
) {
    tokio::time::sleep(delay).await;
    network.lock().on_their_way -= 1;
    if member.island() == island {
        member.subscribers.hand_in(&topic, &copy);
    } else {
        network.lock().counts.lost += 1;
    }
}

impl State {
    /// The delays of the copies that arrive of one.
    fn fate(&mut self) -> Vec<Duration> {
        let Conditions { loss, duplicate, min_delay, max_delay } = self.conditions;
        if self.chance() < loss || self.on_their_way >= MAX_ON_THEIR_WAY {
            self.counts.lost += 1;
            return Vec::new();
        }
        let copies = if self.chance() < duplicate { 2 } else { 1 };
        self.counts.doubled += copies - 1;
        let spread = max_delay.saturating_sub(min_delay);
        (0..copies).map(|_| min_delay + spread.mul_f64(self.chance())).collect()
    }

    /// A number from 0 to 1.
    fn chance(&mut self) -> f64 {
        self.copies += 1;
        let mut hasher = SipHasher13::new_with_keys(self.seed, 0x6d65_6d6f_7279_6e65);
        self.copies.hash(&mut hasher);
        (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Member {
    fn island(&self) -> Option<u32> {
        *lock(&self.island)
    }

    fn hears(&self, other: &Self) -> bool {
        self.island().is_some() && self.island() == other.island()
    }
}

impl MemoryTransport {
    /// Where others reach this member.
    #[must_use]
    pub fn addr(&self) -> &PeerAddr {
        &self.member.addr
    }

    /// Puts this member on an island: members hear those of their own island. Nobody is told.
    pub fn partition(&self, island: u32) {
        *lock(&self.member.island) = Some(island);
    }

    /// Cuts this member off, as a pulled plug: its subscriptions end and its calls fail until
    /// [`partition`](Self::partition) puts it somewhere.
    pub fn disconnect(&self) {
        *lock(&self.member.island) = None;
        self.member.subscribers.end();
    }

    fn is_connected(&self) -> Result<(), TransportError> {
        match self.member.island() {
            Some(_) => Ok(()),
            None => Err(TransportError::Unavailable("this member is disconnected".into())),
        }
    }
}

impl Default for MemoryNetwork {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    async fn subscribe(&self, topic: &Topic) -> Result<Subscription, TransportError> {
        self.is_connected()?;
        Ok(self.member.subscribers.subscribe(topic))
    }

    async fn publish(
        &self,
        topic: &Topic,
        to: Option<&PeerAddr>,
        bytes: Bytes,
    ) -> Result<Option<Hint>, TransportError> {
        self.is_connected()?;
        let max = *self.network.0.max_bytes.borrow();
        if bytes.len() > max {
            return Err(TransportError::TooLarge { bytes: bytes.len(), max });
        }
        self.network.broadcast(topic, to, &self.member, bytes);
        Ok(None)
    }

    fn max_bytes(&self) -> watch::Receiver<usize> {
        self.network.0.max_bytes.subscribe()
    }
}

impl fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryNetwork").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl fmt::Debug for MemoryTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTransport").field("addr", &self.member.addr).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
