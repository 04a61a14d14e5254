//! Signatures of simulated members: cheap ones, which nobody makes who has no secret.

use sha2::{Digest, Sha256};

use crate::authenticity::{Authenticator, SharedAuthenticator};
use crate::types::{ParticipantId, Signature};

/// Signs as one member, and checks whoever it is.
#[derive(Debug)]
struct Keys {
    own: ParticipantId,
    bytes: usize,
    /// Takes every signature for a good one: a bug put back.
    believes: bool,
}

/// The authenticator of this member, or one that believes everything. Its signatures have so many bytes, up to 64.
pub(super) fn of(name: &ParticipantId, bytes: usize, believes: bool) -> SharedAuthenticator {
    SharedAuthenticator::new(Keys { own: name.clone(), bytes, believes })
}

impl Authenticator for Keys {
    fn sign(&self, bytes: &[u8]) -> Signature {
        code(&self.own, bytes, self.bytes)
    }

    fn verify(&self, sender: &ParticipantId, bytes: &[u8], signature: &Signature) -> bool {
        self.believes || code(sender, bytes, self.bytes) == *signature
    }

    fn signature_bytes(&self) -> usize {
        self.bytes
    }
}

/// In a simulation everybody's secret is the name; what attacks never computes this.
fn code(sender: &ParticipantId, bytes: &[u8], length: usize) -> Signature {
    let mut hash = Sha256::new();
    hash.update((sender.len() as u64).to_le_bytes());
    hash.update(sender.as_bytes());
    hash.update(bytes);
    let hash = hash.finalize().repeat(2);
    Signature::new(&hash[..length.min(hash.len())])
}
