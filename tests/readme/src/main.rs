//! The README's first example, word for word.

use std::sync::Arc;

use reliable_channel::manager::{Callbacks, ReliabilityManager};
use reliable_channel::store::RedbPersistence;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    // One sender id a device: "alice" on a phone and "alice" on a laptop are two participants with two names.
    let alice = ReliabilityManager::builder("alice")
        .persistence(Arc::new(RedbPersistence::open(folder.path())?))
        .callbacks(Callbacks::new().on_message_acknowledged(|_, id, by| println!("{by} has {id}")))
        .build()?;
    let bob = ReliabilityManager::builder("bob")
        .callbacks(Callbacks::new().on_message_ready(|channel, delivery| {
            println!("{channel}: {} says {:?}", delivery.body.sender, delivery.body.content);
        }))
        .build()?;
    // Who comes later sees what is said from then on, and up to 100 older messages, marked as history: that is
    // `Join::Recent(100)`, the default of `Config::join`. The table of guarantees below says more.
    for manager in [&alice, &bob] {
        manager.ensure_channel("lobby").await?;
        manager.start_periodic_tasks(); // resends, acknowledges, repairs when it is time to
    }
    // What must go out by itself; give it to your network as you do with what you wrap.
    let mut acknowledgements = bob.transmissions();

    let wrapped = alice.wrap_outgoing("lobby", "hello").await?; // broadcast `wrapped.bytes` ...
    bob.unwrap_received(wrapped.bytes).await?; // ... and hand in what arrives

    if let Some(Ok(transmission)) = acknowledgements.next().await {
        alice.unwrap_received(transmission.bytes).await?; // within 4 seconds: bob's acknowledgement
    }
    alice.shutdown().await;
    Ok(())
}
