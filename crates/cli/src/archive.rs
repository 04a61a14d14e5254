//! `archive`: a member that says nothing, keeps all that is said, and sends it to whoever missed it.
//!
//! One [`Node`] over UDP multicast, as `chat` has, with a store that is its archive too. It runs until it is interrupted,
//! which is its proper end.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Context;
use reliable_channel::channel::{Config, Join};
use reliable_channel::reliable::{ChannelEvent, Node};
use reliable_channel_udp::{Options, Udp};

use crate::screen::{self, Screen};
use crate::store::{StoreArgs, explain};

/// Keep all that is said in a conversation of this network, and send it to whoever missed it, until Ctrl-C.
///
/// It says nothing itself. What it keeps grows without a bound; `history` of the library and `chat` members that were away
/// get it from there, also what has left all logs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  reliable-channel archive --channel lobby --data kept")]
pub(crate) struct Args {
    /// The conversation to keep
    #[arg(long, value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    channel: String,
    /// Keep it in a store in this directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Who this participant is; in a network each has another name
    #[arg(long, default_value = "archive", value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    name: String,
    #[command(flatten)]
    store: StoreArgs,
    /// The UDP port on which all meet
    #[arg(long, value_name = "N", default_value_t = Options::default().port, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// The address of the network interface to use [default: the system's choice]
    #[arg(long, value_name = "IP")]
    interface: Option<Ipv4Addr>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("cannot start")?.block_on(keep(args))
}

async fn keep(args: &Args) -> anyhow::Result<()> {
    let (store, archive) = args.store.open_with_archive(&args.data).map_err(|error| explain(&args.data, &error))?;
    let options = Options { port: args.port, interface: args.interface, ..Options::default() };
    let network = Udp::join(options).await.map_err(|error| anyhow::anyhow!("cannot join the network: {error}"))?;
    let mut config = Config::default();
    // Of what was said before it came, as much as its log takes.
    config.join = Join::Recent(config.max_message_history as u64);
    let node = Node::builder(args.name.as_str()).transport(network).persistence(store).archive(archive).config(config);
    let node = node.build()?;
    let (_channel, mut events) = node.join(args.channel.as_str()).await?;
    let mut screen = Screen::new();
    screen.line(format_args!("keeps {} in {}", args.channel, args.data.display()));
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
