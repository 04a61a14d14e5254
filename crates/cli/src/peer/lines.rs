//! Reads lines without trusting their length.
//!
//! What: [`Lines`]. Why not `BufRead::lines`: a line without an end would take all memory, and one that is not UTF-8
//! would be the end. How it moves: [`Lines::next`] gives a line, what is wrong with it, or the end of input.

use std::io::{self, BufRead, Read};

use super::command::Wrong;

/// Bytes of one line: the largest message as hex, and room for the rest of its command.
const MAX_LINE: usize = 5 << 20;

pub(super) struct Lines<R> {
    input: R,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input }
    }

    /// The next line that is not blank; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Result<String, Wrong>>> {
        loop {
            let mut line = Vec::new();
            let read = (&mut self.input).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(None);
            }
            if line.len() > MAX_LINE {
                if line.last() != Some(&b'\n') {
                    self.input.skip_until(b'\n')?;
                }
                return Ok(Some(Err(Wrong::new(format!("a line has at most {MAX_LINE} bytes")))));
            }
            match String::from_utf8(line) {
                Ok(line) if line.trim().is_empty() => {}
                Ok(line) => return Ok(Some(Ok(line))),
                Err(_) => return Ok(Some(Err(Wrong::new("a line must be UTF-8".to_owned())))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every line of the input, or `None` for one that is wrong.
    fn read(input: &[u8]) -> Vec<Option<String>> {
        let mut lines = Lines::new(input);
        std::iter::from_fn(|| lines.next().unwrap()).map(Result::ok).collect()
    }

    #[test]
    fn blank_lines_are_skipped_and_the_last_needs_no_end() {
        assert_eq!(read(b"a\n\n  \r\nb"), [Some("a\n".to_owned()), Some("b".to_owned())]);
    }

    #[test]
    fn a_line_that_is_not_utf_8_is_wrong_and_the_next_is_read() {
        assert_eq!(read(b"\xff\nb\n"), [None, Some("b\n".to_owned())]);
    }

    #[test]
    fn a_line_that_is_too_long_is_wrong_and_the_next_is_read() {
        let with = |len| [vec![b'x'; len], b"\nb".to_vec()].concat();
        assert_eq!(read(&with(MAX_LINE - 1)).iter().map(Option::is_some).collect::<Vec<_>>(), [true, true]);
        for too_long in [MAX_LINE, MAX_LINE + 1, 3 * MAX_LINE] {
            assert_eq!(read(&with(too_long)), [None, Some("b".to_owned())], "{too_long}");
        }
    }
}
