//! Tells the conversation while it goes on, as one of the participants sees it.
//!
//! What: [`Narrator`]: lines on stdout, a progress bar on a terminal. Why not everything: nobody reads three thousand
//! lines as they fly by. How it moves: with `--json` it is silent but for the bar, which appears after a second.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::screen::{self, Screen};

/// Messages shown before the rest is only counted.
const SHOWN: usize = 60;
/// Characters of a message shown.
const WIDTH: usize = 100;
/// How long a run may take before it shows a bar.
const BAR_AFTER: Duration = Duration::from_secs(1);
/// Ticks between two looks at the progress.
const EVERY: u64 = 16;

/// Who tells.
pub(super) struct Narrator {
    screen: Option<Screen>,
    bar: ProgressBar,
    hidden: bool,
    ticks: u64,
    /// Messages so far.
    messages: usize,
    /// How many of them are shown.
    shown: usize,
    name_width: usize,
}

impl Narrator {
    /// One that tells, unless it has no screen. `total` counts deliveries to all participants together.
    pub(super) fn new(screen: Option<Screen>, total: usize, name_width: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::hidden());
        // Without it the bar has its plain style.
        if let Ok(style) = ProgressStyle::with_template("[{elapsed_precise}] {wide_bar} {pos}/{len} deliveries") {
            bar.set_style(style);
        }
        Self { screen, bar, hidden: true, ticks: 0, messages: 0, shown: SHOWN, name_width }
    }

    pub(super) fn message(&mut self, now_ms: u64, sender: &str, text: &[u8], late: bool) {
        self.messages += 1;
        if self.messages == self.shown + 1 {
            self.print("           ... (the others are not shown)".to_owned());
        }
        if self.messages <= self.shown {
            let text = screen::shortened(&String::from_utf8_lossy(text), WIDTH);
            let late = if late { "  (late: it belongs further up)" } else { "" };
            let width = self.name_width;
            self.print(format!("  {}  {sender:width$}  {text}{late}", time(now_ms)));
        }
    }

    /// Of what follows, shows no more than so many messages.
    pub(super) fn show_no_more_than(&mut self, messages: usize) {
        self.shown = self.shown.min(self.messages + messages);
    }

    pub(super) fn note(&mut self, now_ms: u64, what: &str) {
        self.print(format!("  {}  -- {what}", time(now_ms)));
    }

    /// Shows how far it has come, now and then.
    pub(super) fn progress(&mut self, deliveries: impl FnOnce() -> usize) {
        self.ticks += 1;
        if !self.ticks.is_multiple_of(EVERY) {
            return;
        }
        if self.hidden && self.bar.elapsed() > BAR_AFTER {
            // Draws nothing where stderr is no terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.hidden = false;
        }
        if !self.hidden {
            self.bar.set_position(deliveries() as u64);
        }
    }

    /// Takes the bar away and gives the screen back.
    pub(super) fn end(self) -> Option<Screen> {
        self.bar.finish_and_clear();
        self.screen
    }

    fn print(&mut self, line: String) {
        if let Some(screen) = &mut self.screen {
            self.bar.suspend(|| {
                screen.line(line);
                screen.flush();
            });
        }
    }
}

/// Virtual time as minutes and seconds.
pub(super) fn time(ms: u64) -> String {
    format!("{:>3}:{:02}.{}", ms / 60_000, ms / 1_000 % 60, ms / 100 % 10)
}
