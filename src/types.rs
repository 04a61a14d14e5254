//! The vocabulary: identifiers, times, messages and the limits every layer keeps.
//!
//! What: byte-string newtypes (nothing here assumes UTF-8), three kinds of time that must never be mixed,
//! the decoded [`Message`], and [`Limits`]. Why a module of its own: every other module speaks in these
//! words and none of them owns them. How it moves: it does not; these are values.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

mod catchup;
mod causes;
mod dialect;
mod signature;
mod size;

pub use catchup::{CatchUpField, Digest, DigestRange, Frame, FrameBody};
pub use causes::with_causes;
pub use dialect::Dialect;
pub use signature::Signature;
pub use size::JS_FILTER_BYTES;

/// Declares an immutable byte-string identifier that is cheap to clone.
macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<[u8]>);

        impl $name {
            /// The identifier with these bytes. Its length is checked where it is used, against
            /// [`Limits::max_id_bytes`].
            pub fn new(bytes: impl AsRef<[u8]>) -> Self {
                Self(Arc::from(bytes.as_ref()))
            }

            /// The identifier's bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }

            /// The identifier as text, when it is valid UTF-8.
            #[must_use]
            pub fn as_str(&self) -> Option<&str> {
                std::str::from_utf8(&self.0).ok()
            }

            /// Length in bytes.
            #[must_use]
            pub fn len(&self) -> usize {
                self.0.len()
            }

            /// Whether the identifier has no bytes; such an identifier is refused everywhere.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::new(text)
            }
        }

        impl From<&[u8]> for $name {
            fn from(bytes: &[u8]) -> Self {
                Self::new(bytes)
            }
        }

        impl From<&$name> for $name {
            fn from(id: &$name) -> Self {
                id.clone()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.as_str() {
                    Some(text) if !text.chars().any(hides) => f.write_str(text),
                    _ => {
                        f.write_str("0x")?;
                        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
                    }
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

/// Characters that a terminal obeys instead of showing, or that two different texts can hide: controls, marks of
/// direction, separators of lines, and those without width.
fn hides(c: char) -> bool {
    let hidden = ['\u{61c}', '\u{200b}', '\u{200e}', '\u{200f}', '\u{feff}'];
    c.is_control() || hidden.contains(&c) || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

byte_id! {
    /// Globally unique, immutable identifier of a message (LIP-109, "Design Assumptions").
    MessageId
}
byte_id! {
    /// Identifier of a group conversation (LIP-109 `channel_id`).
    ChannelId
}
byte_id! {
    /// Globally unique, immutable identifier of a participant (LIP-109 `sender_id`). Not authenticated here.
    ParticipantId
}

/// Logical time of a channel in milliseconds that stay close to the Unix epoch (LIP-109, "Participant state").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lamport(pub u64);

impl fmt::Display for Lamport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Wall-clock time in nanoseconds since the Unix epoch: for Lamport time, identifiers and times on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(u64);

impl WallTime {
    /// The time this many nanoseconds after the Unix epoch.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The time this many milliseconds after the Unix epoch, saturating in the year 2554.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }
}

/// Monotonic time in milliseconds since an arbitrary start: for timers. Never stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunningTime(u64);

impl RunningTime {
    /// The time this many milliseconds after the start.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the start.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This time plus a duration, in whole milliseconds, saturating.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(millis(wait)))
    }

    /// How long after `earlier` this is; zero when it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// The next number of the generator SplitMix64: spreads entropy that came in over many uses.
#[must_use]
pub(crate) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// A duration in whole milliseconds, saturating.
#[must_use]
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A message named by another one: a causal dependency or a repair request (LIP-109 `HistoryEntry`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// The message named.
    pub id: MessageId,
    /// What helps to fetch it from elsewhere, opaque to this library.
    pub hint: Option<Bytes>,
    /// Its original sender, as the naming participant knows it.
    pub sender: Option<ParticipantId>,
}

impl HistoryEntry {
    /// An entry that names a message and nothing else.
    pub fn new(id: impl Into<MessageId>) -> Self {
        Self { id: id.into(), hint: None, sender: None }
    }
}

/// The filter carried by a message, not yet looked into: `filter` parses it, `wire` copies it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterField {
    /// The message carries no filter.
    #[default]
    Absent,
    /// Our compact filter (field 100 of the `Lip109` dialect).
    Compact {
        /// Hash functions per id.
        k: u32,
        /// What the hash functions are keyed with.
        seed: [u8; 8],
        /// The bit array, bit `p` in byte `p / 8` at `1 << (p % 8)`.
        bits: Bytes,
    },
    /// Field 12 of LIP-109, whose layout the specification leaves open; js-waku's layout in the `JsWaku` dialect.
    Unspecified(Bytes),
    /// Field 6 of nim-sds, empty where its sender had none, of any length. It tells a message of that family, which has no sync
    /// messages: see [`Message::kind`].
    NimSds(Bytes),
    /// A filter that does not parse or is over [`Limits::max_filter_bytes`]; ignored and counted.
    Unusable,
}

impl FilterField {
    /// Bytes of filter data carried.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Absent | Self::Unusable => 0,
            Self::Compact { bits, .. } | Self::Unspecified(bits) | Self::NimSds(bits) => bits.len(),
        }
    }

    /// Whether no filter data is carried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a channel of this dialect may believe the filter: layouts of others are never mixed with its own.
    #[must_use]
    pub fn belongs_to(&self, dialect: Dialect) -> bool {
        match self {
            Self::Absent | Self::Unusable => true,
            Self::Compact { .. } => dialect == Dialect::Lip109,
            Self::Unspecified(_) => dialect == Dialect::JsWaku,
            Self::NimSds(_) => dialect == Dialect::NimSds,
        }
    }
}

/// What a message is for, told by which fields it has (docs/protocol.md section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageKind {
    /// Content and Lamport time: logged, ordered, acknowledged, repaired.
    Content,
    /// Content without Lamport time: delivered at once, never kept.
    Ephemeral,
    /// Lamport time without content: carries state only.
    Sync,
    /// Neither, but a step of catch-up between two participants.
    Frame,
}

/// A decoded message (LIP-109 `Message`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Unique identifier.
    pub id: MessageId,
    /// Original sender. Not authenticated by this layer.
    pub sender: ParticipantId,
    /// The channel it belongs to.
    pub channel: ChannelId,
    /// Logical time; absent on ephemeral messages.
    pub lamport: Option<Lamport>,
    /// The messages it depends on.
    pub causal_history: Vec<HistoryEntry>,
    /// Summary of what its sender has received.
    pub filter: FilterField,
    /// What its sender asks others to rebroadcast (SDS-R).
    pub repair_request: Vec<HistoryEntry>,
    /// Application content; empty on sync messages.
    pub content: Bytes,
    /// What it says for catch-up.
    pub catch_up: CatchUpField,
    /// Its author's signature of what is kept of a content message, which goes with every copy (docs/protocol.md section 14).
    pub author_signature: Option<Signature>,
    /// Its sender's signature of all other fields.
    pub sender_signature: Option<Signature>,
}

impl Message {
    /// A message without time, history, filter, requests and content: set what it has.
    #[must_use]
    pub fn new(id: MessageId, sender: ParticipantId, channel: ChannelId) -> Self {
        Self {
            id,
            sender,
            channel,
            lamport: None,
            causal_history: Vec::new(),
            filter: FilterField::Absent,
            repair_request: Vec::new(),
            content: Bytes::new(),
            catch_up: CatchUpField::Absent,
            author_signature: None,
            sender_signature: None,
        }
    }

    /// The kind told by the fields present, or `None` where they make no valid message. nim-sds has no sync messages:
    /// what carries its filter field is content, empty content too.
    #[must_use]
    pub fn kind(&self) -> Option<MessageKind> {
        let empty = self.content.is_empty() && !matches!(self.filter, FilterField::NimSds(_));
        match (empty, self.lamport) {
            (false, Some(_)) => Some(MessageKind::Content),
            (false, None) => Some(MessageKind::Ephemeral),
            (true, Some(_)) => Some(MessageKind::Sync),
            (true, None) => matches!(self.catch_up, CatchUpField::Frame(_)).then_some(MessageKind::Frame),
        }
    }
}

/// What a received message or a caller may cost, enforced before memory is taken (docs/protocol.md section 11).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a message, channel or participant id: 1 to this many. Default 256.
    pub max_id_bytes: usize,
    /// Causal history entries in one message. Default 1,024.
    pub max_causal_entries: usize,
    /// Bytes of filter in one message; a larger one is ignored and counted. Default 64 KiB.
    pub max_filter_bytes: usize,
    /// Bytes of one encoded message. Default 2 MiB.
    pub max_message_bytes: usize,
    /// Bytes of application content in one message. Default 1 MiB.
    pub max_content_bytes: usize,
    /// Bytes of one retrieval hint. Default 1 KiB.
    pub max_hint_bytes: usize,
    /// Bytes of one signature. Default 256; Ed25519 has 64.
    pub max_signature_bytes: usize,
    /// Repair requests taken in from one message, the rest is skipped. Default 16.
    pub max_requests_per_message: usize,
    /// Messages parked for missing dependencies. Default 10,000.
    pub max_parked: usize,
    /// Bytes of messages parked. Default 64 MiB.
    pub max_parked_bytes: usize,
    /// Own messages neither acknowledged nor given up. Default 10,000.
    pub max_outgoing: usize,
    /// Bytes of such messages. Default 64 MiB.
    pub max_outgoing_bytes: usize,
    /// Entries in each of the two repair buffers. Default 1,000. Messages to answer with, which stay in the log until
    /// then, take no more than the log's bytes once more.
    pub max_repair_entries: usize,
    /// Entries that one parked message may hold in the outgoing repair buffer. Default 256.
    pub max_repair_entries_per_message: usize,
    /// Bytes of deliveries that wait for their confirmation. Default 64 MiB.
    pub max_unconfirmed_bytes: usize,
    /// Dependencies remembered as lost or declared met. Default 10,000.
    pub max_marks: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_id_bytes: 256,
            max_causal_entries: 1_024,
            max_filter_bytes: 64 << 10,
            max_message_bytes: 2 << 20,
            max_content_bytes: 1 << 20,
            max_hint_bytes: 1 << 10,
            max_signature_bytes: 256,
            max_requests_per_message: 16,
            max_parked: 10_000,
            max_parked_bytes: 64 << 20,
            max_outgoing: 10_000,
            max_outgoing_bytes: 64 << 20,
            max_repair_entries: 1_000,
            max_repair_entries_per_message: 256,
            max_unconfirmed_bytes: 64 << 20,
            max_marks: 10_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_hides_or_turns_text_is_shown_as_hex() {
        let shown = |id: &str| MessageId::from(id).to_string();
        assert_eq!(shown("süß 日本"), "süß 日本");
        assert_eq!((shown("a\n").as_str(), shown("\u{202e}a").as_str()), ("0x610a", "0xe280ae61"));
        assert_eq!((shown("\u{2066}").as_str(), shown("\u{200f}").as_str()), ("0xe281a6", "0xe2808f"));
        assert_eq!(MessageId::new([0xff]).to_string(), "0xff");
    }
}
