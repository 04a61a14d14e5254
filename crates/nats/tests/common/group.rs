//! Members of one channel on servers, who talk while the servers do not behave.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reliable_channel::channel::Config;
use reliable_channel::reliable::{ChannelEvent, Events, Node, NodeError, ReliableChannel};
use reliable_channel::store::{MemoryPersistence, Persistence};
use reliable_channel_nats::{Nats, Options};

pub const CHANNEL: &str = "lobby";

/// One member.
pub struct Member {
    pub name: String,
    pub nats: Nats,
    pub node: Node,
    pub channel: ReliableChannel,
    /// How often the network was gone, and back.
    pub breaks: Arc<AtomicUsize>,
}

impl Member {
    pub async fn join(name: &str, options: Options, config: Config, store: Arc<dyn Persistence>) -> (Self, Events) {
        let nats = Nats::connect(options).await.unwrap();
        let node = Node::builder(name).transport(nats.clone()).persistence(store).config(config).build().unwrap();
        let (channel, events) = node.join(CHANNEL).await.unwrap();
        (Self { name: name.to_owned(), nats, node, channel, breaks: Arc::default() }, events)
    }

    /// As `join`, with its events read and forgotten.
    pub async fn start(name: &str, options: Options, config: Config) -> Self {
        let (member, mut events) = Self::join(name, options, config, Arc::new(MemoryPersistence::new())).await;
        let breaks = member.breaks.clone();
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if matches!(event, ChannelEvent::Disconnected { .. }) {
                    breaks.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        member
    }

    /// Says one thing, as soon as there is room for it.
    pub async fn say(&self, text: &str) {
        while let Err(error) = self.channel.send(text.to_owned()).await {
            assert!(matches!(error, NodeError::Manager(_)), "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Says a line every so often until then, and gives what it said.
    pub async fn talk(&self, every: Duration, until: Instant) -> Vec<String> {
        let mut said = Vec::new();
        while Instant::now() < until {
            let line = format!("{} {}", self.name, said.len());
            self.say(&line).await;
            said.push(line);
            tokio::time::sleep(every).await;
        }
        said
    }

    /// The log, in order.
    pub fn log(&self) -> Vec<String> {
        let log = self.channel.history().unwrap();
        log.iter().map(|logged| String::from_utf8_lossy(&logged.body.content).into_owned()).collect()
    }
}

/// A log that forgets nothing here.
pub fn config() -> Config {
    let mut config = Config::default();
    config.max_message_history = 100_000;
    config
}

/// Waits until all logs are equal and have all that was said; gives how long that took.
pub async fn agree(members: &[Member], said: &BTreeSet<String>, patience: Duration) -> Duration {
    let start = Instant::now();
    loop {
        let logs: Vec<Vec<String>> = members.iter().map(Member::log).collect();
        let is_whole = |log: &Vec<String>| log.len() == said.len() && said.iter().all(|line| log.contains(line));
        if logs.windows(2).all(|two| two[0] == two[1]) && is_whole(&logs[0]) {
            return start.elapsed();
        }
        if start.elapsed() > patience {
            for (member, log) in members.iter().zip(&logs) {
                let missing: Vec<&String> = said.iter().filter(|line| !log.contains(line)).take(5).collect();
                println!(
                    "{}: {} of {}, without {missing:?}; {}",
                    member.name,
                    log.len(),
                    said.len(),
                    *member.nats.status().borrow()
                );
            }
            panic!("logs are not equal and whole after {patience:?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
