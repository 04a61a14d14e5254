//! Bytes in decimal: `10,66,48`.
//!
//! What: [`decimals`], by a table, and [`Written`], which copies from the text of the message before what is the same there.
//! Why: nearly all of a message of nim-sds is a filter of 18 KB, of which one message changes a few bytes, and its text is a
//! third of what wrapping takes. How it moves: messages are compared in blocks from their end, for what comes before the filter
//! differs in length and what comes after it does not.

use bytes::Bytes;

/// Each byte as `12,` from the lowest bits up, and above those 32 bits how much of that counts.
static DECIMALS: [u64; 256] = table();

const fn table() -> [u64; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let [hundreds, tens, ones] = [byte / 100, byte / 10 % 10, byte % 10];
        let (digits, len) = match byte {
            0..10 => ([b'0' + ones as u8, b',', 0, 0], 2),
            10..100 => ([b'0' + tens as u8, b'0' + ones as u8, b',', 0], 3),
            _ => ([b'0' + hundreds as u8, b'0' + tens as u8, b'0' + ones as u8, b','], 4),
        };
        table[byte] = u32::from_le_bytes(digits) as u64 | len << 32;
        byte += 1;
    }
    table
}

/// Bytes written to the side before they are appended.
const PIECE: usize = 128;

/// `1,2,3`
pub(crate) fn decimals(out: &mut Vec<u8>, bytes: &[u8]) {
    piece(out, bytes);
    if !bytes.is_empty() {
        out.pop();
    }
}

/// `1,2,3,`
fn piece(out: &mut Vec<u8>, bytes: &[u8]) {
    for piece in bytes.chunks(PIECE) {
        if piece.iter().fold(0, |all, byte| all | byte) == 0 {
            // As most of a filter is in a young channel.
            out.extend_from_slice(&ZEROS[..2 * piece.len()]);
            continue;
        }
        let mut aside = [0; PIECE * 4 + 8];
        let mut end = 0;
        let (pairs, last) = piece.as_chunks::<2>();
        for &[first, second] in pairs {
            let (first, second) = (DECIMALS[usize::from(first)], DECIMALS[usize::from(second)]);
            let len = (first >> 32) as usize;
            let both = first & 0xffff_ffff | (second & 0xffff_ffff) << (8 * len);
            aside[end..end + 8].copy_from_slice(&both.to_le_bytes());
            end += len + (second >> 32) as usize;
        }
        for &byte in last {
            let digits = DECIMALS[usize::from(byte)];
            aside[end..end + 4].copy_from_slice(&(digits as u32).to_le_bytes());
            end += (digits >> 32) as usize;
        }
        out.extend_from_slice(&aside[..end]);
    }
}

static ZEROS: [u8; 2 * PIECE] = {
    let mut zeros = [b','; 2 * PIECE];
    let mut at = 0;
    while at < zeros.len() {
        zeros[at] = b'0';
        at += 2;
    }
    zeros
};

/// Bytes that are compared at a time.
const BLOCK: usize = PIECE;

/// A message, and where its blocks are in its text.
#[derive(Debug)]
pub(crate) struct Written {
    message: Bytes,
    /// Where the text of each block begins, the last block first.
    starts: Vec<u32>,
}

impl Written {
    /// Writes a message, with the help of what was written before and its text.
    pub(crate) fn new(out: &mut Vec<u8>, message: &Bytes, before: Option<(&Self, &[u8])>) -> Self {
        let (head, blocks) = message.split_at(message.len() % BLOCK);
        let count = blocks.len() / BLOCK;
        let mut starts = vec![0; count];
        piece(out, head);
        for (block, at) in blocks.chunks(BLOCK).zip((0..count).rev()) {
            starts[at] = u32::try_from(out.len()).unwrap_or(u32::MAX);
            match before.and_then(|(before, text)| before.text_of(text, at, block)) {
                Some(same) => out.extend_from_slice(same),
                None => piece(out, block),
            }
        }
        out.pop();
        Self { message: message.clone(), starts }
    }

    /// The text of a block, with the comma that follows, if it is this one.
    fn text_of<'a>(&self, text: &'a [u8], at: usize, block: &[u8]) -> Option<&'a [u8]> {
        let end = self.message.len().checked_sub(at * BLOCK)?;
        if self.message.get(end.checked_sub(BLOCK)?..end)? != block {
            return None;
        }
        // No comma follows the last block.
        let next = self.starts.get(at.checked_sub(1)?)?;
        text.get(*self.starts.get(at)? as usize..*next as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(bytes: &[u8]) -> String {
        bytes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn a_message_after_another_is_written_as_it_is() {
        let mut seed = 1_u32;
        let mut next = |below: usize| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as usize % below
        };
        let mut before: Option<(Written, Vec<u8>)> = None;
        let mut bytes: Vec<u8> = (0..3_000).map(|_| next(256) as u8).collect();
        for _ in 0..500 {
            // The front grows and shrinks, a few bytes change anywhere, and sometimes all is another.
            bytes.drain(..next(bytes.len().min(200) + 1));
            bytes.splice(..0, vec![7; next(200)]);
            for _ in 0..next(5) {
                let at = next(bytes.len().max(1));
                bytes.splice(at..(at + 1).min(bytes.len()), [next(256) as u8]);
            }
            if next(20) == 0 {
                bytes = vec![next(256) as u8; next(2_000)];
            }
            let (message, mut out) = (Bytes::copy_from_slice(&bytes), Vec::new());
            let help = before.as_ref().map(|(written, text)| (written, text.as_slice()));
            let written = Written::new(&mut out, &message, help);
            assert_eq!(std::str::from_utf8(&out).unwrap(), naive(&bytes));
            before = Some((written, out));
        }
    }

    #[test]
    fn what_is_the_same_is_copied() {
        let message = Bytes::from(vec![9; 4 * BLOCK]);
        let mut out = Vec::new();
        let written = Written::new(&mut out, &message, None);
        let marked = vec![b'x'; out.len()];
        let mut again = Vec::new();
        Written::new(&mut again, &message, Some((&written, &marked)));
        let copied = again.iter().filter(|byte| **byte == b'x').count();
        assert_eq!(copied, 3 * 2 * BLOCK, "all blocks but the last, which no comma follows");
    }
}
