//! A channel whose messages are sealed with XChaCha20-Poly1305, and whose members change their key.
//!
//! `cargo run --example encrypted`. A nonce of 24 random bytes is new for each message, resends too; the channel's id is
//! associated data, so that what was sealed for one channel opens in no other. How members get their keys is not shown.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use reliable_channel::ChannelId;
use reliable_channel::reliable::{ChannelEvent, Encryption, EncryptionError, Events, Node};
use reliable_channel::transport::MemoryNetwork;

const NONCE: usize = 24;
const TAG: usize = 16;

/// A key of 32 bytes that all members have.
struct Sealed(XChaCha20Poly1305);

impl Sealed {
    fn with(key: [u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(&key.into()))
    }
}

impl Encryption for Sealed {
    fn overhead(&self) -> usize {
        NONCE + TAG
    }

    fn seal(&self, channel: &ChannelId, message: &[u8]) -> Result<Vec<u8>, EncryptionError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|error| EncryptionError::new(error.to_string()))?;
        let payload = Payload { msg: message, aad: channel.as_bytes() };
        let sealed = self.0.encrypt(&XNonce::from(nonce), payload).map_err(|_| EncryptionError::new("too large"))?;
        Ok([&nonce[..], &sealed].concat())
    }

    fn open(&self, channel: &ChannelId, sealed: &[u8]) -> Result<Vec<u8>, EncryptionError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>().ok_or_else(|| EncryptionError::new("too short"))?;
        let payload = Payload { msg: sealed, aad: channel.as_bytes() };
        self.0.decrypt(&XNonce::from(*nonce), payload).map_err(|_| EncryptionError::new("another key, or changed"))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let network = MemoryNetwork::new();
    let (alice, bob) = (
        Node::builder("alice/phone").transport(network.member()).build()?,
        Node::builder("bob/laptop").transport(network.member()).build()?,
    );
    let (old, new) = ([1; 32], [2; 32]);
    let (alices, _told) = alice.channel("lobby").encryption(0, Sealed::with(old)).join().await?;
    let (bobs, mut heard) = bob.channel("lobby").encryption(0, Sealed::with(old)).join().await?;
    alices.send("with the first key").await?;
    hears(&mut heard, "with the first key").await;
    // Bob opens with both before Alice seals with the new one.
    bobs.set_encryption(1, Sealed::with(new))?;
    alices.set_encryption(1, Sealed::with(new))?;
    alices.send("with the second key").await?;
    hears(&mut heard, "with the second key").await;
    println!("{} messages could not be opened", bobs.unopened()?);
    Ok(())
}

async fn hears(events: &mut Events, expected: &str) {
    while let Some(event) = events.next().await {
        if let ChannelEvent::Received(delivery) = event {
            assert_eq!(delivery.body.content, expected);
            println!("bob hears: {expected}");
            return;
        }
    }
}
