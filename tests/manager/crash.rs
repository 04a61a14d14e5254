//! After a crash between a commit and its events, no delivery is lost to the application.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use reliable_channel::manager::Callbacks;
use reliable_channel::state::{ChannelData, ChannelMeta, Commit, HistoryUpdate};
use reliable_channel::store::PersistenceError;

use super::place::Place;
use super::*;

/// Makes this many commits, and comes back from the last, or any later one, never.
pub struct CrashAfterCommit {
    store: Arc<dyn Persistence>,
    left: AtomicU64,
}

impl CrashAfterCommit {
    pub fn new(store: Arc<dyn Persistence>, commits: u64) -> Arc<Self> {
        Arc::new(Self { store, left: AtomicU64::new(commits) })
    }

    fn has_crashed(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }
}

#[async_trait]
impl Persistence for CrashAfterCommit {
    async fn save_channel_meta(&self, channel: &ChannelId, meta: &ChannelMeta) -> Result<(), PersistenceError> {
        self.store.save_channel_meta(channel, meta).await
    }

    async fn update_history(&self, channel: &ChannelId, update: &HistoryUpdate) -> Result<(), PersistenceError> {
        self.store.update_history(channel, update).await
    }

    async fn load_channel(&self, channel: &ChannelId) -> Result<ChannelData, PersistenceError> {
        self.store.load_channel(channel).await
    }

    async fn drop_channel(&self, channel: &ChannelId) -> Result<(), PersistenceError> {
        self.store.drop_channel(channel).await
    }

    async fn set_retrieval_hint(
        &self,
        channel: &ChannelId,
        id: &MessageId,
        hint: &Bytes,
    ) -> Result<(), PersistenceError> {
        self.store.set_retrieval_hint(channel, id, hint).await
    }

    async fn commit(&self, channel: &ChannelId, commit: &Commit) -> Result<(), PersistenceError> {
        self.store.commit(channel, commit).await?;
        let left = self.left.load(Ordering::SeqCst).saturating_sub(1);
        self.left.store(left, Ordering::SeqCst);
        if left == 0 { std::future::pending().await } else { Ok(()) }
    }
}

/// Numbers and ids that callbacks were called with.
type Told = Arc<Mutex<Vec<(u64, MessageId)>>>;

fn recording(told: &Told) -> Callbacks {
    let told = told.clone();
    Callbacks::new().on_message_ready(move |_, delivery| {
        told.lock().unwrap().push((delivery.number, delivery.body.key.id.clone()));
    })
}

/// The process ends in every one of its commits in turn; what it was about to tell, the next one's callback is told.
fn loses_no_delivery(place: fn() -> Place) {
    const MESSAGES: usize = 8;
    for crash_after in 1..=MESSAGES as u64 {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (mut place, first) = (place(), runtime());
        let (before, after) = (Told::default(), Told::default());
        // Pairs in reverse order: one commit delivers none, the next delivers two.
        let mut messages = first.block_on(messages_of_bob(MESSAGES));
        messages.chunks_mut(2).for_each(<[Bytes]>::reverse);

        let store = CrashAfterCommit::new(place.store(), crash_after);
        let delivered = first.block_on(async {
            let manager = opened(builder("alice").persistence(store.clone()).callbacks(recording(&before))).await;
            tokio::spawn({
                let (manager, messages) = (manager.clone(), messages.clone());
                async move {
                    for bytes in messages {
                        manager.unwrap_received(bytes).await.unwrap();
                    }
                }
            });
            eventually(|| store.has_crashed()).await;
            manager.stats(&channel()).unwrap().delivered
        });
        drop((first, store));
        let before = before.lock().unwrap().clone();

        runtime().block_on(async {
            place.crash().await;
            let manager = opened(builder("alice").persistence(place.store()).callbacks(recording(&after))).await;
            let told_by_now = || before.iter().chain(after.lock().unwrap().iter()).cloned().collect::<Vec<_>>();
            eventually(|| told_by_now().iter().any(|(number, _)| *number == delivered) || delivered == 0).await;
            // The peer does not know what was received.
            for bytes in &messages {
                manager.unwrap_received(bytes.clone()).await.unwrap();
            }
            assert!(manager.shutdown().await.is_clean());
            let mut told = told_by_now();
            let again = after.lock().unwrap().iter().map(|(number, _)| *number).collect::<Vec<_>>();
            assert!(again.is_sorted(), "in order: {again:?}");
            told.sort();
            told.dedup();
            let numbers: Vec<u64> = told.iter().map(|(number, _)| *number).collect();
            assert_eq!(numbers, (1..=MESSAGES as u64).collect::<Vec<_>>(), "each, and always as the same message");
        });
    }
}

#[test]
fn between_commit_and_events_loses_no_delivery_in_memory() {
    loses_no_delivery(Place::memory);
}

#[cfg(feature = "redb")]
#[test]
fn between_commit_and_events_loses_no_delivery_on_disk() {
    loses_no_delivery(Place::redb);
}
