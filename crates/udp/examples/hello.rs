//! Two members of a group on one machine: `cargo run -p reliable-channel-udp --example hello`.

use std::time::Duration;

use reliable_channel::transport::{Topic, Transport};
use reliable_channel_udp::{Options, Udp};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (alice, bob) = (Udp::join(Options::default()).await?, Udp::join(Options::default()).await?);
    let topic = Topic::from("example hello");
    let mut heard = bob.subscribe(&topic).await?;
    // Datagrams may be lost. A `Node` of reliable-channel repeats what was; here it is done by hand.
    for _ in 0..10 {
        alice.publish(&topic, None, vec![b'x'; 50_000].into()).await?;
        if let Ok(Some(incoming)) = tokio::time::timeout(Duration::from_millis(500), heard.next()).await {
            let incoming = incoming?;
            println!("bob hears {} bytes from {:?}", incoming.bytes.len(), incoming.from);
            return Ok(());
        }
    }
    println!("multicast does not come back on this machine");
    Ok(())
}
