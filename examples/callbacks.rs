//! Callbacks: two participants, one store on disk, a network made of two tokio tasks. A callback calls the manager back.
//!
//! `cargo run --example callbacks`

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reliable_channel::manager::{Callbacks, ReliabilityManager, WeakManager};
use reliable_channel::store::RedbPersistence;
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let (to_bob, mut for_bob) = mpsc::unbounded_channel();
    let (to_alice, mut for_alice) = mpsc::unbounded_channel();
    let (done, mut all_done) = mpsc::unbounded_channel();

    let alice_sends = to_bob.clone();
    let alice = ReliabilityManager::builder("alice")
        .persistence(Arc::new(RedbPersistence::open(folder.path())?))
        .callbacks(
            Callbacks::new()
                .on_message_ready(|_, delivery| {
                    println!("alice reads {:?}", String::from_utf8_lossy(&delivery.body.content));
                })
                .on_message_acknowledged(move |_, id, by| {
                    println!("alice knows that {by} has {}", &id.to_string()[..8]);
                    // The program may have ended meanwhile.
                    let _ = done.send(());
                })
                .on_delivery_failed(|_, id, possibly| println!("gave up on {id}, possibly received: {possibly}"))
                .on_transmit(move |transmission| drop(alice_sends.send(transmission.bytes.clone()))),
        )
        .build()?;

    let (bob_sends, bob_answers) = (to_alice.clone(), to_alice);
    let bob = ReliabilityManager::builder("bob")
        .callbacks(
            Callbacks::new()
                .on_message_ready(move |channel, delivery| {
                    println!("bob reads {:?}", String::from_utf8_lossy(&delivery.body.content));
                    // A callback may call any method of its manager and wait for it.
                    let Some(bob) = ReliabilityManager::current() else { return };
                    let answer = format!("got your message number {}", delivery.number);
                    let wrapped = bob.wrap_outgoing(channel, answer);
                    if let Ok(wrapped) = tokio::runtime::Handle::current().block_on(wrapped) {
                        drop(bob_answers.send(wrapped.bytes));
                    }
                })
                .on_transmit(move |transmission| drop(bob_sends.send(transmission.bytes.clone()))),
        )
        .build()?;

    for manager in [&alice, &bob] {
        manager.ensure_channel("lobby").await?;
        manager.start_periodic_tasks();
    }
    let (alice_hears, bob_hears) = (alice.downgrade(), bob.downgrade());
    tokio::spawn(async move { receive(bob_hears, &mut for_bob).await });
    tokio::spawn(async move { receive(alice_hears, &mut for_alice).await });

    for text in ["hello", "are you there?"] {
        to_bob.send(alice.wrap_outgoing("lobby", text).await?.bytes)?;
    }
    for _ in 0..2 {
        tokio::time::timeout(Duration::from_secs(30), all_done.recv()).await?.ok_or("nothing was acknowledged")?;
    }
    let report = alice.shutdown().await;
    println!("shut down, {} channels unsaved", report.unsaved.len());
    Ok(())
}

/// Hands in what the network brings, as long as the manager lives.
async fn receive(manager: WeakManager, packets: &mut mpsc::UnboundedReceiver<bytes::Bytes>) {
    while let Some(packet) = packets.recv().await {
        let Some(manager) = manager.upgrade() else { return };
        if let Err(error) = manager.unwrap_received(packet).await {
            eprintln!("refused: {error}");
        }
    }
}
