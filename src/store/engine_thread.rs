//! The one thread that owns a blocking engine, and how tasks talk to it.
//!
//! What: [`EngineThread`], generic over [`Engine`]. Why: engines block and sync, tasks must not; and callers
//! that wait at the same time should share one sync. How it moves: a task encodes its write and sends it over a
//! bounded queue; the thread takes what is waiting, hands it to the engine as one transaction and answers all.
//! A task that stops waiting changes nothing: what was sent is done.
//!
//! Failure: engine calls run under `catch_unwind`. After a panic, or an error that leaves the engine unusable,
//! the engine is dropped, the batch fails as retryable, and the next call opens it again, each time after a
//! longer pause. The end: [`EngineThread::close`], or dropping it, does what is queued, closes the engine (which
//! frees its lock) and joins the thread.
//!
//! The seam for durability modes is [`Engine::apply`] (which syncs now) and [`Engine::sync`] (which
//! [`EngineThread::flush`] calls): a mode with a window makes `apply` not sync and the thread call `sync`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tracing::{debug, trace, warn};

use super::encoded::{Raw, Write};
use super::{PersistenceError, PersistenceErrorKind};
use crate::types::ChannelId;

/// Writes that share one transaction at most.
const MAX_BATCH: usize = 256;
/// Bytes after which a batch takes no further write.
const MAX_BATCH_BYTES: usize = 4 << 20;
/// Requests that may wait in the queue; a caller beyond waits to get in.
const QUEUE: usize = 256;
/// Pause before an engine is opened again, doubled at every failure in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A blocking engine, owned by one thread.
pub(super) trait Engine: Sized + Send + 'static {
    /// What it takes to open it, again and again.
    type Options: Send + 'static;

    /// Opens it; fails with [`PersistenceErrorKind::Locked`] when somebody else has it.
    fn open(options: &Self::Options) -> Result<Self, Failure>;

    /// Makes these writes in order as one transaction, durable on return.
    fn apply(&mut self, writes: &[Write]) -> Result<(), Failure>;

    /// Everything under a channel's prefix, of one moment.
    fn load(&mut self, prefix: &[u8]) -> Result<Raw, Failure>;

    /// The channels that have anything, in id order.
    fn list(&mut self) -> Result<Vec<ChannelId>, Failure>;

    /// Returns when everything applied is on stable storage.
    fn sync(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// An engine's error, shared by all that were in one batch.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) kind: PersistenceErrorKind,
    pub(super) source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    /// The engine can only be dropped.
    pub(super) unusable: bool,
}

impl Failure {
    pub(super) fn new(kind: PersistenceErrorKind) -> Self {
        Self { kind, source: None, unusable: false }
    }

    pub(super) fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    pub(super) fn unusable(mut self) -> Self {
        self.unusable = true;
        self
    }

    /// Warns of what an operator can act on: the medium, the file, who else has it.
    fn log(&self, what: &str) {
        let Self { kind, source, unusable } = self;
        if matches!(kind, PersistenceErrorKind::Unsupported | PersistenceErrorKind::TooLarge) {
            debug!(what, %kind, "refused");
        } else {
            let source = source.as_ref().map(tracing::field::display);
            warn!(what, %kind, source, unusable, "the store's engine failed");
        }
    }

    pub(super) fn into_error(self, verb: &'static str, channel: Option<&ChannelId>) -> PersistenceError {
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

/// What an engine thread has done since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStatistics {
    /// Writes (commits and drops of channels) made.
    pub writes: u64,
    /// Transactions they took: fewer, when callers shared.
    pub transactions: u64,
    /// Times the engine was opened again after a failure.
    pub reopened: u64,
}

#[derive(Debug, Default)]
struct Counters {
    writes: AtomicU64,
    transactions: AtomicU64,
    reopened: AtomicU64,
}

/// A handle to the thread; dropping it ends the thread.
#[derive(Debug)]
pub(super) struct EngineThread {
    /// `None` while being dropped.
    queue: Option<mpsc::Sender<Request>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    counters: Arc<Counters>,
}

type Reply<T> = oneshot::Sender<Result<T, Failure>>;

enum Request {
    Write(Write, Reply<()>),
    Load(Vec<u8>, Reply<Raw>),
    List(Reply<Vec<ChannelId>>),
    Flush(Reply<()>),
    Close(Reply<()>),
}

impl EngineThread {
    /// Opens an engine and starts its thread.
    pub(super) fn start<E: Engine>(name: &str, options: E::Options) -> Result<Self, PersistenceError> {
        let fail = |failure: Failure| failure.into_error("open", None);
        let engine = open::<E>(&options).map_err(fail)?;
        let (queue, requests) = mpsc::channel(QUEUE);
        let counters = Arc::new(Counters::default());
        let worker = Worker {
            engine: Some(engine),
            options,
            requests,
            pause: Duration::ZERO,
            closing: None,
            counters: counters.clone(),
        };
        let thread = thread::Builder::new()
            .name(name.into())
            .spawn(move || worker.run())
            .map_err(|error| fail(Failure::new(PersistenceErrorKind::Io).with_source(error)))?;
        Ok(Self { queue: Some(queue), thread: Mutex::new(Some(thread)), counters })
    }

    /// Makes a write; durable on return.
    pub(super) async fn write(
        &self,
        verb: &'static str,
        channel: &ChannelId,
        write: Result<Write, PersistenceErrorKind>,
    ) -> Result<(), PersistenceError> {
        let write = write.map_err(|kind| PersistenceError::new(verb, Some(channel), kind))?;
        if write.changes.is_empty() {
            return Ok(());
        }
        self.ask(verb, Some(channel), |reply| Request::Write(write, reply)).await
    }

    /// Everything under a channel's prefix, with all writes sent before.
    pub(super) async fn load(
        &self,
        verb: &'static str,
        channel: &ChannelId,
        prefix: Vec<u8>,
    ) -> Result<Raw, PersistenceError> {
        self.ask(verb, Some(channel), |reply| Request::Load(prefix, reply)).await
    }

    /// The channels that have anything, in id order.
    pub(super) async fn list(&self, verb: &'static str) -> Result<Vec<ChannelId>, PersistenceError> {
        self.ask(verb, None, Request::List).await
    }

    /// Returns when everything sent before is on stable storage.
    pub(super) async fn flush(&self, verb: &'static str) -> Result<(), PersistenceError> {
        self.ask(verb, None, Request::Flush).await
    }

    /// Does what is queued, closes the engine and joins the thread. Later calls say
    /// [`PersistenceErrorKind::Closed`], a second close succeeds.
    pub(super) async fn close(&self) -> Result<(), PersistenceError> {
        let result = self.ask("close", None, Request::Close).await;
        self.join();
        match result {
            Err(PersistenceError { kind: PersistenceErrorKind::Closed, .. }) => Ok(()),
            result => result,
        }
    }

    pub(super) fn statistics(&self) -> StoreStatistics {
        let Counters { writes, transactions, reopened } = &*self.counters;
        StoreStatistics {
            writes: writes.load(Ordering::Relaxed),
            transactions: transactions.load(Ordering::Relaxed),
            reopened: reopened.load(Ordering::Relaxed),
        }
    }

    async fn ask<T>(
        &self,
        verb: &'static str,
        channel: Option<&ChannelId>,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T, PersistenceError> {
        let closed = || PersistenceError::new(verb, channel, PersistenceErrorKind::Closed);
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(closed)?;
        queue.send(request(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?.map_err(|failure| failure.into_error(verb, channel))
    }

    /// Waits for the thread, which must have been told to end.
    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            warn!("the store's thread panicked outside the engine");
        }
    }
}

impl Drop for EngineThread {
    fn drop(&mut self) {
        self.queue = None;
        self.join();
    }
}

/// What runs on the thread.
struct Worker<E: Engine> {
    /// `None` after a failure that left it unusable.
    engine: Option<E>,
    options: E::Options,
    requests: mpsc::Receiver<Request>,
    /// How long to wait before opening again.
    pause: Duration,
    /// Who waits for the end.
    closing: Option<Reply<()>>,
    counters: Arc<Counters>,
}

impl<E: Engine> Worker<E> {
    /// Serves until the queue is closed and empty.
    fn run(mut self) {
        let mut next = None;
        while let Some(request) = next.take().or_else(|| self.requests.blocking_recv()) {
            next = self.serve(request);
        }
        let result = if self.engine.is_some() { self.call("sync", E::sync) } else { Ok(()) };
        self.discard();
        if let Some(reply) = self.closing.take() {
            answer(reply, result);
        }
    }

    /// Serves a request, a write together with those that wait behind it; gives back the first that was taken
    /// from the queue and is none.
    fn serve(&mut self, request: Request) -> Option<Request> {
        match request {
            Request::Write(write, reply) => return self.serve_writes(write, reply),
            Request::Load(prefix, reply) => answer(reply, self.call("load", |engine| engine.load(&prefix))),
            Request::List(reply) => answer(reply, self.call("list", E::list)),
            Request::Flush(reply) => answer(reply, self.call("sync", E::sync)),
            Request::Close(reply) => {
                self.requests.close();
                self.closing = Some(reply);
            }
        }
        None
    }

    fn serve_writes(&mut self, first: Write, reply: Reply<()>) -> Option<Request> {
        let mut bytes = first.bytes;
        let (mut writes, mut replies, mut rest) = (vec![first], vec![reply], None);
        while writes.len() < MAX_BATCH && bytes < MAX_BATCH_BYTES {
            match self.requests.try_recv() {
                Ok(Request::Write(write, reply)) => {
                    bytes += write.bytes;
                    writes.push(write);
                    replies.push(reply);
                }
                Ok(other) => {
                    rest = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        let result = self.call("apply", |engine| engine.apply(&writes));
        if result.is_ok() {
            trace!(writes = writes.len(), bytes, "transaction");
            self.counters.writes.fetch_add(writes.len() as u64, Ordering::Relaxed);
            self.counters.transactions.fetch_add(1, Ordering::Relaxed);
        }
        for reply in replies {
            answer(reply, result.clone());
        }
        rest
    }

    /// Calls the engine, opening it first where it was dropped, and drops it when it has become unusable.
    fn call<T>(&mut self, what: &str, call: impl FnOnce(&mut E) -> Result<T, Failure>) -> Result<T, Failure> {
        let engine = self.ready()?;
        // A panic leaves nothing behind that is used again: the engine is dropped.
        let result =
            catch_unwind(AssertUnwindSafe(|| call(engine))).unwrap_or_else(|panic| Err(panicked(what, &*panic)));
        match &result {
            Ok(_) => self.pause = Duration::ZERO,
            Err(failure) => {
                failure.log(what);
                if failure.unusable {
                    self.discard();
                    self.lengthen_pause();
                }
            }
        }
        result
    }

    fn ready(&mut self) -> Result<&mut E, Failure> {
        if self.engine.is_none() {
            if self.closing.is_none() {
                thread::sleep(self.pause);
            }
            match open(&self.options) {
                Ok(engine) => {
                    debug!("engine reopened");
                    self.counters.reopened.fetch_add(1, Ordering::Relaxed);
                    self.engine = Some(engine);
                }
                Err(failure) => {
                    failure.log("reopen");
                    self.lengthen_pause();
                    return Err(failure);
                }
            }
        }
        // Opened just above where it was not there.
        Ok(self.engine.as_mut().expect("an open engine"))
    }

    fn discard(&mut self) {
        let engine = self.engine.take();
        if catch_unwind(AssertUnwindSafe(|| drop(engine))).is_err() {
            debug!("the engine panicked while it was closed");
        }
    }

    fn lengthen_pause(&mut self) {
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
    }
}

fn open<E: Engine>(options: &E::Options) -> Result<E, Failure> {
    catch_unwind(AssertUnwindSafe(|| E::open(options))).unwrap_or_else(|panic| Err(panicked("open", &*panic)))
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

fn answer<T>(reply: Reply<T>, result: Result<T, Failure>) {
    // Nobody waits any more: that changes nothing.
    let _ = reply.send(result);
}

#[cfg(test)]
mod tests;
