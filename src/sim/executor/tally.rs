//! What a world did.

/// What a world did: a world in which little happened proves little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Orders answered.
    pub answered: u64,
    /// Commits.
    pub commits: u64,
    /// Calls to archives.
    pub archived: u64,
    /// Store calls that failed.
    pub failed: u64,
    /// Store calls that hung.
    pub hung: u64,
    /// Store calls and callbacks that panicked.
    pub panics: u64,
    /// Channels that panicked.
    pub defects: u64,
    /// Callbacks that returned.
    pub callbacks: u64,
    /// Orders from inside callbacks.
    pub inside: u64,
    /// Channels closed or removed.
    pub closed: u64,
    /// Callers whose patience ended.
    pub gave_up: u64,
    /// Shutdowns and crashes.
    pub restarts: u64,
}
