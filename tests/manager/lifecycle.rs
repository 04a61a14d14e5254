//! Channels come and go, many of them, and the order of each is kept.

use std::sync::Mutex;

use async_trait::async_trait;
use reliable_channel::channel::{ConfigError, TransmitKind};
use reliable_channel::manager::{Fault as Blame, ManagerError};
use reliable_channel::state::{ChannelData, ChannelMeta, Commit, HistoryUpdate};
use reliable_channel::store::{Fault, Method, Rule};
use reliable_channel::store::{PersistenceError, PersistenceErrorKind};
use reliable_channel::types::{Lamport, Limits};
use reliable_channel::wire;
use tap::Tap as _;
use tokio::runtime::Handle;

use super::*;

#[test]
fn options_are_checked() {
    let outside = ReliabilityManager::builder("alice").build();
    assert!(matches!(outside, Err(ManagerError::NoRuntime)), "{outside:?}");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let nobody = ReliabilityManager::builder("").build();
        assert!(matches!(nobody, Err(ManagerError::Config(ConfigError::ParticipantId { len: 0, .. }))), "{nobody:?}");
        let config = Config::default().tap_mut(|it| it.max_message_history = 0);
        let zero = ReliabilityManager::builder("alice").config(config.clone()).build();
        assert!(matches!(zero, Err(ManagerError::Config(ConfigError::Zero("max_message_history")))), "{zero:?}");
        let endless = ReliabilityManager::builder("alice").stream_capacity(usize::MAX).build();
        assert!(matches!(endless, Err(ManagerError::Config(ConfigError::OutOfRange { .. }))), "{endless:?}");
        let manager = builder("alice").build().unwrap();
        let zero = manager.ensure_channel_with(CHANNEL, config).await.unwrap_err();
        assert_eq!(zero.fault(), Blame::Caller);
        let unnamed = manager.ensure_channel("").await;
        assert!(matches!(unnamed, Err(ManagerError::Restore(_))), "{unnamed:?}");
        assert_eq!(manager.channels(), vec![]);
    });
}

#[tokio::test]
async fn concurrent_calls_share_one_load() {
    let (store, _) = faulty();
    let manager = builder("alice").persistence(Arc::new(store.clone())).build().unwrap();
    store.add(Rule::method(Method::LoadChannel, Fault::Hang).nth(1));
    let calls: Vec<_> = (0..16)
        .map(|_| {
            let manager = manager.clone();
            tokio::spawn(async move { manager.ensure_channel(CHANNEL).await })
        })
        .collect();
    eventually(|| store.hanging() == 1).await;
    store.release();
    for call in calls {
        soon(call).await.unwrap().unwrap();
    }
    wrap(&manager, "still there").await;
    manager.ensure_channel(CHANNEL).await.unwrap();
    assert_eq!(texts(&manager), ["still there"]);
    assert_eq!(store.counts().of(Method::LoadChannel), 1);
}

#[tokio::test]
async fn a_failed_load_leaves_nothing_behind() {
    let (store, _) = faulty();
    let manager = builder("alice").max_channels(1).persistence(Arc::new(store.clone())).build().unwrap();
    let corrupt = PersistenceErrorKind::Corrupt { what: "row 7".into() };
    store.add(Rule::method(Method::LoadChannel, Fault::Fail(corrupt.clone())).channel("damaged"));
    for _ in 0..2 {
        let failed = manager.ensure_channel("damaged").await;
        assert!(matches!(&failed, Err(ManagerError::Persistence(error)) if error.kind == corrupt), "{failed:?}");
    }
    assert_eq!(manager.channels(), vec![]);
    assert_eq!(store.counts().of(Method::LoadChannel), 2);
    manager.ensure_channel(CHANNEL).await.unwrap();
    assert!(matches!(manager.ensure_channel("more").await, Err(ManagerError::TooManyChannels { max: 1 })));
    // What cannot be loaded can be removed.
    manager.remove_channel("damaged").await.unwrap();
}

#[tokio::test]
async fn removed_and_opened_again_is_new() {
    let (store, memory) = faulty();
    let manager = opened(builder("alice").persistence(Arc::new(store.clone()))).await;
    wrap(&manager, "old").await;
    // One step is being saved and others are queued behind it when the channel is removed.
    store.add(Rule::method(Method::Commit, Fault::Hang).nth(1));
    let calls: Vec<_> = (0..8)
        .map(|number| {
            let manager = manager.clone();
            tokio::spawn(async move { manager.wrap_outgoing(CHANNEL, format!("old {number}")).await })
        })
        .collect();
    eventually(|| texts(&manager).len() == 9).await;
    let removing = tokio::spawn({
        let manager = manager.clone();
        async move { manager.remove_channel(CHANNEL).await }
    });
    eventually(|| manager.channels().is_empty()).await;
    store.release();
    soon(removing).await.unwrap().unwrap();
    let mut refused = 0;
    for call in calls {
        refused += usize::from(matches!(soon(call).await.unwrap(), Err(ManagerError::UnknownChannel(_))));
    }
    assert_eq!(refused, 7, "what was queued is discarded");
    assert!(memory.load_channel(&channel()).await.unwrap().is_empty());

    manager.ensure_channel(CHANNEL).await.unwrap();
    assert_eq!(texts(&manager), Vec::<String>::new());
    wrap(&manager, "new").await;
    assert_saved(&manager, &memory).await;
    assert_eq!(memory.load_channel(&channel()).await.unwrap().rows.len(), 2);
}

#[tokio::test]
async fn a_channel_that_could_not_be_wiped_does_not_come_back() {
    let (store, memory) = faulty();
    let manager = opened(builder("alice").persistence(Arc::new(store.clone()))).await;
    wrap(&manager, "old").await;
    store.add(Rule::method(Method::DropChannel, Fault::Fail(PersistenceErrorKind::Io)));
    manager.remove_channel(CHANNEL).await.unwrap_err();
    manager.ensure_channel(CHANNEL).await.unwrap_err();
    assert!(matches!(manager.log(&channel()), Err(ManagerError::UnknownChannel(_))));
    store.heal();
    manager.ensure_channel(CHANNEL).await.unwrap();
    assert_eq!(texts(&manager), Vec::<String>::new());
    assert_saved(&manager, &memory).await;
}

#[tokio::test]
async fn reset_removes_also_what_is_not_open() {
    let memory = MemoryPersistence::new();
    let manager = opened(builder("alice").persistence(Arc::new(memory.clone()))).await;
    wrap(&manager, "here").await;
    manager.ensure_channel("closed").await.unwrap();
    manager.wrap_outgoing("closed", "there").await.unwrap();
    manager.close_channel("closed").await.unwrap();
    assert_eq!(memory.list_channels().await.unwrap().len(), 2);
    manager.reset().await.unwrap();
    assert_eq!(manager.channels(), vec![]);
    assert_eq!(memory.list_channels().await.unwrap(), vec![]);
}

#[tokio::test]
async fn strangers_open_channels_only_where_allowed() {
    let bytes = messages_of_bob(1).await.remove(0);
    let manager = builder("alice").build().unwrap();
    let refused = manager.unwrap_received(bytes.clone()).await;
    assert!(matches!(refused, Err(ManagerError::UnknownChannel(_))), "{refused:?}");

    let manager = builder("alice").auto_create(true).max_channels(1).build().unwrap();
    manager.unwrap_received(bytes).await.unwrap();
    let bob = builder("bob").build().unwrap();
    bob.ensure_channel("second").await.unwrap();
    let bytes = bob.wrap_outgoing("second", "hi").await.unwrap().bytes;
    let refused = manager.unwrap_received(bytes).await;
    assert!(matches!(refused, Err(ManagerError::TooManyChannels { .. })), "{refused:?}");
    let rubbish = manager.unwrap_received(&b"\xff\xff"[..]).await.unwrap_err();
    assert_eq!(rubbish.fault(), Blame::Peer);
}

#[tokio::test]
async fn ten_thousand_idle_channels_cost_one_task() {
    let manager = builder("alice").build().unwrap();
    let before = Handle::current().metrics().num_alive_tasks();
    manager.start_periodic_tasks();
    manager.start_periodic_tasks();
    for number in 0..10_000 {
        manager.ensure_channel(format!("channel {number}")).await.unwrap();
        manager.wrap_outgoing(format!("channel {number}"), "hello").await.unwrap();
    }
    assert_eq!(Handle::current().metrics().num_alive_tasks(), before + 1);
    drop(manager);
    eventually(|| Handle::current().metrics().num_alive_tasks() == before).await;
}

#[tokio::test(start_paused = true)]
async fn one_task_wakes_every_channel() {
    let manager = builder("alice").build().unwrap();
    manager.start_periodic_tasks();
    let mut transmissions = manager.transmissions();
    for number in 0..500 {
        manager.ensure_channel(format!("channel {number}")).await.unwrap();
        manager.wrap_outgoing(format!("channel {number}"), "hello").await.unwrap();
    }
    let mut resent = std::collections::BTreeSet::new();
    while resent.len() < 500 {
        let transmission = soon(transmissions.next()).await.unwrap().unwrap();
        assert_eq!(transmission.kind, TransmitKind::Resend);
        resent.insert(transmission.channel);
    }
}

/// A store that takes its time and writes down in which order clocks reach it.
#[derive(Default)]
struct Slow(Mutex<Vec<Lamport>>);

#[async_trait]
impl Persistence for Slow {
    async fn save_channel_meta(&self, _: &ChannelId, meta: &ChannelMeta) -> Result<(), PersistenceError> {
        self.0.lock().unwrap().push(meta.lamport);
        Ok(())
    }

    async fn update_history(&self, _: &ChannelId, _: &HistoryUpdate) -> Result<(), PersistenceError> {
        Ok(())
    }

    async fn load_channel(&self, _: &ChannelId) -> Result<ChannelData, PersistenceError> {
        Ok(ChannelData::default())
    }

    async fn drop_channel(&self, _: &ChannelId) -> Result<(), PersistenceError> {
        Ok(())
    }

    async fn set_retrieval_hint(&self, _: &ChannelId, _: &MessageId, _: &Bytes) -> Result<(), PersistenceError> {
        Ok(())
    }

    async fn commit(&self, channel: &ChannelId, commit: &Commit) -> Result<(), PersistenceError> {
        if commit.meta.as_ref().is_some_and(|meta| meta.lamport.0 % 3 == 0) {
            tokio::task::yield_now().await;
        }
        match &commit.meta {
            Some(meta) => self.save_channel_meta(channel, meta).await,
            None => Ok(()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_never_overtake_one_another() {
    let store = Arc::new(Slow::default());
    let manager = opened(builder("alice").persistence(store.clone())).await;
    wrap(&manager, "something to sync about").await;
    let (mut transmissions, mut events) = (manager.transmissions(), manager.events());
    let messages = Arc::new(messages_of_bob(640).await);
    let calls: Vec<_> = (0..64)
        .map(|task| {
            let (manager, messages) = (manager.clone(), messages.clone());
            tokio::spawn(async move {
                for number in 0..10 {
                    manager.sync_now(CHANNEL).await.unwrap();
                    wrap(&manager, &format!("{task}/{number}")).await;
                    manager.unwrap_received(messages[task * 10 + number].clone()).await.unwrap();
                }
            })
        })
        .collect();
    for call in calls {
        soon(call).await.unwrap();
    }
    let clocks = store.0.lock().unwrap().clone();
    assert!(clocks.is_sorted(), "saved out of order");
    let sent: Vec<_> = std::iter::from_fn(|| transmissions.try_next())
        .map(|transmission| wire::decode(&transmission.unwrap().bytes, &Limits::default()).unwrap().0.lamport)
        .collect();
    assert_eq!(sent.len(), 640);
    assert!(sent.is_sorted_by(|a, b| a < b), "transmitted out of order");
    let numbers: Vec<u64> = deliveries(&told(&mut events)).iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=640).collect::<Vec<_>>(), "told out of order");
}

#[tokio::test]
async fn all_channels_together_stay_within_their_bounds() {
    let manager = builder("alice").max_log_bytes(200_000).build().unwrap();
    let bob = builder("bob").build().unwrap();
    for number in 0..4 {
        let channel = format!("channel {number}");
        manager.ensure_channel(channel.as_str()).await.unwrap();
        bob.ensure_channel(channel.as_str()).await.unwrap();
        for _ in 0..150 {
            let bytes = bob.wrap_outgoing(channel.as_str(), vec![b'x'; 1_000]).await.unwrap().bytes;
            manager.unwrap_received(bytes).await.unwrap();
        }
    }
    let sizes = || -> Vec<usize> { manager.channels().iter().map(|id| manager.stats(id).unwrap().log_bytes).collect() };
    // Channels that no longer grow give up what exceeds their share, too.
    eventually(|| sizes().iter().sum::<usize>() <= 200_000).await;
    assert!(sizes().iter().all(|bytes| *bytes >= 40_000), "{:?}", sizes());
    manager.close_channel("channel 0").await.unwrap();
}
