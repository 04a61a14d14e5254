//! Managers and nodes with keys: whose authenticator a channel has, and payloads larger than a packet.

use std::time::Duration;

use reliable_channel::authenticity::Ed25519;
use reliable_channel::channel::{ChannelError, Config, Event};
use reliable_channel::manager::{ManagerError, ReliabilityManager};
use reliable_channel::reliable::{ChannelEvent, Events, Node};
use reliable_channel::transport::MemoryNetwork;

/// A member with a key of its own, under a name that ends with it.
fn node(name: &str, secret: u8, network: &MemoryNetwork) -> Node {
    let keys = Ed25519::self_certifying(&[secret; 32]);
    let name = keys.public_key().name(name);
    Node::builder(name).transport(network.member()).seed(secret.into()).authenticator(keys).build().unwrap()
}

async fn received(events: &mut Events) -> (String, usize) {
    loop {
        match tokio::time::timeout(Duration::from_secs(120), events.next()).await.unwrap().unwrap() {
            ChannelEvent::Received(delivery) => {
                return (delivery.body.sender.to_string(), delivery.body.content.len());
            }
            ChannelEvent::Other(Event::NotAuthentic { sender, .. }) => panic!("{sender} is not believed"),
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_payload_of_many_packets_arrives_signed() {
    let network = MemoryNetwork::new();
    network.set_max_bytes(1_400);
    let (alice, bob) = (node("alice", 1, &network), node("bob", 2, &network));
    let (lobby, _) = alice.join("lobby").await.unwrap();
    // Options of its own, which name no authenticator: it has the node's.
    let (_bob, mut heard) = bob.channel("lobby").config(Config::default()).join().await.unwrap();
    lobby.send(vec![7; 50_000]).await.unwrap();
    let (sender, bytes) = received(&mut heard).await;
    assert_eq!((sender.as_str(), bytes), (alice.participant().as_str().unwrap(), 50_000));
}

#[tokio::test(start_paused = true)]
async fn a_node_without_a_key_is_refused_and_told_of() {
    let network = MemoryNetwork::new();
    let bob = node("bob", 2, &network);
    let stranger = Node::builder("alice").transport(network.member()).seed(3).build().unwrap();
    let (_bob, mut heard) = bob.join("lobby").await.unwrap();
    let (lobby, _) = stranger.join("lobby").await.unwrap();
    lobby.send("hello").await.unwrap();
    loop {
        match tokio::time::timeout(Duration::from_secs(120), heard.next()).await.unwrap().unwrap() {
            ChannelEvent::Received(delivery) => panic!("{delivery:?}"),
            ChannelEvent::Other(Event::NotAuthentic { sender, .. }) => break assert_eq!(sender, "alice".into()),
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_channel_has_its_managers_authenticator_unless_it_has_its_own() {
    let keys = || Ed25519::self_certifying(&[1; 32]);
    let name = keys().public_key().name("alice");
    let alice = ReliabilityManager::builder(name).authenticator(keys()).seed(1).build().unwrap();
    alice.ensure_channel("plain").await.unwrap();
    alice.ensure_channel_with("with options", Config::default()).await.unwrap();
    let stranger = ReliabilityManager::builder("mallory").seed(2).build().unwrap();
    for channel in ["plain", "with options"] {
        stranger.ensure_channel(channel).await.unwrap();
        let forged = stranger.wrap_outgoing(channel, "hello").await.unwrap();
        let refused = alice.unwrap_received(forged.bytes).await.unwrap_err();
        assert!(matches!(refused, ManagerError::Channel(ChannelError::NotAuthentic { .. })), "{refused}");
        assert_eq!(alice.stats(&channel.into()).unwrap().forgeries, 1);
    }
}
