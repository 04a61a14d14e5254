//! Something that happens to a participant in the middle of the conversation, and passes.

/// One accident: it begins once so many lines were said, and lasts for a while.
#[derive(Clone, Debug)]
pub(super) struct Accident {
    /// Index of whom it happens to.
    pub(super) who: usize,
    after_lines: usize,
    lasts_ms: u64,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Ahead,
    Until(u64),
    Over,
}

impl Accident {
    pub(super) fn new(who: usize, after_lines: usize, lasts_ms: u64) -> Self {
        Self { who, after_lines: after_lines.max(1), lasts_ms, state: State::Ahead }
    }

    /// Whether it begins now.
    pub(super) fn begins(&mut self, now_ms: u64, lines: usize) -> bool {
        let begins = matches!(self.state, State::Ahead) && lines >= self.after_lines;
        if begins {
            self.state = State::Until(now_ms + self.lasts_ms);
        }
        begins
    }

    /// Whether it ends now.
    pub(super) fn ends(&mut self, now_ms: u64) -> bool {
        let ends = matches!(self.state, State::Until(end) if now_ms >= end);
        if ends {
            self.state = State::Over;
        }
        ends
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }
}
