//! Bytes to messages and back, per dialect.

use bytes::Bytes;

use crate::types::{Dialect, Limits, Message};

/// Decodes one message.
///
/// # Errors
/// A [`WireError`]: the peer's fault.
#[allow(clippy::todo)]
pub fn decode(_bytes: &Bytes, _limits: &Limits) -> Result<(Message, Dialect), WireError> {
    todo!()
}

/// Encodes one message.
///
/// # Errors
/// A [`WireError`] when the dialect cannot carry it.
#[allow(clippy::todo)]
pub fn encode(_message: &Message, _dialect: Dialect) -> Result<Bytes, WireError> {
    todo!()
}

/// Why bytes make no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {}
