//! `archive`: a member that says nothing, keeps all that is said, and sends it to whoever missed it.
//!
//! One [`Node`] over UDP multicast or a server, as `chat` has, with a store that is its archive too, or a stream on the server
//! in its place. It runs until it is interrupted, which is its proper end.

use std::path::PathBuf;

use anyhow::Context;
use reliable_channel::channel::{Config, Join};
use reliable_channel::reliable::{ChannelEvent, Node};

use crate::network::{NatsArgs, Network, UdpArgs};
use crate::screen::{self, Screen};
use crate::store::{StoreArgs, explain};

/// Keep all that is said in a conversation of this network, and send it to whoever missed it, until Ctrl-C.
///
/// It says nothing itself. What it keeps grows without a bound; `history` of the library and `chat` members that were away
/// get it from there, also what has left all logs.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  reliable-channel archive --channel lobby --data kept\n  reliable-channel archive --channel lobby --data own --nats nats://chat.example --jetstream"
)]
pub(crate) struct Args {
    /// The conversation to keep
    #[arg(long, value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    channel: String,
    /// Keep it in a store in this directory; with --jetstream only what this member itself needs
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Who this participant is; in a network each has another name
    #[arg(long, default_value = "archive", value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    name: String,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    udp: UdpArgs,
    #[command(flatten)]
    nats: NatsArgs,
    /// Keep it in a stream of JetStream on the server of NATS, which is made where there is none
    #[arg(long, requires = "nats")]
    jetstream: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("cannot start")?.block_on(keep(args))
}

async fn keep(args: &Args) -> anyhow::Result<()> {
    let explained = |error| explain(&args.data, &error);
    let mut network = Network::join(&args.udp, &args.nats).await?;
    let (store, archive) = match network.archive.take().filter(|_| args.jetstream) {
        Some(archive) => (args.store.open(&args.data).map_err(explained)?, archive),
        None => args.store.open_with_archive(&args.data).map_err(explained)?,
    };
    let mut config = Config::default();
    // Of what was said before it came, as much as its log takes.
    config.join = Join::Recent(config.max_message_history as u64);
    let node = Node::builder(args.name.as_str())
        .transport(network.transport)
        .persistence(store)
        .archive(archive)
        .config(config);
    let node = node.build()?;
    let (_channel, mut events) = node.join(args.channel.as_str()).await?;
    let mut screen = Screen::new();
    network.notes.iter().for_each(|note| screen::note(note));
    match args.jetstream {
        true => screen.line(format_args!(
            "keeps {} in JetStream, and its own state in {}",
            args.channel,
            args.data.display()
        )),
        false => screen.line(format_args!("keeps {} in {}", args.channel, args.data.display())),
    }
    screen.flush();
    loop {
        tokio::select! {
            Some(event) = events.next() => match event {
                ChannelEvent::ArchiveFailed(error) => screen::note(&format!("cannot keep: {error}; it is tried again")),
                ChannelEvent::ArchiveRecovered => screen::note("all is kept again"),
                ChannelEvent::PersistenceFailed(error) => screen::note(&format!("not saved: {error}")),
                ChannelEvent::PersistenceRecovered => screen::note("all is saved again"),
                ChannelEvent::Disconnected { .. } => screen::note("the network is gone; it is tried again"),
                _ => {}
            },
            Some(notice) = network.notices.recv() => screen::note(&notice),
            ended = tokio::signal::ctrl_c() => {
                ended.context("cannot wait for Ctrl-C")?;
                break;
            }
        }
    }
    let report = node.shutdown().await;
    if !report.is_clean() {
        anyhow::bail!("not all was saved: {report:?}");
    }
    screen.end()
}
