//! The rules. Each sends again what may be lost, until it is heard or the network's patience ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Broken, Network, Outcome, Verdict};
use crate::transport::{Incoming, Subscription, Topic, Transport, TransportError};

/// Between two sendings of the same.
const AGAIN: Duration = Duration::from_millis(100);

/// How long something that must not arrive is waited for, after something that was sent later has arrived.
const STRAY: Duration = Duration::from_millis(200);

type Member = Arc<dyn Transport>;

/// Gives up a wait that takes longer than the network's patience.
async fn within<T>(
    network: &dyn Network,
    what: &str,
    wait: impl Future<Output = Result<T, Broken>>,
) -> Result<T, Broken> {
    match tokio::time::timeout(network.patience(), wait).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Broken::new(format!("{what}: not within {:?}", network.patience()))),
    }
}

/// Publishes a message until this subscription hears these bytes, and gives what it heard.
async fn heard(
    network: &dyn Network,
    from: &Member,
    topic: &Topic,
    bytes: &Bytes,
    by: &mut Subscription,
) -> Result<Incoming, Broken> {
    let sending = async {
        loop {
            from.publish(topic, None, bytes.clone()).await?;
            if let Ok(incoming) = tokio::time::timeout(AGAIN, next_of(by, bytes)).await {
                return incoming;
            }
        }
    };
    within(network, &format!("a message of {} bytes arrives", bytes.len()), sending).await
}

/// The next message that has these bytes.
async fn next_of(subscription: &mut Subscription, bytes: &Bytes) -> Result<Incoming, Broken> {
    loop {
        match subscription.next().await {
            Some(Ok(incoming)) if incoming.bytes == *bytes => return Ok(incoming),
            Some(Ok(_) | Err(TransportError::Missed(_))) => {}
            Some(Err(error)) => return Err(error.into()),
            None => return Err(Broken::new("the subscription ended by itself")),
        }
    }
}

/// Bytes that show whether something was swapped, cut or filled up.
fn pattern(len: usize, seed: usize) -> Bytes {
    (0..len).map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ seed.wrapping_mul(97)) as u8).collect()
}

fn max(member: &Member) -> usize {
    *member.max_bytes().borrow()
}

pub(super) async fn what_is_published_arrives_unchanged(network: &dyn Network) -> Outcome {
    let (alice, bob) = (network.member().await?, network.member().await?);
    let topic = Topic::from("unchanged");
    let mut by = bob.subscribe(&topic).await?;
    let sizes = [1, 2, 100, 1_000, 1_168, 1_169, 1_500, 5_000];
    for len in sizes.into_iter().filter(|len| *len <= max(&alice)) {
        let bytes = pattern(len, len);
        let sending = async {
            loop {
                alice.publish(&topic, None, bytes.clone()).await?;
                let Ok(item) = tokio::time::timeout(AGAIN, by.next()).await else { continue };
                match item {
                    Some(Ok(incoming)) if incoming.bytes == bytes => return Ok(()),
                    // One of the last size, sent again.
                    Some(Ok(incoming)) if sizes.iter().any(|len| incoming.bytes == pattern(*len, *len)) => {}
                    Some(Ok(incoming)) => {
                        return Err(Broken::new(format!("{len} bytes sent, {} others heard", incoming.bytes.len())));
                    }
                    Some(Err(TransportError::Missed(_))) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err(Broken::new("the subscription ended by itself")),
                }
            }
        };
        within(network, &format!("a message of {len} bytes arrives"), sending).await?;
    }
    Ok(Verdict::Kept)
}

pub(super) async fn everybody_hears(network: &dyn Network) -> Outcome {
    let members = [network.member().await?, network.member().await?, network.member().await?];
    let topic = Topic::from("everybody");
    let mut subscriptions = Vec::new();
    for member in &members {
        subscriptions.push(member.subscribe(&topic).await?);
    }
    for (at, sender) in members.iter().enumerate() {
        let bytes = pattern(300, at);
        for (_, by) in subscriptions.iter_mut().enumerate().filter(|(to, _)| *to != at) {
            heard(network, sender, &topic, &bytes, by).await?;
        }
    }
    Ok(Verdict::Kept)
}

pub(super) async fn another_topic_does_not_hear(network: &dyn Network) -> Outcome {
    let (alice, bob) = (network.member().await?, network.member().await?);
    let (topic, other) = (Topic::from("one"), Topic::from("one "));
    let (mut by, mut not_by) = (bob.subscribe(&topic).await?, bob.subscribe(&other).await?);
    heard(network, &alice, &topic, &pattern(50, 1), &mut by).await?;
    match tokio::time::timeout(STRAY, not_by.next()).await {
        Err(_) => Ok(Verdict::Kept),
        Ok(item) => Err(Broken::new(format!("another topic hears {item:?}"))),
    }
}

pub(super) async fn topics_are_any_bytes(network: &dyn Network) -> Outcome {
    let (alice, bob) = (network.member().await?, network.member().await?);
    let topics = [vec![0], vec![0, 255, b'/', b'.', b'*', b'>', b' '], vec![b'x'; 1_000], "süß 🥖".into()];
    for (at, topic) in topics.into_iter().map(Topic::new).enumerate() {
        let mut by = bob.subscribe(&topic).await?;
        heard(network, &alice, &topic, &pattern(20, at), &mut by).await?;
    }
    Ok(Verdict::Kept)
}

pub(super) async fn the_largest_message_arrives(network: &dyn Network) -> Outcome {
    let (alice, bob) = (network.member().await?, network.member().await?);
    let topic = Topic::from("largest");
    let mut by = bob.subscribe(&topic).await?;
    heard(network, &alice, &topic, &pattern(max(&alice), 3), &mut by).await?;
    Ok(Verdict::Kept)
}

pub(super) async fn what_is_too_large_is_refused_for_good(network: &dyn Network) -> Outcome {
    let alice = network.member().await?;
    let len = max(&alice) + 1;
    match alice.publish(&Topic::from("larger"), None, pattern(len, 3)).await {
        Err(error @ TransportError::TooLarge { bytes, max }) if bytes == len && max == len - 1 => {
            if error.should_retry() {
                return Err(Broken::new("it would be tried again"));
            }
            Ok(Verdict::Kept)
        }
        other => Err(Broken::new(format!("{len} bytes are {other:?}"))),
    }
}

pub(super) async fn two_subscriptions_of_one_member_both_hear(network: &dyn Network) -> Outcome {
    let (alice, bob) = (network.member().await?, network.member().await?);
    let topic = Topic::from("twice");
    let (mut one, mut other) = (bob.subscribe(&topic).await?, bob.subscribe(&topic).await?);
    heard(network, &alice, &topic, &pattern(50, 1), &mut one).await?;
    heard(network, &alice, &topic, &pattern(50, 2), &mut other).await?;
    heard(network, &alice, &topic, &pattern(50, 3), &mut one).await?;
    Ok(Verdict::Kept)
}

pub(super) async fn a_dropped_subscription_can_be_made_again(network: &dyn Network) -> Outcome {
    let (alice, bob) = (network.member().await?, network.member().await?);
    let topic = Topic::from("again");
    for round in 0..3 {
        let mut by = bob.subscribe(&topic).await?;
        heard(network, &alice, &topic, &pattern(50, round), &mut by).await?;
    }
    Ok(Verdict::Kept)
}

pub(super) async fn an_answer_reaches_who_was_heard(network: &dyn Network) -> Outcome {
    let (alice, bob) = (network.member().await?, network.member().await?);
    let topic = Topic::from("answer");
    let (mut to_alice, mut to_bob) = (alice.subscribe(&topic).await?, bob.subscribe(&topic).await?);
    let Some(addr) = heard(network, &alice, &topic, &pattern(50, 1), &mut to_bob).await?.from else {
        return Ok(Verdict::NotOffered);
    };
    for (len, seed) in [(60, 2), (max(&bob), 3)] {
        let answer = pattern(len, seed);
        let sending = async {
            loop {
                bob.publish(&topic, Some(&addr), answer.clone()).await?;
                if let Ok(incoming) = tokio::time::timeout(AGAIN, next_of(&mut to_alice, &answer)).await {
                    return incoming;
                }
            }
        };
        within(network, "an answer arrives", sending).await?;
    }
    Ok(Verdict::Kept)
}

pub(super) async fn who_does_not_read_stops_nobody(network: &dyn Network) -> Outcome {
    let (alice, bob, carol) = (network.member().await?, network.member().await?, network.member().await?);
    let topic = Topic::from("sleeper");
    let (_asleep, mut by) = (bob.subscribe(&topic).await?, carol.subscribe(&topic).await?);
    let _asleep_too = carol.subscribe(&topic).await?;
    let flood = async {
        for number in 0..6_000 {
            alice.publish(&topic, None, pattern(700, number)).await?;
        }
        Ok(())
    };
    within(network, "publishing ends", flood).await?;
    heard(network, &alice, &topic, &pattern(50, 1), &mut by).await?;
    Ok(Verdict::Kept)
}

pub(super) async fn messages_of_many_tasks_stay_whole(network: &dyn Network) -> Outcome {
    const TASKS: usize = 8;
    let (alice, bob) = (network.member().await?, network.member().await?);
    let topic = Topic::from("tasks");
    let mut by = bob.subscribe(&topic).await?;
    let expected: Vec<Bytes> = (0..TASKS).map(|task| pattern(3_000.min(max(&alice)) - task, task)).collect();
    let mut open: Vec<&Bytes> = expected.iter().collect();
    let sending = async {
        while !open.is_empty() {
            let tasks: Vec<_> = open
                .iter()
                .map(|bytes| {
                    let (alice, topic, bytes) = (alice.clone(), topic.clone(), (*bytes).clone());
                    tokio::spawn(async move { alice.publish(&topic, None, bytes).await })
                })
                .collect();
            for task in tasks {
                task.await.map_err(|error| Broken::new(error.to_string()))??;
            }
            while let Ok(item) = tokio::time::timeout(AGAIN, by.next()).await {
                match item {
                    Some(Ok(incoming)) if expected.contains(&incoming.bytes) => {
                        open.retain(|bytes| **bytes != incoming.bytes);
                    }
                    Some(Err(TransportError::Missed(_))) => {}
                    other => return Err(Broken::new(format!("heard what nobody sent: {other:?}"))),
                }
            }
        }
        Ok(())
    };
    within(network, "all messages arrive", sending).await?;
    Ok(Verdict::Kept)
}

pub(super) async fn what_was_hinted_is_fetched_or_unsupported(network: &dyn Network) -> Outcome {
    let alice = network.member().await?;
    let topic = Topic::from("archive");
    let bytes = pattern(80, 1);
    let Some(hint) = alice.publish(&topic, None, bytes.clone()).await? else {
        return match alice.fetch(&topic, &["x".into()]).await {
            Err(TransportError::Unsupported) => Ok(Verdict::NotOffered),
            other => Err(Broken::new(format!("it gives no hints, and fetches {other:?}"))),
        };
    };
    match alice.fetch(&topic, &[hint]).await?.as_slice() {
        [found] if *found == bytes => Ok(Verdict::Kept),
        other => Err(Broken::new(format!("a hint finds {} messages, not the one", other.len()))),
    }
}
