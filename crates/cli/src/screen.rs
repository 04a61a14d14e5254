//! Where the program writes: results on stdout, notes and errors on stderr, one line each.
//!
//! What: [`Screen`] and a few functions. Why: `println!` panics when the reader of a pipe has gone, and text that came
//! from elsewhere must not move the cursor. How it moves: the first failed write ends all output; [`Screen::end`] tells
//! whether that was a reader that had seen enough, or a full disk.

use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};

use anyhow::Context;

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

/// Text without anything that could move a cursor, break a line or change a colour.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The beginning of a text, as long as fits on a line.
pub(crate) fn shortened(text: &str, max: usize) -> String {
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(max).collect();
    if chars.next().is_some() { plain(&head) + "..." } else { plain(&head) }
}
