//! Texts that were given to callbacks, kept for a while.
//!
//! What: [`Kept`], the newest texts of the process. Why: bindings of nim-sds note where a text is, return from the callback,
//! and read it then. How it moves: a text enters before its callback is called; the oldest go when there are too many or
//! they are too large together.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::text::Text;

/// Later texts that a text outlives, where they are small.
pub(crate) const LATER: usize = 256;
/// Bytes of all that are kept.
pub(crate) const BYTES: usize = 8 << 20;
/// Later texts that a text outlives, whatever their size.
pub(crate) const LATER_AT_LEAST: usize = 16;

#[derive(Debug)]
pub(crate) struct Kept(Mutex<Ring>);

#[derive(Debug)]
struct Ring {
    texts: VecDeque<Text>,
    bytes: usize,
}

impl Kept {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Ring { texts: VecDeque::new(), bytes: 0 }))
    }

    pub(crate) fn keep(&self, text: Text) {
        let mut gone = Vec::new();
        // Nothing under this lock panics halfway.
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.bytes += text.size();
        ring.texts.push_back(text);
        while ring.texts.len() > LATER + 1 || (ring.bytes > BYTES && ring.texts.len() > LATER_AT_LEAST + 1) {
            let Some(oldest) = ring.texts.pop_front() else { break };
            ring.bytes -= oldest.size();
            gone.push(oldest);
        }
        // Memory is given back outside of the lock.
        drop(ring);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text that takes one byte more.
    fn text_of(byte: u8, bytes: usize) -> Text {
        let mut text = Vec::with_capacity(bytes + 1);
        text.resize(bytes, byte);
        text.into()
    }

    /// How many later texts of this size the first one outlives.
    fn outlives(bytes: usize) -> usize {
        let (kept, first) = (Kept::new(), text_of(b'1', bytes));
        let watch = first.watch();
        kept.keep(first);
        for later in 0..1_000 {
            if watch.upgrade().is_none() {
                return later - 1;
            }
            kept.keep(text_of(b'2', bytes));
        }
        panic!("for ever");
    }

    #[test]
    fn a_text_outlives_what_is_promised() {
        assert_eq!(outlives(0), LATER);
        assert_eq!(outlives(1_000), LATER);
        let nim = outlives(59_999);
        assert_eq!(nim, BYTES / 60_000 - 1, "as many as have room");
        assert_eq!(outlives(4 << 20), LATER_AT_LEAST);
    }
}
