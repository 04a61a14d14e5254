//! The way to the host's code: closed when its program ends.
//!
//! Why: a thread of this library that calls into a Python interpreter that ends is ended by it, and the process with it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

/// How long the end of the program waits for code of the host's that does not return.
const PATIENCE: Duration = Duration::from_secs(5);

static GATE: Gate = Gate::new();

struct Gate {
    state: Mutex<State>,
    /// A call has ended.
    ended: Condvar,
}

struct State {
    closed: bool,
    inside: usize,
}

impl Gate {
    const fn new() -> Self {
        Self { state: Mutex::new(State { closed: false, inside: 0 }), ended: Condvar::new() }
    }

    fn pass<T>(&self, call: impl FnOnce() -> T) -> Option<T> {
        {
            let mut state = self.lock();
            if state.closed {
                return None;
            }
            state.inside += 1;
        }
        let answer = call();
        self.lock().inside -= 1;
        self.ended.notify_all();
        Some(answer)
    }

    /// Nobody passes any more, and nobody is inside when it returns, or it took too long.
    fn close(&self, patience: Duration) {
        let mut state = self.lock();
        state.closed = true;
        let wait = self.ended.wait_timeout_while(state, patience, |state| state.inside > 0);
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An object of the host's. Its end is a call of the host's code like any other: where the program ends, it is left out.
pub(crate) struct Hosts<T: ?Sized>(Option<Arc<T>>);

impl<T: ?Sized> Hosts<T> {
    pub(crate) fn new(host: Arc<T>) -> Arc<Self> {
        Arc::new(Self(Some(host)))
    }

    /// Calls it; nothing where the program ends.
    pub(crate) fn call<A>(&self, call: impl FnOnce(&T) -> A) -> Option<A> {
        let host = self.0.as_deref()?;
        GATE.pass(|| call(host))
    }
}

impl<T: ?Sized> Drop for Hosts<T> {
    fn drop(&mut self) {
        let mut host = self.0.take();
        GATE.pass(|| host = None);
        std::mem::forget(host);
    }
}

/// A future whose host is woken through the gate: that is a call of the host's code too, which ends after what it woke may.
pub(crate) async fn gated<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(|context| {
        let waker = Waker::from(Arc::new(Gated(context.waker().clone())));
        future.as_mut().poll(&mut Context::from_waker(&waker))
    })
    .await
}

struct Gated(Waker);

impl Wake for Gated {
    fn wake(self: Arc<Self>) {
        GATE.pass(|| self.0.wake_by_ref());
    }
}

/// Stores and networks of the host's are called no more, and nobody who waits is woken: they fail from now on. For the end of a program whose language cannot be
/// called then; the Python package does it by itself.
#[uniffi::export]
pub fn end_callbacks() {
    GATE.close(PATIENCE);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn closing_waits_for_who_is_inside_and_nobody_passes_then() {
        let (gate, left) = (Arc::new(Gate::new()), Arc::new(AtomicBool::new(false)));
        let (inside, told) = std::sync::mpsc::channel();
        let passing = {
            let (gate, left) = (gate.clone(), left.clone());
            std::thread::spawn(move || {
                gate.pass(|| {
                    inside.send(()).unwrap();
                    std::thread::sleep(Duration::from_millis(50));
                    left.store(true, Ordering::SeqCst);
                })
            })
        };
        told.recv().unwrap();
        gate.close(Duration::MAX);
        assert!(left.load(Ordering::SeqCst));
        assert_eq!(gate.pass(|| ()), None);
        assert_eq!(passing.join().unwrap(), Some(()));
    }

    #[test]
    fn closing_does_not_wait_for_ever() {
        let gate = Gate::new();
        gate.pass(|| gate.close(Duration::from_millis(10)));
    }
}
