//! The engine thread on an engine that fails on command.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::Condvar;

use bytes::Bytes;

use super::*;
use crate::store::encoded::Change;
use crate::types::MessageId;

mod backups;
mod durability;
mod panics;

/// What the test and its engine share.
#[derive(Default)]
struct World {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Writes in each transaction.
    transactions: Vec<usize>,
    /// What the next calls of `apply` do instead.
    faults: VecDeque<Fault>,
    syncs: usize,
    /// Calls of `sync` that find the engine unusable.
    failing_syncs: usize,
    /// Openings that find the store in use.
    locked_opens: usize,
    /// Openings that fail before one succeeds.
    failing_opens: usize,
    opens: usize,
    closes: usize,
    /// What `list` gives.
    channels: Vec<ChannelId>,
    /// All calls panic.
    panics: bool,
    /// `apply` waits while this is set, and says so in `waiting`.
    held: bool,
    waiting: bool,
}

enum Fault {
    Panic,
    Unusable,
    Usable,
}

impl World {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
        result
    }

    fn panic_if_told(&self) {
        // Not while the state is locked.
        let panics = self.change(|state| state.panics);
        assert!(!panics, "in every call");
    }

    fn wait_until(&self, holds: impl Fn(&State) -> bool) {
        drop(self.changed.wait_while(self.state.lock().unwrap(), |state| !holds(state)).unwrap());
    }
}

/// Whoever writes this panics.
const SPOILS: &str = "spoils";

struct Fake(Arc<World>);

impl Drop for Fake {
    fn drop(&mut self) {
        self.0.change(|state| state.closes += 1);
    }
}

impl BlockingStore for Fake {
    type Options = Arc<World>;

    fn open(world: &Arc<World>) -> Result<Self, Failure> {
        world.change(|state| {
            state.opens += 1;
            if state.locked_opens > 0 {
                state.locked_opens -= 1;
                return Err(Failure::new(PersistenceErrorKind::Locked));
            }
            if state.opens > 1 && state.failing_opens > 0 {
                state.failing_opens -= 1;
                return Err(Failure::new(PersistenceErrorKind::StorageFull));
            }
            Ok(Self(world.clone()))
        })
    }

    fn elsewhere(_: &Arc<World>, _: &Path) -> Option<Arc<World>> {
        Some(Arc::default())
    }

    fn apply(&mut self, writes: &[Write]) -> Result<(), Failure> {
        self.0.panic_if_told();
        self.0.change(|state| state.waiting = state.held);
        self.0.wait_until(|state| !state.held);
        for change in writes.iter().flat_map(|write| &write.changes) {
            let spoils = matches!(change, Change::Put { key, .. } if key.ends_with(SPOILS.as_bytes()));
            assert!(!spoils, "a damaged page");
        }
        self.0
            .change(|state| {
                let fault = state.faults.pop_front();
                if fault.is_none() {
                    state.transactions.push(writes.len());
                }
                fault
            })
            .map_or(Ok(()), |fault| match fault {
                Fault::Panic => panic!("damaged page"),
                Fault::Unusable => Err(Failure::new(PersistenceErrorKind::Io).unusable()),
                Fault::Usable => Err(Failure::new(PersistenceErrorKind::Io)),
            })
    }

    fn load(&mut self, prefix: &[u8]) -> Result<Raw, Failure> {
        self.0.panic_if_told();
        assert!(!prefix.ends_with(b"panic"));
        Ok(Raw::default())
    }

    fn list(&mut self) -> Result<Vec<ChannelId>, Failure> {
        self.0.panic_if_told();
        Ok(self.0.change(|state| state.channels.clone()))
    }

    fn sync(&mut self) -> Result<(), Failure> {
        self.0.panic_if_told();
        self.0.change(|state| {
            if state.failing_syncs > 0 {
                state.failing_syncs -= 1;
                return Err(Failure::new(PersistenceErrorKind::Io).unusable());
            }
            state.syncs += 1;
            Ok(())
        })
    }
}

fn start(state: State) -> (Arc<World>, Arc<EngineThread>) {
    start_with(Durability::Immediate, state)
}

fn start_with(durability: Durability, state: State) -> (Arc<World>, Arc<EngineThread>) {
    let world = Arc::new(World { state: Mutex::new(state), changed: Condvar::new() });
    let thread = EngineThread::start::<Fake>("fake", durability, world.clone()).unwrap();
    (world, Arc::new(thread))
}

async fn write(thread: &EngineThread) -> Result<(), PersistenceError> {
    write_id(thread, "id").await
}

async fn write_id(thread: &EngineThread, id: &str) -> Result<(), PersistenceError> {
    let channel = ChannelId::from("channel");
    let write = Write::hint_alone(&channel, &MessageId::from(id), &Bytes::from_static(b"hint"));
    thread.write("set_retrieval_hint", &channel, write).await
}

/// Spawns this many writes behind one that is held in the engine.
async fn queue_behind_one(
    world: &World,
    thread: &Arc<EngineThread>,
    count: usize,
) -> Vec<tokio::task::JoinHandle<Result<(), PersistenceError>>> {
    let spawn = |_| {
        let thread = thread.clone();
        tokio::spawn(async move { write(&thread).await })
    };
    let first = spawn(0);
    while !world.change(|state| state.waiting) {
        tokio::task::yield_now().await;
    }
    let tasks: Vec<_> = std::iter::once(first).chain((0..count).map(spawn)).collect();
    // On the one thread of the test's runtime each has sent its write, or waits for room, after a turn.
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
    tasks
}

#[test]
fn a_lock_that_is_let_go_soon_is_waited_for_and_another_is_told() {
    let (world, _thread) = start(State { locked_opens: 3, ..State::default() });
    assert_eq!(world.change(|state| state.opens), 4);
    let world = Arc::new(World::default());
    world.change(|state| state.locked_opens = usize::MAX);
    let error = EngineThread::start::<Fake>("fake", Durability::Immediate, world.clone()).unwrap_err();
    assert_eq!(error.kind, PersistenceErrorKind::Locked);
    assert!(world.change(|state| state.opens) > 1);
}

#[tokio::test]
async fn writes_that_wait_share_a_transaction() {
    let (world, thread) = start(State { held: true, ..State::default() });
    let tasks = queue_behind_one(&world, &thread, 100).await;
    world.change(|state| state.held = false);
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(world.change(|state| state.transactions.clone()), [1, 100]);
    let done = thread.statistics();
    assert_eq!((done.writes, done.transactions, done.syncs, done.reopened), (101, 2, 2, 0));
}

#[tokio::test]
async fn a_stuck_engine_stalls_no_other() {
    let (world, stuck) = start(State { held: true, ..State::default() });
    let (_, other) = start(State::default());
    let waiting = queue_behind_one(&world, &stuck, 2 * QUEUE).await;
    for _ in 0..100 {
        write(&other).await.unwrap();
    }
    assert!(waiting.iter().all(|task| !task.is_finished()));
    world.change(|state| state.held = false);
    for task in waiting {
        task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_batch_has_a_limit() {
    let (world, thread) = start(State { held: true, ..State::default() });
    let tasks = queue_behind_one(&world, &thread, 600).await;
    world.change(|state| state.held = false);
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let transactions = world.change(|state| state.transactions.clone());
    assert_eq!(transactions.iter().sum::<usize>(), 601);
    assert!(transactions.iter().all(|writes| *writes <= MAX_BATCH), "{transactions:?}");
}

#[tokio::test]
async fn a_panic_fails_the_batch_as_retryable_and_reopens() {
    let (world, thread) = start(State { held: true, faults: [Fault::Panic].into(), ..State::default() });
    let tasks = queue_behind_one(&world, &thread, 0).await;
    world.change(|state| state.held = false);
    for task in tasks {
        let error = task.await.unwrap().unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        assert!(format!("{:?}", error.source).contains("damaged page"), "{error:?}");
    }
    write(&thread).await.unwrap();
    assert_eq!(world.change(|state| (state.opens, state.closes)), (2, 1));
}

/// The results of writes of these ids that share a batch.
async fn in_one_batch(ids: &[&'static str]) -> (Arc<World>, Vec<Result<(), PersistenceError>>) {
    let (world, thread) = start(State { held: true, ..State::default() });
    let first = queue_behind_one(&world, &thread, 0).await;
    let spawn = |id: &'static str| {
        let thread = thread.clone();
        tokio::spawn(async move { write_id(&thread, id).await })
    };
    let tasks: Vec<_> = ids.iter().copied().map(spawn).collect();
    // The runtime looks at this task after every 61 others.
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
    world.change(|state| state.held = false);
    for task in first {
        task.await.unwrap().unwrap();
    }
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    (world, results)
}

#[tokio::test]
async fn a_write_that_cannot_be_made_spoils_no_other() {
    let (world, results) = in_one_batch(&["a", "b", SPOILS, "c"]).await;
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false, true], "{results:?}");
    assert_eq!(world.change(|state| state.transactions.clone()), [1, 1, 1, 1]);
}

#[tokio::test]
async fn many_that_cannot_be_made_cost_a_bounded_number_of_openings() {
    let (world, results) = in_one_batch(&[&[SPOILS; 100][..], &["a"]].concat()).await;
    assert!(results.iter().all(|result| result.as_ref().is_err_and(PersistenceError::is_retryable)), "{results:?}");
    assert_eq!(world.change(|state| state.opens), 1 + MAX_SPOILERS);
}

#[tokio::test]
async fn all_that_wait_for_an_engine_that_cannot_be_opened_fail_together() {
    let faults = [Fault::Unusable].into();
    let (world, thread) = start(State { held: true, faults, failing_opens: 1, ..State::default() });
    let first = queue_behind_one(&world, &thread, 0).await;
    let load = |_| {
        let thread = thread.clone();
        tokio::spawn(async move { thread.load("load_channel", &"channel".into(), Vec::new()).await })
    };
    let loads: Vec<_> = (0..50).map(load).collect();
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
    world.change(|state| state.held = false);
    for task in first {
        task.await.unwrap().unwrap_err();
    }
    for load in loads {
        assert_eq!(load.await.unwrap().unwrap_err().kind, PersistenceErrorKind::StorageFull);
    }
    assert_eq!(world.change(|state| state.opens), 2);
    thread.load("load_channel", &"channel".into(), Vec::new()).await.unwrap();
}

#[tokio::test]
async fn while_an_engine_cannot_be_opened_for_long_calls_fail_at_once() {
    let (world, thread) = start(State { faults: [Fault::Unusable].into(), failing_opens: 1_000, ..State::default() });
    for _ in 0..200 {
        write(&thread).await.unwrap_err();
    }
    // Those that came while a pause lasted did not wait for it, nor try.
    let opens = world.change(|state| state.opens);
    assert!(opens < 20, "opened {opens} times");
}

#[tokio::test]
async fn a_close_among_those_that_wait_is_carried_out() {
    let faults = [Fault::Unusable].into();
    let (world, thread) = start(State { held: true, faults, failing_opens: 1, ..State::default() });
    let tasks = queue_behind_one(&world, &thread, 0).await;
    let load = tokio::spawn({
        let thread = thread.clone();
        async move { thread.load("load_channel", &"channel".into(), Vec::new()).await }
    });
    let closing = tokio::spawn({
        let thread = thread.clone();
        async move { thread.close().await }
    });
    tokio::task::yield_now().await;
    world.change(|state| state.held = false);
    closing.await.unwrap().unwrap();
    load.await.unwrap().unwrap_err();
    for task in tasks {
        task.await.unwrap().unwrap_err();
    }
    assert_eq!(write(&thread).await.unwrap_err().kind, PersistenceErrorKind::Closed);
}

#[tokio::test]
async fn an_engine_that_became_unusable_is_opened_until_it_works() {
    let (world, thread) = start(State { faults: [Fault::Unusable].into(), failing_opens: 2, ..State::default() });
    let mut errors = 0;
    while write(&thread).await.is_err_and(|error| error.is_retryable()) {
        errors += 1;
    }
    assert_eq!((errors, world.change(|state| state.opens)), (3, 4));
    let done = thread.statistics();
    assert_eq!((done.writes, done.transactions, done.syncs, done.reopened), (1, 1, 1, 1));
}

#[tokio::test]
async fn an_engine_that_can_go_on_is_kept() {
    let (world, thread) = start(State { faults: [Fault::Usable].into(), ..State::default() });
    write(&thread).await.unwrap_err();
    write(&thread).await.unwrap();
    assert_eq!(world.change(|state| (state.opens, state.closes)), (1, 0));
}

#[tokio::test]
async fn a_panic_while_reading_is_damage() {
    let (_, thread) = start(State::default());
    let error = thread.load("load_channel", &"channel".into(), b"panic".to_vec()).await.unwrap_err();
    assert!(matches!(error.kind, PersistenceErrorKind::Corrupt { .. }), "{error:?}");
    thread.load("load_channel", &"channel".into(), Vec::new()).await.unwrap();
}

#[tokio::test]
async fn close_does_what_is_queued() {
    let (world, thread) = start(State { held: true, ..State::default() });
    let tasks = queue_behind_one(&world, &thread, 10).await;
    let closing = tokio::spawn({
        let thread = thread.clone();
        async move { thread.close().await }
    });
    tokio::task::yield_now().await;
    // Sent before the thread has come to the request to close.
    let behind = tokio::spawn({
        let thread = thread.clone();
        async move { write(&thread).await }
    });
    tokio::task::yield_now().await;
    world.change(|state| state.held = false);
    closing.await.unwrap().unwrap();
    assert_eq!(world.change(|state| (state.transactions.iter().sum(), state.closes)), (12, 1));
    for task in tasks.into_iter().chain([behind]) {
        task.await.unwrap().unwrap();
    }
    assert_eq!(write(&thread).await.unwrap_err().kind, PersistenceErrorKind::Closed);
    thread.close().await.unwrap();
}

#[test]
fn a_runtime_that_goes_away_loses_nothing_queued() {
    let (world, thread) = start(State { held: true, ..State::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let tasks = runtime.block_on(queue_behind_one(&world, &thread, 10));
    drop((tasks, runtime));
    world.change(|state| state.held = false);
    drop(thread);
    assert_eq!(world.change(|state| (state.transactions.iter().sum(), state.closes)), (11, 1));
}

#[tokio::test]
async fn a_dropped_future_only_stops_waiting() {
    let (world, thread) = start(State { held: true, ..State::default() });
    for task in queue_behind_one(&world, &thread, 5).await {
        task.abort();
    }
    world.change(|state| state.held = false);
    thread.close().await.unwrap();
    assert_eq!(world.change(|state| state.transactions.iter().sum::<usize>()), 6);
}
