//! Threads for callbacks: one for each callback in progress.
//!
//! A callback may take its time, or wait for ever. So each that runs has a thread of its own, however many there are: it
//! delays the callbacks of its own channel alone, and none of the application's blocking tasks. Threads without work end
//! after 10 s. Where the system gives no further thread, callbacks wait for one that becomes free, and a warning says so.

use std::cell::{Cell as Slot, RefCell};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::warn;

use super::ReliabilityManager;
use super::callbacks;
use super::cell::Cell;
use super::events::{ManagerEvent, Transmission};
use super::shared::Shared;
use crate::executor::{Generation, Input, Telling};

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);

/// Callbacks to run.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) shared: Arc<Shared>,
    pub(super) cell: Arc<Cell>,
    pub(super) generation: Generation,
    pub(super) telling: Arc<Telling>,
}

#[derive(Debug)]
pub(super) struct Pool {
    state: Mutex<State>,
    work: Condvar,
    spawn: Spawn,
}

/// Starts a thread, where the system gives one.
type Spawn = fn(Worker) -> io::Result<()>;

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Job>,
    idle: usize,
    threads: usize,
}

thread_local! {
    /// Whether the thread has just ended a job: what follows from that it does itself.
    static BETWEEN: Slot<bool> = const { Slot::new(false) };
    static NEXT: RefCell<Option<Job>> = const { RefCell::new(None) };
}

impl Job {
    /// Runs it on a thread of the pool.
    pub(super) fn start(self) {
        if BETWEEN.get() && NEXT.with_borrow(Option::is_none) {
            NEXT.set(Some(self));
            return;
        }
        let (pool, runtime) = (self.shared.pool.clone(), self.shared.runtime.clone());
        let threads = {
            let mut state = pool.lock();
            state.queue.push_back(self);
            if state.idle >= state.queue.len() {
                pool.work.notify_one();
                return;
            }
            state.threads += 1;
            state.threads
        };
        let worker = Worker(pool.clone());
        if let Err(error) = (pool.spawn)(worker) {
            warn!(%error, threads, "no further thread for callbacks: they wait");
            if threads == 1 {
                // Nobody would become free; the runtime's threads must do.
                pool.lock().threads += 1;
                let worker = Worker(pool);
                runtime.spawn_blocking(move || worker.run());
            }
        }
    }

    fn run(self) {
        let Self { shared, cell, generation, telling } = self;
        let _runtime = shared.runtime.enter();
        let manager = ReliabilityManager::from_shared(shared.clone());
        let hint = callbacks::run_inside(manager, || {
            let calls = &shared.callbacks;
            if calls.want_transmissions() {
                Transmission::of(&cell.id, &telling).iter().for_each(|message| calls.tell_transmission(message));
            }
            if calls.want_events() {
                ManagerEvent::of(&cell.id, &telling).iter().for_each(|event| calls.tell_event(event));
            }
            telling.hint_for.as_ref().and_then(|id| calls.ask_hint(&cell.id, id))
        });
        drop(telling);
        BETWEEN.set(true);
        cell.hand_in(&shared, Input::Returned { generation, hint });
        BETWEEN.set(false);
    }
}

/// One thread; counts itself out when it ends, or when it could not begin.
#[derive(Debug)]
struct Worker(Arc<Pool>);

impl Worker {
    fn run(self) {
        while let Some(job) = self.next() {
            job.run();
            while let Some(next) = NEXT.take() {
                next.run();
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.0.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                return Some(job);
            }
            state.idle += 1;
            let waited = self.0.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            state.idle -= 1;
            if waited.1.timed_out() && state.queue.is_empty() {
                return None;
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.lock().threads -= 1;
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Pool {
    fn default() -> Self {
        let spawn = |worker: Worker| {
            let builder = thread::Builder::new().name("reliable-channel callbacks".into());
            builder.spawn(move || worker.run()).map(|_| ())
        };
        Self { state: Mutex::default(), work: Condvar::new(), spawn }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::manager::Callbacks;

    /// A manager whose pool starts threads so; each callback names its channel, and waits in the first one for the gate.
    fn manager(spawn: Spawn) -> (ReliabilityManager, mpsc::Receiver<String>, mpsc::Sender<()>) {
        let (told, heard) = mpsc::channel();
        let (open, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let callbacks = Callbacks::new().on_message_ready(move |channel, _| {
            if channel.to_string() == "first" {
                gate.lock().unwrap().recv().unwrap();
            }
            told.send(channel.to_string()).unwrap();
        });
        let mut manager = ReliabilityManager::builder("alice").auto_create(true).callbacks(callbacks).build().unwrap();
        Arc::get_mut(&mut manager.shared).expect("nothing has begun").pool =
            Arc::new(Pool { spawn, ..Pool::default() });
        (manager, heard, open)
    }

    async fn hear(manager: &ReliabilityManager, bob: &ReliabilityManager, channel: &str) {
        bob.ensure_channel(channel).await.unwrap();
        let wrapped = bob.wrap_outgoing(channel, "hello").await.unwrap();
        manager.unwrap_received(wrapped.bytes).await.unwrap();
    }

    fn bob() -> ReliabilityManager {
        ReliabilityManager::builder("bob").build().unwrap()
    }

    fn next(heard: &mpsc::Receiver<String>) -> String {
        heard.recv_timeout(Duration::from_secs(10)).expect("the callback runs")
    }

    /// What the tests' log says.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<String>>);

    impl tracing::Subscriber for Log {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            *metadata.level() == tracing::Level::WARN
        }

        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }

        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            event.record(&mut |_: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                self.0.lock().unwrap().push_str(&format!("{value:?} "));
            });
        }

        fn enter(&self, _: &tracing::span::Id) {}

        fn exit(&self, _: &tracing::span::Id) {}
    }

    #[tokio::test]
    async fn without_any_thread_callbacks_run_on_the_runtimes() {
        let log = Log::default();
        let _logged = tracing::subscriber::set_default(log.clone());
        let (manager, heard, _open) = manager(|_| Err(io::ErrorKind::WouldBlock.into()));
        let bob = bob();
        for _ in 0..2 {
            hear(&manager, &bob, "other").await;
        }
        assert_eq!(next(&heard), "other");
        assert!(log.0.lock().unwrap().contains("no further thread for callbacks: they wait"));
        assert!(manager.shutdown().await.is_clean());
    }

    #[tokio::test]
    async fn without_a_further_thread_callbacks_wait_for_one_that_becomes_free() {
        static GIVEN: AtomicUsize = AtomicUsize::new(0);
        let (manager, heard, open) = manager(|worker| {
            if GIVEN.fetch_add(1, Ordering::SeqCst) > 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            thread::spawn(move || worker.run());
            Ok(())
        });
        let bob = bob();
        for channel in ["first", "second", "third"] {
            hear(&manager, &bob, channel).await;
        }
        assert_eq!(GIVEN.load(Ordering::SeqCst), 3, "one was given, and two asked for in vain");
        assert!(heard.try_recv().is_err(), "all wait for the first");
        open.send(()).unwrap();
        assert_eq!([next(&heard), next(&heard), next(&heard)], ["first", "second", "third"]);
        assert!(manager.shutdown().await.is_clean());
    }
}
