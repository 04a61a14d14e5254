//! Who said it: [`Authenticator`], and what is signed (docs/protocol.md section 14).
//!
//! Without one nothing here checks who sent a message. With one a channel signs all that it sends, and lets nothing
//! unsigned change anything. What: the trait, with keys as arguments of whoever implements it; [`body_statement`] and
//! [`message_statement`], the bytes that are signed; [`Ed25519`] (feature `ed25519`). Why two signatures: the author's
//! goes with every copy of a content message, through logs, repair and archives; the sender's vouches for what rides on
//! one transmission: filter, repair requests, digests, frames. How it moves: [`Config::authenticator`] holds it, the
//! channel asks it.
//!
//! [`Config::authenticator`]: crate::channel::Config::authenticator

#[cfg(feature = "ed25519")]
mod ed25519;
mod statement;

use std::fmt;
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

#[cfg(feature = "ed25519")]
pub use ed25519::{Ed25519, PublicKey};
pub use statement::{body_statement, message_statement};

use crate::types::{ParticipantId, Signature};

/// Signs what a participant says, and checks what others say.
///
/// Both methods are called inside a step of the channel: they must answer at once, and the same arguments must get the
/// same answer for as long as the keys are the same.
///
/// ```
/// use reliable_channel::authenticity::{Authenticator, SharedAuthenticator};
/// use reliable_channel::channel::Config;
/// use reliable_channel::types::{ParticipantId, Signature};
///
/// /// One secret for the whole group, which every member could use in the name of another.
/// struct GroupSecret([u8; 32]);
///
/// impl Authenticator for GroupSecret {
///     fn sign(&self, bytes: &[u8]) -> Signature {
///         Signature::new(mac(&self.0, bytes))
///     }
///     fn verify(&self, _sender: &ParticipantId, bytes: &[u8], signature: &Signature) -> bool {
///         signature.as_bytes() == mac(&self.0, bytes)
///     }
/// }
///
/// fn mac(key: &[u8; 32], bytes: &[u8]) -> [u8; 32] {
///     // Use a real one.
/// #   let mut mac = *key; bytes.iter().enumerate().for_each(|(at, byte)| mac[at % 32] ^= byte); mac
/// }
///
/// let mut config = Config::default();
/// config.authenticator = Some(SharedAuthenticator::new(GroupSecret([7; 32])));
/// ```
pub trait Authenticator: Send + Sync + UnwindSafe + RefUnwindSafe {
    /// This participant's signature of these bytes, at most [`signature_bytes`](Self::signature_bytes) long.
    fn sign(&self, bytes: &[u8]) -> Signature;

    /// Whether this is the signature that the participant of this name made of these bytes; `false` for whoever is not known.
    fn verify(&self, sender: &ParticipantId, bytes: &[u8], signature: &Signature) -> bool;

    /// Bytes of the longest signature that [`sign`](Self::sign) makes: so much room is kept for it in every message. Default
    /// 64.
    fn signature_bytes(&self) -> usize {
        64
    }
}

/// An [`Authenticator`] that several channels share. Two are equal if they are the same one. Never printed: it may hold keys.
///
/// See the [example](Authenticator).
#[derive(Clone)]
pub struct SharedAuthenticator {
    shared: Arc<dyn Authenticator>,
    /// As long as the longest of its signatures.
    room: Signature,
}

impl SharedAuthenticator {
    /// To share this one.
    pub fn new(authenticator: impl Authenticator + 'static) -> Self {
        let room = Signature::new(vec![0; authenticator.signature_bytes()]);
        Self { shared: Arc::new(authenticator), room }
    }

    /// Holds the place of a signature in a message until it is made.
    pub(crate) fn room(&self) -> Signature {
        self.room.clone()
    }
}

impl<A: Authenticator + 'static> From<A> for SharedAuthenticator {
    fn from(authenticator: A) -> Self {
        Self::new(authenticator)
    }
}

impl Deref for SharedAuthenticator {
    type Target = dyn Authenticator;

    fn deref(&self) -> &Self::Target {
        &*self.shared
    }
}

impl PartialEq for SharedAuthenticator {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl fmt::Debug for SharedAuthenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedAuthenticator(..)")
    }
}
