//! A conversation that was had before, in the store of a chat.

use std::path::Path;
use std::sync::Arc;

use reliable_channel::channel::Config;
use reliable_channel::reliable::{ChannelEvent, Node};
use reliable_channel::store::RedbPersistence;
use reliable_channel::transport::MemoryNetwork;

/// Bob said so many things to alice in the lobby, and all are in the store in this directory.
pub fn keep(dir: &Path, messages: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let network = MemoryNetwork::new();
        let mut config = Config::default();
        config.max_message_history = 10_000;
        config.limits.max_outgoing = messages + 1;
        let store = Arc::new(RedbPersistence::open(dir).unwrap());
        let alice = Node::builder("alice").transport(network.member()).persistence(store).config(config.clone());
        let alice = alice.build().unwrap();
        let bob = Node::builder("bob").transport(network.member()).config(config).build().unwrap();
        let (_alices, mut events) = alice.join("lobby").await.unwrap();
        let (bobs, _events) = bob.join("lobby").await.unwrap();
        for number in 1..=messages {
            bobs.send(format!("number {number}")).await.unwrap();
            while !matches!(events.next().await.unwrap(), ChannelEvent::Received(_)) {}
        }
        assert!(alice.shutdown().await.is_clean());
        bob.shutdown().await;
    });
}
