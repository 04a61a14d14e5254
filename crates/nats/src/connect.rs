//! How a connection is made, and what is said where none can be.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::rustls;
use async_nats::rustls::pki_types::pem::PemObject as _;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions};

use crate::options::{Credentials, NatsError, Options, without_secrets};
use crate::shared::Shared;

/// Wait before a server is tried again; it doubles from a millisecond.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// Messages of a topic that wait until they are counted by bytes, and commands that wait for the connection.
const CAPACITY: usize = 16_384;

/// A connection, or an attempt that goes on where that was asked for.
pub(crate) async fn connect(options: &Options, shared: &Arc<Shared>) -> Result<Client, NatsError> {
    let attempt = async |insists: bool| {
        let with = prepared(options, shared).await?;
        let with = if insists { with.retry_on_initial_connect() } else { with };
        with.connect(servers(&options.url)).await.map_err(|error| explain(options, &error))
    };
    match attempt(false).await {
        Err(NatsError::NoServer { .. }) if options.keep_trying => attempt(true).await,
        outcome => outcome,
    }
}

fn servers(url: &str) -> Vec<String> {
    url.split(',').map(|url| url.trim().to_owned()).collect()
}

/// Who the first of these URLs that names somebody names, which the client does not read: a user and a password, or a token.
fn named(urls: &str) -> Credentials {
    let who = |url: &str| {
        let (who, _) = url.split_once("://").map_or(url, |(_, rest)| rest).trim().rsplit_once('@')?;
        Some(match who.split_once(':') {
            Some((name, password)) => Credentials::User { name: plain(name), password: plain(password) },
            None => Credentials::Token(plain(who)),
        })
    };
    urls.split(',').find_map(who).unwrap_or_default()
}

/// The text of a part of a URL, in which `%40` stands for `@`.
fn plain(part: &str) -> String {
    let mut pieces = part.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        match piece.get(..2).map(|digits| u8::from_str_radix(digits, 16)) {
            Some(Ok(byte)) => {
                bytes.push(byte);
                bytes.extend(&piece.as_bytes()[2..]);
            }
            _ => bytes.extend([b"%", piece.as_bytes()].concat()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn prepared(options: &Options, shared: &Arc<Shared>) -> Result<ConnectOptions, NatsError> {
    let in_url = named(&options.url);
    let credentials = if options.credentials == Credentials::None { &in_url } else { &options.credentials };
    let with = match credentials {
        Credentials::None => ConnectOptions::new(),
        Credentials::User { name, password } => ConnectOptions::new().user_and_password(name.clone(), password.clone()),
        Credentials::Token(token) => ConnectOptions::with_token(token.clone()),
        Credentials::Nkey(seed) => ConnectOptions::with_nkey(seed.clone()),
        Credentials::File(path) => {
            ConnectOptions::with_credentials_file(path).await.map_err(|error| unusable(path, &error))?
        }
    };
    let mut with = with
        .name("reliable-channel")
        .no_echo()
        .subscription_capacity(CAPACITY)
        .client_capacity(CAPACITY)
        .require_tls(options.tls.required)
        .reconnect_delay_callback(|attempts| {
            LAST_WAIT.min(Duration::from_millis(1 << u32::try_from(attempts).unwrap_or(u32::MAX).min(16)))
        });
    if options.tls.first {
        with = with.tls_first();
    }
    if let Some(roots) = &options.tls.roots {
        certificates(roots)?;
        with = with.add_root_certificates(roots.clone());
    }
    if let Some((certificate, key)) = &options.tls.own {
        certificates(certificate)?;
        PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
        with = with.add_client_certificate(certificate.clone(), key.clone());
    }
    let shared = shared.clone();
    Ok(with.event_callback(move |event| {
        shared.on(event);
        std::future::ready(())
    }))
}

/// Whether this file has certificates; the client takes one without any, too.
fn certificates(path: &Path) -> Result<(), NatsError> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| unusable(path, &error))?;
    match found.collect::<Result<Vec<_>, _>>().map_err(|error| unusable(path, &error))?[..] {
        [] => Err(unusable(path, &"there is no certificate in it")),
        _ => Ok(()),
    }
}

fn unusable(path: &Path, error: &impl ToString) -> NatsError {
    NatsError::File { path: path.to_owned(), why: error.to_string() }
}

/// Whether the two did not agree on encryption: the client calls that input and output.
fn is_of_tls(error: &ConnectError) -> bool {
    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    let inner = io.and_then(io::Error::get_ref);
    inner.is_some_and(|inner| inner.is::<rustls::Error>())
        || io.is_some_and(|io| io.to_string().contains("tls handshake"))
}

fn explain(options: &Options, error: &ConnectError) -> NatsError {
    let url = without_secrets(&options.url);
    let why = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    match error.kind() {
        _ if is_of_tls(error) => NatsError::Tls { url, why },
        ConnectErrorKind::ServerParse => NatsError::Url { url, why },
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => NatsError::Credentials { url },
        ConnectErrorKind::Tls => NatsError::Tls { url, why },
        ConnectErrorKind::Dns | ConnectErrorKind::TimedOut | ConnectErrorKind::Io | ConnectErrorKind::MaxReconnects => {
            NatsError::NoServer { url, why }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_user_or_a_token() {
        let user = |name: &str, password: &str| Credentials::User { name: name.into(), password: password.into() };
        assert_eq!(named("nats://alice:s3cret@host:4222"), user("alice", "s3cret"));
        assert_eq!(named("nats://one:4222, alice:p%40ss%3a%zz%@two"), user("alice", "p@ss:%zz%"));
        assert_eq!(named("tls://s3cret@host"), Credentials::Token("s3cret".into()));
        for nobody in ["nats://host:4222", "host", ""] {
            assert_eq!(named(nobody), Credentials::None, "{nobody}");
        }
    }
}
