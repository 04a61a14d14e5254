//! [`Udp`]: a [`Transport`] in a local network, without a server and without configuration.
//!
//! What: UDP multicast, with messages larger than a datagram cut and put together again. Why it repairs its own fragments:
//! of a message of 60 datagrams one is easily lost, and then 1,200 bytes are sent again and not 65,536. How it moves: a
//! message is cut by the ring of what was sent, crosses as datagrams, and is whole again in the reassembly of each
//! receiver, who asks its sender for what is missing: pieces, and whole messages by the holes in the sender's numbers. These have neither sockets nor clocks, and this file drives them.
//!
//! README.md has the layout of datagrams, and what the defaults are.
//!
//! ```no_run
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use reliable_channel::transport::{Topic, Transport};
//! use reliable_channel_udp::{Options, Udp};
//!
//! let network = Udp::join(Options::default()).await?;
//! network.publish(&Topic::from("lobby"), None, "hello".into()).await?;
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```

#![forbid(unsafe_code)]

mod datagram;
mod later;
mod missing;
mod pace;
mod reassembly;
mod ring;
mod socket;

use std::hash::Hasher as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reliable_channel::manager::{Clock, SystemClock};
use reliable_channel::transport::{
    Hint, Incoming, PeerAddr, Subscribers, Subscription, Topic, Transport, TransportError,
};
use siphasher::sip::SipHasher24;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use datagram::{Datagram, MAX_MESSAGE};
use missing::Missing;
use pace::Pace;
use reassembly::Reassembly;
use ring::Ring;
use socket::Sockets;

/// Datagrams sent before others get a turn, so that receivers in the same process can read.
const SENT_PER_TURN: usize = 16;
/// Datagrams taken in before others get a turn.
const TAKEN_PER_TURN: usize = 512;
/// Wait after an error of the socket: the network may come back.
const AFTER_ERROR: Duration = Duration::from_millis(200);
/// What arrives is at most one datagram, and one byte more shows that it is none of ours.
const BUFFER: usize = datagram::MAX_DATAGRAM + 1;

/// Where members meet. All of a group must agree on `group` and `port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The multicast group. Default 239.255.109.173, which routers keep within a site.
    pub group: Ipv4Addr,
    /// The UDP port of the group. Default 47109.
    pub port: u16,
    /// How many networks a datagram may cross; 1, the default, is the local one alone.
    pub ttl: u32,
    /// The address of the interface to use. Default: the system's choice, and this machine alone where it has none.
    pub interface: Option<Ipv4Addr>,
}

impl Default for Options {
    fn default() -> Self {
        Self { group: Ipv4Addr::new(239, 255, 109, 173), port: 47_109, ttl: 1, interface: None }
    }
}

/// Why the network could not be joined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UdpError {
    /// The caller's fault: this is no address of a group.
    #[error("{group} is no multicast group; those begin with 224 to 239")]
    NoGroup {
        /// What was given.
        group: Ipv4Addr,
    },
    /// Another program has the port and does not share it.
    #[error("UDP port {port} is taken by a program that does not share it; all members can use another port")]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// The system has no interface that carries multicast.
    #[error("no network interface carries multicast to {group}: {error}")]
    NoMulticast {
        /// The group.
        group: Ipv4Addr,
        /// What the system said.
        error: io::Error,
    },
    /// The system's fault.
    #[error("no UDP socket: {0}")]
    Io(#[from] io::Error),
}

/// A member of a group in the local network. Clones are the same member, which leaves with the last one.
///
/// Messages have at most 65,536 bytes. Own messages do not come back. Addresses are those that messages come from; they
/// are not authenticated.
#[derive(Clone, Debug)]
pub struct Udp(Arc<Member>);

#[derive(Debug)]
struct Member {
    parts: Parts,
    max_bytes: watch::Sender<usize>,
    /// Ends with the member.
    listening: AbortHandle,
}

/// What the listening task has, too.
#[derive(Clone, Debug)]
struct Parts {
    sockets: Arc<Sockets>,
    /// What was sent to all.
    ring: Arc<Mutex<Ring>>,
    /// What was sent to one address: numbered apart, since nobody hears all of it.
    to_one: Arc<Mutex<Ring>>,
    /// Their boot ids.
    boots: [u64; 2],
    pace: Arc<Mutex<Pace>>,
    clock: SystemClock,
    subscribers: Subscribers,
}

impl Udp {
    /// Joins the group. Must be called inside a tokio runtime with network and time, whose task it uses until it is dropped.
    ///
    /// # Errors
    /// [`UdpError`], each with what to do about it.
    pub async fn join(options: Options) -> Result<Self, UdpError> {
        let parts = Parts::open(&options)?;
        let listening = tokio::spawn(listen(parts.clone())).abort_handle();
        Ok(Self(Arc::new(Member { parts, max_bytes: watch::Sender::new(MAX_MESSAGE), listening })))
    }

    /// Whether no network was found, so that only programs on this machine are reached.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.0.parts.sockets.is_local
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.listening.abort();
        self.parts.subscribers.end();
    }
}

#[async_trait]
impl Transport for Udp {
    async fn subscribe(&self, topic: &Topic) -> Result<Subscription, TransportError> {
        Ok(self.0.parts.subscribers.subscribe(&under(hash(topic))))
    }

    async fn publish(
        &self,
        topic: &Topic,
        to: Option<&PeerAddr>,
        bytes: Bytes,
    ) -> Result<Option<Hint>, TransportError> {
        if bytes.len() > MAX_MESSAGE {
            return Err(TransportError::TooLarge { bytes: bytes.len(), max: MAX_MESSAGE });
        }
        let parts = &self.0.parts;
        let (to, ring) = match to {
            Some(peer) => (address(peer)?, &parts.to_one),
            None => (parts.sockets.to, &parts.ring),
        };
        let datagrams = lock(ring).cut(hash(topic), bytes);
        let wait = lock(&parts.pace).take(parts.now(), datagrams.len() as u32);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        parts.send(to, &datagrams).await.map_err(|error| TransportError::Unavailable(error.to_string()))?;
        Ok(None)
    }

    fn max_bytes(&self) -> watch::Receiver<usize> {
        self.0.max_bytes.subscribe()
    }
}

impl Parts {
    fn open(options: &Options) -> Result<Self, UdpError> {
        let sockets = Arc::new(Sockets::open(options)?);
        let boot = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
        let boots = [datagram::for_all(boot), datagram::for_one(boot)];
        let [ring, to_one] = boots.map(|boot| Arc::new(Mutex::new(Ring::new(boot))));
        let (pace, clock, subscribers) = (Arc::default(), SystemClock::new(), Subscribers::default());
        Ok(Self { sockets, ring, to_one, boots, pace, clock, subscribers })
    }

    async fn send(&self, to: SocketAddr, datagrams: &[Bytes]) -> io::Result<()> {
        for (at, datagram) in datagrams.iter().enumerate() {
            self.sockets.own.send_to(datagram, to).await?;
            if at % SENT_PER_TURN == SENT_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Whether something of this boot id is an own message.
    fn sent(&self, boot: u64) -> bool {
        self.boots.contains(&boot)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.clock.running().as_millis())
    }

    /// Takes in what waits in a socket. Taking a datagram in is little work beside what readers do with a message, and whoever
    /// did one of each in turns would have the kernel throw away what readers have room for.
    async fn take_in(&self, socket: &UdpSocket, incoming: &mut Incomplete, buffer: &mut [u8]) {
        for _ in 0..TAKEN_PER_TURN {
            // An error is met again by who waits.
            let Ok((len, from)) = socket.try_recv_from(buffer) else { return };
            self.receive(incoming, from, &buffer[..len]).await;
        }
    }

    /// Takes a datagram in.
    async fn receive(&self, incoming: &mut Incomplete, from: SocketAddr, datagram: &[u8]) {
        match Datagram::decode(datagram) {
            Ok(Datagram::Fragment(fragment)) if !self.sent(fragment.message.boot) => {
                let topic = under(fragment.topic);
                let is_for_all = datagram::is_for_all(fragment.message.boot);
                if is_for_all {
                    incoming.missing.heard(self.now(), from, fragment.message);
                }
                // It is asked for again when there is room, and its sender becomes slower.
                if !self.subscribers.have_room(&topic) {
                    if is_for_all {
                        incoming.missing.no_room(fragment.topic, from, fragment.message);
                    }
                    return;
                }
                if self.subscribers.is_read(&topic)
                    && let Some(bytes) = incoming.parts.take(self.now(), from, fragment)
                {
                    let addr = PeerAddr::new(from.to_string());
                    self.subscribers.hand_in(&topic, &Incoming::new(bytes).sent_by(addr));
                }
            }
            Ok(Datagram::Nack(nack)) => {
                let ring = if datagram::is_for_all(nack.message.boot) { &self.ring } else { &self.to_one };
                let answers = lock(ring).answer(self.now(), &nack);
                lock(&self.pace).asked(self.now(), from, answers.len());
                // Who still lacks something asks again.
                let _ = self.send(from, &answers).await;
            }
            // The own echo, or somebody else's datagram.
            Ok(Datagram::Fragment(_)) | Err(_) => {}
        }
    }
}

/// What has not come yet, or not all of it.
#[derive(Default)]
struct Incomplete {
    parts: Reassembly,
    missing: Missing,
}

/// Takes in what arrives, and asks for what is missing, until it is aborted.
async fn listen(own: Parts) {
    let mut incoming = Incomplete::default();
    let mut for_all = vec![0; BUFFER];
    let mut for_us = vec![0; BUFFER];
    loop {
        let due = [incoming.parts.poll_timeout(), incoming.missing.poll_timeout()].into_iter().flatten().min();
        let wait = due.map(|due| due.saturating_sub(own.now()));
        tokio::select! {
            (len, from) = next(&own.sockets.group, &mut for_all) => {
                own.receive(&mut incoming, from, &for_all[..len]).await;
                own.take_in(&own.sockets.group, &mut incoming, &mut for_all).await;
            }
            (len, from) = next(&own.sockets.own, &mut for_us) => {
                own.receive(&mut incoming, from, &for_us[..len]).await;
                own.take_in(&own.sockets.own, &mut incoming, &mut for_us).await;
            }
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {
                let now = own.now();
                let has_room = |topic| own.subscribers.have_room(&under(topic));
                let missing = incoming.missing.timeout(now, has_room);
                for (to, nack) in incoming.parts.timeout(now).into_iter().chain(missing) {
                    // What does not go out is asked for again.
                    let _ = own.sockets.own.send_to(&nack.encode(), to).await;
                }
            }
        }
    }
}

async fn next(socket: &UdpSocket, buffer: &mut [u8]) -> (usize, SocketAddr) {
    loop {
        match socket.recv_from(buffer).await {
            Ok(received) => return received,
            // The interface went away, or, on Windows, somebody to whom something was sent.
            Err(_) => tokio::time::sleep(AFTER_ERROR).await,
        }
    }
}

/// What a datagram has of its topic.
fn hash(topic: &Topic) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(0, 0);
    hasher.write(topic.as_bytes());
    hasher.finish()
}

/// The topic as subscribers are found by here: its hash.
fn under(hash: u64) -> Topic {
    Topic::new(hash.to_be_bytes().to_vec())
}

fn address(peer: &PeerAddr) -> Result<SocketAddr, TransportError> {
    let text = std::str::from_utf8(peer.as_bytes()).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| TransportError::Refused("this address is not one of a UDP network".into()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under this lock panics halfway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use datagram::{MessageName, Nack};

    #[tokio::test]
    async fn a_turn_takes_in_more_than_a_task_may_await() {
        const WAITING: u64 = 200;
        let options = Options { port: 47_932, interface: Some(Ipv4Addr::LOCALHOST), ..Options::default() };
        let parts = Parts::open(&options).unwrap();
        let topic = Topic::from("lobby");
        let mut heard = parts.subscribers.subscribe(&under(hash(&topic)));
        let mut other = Ring::new(datagram::for_all(1));
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = parts.sockets.own.local_addr().unwrap().port();
        for _ in 0..WAITING {
            for datagram in other.cut(hash(&topic), "hello".into()) {
                socket.send_to(&datagram, (Ipv4Addr::LOCALHOST, port)).unwrap();
            }
        }
        parts.sockets.own.readable().await.unwrap();
        let (mut incoming, mut buffer) = (Incomplete::default(), vec![0; BUFFER]);
        {
            let turn = std::pin::pin!(parts.take_in(&parts.sockets.own, &mut incoming, &mut buffer));
            assert!(turn.poll(&mut Context::from_waker(Waker::noop())).is_ready());
        }
        for _ in 0..WAITING {
            let next = std::pin::pin!(heard.next()).poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(next, Poll::Ready(Some(Ok(_)))));
        }
    }

    #[tokio::test]
    async fn who_asks_for_a_whole_message_asks_for_as_many_datagrams_as_it_has() {
        let options = Options { port: 47_931, interface: Some(Ipv4Addr::LOCALHOST), ..Options::default() };
        let parts = Udp::join(options).await.unwrap().0.parts.clone();
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        for (number, bytes, expected) in [(0, 10, 1), (1, 3 * datagram::PIECE, 4)] {
            lock(&parts.ring).cut(1, vec![7; bytes].into());
            let nack = Nack { message: MessageName { boot: parts.boots[0], number }, missing: u64::MAX };
            parts.receive(&mut Incomplete::default(), from, &nack.encode()).await;
            assert_eq!(lock(&parts.pace).asked_by(from), expected);
        }
    }
}

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
