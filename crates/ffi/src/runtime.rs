//! The one runtime of the process: one thread for timers, and threads for callbacks in progress.
//!
//! Why one: a host may have a thousand managers, and each must cost neither a thread nor a descriptor. How it moves: the
//! first manager starts it, and it runs until the process ends.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

/// Threads for callbacks in progress, over all managers: no limit of ours, for one that waits for ever must delay no other
/// manager. A manager has one in progress, and a channel one `publish`. Where the system gives no further thread, callbacks wait
/// for one that becomes free.
const MAX_CALLBACK_THREADS: usize = 1 << 24;
/// How long a thread waits for the next callback before it ends.
const IDLE: Duration = Duration::from_secs(10);

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// The runtime, started where it was not yet.
///
/// # Errors
/// Where the system gives no thread.
pub(crate) fn runtime() -> io::Result<&'static Handle> {
    static STARTING: Mutex<()> = Mutex::new(());
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime.handle());
    }
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime.handle());
    }
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).max_blocking_threads(MAX_CALLBACK_THREADS).thread_keep_alive(IDLE);
    let runtime = builder.enable_time().thread_name("libsds").build()?;
    Ok(RUNTIME.get_or_init(|| runtime).handle())
}

/// Waits for it on this thread, whatever else this thread is in: a host may be a program with a runtime of its own.
pub(crate) fn wait_for<T>(runtime: &Handle, future: impl Future<Output = T>) -> T {
    thread_local! {
        static WAKER: Waker = Waker::from(Arc::new(Unpark(thread::current())));
    }
    let _entered = runtime.enter();
    let mut future = pin!(future);
    WAKER.with(|waker| {
        let mut context = Context::from_waker(waker);
        loop {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(value) => return value,
                Poll::Pending => thread::park(),
            }
        }
    })
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs it on a thread where blocking is allowed; `false` where the system gives none.
pub(crate) fn run_apart(runtime: &Handle, work: impl FnOnce() + Send + 'static) -> bool {
    // There is no other way to hear of it.
    catch_unwind(AssertUnwindSafe(|| drop(runtime.spawn_blocking(work)))).is_ok()
}
