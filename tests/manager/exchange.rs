//! Whole conversations, restarts and crashes.

use std::cell::RefCell;
use std::rc::Rc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use reliable_channel::channel::{ChannelError, Fate, TransmitKind};
use reliable_channel::manager::{Fault, ManagerError};
use tap::Tap as _;
use tokio::task::LocalSet;

use super::crash::CrashAfterCommit;
use super::*;

/// A broadcast that loses a third of what it carries, and delays and reorders the rest.
#[derive(Clone)]
struct Pipe {
    ends: Rc<Vec<ReliabilityManager>>,
    random: Rc<RefCell<ChaCha8Rng>>,
}

impl Pipe {
    fn roll(&self, below: u64) -> u64 {
        self.random.borrow_mut().next_u64() % below
    }

    fn broadcast(&self, from: usize, bytes: &Bytes) {
        for (_, to) in self.ends.iter().enumerate().filter(|(to, _)| *to != from) {
            if self.roll(3) > 0 {
                let (to, bytes, delay) = (to.clone(), bytes.clone(), Duration::from_millis(self.roll(2_000)));
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(delay).await;
                    to.unwrap_received(bytes).await.unwrap();
                });
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lossy_pipe_ends_with_identical_logs() {
    let talk = async {
        let ends = vec![opened(builder("alice")).await, opened(builder("bob")).await, opened(builder("carol")).await];
        let mut heard: Vec<_> = ends.iter().map(ReliabilityManager::events).collect();
        let random = Rc::new(RefCell::new(ChaCha8Rng::seed_from_u64(7)));
        let pipe = Pipe { ends: Rc::new(ends), random };
        for (from, manager) in pipe.ends.iter().enumerate() {
            manager.start_periodic_tasks();
            let (pipe, mut transmissions) = (pipe.clone(), manager.transmissions());
            tokio::task::spawn_local(async move {
                while let Some(transmission) = transmissions.next().await {
                    pipe.broadcast(from, &transmission.unwrap().bytes);
                }
            });
        }
        for number in 0..60 {
            let from = pipe.roll(3) as usize;
            let wrapped = wrap(&pipe.ends[from], &format!("{number}")).await;
            pipe.broadcast(from, &wrapped.bytes);
            tokio::time::sleep(Duration::from_millis(pipe.roll(3_000))).await;
        }
        tokio::time::sleep(Duration::from_secs(30 * 60)).await;

        let logs: Vec<_> = pipe.ends.iter().map(texts).collect();
        assert_eq!(logs[0].len(), 60);
        assert_eq!(logs[0], logs[1]);
        assert_eq!(logs[0], logs[2]);
        for (manager, events) in pipe.ends.iter().zip(&mut heard) {
            assert_eq!(manager.outgoing(&channel()).unwrap(), vec![], "everything is acknowledged");
            let numbers: Vec<u64> = deliveries(&told(events)).into_iter().map(|(number, _)| number).collect();
            assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
            assert_eq!(manager.stats(&channel()).unwrap().delivered, numbers.len() as u64);
        }
    };
    LocalSet::new().run_until(talk).await;
}

#[tokio::test]
async fn a_restart_goes_on_from_the_store() {
    let store = MemoryPersistence::new();
    let messages = messages_of_bob(3).await;
    let start = || opened(builder("alice").persistence(Arc::new(store.clone())));
    let manager = start().await;
    wrap(&manager, "mine").await;
    manager.unwrap_received(messages[0].clone()).await.unwrap();
    let parked = manager.unwrap_received(messages[2].clone()).await.unwrap();
    assert!(matches!(&parked.fate, Fate::Parked { missing } if missing.len() == 1), "{parked:?}");
    let before = (texts(&manager), manager.incoming(&channel()).unwrap());
    drop(manager);

    let manager = start().await;
    assert_eq!((texts(&manager), manager.incoming(&channel()).unwrap()), before);
    assert_eq!(manager.outgoing(&channel()).unwrap().len(), 1);
    assert_eq!(manager.unwrap_received(messages[0].clone()).await.unwrap().fate, Fate::Duplicate);
    let released = manager.unwrap_received(messages[1].clone()).await.unwrap();
    assert_eq!(released.fate, Fate::Delivered);
    assert_eq!(released.released, [released.message.id.clone(), parked.message.id]);
}

#[test]
fn a_crash_between_commit_and_events_loses_no_delivery() {
    let store = MemoryPersistence::new();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let messages = first.block_on(messages_of_bob(3));
    first.block_on(async {
        let manager = opened(builder("alice").persistence(Arc::new(store.clone()))).await;
        manager.unwrap_received(messages[0].clone()).await.unwrap();
    });
    first.block_on(async {
        let manager = opened(builder("alice").persistence(CrashAfterCommit::new(Arc::new(store.clone()), 1))).await;
        let mut events = manager.events();
        let call = tokio::spawn({
            let (manager, bytes) = (manager.clone(), messages[1].clone());
            async move { manager.unwrap_received(bytes).await }
        });
        eventually(|| manager.stats(&channel()).unwrap().delivered == 1).await;
        assert!(!call.is_finished());
        assert_eq!(told(&mut events).len(), 0);
    });
    drop(first);

    runtime().block_on(async {
        let manager = opened(builder("alice").persistence(Arc::new(store.clone()))).await;
        let first = manager.cursor(&channel()).unwrap().tap_mut(|it| it.number = 1);
        let again = manager.deliveries_since(&channel(), first).unwrap();
        assert_eq!(again.evicted, 0);
        assert_eq!(again.deliveries.len(), 1);
        assert_eq!(again.deliveries[0].number, 2);
        assert_eq!(again.deliveries[0].body.content, "bob 1");
        let mut events = manager.events();
        manager.unwrap_received(messages[2].clone()).await.unwrap();
        assert_eq!(deliveries(&told(&mut events))[0].0, 3);
    });
}

#[tokio::test]
async fn a_runtime_that_ends_leaves_calls_with_an_error() {
    let store = MemoryPersistence::new();
    let elsewhere = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let manager = elsewhere
        .spawn(opened(builder("alice").persistence(CrashAfterCommit::new(Arc::new(store.clone()), 1))))
        .await
        .unwrap();
    let calls = ["being saved", "queued"].map(|text| {
        let manager = manager.clone();
        tokio::spawn(async move { manager.wrap_outgoing(CHANNEL, text).await })
    });
    eventually(|| manager.stats(&channel()).unwrap().sent == 2).await;
    elsewhere.shutdown_background();
    for call in calls {
        assert!(soon(call).await.unwrap().is_err());
    }
    assert!(soon(manager.wrap_outgoing(CHANNEL, "late")).await.is_err());
    assert!(soon(manager.remove_channel(CHANNEL)).await.is_err());
    soon(manager.shutdown()).await;
}

#[tokio::test]
async fn a_message_nobody_acknowledged_is_sent_again_or_withdrawn_when_asked() {
    let store = MemoryPersistence::new();
    let manager = opened(builder("alice").persistence(Arc::new(store.clone()))).await;
    let mut transmissions = manager.transmissions();
    let sent = manager.wrap_outgoing_with_id(CHANNEL, "a1", "hello").await.unwrap();
    manager.resend(CHANNEL, "a1").await.unwrap();
    manager.sweep(CHANNEL).await.unwrap();
    let resent = soon(transmissions.next()).await.unwrap().unwrap();
    assert_eq!(resent.kind, TransmitKind::Resend);

    manager.withdraw(CHANNEL, "a1").await.unwrap();
    assert!(texts(&manager).is_empty());
    assert_saved(&manager, &store).await;
    let stored = format!("{:?}", store.load_channel(&channel()).await.unwrap());
    assert!(!stored.contains("hello"), "{stored}");
    assert_eq!(manager.unwrap_received(sent.bytes).await.unwrap().fate, Fate::Echo);
    for refused in [manager.resend(CHANNEL, "a1").await, manager.withdraw(CHANNEL, "a1").await] {
        let refused = refused.unwrap_err();
        assert!(matches!(&refused, ManagerError::Channel(ChannelError::UnknownMessage(_))), "{refused}");
        assert_eq!(refused.fault(), Fault::Caller);
    }
}
