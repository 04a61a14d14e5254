//! How an open channel ends.

use super::effect::Caller;

/// The channel takes no more orders.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) kind: End,
    pub(super) callers: Vec<Caller>,
    /// Does not wait for callbacks.
    pub(super) hurry: bool,
    pub(super) checkpointed: bool,
    pub(super) retried: bool,
    /// Shut down, for good.
    pub(super) done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Close,
    Remove,
    ShutDown,
}
