//! The engine under the thread: it is dropped when it has become unusable, and opened again, each time after a longer pause.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use tracing::debug;

use super::failure::{Failure, catch};
use super::{BlockingStore, Durability, Unsynced, Worker};
use crate::store::PersistenceErrorKind;

/// Pause before an engine is opened again, doubled at every failure in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A pause that a call waits for.
const PATIENCE: Duration = Duration::from_millis(40);

impl<E: BlockingStore> Worker<E> {
    /// Makes everything acknowledged durable, and ends the window when that succeeds.
    pub(super) fn sync(&mut self) -> Result<(), Failure> {
        if self.durability == Durability::Immediate {
            return Ok(());
        }
        self.call("sync", E::sync)?;
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        self.unsynced = Unsynced::default();
        Ok(())
    }

    /// Calls the engine, opening it first where it was dropped, and drops it when it has become unusable.
    pub(super) fn call<T>(
        &mut self,
        what: &str,
        call: impl FnOnce(&mut E) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.ready()?;
        self.guarded(what, call)
    }

    /// Calls an engine that is open. A panic leaves nothing behind that is used again: the engine is dropped.
    fn guarded<T>(&mut self, what: &str, call: impl FnOnce(&mut E) -> Result<T, Failure>) -> Result<T, Failure> {
        let engine = self.engine.as_mut().ok_or_else(|| Failure::new(PersistenceErrorKind::Poisoned))?;
        let result = catch(what, || call(engine));
        match &result {
            Ok(_) => self.pause = Duration::ZERO,
            Err(failure) => {
                failure.log(what);
                if failure.unusable {
                    self.discard();
                    self.lengthen_pause(failure);
                }
            }
        }
        result
    }

    /// Opens the engine where it was dropped, and makes what the one before had not synced.
    fn ready(&mut self) -> Result<(), Failure> {
        if self.engine.is_none() {
            self.wait_to_open()?;
            match catch("reopen", || E::reopen(&self.options)) {
                Ok(engine) => {
                    debug!("engine reopened");
                    self.counters.reopened.fetch_add(1, Ordering::Relaxed);
                    self.engine = Some(engine);
                }
                Err(failure) => {
                    failure.log("reopen");
                    self.lengthen_pause(&failure);
                    self.refuse_waiting(&failure);
                    return Err(failure);
                }
            }
        }
        if self.unsynced.lost {
            let writes = std::mem::take(&mut self.unsynced.writes);
            let result = self.guarded("apply", |engine| engine.apply(&writes));
            self.unsynced.writes = writes;
            // Also where the engine was dropped meanwhile, which found no writes here.
            self.unsynced.lost = result.is_err();
            result?;
        }
        Ok(())
    }

    pub(super) fn discard(&mut self) {
        let engine = self.engine.take();
        self.unsynced.lost = !self.unsynced.writes.is_empty();
        if catch_unwind(AssertUnwindSafe(|| drop(engine))).is_err() {
            debug!("the engine panicked while it was closed");
        }
    }

    #[allow(clippy::disallowed_methods, reason = "a pause on the store's own thread, not a channel's time")]
    fn lengthen_pause(&mut self, failure: &Failure) {
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.next_opening = Some((Instant::now() + self.pause, failure.clone()));
    }

    /// Sleeps through a short pause. While a longer one lasts, it gives the failure again at once: all channels share the
    /// thread, and messaging goes on without a store.
    #[allow(clippy::disallowed_methods, reason = "as above")]
    fn wait_to_open(&mut self) -> Result<(), Failure> {
        let Some((at, failure)) = self.next_opening.take().filter(|_| self.closing.is_empty()) else { return Ok(()) };
        let wait = at.saturating_duration_since(Instant::now());
        if wait > PATIENCE && !failure.may_be_one_writes() {
            self.next_opening = Some((at, failure.clone()));
            return Err(failure);
        }
        thread::sleep(wait);
        Ok(())
    }
}
