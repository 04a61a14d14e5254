//! How much nodes take over NATS, beside plain messages of core NATS and beside JetStream, in one run:
//! `cargo run --release -p reliable-channel-nats --example load -- nats://127.0.0.1:4222 1000 5 20`, which is the server, channels,
//! members, and messages of each member in each channel. The server's stream must be new.

#![allow(clippy::disallowed_methods)] // it measures

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::consumer::pull::Config as Consumer;
use async_nats::jetstream::stream::Config as StreamConfig;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, FuturesUnordered};
use reliable_channel::channel::Config;
use reliable_channel::reliable::{ChannelEvent, Events, Node, NodeError, ReliableChannel};
use reliable_channel_nats::{Nats, Options};
use tokio::task::JoinSet;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const CONTENT: Bytes = Bytes::from_static(&[b'x'; 100]);
/// Publications of one client that wait for their acknowledgement.
const WINDOW: usize = 256;

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (url, numbers) = match &arguments[..] {
        [url, channels, members, each] => (url, [channels.parse()?, members.parse()?, each.parse()?]),
        _ => {
            println!("usage: load URL CHANNELS MEMBERS MESSAGES");
            return Ok(());
        }
    };
    let [channels, members, each]: [usize; 3] = numbers;
    let count = channels * members * each;
    let core = measured("core NATS, heard by all others", count, core(url, channels, members, each)).await?;
    let alone = |window| Kept { window, is_read: false };
    let stream = |channels, each, how| kept(url, channels, members, each, how);
    let kept = measured("JetStream, published and acknowledged", count, stream(channels, each, alone(WINDOW))).await?;
    let one = count.min(20_000) / members * members;
    let slow = stream(1, one / members, alone(1));
    measured("JetStream, each publication waits for the one before", one, slow).await?;
    let read = Kept { window: WINDOW, is_read: true };
    let heard =
        measured("JetStream, and each message acknowledged by all others", count, stream(channels, each, read)).await?;
    let nodes = measured("nodes, delivered to all others", count, nodes(url, channels, members, each)).await?;
    println!(
        "nodes beside core NATS: {:.3}; beside JetStream that nobody reads: {:.3}; that all read: {:.3}",
        nodes / core,
        nodes / kept,
        nodes / heard
    );
    Ok(())
}

/// Messages a second of something that returns when it began, after preparations.
async fn measured(what: &str, count: usize, work: impl Future<Output = Outcome<(Instant, Duration)>>) -> Outcome<f64> {
    let (start, cpu) = work.await?;
    let (took, cpu) = (start.elapsed(), processor_time() - cpu);
    let rate = count as f64 / took.as_secs_f64();
    println!(
        "{what}: {count} messages in {:.1} s, {rate:.0} a second, {:.0} us of this process each, memory up to {} MiB",
        took.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / count as f64,
        peak_memory() >> 20
    );
    Ok(rate)
}

/// Each member publishes all to the others, who count.
async fn core(url: &str, channels: usize, members: usize, each: usize) -> Outcome<(Instant, Duration)> {
    let mut hearing = JoinSet::new();
    let mut clients = Vec::new();
    for _ in 0..members {
        let options = async_nats::ConnectOptions::new().no_echo().subscription_capacity(1 << 20);
        let client = options.connect(url).await?;
        let mut heard = client.subscribe("load.core.*").await?;
        client.flush().await?;
        let expected = channels * (members - 1) * each;
        hearing.spawn(async move {
            for _ in 0..expected {
                heard.next().await;
            }
        });
        clients.push(client);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = (Instant::now(), processor_time());
    for client in clients.clone() {
        hearing.spawn(async move {
            for number in 0..channels * each {
                // A client that is gone is seen by those who hear nothing.
                let _ = client.publish(format!("load.core.{}", number % channels), CONTENT).await;
            }
        });
    }
    hearing.join_all().await;
    Ok(began)
}

/// How a stream is used.
#[derive(Clone, Copy)]
struct Kept {
    /// Publications of a member that wait for their acknowledgement.
    window: usize,
    /// Whether each member reads and acknowledges what is in the stream.
    is_read: bool,
}

/// Each member publishes all to a stream, and waits for the acknowledgements.
async fn kept(url: &str, channels: usize, members: usize, each: usize, how: Kept) -> Outcome<(Instant, Duration)> {
    let admin = jetstream::new(async_nats::connect(url).await?);
    let config = StreamConfig { name: "load".into(), subjects: vec!["load.kept.*".into()], ..StreamConfig::default() };
    let _ = admin.delete_stream("load").await;
    let stream = admin.create_stream(config).await?;
    let mut clients = Vec::new();
    for _ in 0..members {
        clients.push(jetstream::new(async_nats::connect(url).await?));
    }
    let mut work: JoinSet<Outcome<()>> = JoinSet::new();
    let began = (Instant::now(), processor_time());
    for context in clients {
        if how.is_read {
            let config = Consumer { max_ack_pending: 20_000, ..Consumer::default() };
            let consumer = context.create_consumer_on_stream(config, stream.cached_info().config.name.as_str()).await?;
            let mut heard = consumer.messages().await?.take(channels * members * each);
            work.spawn(async move {
                while let Some(message) = heard.next().await {
                    message?.ack().await?;
                }
                Ok(())
            });
        }
        work.spawn(async move {
            let mut open = FuturesUnordered::new();
            for number in 0..channels * each {
                if open.len() == how.window
                    && let Some(outcome) = open.next().await
                {
                    outcome?;
                }
                let acknowledged = context.publish(format!("load.kept.{}", number % channels), CONTENT).await?;
                open.push(acknowledged.into_future());
            }
            while let Some(outcome) = open.next().await {
                outcome?;
            }
            Ok(())
        });
    }
    while let Some(done) = work.join_next().await {
        done??;
    }
    admin.delete_stream("load").await?;
    Ok(began)
}

/// Each member says all in all channels, and hears all of the others.
async fn nodes(url: &str, channels: usize, members: usize, each: usize) -> Outcome<(Instant, Duration)> {
    let mut config = Config::default();
    config.max_message_history = members * each + 1;
    let mut joined = Vec::new();
    for member in 0..members {
        let network = Nats::connect(Options { url: url.to_owned(), ..Options::default() }).await?;
        let node = Node::builder(format!("member {member}")).transport(network).config(config.clone()).build()?;
        let join = |number| {
            let node = node.clone();
            async move { node.join(format!("load {number}")).await }
        };
        let all: Vec<_> = stream::iter(0..channels).map(join).buffer_unordered(32).collect().await;
        joined.push((node.clone(), all.into_iter().collect::<Result<Vec<_>, _>>()?));
    }
    let began = (Instant::now(), processor_time());
    let mut work: JoinSet<Outcome<()>> = JoinSet::new();
    let mut nodes = Vec::new();
    for (node, all) in joined {
        nodes.push(node);
        let mut lobbies = Vec::new();
        for (channel, events) in all {
            lobbies.push(channel);
            work.spawn(async move {
                hear(events, each * (members - 1)).await;
                Ok(())
            });
        }
        let lobbies = Arc::new(lobbies);
        for at in 0..32 {
            let lobbies = lobbies.clone();
            work.spawn(async move {
                for _ in 0..each {
                    for lobby in lobbies.iter().skip(at).step_by(32) {
                        say(lobby).await?;
                    }
                }
                Ok(())
            });
        }
    }
    while let Some(done) = work.join_next().await {
        done??;
    }
    let log = |node: &Node, number| node.manager().log(&format!("load {number}").into());
    for number in 0..channels {
        let first = log(&nodes[0], number)?;
        assert_eq!(first.len(), members * each, "channel {number} is not complete");
        for node in &nodes {
            assert!(log(node, number)?.iter().map(|one| &one.body.key).eq(first.iter().map(|one| &one.body.key)));
        }
    }
    Ok(began)
}

async fn say(lobby: &ReliableChannel) -> Outcome<()> {
    // Too many are open: acknowledgements make room.
    while let Err(error) = lobby.send(CONTENT).await {
        match error {
            NodeError::Manager(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            other => return Err(other.into()),
        }
    }
    Ok(())
}

async fn hear(mut events: Events, expected: usize) {
    let mut heard = 0;
    while heard < expected
        && let Some(event) = events.next().await
    {
        match event {
            ChannelEvent::Received(_) => heard += 1,
            ChannelEvent::Missed { lost, .. } => heard += lost as usize,
            _ => {}
        }
    }
}

/// What this process has had of the processors, where Linux says so.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<i64> =
        text.rsplit(')').next().unwrap_or_default().split(' ').filter_map(|field| field.parse().ok()).collect();
    // After the name and the state: utime and stime are the tenth and eleventh numbers, in hundredths of a second.
    let ticks = fields.get(10).unwrap_or(&0) + fields.get(11).unwrap_or(&0);
    Duration::from_millis(10 * u64::try_from(ticks).unwrap_or(0))
}

/// Bytes of memory that it had at most.
fn peak_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10
}
