//! Two members on one server: `nats-server -js`, then `cargo run -p reliable-channel-nats --example hello`. Another server is
//! named by its address: `hello nats://host:4222`.

use std::time::Duration;

use reliable_channel::transport::{Topic, Transport};
use reliable_channel_nats::{Nats, NatsError, Options};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| Options::default().url);
    let options = Options { url, ..Options::default() };
    let alice = match Nats::connect(options.clone()).await {
        Err(error @ NatsError::NoServer { .. }) => {
            println!("SKIPPED: {error}");
            return Ok(());
        }
        connected => connected?,
    };
    let bob = Nats::connect(options).await?;
    println!("alice is {}", alice.status().borrow().clone());
    let topic = Topic::from("example hello");
    let mut heard = bob.subscribe(&topic).await?;
    // What the stream has of earlier runs comes, too.
    let hint = alice.publish(&topic, None, "hello".into()).await?;
    if let Ok(Some(incoming)) = tokio::time::timeout(Duration::from_secs(2), heard.next()).await {
        let incoming = incoming?;
        println!("bob hears {:?} from {:?}", incoming.bytes, incoming.from);
    }
    if let Some(hint) = hint {
        println!("and fetches {:?} from the stream", bob.fetch(&topic, &[hint]).await?);
    }
    Ok(())
}
