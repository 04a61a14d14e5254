//! One lane with an archive, driven by hand: what is kept, when, and what becomes of calls that fail or hang.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::effect::{
    Answer, ArchiveAnswer, ArchiveCall, CallId, Caller, Common, Effect, ExecutorError, Generation, Input, Moment,
    Options, Order, Unfinished,
};
use super::Lane;
use crate::channel::{Config, Input as ChannelInput, Join, TransmitKind};
use crate::executor::Told;
use crate::state::ChannelData;
use crate::store::{PersistenceError, PersistenceErrorKind};
use crate::types::{CatchUpField, Frame, FrameBody, Lamport, Message, RunningTime, WallTime};

const NOW: u64 = 1_800_000_000_000;

struct Driven {
    lane: Lane,
    common: Common,
    now: u64,
    calls: u64,
    /// Commits wait until they are told to be saved.
    slow: bool,
    unsaved: Vec<Generation>,
    asked: Vec<(Generation, ArchiveCall)>,
    told: Vec<&'static str>,
    ends: Vec<FrameBody>,
    dropped: bool,
    answers: Vec<Result<Answer, ExecutorError>>,
}

impl Driven {
    /// An open channel whose archive was listed, and is empty.
    fn open() -> Self {
        let mut options = Options::new("alice", 1);
        options.archive = true;
        let mut driven = Self {
            lane: Lane::new("room".into()),
            common: Common::new(options),
            now: 0,
            calls: 0,
            slow: false,
            unsaved: Vec::new(),
            asked: Vec::new(),
            told: Vec::new(),
            ends: Vec::new(),
            dropped: false,
            answers: Vec::new(),
        };
        let config = Config { join: Join::Backfill(u64::MAX), max_message_history: 2, ..Config::default() };
        driven.order(Order::Open(Arc::new(config)));
        assert!(matches!(driven.ask(), ArchiveCall::List { after: None, limit: 4_096 }));
        driven.answer(Ok(ArchiveAnswer::Listed(Vec::new())));
        driven
    }

    fn hand_in(&mut self, input: Input) {
        let moment = Moment { wall: WallTime::from_millis(NOW), running: RunningTime::from_millis(self.now) };
        let mut effects = Vec::new();
        self.lane.handle(&self.common, &moment, input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Load { generation, .. } => {
                    self.hand_in(Input::Loaded { generation, result: Ok(ChannelData::default()) })
                }
                Effect::Commit { generation, .. } if self.slow => self.unsaved.push(generation),
                Effect::Commit { generation, .. } => self.hand_in(Input::Saved { generation, result: Ok(()) }),
                Effect::Archive { generation, call, .. } => self.asked.push((generation, call)),
                Effect::Drop { generation, .. } => {
                    self.dropped = true;
                    self.hand_in(Input::Dropped { generation, result: Ok(()) });
                }
                Effect::Tell { telling, .. } => {
                    self.told.extend(telling.told.iter().filter_map(|told| match told {
                        Told::ArchiveFailed(_) => Some("failed"),
                        Told::ArchiveRecovered => Some("recovered"),
                        _ => None,
                    }));
                    let frames = telling.transmit.iter().filter(|sent| sent.kind == TransmitKind::CatchUp);
                    self.ends.extend(frames.filter_map(|sent| match &sent.message.catch_up {
                        CatchUpField::Frame(frame) => Some(frame.body.clone()),
                        _ => None,
                    }));
                }
                Effect::Answer { result, .. } => self.answers.push(result),
                _ => {}
            }
        }
        assert!(self.asked.len() <= 1, "one call at a time");
    }

    fn order(&mut self, order: Order) {
        self.calls += 1;
        let caller = Some(Caller { call: CallId(self.calls), inside: false });
        self.hand_in(Input::Order { caller, order });
    }

    fn receive(&mut self, n: u64, bytes: usize) {
        let mut message = Message::new(format!("m{n}").into(), "bob".into(), "room".into());
        message.lamport = Some(Lamport(NOW + n));
        message.content = vec![b'x'; bytes].into();
        self.order(Order::Enter { input: ChannelInput::Receive(message), heard: None });
    }

    /// Somebody asks for these.
    fn fetch(&mut self, rids: Vec<[u8; 32]>) {
        let frame = Frame::new(self.calls, "alice".into(), Lamport(0), FrameBody::Fetch { rids });
        let mut message = Message::new(format!("f{}", self.calls).into(), "bob".into(), "room".into());
        message.catch_up = CatchUpField::Frame(Box::new(frame));
        self.order(Order::Enter { input: ChannelInput::Receive(message), heard: None });
    }

    fn run_for(&mut self, millis: u64) {
        let end = self.now + millis;
        while let Some(due) = self.lane.poll_timeout(&self.common).map(RunningTime::as_millis).filter(|due| *due <= end)
        {
            self.now = self.now.max(due);
            self.hand_in(Input::Timeout);
        }
        self.now = end;
    }

    /// The call that is being made.
    fn ask(&self) -> &ArchiveCall {
        &self.asked.first().expect("a call to the archive").1
    }

    fn answer(&mut self, result: Result<ArchiveAnswer, ()>) {
        let (generation, _) = self.asked.remove(0);
        let error = || Arc::new(PersistenceError::new("put", None, PersistenceErrorKind::Io));
        self.hand_in(Input::Archived { generation, result: result.map_err(|()| error()) });
    }

    fn put(&self) -> Vec<String> {
        match self.ask() {
            ArchiveCall::Put(messages) => messages.iter().map(|(_, body)| body.key.id.to_string()).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// Nine messages, of which the log has the last two, are given to the archive; their rids.
    fn kept(&mut self) -> Vec<[u8; 32]> {
        let mut rids = Vec::new();
        for n in 1..=9 {
            self.receive(n, 9);
            if let ArchiveCall::Put(messages) = self.ask() {
                rids.extend(messages.iter().map(|(rid, _)| rid.0));
            }
            self.answer(Ok(ArchiveAnswer::Put));
        }
        rids
    }

    /// Messages that the archive takes until nothing more is to be kept.
    fn keep_all(&mut self) -> usize {
        let mut kept = 0;
        while !self.asked.is_empty() {
            kept += self.put().len();
            self.answer(Ok(ArchiveAnswer::Put));
            self.run_for(10);
        }
        kept
    }
}

#[test]
fn what_is_saved_is_kept_and_nothing_before_it_is() {
    let mut driven = Driven::open();
    driven.slow = true;
    driven.receive(1, 9);
    assert_eq!((driven.asked.len(), driven.unsaved.len()), (0, 1));
    driven.slow = false;
    let generation = driven.unsaved.remove(0);
    driven.hand_in(Input::Saved { generation, result: Ok(()) });
    assert_eq!(driven.put(), ["m1"]);
    // What comes meanwhile goes together.
    (2..=300).for_each(|n| driven.receive(n, 9));
    driven.answer(Ok(ArchiveAnswer::Put));
    let mut kept: BTreeSet<String> = driven.put().into_iter().collect();
    assert_eq!((kept.len(), kept.contains("m1")), (256, false));
    // Some may be given twice: the log is compared with the archive meanwhile.
    while driven.asked.first().is_some_and(|(_, call)| matches!(call, ArchiveCall::Put(_))) {
        kept.extend(driven.put());
        driven.answer(Ok(ArchiveAnswer::Put));
    }
    kept.insert("m1".to_owned());
    assert_eq!(kept, (1..=300).map(|n| format!("m{n}")).collect());
}

#[test]
fn an_archive_that_fails_is_told_once_and_tried_again_while_all_else_goes_on() {
    let mut driven = Driven::open();
    driven.receive(1, 9);
    driven.answer(Err(()));
    driven.receive(2, 9);
    assert_eq!((driven.asked.len(), driven.answers.iter().all(Result::is_ok)), (0, true));
    let mut waits = Vec::new();
    for _ in 0..4 {
        let failed = driven.now;
        while driven.asked.is_empty() {
            driven.run_for(100);
        }
        waits.push((driven.now - failed) / 1_000);
        assert_eq!(driven.put()[..2], ["m1", "m2"]);
        driven.answer(Err(()));
    }
    assert_eq!((waits, &driven.told[..]), (vec![1, 2, 4, 8], &["failed"][..]));
    driven.run_for(16_000);
    driven.answer(Ok(ArchiveAnswer::Put));
    assert_eq!(driven.told, ["failed", "recovered"]);
}

#[test]
fn an_archive_that_can_be_read_but_not_written_stays_failed() {
    let mut driven = Driven::open();
    let rids = driven.kept();
    driven.receive(10, 9);
    driven.answer(Err(()));
    for rid in rids.into_iter().take(3) {
        driven.fetch(vec![rid]);
        driven.answer(Ok(ArchiveAnswer::Got { bodies: Vec::new(), looked: 1 }));
    }
    assert_eq!(driven.told, ["failed"]);
    driven.run_for(1_000);
    assert_eq!(driven.put()[0], "m10");
    driven.answer(Ok(ArchiveAnswer::Put));
    assert_eq!(driven.told, ["failed", "recovered"]);
}

#[test]
fn an_archive_that_could_not_be_read_recovers_where_it_can() {
    let mut driven = Driven::open();
    let rids = driven.kept();
    driven.fetch(rids[..3].to_vec());
    driven.answer(Err(()));
    driven.fetch(rids[..3].to_vec());
    driven.answer(Ok(ArchiveAnswer::Got { bodies: Vec::new(), looked: 3 }));
    assert_eq!(driven.told, ["failed", "recovered"]);
}

#[test]
fn one_message_waits_however_little_room_all_channels_have() {
    let mut driven = Driven::open();
    driven.common.memory.archive_changes(0, 65 << 20);
    driven.receive(1, 9);
    assert_eq!(driven.put(), ["m1"]);
    // The first of these waits for that one; what had no room is found in the log.
    (2..=3).for_each(|n| driven.receive(n, 9));
    let mut kept = BTreeSet::new();
    while !driven.asked.is_empty() {
        kept.extend(driven.put());
        driven.answer(Ok(ArchiveAnswer::Put));
        driven.run_for(10);
    }
    assert_eq!(kept.len(), 3, "{kept:?}");
}

#[test]
fn a_question_is_answered_whether_the_archive_fails_or_hangs() {
    let mut driven = Driven::open();
    let rids = driven.kept();
    let gone = |driven: &mut Driven| match driven.ends.pop() {
        Some(FrameBody::End { gone, .. }) => gone.len(),
        other => panic!("{other:?}"),
    };
    driven.fetch(rids[..3].to_vec());
    assert!(matches!(driven.ask(), ArchiveCall::Get(items) if items.len() == 3));
    driven.answer(Err(()));
    assert_eq!(gone(&mut driven), 3);
    // One that is being read, and one that waits behind it.
    driven.fetch(rids[..3].to_vec());
    driven.fetch(rids[..2].to_vec());
    driven.run_for(9_999);
    assert_eq!(driven.ends.len(), 0);
    driven.run_for(1);
    assert_eq!((gone(&mut driven), gone(&mut driven)), (2, 3));
    driven.answer(Ok(ArchiveAnswer::Got { bodies: Vec::new(), looked: 3 }));
    assert_eq!(driven.ends.len(), 0, "it was answered");
    driven.fetch(rids[..3].to_vec());
    driven.answer(Ok(ArchiveAnswer::Got { bodies: Vec::new(), looked: 3 }));
    assert_eq!(gone(&mut driven), 3);
}

#[test]
fn what_waits_is_bounded_and_what_the_log_has_of_the_rest_is_kept_later() {
    let mut driven = Driven::open();
    driven.receive(0, 9);
    // The archive hangs. Of 40 messages of 512 KiB, 15 fit beside the one that is being kept.
    (1..=40).for_each(|n| driven.receive(n, 512 << 10));
    let kept = driven.keep_all();
    assert_eq!(kept, 1 + 15 + 2, "the log has two");
    assert_eq!(driven.told, [""; 0]);
}

#[test]
fn removing_waits_for_what_is_being_kept_and_closing_for_what_can_be() {
    let mut driven = Driven::open();
    driven.receive(1, 9);
    driven.order(Order::Remove);
    assert!(!driven.dropped, "it would be kept after that");
    driven.answer(Ok(ArchiveAnswer::Put));
    assert!(driven.dropped);

    let mut driven = Driven::open();
    driven.receive(1, 9);
    driven.receive(2, 9);
    driven.answers.clear();
    driven.order(Order::Close);
    driven.answer(Ok(ArchiveAnswer::Put));
    assert_eq!((driven.put(), driven.answers.len()), (vec!["m2".to_owned()], 0));
    driven.answer(Ok(ArchiveAnswer::Put));
    assert_eq!(driven.answers.len(), 1);

    let mut driven = Driven::open();
    driven.receive(1, 9);
    driven.answer(Err(()));
    driven.answers.clear();
    driven.order(Order::Close);
    assert_eq!(driven.answers.len(), 1, "nobody waits for one that fails");
}

#[test]
fn closing_does_not_wait_for_what_is_read_or_listed() {
    let mut driven = Driven::open();
    let rids = driven.kept();
    driven.fetch(rids[..3].to_vec());
    assert!(matches!(driven.ask(), ArchiveCall::Get(_)));
    driven.answers.clear();
    driven.order(Order::Close);
    assert_eq!(driven.answers.len(), 1);
}

#[test]
fn who_waits_for_an_archive_that_hangs_is_told_so() {
    for order in [Order::Close, Order::Remove, Order::ShutDown] {
        let mut driven = Driven::open();
        driven.receive(1, 9);
        driven.order(order);
        driven.answers.clear();
        driven.hand_in(Input::GiveUp(CallId(driven.calls)));
        let told = driven.answers.first().map(|answer| answer.as_ref().map(|_| ()));
        assert!(
            matches!(told, Some(Err(ExecutorError::Unfinished(Unfinished::Archive("put"))))),
            "{:?}",
            driven.answers
        );
    }
}

#[test]
fn what_an_archive_has_is_listed_page_by_page_and_what_it_lacks_of_the_log_is_kept() {
    let mut driven = Driven::open();
    (1..=5).for_each(|n| driven.receive(n, 9));
    driven.keep_all();
    driven.order(Order::Close);
    driven.order(Order::Open(Arc::new(Config::default())));
    // A new one, for this test's store is empty: it lists as many as were asked for, then the rest.
    let key = |n: u64| crate::state::LogKey { lamport: Lamport(n), id: format!("k{n}").as_str().into() };
    let page = |from: u64, to: u64| (from..to).map(|n| (key(n), crate::reconcile::Rid([1; 32]))).collect();
    driven.answer(Err(()));
    driven.run_for(1_000);
    driven.answer(Ok(ArchiveAnswer::Listed(page(0, 4_096))));
    assert!(matches!(driven.ask(), ArchiveCall::List { after: Some(after), .. } if *after == key(4_095)));
    driven.receive(7, 9);
    driven.answer(Ok(ArchiveAnswer::Listed(page(4_096, 4_099))));
    assert_eq!(driven.put(), ["m7"]);
}
