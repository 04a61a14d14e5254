//! The one thread that owns a blocking engine, and how tasks talk to it.
//!
//! What: [`EngineThread`], generic over [`BlockingStore`]. Why: engines block and sync, tasks must not; and callers
//! that wait at the same time should share one sync. How it moves: a task encodes its write and sends it over a
//! bounded queue; the thread takes what is waiting, hands it to the engine as one transaction and answers all.
//! A task that stops waiting changes nothing: what was sent is done.
//!
//! Failure: engine calls run under `catch_unwind`. After a panic, or an error that leaves the engine unusable,
//! the engine is dropped, the batch fails as retryable, and the next call opens it again, each time after a
//! longer pause, and calls that come while a long one lasts get the failure at once; where it cannot be opened, all
//! that wait are told so together. A batch that fails for what may be one write's fault (a damaged page, a value too large) is made again
//! write by write: a channel that cannot be written does not stop the others. The end: [`EngineThread::close`], or
//! dropping it, does what is queued, closes the engine (which frees its lock) and joins the thread.
//!
//! Durability: with [`Durability::Batched`] the engine's `apply` does not sync. The first write after a sync opens a
//! window; when it ends, or holds [`MAX_BATCH_BYTES`], the thread calls [`BlockingStore::sync`]. Until then the writes are
//! kept here too, and are made again after the engine had to be opened again: only a crash loses them.

mod backup;
mod failure;
mod reopening;
mod statistics;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::{self, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Sleep;
use tracing::{trace, warn};

use self::backup::Backup;
pub use self::failure::Failure;
use self::failure::catch;
use self::statistics::Counters;
pub use self::statistics::StoreStatistics;
use super::blocking::BlockingStore;
use super::encoded::{Raw, Scan, Scanned, Write};
use super::{Durability, PersistenceError, PersistenceErrorKind};
use crate::types::ChannelId;

/// Writes that share one transaction at most.
const MAX_BATCH: usize = 256;
/// Bytes after which a batch takes no further write.
const MAX_BATCH_BYTES: usize = 4 << 20;
/// Requests that may wait in the queue; a caller beyond waits to get in.
const QUEUE: usize = 256;
/// Writes of one failed batch that may each cost the engine its life again; those behind them wait for another call.
const MAX_SPOILERS: usize = 4;
/// How long a store that is in use may take to be let go.
const LOCK_PATIENCE: Duration = Duration::from_millis(250);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

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
    Scan(Vec<Scan>, Reply<Scanned>),
    List(Reply<Vec<ChannelId>>),
    Flush(Reply<()>),
    Backup(PathBuf, Reply<()>),
    Close(Reply<()>),
}

impl EngineThread {
    /// Opens an engine and starts its thread.
    pub(super) fn start<E: BlockingStore>(
        name: &str,
        durability: Durability,
        options: E::Options,
    ) -> Result<Self, PersistenceError> {
        let fail = |failure: Failure| failure.into_error("open", None);
        if !E::keeps(durability) {
            return Err(fail(Failure::new(PersistenceErrorKind::Unsupported)));
        }
        let io = |error| fail(Failure::new(PersistenceErrorKind::Io).with_source(error));
        let engine = open_patiently::<E>(&options).map_err(fail)?;
        let (started, begun) = std::sync::mpsc::sync_channel(1);
        let (queue, requests) = mpsc::channel(QUEUE);
        let counters = Arc::new(Counters::default());
        let worker = Worker {
            engine: Some(engine),
            options,
            requests,
            pause: Duration::ZERO,
            next_opening: None,
            closing: Vec::new(),
            durability,
            unsynced: Unsynced::default(),
            backup: None,
            counters: counters.clone(),
        };
        let thread = thread::Builder::new()
            .name(name.into())
            .spawn(move || match runtime::Builder::new_current_thread().enable_time().build() {
                Ok(runtime) => {
                    // Nobody waits only where the thread of the caller died.
                    let _ = started.send(Ok(()));
                    worker.run(&runtime);
                }
                Err(error) => drop(started.send(Err(error))),
            })
            .map_err(io)?;
        begun.recv().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into())).map_err(io)?;
        Ok(Self { queue: Some(queue), thread: Mutex::new(Some(thread)), counters })
    }

    /// Makes a write; as durable on return as the store promises.
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

    /// Ranges of a channel's archive, one after the other, with all writes sent before.
    pub(super) async fn scan(
        &self,
        verb: &'static str,
        channel: &ChannelId,
        scans: Vec<Scan>,
    ) -> Result<Scanned, PersistenceError> {
        self.ask(verb, Some(channel), |reply| Request::Scan(scans, reply)).await
    }

    /// The channels that have anything, in id order.
    pub(super) async fn list(&self, verb: &'static str) -> Result<Vec<ChannelId>, PersistenceError> {
        self.ask(verb, None, Request::List).await
    }

    /// Returns when everything sent before is on stable storage.
    pub(super) async fn flush(&self, verb: &'static str) -> Result<(), PersistenceError> {
        self.ask(verb, None, Request::Flush).await
    }

    /// Copies the store as it is now to a new one in a directory.
    pub(super) async fn backup(&self, verb: &'static str, to: &Path) -> Result<(), PersistenceError> {
        let io = |error| PersistenceError::new(verb, None, PersistenceErrorKind::Io).with_source(error);
        let to = std::path::absolute(to).map_err(io)?;
        self.ask(verb, None, |reply| Request::Backup(to, reply)).await
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
        self.counters.read()
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

/// Opens an engine; a lock is waited for a while, for its last handle may just be dropped by another task.
#[allow(clippy::disallowed_methods, reason = "a wait for a lock of the operating system, not a channel's time")]
fn open_patiently<E: BlockingStore>(options: &E::Options) -> Result<E, Failure> {
    // By the clock, for an engine may wait by itself.
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match catch("open", || E::open(options)) {
            Err(failure) if failure.kind == PersistenceErrorKind::Locked && Instant::now() < until => {
                thread::sleep(LOCK_PAUSE);
            }
            engine => return engine,
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
struct Worker<E: BlockingStore> {
    /// `None` after a failure that left it unusable.
    engine: Option<E>,
    options: E::Options,
    requests: mpsc::Receiver<Request>,
    /// How long to wait before opening again after the last failure, when that is over, and the failure.
    pause: Duration,
    next_opening: Option<(Instant, Failure)>,
    /// Who waits for the end.
    closing: Vec<Reply<()>>,
    durability: Durability,
    unsynced: Unsynced,
    backup: Option<Backup<E>>,
    counters: Arc<Counters>,
}

/// What was acknowledged in the present window.
#[derive(Default)]
struct Unsynced {
    writes: Vec<Write>,
    bytes: usize,
    /// Ends the window; there while it has writes.
    window: Option<Pin<Box<Sleep>>>,
    /// The engine that had them was dropped: they must be made again.
    lost: bool,
}

impl<E: BlockingStore> Worker<E> {
    /// Serves until the queue is closed and empty.
    fn run(mut self, runtime: &Runtime) {
        let mut next = None;
        loop {
            next = match next.take().map_or_else(|| runtime.block_on(self.wait()), Wake::Request) {
                Wake::Request(request) => self.serve(request, runtime),
                Wake::WindowEnded => {
                    // What fails is told by the log, and tried again after another window.
                    if self.sync().is_err() {
                        self.open_window(runtime);
                    }
                    None
                }
                Wake::Idle => None,
                Wake::Ended => break,
            };
            // Also between calls that never cease.
            self.continue_backup();
        }
        self.finish_backup();
        let nothing_to_do = self.engine.is_none() && self.unsynced.writes.is_empty();
        let result = if nothing_to_do { Ok(()) } else { self.sync() };
        self.discard();
        self.closing.into_iter().for_each(|reply| answer(reply, result.clone()));
    }

    async fn wait(&mut self) -> Wake {
        let Self { requests, unsynced, backup, .. } = self;
        let window = async {
            match &mut unsynced.window {
                Some(window) => window.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // In this order: requests that never cease must not keep the window open.
            biased;
            () = window => Wake::WindowEnded,
            request = requests.recv() => request.map_or(Wake::Ended, Wake::Request),
            () = std::future::ready(()), if backup.is_some() => Wake::Idle,
        }
    }

    /// Serves a request, a write together with those that wait behind it; gives back the first that was taken
    /// from the queue and is none.
    fn serve(&mut self, request: Request, runtime: &Runtime) -> Option<Request> {
        match request {
            Request::Write(write, reply) => return self.serve_writes(write, reply, runtime),
            Request::Load(prefix, reply) => answer(reply, self.call("load", |engine| engine.load(&prefix))),
            Request::Scan(scans, reply) => answer(reply, self.scan(&scans)),
            Request::List(reply) => answer(reply, self.call("list", E::list)),
            Request::Flush(reply) => answer(reply, self.sync()),
            Request::Backup(to, reply) => self.begin_backup(to, reply),
            Request::Close(reply) => self.end(reply),
        }
        None
    }

    fn scan(&mut self, scans: &[Scan]) -> Result<Scanned, Failure> {
        let mut found = Scanned::new();
        for scan in scans {
            found.append(&mut self.call("scan", |engine| engine.scan(scan))?);
        }
        Ok(found)
    }

    fn serve_writes(&mut self, first: Write, reply: Reply<()>, runtime: &Runtime) -> Option<Request> {
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
        match self.make(&writes, bytes) {
            Ok(()) => {
                self.keep(writes, bytes, runtime);
                replies.into_iter().for_each(|reply| answer(reply, Ok(())));
            }
            Err(failure) if writes.len() > 1 && failure.may_be_one_writes() => {
                self.make_singly(writes, replies, runtime);
            }
            Err(failure) => replies.into_iter().for_each(|reply| answer(reply, Err(failure.clone()))),
        }
        rest
    }

    /// Makes the writes of a batch that failed one by one; those that fail again are nobody else's matter.
    fn make_singly(&mut self, writes: Vec<Write>, replies: Vec<Reply<()>>, runtime: &Runtime) {
        let mut spoilers = 0;
        let mut ends: Option<Failure> = None;
        for (write, reply) in writes.into_iter().zip(replies) {
            if let Some(failure) = &ends {
                answer(reply, Err(failure.clone()));
                continue;
            }
            let bytes = write.bytes;
            let result = self.make(std::slice::from_ref(&write), bytes);
            match &result {
                Ok(()) => self.keep(vec![write], bytes, runtime),
                Err(failure) => {
                    spoilers += usize::from(self.engine.is_none());
                    if !failure.may_be_one_writes() {
                        ends = Some(failure.clone());
                    } else if spoilers == MAX_SPOILERS {
                        ends = Some(Failure::new(PersistenceErrorKind::Poisoned));
                    }
                }
            }
            answer(reply, result);
        }
    }

    /// Tells all that wait that the engine cannot be opened.
    fn refuse_waiting(&mut self, failure: &Failure) {
        for _ in 0..QUEUE {
            let Ok(request) = self.requests.try_recv() else { break };
            match request {
                Request::Write(_, reply) | Request::Flush(reply) | Request::Backup(_, reply) => {
                    answer(reply, Err(failure.clone()))
                }
                Request::Load(_, reply) => answer(reply, Err(failure.clone())),
                Request::Scan(_, reply) => answer(reply, Err(failure.clone())),
                Request::List(reply) => answer(reply, Err(failure.clone())),
                Request::Close(reply) => self.end(reply),
            }
        }
    }

    /// Takes no further request.
    fn end(&mut self, reply: Reply<()>) {
        self.requests.close();
        self.closing.push(reply);
    }

    /// Makes writes as durable as was promised.
    fn make(&mut self, writes: &[Write], bytes: usize) -> Result<(), Failure> {
        if self.unsynced.bytes >= MAX_BATCH_BYTES {
            self.sync()?;
        }
        self.copy_before(writes);
        self.call("apply", |engine| engine.apply(writes))?;
        trace!(writes = writes.len(), bytes, "transaction");
        let Counters { writes: count, transactions, bytes: all, .. } = &*self.counters;
        count.fetch_add(writes.len() as u64, Ordering::Relaxed);
        transactions.fetch_add(1, Ordering::Relaxed);
        all.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Keeps what was made until it is durable.
    fn keep(&mut self, writes: Vec<Write>, bytes: usize, runtime: &Runtime) {
        match self.durability {
            Durability::Immediate => {
                self.counters.syncs.fetch_add(1, Ordering::Relaxed);
            }
            Durability::Batched { .. } => {
                self.unsynced.writes.extend(writes);
                self.unsynced.bytes += bytes;
                if self.unsynced.window.is_none() {
                    self.open_window(runtime);
                }
            }
            Durability::OsBuffered => {}
        }
    }

    fn open_window(&mut self, runtime: &Runtime) {
        if let Durability::Batched { max_delay } = self.durability {
            let _guard = runtime.enter();
            self.unsynced.window = Some(Box::pin(tokio::time::sleep(max_delay)));
        }
    }
}

/// Why the thread goes on.
enum Wake {
    Request(Request),
    WindowEnded,
    /// Nobody asks for anything, and a backup goes on.
    Idle,
    /// The queue is closed and empty.
    Ended,
}

fn answer<T>(reply: Reply<T>, result: Result<T, Failure>) {
    // Nobody waits any more: that changes nothing.
    let _ = reply.send(result);
}

#[cfg(test)]
mod tests;
