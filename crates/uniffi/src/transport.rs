//! A network that the host writes in its own language.

use std::sync::Arc;

use reliable_channel::transport::{self, CallbackTransport};

use crate::gate::Hosts;

/// Why a network does not take a message. Any other exception counts as `Unavailable`.
#[derive(Clone, Debug, thiserror::Error, uniffi::Error)]
pub enum TransportError {
    /// Not now: it is tried again.
    #[error("{reason}")]
    Unavailable {
        /// For people.
        reason: String,
    },
    /// Never.
    #[error("{reason}")]
    Refused {
        /// For people.
        reason: String,
    },
}

impl From<uniffi::UnexpectedUniFFICallbackError> for TransportError {
    fn from(error: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Unavailable { reason: error.reason }
    }
}

impl From<TransportError> for transport::TransportError {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Unavailable { reason } => Self::Unavailable(reason),
            TransportError::Refused { reason } => Self::Refused(reason),
        }
    }
}

/// A broadcast, which may lose, double and reorder. What arrives is handed to `Node.receive`. It is called from threads of the
/// library, and may block and call in.
#[uniffi::export(foreign)]
pub trait Transport: Send + Sync {
    /// Sends these bytes to all who want this topic; where `to` is given, to whoever was named so to `Node.receive` at least.
    fn publish(&self, topic: String, to: Option<Vec<u8>>, bytes: Vec<u8>) -> Result<(), TransportError>;

    /// The largest message in bytes that it carries; asked once.
    fn max_bytes(&self) -> Result<u64, TransportError>;
}

/// It as a transport of the library.
pub(crate) fn callbacks(host: Arc<dyn Transport>) -> Result<CallbackTransport, TransportError> {
    let max_bytes = usize::try_from(host.max_bytes()?).unwrap_or(usize::MAX);
    let host = Hosts::new(host);
    let publish = move |topic: &transport::Topic, to: Option<&transport::PeerAddr>, bytes: bytes::Bytes| {
        let topic = String::from_utf8_lossy(topic.as_bytes()).into_owned();
        let to = to.map(|to| to.as_bytes().to_vec());
        // Others go on meanwhile, whatever the host does.
        let published = tokio::task::block_in_place(|| host.call(|host| host.publish(topic, to, bytes.into())));
        let ends = || Err(TransportError::Unavailable { reason: "the program ends".into() });
        published.unwrap_or_else(ends)?;
        Ok(None)
    };
    Ok(CallbackTransport::new(max_bytes, publish, |_, _| {}))
}
