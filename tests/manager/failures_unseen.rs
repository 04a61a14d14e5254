//! A store that refuses every write changes nothing that peers can see, and has everything once it works again.
//!
//! Two managers with the same seed on the same clock get the same calls; the store of one refuses every write.

use std::collections::BTreeSet;

use reliable_channel::channel::{Stats, TransmitKind};
use reliable_channel::manager::{Clock, ManualClock, TransmitStream};
use reliable_channel::state::{Place as RowPlace, RowKey};
use reliable_channel::store::{Method, PersistenceErrorKind};
use reliable_channel::types::{Dialect, HistoryEntry, Lamport, Message};
use reliable_channel::wire;
use tap::Tap as _;

use super::place::Place;
use super::script::{Call, EPOCH, Random, conversation};
use super::*;

const OPERATIONS: usize = 300;

struct End {
    manager: ReliabilityManager,
    events: EventStream,
    transmissions: TransmitStream,
}

impl End {
    async fn new(store: Arc<dyn Persistence>, clock: &ManualClock) -> Self {
        let mut config = config().tap_mut(|it| {
            it.max_message_history = 5;
            it.lost_timeout = Duration::from_secs(60);
        });
        config.limits.max_parked = 4;
        let builder = builder("alice").config(config).clock(Arc::new(clock.clone())).seed(7);
        let manager = opened(builder.persistence(store)).await;
        Self { events: manager.events(), transmissions: manager.transmissions(), manager }
    }

    /// Kind and bytes of all that was transmitted since the last time.
    fn sent(&mut self) -> Vec<(TransmitKind, Bytes)> {
        let sent = std::iter::from_fn(|| self.transmissions.try_next()).map(Result::unwrap);
        sent.map(|sent| (sent.kind, sent.bytes)).collect()
    }

    fn rows(&self) -> BTreeSet<RowKey> {
        let rows = self.manager.data(&channel()).unwrap().rows;
        rows.iter().map(|row| row.key()).collect()
    }
}

fn request(random: &mut Random, clock: &ManualClock, ids: Vec<MessageId>) -> Bytes {
    let message =
        Message::new(format!("request{}", random.below(u64::MAX)).into(), "frank".into(), channel()).tap_mut(|it| {
            it.lamport = Some(Lamport(clock.wall().as_millis()));
            it.repair_request = ids.into_iter().map(HistoryEntry::new).collect();
        });
    wire::encode(&message, Dialect::Lip109).unwrap()
}

/// What became of rows while nothing could be saved.
#[derive(Debug, Default)]
struct Churn {
    held: BTreeSet<RowKey>,
    gone: BTreeSet<RowKey>,
    evicted: usize,
    came_back: usize,
    bodies_back: usize,
}

impl Churn {
    fn note(&mut self, now: BTreeSet<RowKey>) {
        self.evicted += self.held.difference(&now).filter(|key| key.place == RowPlace::Body).count();
        self.gone.extend(self.held.difference(&now).cloned());
        let back: Vec<_> = now.iter().filter(|key| self.gone.remove(*key)).collect();
        self.came_back += back.len();
        self.bodies_back += back.iter().filter(|key| key.place == RowPlace::Body).count();
        self.held = now;
    }
}

async fn changes_nothing_that_peers_see(place: Place, seed: u64) -> (Churn, Stats) {
    let mut random = Random(seed);
    let said = conversation(&mut random, 200).await;
    let clock = ManualClock::new(EPOCH);
    let store = FaultyPersistence::new(place.store());
    let mut sound = End::new(Arc::new(MemoryPersistence::new()), &clock).await;
    let mut failing = End::new(Arc::new(store.clone()), &clock).await;
    let mut churn = Churn::default();
    let mut told_of_failure = 0;
    let mut at = 0;
    for operation in 0..OPERATIONS + 40 {
        if operation == 40 {
            churn.note(failing.rows());
            store.fail_writes(PersistenceErrorKind::StorageFull);
        }
        clock.advance(Duration::from_millis(500 + random.below(3_000)));
        let near = |random: &mut Random| said[(at + random.below(6) as usize).saturating_sub(5)].clone();
        let call = match random.below(12) {
            0..=3 => {
                at = (at + 1 + usize::from(random.below(15) == 0)).min(said.len() - 1);
                Call::Unwrap(said[at].bytes.clone())
            }
            4 => Call::Unwrap(near(&mut random).bytes),
            5 => Call::Wrap(format!("text {operation}")),
            6 => Call::Sync,
            7 => Call::Hint(near(&mut random).id, Bytes::from(operation.to_string())),
            8 => Call::Met(near(&mut random).id),
            9 => {
                let ids = (0..3).map(|_| near(&mut random).id).collect();
                Call::Unwrap(request(&mut random, &clock, ids))
            }
            _ => Call::Sweep,
        };
        let came = call.clone().make(&sound.manager).await;
        assert_eq!(came, call.clone().make(&failing.manager).await, "{call:?}");
        assert_eq!(sound.sent(), failing.sent(), "{call:?}");
        assert_eq!(sound.manager.data(&channel()).unwrap(), failing.manager.data(&channel()).unwrap(), "{call:?}");
        let (sound, mut failing_told) = (told(&mut sound.events), told(&mut failing.events));
        failing_told.retain(|event| {
            !is_failed(event) || {
                told_of_failure += 1;
                false
            }
        });
        assert_eq!(format!("{sound:?}"), format!("{failing_told:?}"), "{call:?}");
        churn.note(failing.rows());
    }
    assert_eq!(told_of_failure, 1);
    assert_eq!(store.counts().written, store.counts().of(Method::Commit) - store.counts().failed);
    let held = failing.manager.data(&channel()).unwrap();
    assert_ne!(place.store().load_channel(&channel()).await.unwrap(), held);

    store.heal();
    sound.manager.sweep(CHANNEL).await.unwrap();
    failing.manager.sweep(CHANNEL).await.unwrap();
    assert_eq!(count(&told(&mut failing.events), is_recovered), 1);
    assert_saved(&failing.manager, &*place.store()).await;
    assert_eq!(sound.manager.data(&channel()).unwrap(), failing.manager.data(&channel()).unwrap());
    assert_eq!(place.store().load_channel(&channel()).await.unwrap().check(), Ok(()));
    (churn, failing.manager.stats(&channel()).unwrap())
}

#[tokio::test]
async fn in_300_operations_in_front_of_memory() {
    let mut runs = Vec::new();
    for seed in 0..8 {
        runs.push(changes_nothing_that_peers_see(Place::memory(), seed).await);
    }
    let all = |count: fn(&Churn) -> usize| runs.iter().map(|(churn, _)| count(churn)).sum::<usize>();
    assert!(all(|churn| churn.evicted) > 100 && all(|churn| churn.came_back) > 50, "{runs:?}");
    assert!(all(|churn| churn.bodies_back) > 0, "{runs:?}");
    assert!(runs.iter().all(|(_, stats)| stats.resends > 0 && stats.syncs > 0 && stats.answered > 0), "{runs:?}");
}

#[cfg(feature = "redb")]
#[tokio::test]
async fn in_300_operations_in_front_of_a_disk() {
    changes_nothing_that_peers_see(Place::redb(), 1).await;
}
