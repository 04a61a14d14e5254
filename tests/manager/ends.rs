//! Whoever ends a channel or the manager gets an answer, whatever callbacks, the store and others do meanwhile.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use reliable_channel::manager::{Callbacks, ManagerError, Unfinished};
use reliable_channel::state::{ChannelData, ChannelMeta, HistoryUpdate};
use reliable_channel::store::{Fault, Method, NoPersistence, PersistenceError, PersistenceErrorKind, Rule};
use reliable_channel::types::Dialect;
use tap::Tap as _;
use tokio::runtime::Handle;

use super::*;

#[derive(Clone, Copy, Debug)]
enum End {
    Close,
    ShutDown,
    Ensure,
    Remove,
    Reset,
}

impl End {
    const ALL: [Self; 5] = [Self::Close, Self::ShutDown, Self::Ensure, Self::Remove, Self::Reset];

    /// Errors are answers too: another call may have ended the channel first.
    async fn make(self, manager: &ReliabilityManager) {
        match self {
            Self::Close => drop(manager.close_channel(CHANNEL).await),
            Self::ShutDown => drop(manager.shutdown().await),
            Self::Ensure => drop(manager.ensure_channel(CHANNEL).await),
            Self::Remove => drop(manager.remove_channel(CHANNEL).await),
            Self::Reset => drop(manager.reset().await),
        }
    }
}

/// A manager whose first callback waits for the gate, then does this.
async fn with_callback(
    gate: &Arc<AtomicBool>,
    inside: impl Fn(ReliabilityManager) + Send + Sync + 'static,
) -> (ReliabilityManager, Arc<AtomicUsize>) {
    let returned = Arc::new(AtomicUsize::new(0));
    let (gate, counted) = (gate.clone(), returned.clone());
    let callbacks = Callbacks::new().on_message_ready(move |_, delivery| {
        if delivery.number == 1 {
            while !gate.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            inside(ReliabilityManager::current().expect("inside a callback"));
        }
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let manager = opened(builder("alice").persistence(Arc::new(MemoryPersistence::new())).callbacks(callbacks)).await;
    for message in messages_of_bob(3).await {
        manager.unwrap_received(message).await.unwrap();
    }
    (manager, returned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inside_a_callback_and_outside_at_once() {
    for inside in End::ALL {
        for outside in End::ALL {
            let gate = Arc::new(AtomicBool::new(false));
            let (manager, returned) = with_callback(&gate, move |manager| {
                Handle::current().block_on(inside.make(&manager));
            })
            .await;
            let call = {
                let manager = manager.clone();
                tokio::spawn(async move { outside.make(&manager).await })
            };
            tokio::time::sleep(Duration::from_millis(5)).await;
            gate.store(true, Ordering::SeqCst);
            let ended = tokio::time::timeout(Duration::from_secs(10), call).await;
            assert!(ended.is_ok(), "{inside:?} inside, {outside:?} outside: the one outside hangs");
            let ended =
                tokio::time::timeout(Duration::from_secs(10), eventually(|| returned.load(Ordering::SeqCst) > 0)).await;
            assert!(ended.is_ok(), "{inside:?} inside, {outside:?} outside: the callback hangs");
        }
    }
}

#[tokio::test]
async fn a_callback_that_waits_for_a_task_that_closes_is_told_why() {
    let store = MemoryPersistence::new();
    let (told, answers) = std::sync::mpsc::channel();
    let callbacks = Callbacks::new().on_message_ready(move |_, _| {
        let manager = ReliabilityManager::current().expect("inside a callback");
        let task = Handle::current().spawn(async move { manager.close_channel(CHANNEL).await });
        told.send(Handle::current().block_on(task).unwrap()).unwrap();
    });
    let patience = Some(Duration::from_millis(200));
    let builder = builder("alice").persistence(Arc::new(store)).callbacks(callbacks).end_timeout(patience);
    let manager = opened(builder).await;
    manager.unwrap_received(messages_of_bob(1).await.remove(0)).await.unwrap();
    let answer = tokio::task::spawn_blocking(move || answers.recv_timeout(Duration::from_secs(10)));
    let answer = answer.await.unwrap().expect("it hangs");
    assert!(matches!(answer, Err(ManagerError::Unfinished { what: Unfinished::Callback, .. })), "{answer:?}");
    eventually(|| manager.channels().is_empty()).await;
}

#[tokio::test]
async fn from_outside_only_after_all_callbacks_have_returned() {
    for shut_down in [false, true] {
        let gate = Arc::new(AtomicBool::new(true));
        let (manager, returned) = with_callback(&gate, |_| std::thread::sleep(Duration::from_millis(100))).await;
        if shut_down {
            assert!(manager.shutdown().await.is_clean());
        } else {
            manager.close_channel(CHANNEL).await.unwrap();
        }
        assert_eq!(returned.load(Ordering::SeqCst), 3, "shut down: {shut_down}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callback_closes_its_channel_opens_it_again_and_answers() {
    let gate = Arc::new(AtomicBool::new(false));
    let first = AtomicBool::new(true);
    let (manager, returned) = with_callback(&gate, move |manager| {
        // Opened again, the channel tells again what this call had not returned from.
        if !first.swap(false, Ordering::SeqCst) {
            return;
        }
        Handle::current().block_on(async {
            manager.close_channel(CHANNEL).await.unwrap();
            manager.ensure_channel(CHANNEL).await.unwrap();
            manager.wrap_outgoing(CHANNEL, "an answer").await.unwrap();
        });
    })
    .await;
    gate.store(true, Ordering::SeqCst);
    eventually(|| returned.load(Ordering::SeqCst) >= 4).await;
    for _ in 0..3 {
        soon(manager.ensure_channel(CHANNEL)).await.expect("it is not damaged");
        soon(manager.close_channel(CHANNEL)).await.unwrap();
    }
}

/// Numbers begin anew in a channel that was removed: what an earlier opening's callback returns from confirms nothing there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callback_of_a_removed_channel_confirms_nothing_in_the_next() {
    let stuck = Arc::new(AtomicBool::new(true));
    let (gate, entered) = (stuck.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = entered.clone();
    let callbacks = Callbacks::new().on_message_ready(move |_, _| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        if first {
            let manager = ReliabilityManager::current().expect("inside a callback");
            Handle::current().block_on(async {
                manager.remove_channel(CHANNEL).await.unwrap();
                manager.ensure_channel(CHANNEL).await.unwrap();
                manager.unwrap_received(messages_of_bob(1).await.remove(0)).await.unwrap();
            });
        } else {
            while gate.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
    let store = MemoryPersistence::new();
    let manager = opened(builder("alice").persistence(Arc::new(store.clone())).callbacks(callbacks)).await;
    manager.unwrap_received(messages_of_bob(1).await.remove(0)).await.unwrap();
    eventually(|| entered.load(Ordering::SeqCst) == 2).await;
    // Confirmed is what the second call has not returned from.
    soon(manager.mark_dependencies_met(CHANNEL, ["another step is saved".into()])).await.unwrap();
    let told = manager.data(&channel()).unwrap().meta.unwrap().told;
    stuck.store(false, Ordering::SeqCst);
    assert_eq!(told, 0);
    assert!(soon(manager.shutdown()).await.is_clean());
}

#[tokio::test]
async fn streams_asked_for_after_a_shutdown_end() {
    let manager = alice().await;
    manager.shutdown().await;
    let (mut events, mut transmissions) = (manager.events(), manager.transmissions());
    assert!(soon(events.next()).await.is_none());
    assert!(soon(transmissions.next()).await.is_none());
}

#[cfg(feature = "redb")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_can_be_opened_again_after_a_shutdown() {
    use reliable_channel::store::RedbPersistence;
    let dir = tempfile::tempdir().unwrap();
    let mut ended = Vec::new();
    for round in 0..20 {
        let store = RedbPersistence::open(dir.path()).unwrap_or_else(|error| panic!("round {round}: {error}"));
        let manager = opened(builder("alice").persistence(Arc::new(store))).await;
        manager.start_periodic_tasks();
        wrap(&manager, "hello").await;
        assert!(manager.shutdown().await.is_clean());
        // A handle may stay, for reading.
        ended.push(manager);
    }
    assert!(ended.iter().all(|manager| !texts(manager).is_empty()));
}

#[tokio::test]
async fn slow_callbacks_stop_no_others_whatever_their_number() {
    const SLOW: usize = 600;
    let (open, quick) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (gate, counted) = (open.clone(), quick.clone());
    let callbacks = Callbacks::new().on_message_ready(move |channel, _| {
        while *channel != ChannelId::from("quick") && !gate.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
        counted.fetch_add(usize::from(*channel == ChannelId::from("quick")), Ordering::SeqCst);
    });
    let manager = builder("alice").auto_create(true).callbacks(callbacks).build().unwrap();
    let bob = builder("bob").build().unwrap();
    let names = (0..SLOW).map(|number| format!("slow {number}")).chain(["quick".to_owned()]);
    for channel in names {
        bob.ensure_channel(channel.as_str()).await.unwrap();
        let bytes = bob.wrap_outgoing(channel.as_str(), "hello").await.unwrap().bytes;
        manager.unwrap_received(bytes).await.unwrap();
    }
    soon(tokio::task::spawn_blocking(|| ())).await.unwrap();
    eventually(|| quick.load(Ordering::SeqCst) == 1).await;
    open.store(true, Ordering::SeqCst);
    assert!(soon(manager.shutdown()).await.is_clean());
}

#[tokio::test]
async fn a_store_that_hangs_is_told_when_patience_ends() {
    let (store, _) = faulty();
    let patience = Some(Duration::from_millis(100));
    let manager = opened(builder("alice").persistence(Arc::new(store.clone())).end_timeout(patience)).await;
    store.add(Rule::method(Method::Commit, Fault::Hang));
    assert!(poll_times(2, manager.wrap_outgoing(CHANNEL, "held")).is_none());
    for _ in 0..2 {
        let closed = soon(manager.close_channel(CHANNEL)).await;
        assert!(
            matches!(closed, Err(ManagerError::Unfinished { what: Unfinished::Store("commit"), .. })),
            "{closed:?}"
        );
    }
    let report = soon(manager.shutdown()).await;
    assert_eq!(report.unfinished, [(channel(), Unfinished::Store("commit"))]);
    assert!(!report.is_clean());
    store.heal();
    store.release();
}

/// A store whose calls panic before they give a future.
struct Panics;

type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T, PersistenceError>> + Send + 'a>>;

impl Persistence for Panics {
    fn save_channel_meta<'a: 'c, 'b: 'c, 'm: 'c, 'c>(&'a self, _: &'b ChannelId, _: &'m ChannelMeta) -> Call<'c, ()> {
        panic!("save_channel_meta")
    }

    fn update_history<'a: 'c, 'b: 'c, 'u: 'c, 'c>(&'a self, _: &'b ChannelId, _: &'u HistoryUpdate) -> Call<'c, ()> {
        panic!("update_history")
    }

    fn load_channel<'a: 'c, 'b: 'c, 'c>(&'a self, channel: &'b ChannelId) -> Call<'c, ChannelData> {
        assert!(*channel == ChannelId::from(CHANNEL), "load_channel");
        Box::pin(async { Ok(ChannelData::default()) })
    }

    fn drop_channel<'a: 'c, 'b: 'c, 'c>(&'a self, _: &'b ChannelId) -> Call<'c, ()> {
        panic!("drop_channel")
    }

    fn set_retrieval_hint<'a: 'c, 'b: 'c, 'i: 'c, 'h: 'c, 'c>(
        &'a self,
        _: &'b ChannelId,
        _: &'i MessageId,
        _: &'h Bytes,
    ) -> Call<'c, ()> {
        panic!("set_retrieval_hint")
    }

    fn flush<'a: 'c, 'c>(&'a self) -> Call<'c, ()> {
        panic!("flush")
    }

    fn list_channels<'a: 'c, 'c>(&'a self) -> Call<'c, Vec<ChannelId>> {
        panic!("list_channels")
    }
}

#[tokio::test]
async fn a_panic_of_the_store_is_an_error_wherever_it_comes_from() {
    let manager = opened(builder("alice").persistence(Arc::new(Panics))).await;
    assert!(matches!(soon(manager.reset()).await, Err(ManagerError::Persistence(_))));
    for _ in 0..2 {
        let refused = soon(manager.ensure_channel("other")).await;
        assert!(matches!(refused, Err(ManagerError::Persistence(_))), "{refused:?}");
    }
    assert!(matches!(soon(manager.remove_channel("other")).await, Err(ManagerError::Persistence(_))));
    wrap(&manager, "not saved").await;
    let report = soon(manager.shutdown()).await;
    assert_eq!(report.unsaved.len(), 1);
    assert!(report.flush.is_some());
}

#[test]
fn a_runtime_without_a_time_driver_is_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let refused = runtime.block_on(async { ReliabilityManager::builder("alice").build() });
    assert!(matches!(refused, Err(ManagerError::NoTimeDriver)), "{refused:?}");
}

#[tokio::test]
async fn a_participant_of_nim_sds_need_not_be_utf8() {
    let id: &[u8] = b"\xff\xfe";
    let config = Config::of(Dialect::NimSds).tap_mut(|it| it.dialect = Dialect::NimSds);
    let manager = ReliabilityManager::builder(reliable_channel::types::ParticipantId::new(id)).config(config);
    opened(manager).await;
    assert!(ReliabilityManager::builder(reliable_channel::types::ParticipantId::new(id)).build().is_err());
}

#[tokio::test]
async fn limits_larger_than_the_store_can_hold_are_refused() {
    use async_trait::async_trait;
    use reliable_channel::store::Capabilities;
    struct Small(MemoryPersistence);
    #[async_trait]
    impl Persistence for Small {
        async fn save_channel_meta(&self, channel: &ChannelId, meta: &ChannelMeta) -> Result<(), PersistenceError> {
            self.0.save_channel_meta(channel, meta).await
        }
        async fn update_history(&self, channel: &ChannelId, update: &HistoryUpdate) -> Result<(), PersistenceError> {
            self.0.update_history(channel, update).await
        }
        async fn load_channel(&self, channel: &ChannelId) -> Result<ChannelData, PersistenceError> {
            self.0.load_channel(channel).await
        }
        async fn drop_channel(&self, channel: &ChannelId) -> Result<(), PersistenceError> {
            self.0.drop_channel(channel).await
        }
        async fn set_retrieval_hint(&self, _: &ChannelId, _: &MessageId, _: &Bytes) -> Result<(), PersistenceError> {
            Ok(())
        }
        fn capabilities(&self) -> Capabilities {
            let mut capabilities = self.0.capabilities();
            capabilities.max_value_bytes = Some(10_000);
            capabilities
        }
    }
    let store = || Arc::new(Small(MemoryPersistence::new()));
    let refused = builder("alice").persistence(store()).build();
    assert!(matches!(refused, Err(ManagerError::Config(_))), "{refused:?}");
    let mut config = config();
    (config.limits.max_content_bytes, config.limits.max_message_bytes) = (4_000, 5_000);
    builder("alice").config(config).persistence(store()).build().unwrap();
    builder("alice").persistence(Arc::new(NoPersistence)).build().unwrap();
}

/// Of 3,000 messages in a log of 10, 10 and their marks are owed, and not a key for each that came and went.
#[tokio::test]
async fn what_is_owed_after_an_outage_is_the_channel_and_not_its_traffic() {
    let (store, memory) = faulty();
    let config = config().tap_mut(|it| it.max_message_history = 10);
    let manager = opened(builder("alice").config(config).persistence(Arc::new(store.clone()))).await;
    let messages = messages_of_bob(3_000).await;
    store.fail_writes(PersistenceErrorKind::Io);
    let loads = store.counts().of(Method::LoadChannel);
    for message in messages {
        manager.unwrap_received(message).await.unwrap();
    }
    let before = store.counts().bytes;
    store.heal();
    manager.sweep(CHANNEL).await.unwrap();
    assert!(manager.save_failure(&channel()).unwrap().is_none());
    assert_eq!(store.counts().of(Method::LoadChannel), loads + 1, "it was written anew");
    println!("{} bytes", store.counts().bytes - before);
    assert_saved(&manager, &memory).await;
    wrap(&manager, "and on").await;
    assert_saved(&manager, &memory).await;
}

#[tokio::test]
async fn whether_a_message_was_kept_can_be_looked_up_by_its_id() {
    let (store, _) = faulty();
    let manager = opened(builder("alice").persistence(Arc::new(store.clone()))).await;
    store.add(Rule::method(Method::Commit, Fault::Hang).nth(1));
    let waiting = {
        let manager = manager.clone();
        tokio::spawn(async move { manager.wrap_outgoing_with_id(CHANNEL, "cancelled", "text").await })
    };
    eventually(|| store.hanging() == 1).await;
    waiting.abort();
    store.release();
    assert!(soon(manager.shutdown()).await.is_clean());
    let late = manager.wrap_outgoing_with_id(CHANNEL, "too late", "text").await;
    assert!(matches!(late, Err(ManagerError::ShutDown)), "{late:?}");
    assert!(manager.delivery_state(&channel(), &"cancelled".into()).unwrap().is_some());
    assert!(manager.delivery_state(&channel(), &"too late".into()).unwrap().is_none());
}
