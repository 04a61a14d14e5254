//! Segments: whatever comes, what is kept stays within its bounds, and a payload becomes whole as often as it was sent.
//!
//! Input: the bounds (1 byte: 0 for the defaults, else so many payloads), then operations: one byte below 128 takes so many
//! bytes that follow as a content; one from 128 on takes a segment of a payload: its sender and payload (1 byte), its
//! place (1 byte).

use std::collections::BTreeMap;

use arbitrary::Unstructured;
use bytes::Bytes;

use crate::segment::{Bounds, Fate, Mode, OVERHEAD, Options, Reassembly, split};
use crate::types::ParticipantId;

/// Bytes that may be kept where the bounds are tight.
const TIGHT_BYTES: usize = 4_096;

/// The body of the target `segment`.
pub fn segment(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(open) = input.arbitrary::<u8>() else { return };
    let mut bounds = Bounds::default();
    if open > 0 {
        bounds = Bounds { max_open: open.into(), max_open_per_sender: 8, ..Bounds::of_bytes(TIGHT_BYTES) };
    }
    let mut run = Run { bounds, reassembly: Reassembly::new(bounds), sent: BTreeMap::new(), given_up: false };
    while !input.is_empty() {
        let what = input.arbitrary::<u8>().unwrap_or_default();
        if what < 128 {
            let len = input.len().min(what.into());
            let content = Bytes::copy_from_slice(input.bytes(len).unwrap_or_default());
            run.take(usize::from(what % 3), &content, None);
        } else {
            let (of, place) = input.arbitrary::<(u8, u8)>().unwrap_or_default();
            run.segment(of, place.into());
        }
    }
}

struct Run {
    bounds: Bounds,
    reassembly: Reassembly<()>,
    /// Of each sender's payload, how often each segment was taken, and how often it became whole.
    sent: BTreeMap<(usize, Bytes), (Vec<usize>, usize)>,
    given_up: bool,
}

impl Run {
    fn segment(&mut self, of: u8, place: usize) {
        let payload = Bytes::from(vec![of / 4 % 2; 1 + usize::from(of) * 5]);
        let mode = if of.is_multiple_of(2) { Mode::Always } else { Mode::WhenLarge };
        let options = Options { mode, parity: of % 4 < 2, room: OVERHEAD + 128 };
        let contents = split(&payload, &options).expect("it is small");
        let (place, count) = (place % contents.len(), contents.len());
        let sender = usize::from(of % 3);
        let sent = &mut self.sent.entry((sender, payload.clone())).or_insert_with(|| (vec![0; count], 0)).0;
        sent[place] += 1;
        self.take(sender, &contents[place], Some(payload));
    }

    fn take(&mut self, sender: usize, content: &Bytes, of: Option<Bytes>) {
        let name = ParticipantId::from(["alice", "bob", "carol"][sender]);
        let taken = self.reassembly.take(&name, content, ());
        let (len, bytes) = (self.reassembly.len(), self.reassembly.bytes());
        assert!(len <= self.bounds.max_open && bytes <= self.bounds.max_bytes, "{len} and {bytes} are kept");
        self.given_up |= !taken.abandoned.is_empty() || len == self.bounds.max_open || len >= 8;
        let whole = match taken.fate {
            Fate::Whole { payload, .. } => payload,
            Fate::Kept(progress) => return assert!(progress.held < progress.needed || progress.bytes > 0),
            Fate::Surplus | Fate::Refused(_) => return,
        };
        assert!(of.as_ref().is_none_or(|of| *of == whole), "what is whole is what was split");
        if let Some((sent, times)) = of.and_then(|of| self.sent.get_mut(&(sender, of))) {
            *times += 1;
            let most = sent.iter().max().copied().unwrap_or_default();
            assert!(self.given_up || *times <= most, "it became whole {times} times, sent {most} times at most");
        }
    }
}
