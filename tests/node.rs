//! Nodes on a network in memory: what an application sees of it, on a good one and on a bad one. Time is tokio's, paused.
#![cfg(feature = "manager")]
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use reliable_channel::MessageId;
use reliable_channel::channel::{Config, Event};
use reliable_channel::manager::{Clock, ScaledClock};
use reliable_channel::reliable::{
    ChannelEvent, Events, LedgerFile, Node, NodeError, RateLimit, RequestState, Segmentation,
};
use reliable_channel::segment::Mode;
use reliable_channel::store::MemoryPersistence;
use reliable_channel::transport::{
    CallbackTransport, Conditions, Hint, Incoming, MemoryNetwork, MemoryTransport, PeerAddr, Subscription, Topic,
    Transport, TransportError,
};
use tokio::sync::watch::Receiver;

fn node(name: &str, transport: impl Transport) -> Node {
    Node::builder(name).transport(transport).seed(name.len() as u64).build().unwrap()
}

/// Alice on a network, and Bob, whose plug can be pulled.
fn with_a_plug() -> (MemoryTransport, Node, Node) {
    let network = MemoryNetwork::new();
    let plug = network.member();
    (plug.clone(), node("alice", network.member()), node("bob", plug))
}

/// Reads on until an event is what is looked for, and gives what that says.
async fn until<T>(events: &mut Events, what: &str, look: impl Fn(&ChannelEvent) -> Option<T>) -> T {
    let mut told = Vec::new();
    let reading = async {
        loop {
            let event = events.next().await.unwrap_or_else(|| panic!("it ended before {what}"));
            if let Some(found) = look(&event) {
                return found;
            }
            told.push(event);
        }
    };
    match tokio::time::timeout(Duration::from_secs(600), reading).await {
        Ok(found) => found,
        Err(_) => panic!("not told: {what}; told: {told:#?}"),
    }
}

fn text(event: &ChannelEvent) -> Option<String> {
    match event {
        ChannelEvent::Received(delivery) => Some(String::from_utf8(delivery.body.content.to_vec()).unwrap()),
        _ => None,
    }
}

async fn hears(events: &mut Events) -> String {
    until(events, "a message", text).await
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_is_heard_and_its_sender_learns_who_has_it() {
    let network = MemoryNetwork::new();
    let (alice, bob) = (node("alice", network.member()), node("bob", network.member()));
    let (lobby, mut told) = alice.join("lobby").await.unwrap();
    let (_bobs, mut heard) = bob.join("lobby").await.unwrap();
    let request = lobby.send("hello").await.unwrap();
    assert_eq!(hears(&mut heard).await, "hello");
    let sent = until(&mut told, "sent", |event| match event {
        ChannelEvent::Sent { request } => Some(request.clone()),
        _ => None,
    });
    assert_eq!(sent.await, request);
    let delivered = until(&mut told, "delivered", |event| match event {
        ChannelEvent::Delivered { request, by, .. } => Some((request.clone(), by.to_string())),
        _ => None,
    });
    assert_eq!(delivered.await, (request.clone(), "bob".to_owned()));
    assert_eq!(lobby.request(&request).unwrap(), Some(RequestState::Delivered { by: vec!["bob".into()] }));
    lobby.send_ephemeral("typing").await.unwrap();
    let typing = until(&mut heard, "something ephemeral", |event| match event {
        ChannelEvent::Other(Event::EphemeralReceived { content, .. }) => Some(content.clone()),
        _ => None,
    });
    assert_eq!(typing.await, "typing");
}

#[tokio::test(start_paused = true)]
async fn all_hear_all_on_a_bad_network_and_in_one_order() {
    const EACH: usize = 20;
    let network = MemoryNetwork::seeded(11);
    let (min_delay, max_delay) = (Duration::from_millis(10), Duration::from_millis(400));
    network.set_conditions(Conditions { loss: 0.3, duplicate: 0.1, min_delay, max_delay });
    let mut joined = Vec::new();
    for name in ["alice", "bob", "carol", "dave"] {
        let node = node(name, network.member());
        let (lobby, events) = node.join("lobby").await.unwrap();
        joined.push((node, lobby, events));
    }
    for number in 0..EACH {
        for (node, lobby, _) in &joined {
            lobby.send(format!("{} {number}", node.participant())).await.unwrap();
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }
    for (_, _, events) in &mut joined {
        for _ in 0..3 * EACH {
            hears(events).await;
        }
    }
    let logs: Vec<Vec<_>> = joined
        .iter()
        .map(|(_, lobby, _)| lobby.history().unwrap().iter().map(|logged| logged.body.key.clone()).collect())
        .collect();
    assert_eq!(logs[0].len(), 4 * EACH);
    assert!(logs.iter().all(|log| *log == logs[0]));
    assert!(network.counts().lost > 50, "{:?}", network.counts());
}

#[tokio::test(start_paused = true)]
async fn a_network_that_goes_and_comes_back_is_told_and_loses_nothing() {
    let (plug, alice, bob) = with_a_plug();
    let (alices, mut alice_hears) = alice.join("lobby").await.unwrap();
    plug.disconnect();
    let (bobs, mut bob_hears) = bob.join("lobby").await.unwrap();
    let is_down = |event: &ChannelEvent| matches!(event, ChannelEvent::Disconnected { .. }).then_some(());
    let is_up = |event: &ChannelEvent| matches!(event, ChannelEvent::Connected).then_some(());
    until(&mut bob_hears, "that there is no network", is_down).await;
    bobs.send("from nowhere").await.unwrap();
    tokio::time::sleep(Duration::from_secs(40)).await;
    plug.partition(0);
    until(&mut bob_hears, "that the network is there", is_up).await;
    until(&mut bob_hears, "sent", |event| matches!(event, ChannelEvent::Sent { .. }).then_some(())).await;
    assert_eq!(hears(&mut alice_hears).await, "from nowhere");
    alices.send("welcome").await.unwrap();
    assert_eq!(hears(&mut bob_hears).await, "welcome");
    plug.disconnect();
    until(&mut bob_hears, "that it is gone", is_down).await;
    alices.send("missed").await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    plug.partition(0);
    until(&mut bob_hears, "that it is back", is_up).await;
    assert_eq!(hears(&mut bob_hears).await, "missed");
}

#[tokio::test(start_paused = true)]
async fn what_the_network_has_not_taken_is_not_given_up_and_its_answers_are_waited_for_from_then_on() {
    let (plug, alice, bob) = with_a_plug();
    let (bobs, mut told) = bob.join("lobby").await.unwrap();
    plug.disconnect();
    let (one, two) = (bobs.send("one").await.unwrap(), bobs.send("two").await.unwrap());
    // Five resends take three minutes.
    tokio::time::sleep(Duration::from_secs(600)).await;
    plug.partition(0);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        match told.next().await.unwrap() {
            ChannelEvent::Sent { request } => seen.push(request),
            event @ ChannelEvent::DeliveryError { .. } => panic!("{event:?}"),
            _ => {}
        }
    }
    assert_eq!(seen, [one.clone(), two.clone()]);
    for request in [&one, &two] {
        assert_eq!(bobs.request(request).unwrap(), Some(RequestState::Pending));
    }
    let (_alices, mut alice_hears) = alice.join("lobby").await.unwrap();
    let mut heard = vec![hears(&mut alice_hears).await, hears(&mut alice_hears).await];
    heard.sort();
    assert_eq!(heard, ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn when_the_network_is_back_what_nobody_has_goes_out_at_once() {
    let (plug, alice, bob) = with_a_plug();
    let (_alices, mut alice_hears) = alice.join("lobby").await.unwrap();
    let (bobs, _told) = bob.join("lobby").await.unwrap();
    plug.partition(1);
    bobs.send("on an island").await.unwrap();
    // By now it is sent again every 40 seconds at most.
    tokio::time::sleep(Duration::from_secs(40)).await;
    plug.disconnect();
    tokio::time::sleep(Duration::from_millis(10)).await;
    plug.partition(0);
    let soon = tokio::time::timeout(Duration::from_secs(2), hears(&mut alice_hears)).await;
    assert_eq!(soon.as_deref(), Ok("on an island"));
}

/// A network that takes its time.
struct Slow(MemoryTransport);

#[async_trait::async_trait]
impl Transport for Slow {
    async fn subscribe(&self, topic: &Topic) -> Result<Subscription, TransportError> {
        self.0.subscribe(topic).await
    }

    async fn publish(
        &self,
        topic: &Topic,
        to: Option<&PeerAddr>,
        bytes: Bytes,
    ) -> Result<Option<Hint>, TransportError> {
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.0.publish(topic, to, bytes).await
    }

    fn max_bytes(&self) -> Receiver<usize> {
        self.0.max_bytes()
    }
}

#[tokio::test(start_paused = true)]
async fn closing_waits_until_the_network_has_what_was_said_but_not_for_ever() {
    let network = MemoryNetwork::new();
    let alice = node("alice", Slow(network.member()));
    let (lobby, _told) = alice.join("lobby").await.unwrap();
    for number in 0..3 {
        lobby.send(number.to_string()).await.unwrap();
    }
    lobby.close().await.unwrap();
    assert_eq!(network.counts().published, 3);
    let plug = network.member();
    let bob = node("bob", plug.clone());
    let (lobby, _told) = bob.join("lobby").await.unwrap();
    plug.disconnect();
    lobby.send("nobody takes it").await.unwrap();
    tokio::time::timeout(Duration::from_secs(2), lobby.close()).await.expect("it does not wait for ever").unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_closing_nothing_is_published_or_told_and_joined_again_the_history_is_there() {
    let network = MemoryNetwork::new();
    let store = Arc::new(MemoryPersistence::new());
    let alice = Node::builder("alice").transport(network.member()).persistence(store).build().unwrap();
    let bob = node("bob", network.member());
    let (lobby, mut told) = alice.join("lobby").await.unwrap();
    let (bobs, mut heard) = bob.join("lobby").await.unwrap();
    lobby.send("one").await.unwrap();
    assert_eq!(hears(&mut heard).await, "one");
    lobby.send("two").await.unwrap();
    lobby.close().await.unwrap();
    assert_eq!(hears(&mut heard).await, "two", "closing sends what is queued");
    bobs.close().await.unwrap();
    let published = network.counts().published;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(network.counts().published, published);
    let (bobs, _heard) = bob.join("lobby").await.unwrap();
    bobs.send("three").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    while let Some(event) = told.next().await {
        assert_eq!(text(&event), None);
    }
    assert!(matches!(lobby.send("four").await, Err(NodeError::NotJoined(_))));
    assert!(matches!(lobby.close().await, Err(NodeError::NotJoined(_))));
    let (lobby, mut told) = alice.join("lobby").await.unwrap();
    let history: Vec<_> = lobby.history().unwrap().iter().map(|logged| logged.body.content.clone()).collect();
    assert_eq!(history, ["one", "two"]);
    assert!(matches!(alice.join("lobby").await, Err(NodeError::AlreadyJoined(_))));
    assert_eq!(hears(&mut told).await, "three");
    assert!(alice.shutdown().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_refused_with_its_size_and_nothing_is_sent() {
    let network = MemoryNetwork::new();
    network.set_max_bytes(1_000);
    let whole = Segmentation::default().mode(Mode::Off);
    let alice = Node::builder("alice").transport(network.member()).segmentation(whole).build().unwrap();
    let (lobby, mut told) = alice.join("lobby").await.unwrap();
    match lobby.send(vec![1; 1_000]).await {
        Err(NodeError::TooLarge { bytes, max: 1_000 }) => assert!((1_001..1_300).contains(&bytes), "{bytes}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(network.counts().published, 0);
    // A network that shrinks later refuses for good, and that is told.
    network.set_max_bytes(400);
    let request = lobby.send(vec![1; 700]).await.unwrap();
    let refused = until(&mut told, "an error", |event| match event {
        ChannelEvent::SendError { request, segment: None, error: TransportError::TooLarge { max: 400, .. } } => {
            Some(request.clone())
        }
        _ => None,
    });
    assert_eq!(refused.await, request);
}

#[tokio::test(start_paused = true)]
async fn who_reads_too_late_is_told_and_gets_every_message_from_the_log() {
    const MESSAGES: usize = 6_000;
    let network = MemoryNetwork::new();
    let mut config = Config::default();
    config.max_message_history = 10_000;
    let bob = Node::builder("bob").transport(network.member()).config(config.clone()).build().unwrap();
    let (_bobs, mut heard) = bob.join("lobby").await.unwrap();
    let alice = Node::builder("alice").transport(network.member()).config(config).build().unwrap();
    let (lobby, _told) = alice.join("lobby").await.unwrap();
    for number in 0..MESSAGES {
        while lobby.send(number.to_string()).await.is_err() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        if number % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (mut numbers, mut missed) = (Vec::new(), 0);
    while numbers.len() < MESSAGES {
        let next = tokio::time::timeout(Duration::from_secs(600), heard.next()).await;
        match next.expect("all is told").unwrap() {
            ChannelEvent::Missed { events, lost } => missed += events + 1_000_000 * lost,
            event => numbers.extend(text(&event).map(|text| text.parse::<usize>().unwrap())),
        }
    }
    assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>());
    assert!((1..1_000_000).contains(&missed), "{missed}");
    lobby.send("after").await.unwrap();
    assert_eq!(hears(&mut heard).await, "after");
}

#[tokio::test(start_paused = true)]
async fn channels_that_share_a_topic_do_not_mix() {
    let network = MemoryNetwork::new();
    let (alice, bob) = (node("alice", network.member()), node("bob", network.member()));
    let shared = || Topic::from("/app/1/all");
    let (a, _) = alice.channel("a").topic(shared()).join().await.unwrap();
    let (b, _) = alice.channel("b").topic(shared()).join().await.unwrap();
    let (_in_a, mut hears_a) = bob.channel("a").topic(shared()).join().await.unwrap();
    let (_in_b, mut hears_b) = bob.channel("b").topic(shared()).join().await.unwrap();
    let (_apart, mut hears_apart) = node("carol", network.member()).join("a").await.unwrap();
    b.send("for b").await.unwrap();
    a.send("for a").await.unwrap();
    assert_eq!((hears(&mut hears_a).await, hears(&mut hears_b).await), ("for a".into(), "for b".into()));
    assert_eq!(bob.manager().stats(&"a".into()).unwrap().duplicates, 0);
    let quiet = tokio::time::timeout(Duration::from_secs(60), hears(&mut hears_apart)).await;
    assert!(quiet.is_err(), "another topic is heard: {quiet:?}");
}

/// A network that wants nobody.
struct Refuses(CallbackTransport);

#[async_trait::async_trait]
impl Transport for Refuses {
    async fn subscribe(&self, _: &Topic) -> Result<Subscription, TransportError> {
        Err(TransportError::Refused("banned".into()))
    }

    async fn publish(
        &self,
        topic: &Topic,
        to: Option<&PeerAddr>,
        bytes: Bytes,
    ) -> Result<Option<Hint>, TransportError> {
        self.0.publish(topic, to, bytes).await
    }

    fn max_bytes(&self) -> Receiver<usize> {
        self.0.max_bytes()
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_is_ignored_and_a_network_that_refuses_for_good_is_an_error() {
    let host = CallbackTransport::new(60_000, |_, _, _| Ok(None), |_, _| {});
    let alice = node("alice", host.clone());
    let (lobby, mut told) = alice.join("lobby").await.unwrap();
    for len in 0..200 {
        host.receive(&"lobby".into(), &Incoming::new(vec![len; usize::from(len)]));
    }
    lobby.send("still here").await.unwrap();
    until(&mut told, "sent", |event| matches!(event, ChannelEvent::Sent { .. }).then_some(())).await;
    let banned = node("bob", Refuses(host));
    assert!(matches!(banned.join("lobby").await, Err(NodeError::Transport(TransportError::Refused(_)))));
    assert_eq!(banned.manager().channels(), []);
    // Who does not wait for the network has joined, and hears of it.
    let (_lobby, mut events) = banned.channel("lobby").wait_for_network(false).join().await.unwrap();
    let refused = events.next().await.unwrap();
    assert!(matches!(refused, ChannelEvent::Disconnected { error: TransportError::Refused(_) }), "{refused:?}");
}

/// A network that notes what is published, by epochs of its clock.
struct Noted {
    network: MemoryTransport,
    clock: Arc<ScaledClock>,
    published: Published,
}

const EPOCH: Duration = Duration::from_secs(60);

#[async_trait::async_trait]
impl Transport for Noted {
    async fn subscribe(&self, topic: &Topic) -> Result<Subscription, TransportError> {
        self.network.subscribe(topic).await
    }

    async fn publish(
        &self,
        topic: &Topic,
        to: Option<&PeerAddr>,
        bytes: Bytes,
    ) -> Result<Option<Hint>, TransportError> {
        let (message, _) = reliable_channel::wire::decode(&bytes, &Default::default()).unwrap();
        let epoch = self.clock.wall().as_millis() / 1_000 / EPOCH.as_secs();
        self.published.lock().unwrap().push((epoch, message.id));
        self.network.publish(topic, to, bytes).await
    }

    fn max_bytes(&self) -> Receiver<usize> {
        self.network.max_bytes()
    }
}

type Published = Arc<Mutex<Vec<(u64, MessageId)>>>;

/// Who may say so much in a minute, and what went out.
fn limited(
    network: &MemoryTransport,
    store: &Arc<MemoryPersistence>,
    clock: &Arc<ScaledClock>,
    limit: RateLimit,
) -> (Node, Published) {
    let published = Published::default();
    let noted = Noted { network: network.clone(), clock: clock.clone(), published: published.clone() };
    let node = Node::builder("alice").transport(noted).persistence(store.clone()).clock(clock.clone()).seed(1);
    (node.rate_limit(limit).build().unwrap(), published)
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_holds_for_all_that_goes_out_and_across_restarts() {
    let network = MemoryNetwork::seeded(4);
    network.set_conditions(Conditions { loss: 0.3, ..Conditions::default() });
    let (member, store, folder) = (network.member(), Arc::default(), tempfile::tempdir().unwrap());
    let clock = Arc::new(ScaledClock::new(1));
    let limit = || RateLimit::new(10, EPOCH).kept_by(LedgerFile::new(folder.path().join("sent")));
    let bob = node("bob", network.member());
    let (_bobs, mut heard) = bob.join("lobby").await.unwrap();
    let mut published: Vec<u64> = Vec::new();
    for run in 0..4 {
        let (alice, noted) = limited(&member, &store, &clock, limit());
        let (lobby, _told) = alice.join("lobby").await.unwrap();
        for number in 0..8 {
            lobby.send(format!("{run} {number}")).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
        alice.shutdown().await;
        published.extend(noted.lock().unwrap().iter().map(|(epoch, _)| epoch));
    }
    let (alice, noted) = limited(&member, &store, &clock, limit());
    let (_lobby, _told) = alice.join("lobby").await.unwrap();
    for _ in 0..32 {
        hears(&mut heard).await;
    }
    published.extend(noted.lock().unwrap().iter().map(|(epoch, _)| epoch));
    let mut counts = BTreeMap::<u64, usize>::new();
    published.iter().for_each(|epoch| *counts.entry(*epoch).or_default() += 1);
    assert!(counts.values().all(|count| *count <= 10), "{counts:?}");
    assert!(counts.len() > 3, "it was never limited: {counts:?}");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_epoch_is_neither_sent_again_nor_given_up_before_it_was_sent() {
    let network = MemoryNetwork::new();
    // It counts from the next epoch on, since no ledger says what was sent in this one.
    let (alice, noted) =
        limited(&network.member(), &Arc::default(), &Arc::new(ScaledClock::new(1)), RateLimit::new(1, EPOCH));
    let bob = node("bob", network.member());
    let (lobby, mut told) = alice.join("lobby").await.unwrap();
    let (_bobs, mut heard) = bob.join("lobby").await.unwrap();
    let mut requests = Vec::new();
    for number in 0..8 {
        requests.push(lobby.send(number.to_string()).await.unwrap());
    }
    for number in 0..8 {
        assert_eq!(hears(&mut heard).await, number.to_string());
    }
    let ids: Vec<_> = noted.lock().unwrap().iter().map(|(_, id)| id.clone()).collect();
    let expected: Vec<_> = requests.iter().map(|request| request.message().clone()).collect();
    assert_eq!(ids, expected, "each once, and nothing else");
    let epochs: BTreeSet<u64> = noted.lock().unwrap().iter().map(|(epoch, _)| *epoch).collect();
    assert_eq!(epochs.len(), 8);
    let last = requests.pop().unwrap();
    let failed = until(&mut told, "delivered", |event| match event {
        ChannelEvent::DeliveryError { .. } => Some(true),
        ChannelEvent::Delivered { request, .. } if *request == last => Some(false),
        _ => None,
    });
    assert!(!failed.await, "it was given up before it was sent");
}

#[tokio::test]
async fn a_rate_limit_that_cannot_be_kept_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let builder = || Node::builder("alice").transport(MemoryNetwork::new().member());
    let refused = |limit: RateLimit| builder().rate_limit(limit).build().unwrap_err().to_string();
    let nothing = "the rate limit cannot be kept: it needs at least a message and a second";
    assert_eq!(refused(RateLimit::new(0, EPOCH)), nothing);
    assert_eq!(refused(RateLimit::new(1, Duration::from_millis(999))), nothing);
    let file = folder.path().join("sent");
    std::fs::write(&file, "?").unwrap();
    let why = refused(RateLimit::new(1, EPOCH).kept_by(LedgerFile::new(&file)));
    assert_eq!(why, format!("the rate limit cannot be kept: {} is damaged", file.display()));
}

/// A network with an archive of all that was published, which finds messages by their number.
#[derive(Clone)]
struct Archived(MemoryTransport, Arc<Mutex<Vec<Bytes>>>);

#[async_trait::async_trait]
impl Transport for Archived {
    async fn subscribe(&self, topic: &Topic) -> Result<Subscription, TransportError> {
        self.0.subscribe(topic).await
    }

    async fn publish(
        &self,
        topic: &Topic,
        to: Option<&PeerAddr>,
        bytes: Bytes,
    ) -> Result<Option<Hint>, TransportError> {
        self.0.publish(topic, to, bytes.clone()).await?;
        let mut all = self.1.lock().unwrap();
        all.push(bytes);
        Ok(Some(Hint::new(vec![all.len() as u8 - 1])))
    }

    async fn fetch(&self, _: &Topic, hints: &[Hint]) -> Result<Vec<Bytes>, TransportError> {
        let all = self.1.lock().unwrap();
        Ok(hints.iter().map(|hint| all[usize::from(hint.as_bytes()[0])].clone()).collect())
    }

    fn max_bytes(&self) -> Receiver<usize> {
        self.0.max_bytes()
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_fetched_by_its_hint_where_nobody_repairs_it() {
    let network = MemoryNetwork::new();
    let lose = |loss| network.set_conditions(Conditions { loss, ..Conditions::default() });
    let archive = Arc::default();
    let alice = node("alice", Archived(network.member(), Arc::clone(&archive)));
    let bob = node("bob", Archived(network.member(), archive));
    let (lobby, _told) = alice.join("lobby").await.unwrap();
    let (_bobs, mut heard) = bob.join("lobby").await.unwrap();
    lobby.send("zero").await.unwrap();
    assert_eq!(hears(&mut heard).await, "zero");
    lose(1.0);
    lobby.send("one").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    lose(0.0);
    lobby.send("two").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    lose(1.0);
    assert_eq!(hears(&mut heard).await, "one");
    assert_eq!(hears(&mut heard).await, "two");
}
