//! What a member is told: [`Options`], and [`NatsError`] for what cannot be.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where members meet, and as whom. All of a conversation must agree on `prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The server, or several of a cluster with commas between them. Default `nats://127.0.0.1:4222`.
    pub url: String,
    /// Who this is to the server. Default nobody.
    pub credentials: Credentials,
    /// How the connection is encrypted; `tls://` as the scheme of a URL asks for it, too.
    pub tls: Tls,
    /// What all subjects begin with. Default `rc`.
    pub prefix: String,
    /// The stream that keeps what was said. Default [`History::default`]; with `None`, nothing is kept.
    pub history: Option<History>,
    /// Bytes of the largest message, where the server allows as many. Default 131,072.
    pub max_message: usize,
    /// Whether no server is no error, and it is tried until there is one. Default no.
    pub keep_trying: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            credentials: Credentials::default(),
            tls: Tls::default(),
            prefix: "rc".to_owned(),
            history: Some(History::default()),
            max_message: 128 << 10,
            keep_trying: false,
        }
    }
}

/// Who a member is to the server.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// Nobody, or whoever the URL names (`nats://name:password@host`, `nats://token@host`).
    #[default]
    None,
    /// A user of the server's configuration.
    User {
        /// The name.
        name: String,
        /// The password.
        password: String,
    },
    /// The server's token.
    Token(String),
    /// The seed of an NKey.
    Nkey(String),
    /// A file of credentials, as `nsc` writes them.
    File(PathBuf),
}

/// Without what is secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::User { name, .. } => f.debug_struct("User").field("name", name).finish_non_exhaustive(),
            Self::Token(_) => f.write_str("Token(..)"),
            Self::Nkey(_) => f.write_str("Nkey(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// How the connection is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whether a server without it is refused. Default no.
    pub required: bool,
    /// Whether it begins before the server's greeting, as with the server's `handshake_first`. Default no.
    pub first: bool,
    /// A file of certificates that are trusted in place of the system's.
    pub roots: Option<PathBuf>,
    /// Files of this member's own certificate and of its key, for servers that ask for one.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// The JetStream stream that keeps what was said. It is made where there is none of this name; one that is there is used as
/// it is, and [`Status::history`](crate::Status::history) says where its limits are others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Its name. Default `rc`.
    pub stream: String,
    /// How long a message is kept. Default for ever.
    pub max_age: Option<Duration>,
    /// Bytes kept in all; the oldest messages go first. Default 1 GiB, which the server reserves.
    pub max_bytes: Option<u64>,
    /// Messages kept in all. Default any number.
    pub max_messages: Option<u64>,
    /// Messages kept of each topic. Default any number.
    pub max_messages_per_topic: Option<u64>,
    /// How many servers of a cluster keep each message: 1, 3 or 5. Default 1.
    pub replicas: usize,
    /// Whether it is kept in memory alone. Default no.
    pub in_memory: bool,
    /// Messages of a topic that are read from the stream when it is subscribed to for the first time, the newest ones. After
    /// a lost connection, what came in between is read instead. Default 100.
    pub newest: u64,
    /// How long a message waits for its place in the stream, which is its hint. Default 500 ms. After a stream did not
    /// answer, nothing waits until it does again.
    pub patience: Duration,
}

impl Default for History {
    fn default() -> Self {
        Self {
            stream: "rc".to_owned(),
            max_age: None,
            max_bytes: Some(1 << 30),
            max_messages: None,
            max_messages_per_topic: None,
            replicas: 1,
            in_memory: false,
            newest: 100,
            patience: Duration::from_millis(500),
        }
    }
}

/// Why no connection could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NatsError {
    /// The caller's fault: subjects cannot begin so.
    #[error("{prefix:?} cannot begin a subject; use letters, digits, - and _, with dots between them")]
    Prefix {
        /// What was given.
        prefix: String,
    },
    /// The caller's fault: no address of a server.
    #[error("{url} is no address of a server, which is like nats://host:4222: {why}")]
    Url {
        /// What was given, without user and password.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The caller's fault: credentials or certificates that cannot be read.
    #[error("{path} cannot be used: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The caller's fault: the server wants other credentials.
    #[error("the server at {url} refuses these credentials; ask who runs it for a user, a token or a credentials file")]
    Credentials {
        /// The server.
        url: String,
    },
    /// The server and this member do not agree on encryption.
    #[error("no encrypted connection to {url}: {why}; give the authority that signed the server's certificate")]
    Tls {
        /// The server.
        url: String,
        /// What was wrong.
        why: String,
    },
    /// No server answers.
    #[error("no server answers at {url}: {why}; start one with `nats-server -js`, or check the address")]
    NoServer {
        /// The server.
        url: String,
        /// What the network said.
        why: String,
    },
    /// The system's fault: no random name.
    #[error("no randomness: {0}")]
    Entropy(String),
}

/// A URL, or several, without users and passwords.
pub(crate) fn without_secrets(url: &str) -> String {
    let one = |url: &str| match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        _ => url.to_owned(),
    };
    url.split(',').map(|url| one(url.trim())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_has_no_secrets() {
        let shown = without_secrets("nats://alice:s3cret@one:4222,two:4222, bob:s3cret@three");
        assert_eq!(shown, "nats://one:4222, two:4222, three");
        let credentials = [
            Credentials::User { name: "alice".into(), password: "s3cret".into() },
            Credentials::Token("s3cret".into()),
            Credentials::Nkey("s3cret".into()),
        ];
        assert!(!format!("{credentials:?}").contains("s3cret"));
    }
}
