//! How a node's payloads are split, and how much of them is kept.

use bytes::Bytes;

use super::NodeError;
use crate::channel::{ChannelError, Config};
use crate::manager::ManagerError;
use crate::segment::{Bounds, Mode, Options, SplitError, split};
use crate::types::{
    CatchUpField, ChannelId, FilterField, HistoryEntry, Lamport, Message, MessageId, ParticipantId, Signature,
};

/// Bytes of segments that a channel's log keeps.
const MAX_FILE_BYTES: usize = 64 << 20;
/// Names that a message has room for: ids as the library makes them, of participants with names of so many bytes.
const ID_BYTES: usize = 64;
/// Entries of the causal history that are never left out.
const ENTRIES: usize = 2;
/// Bytes of a row of the log besides its content, with its names.
const ROW_BYTES: usize = 1_024;
/// Content's field number and length, and a filter of some hundred ids.
const BESIDES: usize = 6 + 512;

/// Options of large payloads: when they are split, and how much of them is kept.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use reliable_channel::reliable::{Node, Segmentation};
/// use reliable_channel::transport::MemoryNetwork;
///
/// let segmentation = Segmentation::default().parity(true).max_file_bytes(16 << 20);
/// let network = MemoryNetwork::new();
/// let node = Node::builder("alice").transport(network.member()).segmentation(segmentation).build()?;
/// # let _ = node;
/// # Ok::<(), reliable_channel::reliable::NodeError>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "options do nothing by themselves"]
pub struct Segmentation {
    mode: Mode,
    parity: bool,
    max_file_bytes: usize,
}

impl Default for Segmentation {
    fn default() -> Self {
        Self { mode: Mode::default(), parity: false, max_file_bytes: MAX_FILE_BYTES }
    }
}

impl Segmentation {
    /// When payloads are split. All members of a channel should have the same. Default: when they are large.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Adds a parity segment for each eight, so that as many may be lost for good. Default: no.
    pub fn parity(mut self, parity: bool) -> Self {
        self.parity = parity;
        self
    }

    /// Bytes of segments that the log keeps besides other messages, and of those that wait for the rest of their payload.
    /// A payload may have nearly half of it. Default: 64 MiB.
    pub fn max_file_bytes(mut self, bytes: usize) -> Self {
        self.max_file_bytes = bytes;
        self
    }

    /// Whether anything is split or put together at all.
    pub(super) fn splits(&self) -> bool {
        self.mode != Mode::Off
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds::of_bytes(self.max_file_bytes)
    }

    /// Channel options under which segments count apart.
    pub(super) fn fit(&self, config: &mut Config) {
        if self.splits() && config.max_file_bytes.is_none() {
            config.max_file_bytes = Some(self.max_file_bytes);
        }
    }

    /// Bytes of the largest payload, in messages with so much room.
    pub(super) fn max_payload(&self, room: usize) -> usize {
        if !self.splits() {
            return room;
        }
        let options = self.options(room);
        // What the log keeps of a segment besides its payload counts too.
        let bytes = options.segment_bytes();
        let most = self.max_file_bytes / 2 / (bytes + ROW_BYTES) * bytes;
        options.max_payload().min(most.max(room))
    }

    fn options(&self, room: usize) -> Options {
        let mut options = Options::of_room(room);
        (options.mode, options.parity) = (self.mode, self.parity);
        options
    }

    /// The contents that carry a payload, in messages with so much room.
    pub(super) fn split(&self, payload: &Bytes, room: usize) -> Result<Vec<Bytes>, NodeError> {
        if !self.splits() {
            // The channel says what is too large.
            return Ok(vec![payload.clone()]);
        }
        let max = self.max_payload(room);
        if payload.len() > max {
            return Err(NodeError::TooLarge { bytes: payload.len(), max });
        }
        split(payload, &self.options(room)).map_err(|error| match error {
            SplitError::TooLarge { bytes, max } => NodeError::TooLarge { bytes, max },
            SplitError::Empty => ManagerError::Channel(ChannelError::EmptyContent).into(),
        })
    }
}

/// Bytes of content that a message has room for under these options, besides the names and the filter that it carries.
pub(super) fn room(config: &Config, channel: &ChannelId, participant: &ParticipantId) -> usize {
    let id = MessageId::new([b'0'; ID_BYTES]);
    let longest = ParticipantId::new(vec![b'0'; ID_BYTES.max(participant.len())]);
    let entry = HistoryEntry { id: id.clone(), hint: None, sender: Some(longest) };
    let signature = config.authenticator.as_ref().map(|it| Signature::new(vec![0; it.signature_bytes()]));
    let message = Message {
        id,
        sender: participant.clone(),
        channel: channel.clone(),
        lamport: Some(Lamport(u64::MAX >> 1)),
        causal_history: vec![entry; ENTRIES],
        filter: FilterField::Absent,
        repair_request: Vec::new(),
        content: Bytes::new(),
        catch_up: CatchUpField::Absent,
        author_signature: signature.clone(),
        sender_signature: signature,
    };
    let limits = &config.limits;
    let max = config.max_transmit_bytes.unwrap_or(usize::MAX).min(limits.max_message_bytes);
    let besides = message.encoded_len(config.dialect) + BESIDES;
    max.saturating_sub(besides).max(max / 4).min(limits.max_content_bytes)
}
