//! What each durability makes of writes, windows and failures. No test waits for time: windows are none or hours long.

use super::*;

const HOURS: Duration = Duration::from_secs(36_000);

fn batched(max_delay: Duration, state: State) -> (Arc<World>, Arc<EngineThread>) {
    start_with(Durability::Batched { max_delay }, state)
}

#[tokio::test]
async fn an_engine_is_asked_for_what_it_keeps_alone() {
    let world = Arc::new(World { state: Mutex::default(), changed: Condvar::new() });
    let error = EngineThread::start::<Fake>("fake", Durability::OsBuffered, world.clone()).unwrap_err();
    assert_eq!((error.verb, error.kind), ("open", PersistenceErrorKind::Unsupported));
    assert_eq!(world.change(|state| state.opens), 0);
}

#[tokio::test]
async fn flush_ends_the_window() {
    let (world, thread) = batched(HOURS, State::default());
    for _ in 0..3 {
        write(&thread).await.unwrap();
    }
    assert_eq!((world.change(|state| state.syncs), thread.statistics().syncs), (0, 0));
    thread.flush("flush").await.unwrap();
    assert_eq!((world.change(|state| state.syncs), thread.statistics().syncs), (1, 1));
}

#[tokio::test]
async fn a_window_ends_by_itself() {
    let (world, thread) = batched(Duration::ZERO, State::default());
    write(&thread).await.unwrap();
    world.wait_until(|state| state.syncs == 1);
    write(&thread).await.unwrap();
    world.wait_until(|state| state.syncs == 2);
}

#[tokio::test]
async fn a_full_window_is_synced() {
    let (world, thread) = batched(HOURS, State::default());
    let channel = ChannelId::from("channel");
    let hint = Bytes::from(vec![1; MAX_BATCH_BYTES / 2]);
    for _ in 0..3 {
        let write = Write::hint_alone(&channel, &MessageId::from("id"), &hint);
        thread.write("set_retrieval_hint", &channel, write).await.unwrap();
    }
    assert_eq!(world.change(|state| state.syncs), 1);
}

#[tokio::test]
async fn what_was_not_synced_is_made_again_by_the_next_engine() {
    let (world, thread) = batched(HOURS, State::default());
    for _ in 0..3 {
        write(&thread).await.unwrap();
    }
    world.change(|state| state.faults.push_back(Fault::Unusable));
    write(&thread).await.unwrap_err();
    // A load sees what was acknowledged, too.
    thread.load("load_channel", &"channel".into(), Vec::new()).await.unwrap();
    assert_eq!(world.change(|state| state.transactions.clone()), [1, 1, 1, 3]);
    thread.flush("flush").await.unwrap();
    world.change(|state| state.faults.push_back(Fault::Unusable));
    write(&thread).await.unwrap_err();
    write(&thread).await.unwrap();
    assert_eq!(world.change(|state| state.transactions.clone()), [1, 1, 1, 3, 1], "what was synced was made again");
}

#[tokio::test]
async fn a_failed_sync_forgets_nothing() {
    let (world, thread) = batched(HOURS, State { failing_syncs: 1, failing_opens: 1, ..State::default() });
    write(&thread).await.unwrap();
    assert_eq!(thread.flush("flush").await.unwrap_err().kind, PersistenceErrorKind::Io);
    assert_eq!(thread.flush("flush").await.unwrap_err().kind, PersistenceErrorKind::StorageFull);
    thread.flush("flush").await.unwrap();
    assert_eq!(world.change(|state| (state.transactions.clone(), state.syncs)), (vec![1, 1], 1));
}

#[tokio::test]
async fn a_window_whose_sync_fails_is_tried_again() {
    let (world, thread) = batched(Duration::ZERO, State { failing_syncs: 3, ..State::default() });
    write(&thread).await.unwrap();
    world.wait_until(|state| state.syncs == 1);
    assert_eq!(world.change(|state| state.transactions.clone()), [1, 1, 1, 1]);
}

#[tokio::test]
async fn the_end_is_synced() {
    let (world, thread) = batched(HOURS, State::default());
    write(&thread).await.unwrap();
    thread.close().await.unwrap();
    assert_eq!(world.change(|state| (state.syncs, state.closes)), (1, 1));
    let (world, thread) = batched(HOURS, State { failing_syncs: 1, ..State::default() });
    write(&thread).await.unwrap();
    assert_eq!(thread.close().await.unwrap_err().kind, PersistenceErrorKind::Io);
    assert_eq!(world.change(|state| state.syncs), 0);
}

#[tokio::test]
async fn a_window_is_made_again_also_where_that_failed_once() {
    let (world, thread) = batched(HOURS, State::default());
    write_id(&thread, "acknowledged").await.unwrap();
    // A full disk: the next write fails, and so does making the window again.
    world.change(|state| state.faults.extend([Fault::Unusable, Fault::Unusable]));
    write_id(&thread, "refused").await.unwrap_err();
    write_id(&thread, "refused").await.unwrap_err();
    // Space again.
    write_id(&thread, "later").await.unwrap();
    thread.flush("flush").await.unwrap();
    let made = world.change(|state| state.transactions.clone());
    assert_eq!(made.iter().sum::<usize>(), 3, "acknowledged, acknowledged again, later; made: {made:?}");
}

#[tokio::test]
async fn all_who_close_hear_that_the_end_failed() {
    let (world, thread) = batched(HOURS, State { failing_syncs: 1, ..State::default() });
    write(&thread).await.unwrap();
    world.change(|state| state.held = true);
    let held = tokio::spawn({
        let thread = thread.clone();
        async move { write(&thread).await }
    });
    while !world.change(|state| state.waiting) {
        tokio::task::yield_now().await;
    }
    let close = |thread: Arc<EngineThread>| tokio::spawn(async move { thread.close().await.is_err() });
    let closers = [close(thread.clone()), close(thread.clone())];
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
    world.change(|state| state.held = false);
    held.await.unwrap().unwrap();
    for closer in closers {
        assert!(closer.await.unwrap());
    }
}
