//! Texts that were given to callbacks, kept for a while.
//!
//! What: [`Kept`], the newest texts of the process. Why: bindings of nim-sds note where a text is, return from the callback,
//! and read it then; under load, much later. How it moves: a text enters before its callback is called. While what it was
//! passed with (`userData`) does not come again, whoever waits for it may not have read it, and it stays; after that it
//! outlives some further texts. Both have limits, beyond which the oldest go.

use std::collections::{BTreeMap, VecDeque};

use crate::sync::{Mutex, lock};
use crate::text::Text;

/// Later texts that a text outlives, where they are small.
pub(crate) const LATER: usize = 256;
/// Bytes of texts that outlive others so.
pub(crate) const BYTES: usize = 8 << 20;
/// Later texts that a text outlives, whatever their size.
pub(crate) const LATER_AT_LEAST: usize = 16;
/// Texts that stay because what they were passed with has not come again.
pub(crate) const UNREAD: usize = 1_024;
/// Bytes of such texts.
pub(crate) const UNREAD_BYTES: usize = 16 << 20;

#[derive(Debug)]
pub(crate) struct Kept(Mutex<Texts>);

#[derive(Debug)]
struct Texts {
    /// By their numbers, with what they were passed with.
    unread: BTreeMap<u64, (usize, Text)>,
    /// The number of the last text that was passed with it.
    last: BTreeMap<usize, u64>,
    unread_bytes: usize,
    next: u64,
    /// Oldest first.
    older: VecDeque<Text>,
    older_bytes: usize,
}

impl Kept {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Texts {
            unread: BTreeMap::new(),
            last: BTreeMap::new(),
            unread_bytes: 0,
            next: 0,
            older: VecDeque::new(),
            older_bytes: 0,
        }))
    }

    /// Keeps a text that is passed with this.
    pub(crate) fn keep(&self, text: Text, with: usize) {
        let mut gone = Vec::new();
        let mut texts = lock(&self.0);
        let number = texts.next;
        texts.next += 1;
        if let Some(before) = texts.last.insert(with, number) {
            texts.retire(before, &mut gone);
        }
        texts.unread_bytes += text.size();
        texts.unread.insert(number, (with, text));
        while texts.unread.len() > UNREAD || (texts.unread_bytes > UNREAD_BYTES && texts.unread.len() > 1) {
            let Some((&oldest, &(with, _))) = texts.unread.first_key_value() else { break };
            texts.last.remove(&with);
            texts.retire(oldest, &mut gone);
        }
        // Memory is given back outside of the lock.
        drop(texts);
    }
}

impl Texts {
    /// From now on this text only outlives some others.
    fn retire(&mut self, number: u64, gone: &mut Vec<Text>) {
        let Some((_, text)) = self.unread.remove(&number) else { return };
        self.unread_bytes -= text.size();
        self.older_bytes += text.size();
        self.older.push_back(text);
        while self.older.len() > LATER || (self.older_bytes > BYTES && self.older.len() > LATER_AT_LEAST) {
            let Some(oldest) = self.older.pop_front() else { break };
            self.older_bytes -= oldest.size();
            gone.push(oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text that takes one byte more.
    fn text_of(bytes: usize) -> Text {
        let mut text = Vec::with_capacity(bytes + 1);
        text.resize(bytes, b'1');
        text.into()
    }

    /// How many later texts of this size the first one outlives, where the later ones are passed with these.
    fn outlives(bytes: usize, with: impl Fn(usize) -> usize) -> Option<usize> {
        let (kept, first) = (Kept::new(), text_of(bytes));
        let watch = first.watch();
        kept.keep(first, 0);
        for later in 0..5_000 {
            if watch.upgrade().is_none() {
                return Some(later - 1);
            }
            kept.keep(text_of(bytes), with(later));
        }
        None
    }

    #[test]
    fn a_text_outlives_what_is_promised() {
        let same = |_| 0;
        assert_eq!(outlives(0, same), Some(LATER));
        assert_eq!(outlives(1_000, same), Some(LATER));
        assert_eq!(outlives(59_999, same), Some(BYTES / 60_000), "as many as have room");
        assert_eq!(outlives(4 << 20, same), Some(LATER_AT_LEAST));
    }

    /// Sixteen threads that wait for results: what one of them has not read yet is there however many calls the others make.
    #[test]
    fn a_text_stays_until_what_it_was_passed_with_comes_again() {
        let others = |later: usize| 1 + later % 15;
        assert_eq!(outlives(0, others), None);
        assert_eq!(outlives(70_000, others), None);
    }

    #[test]
    fn what_never_comes_again_is_bounded() {
        let new_each_time = |later: usize| 1 + later;
        assert_eq!(outlives(0, new_each_time), Some(UNREAD + LATER - 1));
        assert_eq!(outlives(59_999, new_each_time), Some(UNREAD_BYTES / 60_000 + BYTES / 60_000 - 1));
        let kept = Kept::new();
        (0..5_000).for_each(|number| kept.keep(text_of(10), number));
        let texts = kept.0.lock().unwrap();
        assert_eq!((texts.unread.len(), texts.last.len(), texts.older.len()), (UNREAD, UNREAD, LATER));
        assert_eq!((texts.unread_bytes, texts.older_bytes), (UNREAD * 11, LATER * 11));
    }
}
