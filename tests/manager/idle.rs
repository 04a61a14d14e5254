//! What a manager does while nothing is due: nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

use reliable_channel::manager::{Clock, SystemClock};
use reliable_channel::types::{RunningTime, WallTime};

use super::*;

/// Counts how often the timer task asks how long it may sleep: once each time it wakes.
#[derive(Clone, Default)]
struct Counting {
    clock: SystemClock,
    asked: Arc<AtomicUsize>,
}

impl Clock for Counting {
    fn wall(&self) -> WallTime {
        self.clock.wall()
    }

    fn running(&self) -> RunningTime {
        self.clock.running()
    }

    fn until(&self, deadline: RunningTime) -> Duration {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        // A task that spins would leave the paused clock no chance to move.
        assert!(asked < 20_000, "the timer task spins");
        self.clock.until(deadline)
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_channels_wake_nobody_before_a_deadline() {
    let clock = Counting::default();
    let builder = ReliabilityManager::builder("alice").clock(Arc::new(clock.clone())).seed(1);
    let manager = builder.max_channels(usize::MAX).build().unwrap();
    manager.start_periodic_tasks();
    for n in 0..10_000 {
        manager.ensure_channel(format!("channel {n}")).await.unwrap();
    }
    // Due again in a while: the timer task has something to sleep for.
    manager.wrap_outgoing("channel 7", Bytes::from_static(b"hello")).await.unwrap();
    // Each says within a second that it is there.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let asked = clock.asked.load(Ordering::SeqCst);
    assert!(asked > 0, "it sleeps for a deadline");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(clock.asked.load(Ordering::SeqCst) - asked, 0, "woken in a second without a deadline");
}

#[tokio::test(start_paused = true)]
async fn nobody_wakes_for_channels_that_are_closed() {
    let clock = Counting::default();
    let manager = ReliabilityManager::builder("alice").clock(Arc::new(clock.clone())).seed(1).build().unwrap();
    manager.start_periodic_tasks();
    for n in 0..100 {
        let channel = format!("channel {n}");
        manager.ensure_channel(channel.as_str()).await.unwrap();
        manager.wrap_outgoing(channel.as_str(), Bytes::from_static(b"hello")).await.unwrap();
        manager.close_channel(channel.as_str()).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    let asked = clock.asked.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(clock.asked.load(Ordering::SeqCst) - asked, 0, "woken for a channel that is closed");
}

/// The timer task looks at a channel that is due until it is not.
#[tokio::test(start_paused = true)]
async fn a_stored_age_after_which_there_is_none_does_not_spin_the_timer() {
    let store = MemoryPersistence::new();
    let first = opened(builder("alice").persistence(Arc::new(store.clone()))).await;
    first.unwrap_received(messages_of_bob(2).await.remove(1)).await.unwrap();
    assert_eq!(first.incoming(&channel()).unwrap().len(), 1, "it waits for the first one, by the channel's age");
    first.shutdown().await;
    let mut meta = store.load_channel(&channel()).await.unwrap().meta.unwrap();
    meta.age_ms = u64::MAX;
    store.save_channel_meta(&channel(), &meta).await.unwrap();

    let clock = Counting::default();
    let manager = opened(builder("alice").persistence(Arc::new(store)).clock(Arc::new(clock.clone()))).await;
    manager.start_periodic_tasks();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let asked = clock.asked.load(Ordering::SeqCst);
    assert!(asked < 100, "it woke {asked} times in 5 seconds");
}
