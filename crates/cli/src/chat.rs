//! `chat`: a chat in the terminal, with whoever else chats in this network.
//!
//! One [`Node`] over UDP multicast or a server, with a store. It asks for nothing: two terminals, and people talk. [`Place`] says who
//! chats here and where it is kept. In a terminal it takes the whole screen ([`terminal`]); otherwise lines of stdin are
//! said, and all that is told becomes a line ([`Told`]). At the end it stays until somebody has what was said, for some
//! seconds.

mod draw;
mod file;
mod heard;
mod lines;
mod place;
mod terminal;
mod times;
mod told;
mod view;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use reliable_channel::channel::Config;
use reliable_channel::reliable::{ChannelEvent, Events, Node, ReliableChannel, RequestId};

use crate::demo::Interrupted;
use crate::network::{Coming, NatsArgs, UdpArgs};
use crate::screen::{self, Screen};
use file::Files;
use heard::Heard;
use place::Place;
use times::Times;
use told::Told;
use view::{Tick, View};

/// Messages of the log.
const KEPT: usize = 10_000;
/// Messages of the log shown at the start, in lines.
const SHOWN_AT_START: usize = 100;
/// How long the end of input waits until somebody has what was said.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Chat with everybody in the local network who does, without a server.
///
/// What was said before is shown at the start. Of what you say, one tick means sent, two that somebody has it, and who; a
/// cross that nobody answered. In a terminal it takes the whole screen; with --plain, or in a pipe, a line is a message,
/// and `<bob> hi` is one of bob's. `/file PATH` sends a file. Ctrl-D ends.
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
    /// Lines in, lines out, also in a terminal
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    udp: UdpArgs,
    #[command(flatten)]
    nats: NatsArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("cannot start")?.block_on(chat(args))
}

async fn chat(args: &Args) -> anyhow::Result<()> {
    let max = Config::default().limits.max_id_bytes;
    if let Some(name) = args.name.as_deref().filter(|name| name.len() > max) {
        anyhow::bail!("a name has 1 to {max} bytes, this one has {}; choose a shorter --name", name.len());
    }
    args.nats.check()?;
    let place = Place::find(args.name.as_deref(), args.data.as_deref())?;
    let mut network = Coming::join(&args.udp, &args.nats).await?;
    let note = format!("you are {} in {}, kept in {}", place.name, args.channel, place.dir.display());
    let mut config = Config::default();
    config.max_message_history = KEPT;
    let (node, transport) = (Node::builder(place.name.as_str()), network.transport.clone());
    let node = node.transport(transport).persistence(place.store.clone()).config(config).build()?;
    let (lobby, mut events) = node.channel(args.channel.as_str()).wait_for_network(false).join().await?;
    let files = Files::new(place.dir.join("files"), lobby.id().clone());
    let left = if args.plain || !terminal::is_there() {
        on_lines(&lobby, &files, &mut events, &note, &mut network).await
    } else {
        on_screen(&node, &lobby, &files, &mut events, &note, &mut network).await
    };
    let report = node.shutdown().await;
    let left = left?;
    if left.open {
        screen::note("nobody is known to have all that you said yet; it is sent again when you chat again");
    }
    left.output?;
    if !report.is_clean() {
        anyhow::bail!("not all was saved: {report:?}");
    }
    if left.interrupted { Err(Interrupted.into()) } else { Ok(()) }
}

/// How a chat was left.
struct Left {
    interrupted: bool,
    /// Something that was said is not known to have reached anybody.
    open: bool,
    /// Whether all could be shown.
    output: anyhow::Result<()>,
}

async fn on_screen(
    node: &Node,
    lobby: &ReliableChannel,
    files: &Files,
    events: &mut Events,
    note: &str,
    network: &mut Coming,
) -> anyhow::Result<Left> {
    let mut view = View::new(node.participant(), &lobby.id().to_string(), Times::here());
    for entry in lobby.entries()? {
        let own = entry.is_own().then(|| RequestId::new(entry.key().id.clone()));
        if let Some(heard) = Heard::earlier(entry, files) {
            let tick = own.map(|own| lobby.request(&own)).transpose()?;
            view.message(Heard { late: false, ..heard }, tick.map(|state| state.map_or(Tick::Sent, Tick::of)));
        }
    }
    view.notice(note);
    let output = terminal::chat(node, lobby, files, events, network, &mut view).await;
    let mut interrupted = false;
    if output.is_ok() && view.is_open() {
        screen::note("waiting some seconds until somebody has what you said; Ctrl-C ends at once");
        interrupted = last_words(events, |event| {
            terminal::take_in(&mut view, event, files, Duration::ZERO);
            view.is_open()
        })
        .await;
    }
    Ok(Left { interrupted, open: view.is_open(), output })
}

async fn on_lines(
    lobby: &ReliableChannel,
    files: &Files,
    events: &mut Events,
    note: &str,
    network: &mut Coming,
) -> anyhow::Result<Left> {
    let mut told = Told::new(Screen::new());
    let mut entries = lobby.entries()?;
    for entry in entries.split_off(entries.len().saturating_sub(SHOWN_AT_START)) {
        if let Some(heard) = Heard::earlier(entry, files) {
            told.message(&heard, "");
        }
    }
    told.flush();
    screen::note(note);
    let mut lines = lines::read();
    let (mut interrupted, mut ended) = (false, false);
    // The end of input is not the end while nobody knows whether the network can be joined.
    while !(told.has_failed() || ended && network.is_there()) {
        tokio::select! {
            line = lines.recv(), if !ended => match line {
                Some(line) => say(lobby, line?, &mut told).await,
                None => ended = true,
            },
            Some(event) = events.next() => told.event(event, lobby, files),
            notice = network.notice() => if let Some(notice) = notice? {
                told.notice(format_args!("{notice}"));
            },
            Ok(()) = tokio::signal::ctrl_c() => {
                interrupted = true;
                break;
            }
        }
        told.flush();
    }
    if !interrupted && !told.has_failed() && told.is_open() {
        interrupted = last_words(events, |event| {
            told.event(event, lobby, files);
            told.flush();
            told.is_open()
        })
        .await;
    }
    Ok(Left { interrupted, open: told.is_open(), output: told.end() })
}

/// Waits some seconds while something is open, counted anew while something large goes out; says whether it was interrupted.
async fn last_words(events: &mut Events, mut is_open_after: impl FnMut(ChannelEvent) -> bool) -> bool {
    let mut waited = Box::pin(tokio::time::sleep(LAST_WORDS));
    loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else { return false };
                if matches!(event, ChannelEvent::Sending { .. }) {
                    waited = Box::pin(tokio::time::sleep(LAST_WORDS));
                }
                if !is_open_after(event) {
                    return false;
                }
            }
            () = &mut waited => return false,
            Ok(()) = tokio::signal::ctrl_c() => return true,
        }
    }
}

/// Says a line. Whatever is wrong with one is told, and is not the end.
async fn say(lobby: &ReliableChannel, line: String, told: &mut Told) {
    if line.trim().is_empty() {
        return;
    }
    match said(lobby, line).await {
        Ok((request, text, _)) => told.said(request, text),
        Err(error) => told.notice(format_args!("not sent: {error:#}")),
    }
}

/// Sends a line, or the file that it names. Gives what is shown of it, and whether it is a file.
async fn said(lobby: &ReliableChannel, line: String) -> anyhow::Result<(RequestId, String, bool)> {
    let Some(path) = file::asked(&line) else {
        return Ok((lobby.send(line.clone()).await?, line, false));
    };
    let (about, payload) = file::sealed(path, lobby.max_payload()?)?;
    Ok((lobby.send(payload).await?, about, true))
}
