//! A callback may do anything: call the manager, wait for it, take its time, panic.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use reliable_channel::manager::Callbacks;
use reliable_channel::state::{Commit, HistoryUpdate};
use tap::Tap as _;
use tokio::runtime::Handle;

use super::*;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::task::block_in_place(|| Handle::current().block_on(future))
}

/// A manager whose callback answers every message in the same channel, and waits for the answer to be wrapped; the
/// first time it starts once this many messages were taken in.
async fn answering(received: u64) -> (ReliabilityManager, Arc<AtomicUsize>) {
    let answers = Arc::new(AtomicUsize::new(0));
    let counted = answers.clone();
    let callbacks = Callbacks::new().on_message_ready(move |channel, delivery| {
        let manager = ReliabilityManager::current().expect("inside a callback");
        while delivery.number == 1 && manager.stats(channel).unwrap().received < received {
            std::thread::sleep(Duration::from_millis(1));
        }
        block_on(manager.wrap_outgoing(channel, format!("answer to {}", delivery.number))).unwrap();
        assert!(manager.stats(channel).unwrap().delivered >= delivery.number);
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let (store, _) = faulty();
    (opened(builder("alice").persistence(Arc::new(store)).callbacks(callbacks)).await, answers)
}

#[tokio::test]
async fn waits_for_its_own_channel_on_one_thread() {
    let (manager, answers) = answering(1).await;
    for bytes in messages_of_bob(20).await {
        soon(manager.unwrap_received(bytes)).await.unwrap();
    }
    eventually(|| answers.load(Ordering::SeqCst) == 20).await;
    assert_eq!(texts(&manager).len(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_for_its_own_channel_while_its_queue_is_full() {
    let (manager, answers) = answering(1_024).await;
    let calls: Vec<_> = messages_of_bob(1_500)
        .await
        .into_iter()
        .map(|bytes| {
            let manager = manager.clone();
            tokio::spawn(async move { manager.unwrap_received(bytes).await })
        })
        .collect();
    for call in calls {
        soon(call).await.unwrap().unwrap();
    }
    eventually(|| answers.load(Ordering::SeqCst) == 1_500).await;
}

#[tokio::test]
async fn ends_its_own_channel_and_its_own_manager() {
    type End = fn(&ReliabilityManager, &ChannelId);
    let ends: [End; 3] = [
        |manager, channel| block_on(manager.remove_channel(channel)).unwrap(),
        |manager, channel| block_on(manager.close_channel(channel)).unwrap(),
        |manager, _| assert!(block_on(manager.shutdown()).is_clean()),
    ];
    for end in ends {
        let (ended, end_told) = mpsc::channel();
        let callbacks = Callbacks::new().on_message_ready(move |channel, _| {
            end(&ReliabilityManager::current().expect("inside a callback"), channel);
            ended.send(()).unwrap();
        });
        let manager = opened(builder("alice").callbacks(callbacks)).await;
        manager.unwrap_received(messages_of_bob(1).await.remove(0)).await.unwrap();
        let told = tokio::task::spawn_blocking(move || end_told.recv_timeout(Duration::from_secs(10)));
        told.await.unwrap().expect("the callback came to its end");
        assert!(manager.wrap_outgoing(CHANNEL, "late").await.is_err());
    }
}

#[tokio::test]
async fn a_slow_one_delays_its_own_channel_alone() {
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = told.clone();
    let callbacks = Callbacks::new().on_message_ready(move |channel, delivery| {
        if *channel == ChannelId::from("slow") && delivery.number == 1 {
            gate.lock().unwrap().recv().unwrap();
        }
        telling.lock().unwrap().push((channel.to_string(), delivery.number));
    });
    let manager = builder("alice").auto_create(true).callbacks(callbacks).build().unwrap();
    let bob = builder("bob").auto_create(true).build().unwrap();
    for channel in ["slow", "quick"] {
        bob.ensure_channel(channel).await.unwrap();
        for text in ["1", "2"] {
            let bytes = bob.wrap_outgoing(channel, text).await.unwrap().bytes;
            soon(manager.unwrap_received(bytes)).await.unwrap();
        }
    }
    let quick: Vec<_> = [1, 2].map(|number| ("quick".to_owned(), number)).into();
    eventually(|| *told.lock().unwrap() == quick).await;
    // The slow channel itself goes on too, as long as its queue has room.
    assert_eq!(manager.stats(&"slow".into()).unwrap().delivered, 2);
    release.send(()).unwrap();
    eventually(|| told.lock().unwrap().len() == 4).await;
    assert_eq!(told.lock().unwrap()[2..], [1, 2].map(|number| ("slow".to_owned(), number)));
}

#[tokio::test]
async fn a_panic_goes_no_further() {
    let told = Arc::new(AtomicUsize::new(0));
    let counted = told.clone();
    let callbacks =
        Callbacks::new().on_event(|_| panic!("the application's own defect")).on_message_ready(move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
    let manager = opened(builder("alice").callbacks(callbacks)).await;
    for bytes in messages_of_bob(2).await {
        soon(manager.unwrap_received(bytes)).await.unwrap();
    }
    eventually(|| told.load(Ordering::SeqCst) == 2).await;
    assert!(soon(manager.shutdown()).await.is_clean());
}

#[tokio::test]
async fn tell_what_streams_tell() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = |what: &'static str| {
        let told = told.clone();
        move |id: &MessageId| told.lock().unwrap().push(format!("{what} {id}"))
    };
    let (ready, acknowledged, missing) = (tell("ready"), tell("acknowledged"), tell("missing"));
    let transmitted = Arc::new(AtomicUsize::new(0));
    let transmissions = transmitted.clone();
    let callbacks = Callbacks::new()
        .on_message_ready(move |_, delivery| ready(&delivery.body.key.id))
        .on_message_acknowledged(move |_, id, by| {
            assert_eq!(by.as_str(), Some("bob"));
            acknowledged(id);
        })
        .on_missing_dependencies(move |_, id, _| missing(id))
        .on_retrieval_hint(|_, id| (id.as_str() == Some("a1")).then(|| Bytes::from("where a1 is")))
        .on_transmit(move |_| {
            transmissions.fetch_add(1, Ordering::SeqCst);
        });
    let manager = opened(builder("alice").callbacks(callbacks)).await;
    let bob = opened(builder("bob")).await;

    let sent = manager.wrap_outgoing_with_id(CHANNEL, "a1", "hello").await.unwrap();
    eventually(|| manager.data(&channel()).unwrap().hints.len() == 1).await;
    manager.wrap_outgoing_with_id(CHANNEL, "a2", "nobody asks twice").await.unwrap();
    bob.unwrap_received(sent.bytes).await.unwrap();
    let first = bob.wrap_outgoing_with_id(CHANNEL, "b1", "hi").await.unwrap();
    let second = bob.wrap_outgoing_with_id(CHANNEL, "b2", "how are you").await.unwrap();
    manager.unwrap_received(second.bytes).await.unwrap();
    manager.unwrap_received(first.bytes).await.unwrap();
    manager.sync_now(CHANNEL).await.unwrap();

    assert!(soon(manager.shutdown()).await.is_clean());
    assert_eq!(*told.lock().unwrap(), ["acknowledged a1", "missing b2", "ready b1", "ready b2"]);
    assert_eq!(transmitted.load(Ordering::SeqCst), 1);
    assert_eq!(manager.data(&channel()).unwrap().hints.len(), 1);
}

#[tokio::test]
async fn confirm_deliveries_by_returning() {
    let config = || config().tap_mut(|it| it.confirm_deliveries = true);
    let store = MemoryPersistence::new();
    let bytes = messages_of_bob(2).await;
    let silent = opened(builder("alice").config(config()).persistence(Arc::new(store.clone()))).await;
    silent.unwrap_received(bytes[0].clone()).await.unwrap();
    drop(silent);

    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = told.clone();
    let callbacks = Callbacks::new().on_message_ready(move |_, delivery| telling.lock().unwrap().push(delivery.number));
    let builder =
        || builder("alice").config(config()).persistence(Arc::new(store.clone())).callbacks(callbacks.clone());
    let manager = opened(builder()).await;
    eventually(|| *told.lock().unwrap() == [1]).await;
    manager.unwrap_received(bytes[1].clone()).await.unwrap();
    eventually(|| *told.lock().unwrap() == [1, 2]).await;
    manager.close_channel(CHANNEL).await.unwrap();
    manager.ensure_channel(CHANNEL).await.unwrap();
    manager.close_channel(CHANNEL).await.unwrap();
    assert_eq!(*told.lock().unwrap(), [1, 2], "closing saves what was confirmed");
}

/// Records the delivery numbers it is called with; while `stuck` is set it never returns.
fn recording(told: &Arc<Mutex<Vec<u64>>>, stuck: &Arc<AtomicBool>) -> Callbacks {
    let (told, stuck) = (told.clone(), stuck.clone());
    Callbacks::new().on_message_ready(move |_, delivery| {
        told.lock().unwrap().push(delivery.number);
        while stuck.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    })
}

#[tokio::test]
async fn what_none_has_returned_from_comes_again_after_a_crash_and_not_after_a_shutdown() {
    let store = MemoryPersistence::new();
    let (told, stuck) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(true)));
    let config = config().tap_mut(|it| it.max_message_history = 10);
    let open = |store: &MemoryPersistence| {
        let callbacks = recording(&told, &stuck);
        opened(builder("alice").config(config.clone()).persistence(Arc::new(store.clone())).callbacks(callbacks))
    };
    let first = open(&store).await;
    // Far more than the log keeps arrive in one step: the last message in releases them all.
    for message in messages_of_bob(50).await.into_iter().rev() {
        first.unwrap_received(message).await.unwrap();
    }
    eventually(|| !told.lock().unwrap().is_empty()).await;
    assert_eq!(*told.lock().unwrap(), [1], "the callback is stuck in the first delivery");

    // The process ends here: another manager opens what was saved.
    let crashed = store.load_channel(&channel()).await.unwrap();
    let copy = MemoryPersistence::new();
    let commit = Commit {
        meta: crashed.meta,
        history: HistoryUpdate { put: crashed.rows, delete: Vec::new() },
        hints: crashed.hints,
    };
    copy.commit(&channel(), &commit).await.unwrap();
    stuck.store(false, Ordering::SeqCst);
    first.shutdown().await;
    told.lock().unwrap().clear();
    let second = open(&copy).await;
    eventually(|| told.lock().unwrap().len() == 50).await;
    assert_eq!(*told.lock().unwrap(), (1..=50).collect::<Vec<u64>>(), "all of them, in order");
    assert!(second.shutdown().await.is_clean());
    told.lock().unwrap().clear();
    let third = open(&copy).await;
    third.shutdown().await;
    assert_eq!(*told.lock().unwrap(), [0_u64; 0], "a shutdown saves what was told");
}
