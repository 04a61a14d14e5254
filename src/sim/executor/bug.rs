//! Known bugs of who drives the executor, put back.

/// What carrying out has been known to do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A commit counts as saved when it is handed to the store.
    SavedTooEarly,
    /// A commit that failed counts as saved.
    FailureIsSuccess,
    /// Callbacks count as returned when they are called.
    ReturnsTooEarly,
    /// That a call comes from inside a callback is not known.
    ForgetsInside,
    /// A caller's patience that ends is not told.
    NoPatience,
    /// Of a crash's open commit, half is stored.
    Torn,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::SavedTooEarly,
        Self::FailureIsSuccess,
        Self::ReturnsTooEarly,
        Self::ForgetsInside,
        Self::NoPatience,
        Self::Torn,
    ];
}
