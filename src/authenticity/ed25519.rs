//! [`Ed25519`]: an authenticator with a key pair for each participant.
//!
//! Whose key is whose comes from the application, by lookup; or from the names themselves, which then end with the key
//! (`alice/KEY`), so that nobody can speak in the name of another and nothing has to be agreed on. What such a name does
//! not say is whether that participant belongs to the group: [`Ed25519::among`] does.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};

use super::Authenticator;
use crate::types::{ParticipantId, Signature};

type Lookup = Box<dyn Fn(&ParticipantId) -> Option<PublicKey> + Send + Sync + UnwindSafe + RefUnwindSafe>;

/// Signatures by Ed25519. Its secret key is never printed, and overwritten when it is dropped.
///
/// ```
/// use reliable_channel::authenticity::{Authenticator, Ed25519};
/// use reliable_channel::types::ParticipantId;
///
/// // Names that end with the key: nothing to agree on. Take 32 bytes from the system's random source.
/// let alice = Ed25519::self_certifying(&[1; 32]);
/// let name = alice.public_key().name("alice");
/// let bob = Ed25519::self_certifying(&[2; 32]);
/// assert!(bob.verify(&name, b"hello", &alice.sign(b"hello")));
/// assert!(!bob.verify(&name, b"hello", &bob.sign(b"hello")), "bob does not speak for alice");
///
/// // Keys that the application knows.
/// let (alice_key, bob_key) = (alice.public_key(), bob.public_key());
/// let bob = Ed25519::with_keys(&[2; 32], move |name| match name.as_str() {
///     Some("alice") => Some(alice_key),
///     Some("bob") => Some(bob_key),
///     _ => None,
/// });
/// assert!(bob.verify(&ParticipantId::from("alice"), b"hello", &alice.sign(b"hello")));
/// ```
pub struct Ed25519 {
    secret: SigningKey,
    keys: Lookup,
}

impl Ed25519 {
    /// Signs with this secret, and knows others' keys from this function: `None` for whoever does not belong to the group. It
    /// is asked for our own name too, and while a former member's messages are to be passed on, for that one's.
    pub fn with_keys(
        secret: &[u8; 32],
        keys: impl Fn(&ParticipantId) -> Option<PublicKey> + Send + Sync + UnwindSafe + RefUnwindSafe + 'static,
    ) -> Self {
        Self { secret: SigningKey::from_bytes(secret), keys: Box::new(keys) }
    }

    /// Signs with this secret, and takes everybody's key from the name ([`PublicKey::name`]). Whoever has such a name may
    /// speak: see [`among`](Self::among).
    #[must_use]
    pub fn self_certifying(secret: &[u8; 32]) -> Self {
        Self::with_keys(secret, PublicKey::of)
    }

    /// Of those whose keys are known, only these belong to the group.
    #[must_use]
    pub fn among(
        self,
        member: impl Fn(&ParticipantId) -> bool + Send + Sync + UnwindSafe + RefUnwindSafe + 'static,
    ) -> Self {
        let Self { secret, keys } = self;
        Self { secret, keys: Box::new(move |name| if member(name) { keys(name) } else { None }) }
    }

    /// The key by which others know us.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.secret.verifying_key())
    }
}

impl Authenticator for Ed25519 {
    fn sign(&self, bytes: &[u8]) -> Signature {
        Signature::new(self.secret.sign(bytes).to_bytes())
    }

    fn verify(&self, sender: &ParticipantId, bytes: &[u8], signature: &Signature) -> bool {
        let Ok(signature) = ed25519_dalek::Signature::from_slice(signature.as_bytes()) else { return false };
        // Strictly: there is one signature of one thing, and no key under which anything is signed.
        (self.keys)(sender).is_some_and(|key| key.0.verify_strict(bytes, &signature).is_ok())
    }
}

impl fmt::Debug for Ed25519 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ed25519").field("public_key", &self.public_key()).finish_non_exhaustive()
    }
}

/// A public key of [`Ed25519`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The key with these bytes; `None` where they are none.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Option<Self> {
        VerifyingKey::from_bytes(bytes).ok().map(Self)
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// A name that ends with this key: `alice/KEY`, the key in base64 for URLs, 43 characters.
    #[must_use]
    pub fn name(&self, name: &str) -> ParticipantId {
        ParticipantId::from(format!("{name}/{}", URL_SAFE_NO_PAD.encode(self.to_bytes())))
    }

    /// The key with which a name ends.
    #[must_use]
    pub fn of(name: &ParticipantId) -> Option<Self> {
        let (_, key) = name.as_str()?.rsplit_once('/')?;
        let mut bytes = [0; 33];
        // Anything but the one way of writing these bytes is refused.
        let written = URL_SAFE_NO_PAD.decode_slice(key, &mut bytes).ok()?;
        Self::new(bytes[..written].try_into().ok()?)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", URL_SAFE_NO_PAD.encode(self.to_bytes()))
    }
}
