//! How a connection is made, and what is said where none can be.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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

async fn prepared(options: &Options, shared: &Arc<Shared>) -> Result<ConnectOptions, NatsError> {
    let with = match &options.credentials {
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
        File::open(roots).map_err(|error| unusable(roots, &error))?;
        with = with.add_root_certificates(roots.clone());
    }
    if let Some((certificate, key)) = &options.tls.own {
        for file in [certificate, key] {
            File::open(file).map_err(|error| unusable(file, &error))?;
        }
        with = with.add_client_certificate(certificate.clone(), key.clone());
    }
    let shared = shared.clone();
    Ok(with.event_callback(move |event| {
        shared.on(event);
        std::future::ready(())
    }))
}

fn unusable(path: &Path, error: &std::io::Error) -> NatsError {
    NatsError::File { path: path.to_owned(), why: error.to_string() }
}

fn explain(options: &Options, error: &ConnectError) -> NatsError {
    let url = without_secrets(&options.url);
    let why = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    match error.kind() {
        ConnectErrorKind::ServerParse => NatsError::Url { url, why },
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => NatsError::Credentials { url },
        ConnectErrorKind::Tls => NatsError::Tls { url, why },
        ConnectErrorKind::Dns | ConnectErrorKind::TimedOut | ConnectErrorKind::Io | ConnectErrorKind::MaxReconnects => {
            NatsError::NoServer { url, why }
        }
    }
}
