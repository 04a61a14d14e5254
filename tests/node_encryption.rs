//! Channels whose messages are sealed, between nodes on a network in memory. Time is tokio's, paused.
#![cfg(feature = "manager")]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use reliable_channel::ChannelId;
use reliable_channel::reliable::{ChannelEvent, Encryption, EncryptionError, Events, Node, NodeError, ReliableChannel};
use reliable_channel::transport::{MemoryNetwork, Topic, Transport, TransportError};

const OVERHEAD: usize = 24 + 16;

/// XChaCha20-Poly1305 with nonces that are counted, and the largest message that was sealed.
#[derive(Clone)]
struct Key(u8, Arc<AtomicUsize>, Arc<AtomicUsize>);

impl Key {
    fn new(key: u8) -> Self {
        Self(key, Arc::default(), Arc::default())
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&[self.0; 32].into())
    }
}

impl Encryption for Key {
    fn overhead(&self) -> usize {
        OVERHEAD
    }

    fn seal(&self, channel: &ChannelId, message: &[u8]) -> Result<Vec<u8>, EncryptionError> {
        if self.0 == 0xff {
            return Err(EncryptionError::new("the key is locked"));
        }
        let mut nonce = [self.0; 24];
        nonce[..8].copy_from_slice(&self.1.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        self.2.fetch_max(message.len(), Ordering::Relaxed);
        let payload = Payload { msg: message, aad: channel.as_bytes() };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload).unwrap();
        Ok([&nonce[..], &sealed].concat())
    }

    fn open(&self, channel: &ChannelId, sealed: &[u8]) -> Result<Vec<u8>, EncryptionError> {
        let (nonce, sealed) = sealed.split_first_chunk::<24>().ok_or_else(|| EncryptionError::new("short"))?;
        let payload = Payload { msg: sealed, aad: channel.as_bytes() };
        self.cipher().decrypt(&XNonce::from(*nonce), payload).map_err(|_| EncryptionError::new("not opened"))
    }
}

fn node(name: &str, network: &MemoryNetwork) -> Node {
    Node::builder(name).transport(network.member()).seed(name.len() as u64).build().unwrap()
}

async fn joined(node: &Node, key: &Key) -> (ReliableChannel, Events) {
    node.channel("lobby").encryption(0, key.clone()).join().await.unwrap()
}

async fn hears(events: &mut Events) -> Bytes {
    let reading = async {
        loop {
            if let Some(ChannelEvent::Received(delivery)) = events.next().await {
                return delivery.body.content.clone();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(600), reading).await.expect("it is heard")
}

#[tokio::test(start_paused = true)]
async fn who_has_the_key_hears_and_on_the_network_nothing_can_be_read() {
    let network = MemoryNetwork::new();
    let (alice, bob) = (node("alice", &network), node("bob", &network));
    let key = Key::new(1);
    let (lobby, _told) = joined(&alice, &key).await;
    let (_bobs, mut heard) = joined(&bob, &key).await;
    let eavesdropper = network.member();
    let mut wire = eavesdropper.subscribe(&Topic::from("lobby")).await.unwrap();
    lobby.send("a secret").await.unwrap();
    assert_eq!(hears(&mut heard).await, "a secret");
    let sealed = wire.next().await.unwrap().unwrap().bytes;
    assert_eq!(sealed[..4], [0; 4], "the epoch");
    for word in [&b"a secret"[..], b"alice", b"lobby"] {
        assert!(!sealed.windows(word.len()).any(|found| found == word));
    }
    let opened = key.open(&"lobby".into(), &sealed[4..]).unwrap();
    assert!(opened.windows(8).any(|found| found == b"a secret"));
    assert!(key.open(&"hall".into(), &sealed[4..]).is_err(), "it is bound to its channel");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_opened_is_counted_and_touches_nothing() {
    let network = MemoryNetwork::new();
    let (alice, stranger, plain) = (node("alice", &network), node("stranger", &network), node("plain", &network));
    let (lobby, mut told) = joined(&alice, &Key::new(1)).await;
    let (strangers, _) = joined(&stranger, &Key::new(2)).await;
    let (plains, _) = plain.join("lobby").await.unwrap();
    let before = alice.manager().stats(&"lobby".into()).unwrap();
    strangers.send("another key").await.unwrap();
    plains.send("no key").await.unwrap();
    let member = network.member();
    for garbage in [&b""[..], b"abc", &[0; 5], &[9; 100]] {
        member.publish(&Topic::from("lobby"), None, Bytes::copy_from_slice(garbage)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(lobby.unopened().unwrap(), 6);
    let after = alice.manager().stats(&"lobby".into()).unwrap();
    assert_eq!((before.log_len, before.parked_len), (after.log_len, after.parked_len));
    let quiet = tokio::time::timeout(Duration::from_millis(100), told.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

#[tokio::test(start_paused = true)]
async fn members_change_their_key_and_old_messages_are_still_opened() {
    let network = MemoryNetwork::new();
    let (alice, bob) = (node("alice", &network), node("bob", &network));
    let (old, new) = (Key::new(1), Key::new(2));
    let (alices, mut alice_hears) = joined(&alice, &old).await;
    let (bobs, mut bob_hears) = joined(&bob, &old).await;
    alices.set_encryption(7, new.clone()).unwrap();
    alices.send("too early for bob").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bobs.unopened().unwrap(), 1);
    bobs.send("under the old key").await.unwrap();
    assert_eq!(hears(&mut alice_hears).await, "under the old key");
    bobs.set_encryption(7, new.clone()).unwrap();
    assert_eq!(hears(&mut bob_hears).await, "too early for bob", "it is sent again");
    // Who has the new key alone reads what is said from now on, and what is repaired: that is sealed anew.
    let carol = node("carol", &network);
    let (_carols, mut carol_hears) = carol.channel("lobby").encryption(7, new).join().await.unwrap();
    bobs.send("under the new key").await.unwrap();
    assert_eq!(hears(&mut carol_hears).await, "under the new key");
}

#[tokio::test(start_paused = true)]
async fn segments_leave_room_for_what_sealing_adds() {
    const MAX: usize = 2_500;
    let network = MemoryNetwork::new();
    network.set_max_bytes(MAX);
    let (alice, bob) = (node("alice", &network), node("bob", &network));
    let key = Key::new(1);
    let (lobby, _told) = joined(&alice, &key).await;
    let (_bobs, mut heard) = joined(&bob, &key).await;
    let file = Bytes::from(vec![5; 40_000]);
    lobby.send(file.clone()).await.unwrap();
    assert_eq!(hears(&mut heard).await, file);
    let largest = key.2.load(Ordering::Relaxed);
    assert!((MAX / 2..=MAX - OVERHEAD - 4).contains(&largest), "{largest}");
}

/// As `Key`, with more bytes.
struct Longer(Key);

impl Encryption for Longer {
    fn overhead(&self) -> usize {
        OVERHEAD + 1
    }

    fn seal(&self, channel: &ChannelId, message: &[u8]) -> Result<Vec<u8>, EncryptionError> {
        self.0.seal(channel, message)
    }

    fn open(&self, channel: &ChannelId, sealed: &[u8]) -> Result<Vec<u8>, EncryptionError> {
        self.0.open(channel, sealed)
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_for_which_no_room_was_left_is_refused_and_one_that_fails_is_told() {
    let network = MemoryNetwork::new();
    let (alice, plain) = (node("alice", &network), node("plain", &network));
    let (lobby, mut told) = joined(&alice, &Key::new(1)).await;
    let refused = lobby.set_encryption(1, Longer(Key::new(2)));
    assert!(matches!(refused, Err(NodeError::Overhead { bytes: 45, max: 44 })), "{refused:?}");
    let (plains, _told) = plain.join("lobby").await.unwrap();
    assert!(matches!(plains.set_encryption(1, Key::new(2)), Err(NodeError::Overhead { max: 0, .. })));
    lobby.set_encryption(1, Key::new(0xff)).unwrap();
    let request = lobby.send("not sealed").await.unwrap();
    let published = network.counts().published;
    loop {
        if let Some(ChannelEvent::SendError { request: of, error: TransportError::Refused(why), .. }) =
            told.next().await
        {
            assert_eq!((of, why.as_str()), (request, "it cannot be sealed: the key is locked"));
            break;
        }
    }
    assert_eq!(network.counts().published, published, "it does not go out in the clear");
}
