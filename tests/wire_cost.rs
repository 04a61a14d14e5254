//! What a message costs on the wire beyond its content, in steady conversation on a network that loses nothing.
//!
//! Ids of 64 hex digits, names of 8 bytes. Bytes are counted, not timed:
//! `cargo test --test wire_cost -- --nocapture` prints them.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;
use reliable_channel::channel::{Channel, Config, Context, Input, Join, Transmit, TransmitKind};
use reliable_channel::types::{Dialect, FilterField, RunningTime, WallTime};
use tap::Tap as _;

const EPOCH: u64 = 1_790_000_000_000;
const CONTENT: usize = 100;
const MESSAGES: u64 = 900;
/// From this message on the acknowledgement window is full.
const STEADY: u64 = 400;

/// Bytes beyond content, mean over messages.
#[derive(Debug)]
struct Cost {
    first: usize,
    steady: usize,
    /// The part of it that is filter.
    filter: usize,
    /// Bytes of sync messages for each content message.
    syncs: usize,
}

struct Group {
    members: Vec<Channel>,
    now: u64,
    entropy: u64,
    syncs: usize,
}

impl Group {
    fn new(size: usize) -> Self {
        let config = Arc::new(Config::default().tap_mut(|it| it.join = Join::Backfill(u64::MAX)));
        let context = Context::new(WallTime::from_millis(EPOCH), RunningTime::default(), 1);
        let member = |n| Channel::new("channel1", format!("member{n:02}"), config.clone(), &context).unwrap();
        Self { members: (0..size).map(member).collect(), now: 0, entropy: 7, syncs: 0 }
    }

    /// One member takes an input; all others receive what it transmits, at once.
    fn input(&mut self, member: usize, input: Input) -> Vec<Transmit> {
        let mut work = vec![(member, input)];
        let mut transmitted = Vec::new();
        while let Some((member, input)) = work.pop() {
            self.entropy = self.entropy.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (wall, running) = (WallTime::from_millis(EPOCH + self.now), RunningTime::from_millis(self.now));
            let context = Context::new(wall, running, self.entropy);
            let step = self.members[member].handle(&context, input);
            assert!(step.outcome.is_ok());
            for transmit in step.transmit {
                let others = (0..self.members.len()).filter(|other| *other != member);
                work.extend(others.map(|other| (other, Input::Receive(transmit.message.clone()))));
                transmitted.push(transmit);
            }
        }
        transmitted
    }

    /// Wakes members when they ask for it.
    fn run_until(&mut self, end: u64) {
        while let Some((due, member)) = self.next_due().filter(|(due, _)| *due <= end) {
            self.now = self.now.max(due);
            for transmit in self.input(member, Input::Timeout) {
                assert_eq!(transmit.kind, TransmitKind::Sync, "nothing is lost");
                self.syncs += transmit.message.encoded_len(Dialect::Lip109);
            }
        }
        self.now = end;
    }

    fn next_due(&self) -> Option<(u64, usize)> {
        let due =
            self.members.iter().enumerate().filter_map(|(n, member)| Some((member.poll_timeout()?.as_millis(), n)));
        due.min()
    }
}

/// The members take turns; a message every so many seconds.
fn talk(size: usize, every: u64) -> Cost {
    let mut group = Group::new(size);
    let mut costs = Vec::new();
    for turn in 0..MESSAGES {
        group.run_until(turn * every * 1_000);
        let content = Bytes::from(vec![b'a' + (turn % 26) as u8; CONTENT]);
        let sent = group.input((turn as usize * 7) % size, Input::Send { content, id: None });
        let message = &sent[0].message;
        assert_eq!(message.id.len(), 64);
        let whole = message.encoded_len(Dialect::Lip109);
        let filter = FilterField::encoded_len(&message.filter, Dialect::Lip109);
        costs.push((whole - CONTENT, filter));
        if turn == STEADY {
            group.syncs = 0;
        }
    }
    let steady = &costs[STEADY as usize..];
    Cost {
        first: costs[0].0,
        steady: steady.iter().map(|cost| cost.0).sum::<usize>() / steady.len(),
        filter: steady.iter().map(|cost| cost.1).sum::<usize>() / steady.len(),
        syncs: group.syncs / steady.len(),
    }
}

#[test]
fn a_message_in_a_group_of_twenty_takes_at_most_700_bytes_beyond_its_content() {
    let cost = talk(20, 1);
    println!("group of 20: {cost:?}");
    assert!(cost.first <= 250 && cost.steady <= 700 && cost.filter <= 350, "{cost:?}");
    assert!(cost.syncs <= 20, "{cost:?}");
}

#[test]
fn a_message_every_four_seconds_between_two_takes_at_most_400_bytes_beyond_its_content() {
    let cost = talk(2, 4);
    println!("two: {cost:?}");
    assert!(cost.first <= 250 && cost.steady <= 400 && cost.filter <= 200, "{cost:?}");
    // A sync between few has a filter that acknowledges with one hit, and names what it acknowledges.
    assert!(cost.syncs <= 640, "{cost:?}");
}
