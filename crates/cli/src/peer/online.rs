//! A peer on a network: what goes out is published, and what arrives is taken in.
//!
//! How it moves: a thread reads the commands, for stdin cannot be waited for beside a network; the session sees one thing at a
//! time, a command or a message. All is told as without a network, so that whoever drives it needs to know nothing new.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use reliable_channel::transport::{Incoming, Subscription, Topic, Transport, TransportError};
use tokio::sync::mpsc;

use super::command::{self, Request, Wrong};
use super::lines::Lines;
use super::session::Session;
use super::told::Told;
use super::{Args, say};
use crate::network::Network;
use crate::screen::{self, Screen};

/// Lines that were read and not answered yet.
const AHEAD: usize = 64;

/// Wait before a subscription is asked for again.
const WAIT: Duration = Duration::from_millis(100);

type Line = std::io::Result<Result<String, Wrong>>;

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("cannot start")?.block_on(peer(args))
}

async fn peer(args: &Args) -> anyhow::Result<()> {
    let mut network = Network::join(&args.udp.args(), &args.nats).await?;
    network.notes.iter().for_each(|note| screen::note(note));
    let max = *network.transport.max_bytes().borrow();
    let (mut session, opened) = Session::open(args, Some(max))?;
    let topic = Topic::from(args.channel.as_str());
    let mut screen = Screen::new();
    say(&mut screen, &opened)?;
    publish(&network, &topic, &opened).await;
    let mut lines = read();
    let mut hearing = Hearing::new(network.transport.clone(), topic.clone());
    while !screen.has_failed() {
        let (told, ended) = tokio::select! {
            line = lines.recv() => match line {
                Some(line) => {
                    let request = line?.and_then(|line| command::parse(&line)).unwrap_or_else(Request::wrong);
                    session.answer(request)?
                }
                None => break,
            },
            Some(notice) = network.notices.recv() => {
                screen::note(&notice);
                continue;
            }
            // What is refused for good is the end.
            incoming = hearing.next() => (session.incoming(&incoming?.bytes)?, false),
        };
        say(&mut screen, &told)?;
        publish(&network, &topic, &told).await;
        if ended {
            break;
        }
    }
    session.close()?;
    screen.end()
}

/// What is said on a topic.
struct Hearing {
    transport: Arc<dyn Transport>,
    topic: Topic,
    now: Now,
}

enum Now {
    /// A subscription is asked for.
    Asking(Pin<Box<dyn Future<Output = Result<Subscription, TransportError>> + Send>>),
    Subscribed(Subscription),
}

impl Hearing {
    fn new(transport: Arc<dyn Transport>, topic: Topic) -> Self {
        let now = ask(transport.clone(), topic.clone(), Duration::ZERO);
        Self { transport, topic, now }
    }

    /// The next message. What cannot be had now is asked for again. Nothing is lost, and nothing begun anew, when the wait is
    /// given up.
    async fn next(&mut self) -> Result<Incoming, TransportError> {
        loop {
            let next = match &mut self.now {
                Now::Subscribed(heard) => match heard.next().await {
                    Some(Ok(incoming)) => return Ok(incoming),
                    Some(Err(_)) => continue,
                    None => None,
                },
                Now::Asking(asking) => match asking.as_mut().await {
                    Err(error) if !error.should_retry() => return Err(error),
                    subscribed => subscribed.ok().map(Now::Subscribed),
                },
            };
            self.now = next.unwrap_or_else(|| ask(self.transport.clone(), self.topic.clone(), WAIT));
        }
    }
}

fn ask(transport: Arc<dyn Transport>, topic: Topic, after: Duration) -> Now {
    Now::Asking(Box::pin(async move {
        tokio::time::sleep(after).await;
        transport.subscribe(&topic).await
    }))
}

/// Publishes what goes out. What the network does not take is noted, and sent again by the channel.
async fn publish(network: &Network, topic: &Topic, told: &[Told]) {
    for told in told {
        let Told::Out { hex, .. } = told else { continue };
        let Ok(bytes) = hex::decode(hex) else { continue };
        if let Err(error) = network.transport.publish(topic, None, bytes.into()).await {
            screen::note(&format!("not published: {error}"));
        }
    }
}

fn read() -> mpsc::Receiver<Line> {
    let (sends, lines) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        let mut lines = Lines::new(std::io::stdin().lock());
        while let Some(line) = lines.next().transpose() {
            if sends.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}
