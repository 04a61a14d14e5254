//! The network is as bad as it was told, and as it was told only.

use super::*;

const NUMBERS: u16 = 4_000;

/// What one member hears of numbers that another sends.
async fn heard(seed: u64, conditions: Conditions) -> (Vec<u16>, Counts) {
    let network = MemoryNetwork::seeded(seed);
    network.set_conditions(conditions);
    let (alice, bob) = (network.member(), network.member());
    let topic = Topic::from("a");
    let mut subscription = bob.subscribe(&topic).await.unwrap();
    for number in 0..NUMBERS {
        alice.publish(&topic, None, number.to_be_bytes().to_vec().into()).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    bob.disconnect();
    let mut numbers = Vec::new();
    while let Some(item) = subscription.next().await {
        numbers.push(u16::from_be_bytes(item.unwrap().bytes[..].try_into().unwrap()));
    }
    (numbers, network.counts())
}

fn bad() -> Conditions {
    let (min_delay, max_delay) = (Duration::from_millis(10), Duration::from_millis(90));
    Conditions { loss: 0.25, duplicate: 0.05, min_delay, max_delay }
}

#[tokio::test(start_paused = true)]
async fn a_perfect_network_carries_all_once_and_in_order() {
    assert_eq!(heard(1, Conditions::default()).await.0, (0..NUMBERS).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn copies_are_lost_doubled_and_reordered_as_often_as_asked_for() {
    let (numbers, counts) = heard(1, bad()).await;
    assert_eq!(numbers.len() as u64, u64::from(NUMBERS) - counts.lost + counts.doubled);
    assert!((900..1_100).contains(&counts.lost), "{counts:?}");
    assert!((110..200).contains(&counts.doubled), "{counts:?}");
    assert!(!numbers.is_sorted());
}

#[tokio::test(start_paused = true)]
async fn a_seed_repeats_its_accidents_and_another_has_others() {
    let once = heard(1, bad()).await;
    assert_eq!(once, heard(1, bad()).await);
    assert_ne!(once.0, heard(2, bad()).await.0);
}

#[tokio::test(start_paused = true)]
async fn islands_do_not_hear_each_other_not_even_what_was_on_its_way() {
    let network = MemoryNetwork::new();
    let (alice, bob) = (network.member(), network.member());
    let topic = Topic::from("a");
    let mut heard = bob.subscribe(&topic).await.unwrap();
    network.set_conditions(Conditions { loss: 0.0, ..bad() });
    alice.publish(&topic, None, "on its way".into()).await.unwrap();
    bob.partition(1);
    alice.publish(&topic, None, "unheard".into()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    bob.partition(0);
    alice.publish(&topic, None, "heard".into()).await.unwrap();
    assert_eq!(heard.next().await.unwrap().unwrap().bytes, "heard");
}

#[tokio::test]
async fn who_is_cut_off_is_told_so_and_may_come_back() {
    let network = MemoryNetwork::new();
    let (alice, bob) = (network.member(), network.member());
    let topic = Topic::from("a");
    let mut heard = bob.subscribe(&topic).await.unwrap();
    bob.disconnect();
    assert_eq!(heard.next().await, None);
    let error = bob.subscribe(&topic).await.unwrap_err();
    assert!(error.should_retry(), "{error}");
    bob.partition(0);
    let mut heard = bob.subscribe(&topic).await.unwrap();
    alice.publish(&topic, Some(bob.addr()), "back".into()).await.unwrap();
    assert_eq!(heard.next().await, Some(Ok(Incoming::new("back").sent_by(alice.addr().clone()))));
}
