//! Reads what is typed, on a thread of its own: reading a terminal cannot be given up.

use std::io::{BufRead, Read};

use anyhow::Context;
use tokio::sync::mpsc;

/// Bytes of one line; more than any network carries.
const MAX_LINE: u64 = 1 << 20;

/// The lines of stdin. It ends with the input, and after an error.
pub(super) fn read() -> mpsc::Receiver<anyhow::Result<String>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        while let Some(line) = next(&mut input).transpose() {
            let failed = line.is_err();
            if sender.blocking_send(line).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

fn next(input: &mut impl BufRead) -> anyhow::Result<Option<String>> {
    let mut line = Vec::new();
    input.take(MAX_LINE).read_until(b'\n', &mut line).context("cannot read stdin")?;
    if line.is_empty() {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_any_end_and_one_without_end_comes_in_parts() {
        let mut input = &b"a\r\n\nb\xff"[..];
        let lines: Vec<String> = std::iter::from_fn(|| next(&mut input).unwrap()).collect();
        assert_eq!(lines, ["a", "", "b\u{fffd}"]);
        let endless = vec![b'x'; MAX_LINE as usize + 1];
        let mut input = &endless[..];
        let lengths: Vec<usize> = std::iter::from_fn(|| next(&mut input).unwrap()).map(|line| line.len()).collect();
        assert_eq!(lengths, [MAX_LINE as usize, 1]);
    }
}
