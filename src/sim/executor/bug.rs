//! Known bugs of who drives the executor, or of the executor as its driver can show them, put back.

/// What has been known to go wrong between a channel and the outside.
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
    /// A step is released after its channel was closed: its commit is made once more.
    CommitsAgain,
    /// What is told goes its own way, and comes after what was answered later.
    TellsLater,
    /// A callback of one opening confirms its deliveries in the next.
    ConfirmsNextOpening,
    /// A call to the store that panics never comes back.
    PanickedCallIsLost,
    /// A callback that panics never returns.
    PanickedCallbackIsLost,
    /// A call to the archive that panics never comes back.
    PanickedArchiveIsLost,
    /// A call to the archive that failed counts as made.
    ArchiveFailureIsSuccess,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::SavedTooEarly,
        Self::FailureIsSuccess,
        Self::ReturnsTooEarly,
        Self::ForgetsInside,
        Self::NoPatience,
        Self::Torn,
        Self::CommitsAgain,
        Self::TellsLater,
        Self::ConfirmsNextOpening,
        Self::PanickedCallIsLost,
        Self::PanickedCallbackIsLost,
        Self::PanickedArchiveIsLost,
        Self::ArchiveFailureIsSuccess,
    ];
}
