//! What is said, and by whom.
//!
//! What: [`Line`]s, read from stdin or from a short script of the demo's own. Why here: all rules about input are in
//! one place. How it moves: a line that cannot be a message is refused by name on stderr, the others go on; a line
//! longer than a message may be is skipped as it is read, so that it costs no memory.

use std::io::{self, BufRead, IsTerminal};

use anyhow::{Context, bail};
use bytes::Bytes;

use crate::screen;

/// Lines that are taken from stdin at most.
const MAX_LINES: usize = 100_000;
/// Bytes that are taken from stdin at most.
const MAX_BYTES: usize = 128 << 20;

const NAMES: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];

/// Said in turns.
const SCRIPT: [&str; 12] = [
    "Has anybody heard the weather report for Saturday?",
    "Rain in the morning, dry after eleven.",
    "Then let us start at noon.",
    "Noon is fine. Who brings the map?",
    "I have two, one of them from 1974.",
    "Bring the other one, please.",
    "My radio drops every third word up here, did you get all of that?",
    "Noon, rain before, and somebody is unkind about my map.",
    "That is all of it.",
    "How many sandwiches?",
    "As many as you can carry.",
    "See you on Saturday \u{1F956}",
];

/// Said after the script, while one is away: on some channel there is always a machine that talks.
const READINGS: usize = 500;

/// All that is said.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) lines: Vec<Line>,
    /// Of these, how many are a conversation; the others are said while one is away.
    pub(super) talk: usize,
}

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Index of who says it.
    pub(super) sender: usize,
    pub(super) text: Bytes,
}

/// What the participants are called.
pub(super) fn names(participants: usize) -> Vec<String> {
    let name = |index: usize| NAMES.get(index).map_or_else(|| format!("p{}", index + 1), |name| (*name).to_owned());
    (0..participants).map(name).collect()
}

/// What is said: the lines on stdin where something is piped in, else the script, and what `away` misses of it.
pub(super) fn read(names: &[String], away: usize, max_bytes: usize) -> anyhow::Result<Script> {
    let stdin = io::stdin().lock();
    let piped = if stdin.is_terminal() { None } else { parse(stdin, names, max_bytes)? };
    if let Some(lines) = piped {
        if lines.is_empty() {
            bail!("the input has no line that can be a message");
        }
        return Ok(Script { talk: lines.len(), lines });
    }
    let mut turns = Turns { names, next: 0 };
    let mut lines: Vec<Line> = SCRIPT.iter().map(|line| turns.give(line)).collect();
    let talk = lines.len();
    let senders = (0..names.len()).filter(|sender| *sender != away).cycle();
    lines.extend(senders.zip(1..=READINGS).map(|(sender, number)| reading(sender, number)));
    Ok(Script { lines, talk })
}

fn reading(sender: usize, number: usize) -> Line {
    let (hour, degrees) = (number % 24, 8 + number * 7 % 11);
    Line { sender, text: format!("Reading {number}, at {hour}:00: {degrees} degrees").into() }
}

/// The lines of an input; `None` when it is empty.
fn parse(mut input: impl BufRead, names: &[String], max_bytes: usize) -> anyhow::Result<Option<Vec<Line>>> {
    let mut turns = Turns { names, next: 0 };
    let (mut lines, mut empty, mut bytes, mut number) = (Vec::new(), 0_usize, 0, 0_usize);
    // A name and its colon come on top of what is sent.
    let keep = max_bytes + names.iter().map(String::len).max().unwrap_or(0) + 3;
    while let Some(raw) = read_line(&mut input, keep).context("cannot read stdin")? {
        number += 1;
        let Ok(text) = std::str::from_utf8(&raw.kept) else {
            // What is kept of a line that is too long may end within a character.
            let what = if raw.len > keep { too_long(raw.len, max_bytes) } else { "is not UTF-8".to_owned() };
            screen::error(&format!("line {number} {what}; not sent"));
            continue;
        };
        let line = turns.look(text);
        let sent = line.text.len() + (raw.len - raw.kept.len());
        if text.trim().is_empty() || line.text.is_empty() {
            empty += 1;
        } else if sent > max_bytes {
            screen::error(&format!("line {number} {}; not sent", too_long(sent, max_bytes)));
        } else {
            bytes += sent;
            if lines.len() == MAX_LINES || bytes > MAX_BYTES {
                bail!("the input is too much for a demo: it takes {MAX_LINES} lines and {} MiB", MAX_BYTES >> 20);
            }
            lines.push(turns.give(text));
        }
    }
    if empty > 0 {
        screen::note(&format!("{empty} empty line{} skipped", if empty == 1 { "" } else { "s" }));
    }
    Ok((number > 0).then_some(lines))
}

fn too_long(len: usize, max: usize) -> String {
    format!("has {len} bytes, {max} are allowed")
}

/// Finds out who says a line.
struct Turns<'a> {
    names: &'a [String],
    next: usize,
}

impl Turns<'_> {
    /// The line as it would be said now.
    fn look(&self, text: &str) -> Line {
        let named = text.split_once(':').and_then(|(name, rest)| {
            let sender = self.names.iter().position(|known| known.eq_ignore_ascii_case(name.trim()))?;
            Some(Line { sender, text: Bytes::copy_from_slice(rest.trim_start().as_bytes()) })
        });
        named.unwrap_or_else(|| Line { sender: self.next, text: Bytes::copy_from_slice(text.as_bytes()) })
    }

    /// The line, whose sender has then had the turn where it named none.
    fn give(&mut self, text: &str) -> Line {
        let line = self.look(text);
        if line.text.len() == text.len() {
            self.next = (self.next + 1) % self.names.len();
        }
        line
    }
}

struct RawLine {
    /// Without its end, and not more than was asked for.
    kept: Vec<u8>,
    len: usize,
}

/// The next line; what is longer than `keep` is counted, not kept.
fn read_line(input: &mut impl BufRead, keep: usize) -> io::Result<Option<RawLine>> {
    let mut line = RawLine { kept: Vec::new(), len: 0 };
    let mut any = false;
    loop {
        let chunk = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            chunk => chunk?,
        };
        if chunk.is_empty() {
            break;
        }
        any = true;
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        line.len += part.len();
        line.kept.extend_from_slice(&part[..part.len().min(keep - line.kept.len())]);
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            break;
        }
    }
    if line.len == line.kept.len() && line.kept.last() == Some(&b'\r') {
        line.kept.pop();
        line.len -= 1;
    }
    Ok(any.then_some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], max_bytes: usize) -> Option<Vec<(usize, String)>> {
        let lines = parse(input, &names(3), max_bytes).unwrap()?;
        Some(lines.into_iter().map(|line| (line.sender, String::from_utf8(line.text.to_vec()).unwrap())).collect())
    }

    fn said(lines: &[(usize, &str)]) -> Option<Vec<(usize, String)>> {
        Some(lines.iter().map(|(sender, text)| (*sender, (*text).to_owned())).collect())
    }

    #[test]
    fn a_name_picks_the_sender_and_others_take_turns() {
        let input = b"one\nCarol: two\nthree\nnobody: four\nbob:five\r\n\n  \nsix";
        let expected = [(0, "one"), (2, "two"), (1, "three"), (2, "nobody: four"), (1, "five"), (0, "six")];
        assert_eq!(lines(input, 100), said(&expected));
    }

    #[test]
    fn what_cannot_be_a_message_is_left_out() {
        assert_eq!(
            lines(b"12345\n123456\nbob: 12345\n\xff\nbob:\nend", 5),
            said(&[(0, "12345"), (1, "12345"), (1, "end")])
        );
        let long = "\u{20ac}".repeat(100);
        assert_eq!(lines(format!("{long}\nok").as_bytes(), 5), said(&[(0, "ok")]));
    }

    #[test]
    fn nothing_is_told_from_nothing_to_say() {
        assert_eq!(lines(b"", 5), None);
        assert_eq!(lines(b"\n", 5), Some(vec![]));
    }
}
