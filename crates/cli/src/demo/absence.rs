//! One participant goes away while the others talk, and catches up when it is back.

use serde::Serialize;

/// What it came to.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Returned {
    /// Messages that were said meanwhile.
    pub(super) missed: usize,
    /// Milliseconds from the return until all of them were there.
    pub(super) all_ms: u64,
}

/// The absence of one participant, from this many lines on until all lines were said.
#[derive(Debug)]
pub(super) struct Absence {
    /// Index of whom it concerns.
    pub(super) who: usize,
    pub(super) after_lines: usize,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Ahead,
    Away,
    Back(u64),
    Over(u64),
}

impl Absence {
    pub(super) fn new(who: usize, after_lines: usize) -> Self {
        Self { who, after_lines, state: State::Ahead }
    }

    /// Whether no line may be said that it is to miss.
    pub(super) fn is_ahead(&self) -> bool {
        matches!(self.state, State::Ahead)
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over(_))
    }

    /// It goes away, unless it has.
    pub(super) fn begins(&mut self) -> bool {
        let begins = self.is_ahead();
        if begins {
            self.state = State::Away;
        }
        begins
    }

    /// It comes back, if it is away.
    pub(super) fn ends(&mut self, now_ms: u64) -> bool {
        let ends = matches!(self.state, State::Away);
        if ends {
            self.state = State::Back(now_ms);
        }
        ends
    }

    /// Everything is there: milliseconds since the return, once.
    pub(super) fn caught_up(&mut self, now_ms: u64) -> Option<u64> {
        let State::Back(since) = self.state else { return None };
        let took = now_ms - since;
        self.state = State::Over(took);
        Some(took)
    }

    /// What it came to, of so many lines.
    pub(super) fn outcome(&self, total: usize) -> Option<Returned> {
        let State::Over(all_ms) = self.state else { return None };
        Some(Returned { missed: total - self.after_lines, all_ms })
    }
}
