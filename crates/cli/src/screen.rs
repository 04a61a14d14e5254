//! Where the program writes: results on stdout, notes and errors on stderr, one line each.
//!
//! What: [`Screen`] and a few functions. Why: `println!` panics when the reader of a pipe has gone, and text that came
//! from elsewhere must not move the cursor. How it moves: the first failed write ends all output; [`Screen::end`] tells
//! whether that was a reader that had seen enough, or a full disk.

use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};

use anyhow::Context;
use serde::Serialize;

/// Stdout.
pub(crate) struct Screen {
    out: BufWriter<StdoutLock<'static>>,
    failed: Option<io::Error>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self { out: BufWriter::new(io::stdout().lock()), failed: None }
    }

    /// Writes a line, which may be kept back until [`flush`](Self::flush).
    pub(crate) fn line(&mut self, line: impl Display) {
        self.attempt(|out| writeln!(out, "{line}"));
    }

    /// Writes a value as one line of JSON. What hides or turns text is escaped in it too: it is the same JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let json = serde_json::to_string(value)?;
        // Outside of its strings JSON is ASCII without control characters.
        let escape = |text: &mut String, c: char| {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                text.push_str(&format!("\\u{unit:04x}"));
            })
        };
        self.line(replaced(&json, escape));
        Ok(())
    }

    /// Writes out what is kept back.
    pub(crate) fn flush(&mut self) {
        self.attempt(Write::flush);
    }

    /// Whether there is nobody to write for any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Whether all of it was written, or its reader went away.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        self.flush();
        match self.failed {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
            _ => Ok(()),
        }
    }

    fn attempt(&mut self, write: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> io::Result<()>) {
        if self.failed.is_none() {
            self.failed = write(&mut self.out).err();
        }
    }
}

/// Says on stderr what went wrong.
pub(crate) fn error(what: &str) {
    say("error", what);
}

/// Says something on stderr that is no error.
pub(crate) fn note(what: &str) {
    say("note", what);
}

fn say(kind: &str, what: &str) {
    // When stderr is gone there is nobody left to tell.
    let _ = writeln!(io::stderr().lock(), "{kind}: {}", plain(what));
}

/// Text without anything that could move a cursor, break a line, change a colour or turn the direction of reading.
pub(crate) fn plain(text: &str) -> String {
    replaced(text, |text, _| text.push(' '))
}

/// The beginning of somebody's text between quotes, on one line: what hides or turns text is shown by its number.
pub(crate) fn quoted(text: &str, max: usize) -> String {
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(max).collect();
    let head = head.replace('\\', r"\\").replace('"', "\\\"");
    let shown = replaced(&head, |text, c| text.extend(c.escape_default()));
    format!("\"{shown}\"{}", if chars.next().is_some() { "..." } else { "" })
}

fn replaced(text: &str, mut replace: impl FnMut(&mut String, char)) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if hides(c) {
            replace(&mut shown, c)
        } else {
            shown.push(c)
        }
        shown
    })
}

/// Characters that a terminal obeys instead of showing: controls, the marks that set the direction of text (Unicode's
/// Bidi_Control), separators of lines, and those without width, with which two texts look like one. `types` shows
/// identifiers that hold one as hex.
fn hides(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The beginning of a text, as long as fits on a line.
pub(crate) fn shortened(text: &str, max: usize) -> String {
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(max).collect();
    if chars.next().is_some() { plain(&head) + "..." } else { plain(&head) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_turns_text_is_shown_by_its_number() {
        assert_eq!(quoted("plain, süß 日本 🥖", 99), "\"plain, süß 日本 🥖\"");
        assert_eq!(quoted("a\nb\x1b[31m\u{9b}", 99), r#""a\nb\u{1b}[31m\u{9b}""#);
        assert_eq!(quoted(r#"a"b\"#, 99), r#""a\"b\\""#);
        for turns in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}').chain(['\u{200e}', '\u{200f}', '\u{61c}'])
        {
            let shown = format!("\"x{}y\"", turns.escape_default());
            assert_eq!(quoted(&format!("x{turns}y"), 99), shown);
            assert_eq!(plain(&format!("x{turns}y")), "x y");
        }
        assert_eq!(quoted("abcdef", 3), "\"abc\"...");
    }
}
