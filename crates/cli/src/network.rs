//! What carries a conversation: UDP multicast in this network, or a server of NATS.
//!
//! What: [`Network`], a transport and what there is to say of it. Why one face for both: a chat does not care. How it moves:
//! options are read, a connection is made or the reason why not is told, and [`Network::notices`] gives what changes later.

use std::path::PathBuf;
use std::sync::Arc;

use reliable_channel::transport::Transport;
use tokio::sync::mpsc;

#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct NatsArgs {
    /// Meet on this server of NATS, or on these of a cluster, with commas between them
    #[arg(long, value_name = "URL", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) nats: Option<String>,
    /// The credentials file for it; a user may also stand in the URL, as nats://user:password@host
    #[arg(long, value_name = "FILE", requires = "nats")]
    pub(crate) nats_credentials: Option<PathBuf>,
}

pub(crate) struct Network {
    pub(crate) transport: Arc<dyn Transport>,
    /// What there is to say at once.
    pub(crate) notes: Vec<String>,
    /// What there is to say later.
    pub(crate) notices: mpsc::UnboundedReceiver<String>,
}

impl Network {
    /// One that never has anything to say later.
    pub(crate) fn new(transport: Arc<dyn Transport>, notes: Vec<String>) -> Self {
        Self { transport, notes, notices: mpsc::unbounded_channel().1 }
    }

    #[cfg(not(feature = "nats"))]
    pub(crate) async fn nats(_: &str, _: &NatsArgs) -> anyhow::Result<Self> {
        anyhow::bail!("this program was built without NATS; build it with `cargo build --features nats`")
    }

    /// A server of NATS. It need not be there yet; wrong credentials are an error.
    #[cfg(feature = "nats")]
    pub(crate) async fn nats(url: &str, args: &NatsArgs) -> anyhow::Result<Self> {
        use reliable_channel_nats::{Credentials, Nats, Options};

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
        Ok(Self { transport: Arc::new(nats), notes, notices })
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
