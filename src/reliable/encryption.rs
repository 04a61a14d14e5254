//! [`Encryption`]: what seals each message before the network sees it (LIP-173, "Encryption Hook").
//!
//! What: the trait, and [`Keys`], a channel's keys by epoch. Why a number travels with each message: members change keys at
//! different times, and old messages are asked for later; the number says which key opens one. How it moves: the highest
//! epoch seals at the moment of sending, resends and repairs too; the epoch a message names opens it. Four bytes, big-endian,
//! then what the key made.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::{BufMut, Bytes, BytesMut};

use super::NodeError;
use crate::types::ChannelId;

/// Bytes of an epoch before each sealed message.
const EPOCH_BYTES: usize = 4;
/// Epochs whose keys are kept; the lowest is forgotten.
const MAX_EPOCHS: usize = 64;

/// Seals and opens the messages of a channel. Each is sealed by itself, as it goes over the network, so that whoever has no key
/// sees nothing but its size.
///
/// `examples/encrypted.rs` has one with XChaCha20-Poly1305.
///
/// ```
/// use reliable_channel::ChannelId;
/// use reliable_channel::reliable::{Encryption, EncryptionError};
///
/// /// No cipher at all: it shows the shape.
/// struct Marked;
///
/// impl Encryption for Marked {
///     fn overhead(&self) -> usize {
///         1
///     }
///     fn seal(&self, _: &ChannelId, message: &[u8]) -> Result<Vec<u8>, EncryptionError> {
///         Ok([&[b'!'], message].concat())
///     }
///     fn open(&self, _: &ChannelId, sealed: &[u8]) -> Result<Vec<u8>, EncryptionError> {
///         sealed.strip_prefix(b"!").map(<[u8]>::to_vec).ok_or_else(|| EncryptionError::new("no mark"))
///     }
/// }
/// ```
pub trait Encryption: Send + Sync + 'static {
    /// Bytes that sealing adds to a message at most.
    fn overhead(&self) -> usize;

    /// The message as the network may see it. Should bind it to the channel, as associated data.
    ///
    /// # Errors
    /// Where it cannot be sealed; then it is not sent.
    fn seal(&self, channel: &ChannelId, message: &[u8]) -> Result<Vec<u8>, EncryptionError>;

    /// The message that was sealed.
    ///
    /// # Errors
    /// For anything that nobody with the key sealed for this channel; it is counted, and touches nothing.
    fn open(&self, channel: &ChannelId, sealed: &[u8]) -> Result<Vec<u8>, EncryptionError>;
}

impl<T: Encryption + ?Sized> Encryption for Arc<T> {
    fn overhead(&self) -> usize {
        T::overhead(self)
    }

    fn seal(&self, channel: &ChannelId, message: &[u8]) -> Result<Vec<u8>, EncryptionError> {
        T::seal(self, channel, message)
    }

    fn open(&self, channel: &ChannelId, sealed: &[u8]) -> Result<Vec<u8>, EncryptionError> {
        T::open(self, channel, sealed)
    }
}

/// Why something was not sealed or not opened, in words. Says nothing of keys or contents.
///
/// See the [example](Encryption).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EncryptionError(String);

impl EncryptionError {
    /// For this reason.
    #[must_use]
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// A channel's keys by epoch; none, and its messages go as they are.
#[derive(Default)]
pub(super) struct Keys {
    by_epoch: RwLock<BTreeMap<u32, Arc<dyn Encryption>>>,
    /// Bytes that messages leave free.
    reserved: usize,
    unopened: AtomicU64,
}

impl Keys {
    pub(super) fn new(by_epoch: BTreeMap<u32, Arc<dyn Encryption>>) -> Self {
        let overhead = by_epoch.values().map(|key| key.overhead()).max();
        let reserved = overhead.map_or(0, |overhead| overhead.saturating_add(EPOCH_BYTES));
        Self { by_epoch: RwLock::new(by_epoch), reserved, unopened: AtomicU64::new(0) }
    }

    /// Bytes that sealing adds at most.
    pub(super) fn reserved(&self) -> usize {
        self.reserved
    }

    /// Messages that could not be opened.
    pub(super) fn unopened(&self) -> u64 {
        self.unopened.load(Ordering::Relaxed)
    }

    /// Adds a key, or puts it in the place of its epoch's.
    pub(super) fn set(&self, epoch: u32, key: Arc<dyn Encryption>) -> Result<(), NodeError> {
        let bytes = key.overhead().saturating_add(EPOCH_BYTES);
        if bytes > self.reserved {
            return Err(NodeError::Overhead { bytes, max: self.reserved });
        }
        let mut by_epoch = self.by_epoch.write().unwrap_or_else(PoisonError::into_inner);
        by_epoch.insert(epoch, key);
        if by_epoch.len() > MAX_EPOCHS {
            by_epoch.pop_first();
        }
        Ok(())
    }

    pub(super) fn seal(&self, channel: &ChannelId, message: Bytes) -> Result<Bytes, EncryptionError> {
        let newest = self.keys().last_key_value().map(|(epoch, key)| (*epoch, key.clone()));
        let Some((epoch, key)) = newest else { return Ok(message) };
        let sealed = key.seal(channel, &message)?;
        let mut bytes = BytesMut::with_capacity(EPOCH_BYTES + sealed.len());
        bytes.put_u32(epoch);
        bytes.extend_from_slice(&sealed);
        Ok(bytes.freeze())
    }

    pub(super) fn open(&self, channel: &ChannelId, bytes: Bytes) -> Result<Bytes, EncryptionError> {
        if self.keys().is_empty() {
            return Ok(bytes);
        }
        let opened = self.opened(channel, &bytes);
        if opened.is_err() {
            self.unopened.fetch_add(1, Ordering::Relaxed);
        }
        opened
    }

    fn opened(&self, channel: &ChannelId, bytes: &[u8]) -> Result<Bytes, EncryptionError> {
        let (epoch, sealed) = bytes.split_first_chunk().ok_or_else(|| EncryptionError::new("it has no epoch"))?;
        let key = self.keys().get(&u32::from_be_bytes(*epoch)).cloned();
        let key = key.ok_or_else(|| EncryptionError::new("its epoch has no key here"))?;
        key.open(channel, sealed).map(Bytes::from)
    }

    fn keys(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<u32, Arc<dyn Encryption>>> {
        // Nothing under this lock panics halfway.
        self.by_epoch.read().unwrap_or_else(PoisonError::into_inner)
    }
}
