//! How much a node takes over multicast on one machine, beside bare UDP:
//! `cargo run --release -p reliable-channel-udp --example burst -- 5 20000`, members and messages of each.

#![allow(clippy::disallowed_methods)] // it measures

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reliable_channel::channel::Config;
use reliable_channel::reliable::{ChannelEvent, Events, Node, NodeError, ReliableChannel};
use reliable_channel::transport::{Topic, Transport, TransportError};
use reliable_channel_udp::{Options, Udp};
use tokio::task::JoinSet;

const CONTENT: [u8; 100] = [b'x'; 100];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let numbers: Vec<usize> = std::env::args().skip(1).map(|argument| argument.parse()).collect::<Result<_, _>>()?;
    let [members, each] = numbers[..] else {
        println!("usage: burst MEMBERS MESSAGES");
        return Ok(());
    };
    bare(members, each).await?;
    nodes(members, each).await
}

/// Every member publishes all at once; what arrives in a second of silence is counted.
async fn bare(members: usize, each: usize) -> Result<(), Box<dyn Error>> {
    let topic = Topic::from("bare burst");
    let mut heard = JoinSet::new();
    let mut all = Vec::new();
    for _ in 0..members {
        let member = Udp::join(Options::default()).await?;
        let mut subscription = member.subscribe(&topic).await?;
        heard.spawn(async move {
            let mut count = 0;
            while let Ok(Some(item)) = tokio::time::timeout(Duration::from_secs(1), subscription.next()).await {
                count += usize::from(item.is_ok());
            }
            count
        });
        all.push(member);
    }
    let (start, before) = (Instant::now(), processor_time());
    let mut sending = JoinSet::new();
    for member in all.clone() {
        let topic = topic.clone();
        sending.spawn(async move {
            for _ in 0..each {
                member.publish(&topic, None, CONTENT.to_vec().into()).await?;
            }
            Ok::<(), TransportError>(())
        });
    }
    while let Some(sent) = sending.join_next().await {
        sent??;
    }
    let (took, count) = (start.elapsed(), heard.join_all().await.iter().sum::<usize>());
    let expected = members * each * (members - 1);
    println!(
        "bare: {:.0} messages a second sent, {:.2}% lost, {}",
        rate(members * each, took),
        lost(count, expected),
        cost(before, count)
    );
    Ok(())
}

/// Every member says all as fast as it may, and hears all of the others.
async fn nodes(members: usize, each: usize) -> Result<(), Box<dyn Error>> {
    let mut config = Config::default();
    config.max_message_history = members * each + 1;
    config.max_log_bytes = usize::MAX;
    let mut joined = Vec::new();
    for member in 0..members {
        let network = Udp::join(Options::default()).await?;
        let node = Node::builder(format!("member {member}")).transport(network).config(config.clone()).build()?;
        let (channel, events) = node.join("burst").await?;
        joined.push((node, channel, events));
    }
    let (start, before) = (Instant::now(), processor_time());
    let mut work = JoinSet::new();
    let nodes: Vec<Node> = joined.iter().map(|(node, ..)| node.clone()).collect();
    for (_, channel, events) in joined {
        let channel = Arc::new(channel);
        let sender = channel.clone();
        work.spawn(async move { say(&sender, each).await.map(|()| 0) });
        work.spawn(async move { Ok(hear(events, each * (members - 1)).await) });
    }
    let mut lost_to_readers = 0;
    while let Some(done) = work.join_next().await {
        lost_to_readers += done??;
    }
    let (took, cost) = (start.elapsed(), cost(before, members * each * (members - 1)));
    let memory = most_memory();
    let logs: Vec<_> = nodes.iter().map(|node| node.manager().log(&"burst".into())).collect::<Result<_, _>>()?;
    let keys = |at: usize| logs[at].iter().map(|logged| &logged.body.key);
    let same = (1..members).all(|at| keys(at).eq(keys(0)));
    println!(
        "nodes: {:.0} messages a second, all {} heard by all after {:.1} s, logs {}, {lost_to_readers} not told, {cost}{memory}",
        rate(members * each, took),
        members * each,
        took.as_secs_f64(),
        if same { "identical" } else { "not identical yet" },
    );
    Ok(())
}

async fn say(channel: &ReliableChannel, each: usize) -> Result<(), NodeError> {
    for _ in 0..each {
        // Too many are open: acknowledgements make room.
        while let Err(error) = channel.send(CONTENT.to_vec()).await {
            match error {
                NodeError::Manager(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                other => return Err(other),
            }
        }
    }
    Ok(())
}

/// Reads until all was heard, and gives how many left the log before they could be read.
async fn hear(mut events: Events, expected: usize) -> u64 {
    let (mut heard, mut not_told) = (0, 0);
    while heard + (not_told as usize) < expected
        && let Some(event) = events.next().await
    {
        match event {
            ChannelEvent::Received(_) => heard += 1,
            ChannelEvent::Missed { lost, .. } => not_told += lost,
            _ => {}
        }
    }
    not_told
}

/// Processor time of this process, where it can be had.
fn processor_time() -> Option<Duration> {
    let all = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut ticks = all.rsplit(')').next()?.split_whitespace().skip(11);
    let ticks: u64 = ticks.next()?.parse::<u64>().ok()? + ticks.next()?.parse::<u64>().ok()?;
    // Linux counts a hundred a second for programs, whatever it counts itself.
    Some(Duration::from_millis(ticks * 10))
}

/// What each message took that one member heard.
fn cost(before: Option<Duration>, heard: usize) -> String {
    let took = before.zip(processor_time()).map(|(before, now)| now - before);
    took.map_or_else(String::new, |took| {
        let each = took.as_secs_f64() * 1e6 / heard.max(1) as f64;
        format!("{:.1} s of processor time, {each:.0} us for each message heard", took.as_secs_f64())
    })
}

/// The most memory that this process has had, where it can be known.
fn most_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(String::new, |most| format!(", {} of memory at most", most.trim()))
}

fn rate(messages: usize, took: Duration) -> f64 {
    messages as f64 / took.as_secs_f64()
}

fn lost(heard: usize, expected: usize) -> f64 {
    100.0 - 100.0 * heard as f64 / expected.max(1) as f64
}
