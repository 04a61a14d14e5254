//! One lane, driven by hand: what waits in it, and in which order its steps are told.

use std::sync::Arc;

use bytes::Bytes;

use super::super::effect::{
    Answer, CallId, Caller, Common, Effect, Generation, Input, Moment, OnSaveFailure, Options, Order, Wants,
};
use super::Lane;
use crate::channel::{Config, Event, Fate, Input as ChannelInput, Join, Outcome, Received};
use crate::executor::Told;
use crate::state::ChannelData;
use crate::store::{PersistenceError, PersistenceErrorKind};
use crate::types::{Lamport, Message, RunningTime, WallTime};

const NOW: u64 = 1_800_000_000_000;
const MEGABYTE: usize = 1_000_000;

struct Driven {
    lane: Lane,
    common: Common,
    calls: u64,
    generation: Option<Generation>,
}

impl Driven {
    /// An open channel that keeps one message, and of older ones that they were there.
    fn open(options: Options) -> Self {
        let lane = Lane::new("room".into());
        let mut driven = Self { lane, common: Common::new(options), calls: 0, generation: None };
        let config = Config { join: Join::Backfill(u64::MAX), max_message_history: 1, ..Config::default() };
        driven.order(Order::Open(Arc::new(config)));
        let generation = driven.generation.expect("it is being loaded");
        let effects = driven.hand_in(Input::Loaded { generation, result: Ok(ChannelData::default()) });
        if effects.iter().any(|effect| matches!(effect, Effect::Commit { .. })) {
            driven.saved(true);
        }
        driven
    }

    fn hand_in(&mut self, input: Input) -> Vec<Effect> {
        let moment = Moment { wall: WallTime::from_millis(NOW), running: RunningTime::default() };
        let mut effects = Vec::new();
        self.lane.handle(&self.common, &moment, input, &mut effects);
        for effect in &effects {
            if let Effect::Load { generation, .. } | Effect::Commit { generation, .. } = effect {
                self.generation = Some(*generation);
            }
        }
        effects
    }

    fn order(&mut self, order: Order) -> Vec<Effect> {
        self.calls += 1;
        let caller = Some(Caller { call: CallId(self.calls), inside: false });
        self.hand_in(Input::Order { caller, order })
    }

    fn enter(&mut self, input: ChannelInput) -> Vec<Effect> {
        self.order(Order::Enter { input, heard: None })
    }

    fn saved(&mut self, well: bool) -> Vec<Effect> {
        let error = || Arc::new(PersistenceError::new("commit", None, PersistenceErrorKind::Io));
        let generation = self.generation.expect("it was opened");
        self.hand_in(Input::Saved { generation, result: if well { Ok(()) } else { Err(error()) } })
    }

    /// Orders of this kind that are taken in before further ones wait.
    fn room_for(&mut self, mut order: impl FnMut() -> ChannelInput) -> usize {
        let mut taken_in = 0;
        while taken_in < 100 && !self.lane.is_full() {
            self.enter(order());
            taken_in += 1;
        }
        taken_in
    }
}

fn send(bytes: usize) -> ChannelInput {
    ChannelInput::Send { content: vec![b'x'; bytes].into(), id: None }
}

fn of_bob(id: &str, bytes: usize) -> Message {
    let mut message = Message::new(id.into(), "bob".into(), "room".into());
    message.lamport = Some(Lamport(NOW));
    message.content = vec![b'x'; bytes].into();
    message
}

#[test]
fn an_ephemeral_message_that_waits_counts_what_it_holds() {
    let mut driven = Driven::open(Options::new("alice", 1));
    driven.enter(send(1));
    let room = driven.room_for(|| ChannelInput::SendEphemeral { content: vec![b'x'; MEGABYTE].into() });
    assert!((32..=34).contains(&room), "{room}");
    driven.saved(true);
    assert!(!driven.lane.is_full());
}

#[test]
fn an_order_that_waits_for_a_retry_counts_what_it_holds() {
    for received in [false, true] {
        let mut options = Options::new("alice", 1);
        options.on_save_failure = OnSaveFailure::Fail;
        let mut driven = Driven::open(options);
        driven.enter(send(1));
        driven.saved(false);
        let mut number = 0;
        let room = driven.room_for(|| {
            number += 1;
            if received { ChannelInput::Receive(of_bob(&number.to_string(), MEGABYTE)) } else { send(MEGABYTE) }
        });
        assert!((32..=34).contains(&room), "received: {received}, {room}");
    }
}

/// What a step of a batch tells comes before the answer to an order that waited for the same save.
#[test]
fn who_waited_for_a_save_is_answered_after_all_of_it_is_told() {
    // First to see how much it takes, then with a bound that a hint of 1,000 bytes exceeds.
    let with_bound = |max: u64| {
        let mut options = Options::new("alice", 1);
        options.on_save_failure = OnSaveFailure::Fail;
        options.callbacks = Wants { hints: true, ..Wants::default() };
        options.max_log_bytes = max;
        let mut driven = Driven::open(options);
        for id in ["forgotten", "known"] {
            driven.enter(ChannelInput::Receive(of_bob(id, 5_000)));
            driven.saved(true);
        }
        driven.enter(send(10));
        driven.saved(true);
        driven.enter(send(10));
        driven.saved(false);
        for _ in 0..2 {
            driven.enter(ChannelInput::Receive(of_bob("known", 5_000)));
        }
        let footprint = driven.lane.footprint().log;
        let generation = driven.generation.expect("it was opened");
        driven.hand_in(Input::Returned { generation, hint: Some(Bytes::from(vec![7; 1_000])) });
        driven.saved(false);
        (footprint, driven.saved(true))
    };
    let (footprint, _) = with_bound(u64::MAX >> 8);
    let (_, effects) = with_bound(footprint + 500);
    let limit = |told: &Told| matches!(told, Told::Event(Event::LimitReached { .. }));
    let told = effects.iter().position(|effect| match effect {
        Effect::Tell { telling, .. } => telling.told.iter().any(limit),
        _ => false,
    });
    let answered = effects.iter().position(|effect| match effect {
        Effect::Answer { result: Ok(Answer { outcome: Outcome::Received(Received { fate, .. }), .. }), .. } => {
            matches!(fate, Fate::Duplicate)
        }
        _ => false,
    });
    let (Some(told), Some(answered)) = (told, answered) else { panic!("{effects:?}") };
    assert!(told < answered, "{effects:?}");
}
