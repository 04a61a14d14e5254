//! What waits for a store or for callbacks is bounded in bytes, not only in number.

use std::sync::atomic::{AtomicBool, Ordering};

use reliable_channel::manager::Callbacks;
use reliable_channel::store::{Fault, Method, Rule};

use super::*;

const MEGABYTE: usize = 1_000_000;

/// Messages of a megabyte, all of them handed in at once.
async fn hand_in(manager: &ReliabilityManager, count: usize) -> Vec<tokio::task::JoinHandle<()>> {
    let bob = opened(builder("bob")).await;
    let mut calls = Vec::new();
    for _ in 0..count {
        let bytes = bob.wrap_outgoing(CHANNEL, vec![b'x'; MEGABYTE]).await.unwrap().bytes;
        let manager = manager.clone();
        calls.push(tokio::spawn(async move { drop(manager.unwrap_received(bytes).await.unwrap()) }));
        tokio::task::yield_now().await;
    }
    calls
}

#[tokio::test]
async fn messages_wait_outside_while_a_store_that_hangs_holds_32_mib() {
    let (store, _) = faulty();
    let manager = opened(builder("alice").persistence(Arc::new(store.clone()))).await;
    store.add(Rule::method(Method::Commit, Fault::Hang).nth(1));
    let calls = hand_in(&manager, 60).await;
    eventually(|| store.hanging() == 1).await;
    let taken_in = manager.stats(&channel()).unwrap().received;
    assert!((30..=40).contains(&taken_in), "{taken_in}");
    store.heal();
    store.release();
    for call in calls {
        soon(call).await.unwrap();
    }
    assert_eq!(manager.stats(&channel()).unwrap().received, 60);
}

#[tokio::test]
async fn messages_wait_outside_while_a_callback_that_is_stuck_holds_32_mib() {
    let stuck = Arc::new(AtomicBool::new(true));
    let gate = stuck.clone();
    let callbacks = Callbacks::new().on_message_ready(move |_, _| {
        while gate.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let manager = opened(builder("alice").callbacks(callbacks)).await;
    let calls = hand_in(&manager, 60).await;
    let taken_in = manager.stats(&channel()).unwrap().received;
    assert!((30..=40).contains(&taken_in), "{taken_in}");
    stuck.store(false, Ordering::SeqCst);
    for call in calls {
        soon(call).await.unwrap();
    }
    assert!(soon(manager.shutdown()).await.is_clean());
}

#[tokio::test]
async fn all_channels_together_hold_256_mib_and_each_takes_one_message_all_the_same() {
    let (store, _) = faulty();
    let manager = builder("alice").persistence(Arc::new(store.clone())).build().unwrap();
    let bob = builder("bob").build().unwrap();
    let mut calls = Vec::new();
    for number in 0..12 {
        let channel = format!("channel {number}");
        bob.ensure_channel(channel.as_str()).await.unwrap();
        manager.ensure_channel(channel.as_str()).await.unwrap();
    }
    store.add(Rule::method(Method::Commit, Fault::Hang));
    for number in 0..12 {
        let channel = format!("channel {number}");
        for _ in 0..35 {
            let bytes = bob.wrap_outgoing(channel.as_str(), vec![b'x'; MEGABYTE]).await.unwrap().bytes;
            let manager = manager.clone();
            calls.push(tokio::spawn(async move { drop(manager.unwrap_received(bytes).await.unwrap()) }));
            tokio::task::yield_now().await;
        }
    }
    let received = |number| manager.stats(&format!("channel {number}").into()).unwrap().received;
    let all: Vec<u64> = (0..12).map(received).collect();
    assert!((255..=300).contains(&all.iter().sum::<u64>()) && all.iter().all(|count| *count >= 1), "{all:?}");
    store.heal();
    store.release();
    for call in calls {
        soon(call).await.unwrap();
    }
    assert!((0..12).all(|number| received(number) == 35));
}
