//! Payloads too large for one message, between nodes on a network in memory. Time is tokio's, paused.
#![cfg(feature = "manager")]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reliable_channel::channel::{Config, Event};
use reliable_channel::reliable::{
    ChannelEvent, Events, Node, NodeError, ReliableChannel, RequestId, RequestState, Segmentation,
};
use reliable_channel::segment::{Mode, Options, split};
use reliable_channel::store::{MemoryPersistence, Persistence as _};
use reliable_channel::transport::{
    Conditions, Hint, MemoryNetwork, MemoryTransport, PeerAddr, Subscription, Topic, Transport, TransportError,
};
use tokio::sync::watch::Receiver;

/// Messages of so many bytes, so that a few kilobytes take many segments.
const MAX_BYTES: usize = 2_500;

fn network(seed: u64) -> MemoryNetwork {
    let network = MemoryNetwork::seeded(seed);
    network.set_max_bytes(MAX_BYTES);
    network
}

fn node(name: &str, transport: impl Transport) -> Node {
    Node::builder(name).transport(transport).seed(name.len() as u64).build().unwrap()
}

fn kept(name: &str, transport: &MemoryTransport, store: &Arc<MemoryPersistence>) -> Node {
    Node::builder(name).transport(transport.clone()).persistence(store.clone()).seed(7).build().unwrap()
}

/// Bytes that differ from kind to kind and from place to place.
fn payload(kind: u8, len: usize) -> Bytes {
    (0..len).map(|at| kind ^ (at >> 8) as u8 ^ at as u8).collect()
}

async fn until<T>(events: &mut Events, what: &str, mut look: impl FnMut(&ChannelEvent) -> Option<T>) -> T {
    let reading = async {
        loop {
            let event = events.next().await.unwrap_or_else(|| panic!("it ended before {what}"));
            if let Some(found) = look(&event) {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(1_800), reading).await.unwrap_or_else(|_| panic!("not told: {what}"))
}

async fn hears(events: &mut Events) -> Bytes {
    until(events, "a message", |event| match event {
        ChannelEvent::Received(delivery) => Some(delivery.body.content.clone()),
        _ => None,
    })
    .await
}

async fn delivered(events: &mut Events, to: &str) -> RequestId {
    until(events, "delivered", |event| match event {
        ChannelEvent::Delivered { request, by, .. } if by.as_str() == Some(to) => Some(request.clone()),
        _ => None,
    })
    .await
}

fn contents(lobby: &ReliableChannel) -> Vec<Bytes> {
    lobby.history().unwrap().iter().map(|logged| logged.body.content.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_large_payload_is_received_once_and_whole_and_its_sender_learns_who_has_all_of_it() {
    let network = network(1);
    let (alice, bob) = (node("alice", network.member()), node("bob", network.member()));
    let (lobby, mut told) = alice.join("lobby").await.unwrap();
    let (bobs, mut heard) = bob.join("lobby").await.unwrap();
    let file = payload(1, 150_000);
    lobby.send("before").await.unwrap();
    let request = lobby.send(file.clone()).await.unwrap();
    lobby.send("after").await.unwrap();
    for expected in [Bytes::from("before"), file.clone(), "after".into()] {
        assert_eq!(hears(&mut heard).await, expected);
    }
    let (mut sent, mut is_sent) = (Vec::new(), 0);
    let by = until(&mut told, "delivered", |event| match event {
        ChannelEvent::Sending { request: of, sent: now, of: all } if *of == request => {
            sent.push((*now, *all));
            None
        }
        ChannelEvent::Sent { request: of } if *of == request => {
            is_sent += 1;
            None
        }
        ChannelEvent::Delivered { request: of, by, after_error: false } if *of == request => Some(by.to_string()),
        _ => None,
    });
    assert_eq!(by.await, "bob");
    let all = sent.last().unwrap().1;
    assert!(all > 90 && (16..=32).contains(&sent.len()), "{sent:?}");
    assert_eq!((sent.last().unwrap(), is_sent), (&(all, all), 1));
    assert_eq!(lobby.request(&request).unwrap(), Some(RequestState::Delivered { by: vec!["bob".into()] }));
    assert_eq!(contents(&lobby), contents(&bobs));
    assert_eq!(contents(&bobs), [Bytes::from("before"), file, "after".into()]);
    let ids = |lobby: &ReliableChannel| lobby.history().unwrap()[1].body.key.id.clone();
    assert_eq!((&ids(&lobby), &ids(&bobs)), (request.message(), request.message()));
}

#[tokio::test(start_paused = true)]
async fn on_a_bad_network_each_payload_arrives_once_in_one_order_for_all() {
    for parity in [false, true] {
        let network = network(3);
        let (min_delay, max_delay) = (Duration::from_millis(5), Duration::from_millis(200));
        network.set_conditions(Conditions { loss: 0.2, duplicate: 0.1, min_delay, max_delay });
        let mut joined = Vec::new();
        for name in ["alice", "bob", "carol"] {
            let segmentation = Segmentation::default().parity(parity);
            let node = Node::builder(name).transport(network.member()).segmentation(segmentation).seed(5);
            let node = node.build().unwrap();
            let (lobby, events) = node.join("lobby").await.unwrap();
            joined.push((node, lobby, events));
        }
        // The second is the first one once more.
        for (kind, (_, lobby, _)) in (1..).zip(&joined) {
            lobby.send(payload(kind, 9_000)).await.unwrap();
            lobby.send(payload(kind, 9_000)).await.unwrap();
            lobby.send(Bytes::from(vec![kind])).await.unwrap();
        }
        for (own, (_, _, events)) in (1..).zip(&mut joined) {
            let mut heard: Vec<Vec<usize>> = vec![Vec::new(); 4];
            for _ in 0..6 {
                let content = hears(events).await;
                let kind = (1..4).find(|kind| content == payload(*kind, 9_000) || content[..] == [*kind]).unwrap();
                heard[usize::from(kind)].push(content.len());
            }
            for kind in (1..4_u8).filter(|kind| *kind != own) {
                assert_eq!(heard[usize::from(kind)], [9_000, 9_000, 1], "parity: {parity}");
            }
        }
        tokio::time::sleep(Duration::from_secs(120)).await;
        let logs: Vec<_> = joined.iter().map(|(_, lobby, _)| lobby.history().unwrap()).collect();
        let keys = |at: usize| logs[at].iter().map(|logged| logged.body.key.clone()).collect::<Vec<_>>();
        assert_eq!(logs[0].len(), 9);
        assert_eq!((keys(0), keys(0)), (keys(1), keys(2)));
    }
}

/// Publishes so many messages, and loses those that follow.
struct Breaks(MemoryTransport, Arc<AtomicUsize>);

#[async_trait]
impl Transport for Breaks {
    async fn subscribe(&self, topic: &Topic) -> Result<Subscription, TransportError> {
        self.0.subscribe(topic).await
    }

    async fn publish(
        &self,
        topic: &Topic,
        to: Option<&PeerAddr>,
        bytes: Bytes,
    ) -> Result<Option<Hint>, TransportError> {
        match self.1.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => self.0.publish(topic, to, bytes).await,
            Err(_) => Ok(None),
        }
    }

    fn max_bytes(&self) -> Receiver<usize> {
        self.0.max_bytes()
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_restarts_in_mid_message_has_it_whole_and_once() {
    let network = network(4);
    let (store, plug) = (Arc::new(MemoryPersistence::new()), network.member());
    // Of the file's segments, less than half.
    let left = Arc::new(AtomicUsize::new(12));
    let alice = node("alice", Breaks(network.member(), left.clone()));
    let (lobby, mut told) = alice.join("lobby").await.unwrap();
    let file = payload(1, 60_000);
    let bob = kept("bob", &plug, &store);
    let (bobs, mut heard) = bob.join("lobby").await.unwrap();
    lobby.send("before").await.unwrap();
    let request = lobby.send(file.clone()).await.unwrap();
    assert_eq!(hears(&mut heard).await, "before");
    until(&mut heard, "some of it", |event| match event {
        ChannelEvent::Receiving { sender, progress } => (*sender == "alice".into() && progress.held > 3).then_some(()),
        _ => None,
    })
    .await;
    plug.disconnect();
    assert_eq!(contents(&bobs), ["before"], "what is not whole is not shown");
    assert!(bob.shutdown().await.is_clean());
    drop((bob, bobs, heard));
    plug.partition(0);
    network.set_conditions(Conditions { loss: 0.3, ..Conditions::default() });
    left.store(usize::MAX, Relaxed);
    let bob = kept("bob", &plug, &store);
    let (bobs, mut heard) = bob.join("lobby").await.unwrap();
    assert_eq!(hears(&mut heard).await, file);
    assert_eq!(delivered(&mut told, "bob").await.message().len(), 64);
    until(&mut told, "the file", |event| match event {
        ChannelEvent::Delivered { request: of, .. } if *of == request => Some(()),
        _ => None,
    })
    .await;
    lobby.send("after").await.unwrap();
    assert_eq!(hears(&mut heard).await, "after", "it is told once");
    assert_eq!(contents(&bobs), [Bytes::from("before"), file, "after".into()]);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_restarts_in_mid_message_sends_the_rest_and_knows_its_request() {
    let network = network(5);
    let (store, plug) = (Arc::new(MemoryPersistence::new()), network.member());
    let bob = node("bob", network.member());
    let (bobs, mut heard) = bob.join("lobby").await.unwrap();
    let alice = kept("alice", &plug, &store);
    let (lobby, told) = alice.join("lobby").await.unwrap();
    lobby.send("before").await.unwrap();
    assert_eq!(hears(&mut heard).await, "before");
    network.set_conditions(Conditions { loss: 0.5, ..Conditions::default() });
    let file = payload(1, 60_000);
    let request = lobby.send(file.clone()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    plug.disconnect();
    let state = lobby.request(&request).unwrap();
    assert!(matches!(state, Some(RequestState::Pending)), "{state:?}");
    drop((lobby, told));
    drop(alice);
    assert_eq!(contents(&bobs), ["before"]);
    plug.partition(0);
    let alice = kept("alice", &plug, &store);
    let (lobby, mut told) = alice.join("lobby").await.unwrap();
    assert_eq!(lobby.request(&request).unwrap(), Some(RequestState::Pending));
    assert_eq!(contents(&lobby), [Bytes::from("before"), file.clone()]);
    assert_eq!(hears(&mut heard).await, file);
    loop {
        if delivered(&mut told, "bob").await == request {
            break;
        }
    }
    assert_eq!(lobby.request(&request).unwrap(), Some(RequestState::Delivered { by: vec!["bob".into()] }));
    let alice = {
        assert!(alice.shutdown().await.is_clean());
        drop((lobby, told, alice));
        kept("alice", &plug, &store)
    };
    let (lobby, _told) = alice.join("lobby").await.unwrap();
    let state = lobby.request(&request).unwrap();
    assert_eq!(state, Some(RequestState::Delivered { by: Vec::new() }), "by whom is not kept");
}

#[tokio::test(start_paused = true)]
async fn a_payload_of_255_segments_does_not_push_the_conversation_out() {
    const HISTORY: usize = 20;
    let network = network(6);
    let mut config = Config::default();
    (config.max_message_history, config.max_log_bytes) = (HISTORY, 64 << 10);
    let node = |name: &str| Node::builder(name).transport(network.member()).config(config.clone()).build().unwrap();
    let (alice, bob) = (node("alice"), node("bob"));
    let (alices, mut told) = alice.join("lobby").await.unwrap();
    let (bobs, mut heard) = bob.join("lobby").await.unwrap();
    for number in 0..HISTORY - 1 {
        alices.send(format!("message {number}")).await.unwrap();
        hears(&mut heard).await;
    }
    // As large as it may be: its size is found by asking.
    let Err(NodeError::TooLarge { max, .. }) = alices.send(payload(1, 1 << 20)).await else { panic!("it fits") };
    let request = alices.send(payload(1, max)).await.unwrap();
    assert_eq!(hears(&mut heard).await, payload(1, max));
    while delivered(&mut told, "bob").await != request {}
    assert_eq!(segments(&bob), 255);
    for lobby in [alices, bobs] {
        let contents = contents(&lobby);
        assert_eq!((contents.len(), &contents[0][..]), (HISTORY, &b"message 0"[..]));
        assert_eq!(contents[HISTORY - 1].len(), max);
    }
}

/// Messages in the log that are segments.
fn segments(node: &Node) -> usize {
    node.manager().log(&"lobby".into()).unwrap().iter().filter(|logged| logged.body.content[0] == 0x0a).count()
}

#[tokio::test(start_paused = true)]
async fn files_over_their_bound_leave_the_log_and_what_is_older_with_them() {
    let network = network(7);
    let segmentation = Segmentation::default().max_file_bytes(100_000);
    let alice = Node::builder("alice").transport(network.member()).segmentation(segmentation).build().unwrap();
    let (lobby, _told) = alice.join("lobby").await.unwrap();
    let bob = Node::builder("bob").transport(network.member()).segmentation(segmentation).build().unwrap();
    let (bobs, mut heard) = bob.join("lobby").await.unwrap();
    let refused = lobby.send(payload(0, 50_000)).await;
    assert!(matches!(refused, Err(NodeError::TooLarge { bytes: 50_000, max: 20_000..=49_000 })), "{refused:?}");
    lobby.send("oldest").await.unwrap();
    for kind in 1..6 {
        lobby.send(payload(kind, 15_000)).await.unwrap();
        lobby.send("between").await.unwrap();
    }
    for _ in 0..11 {
        hears(&mut heard).await;
    }
    let kept = contents(&bobs);
    assert!(!kept.contains(&Bytes::from("oldest")) && kept.contains(&payload(5, 15_000)), "{}", kept.len());
    assert!((2..5).contains(&kept.iter().filter(|content| content.len() == 15_000).count()));
}

#[tokio::test(start_paused = true)]
async fn what_reads_as_a_segment_arrives_as_it_was_sent() {
    let network = network(8);
    let (alice, bob) = (node("alice", network.member()), node("bob", network.member()));
    let (lobby, _told) = alice.join("lobby").await.unwrap();
    let (_bobs, mut heard) = bob.join("lobby").await.unwrap();
    let looks_like = Bytes::from([&[0x0a, 32][..], &[7; 32], &[0x18, 2, 0x22, 1, 9]].concat());
    lobby.send(looks_like.clone()).await.unwrap();
    assert_eq!(hears(&mut heard).await, looks_like);
    lobby.send_ephemeral(looks_like.clone()).await.unwrap();
    let ephemeral = until(&mut heard, "something ephemeral", |event| match event {
        ChannelEvent::Other(Event::EphemeralReceived { content, .. }) => Some(content.clone()),
        _ => None,
    });
    assert_eq!(ephemeral.await, looks_like);
    assert!(matches!(lobby.send_ephemeral(payload(1, 5_000)).await, Err(NodeError::TooLarge { .. })));
    // A member that splits nothing takes nothing for a segment either, and its own is refused by those who do.
    let whole = Segmentation::default().mode(Mode::Off);
    let carol = Node::builder("carol").transport(network.member()).segmentation(whole).build().unwrap();
    let (carols, _told) = carol.join("lobby").await.unwrap();
    let broken = Bytes::from([&[0x0a, 32][..], &[7; 32], &[0x22, 1, 9]].concat());
    carols.send(broken).await.unwrap();
    let refused = until(&mut heard, "refused", |event| match event {
        ChannelEvent::SegmentRefused { sender, why, .. } => Some((sender.to_string(), *why)),
        _ => None,
    });
    assert_eq!(refused.await, ("carol".to_owned(), "it is of no data segments"));
}

#[tokio::test(start_paused = true)]
async fn who_reads_too_late_gets_whole_payloads_from_the_log() {
    const MESSAGES: usize = 4_500;
    let network = MemoryNetwork::seeded(9);
    network.set_max_bytes(2_000);
    let mut config = Config::default();
    config.max_message_history = 10_000;
    let node = |name: &str| Node::builder(name).transport(network.member()).config(config.clone()).build().unwrap();
    let (alice, bob) = (node("alice"), node("bob"));
    let (lobby, _told) = alice.join("lobby").await.unwrap();
    let (_bobs, mut heard) = bob.join("lobby").await.unwrap();
    for number in 0..MESSAGES {
        let content =
            if number.is_multiple_of(500) { payload((number / 500) as u8, 5_000) } else { number.to_string().into() };
        while lobby.send(content.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        if number.is_multiple_of(50) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (mut told, mut missed) = (Vec::new(), 0);
    while told.len() < MESSAGES {
        let next = tokio::time::timeout(Duration::from_secs(600), heard.next()).await;
        match next.expect("all is told").unwrap() {
            ChannelEvent::Missed { events, lost: 0 } => missed += events,
            ChannelEvent::Received(delivery) => told.push(delivery.body.content.clone()),
            _ => {}
        }
    }
    for (number, content) in told.iter().enumerate() {
        let expected =
            if number.is_multiple_of(500) { payload((number / 500) as u8, 5_000) } else { number.to_string().into() };
        assert_eq!(*content, expected, "{number}");
    }
    assert!(missed > 0);
}

#[tokio::test(start_paused = true)]
async fn a_log_is_listed_without_reading_its_files_and_what_is_not_what_its_hash_says_cannot_be_read() {
    let (network, store) = (network(8), Arc::new(MemoryPersistence::default()));
    let (alice, bobs) = (node("alice", network.member()), network.member());
    let (lobby, _told) = alice.join("lobby").await.unwrap();
    let mut spoiled = {
        let spoiler =
            Node::builder("spoiler").transport(network.member()).segmentation(Segmentation::default().mode(Mode::Off));
        let (lobby, events) = spoiler.build().unwrap().join("lobby").await.unwrap();
        let mut pieces = split(&payload(9, 2_500), &Options::of_room(1_500)).unwrap();
        let mut last = pieces.pop().unwrap().to_vec();
        let middle = last.len() / 2;
        last[middle] ^= 1;
        (lobby, events, [pieces.remove(0), last.into()])
    };
    {
        let bob = kept("bob", &bobs, &store);
        let (_bobs, mut heard) = bob.join("lobby").await.unwrap();
        lobby.send("a text").await.unwrap();
        lobby.send(payload(2, 9_000)).await.unwrap();
        let (spoiler, events, pieces) = &mut spoiled;
        // It has heard all that is said, so that its own comes after it.
        let mut bytes = 0;
        while bytes < 9_000 {
            bytes += hears(events).await.len();
        }
        for piece in pieces {
            spoiler.send(piece.clone()).await.unwrap();
        }
        until(&mut heard, "given up", |event| matches!(event, ChannelEvent::Abandoned(_)).then_some(())).await;
        assert!(bob.shutdown().await.is_clean());
    }
    let bob = kept("bob", &bobs, &store);
    let (bobs, _heard) = bob.join("lobby").await.unwrap();
    let entries = bobs.entries().unwrap();
    let listed: Vec<_> = entries.iter().map(|entry| (entry.sender().to_string(), entry.bytes())).collect();
    let expected = [("alice", 6), ("alice", 9_000), ("spoiler", 2_500)].map(|(who, bytes)| (who.to_owned(), bytes));
    assert_eq!(listed, expected);
    assert_eq!(entries[0].beginning(), b"a text");
    assert!(payload(2, 9_000).starts_with(entries[1].beginning()) && !entries[1].is_own());
    let keys: Vec<_> = entries.iter().map(|entry| entry.key().clone()).collect();
    let read: Vec<_> = entries.into_iter().map(|entry| entry.read().map(|logged| logged.body.key.clone())).collect();
    assert_eq!(read, [Some(keys[0].clone()), Some(keys[1].clone()), None]);
    assert_eq!(contents(&bobs), [Bytes::from("a text"), payload(2, 9_000)]);
}

#[tokio::test(start_paused = true)]
async fn a_payload_is_erased_with_all_its_segments_and_does_not_come_back() {
    let network = network(11);
    let (alice, bob) = (node("alice", network.member()), node("bob", network.member()));
    let (at_alice, _alice) = alice.join("lobby").await.unwrap();
    let store = Arc::new(MemoryPersistence::new());
    let (carol, transport) = ("carol", network.member());
    let third = kept(carol, &transport, &store);
    let (at_bob, mut bob_hears) = bob.join("lobby").await.unwrap();
    let (at_carol, mut carol_hears) = third.join("lobby").await.unwrap();
    let file = payload(3, 40_000);
    for content in [Bytes::from_static(b"before"), file.clone(), Bytes::from_static(b"after")] {
        at_alice.send(content).await.unwrap();
        hears(&mut bob_hears).await;
        hears(&mut carol_hears).await;
    }
    let of_file =
        at_carol.history().unwrap().iter().find(|logged| logged.body.content == file).unwrap().body.key.id.clone();
    at_carol.erase(&of_file).await.unwrap();
    let first = at_carol.history().unwrap()[0].body.key.id.clone();
    at_carol.erase(&first).await.unwrap();
    assert_eq!(contents(&at_carol), ["after"]);
    assert_eq!(contents(&at_bob).len(), 3, "others keep it");
    let content = |row: &reliable_channel::state::Row| match row {
        reliable_channel::state::Row::Message(logged) => logged.body.content.len(),
        _ => 0,
    };
    third.shutdown().await;
    let saved = store.load_channel(&"lobby".into()).await.unwrap();
    assert!(saved.rows.iter().map(content).sum::<usize>() < 100, "nothing of it is stored");
    // The others still have it, and catch up with who comes back.
    let third = kept(carol, &transport, &store);
    let (at_carol, _carol) = third.join("lobby").await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    at_alice.send("later").await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(contents(&at_carol), ["after", "later"]);
}
