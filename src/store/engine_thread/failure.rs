//! What an engine's calls end with when they fail.
//!
//! What: [`Failure`], and [`catch`], which makes one of a panic. Why apart from [`PersistenceError`]: one failure is told
//! to all whose writes shared a batch, each under its own call and channel. How it moves: an engine returns it, the
//! thread decides by it whether the engine can go on, and [`Failure::into_error`] gives it to a caller.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tracing::{debug, warn};

use crate::store::{PersistenceError, PersistenceErrorKind};
use crate::types::ChannelId;

/// Why a [`BlockingStore`](crate::store::blocking::BlockingStore) could not do what it was asked: one error for all whose
/// writes were made together. See `examples/custom_backend.rs`.
#[derive(Clone, Debug)]
pub struct Failure {
    pub(in crate::store) kind: PersistenceErrorKind,
    pub(in crate::store) source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    /// The engine can only be dropped.
    pub(in crate::store) unusable: bool,
}

impl Failure {
    /// A failure that leaves the store usable.
    #[must_use]
    pub fn new(kind: PersistenceErrorKind) -> Self {
        Self { kind, source: None, unusable: false }
    }

    /// The same failure with the database's own error behind it.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// The same failure, after which the store can only be dropped and opened again.
    #[must_use]
    pub fn unusable(mut self) -> Self {
        self.unusable = true;
        self
    }

    /// Whether one write of a batch may be to blame, rather than medium, file or lock.
    pub(super) fn may_be_one_writes(&self) -> bool {
        use PersistenceErrorKind::{Corrupt, Poisoned, TooLarge, UnknownVersion, Unsupported};
        matches!(self.kind, Corrupt { .. } | Poisoned | TooLarge | UnknownVersion { .. } | Unsupported)
    }

    /// Warns of what an operator can act on: the medium, the file, who else has it.
    pub(super) fn log(&self, what: &str) {
        let Self { kind, source, unusable } = self;
        if matches!(kind, PersistenceErrorKind::Unsupported | PersistenceErrorKind::TooLarge) {
            debug!(what, %kind, "refused");
        } else {
            let source = source.as_ref().map(tracing::field::display);
            warn!(what, %kind, source, unusable, "the store's engine failed");
        }
    }

    pub(in crate::store) fn into_error(self, verb: &'static str, channel: Option<&ChannelId>) -> PersistenceError {
        let error = PersistenceError::new(verb, channel, self.kind);
        match self.source {
            Some(source) => error.with_source(Shared(source)),
            None => error,
        }
    }
}

/// One engine error behind the errors of many callers.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Shared(Arc<dyn std::error::Error + Send + Sync>);

/// A call to an engine in which a panic is a failure.
pub(super) fn catch<T>(what: &str, call: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(panicked(what, &*panic)))
}

/// A panic while reading comes from damaged pages and will come again; one while writing may not.
fn panicked(what: &str, panic: &(dyn Any + Send)) -> Failure {
    let message = panic
        .downcast_ref::<&str>()
        .map(|message| (*message).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    let kind = match what {
        "apply" | "sync" => PersistenceErrorKind::Poisoned,
        _ => PersistenceErrorKind::Corrupt { what: format!("the engine panicked ({what})") },
    };
    Failure::new(kind).with_source(Panic(message)).unusable()
}

/// What an engine's panic said.
#[derive(Debug, thiserror::Error)]
#[error("the engine panicked: {0}")]
struct Panic(String);
