//! A chat for the terminal, over UDP: the program of docs/build-a-chat.md, which explains it.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use reliable_channel::MessageId;
use reliable_channel::channel::{Config, Event, Join};
use reliable_channel::manager::{Callbacks, ManagerEvent, ReliabilityManager, WeakManager};
use reliable_channel::state::Body;
use reliable_channel::store::RedbPersistence;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader, stdin};
use tokio::net::UdpSocket;

const CHANNEL: &str = "lobby";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(address)) = (arguments.next(), arguments.next()) else {
        println!("usage: chat NAME ADDRESS PEER..., as: chat alice 127.0.0.1:7001 127.0.0.1:7002");
        return Ok(());
    };
    let socket = UdpSocket::bind(address).await?;
    let peers = arguments.map(|peer| peer.parse()).collect::<Result<_, _>>()?;
    let network = Arc::new(Network { socket, peers });
    let folder = format!("chat of {name}");
    chat(&name, Path::new(&folder), network, BufReader::new(stdin()), |line| println!("{line}")).await
}

fn options() -> Config {
    let mut config = Config::default();
    config.join = Join::Recent(20);
    config.max_transmit_bytes = Some(1_200);
    config
}

/// The way to the others.
pub struct Network {
    /// Where packets arrive.
    pub socket: UdpSocket,
    /// Where the others are.
    pub peers: Vec<SocketAddr>,
}

impl Network {
    async fn broadcast(&self, packet: &[u8]) {
        for peer in &self.peers {
            // A packet that cannot be sent is a packet lost: it is sent again.
            let _ = self.socket.send_to(packet, peer).await;
        }
    }
}

/// Hands in what arrives, as long as the manager lives.
async fn listen(network: Arc<Network>, me: WeakManager) {
    let mut packet = vec![0; 64 << 10];
    loop {
        match network.socket.recv_from(&mut packet).await {
            Ok((length, _)) => {
                let Some(me) = me.upgrade() else { return };
                if let Err(error) = me.unwrap_received(packet[..length].to_vec()).await {
                    eprintln!("refused: {error}");
                }
            }
            Err(error) => {
                // On Windows a packet to somebody who has left ends the next call.
                eprintln!("network: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// What an event shows, if it shows anything.
fn shown(event: &ManagerEvent) -> Option<String> {
    let ManagerEvent::Channel { event, .. } = event else {
        return Some(format!("! {event:?}"));
    };
    Some(match event {
        Event::MessageDelivered(delivery) if delivery.history => format!("  {} (history)", said(&delivery.body)),
        Event::MessageDelivered(delivery) if delivery.late => format!("  {} (late)", said(&delivery.body)),
        Event::MessageDelivered(delivery) => format!("  {}", said(&delivery.body)),
        Event::HistoryGap { missing, .. } => format!("! {missing} messages are missing here"),
        Event::MessageAcknowledged { id, by, .. } => format!("\u{2713}\u{2713} {}, {by} has it", short(id)),
        Event::DeliveryFailed { id, .. } => format!("\u{2717} {}, nobody answers", short(id)),
        _ => return None,
    })
}

fn said(body: &Body) -> String {
    format!("{}: {}", body.sender, String::from_utf8_lossy(&body.content))
}

fn short(id: &MessageId) -> String {
    id.to_string().chars().take(6).collect()
}

/// Says what is typed and shows what is said, until the lines end.
pub async fn chat(
    name: &str,
    folder: &Path,
    network: Arc<Network>,
    lines: impl AsyncBufRead + Unpin,
    screen: impl Fn(String) + Clone + Send + Sync + 'static,
) -> Result<(), Box<dyn Error>> {
    let told = screen.clone();
    let me = ReliabilityManager::builder(name)
        .config(options())
        .persistence(Arc::new(RedbPersistence::open(folder)?))
        .callbacks(Callbacks::new().on_event(move |event| {
            if let Some(line) = shown(event) {
                told(line);
            }
        }))
        .build()?;

    let mut transmissions = me.transmissions();
    let out = network.clone();
    tokio::spawn(async move {
        // A reader that was too slow is told so. What it missed comes again.
        while let Some(next) = transmissions.next().await {
            if let Ok(transmission) = next {
                out.broadcast(&transmission.bytes).await;
            }
        }
    });

    me.ensure_channel(CHANNEL).await?;
    for logged in me.log(&CHANNEL.into())? {
        screen(format!("  {}", said(&logged.body)));
    }
    me.start_periodic_tasks();
    let listening = tokio::spawn(listen(network.clone(), me.downgrade()));

    let mut lines = lines.lines();
    while let Some(line) = lines.next_line().await? {
        match me.wrap_outgoing(CHANNEL, line).await {
            Ok(wrapped) => {
                screen(format!("\u{2713} {}", short(&wrapped.id)));
                network.broadcast(&wrapped.bytes).await;
            }
            Err(error) => screen(format!("! not sent: {error}")),
        }
    }

    listening.abort();
    let report = me.shutdown().await;
    if !report.is_clean() {
        screen(format!("! {report:?}"));
    }
    Ok(())
}
