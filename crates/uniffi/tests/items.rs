//! What a foreign program gives and is given, without one: a store and a network of the host's, events and errors.

#![allow(clippy::unwrap_used)] // these are tests

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use reliable_channel_uniffi::{
    Change, Channel, ChannelError, Event, Manager, Node, Options, Store, StoreError, Table, Transport, TransportError,
    Value,
};

async fn open_in(name: &str, channel: &str, store: Option<Arc<dyn Store>>) -> Arc<Manager> {
    let manager = Manager::new(name.into(), None, store).unwrap();
    manager.join(channel.into()).await.unwrap();
    manager
}

/// Table and key.
type Place = (u8, Vec<u8>);

/// A store of the host's: a map.
#[derive(Default)]
struct InMemory {
    values: Mutex<BTreeMap<Place, Vec<u8>>>,
    fails: AtomicBool,
}

const TABLES: [Table; 3] = [Table::Meta, Table::Rows, Table::Hints];

fn number(table: Table) -> u8 {
    TABLES.iter().position(|known| *known == table).unwrap() as u8
}

impl Store for InMemory {
    fn apply(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(StoreError::Failed { reason: "the disk is full".into() });
        }
        let mut values = self.values.lock().unwrap();
        for change in changes {
            match change {
                Change::Put { table, key, value } => drop(values.insert((number(table), key), value)),
                Change::Delete { table, key } => drop(values.remove(&(number(table), key))),
                Change::DropPrefix { prefix } => values.retain(|(_, key), _| !key.starts_with(&prefix)),
            }
        }
        Ok(())
    }

    fn load(&self, prefix: Vec<u8>) -> Result<Vec<Value>, StoreError> {
        let values = self.values.lock().unwrap();
        let found = values.iter().filter(|((_, key), _)| key.starts_with(&prefix));
        let shown = |((table, key), value): (&Place, &Vec<u8>)| Value {
            table: TABLES[usize::from(*table)],
            key: key.clone(),
            value: value.clone(),
        };
        Ok(found.map(shown).collect())
    }

    fn keys(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(self.values.lock().unwrap().keys().map(|(_, key)| key.clone()).collect())
    }
}

#[tokio::test]
async fn a_store_of_the_hosts_keeps_what_was_said() {
    let store = Arc::new(InMemory::default());
    let alice = open_in("alice", "lobby", Some(store.clone())).await;
    for text in ["one", "two"] {
        alice.wrap("lobby".into(), text.into()).await.unwrap();
    }
    alice.shutdown().await.unwrap();

    let again = open_in("alice", "lobby", Some(store.clone())).await;
    let log = again.log("lobby".into()).unwrap();
    assert_eq!(log.iter().map(|message| &message.content[..]).collect::<Vec<_>>(), [b"one", b"two"]);
    again.forget("lobby".into()).await.unwrap();
    assert!(store.values.lock().unwrap().is_empty());

    again.join("lobby".into()).await.unwrap();
    store.fails.store(true, Ordering::Relaxed);
    again.wrap("lobby".into(), b"said all the same".to_vec()).await.unwrap();
    let reason = loop {
        if let Event::StoreFailed { reason, .. } = again.next_event().await.unwrap() {
            break reason;
        }
    };
    assert!(reason.contains("the disk is full"), "{reason}");
}

/// A network of two.
#[derive(Default)]
struct Wire {
    other: OnceLock<Weak<Node>>,
    cut: AtomicBool,
}

impl Transport for Wire {
    fn publish(&self, topic: String, _: Option<Vec<u8>>, bytes: Vec<u8>) -> Result<(), TransportError> {
        if self.cut.load(Ordering::Relaxed) {
            return Err(TransportError::Unavailable { reason: "the wire is cut".into() });
        }
        if let Some(other) = self.other.get().and_then(Weak::upgrade) {
            other.receive(topic, bytes, None).unwrap();
        }
        Ok(())
    }

    fn max_bytes(&self) -> Result<u64, TransportError> {
        Ok(1_000)
    }
}

/// Waits a minute for such an event.
async fn next_of(channel: &Channel, is: impl Fn(&Event) -> bool) {
    let wait = async { while !is(&channel.next_event().await.unwrap()) {} };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("no such event");
}

fn says(text: &'static [u8]) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::Received { message, .. } if message.content == text)
}

#[tokio::test]
async fn a_network_of_the_hosts_carries_it_all_and_may_fail() {
    let wires = [Arc::new(Wire::default()), Arc::new(Wire::default())];
    let node = |name: &str, at: usize| Node::on_transport(name.into(), wires[at].clone(), None, None).unwrap();
    let (alice, bob) = (node("alice", 0), node("bob", 1));
    wires[0].other.set(Arc::downgrade(&bob)).unwrap();
    wires[1].other.set(Arc::downgrade(&alice)).unwrap();
    let (here, there) = (alice.join("lobby".into()).await.unwrap(), bob.join("lobby".into()).await.unwrap());
    here.send(b"hello".to_vec()).await.unwrap();
    next_of(&there, says(b"hello")).await;
    next_of(&here, |event| matches!(event, Event::Delivered { by, .. } if by == "bob")).await;

    wires[0].cut.store(true, Ordering::Relaxed);
    here.send(b"anybody?".to_vec()).await.unwrap();
    next_of(&here, |event| matches!(event, Event::Disconnected { reason, .. } if reason.contains("cut"))).await;
    wires[0].cut.store(false, Ordering::Relaxed);
    next_of(&here, |event| matches!(event, Event::Connected { .. })).await;
    next_of(&there, says(b"anybody?")).await;
    here.leave().await.unwrap();
    assert!(matches!(here.send(b"too late".to_vec()).await, Err(ChannelError::NotJoined { .. })));
}

#[tokio::test]
async fn errors_say_what_can_be_done_about_them() {
    let alice = open_in("alice", "lobby", None).await;
    let wrap = async |channel: &str, content: Vec<u8>| alice.wrap(channel.into(), content).await.unwrap_err();
    assert!(matches!(alice.unwrap(b"no message".to_vec()).await, Err(ChannelError::Peer { .. })));
    assert!(
        matches!(wrap("elsewhere", b"x".to_vec()).await, ChannelError::NotJoined { reason } if reason.contains("elsewhere"))
    );
    assert!(matches!(wrap("lobby", Vec::new()).await, ChannelError::Refused { .. }));
    assert!(matches!(wrap("lobby", vec![0; 2 << 20]).await, ChannelError::TooLarge { .. }));
    let nothing = Options { max_messages: Some(0), ..Options::default() };
    assert!(matches!(Manager::new("alice".into(), Some(nothing), None), Err(ChannelError::Options { .. })));
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_no_event() {
    let (alice, bob) = (open_in("alice", "lobby", None).await, open_in("bob", "lobby", None).await);
    for _ in 0..20 {
        // Whatever bob says by himself meanwhile.
        let _ = tokio::time::timeout(Duration::from_millis(1), bob.next_event()).await;
    }
    let wrapped = alice.wrap("lobby".into(), b"hi".to_vec()).await.unwrap();
    bob.unwrap(wrapped.bytes).await.unwrap();
    while !says(b"hi")(&bob.next_event().await.unwrap()) {}
}
