//! [`Signature`]: what proves who said something. What it is over says `authenticity`.

use std::fmt;
use std::sync::Arc;

/// A signature, as an `Authenticator` makes it: opaque bytes, cheap to clone. An empty one counts as none.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature(Arc<[u8]>);

impl Signature {
    /// The signature with these bytes. Its length is checked where it is received, against
    /// [`Limits::max_signature_bytes`](super::Limits::max_signature_bytes).
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(Arc::from(bytes.as_ref()))
    }

    /// The signature's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}
