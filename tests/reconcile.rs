//! Reconciliation of two sets: alone, and against another implementation of the same protocol.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use reliable_channel::reconcile::{Item, Options, ReconcileError, Rid, SetIndex, Split, initiate, refine, respond};
use reliable_channel::types::Lamport;

fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    rng.next_u64() % bound.max(1)
}

/// Many messages at one time, and ids that begin alike.
fn item(rng: &mut ChaCha8Rng, times: u64) -> Item {
    let mut rid = [0; 32];
    rng.fill_bytes(&mut rid);
    if below(rng, 4) == 0 {
        rid[..8].fill(7);
    }
    Item { lamport: Lamport(1_700_000_000_000 + below(rng, times)), rid: Rid(rid) }
}

/// What both have, and what each has alone.
fn pair(seed: u64) -> (Vec<Item>, Vec<Item>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let most = [3, 40, 700, 3_000][below(&mut rng, 4) as usize];
    let times = [1, 10, 1_000_000][below(&mut rng, 3) as usize];
    let apart = [0, 3, 100, most][below(&mut rng, 4) as usize];
    let mut some = |most: u64| (0..below(&mut rng, most + 1)).map(|_| item(&mut rng, times)).collect::<Vec<_>>();
    let (both, mut ours, mut theirs) = (some(most), some(apart), some(apart));
    ours.extend(&both);
    theirs.extend(&both);
    (ours, theirs)
}

fn storage(items: &[Item]) -> NegentropyStorageVector {
    let mut storage = NegentropyStorageVector::new();
    for item in items {
        storage.insert(item.lamport.0, Id::from_byte_array(item.rid.0)).unwrap();
    }
    storage.seal().unwrap();
    storage
}

fn difference(of: &[Item], without: &[Item]) -> BTreeSet<Rid> {
    let without: BTreeSet<Rid> = without.iter().map(|item| item.rid).collect();
    of.iter().map(|item| item.rid).filter(|rid| !without.contains(rid)).collect()
}

struct Reconciled {
    only_here: BTreeSet<Rid>,
    only_there: BTreeSet<Rid>,
    frames: usize,
    bytes: usize,
    largest: usize,
}

fn reconcile(ours: &SetIndex, theirs: &SetIndex, here: &Options, there: &Options) -> Reconciled {
    let mut all =
        Reconciled { only_here: BTreeSet::new(), only_there: BTreeSet::new(), frames: 0, bytes: 0, largest: 0 };
    let mut next = Some(initiate(ours, here));
    while let Some(message) = next {
        let answer = respond(theirs, there, &message).unwrap();
        let found = refine(ours, here, &answer.message).unwrap();
        all.frames += 1;
        all.bytes += message.len() + answer.message.len();
        all.largest = all.largest.max(message.len()).max(answer.message.len());
        all.only_here.extend(found.only_here);
        all.only_there.extend(found.only_there);
        assert!(!found.more, "sets this small are looked at whole");
        assert!(all.frames < 1_000, "no end");
        next = found.next;
    }
    all
}

#[test]
fn every_difference_is_found_and_nothing_else() {
    for seed in 0..400 {
        let (ours, theirs) = pair(seed);
        let (here, there) = (ours.iter().copied().collect(), theirs.iter().copied().collect());
        for split in [Split::ByAge, Split::Uniform] {
            let mut options = Options::default();
            options.split = split;
            let found = reconcile(&here, &there, &options, &Options::default());
            assert_eq!(found.only_here, difference(&ours, &theirs), "seed {seed}, {split:?}");
            assert_eq!(found.only_there, difference(&theirs, &ours), "seed {seed}, {split:?}");
        }
    }
}

#[test]
fn small_messages_find_every_difference_too() {
    for seed in 0..200 {
        let (ours, theirs) = pair(seed);
        let (here, there) = (ours.iter().copied().collect(), theirs.iter().copied().collect());
        let mut options = Options::default();
        (options.max_message_bytes, options.max_ranges, options.max_ids) = (Some(4_096), 64, 128);
        let found = reconcile(&here, &there, &options, &options);
        assert_eq!(found.only_here, difference(&ours, &theirs), "seed {seed}");
        assert_eq!(found.only_there, difference(&theirs, &ours), "seed {seed}");
        assert!(found.largest <= 4_096, "seed {seed}: {} bytes", found.largest);
    }
}

/// Both roles, with and without a limit on the size of messages: the same bytes, and the same findings.
#[test]
fn what_is_said_is_what_the_negentropy_crate_says() {
    let pairs = std::env::var("RC_RECONCILE_PAIRS").ok().and_then(|pairs| pairs.parse().ok()).unwrap_or(300);
    for seed in 0..pairs {
        let (ours, theirs) = pair(seed);
        let limit = if seed % 3 == 0 { 4_096 } else { 0 };
        let mut options = Options::plain();
        options.max_message_bytes = (limit > 0).then_some(limit);
        let (here, there): (SetIndex, SetIndex) = (ours.iter().copied().collect(), theirs.iter().copied().collect());
        let (our_storage, their_storage) = (storage(&ours), storage(&theirs));
        let mut client = Negentropy::borrowed(&our_storage, limit as u64).unwrap();
        let mut server = Negentropy::borrowed(&their_storage, limit as u64).unwrap();

        let (mut have, mut need) = (BTreeSet::new(), BTreeSet::new());
        let mut message = initiate(&here, &options);
        assert_eq!(message, client.initiate().unwrap(), "seed {seed}: the first message");
        loop {
            let answer = respond(&there, &options, &message).unwrap().message;
            assert_eq!(answer, server.reconcile(&message).unwrap(), "seed {seed}: an answer");
            let found = refine(&here, &options, &answer).unwrap();
            let (mut have_now, mut need_now) = (Vec::new(), Vec::new());
            let next = client.reconcile_with_ids(&answer, &mut have_now, &mut need_now).unwrap();
            let rids = |ids: Vec<Id>| ids.into_iter().map(|id| Rid(id.to_bytes())).collect::<BTreeSet<_>>();
            assert_eq!(found.only_here.iter().copied().collect::<BTreeSet<_>>(), rids(have_now), "seed {seed}");
            assert_eq!(found.only_there.iter().copied().collect::<BTreeSet<_>>(), rids(need_now), "seed {seed}");
            have.extend(found.only_here);
            need.extend(found.only_there);
            assert_eq!(found.next, next, "seed {seed}: a further message");
            match found.next {
                Some(next) => message = next,
                None => break,
            }
        }
        assert_eq!(have, difference(&ours, &theirs), "seed {seed}");
        assert_eq!(need, difference(&theirs, &ours), "seed {seed}");
    }
}

/// One side has dropped its oldest messages: they are no difference, on whichever side, whoever asks.
#[test]
fn what_lies_below_a_floor_is_no_difference() {
    for seed in 0..200 {
        let (ours, theirs) = pair(seed);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut times: Vec<u64> = ours.iter().chain(&theirs).map(|item| item.lamport.0).collect();
        times.sort_unstable();
        let floor = times.get(below(&mut rng, times.len() as u64) as usize).map_or(0, |time| time + 1);
        let above = |items: &[Item]| items.iter().copied().filter(|item| item.lamport.0 >= floor).collect::<Vec<_>>();
        let (kept, whole) = (above(&ours), above(&theirs));
        let mut floored = Options::default();
        floored.range = floor..=u64::MAX - 1;
        let (here, there): (SetIndex, SetIndex) = (kept.iter().copied().collect(), theirs.iter().copied().collect());

        let found = reconcile(&here, &there, &floored, &Options::default());
        assert_eq!(found.only_here, difference(&kept, &whole), "seed {seed}");
        assert_eq!(found.only_there, difference(&whole, &kept), "seed {seed}: the one with the floor asks");

        let found = reconcile(&there, &here, &Options::default(), &floored);
        assert_eq!(found.only_here, difference(&whole, &kept), "seed {seed}: the other one asks");
        assert_eq!(found.only_there, difference(&kept, &whole), "seed {seed}");
    }
}

#[test]
fn who_missed_the_end_learns_it_in_one_round_trip() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let items: Vec<Item> = (0..100_000).map(|time| Item { lamport: Lamport(time), ..item(&mut rng, 1) }).collect();
    let all: SetIndex = items.iter().copied().collect();
    for missed in [1, 10, 1_000, 8_000] {
        let behind: SetIndex = items[..items.len() - missed].iter().copied().collect();
        let found = reconcile(&behind, &all, &Options::default(), &Options::default());
        assert_eq!((found.only_there.len(), found.frames), (missed, 1));
        assert!(found.bytes <= 1_024 + 33 * missed, "{missed}: {} bytes", found.bytes);
        let found = reconcile(&all, &behind, &Options::default(), &Options::default());
        assert_eq!(found.only_here.len(), missed, "the other one asks");
        assert!(found.frames <= 2, "{missed}: {} round trips where the other one asks", found.frames);
    }
}

#[test]
fn the_side_that_answers_learns_what_a_list_tells() {
    let items: Vec<Item> = (0..20).map(|time| Item { lamport: Lamport(time), rid: Rid([time as u8; 32]) }).collect();
    let ours: SetIndex = items[1..].iter().copied().collect();
    let theirs: SetIndex = items[..18].iter().copied().collect();
    let answer = respond(&theirs, &Options::default(), &initiate(&ours, &Options::default())).unwrap();
    assert_eq!(answer.only_here, [Rid([0; 32])]);
    assert_eq!(answer.only_there, [Rid([18; 32]), Rid([19; 32])]);
}

#[test]
fn equal_sets_end_after_one_answer_that_says_nothing() {
    let set: SetIndex = (0..5_000).map(|time| Item { lamport: Lamport(time), rid: Rid([time as u8; 32]) }).collect();
    let answer = respond(&set, &Options::default(), &initiate(&set, &Options::default())).unwrap();
    assert_eq!(answer.message, [0x61]);
    let found = refine(&set, &Options::default(), &answer.message).unwrap();
    assert!(found.next.is_none() && found.only_here.is_empty() && found.only_there.is_empty());
}

#[test]
fn a_message_that_is_none_is_refused() {
    let set: SetIndex = (0..50).map(|time| Item { lamport: Lamport(time), rid: Rid([time as u8; 32]) }).collect();
    let options = Options::default();
    let refused = |message: &[u8]| respond(&set, &options, message).map(|_| ()).unwrap_err();
    assert_eq!(refused(&[]), ReconcileError::Truncated);
    assert_eq!(refused(&[0x60]), ReconcileError::Version { found: 0x60 });
    assert_eq!(refused(&[0x61, 0x01]), ReconcileError::Truncated);
    assert_eq!(refused(&[0x61, 0x00, 0x21]), ReconcileError::Invalid { what: "the length of an id prefix" });
    assert_eq!(refused(&[0x61, 0x00, 0x00, 0x03]), ReconcileError::Invalid { what: "a kind of range" });
    assert_eq!(
        refused(&[[0x61].as_slice(), &[0xff; 10], &[0]].concat()),
        ReconcileError::Invalid { what: "a bound's time" }
    );
    assert_eq!(refused(&[0x61, 0x05, 0x01, 0x09, 0x00, 0x01, 0x01, 0x03, 0x00]), ReconcileError::Descending);
    // 2^60 ids are claimed, in a message of 12 bytes.
    let huge = [0x61, 0x00, 0x00, 0x02, 0x90, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
    assert_eq!(refused(&huge), ReconcileError::Limit { what: "ids", found: 1 << 60, max: 8_192 });
    let ranges: Vec<u8> = [0x61].into_iter().chain([0x02, 0x00, 0x00].repeat(1_025)).collect();
    assert_eq!(refused(&ranges), ReconcileError::Limit { what: "ranges", found: 1_025, max: 1_024 });
}

#[test]
fn damaged_messages_are_answered_or_refused() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for seed in 0..300 {
        let (ours, theirs) = pair(seed);
        let (here, there): (SetIndex, SetIndex) = (ours.into_iter().collect(), theirs.into_iter().collect());
        let options = Options::default();
        let mut message = initiate(&here, &options);
        for _ in 0..below(&mut rng, 4) + 1 {
            let place = below(&mut rng, message.len() as u64) as usize;
            message[place] ^= 1 << below(&mut rng, 8);
        }
        message.truncate(below(&mut rng, message.len() as u64 + 1) as usize);
        if let Ok(answer) = respond(&there, &options, &message) {
            assert!(answer.message.len() <= 256 << 10);
        }
        let _either = refine(&there, &options, &message);
    }
}

/// The tree against a sorted list, through insertions and removals at both ends and anywhere.
#[test]
fn the_index_is_a_sorted_list() {
    for seed in 0..30 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut index, mut list) = (SetIndex::new(), Vec::<Item>::new());
        let times = [5, 1_000_000][below(&mut rng, 2) as usize];
        for turn in 0..6_000_u64 {
            let removing = if (turn / 1_500) % 2 == 0 { 1 } else { 5 };
            if below(&mut rng, 6) < removing && !list.is_empty() {
                let place = if below(&mut rng, 2) == 0 { 0 } else { below(&mut rng, list.len() as u64) as usize };
                let item = list.remove(place);
                assert!(index.remove(&item));
                assert!(!index.remove(&item), "twice");
            } else {
                let item = item(&mut rng, times);
                if let Err(place) = list.binary_search(&item) {
                    list.insert(place, item);
                    assert!(index.insert(item));
                }
                assert!(!index.insert(item), "twice");
            }
            if turn % 101 == 0 {
                let end = below(&mut rng, list.len() as u64 + 1) as usize;
                let start = below(&mut rng, end as u64 + 1) as usize;
                assert_eq!(index.range(start..end).collect::<Vec<_>>(), list[start..end]);
                let alone: SetIndex = list[start..end].iter().copied().collect();
                assert_eq!(index.summary(start..end), alone.summary(0..end - start), "seed {seed}, turn {turn}");
                let probe = item(&mut rng, times);
                assert_eq!(index.rank(&probe), list.partition_point(|other| *other < probe));
            }
        }
        assert_eq!(
            (index.len(), index.first(), index.last()),
            (list.len(), list.first().copied(), list.last().copied())
        );
        list.iter().for_each(|item| assert!(index.remove(item)));
        assert!(index.is_empty());
        assert_eq!(index.summary(0..0), SetIndex::new().summary(0..0));
        assert_eq!(index.summary(0..9), SetIndex::new().summary(0..0), "what was added was taken out again");
    }
}

#[test]
fn a_message_at_the_end_of_time_is_in_no_set() {
    let mut index = SetIndex::new();
    assert!(!index.insert(Item { lamport: Lamport(u64::MAX), rid: Rid([0; 32]) }));
    assert!(index.is_empty() && index.first().is_none() && index.last().is_none());
}
