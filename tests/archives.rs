//! Archives: the bundled ones keep the rules, and a manager fills, serves and reads them.

#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use reliable_channel::channel::{Config, Join};
use reliable_channel::manager::{ManagerEvent, ReliabilityManager};
use reliable_channel::reconcile::{Item, Rid};
use reliable_channel::state::{Body, LogKey};
use reliable_channel::store::archive::conformance;
use reliable_channel::store::{
    Archive, MemoryArchive, Persistence, PersistenceError, PersistenceErrorKind, RedbPersistence, SledPersistence,
    SqlitePersistence,
};
use reliable_channel::types::{
    CatchUpField, ChannelId, Dialect, Frame, FrameBody, HistoryEntry, Lamport, Limits, Message,
};
use reliable_channel::wire;
use tap::Tap as _;

const EPOCH: u64 = 1_700_000_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn every_bundled_archive_keeps_the_rules() {
    let memory = MemoryArchive::new();
    conformance::check(|| Arc::new(memory.clone())).await;
    let dir = tempfile::tempdir().unwrap();
    conformance::check(|| Arc::new(RedbPersistence::open(dir.path().join("redb")).unwrap())).await;
    conformance::check(|| Arc::new(SqlitePersistence::open(dir.path().join("sqlite")).unwrap())).await;
    conformance::check(|| Arc::new(SledPersistence::open(dir.path().join("sled")).unwrap())).await;
}

fn body(n: u64) -> Arc<Body> {
    let key = LogKey { lamport: Lamport(EPOCH + n), id: format!("m{n}").as_str().into() };
    Arc::new(Body::new(key, "carol".into(), vec![b'x'; 3_000].into()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_store_has_its_archive_and_a_store_for_reading_gives_it() {
    let dir = tempfile::tempdir().unwrap();
    let (lobby, other) = (ChannelId::from("lobby"), ChannelId::from("only an archive"));
    // More than is copied at once.
    let messages: Vec<_> = (0..2_100).map(|n| (Rid([(n % 251) as u8; 32]), body(n))).collect();
    macro_rules! copies {
        ($store:ident) => {
            let name = stringify!($store);
            let (from, to) = (dir.path().join(name), dir.path().join(format!("{name} copied")));
            let store = $store::open(&from).unwrap();
            store.put(&lobby, &messages).await.unwrap();
            store.put(&other, &messages[..1]).await.unwrap();
            store.backup(&to).await.unwrap();
            let copy = $store::open_read_only(&to).unwrap();
            assert_eq!(copy.list(&lobby, None, 9_999).await.unwrap().len(), 2_100, "{name}");
            assert_eq!(copy.page(&lobby, None, 1).await.unwrap()[0], messages[2_099].1, "{name}");
            assert_eq!(copy.page(&other, None, 9).await.unwrap().len(), 1, "{name}");
            assert_eq!(copy.list_channels().await.unwrap(), [lobby.clone(), other.clone()], "{name}");
        };
    }
    copies!(RedbPersistence);
    copies!(SqlitePersistence);
    copies!(SledPersistence);
}

fn message(n: u64) -> Message {
    Message::new(format!("m{n:03}").as_str().into(), "carol".into(), "lobby".into()).tap_mut(|it| {
        it.lamport = Some(Lamport(EPOCH + n));
        it.causal_history =
            n.checked_sub(1).map(|last| HistoryEntry::new(format!("m{last:03}").as_str())).into_iter().collect();
        it.content = format!("content {n}").into();
    })
}

fn config() -> Config {
    let mut config = Config::default();
    config.max_message_history = 10;
    config.join = Join::Backfill(u64::MAX);
    config
}

async fn alice(store: Arc<dyn Persistence>, archive: Arc<dyn Archive>) -> ReliabilityManager {
    let alice = ReliabilityManager::builder("alice").config(config()).persistence(store).archive(archive).build();
    let alice = alice.unwrap();
    alice.ensure_channel("lobby").await.unwrap();
    alice
}

async fn hear(alice: &ReliabilityManager, message: &Message) {
    alice.unwrap_received(wire::encode(message, Dialect::Lip109).unwrap()).await.unwrap();
}

/// Until the archive has so many messages.
async fn until_kept(archive: &dyn Archive, count: usize) -> Vec<(LogKey, Rid)> {
    for _ in 0..1_000 {
        let kept = archive.list(&"lobby".into(), None, 9_999).await.unwrap();
        if kept.len() == count {
            return kept;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the archive never had {count}");
}

async fn all(alice: &ReliabilityManager) -> Vec<String> {
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let page = alice.history(&"lobby".into(), before.as_ref(), 7).await.unwrap();
        let Some(last) = page.last() else { return all };
        before = Some(last.key.clone());
        all.extend(page.iter().map(|body| body.key.id.to_string()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn log_and_archive_are_read_as_one_and_served_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(RedbPersistence::open(dir.path()).unwrap());
    let first = alice(store.clone(), store.clone()).await;
    for n in 0..60 {
        hear(&first, &message(n)).await;
    }
    until_kept(&*store, 60).await;
    let newest_first: Vec<String> = (0..60).rev().map(|n| format!("m{n:03}")).collect();
    assert_eq!(first.log(&"lobby".into()).unwrap().len(), 10);
    assert_eq!(all(&first).await, newest_first);
    first.shutdown().await;
    drop(first);
    drop(store);

    let store = Arc::new(RedbPersistence::open(dir.path()).unwrap());
    let second = alice(store.clone(), store.clone()).await;
    assert_eq!(all(&second).await, newest_first);
    let kept = store.list(&"lobby".into(), None, 9_999).await.unwrap();
    let mut out = second.transmissions();
    let rids: Vec<[u8; 32]> = kept[..20].iter().map(|(_, rid)| rid.0).collect();
    let mut bodies = Vec::new();
    // What is there is named to the channel when it is opened, by and by.
    for session in 0..100 {
        let frame = Frame::new(session, "alice".into(), Lamport(0), FrameBody::Fetch { rids: rids.clone() });
        let mut question = Message::new(format!("f{session}").as_str().into(), "bob".into(), "lobby".into());
        question.catch_up = CatchUpField::Frame(Box::new(frame));
        hear(&second, &question).await;
        loop {
            let sent = out.next().await.unwrap().unwrap();
            let (message, _) = wire::decode(&sent.bytes, &Limits::default()).unwrap();
            match &message.catch_up {
                CatchUpField::Frame(_) => break,
                _ => bodies.push((sent.to, message.id.to_string())),
            }
        }
        if bodies.len() >= 20 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let expected: Vec<_> = (0..20).map(|n| (Some("bob".into()), format!("m{n:03}"))).collect();
    assert_eq!(bodies, expected);

    second.remove_channel("lobby").await.unwrap();
    assert_eq!(store.list(&"lobby".into(), None, 9).await.unwrap(), [], "wiped with the channel");
}

/// Fails, or panics, until it is mended.
#[derive(Default)]
struct Failing {
    inner: MemoryArchive,
    mended: AtomicBool,
    /// Nothing is put any more.
    full: AtomicBool,
}

impl Failing {
    fn fail(&self) -> Result<&MemoryArchive, PersistenceError> {
        if self.mended.load(Ordering::SeqCst) {
            return Ok(&self.inner);
        }
        Err(PersistenceError::new("archive", None, PersistenceErrorKind::Io))
    }
}

#[async_trait]
impl Archive for Failing {
    async fn put(&self, channel: &ChannelId, messages: &[(Rid, Arc<Body>)]) -> Result<(), PersistenceError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(PersistenceError::new("put", Some(channel), PersistenceErrorKind::StorageFull));
        }
        self.fail()?.put(channel, messages).await
    }

    async fn list(
        &self,
        channel: &ChannelId,
        after: Option<&LogKey>,
        limit: usize,
    ) -> Result<Vec<(LogKey, Rid)>, PersistenceError> {
        assert!(self.mended.load(Ordering::SeqCst), "it panics");
        self.inner.list(channel, after, limit).await
    }

    async fn get(&self, channel: &ChannelId, items: &[Item]) -> Result<Vec<Arc<Body>>, PersistenceError> {
        self.fail()?.get(channel, items).await
    }

    async fn page(
        &self,
        channel: &ChannelId,
        before: Option<&LogKey>,
        limit: usize,
    ) -> Result<Vec<Arc<Body>>, PersistenceError> {
        self.fail()?.page(channel, before, limit).await
    }

    async fn drop_channel(&self, channel: &ChannelId) -> Result<(), PersistenceError> {
        self.fail()?.drop_channel(channel).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_panics_and_fails_is_told_and_nothing_waits_for_it() {
    let failing = Arc::new(Failing::default());
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(RedbPersistence::open(dir.path()).unwrap());
    let alice = ReliabilityManager::builder("alice").config(config()).persistence(store).archive(failing.clone());
    let alice = alice.build().unwrap();
    let mut events = alice.events();
    alice.ensure_channel("lobby").await.unwrap();
    alice.start_periodic_tasks();
    for n in 0..5 {
        hear(&alice, &message(n)).await;
    }
    assert_eq!(alice.log(&"lobby".into()).unwrap().len(), 5);
    failing.mended.store(true, Ordering::SeqCst);
    until_kept(&*failing, 5).await;
    let mut told = Vec::new();
    while told.len() < 2 {
        match events.next().await.unwrap().unwrap() {
            ManagerEvent::ArchiveFailed { error, .. } => told.push(error.to_string()),
            ManagerEvent::ArchiveRecovered { .. } => told.push("recovered".into()),
            _ => {}
        }
    }
    assert_eq!(told, ["list of channel lobby: the store panicked", "recovered"]);
    assert_eq!(all(&alice).await.len(), 5);
}

/// Contents in log, archive and page, by id.
async fn contents(alice: &ReliabilityManager, archive: &dyn Archive) -> Vec<String> {
    let lobby = "lobby".into();
    let mut bodies = archive.page(&lobby, None, 999).await.unwrap();
    bodies.extend(alice.log(&lobby).unwrap().into_iter().map(|logged| logged.body));
    bodies.extend(alice.history(&lobby, None, 999).await.unwrap());
    bodies.iter().filter(|body| !body.content.is_empty()).map(|body| body.key.id.to_string()).collect()
}

async fn until_erased(alice: &ReliabilityManager, archive: &dyn Archive, id: &str) {
    for _ in 0..1_000 {
        if !contents(alice, archive).await.iter().any(|there| there == id) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{id} is there still");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_leaves_log_and_archive_for_good() {
    let dir = tempfile::tempdir().unwrap();
    macro_rules! erases {
        ($store:ident) => {
            let at = dir.path().join(stringify!($store));
            let store = Arc::new($store::open(&at).unwrap());
            let first = alice(store.clone(), store.clone()).await;
            for n in 0..60 {
                hear(&first, &message(n)).await;
            }
            let kept = until_kept(&*store, 60).await;
            // In the log, and in the archive alone.
            for id in ["m055", "m007"] {
                first.erase("lobby", id).await.unwrap();
                until_erased(&first, &*store, id).await;
            }
            assert_eq!(until_kept(&*store, 60).await, kept, "what stands for them is what it was");
            // Told once more by others, and given to the archive once more by somebody else.
            hear(&first, &message(55)).await;
            hear(&first, &message(7)).await;
            first.shutdown().await;
            drop(first);
            let again = [&message(7), &message(30)].map(|it| {
                let key = LogKey { lamport: it.lamport.unwrap(), id: it.id.clone() };
                let mut body = Body::new(key.clone(), it.sender.clone(), it.content.clone());
                body.causal_history.clone_from(&it.causal_history);
                (kept.iter().find(|(kept, _)| *kept == key).unwrap().1, Arc::new(body))
            });
            store.put(&"lobby".into(), &again).await.unwrap();
            drop(store);
            let store = Arc::new($store::open(&at).unwrap());
            let second = alice(store.clone(), store.clone()).await;
            until_erased(&second, &*store, "m007").await;
            let there = contents(&second, &*store).await;
            assert!(!there.contains(&"m055".to_owned()) && there.contains(&"m030".to_owned()), "{there:?}");
            second.shutdown().await;
        };
    }
    erases!(RedbPersistence);
    erases!(SqlitePersistence);
    erases!(SledPersistence);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_is_not_shown_from_an_archive_that_cannot_erase_it() {
    let archive = Arc::new(Failing { mended: AtomicBool::new(true), ..Failing::default() });
    let dir = tempfile::tempdir().unwrap();
    let alice = alice(Arc::new(RedbPersistence::open(dir.path()).unwrap()), archive.clone()).await;
    alice.start_periodic_tasks();
    for n in 0..30 {
        hear(&alice, &message(n)).await;
    }
    until_kept(&*archive, 30).await;
    archive.full.store(true, Ordering::SeqCst);
    alice.erase("lobby", "m007").await.unwrap();
    let page = alice.history(&"lobby".into(), None, 99).await.unwrap();
    let erased = page.iter().filter(|body| body.is_erased()).map(|body| body.key.id.to_string());
    assert_eq!((erased.collect::<Vec<_>>(), page.len()), (vec!["m007".to_owned()], 30));
    archive.full.store(false, Ordering::SeqCst);
    until_erased(&alice, &*archive, "m007").await;
}
