//! `chat`: a chat in the terminal, with whoever else chats in this network.
//!
//! What: one [`Node`] over UDP multicast, with a store. Why it asks for nothing: two terminals, and people talk. How it
//! moves: [`Place`] says who chats here and where it is kept; lines of stdin are said, and all that is told becomes a line
//! ([`Told`]). At the end of input it stays until somebody has what was said, for some seconds.

mod lines;
mod place;
mod told;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use reliable_channel::reliable::{Node, ReliableChannel};
use reliable_channel_udp::{Options, Udp};

use crate::demo::Interrupted;
use crate::screen::{self, Screen};
use place::Place;
use told::Told;

/// Messages of the log shown at the start.
const SHOWN_AT_START: usize = 100;
/// How long the end of input waits until somebody has what was said.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Chat with everybody in the local network who does, without a server.
///
/// A line is a message; `<bob> hi` is one of bob's. What was said before is shown at the start. Of what you say, one tick
/// means sent, two that somebody has it, and who; a cross that nobody answered. Ctrl-D ends.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example, in two terminals:\n  reliable-channel chat --name alice\n  reliable-channel chat --name bob"
)]
pub(crate) struct Args {
    /// The conversation to join
    #[arg(long, default_value = "lobby", value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    channel: String,
    /// Who you are, here and nowhere else [default: your user name and four random digits, kept]
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    name: Option<String>,
    /// Keep the conversation in this directory [default: one for each name, among the user's data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Lines in, lines out; so far there is nothing else
    #[arg(long)]
    plain: bool,
    /// The UDP port on which all meet
    #[arg(long, value_name = "N", default_value_t = Options::default().port, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// The address of the network interface to use [default: the system's choice]
    #[arg(long, value_name = "IP")]
    interface: Option<Ipv4Addr>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("cannot start")?.block_on(chat(args))
}

async fn chat(args: &Args) -> anyhow::Result<()> {
    let place = Place::find(args.name.as_deref(), args.data.as_deref())?;
    let options = Options { port: args.port, interface: args.interface, ..Options::default() };
    let network = Udp::join(options).await.context("cannot join the network")?;
    if network.is_local() {
        screen::note("no network here carries multicast: only chats on this machine are reached");
    }
    let node = Node::builder(place.name.as_str()).transport(network).persistence(place.store.clone()).build()?;
    let (lobby, mut events) = node.join(args.channel.as_str()).await?;
    let mut told = Told::new(Screen::new());
    let history = lobby.history()?;
    for logged in &history[history.len().saturating_sub(SHOWN_AT_START)..] {
        told.message(&logged.body, "");
    }
    told.flush();
    screen::note(&format!("you are {} in {}, kept in {}", place.name, args.channel, place.dir.display()));

    let mut lines = lines::read();
    let mut interrupted = false;
    while !told.has_failed() {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => say(&lobby, line?, &mut told).await,
                None => break,
            },
            Some(event) = events.next() => told.event(event, &lobby),
            Ok(()) = tokio::signal::ctrl_c() => {
                interrupted = true;
                break;
            }
        }
        told.flush();
    }
    if !interrupted && !told.has_failed() {
        let waiting = async {
            while told.is_open()
                && let Some(event) = events.next().await
            {
                told.event(event, &lobby);
                told.flush();
            }
        };
        tokio::select! {
            _ = tokio::time::timeout(LAST_WORDS, waiting) => {}
            Ok(()) = tokio::signal::ctrl_c() => interrupted = true,
        }
    }
    if told.is_open() {
        screen::note("nobody is known to have all that you said yet; it is sent again when you chat again");
    }
    let report = node.shutdown().await;
    told.end()?;
    if !report.is_clean() {
        anyhow::bail!("not all was saved: {report:?}");
    }
    if interrupted { Err(Interrupted.into()) } else { Ok(()) }
}

/// Says a line. Whatever is wrong with one is told, and is not the end.
async fn say(lobby: &ReliableChannel, line: String, told: &mut Told) {
    if line.trim().is_empty() {
        return;
    }
    match lobby.send(line.clone()).await {
        Ok(request) => told.said(request, line),
        Err(error) => told.notice(format_args!("not sent: {error}")),
    }
}
