//! What carries a conversation: UDP multicast in this network, or a server of NATS.
//!
//! What: [`Network`], a transport and what there is to say of it. Why one face for both: a chat does not care. How it moves:
//! options are read, a connection is made or the reason why not is told, and [`Network::notices`] gives what changes later.

mod coming;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use reliable_channel::store::Archive;
use reliable_channel::transport::Transport;
use reliable_channel_udp::{Options, Udp, UdpError};
use tokio::sync::mpsc;

pub(crate) use coming::Coming;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct UdpArgs {
    /// The UDP port on which all meet
    #[arg(long, value_name = "N", default_value_t = Options::default().port, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// The address of the network interface to use [default: the system's choice]
    #[arg(long, value_name = "IP", conflicts_with = "nats")]
    interface: Option<Ipv4Addr>,
}

/// As [`UdpArgs`], for a command that takes no network unless it is asked to.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct UdpIfAsked {
    /// Take part in the local network, by UDP multicast, as `chat` does
    #[arg(long, conflicts_with = "nats")]
    udp: bool,
    /// The UDP port on which all meet [default: as for chat]
    #[arg(long, value_name = "N", requires = "udp", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// The address of the network interface to use [default: the system's choice]
    #[arg(long, value_name = "IP", requires = "udp")]
    interface: Option<Ipv4Addr>,
}

impl UdpIfAsked {
    pub(crate) fn asked(&self) -> bool {
        self.udp
    }

    pub(crate) fn args(&self) -> UdpArgs {
        UdpArgs { port: self.port.unwrap_or(Options::default().port), interface: self.interface }
    }
}

#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct NatsArgs {
    /// Meet on this server of NATS, or on these of a cluster, with commas between them
    #[arg(long, value_name = "URL", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) nats: Option<String>,
    /// The credentials file for it; a user may also stand in the URL, as nats://user:password@host
    #[arg(long, value_name = "FILE", requires = "nats")]
    pub(crate) nats_credentials: Option<PathBuf>,
}

impl NatsArgs {
    /// Whether this program can do what is asked of it.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if cfg!(feature = "nats") || self.nats.is_none() { Ok(()) } else { Err(without_nats()) }
    }
}

fn without_nats() -> anyhow::Error {
    anyhow::anyhow!("this program was built without NATS; build it with `cargo build --features nats`")
}

pub(crate) struct Network {
    pub(crate) transport: Arc<dyn Transport>,
    /// Where the network itself can keep messages.
    pub(crate) archive: Option<Arc<dyn Archive>>,
    /// What there is to say at once.
    pub(crate) notes: Vec<String>,
    /// What there is to say later.
    pub(crate) notices: mpsc::UnboundedReceiver<String>,
}

impl Network {
    /// A server where one is named, and otherwise the local network.
    pub(crate) async fn join(udp: &UdpArgs, nats: &NatsArgs) -> anyhow::Result<Self> {
        match &nats.nats {
            Some(url) => Self::nats(url, nats).await,
            None => Self::udp(udp).await,
        }
    }

    /// The local network, which never has anything to say later.
    async fn udp(args: &UdpArgs) -> anyhow::Result<Self> {
        let options = Options { port: args.port, interface: args.interface, ..Options::default() };
        let network = Udp::join(options).await.map_err(|error| match error {
            UdpError::NoMulticast { .. } => {
                anyhow::anyhow!("{error}; bring a network up, or choose another --interface")
            }
            error => anyhow::anyhow!("cannot join the network: {error}"),
        })?;
        let mut notes = Vec::new();
        let asked_for = args.interface.is_some_and(|interface| interface.is_loopback());
        if network.is_local() && !asked_for {
            notes.push("no network here carries multicast: only those on this machine are reached".to_owned());
        }
        Ok(Self { transport: Arc::new(network), archive: None, notes, notices: mpsc::unbounded_channel().1 })
    }

    #[cfg(not(feature = "nats"))]
    async fn nats(_: &str, _: &NatsArgs) -> anyhow::Result<Self> {
        Err(without_nats())
    }

    /// A server of NATS. It need not be there yet; wrong credentials are an error.
    #[cfg(feature = "nats")]
    async fn nats(url: &str, args: &NatsArgs) -> anyhow::Result<Self> {
        use reliable_channel_nats::{ArchiveOptions, Credentials, Nats, Options};

        let credentials = args.nats_credentials.clone().map_or(Credentials::None, Credentials::File);
        let options = Options { url: url.to_owned(), credentials, keep_trying: true, ..Options::default() };
        let nats = Nats::connect(options).await?;
        let mut status = nats.status();
        let mut said = told(&status.borrow_and_update());
        let notes = said.iter().cloned().collect();
        let (tells, notices) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while status.changed().await.is_ok() {
                let now = told(&status.borrow_and_update());
                if now != said
                    && tells.send(now.clone().unwrap_or_else(|| "the server keeps what is said".to_owned())).is_err()
                {
                    return;
                }
                said = now;
            }
        });
        let archive = Arc::new(nats.archive(ArchiveOptions::default()));
        Ok(Self { transport: Arc::new(nats), archive: Some(archive), notes, notices })
    }
}

/// What is to be said of a server, if it is not all well. A connection that is gone is told by the channel.
#[cfg(feature = "nats")]
fn told(status: &reliable_channel_nats::Status) -> Option<String> {
    use reliable_channel_nats::HistoryStatus;

    match (&status.refused, &status.history) {
        (Some(why), _) => Some(format!("the server refuses: {why}")),
        (None, HistoryStatus::Failing(why)) => Some(format!("the server keeps nothing of what is said: {why}")),
        _ => None,
    }
}
