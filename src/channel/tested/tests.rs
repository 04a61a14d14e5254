//! What is remembered of filters changes how much is tested, and nothing else.

use bytes::Bytes;

use super::super::FilterEvidence;
use super::super::budget::Allowance;
use super::super::outgoing::Outgoing;
use super::*;
use crate::filter::{IdHash, RollingFilter, RollingFilterConfig};
use crate::state::{LogKey, Outgoing as Entry};
use crate::types::{FilterField, Lamport, MessageId, RunningTime, WallTime, split_mix};

/// The outgoing buffer under test, and one that remembers nothing.
#[derive(Default)]
struct Pair {
    quick: Outgoing,
    plain: Outgoing,
    keys: Vec<LogKey>,
    heard: u64,
    tests: (u64, u64),
}

impl Pair {
    /// Sends a message; Lamport time may run backwards, as after a clock was reset.
    fn send(&mut self, lamport: u64) {
        let key = LogKey { lamport: Lamport(lamport), id: MessageId::from(format!("m{}", self.keys.len())) };
        let entry = Entry {
            key: key.clone(),
            first_sent: WallTime::default(),
            last_sent: WallTime::default(),
            next_due: WallTime::default(),
            attempts: 0,
            failed: false,
            uncertain: None,
            filters_heard_at_send: self.heard,
            evidence: Vec::new(),
        };
        self.keys.push(key);
        for outgoing in [&mut self.quick, &mut self.plain] {
            outgoing.add(entry.clone(), IdHash::of(&entry.key.id), RunningTime::default(), 1);
        }
    }

    fn hear(&mut self, sender: &str, field: &FilterField, rule: FilterEvidence) {
        let sender = ParticipantId::from(sender);
        let after = ReceivedFilter::parse_after(field, 1 << 16, self.quick.last_filter(&sender)).unwrap().unwrap();
        let filter = ReceivedFilter::parse(field, 1 << 16).unwrap().unwrap();
        self.heard += 1;
        self.plain.forget_tested();
        let allowance = Allowance { tests: u64::MAX, changes: u64::MAX };
        let quick = self.quick.review(&after, &sender, self.heard, rule, allowance);
        let plain = self.plain.review(&filter, &sender, self.heard, rule, allowance);
        assert!(quick.whole && plain.whole);
        assert_eq!(format!("{:?}", quick.findings), format!("{:?}", plain.findings));
        self.tests = (self.tests.0 + quick.tests, self.tests.1 + plain.tests);
        for finding in &quick.findings {
            if let super::super::outgoing::Finding::Acknowledged(key) = finding {
                self.quick.remove(key);
                self.plain.remove(key);
            }
        }
        let evidence = |outgoing: &Outgoing| outgoing.iter().map(|open| open.entry.clone()).collect::<Vec<_>>();
        assert_eq!(evidence(&self.quick), evidence(&self.plain));
    }
}

/// Twelve senders (more than there are witnesses) hear some of what is sent and reseed now and then; two of them take
/// turns between two filters, one loses bits, one's filter is full.
fn talk(seed: u64, rule: FilterEvidence) -> (u64, u64) {
    let mut random = seed;
    let mut draw = move |below: u64| split_mix(&mut random) % below;
    let mut pair = Pair::default();
    let mut filters: Vec<RollingFilter> = (0..12)
        .map(|n| RollingFilter::new(RollingFilterConfig { error_rate: 0.05 + 0.03 * n as f64, ..Default::default() }))
        .collect();
    let mut kept: Vec<Option<FilterField>> = vec![None; 12];
    for _ in 0..400 {
        for _ in 0..draw(3) {
            let lamport = 1_000 + pair.keys.len() as u64 - draw(20);
            pair.send(lamport);
        }
        let Some(key) = pair.keys.get(draw(pair.keys.len() as u64 + 1) as usize).cloned() else { continue };
        if draw(10) == 0 {
            pair.quick.remove(&key);
            pair.plain.remove(&key);
        }
        let who = draw(12) as usize;
        let filter = &mut filters[who];
        filter.insert(&key.id, IdHash::of(&key.id), RunningTime::default());
        if filter.needs_reseed() || draw(15) == 0 {
            filter.reseed(RunningTime::default(), draw(u64::MAX).to_be_bytes());
        }
        let mut field = filter.field();
        match (who, draw(4)) {
            (0 | 1, 0) => field = kept[who].replace(field.clone()).unwrap_or(field),
            (2, 0) => change(&mut field, |bits| bits[0] = 0),
            (3, 0) => change(&mut field, |bits| bits.fill(0xff)),
            _ => {}
        }
        pair.hear(&format!("sender {who}"), &field, rule);
    }
    pair.tests
}

fn change(field: &mut FilterField, change: impl FnOnce(&mut Vec<u8>)) {
    let FilterField::Compact { bits, .. } = field else { panic!("no filter: {field:?}") };
    let mut changed = bits.to_vec();
    change(&mut changed);
    *bits = Bytes::from(changed);
}

#[test]
fn what_is_remembered_of_filters_changes_no_finding() {
    for rule in [FilterEvidence::Chance(1e-6), FilterEvidence::Chance(1e-12), FilterEvidence::Hits(30)] {
        for seed in 0..15 {
            let (quick, plain) = talk(seed, rule);
            assert!(quick <= plain, "seed {seed}: {quick} tests instead of {plain}");
        }
    }
}

#[test]
fn a_filter_that_only_gains_bits_is_tested_only_where_it_gained_any() {
    let mut pair = Pair::default();
    (0..1_000).for_each(|lamport| pair.send(lamport));
    let mut filter = RollingFilter::new(RollingFilterConfig::default());
    let heard = |filter: &mut RollingFilter, id: &str| {
        let id = MessageId::from(id);
        filter.insert(&id, IdHash::of(&id), RunningTime::default());
    };
    (0..200).for_each(|n| heard(&mut filter, &format!("before {n}")));
    filter.reseed(RunningTime::default(), [7; 8]);
    pair.hear("bob", &filter.field(), FilterEvidence::Chance(1e-6));
    assert_eq!(pair.tests, (1_000, 1_000));
    for n in 0..32 {
        heard(&mut filter, &format!("after {n}"));
        pair.hear("bob", &filter.field(), FilterEvidence::Chance(1e-6));
    }
    // Seven of some 2,500 positions are set at a time, and half of the messages watch one that was not.
    assert_eq!(pair.tests.1, 33_000);
    assert!(pair.tests.0 < 1_500, "{} tests", pair.tests.0);
}

#[test]
fn a_sender_that_keeps_its_seed_is_not_watched_for_messages_of_the_past() {
    let mut pair = Pair::default();
    let field = FilterField::Compact { k: 7, seed: [7; 8], bits: vec![0; 300].into() };
    for lamport in 0..2_000 {
        pair.send(lamport);
        if lamport >= 50 {
            let key = pair.keys[lamport as usize - 50].clone();
            pair.quick.remove(&key);
            pair.plain.remove(&key);
        }
        pair.hear("bob", &field, FilterEvidence::Chance(1e-6));
        let watched: usize = pair.quick.tested().senders.values().map(|last| last.watch.len()).sum();
        assert!(watched <= 2 * 50 + 1, "{watched} positions for {} messages", pair.quick.len());
    }
    assert!(pair.tests.0 < 2_000 * 3, "{} tests", pair.tests.0);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut tested = Tested::default();
    let filter = |bytes: usize, seed: u64| {
        let field = FilterField::Compact { k: 3, seed: seed.to_be_bytes(), bits: vec![0; bytes].into() };
        ReceivedFilter::parse(&field, 1 << 16).unwrap().unwrap()
    };
    for n in 0..9_930_u64 {
        let (_, mut watch) = tested.resume(&format!("sender {n}").into(), &filter(1, n), 10_000);
        let bytes = 1 + n % 977 * 64;
        watch.missed.extend((0..n % 300).map(|number| (number % (8 * bytes), number)));
        tested.put(&format!("sender {n}").into(), &filter(bytes as usize, n), watch);
        assert!(tested.bytes <= MAX_BYTES);
        assert_eq!(tested.senders.len(), tested.order.len());
    }
    let bytes: usize = tested.senders.values().map(|last| cost(&last.filter, &last.watch)).sum();
    assert_eq!(tested.bytes, bytes);
    assert!(
        tested.senders.values().all(|last| {
            let entries = &last.watch.missing.entries;
            entries.capacity() <= 2 * entries.len().max(MANY)
        }),
        "room for what is not there"
    );
    let others = tested.senders.len();
    assert!(others > 5, "{others} senders");
    let field = FilterField::Compact { k: 3, seed: [0; 8], bits: vec![0; MAX_BYTES + 1].into() };
    let filter = ReceivedFilter::parse(&field, usize::MAX).unwrap().unwrap();
    tested.put(&"a sender of too much".into(), &filter, Watch::default());
    assert_eq!(tested.senders.len(), others, "it is not remembered, and displaces nobody");
}

/// A filter that missed nothing makes one list; what is missed later is all in it. To look through it for each bit that
/// such a filter gains took 283 ms for 64 KiB of them: where they are more than what is watched, that is walked instead.
#[test]
fn a_filter_that_gains_more_bits_than_are_watched_finds_the_same() {
    let bits = 1 << 12;
    let field = |byte: u8| FilterField::Compact { k: 1, seed: [0; 8], bits: vec![byte; bits / 8].into() };
    let parse = |byte: u8| ReceivedFilter::parse(&field(byte), bits).unwrap().unwrap();
    let (empty, full, sender) = (parse(0), parse(0xff), ParticipantId::from("bob"));
    let mut tested = Tested::default();
    tested.put(&sender, &empty, Watch::default());
    for first in [0, 40] {
        let (due, mut watch) = tested.resume(&sender, &empty, 100);
        assert_eq!(due, [0; 0]);
        watch.missed.extend((first..first + 32).map(|number| (number, number)));
        tested.put(&sender, &empty, watch);
    }
    let (mut due, _) = tested.resume(&sender, &full, 100);
    due.sort_unstable();
    assert_eq!(due, (0..32).chain(40..72).collect::<Vec<u64>>());
}
