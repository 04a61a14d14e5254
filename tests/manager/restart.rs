//! A crash after every operation changes nothing: what the store has is all that matters.
//!
//! Two managers get the same calls at the same times; one runs on, the other is dropped after each call and opened again
//! from its store, as a new process whose running time starts anew. After each call both have the same state, have
//! transmitted the same, and have delivered the same under the same numbers. What may differ, because it is not saved
//! (`tests/spec/restart.rs` shows the same of the bare core):
//! - the filters sent, and when acknowledging and idle syncs are due: chosen at random by every run
//! - the channel's age and when an id was heard last, since the last change: so [`Pair::pass`] ends with a change, and
//!   repair requests come some time after what they ask for
//! - the number of the last delivery confirmed, which is saved with the next change: the application says it again

use std::collections::BTreeMap;

use reliable_channel::channel::{Stats, TransmitKind};
use reliable_channel::manager::{Clock, ManualClock, TransmitStream};
use reliable_channel::state::{ChannelData, Row};
use reliable_channel::types::{Dialect, FilterField, HistoryEntry, Lamport, Limits, Message, WallTime};
use reliable_channel::wire;
use tap::Tap as _;

use super::place::Place;
use super::script::{Call, Came, EPOCH, Random, conversation, peer};
use super::*;

const LENGTH: usize = 300;
const OPERATIONS: usize = 500;
const HOUR: Duration = Duration::from_secs(3_600);

/// `alice` in one of her two lives.
struct Life {
    place: Place,
    config: Config,
    clock: ManualClock,
    manager: Option<ReliabilityManager>,
    events: EventStream,
    transmissions: TransmitStream,
    told: BTreeMap<u64, MessageId>,
}

impl Life {
    async fn new(place: Place, config: Config) -> Self {
        let clock = new_clock(EPOCH);
        let (manager, events, transmissions) = start(&place, &config, &clock).await;
        let mut life =
            Self { place, config, clock, manager: Some(manager), events, transmissions, told: BTreeMap::new() };
        life.note_told();
        life
    }

    fn manager(&self) -> &ReliabilityManager {
        self.manager.as_ref().unwrap()
    }

    fn data(&self) -> ChannelData {
        self.manager().data(&channel()).unwrap()
    }

    fn stats(&self) -> Stats {
        self.manager().stats(&channel()).unwrap()
    }

    /// The end of this process and the start of the next. The channel is closed first, which saves what otherwise waits
    /// for the next change.
    async fn crash(&mut self, seen: u64) {
        self.manager().close_channel(CHANNEL).await.unwrap();
        self.manager = None;
        self.place.crash().await;
        let held = self.place.store().load_channel(&channel()).await.unwrap();
        self.clock = new_clock(self.clock.wall());
        let (manager, events, transmissions) = start(&self.place, &self.config, &self.clock).await;
        (self.events, self.transmissions) = (events, transmissions);
        assert_eq!(comparable(manager.data(&channel()).unwrap()), comparable(held), "what was saved is held");
        if self.config.confirm_deliveries {
            manager.confirm_deliveries(CHANNEL, seen).await.unwrap();
        }
        self.manager = Some(manager);
        self.note_told();
        assert!(self.sent().is_empty(), "a start sends nothing");
    }

    /// What came of a call; of a message wrapped, all but its filter.
    async fn call(&mut self, call: Call) -> String {
        let came = match call.make(self.manager()).await {
            Came::Wrapped(wrapped) => format!("{:?} {:?}", wrapped.id, without_filter(&wrapped.bytes)),
            Came::Other(answer) => answer,
        };
        self.note_told();
        came
    }

    fn note_told(&mut self) {
        for event in told(&mut self.events) {
            match event {
                ManagerEvent::Channel { event: Event::MessageDelivered(delivery), .. } => {
                    let id = delivery.body.key.id.clone();
                    assert!(self.told.insert(delivery.number, id.clone()).is_none_or(|before| before == id));
                }
                ManagerEvent::Channel { event: Event::StateMended { what }, .. } => panic!("mended: {what}"),
                ManagerEvent::PersistenceFailed { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
    }

    /// What was transmitted since the last time, without its filters.
    fn sent(&mut self) -> Vec<(TransmitKind, Message)> {
        let sent = std::iter::from_fn(|| self.transmissions.try_next()).map(Result::unwrap);
        // Behind the newest heads a sync message names what is to be acknowledged, which a crash repeats; its id is
        // made of random bits.
        let comparable = |kind, mut message: Message| {
            if kind == TransmitKind::Sync {
                message.causal_history.truncate(2);
                message.id = MessageId::new("");
            }
            (kind, message)
        };
        sent.map(|sent| comparable(sent.kind, without_filter(&sent.bytes))).collect()
    }
}

/// Running time that is about to have begun.
fn new_clock(wall: WallTime) -> ManualClock {
    let clock = ManualClock::new(EPOCH);
    clock.advance(HOUR);
    clock.set_wall(wall);
    clock
}

async fn start(
    place: &Place,
    config: &Config,
    clock: &ManualClock,
) -> (ReliabilityManager, EventStream, TransmitStream) {
    let builder = builder("alice").config(config.clone()).clock(Arc::new(clock.clone())).persistence(place.store());
    let manager = builder.build().unwrap();
    let (events, transmissions) = (manager.events(), manager.transmissions());
    manager.ensure_channel(CHANNEL).await.unwrap();
    (manager, events, transmissions)
}

fn without_filter(bytes: &Bytes) -> Message {
    let (message, _) = wire::decode(bytes, &Limits::default()).unwrap();
    message.tap_mut(|it| it.filter = FilterField::Absent)
}

/// Everything saved, but for `told`.
fn comparable(mut data: ChannelData) -> ChannelData {
    if let Some(meta) = &mut data.meta {
        meta.told = 0;
    }
    // Each opening is an incarnation of its own.
    data.rows.retain(|row| !matches!(row, Row::Incarnation(_)));
    // How often a message was asked for, and when next, waits for the next change.
    for row in &mut data.rows {
        if let Row::Request(request) = row {
            (request.due, request.sent, request.heard) = (WallTime::default(), 0, 0);
        }
    }
    data
}

struct Pair {
    steady: Life,
    crashing: Life,
    /// What the application remembers of having seen.
    seen: u64,
    /// A peer that is always heard, and one that misses much.
    ticks: ReliabilityManager,
    erin: ReliabilityManager,
    heard_from_erin: TransmitStream,
    /// The peers' time.
    clock: ManualClock,
    tick: u64,
}

impl Pair {
    async fn new(place: fn() -> Place, confirm: bool) -> Self {
        let never = Duration::from_secs(1 << 30);
        let config = config().tap_mut(|it| {
            it.max_message_history = 12;
            it.answer_laggards = false;
            // Digests begin 20 seconds after an opening.
            it.catch_up = false;
            it.wait_timeout = Duration::MAX;
            it.lost_timeout = Duration::from_secs(120);
            it.confirm_deliveries = confirm;
            it.acknowledgement_delay = (never, never);
            it.sync_interval = never;
            it.max_sync_interval = never;
        });
        let clock = ManualClock::new(EPOCH);
        let (ticks, erin) = (peer("ticks", &clock).await, peer("erin", &clock).await);
        Self {
            steady: Life::new(place(), config.clone()).await,
            crashing: Life::new(place(), config).await,
            seen: 0,
            heard_from_erin: erin.transmissions(),
            ticks,
            erin,
            clock,
            tick: 0,
        }
    }

    /// What filters show is not saved (docs/protocol.md section 7): nothing that is heard has one.
    async fn call(&mut self, call: Call) -> String {
        let call = match call {
            Call::Unwrap(bytes) => Call::Unwrap(wire::encode(&without_filter(&bytes), Dialect::Lip109).unwrap()),
            other => other,
        };
        let answer = self.steady.call(call.clone()).await;
        assert_eq!(answer, self.crashing.call(call.clone()).await, "{call:?}");
        assert_eq!(self.steady.sent(), self.crashing.sent(), "{call:?}");
        if let Call::Confirm(number) = call {
            self.seen = self.seen.max(number);
        }
        self.crashing.crash(self.seen).await;
        assert_eq!(comparable(self.steady.data()), comparable(self.crashing.data()), "{call:?}");
        answer
    }

    /// Time passes, and something changes at its end.
    async fn pass(&mut self, millis: u64) {
        for clock in [&self.steady.clock, &self.crashing.clock, &self.clock] {
            clock.advance(Duration::from_millis(millis));
        }
        self.tick += 1;
        let tick = self.ticks.wrap_outgoing_with_id(CHANNEL, format!("tick{}", self.tick), "tick").await.unwrap();
        let answer = self.call(Call::Unwrap(tick.bytes)).await;
        assert!(answer.contains("Delivered"), "{answer}");
    }

    /// When an id was heard last is not saved: where it may be asked for, it was longer ago than half of T_min.
    async fn hear(&mut self, bytes: Bytes) {
        if !without_filter(&bytes).repair_request.is_empty() {
            self.pass(2_500).await;
        }
        self.call(Call::Unwrap(bytes)).await;
    }

    /// Erin gets the newest message of alice's, and does without what came before it.
    async fn erin_hears(&self) {
        let log = self.steady.manager().log(&channel()).unwrap();
        let Some(own) = log.into_iter().rev().find(|logged| logged.delivery.is_none()) else { return };
        let before: Vec<MessageId> = own.body.causal_history.iter().map(|entry| entry.id.clone()).collect();
        let message = self.message().tap_mut(|it| {
            it.id = own.body.key.id.clone();
            it.sender = own.body.sender.clone();
            it.lamport = Some(own.body.key.lamport);
            it.causal_history = own.body.causal_history.clone();
            it.content = own.body.content.clone();
        });
        self.erin.unwrap_received(wire::encode(&message, Dialect::Lip109).unwrap()).await.unwrap();
        self.erin.mark_dependencies_met(CHANNEL, before).await.unwrap();
    }

    /// A sync message made by hand.
    fn request(&self, ids: &[MessageId]) -> Bytes {
        let repair_request = ids.iter().map(|id| HistoryEntry::new(id.clone())).collect();
        wire::encode(&self.message().tap_mut(|it| it.repair_request = repair_request), Dialect::Lip109).unwrap()
    }

    fn message(&self) -> Message {
        Message::new(format!("request{}", self.tick).into(), "frank".into(), channel())
            .tap_mut(|it| it.lamport = Some(Lamport(self.clock.wall().as_millis() + 1)))
    }
}

async fn run(place: fn() -> Place, seed: u64) -> Stats {
    let mut random = Random(seed);
    let said = conversation(&mut random, LENGTH).await;
    let mut pair = Pair::new(place, seed.is_multiple_of(2)).await;
    pair.pass(1_000).await;
    let mut at = 0;
    for operation in 0..OPERATIONS {
        let near =
            |random: &mut Random| said[(at + random.below(8) as usize).saturating_sub(4).min(LENGTH - 1)].clone();
        match random.below(20) {
            // In order, with gaps of what never comes.
            0..=5 => {
                at = (at + 1 + usize::from(random.below(12) == 0)).min(LENGTH - 1);
                pair.hear(said[at].bytes.clone()).await;
            }
            // Out of order, and duplicates.
            6..=8 => pair.hear(near(&mut random).bytes).await,
            9 => drop(pair.call(Call::Wrap(format!("text {operation}"))).await),
            10 => {
                // What erin hears she acknowledges.
                let mine = Call::WrapAs(format!("own{operation}").into());
                pair.call(mine).await;
                if random.below(2) == 0 {
                    pair.erin_hears().await;
                }
            }
            11 => {
                pair.erin.sync_now(CHANNEL).await.unwrap();
                if let Some(sync) = pair.heard_from_erin.try_next() {
                    pair.hear(sync.unwrap().bytes).await;
                }
            }
            12 => {
                let ids: Vec<_> = (0..3).map(|_| near(&mut random).id).collect();
                pair.hear(pair.request(&ids)).await;
            }
            13 | 14 => {
                pair.pass(1_000 + random.below(20_000)).await;
                pair.call(Call::Sweep).await;
            }
            15 => {
                let id = format!("tick{}", pair.tick.saturating_sub(random.below(20)));
                pair.call(Call::Hint(id.into(), Bytes::from(operation.to_string()))).await;
            }
            16 => drop(pair.call(Call::Met(near(&mut random).id)).await),
            17 if pair.steady.config.confirm_deliveries => {
                let next = pair.steady.data().meta.unwrap().next_delivery;
                pair.call(Call::Confirm(next.saturating_sub(1 + random.below(9)))).await;
            }
            17 | 18 => drop(pair.call(Call::Sync).await),
            _ => drop(pair.call(Call::WrapEphemeral).await),
        }
    }
    assert_eq!(pair.steady.told, pair.crashing.told, "the same deliveries under the same numbers");
    let stored = [&pair.steady, &pair.crashing].map(|life| life.place.store());
    let [steady, crashing] =
        [stored[0].load_channel(&channel()).await.unwrap(), stored[1].load_channel(&channel()).await.unwrap()];
    assert_eq!(comparable(steady), comparable(crashing), "the stores have the same");
    pair.steady.stats()
}

/// Runs these seeds, which together must have met everything that can happen.
async fn run_all(place: fn() -> Place, seeds: std::ops::Range<u64>) {
    let mut all = Vec::new();
    for seed in seeds {
        all.push(run(place, seed).await);
    }
    let sum = |count: fn(&Stats) -> u64| all.iter().map(count).sum::<u64>();
    assert!(all.iter().all(|stats| stats.delivered > 100 && stats.duplicates > 10), "{all:?}");
    assert!(sum(|stats| stats.acknowledged) > 0 && sum(|stats| stats.failed) > 0, "{all:?}");
    assert!(sum(|stats| stats.resends) > 0 && sum(|stats| stats.answered) > 0, "{all:?}");
    assert!(sum(|stats| stats.lost) > 0 && sum(|stats| stats.requests_sent) > 0, "{all:?}");
}

#[tokio::test]
async fn closing_and_a_crash_after_every_one_of_500_operations_change_nothing_in_memory() {
    run_all(Place::memory, 0..6).await;
}

#[cfg(feature = "redb")]
#[tokio::test]
async fn closing_and_a_crash_after_every_one_of_500_operations_change_nothing_on_disk() {
    run_all(Place::redb, 0..2).await;
}
