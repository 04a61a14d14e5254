//! Threads for callbacks: one for each callback in progress.
//!
//! A callback may take its time, or wait for ever. So each that runs has a thread of its own, however many there are: it
//! delays the callbacks of its own channel alone, and none of the application's blocking tasks. Threads without work end
//! after 10 s. Where the system gives no further thread, callbacks wait for one that becomes free, and a warning says so.

use std::cell::{Cell as Slot, RefCell};
use std::collections::VecDeque;
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

#[derive(Debug, Default)]
pub(super) struct Pool {
    state: Mutex<State>,
    work: Condvar,
}

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
        let spawned = thread::Builder::new().name("reliable-channel callbacks".into()).spawn(move || worker.run());
        if let Err(error) = spawned {
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
