//! A peer on a network: what goes out is published, and what arrives is taken in.
//!
//! How it moves: a thread reads the commands, for stdin cannot be waited for beside a network; the session sees one thing at a
//! time, a command or a message. All is told as without a network, so that whoever drives it needs to know nothing new.

use anyhow::Context as _;
use reliable_channel::transport::{Subscription, Topic};
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

type Line = std::io::Result<Result<String, Wrong>>;

pub(super) fn run(args: &Args, url: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("cannot start")?.block_on(peer(args, url))
}

async fn peer(args: &Args, url: &str) -> anyhow::Result<()> {
    let mut network = Network::nats(url, &args.nats).await?;
    network.notes.iter().for_each(|note| screen::note(note));
    let (mut session, opened) = Session::open(args)?;
    let topic = Topic::from(args.channel.as_str());
    let mut screen = Screen::new();
    say(&mut screen, &opened)?;
    publish(&network, &topic, &opened).await;
    let mut lines = read();
    let mut heard: Option<Subscription> = None;
    while !screen.has_failed() {
        let (told, ended) = tokio::select! {
            biased;
            subscribed = network.transport.subscribe(&topic), if heard.is_none() => {
                // What cannot be had now is asked for again; what is refused for good is the end.
                match subscribed {
                    Err(error) if !error.should_retry() => return Err(error.into()),
                    subscribed => heard = subscribed.ok(),
                }
                continue;
            }
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
            item = next(&mut heard) => match item {
                Some(Ok(incoming)) => (session.incoming(&incoming.bytes)?, false),
                Some(Err(_)) => continue,
                None => {
                    heard = None;
                    continue;
                }
            },
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

/// The next message; never, where nothing is subscribed to.
async fn next(
    heard: &mut Option<Subscription>,
) -> Option<Result<reliable_channel::transport::Incoming, reliable_channel::transport::TransportError>> {
    match heard {
        Some(heard) => heard.next().await,
        None => std::future::pending().await,
    }
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
