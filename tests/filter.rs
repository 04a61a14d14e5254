//! Filters as `channel` uses them: what a rolling summary offers and what a received one proves.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use reliable_channel::filter::{FilterError, IdHash, ReceivedFilter, RollingFilter, RollingFilterConfig};
use reliable_channel::types::{Dialect, FilterField, MessageId, RunningTime};
use tap::Tap as _;

const MAX: usize = 64 << 10;

fn id(n: u64) -> MessageId {
    MessageId::new(format!("message {n}"))
}

fn hash(n: u64) -> IdHash {
    IdHash::of(&id(n))
}

fn at(seconds: u64) -> RunningTime {
    RunningTime::from_millis(seconds * 1_000)
}

/// A summary of `ids`, all heard at second 0, seeded with `seed`.
fn summary(ids: std::ops::Range<u64>, seed: u64) -> RollingFilter {
    let mut filter = RollingFilter::new(RollingFilterConfig::default());
    ids.for_each(|n| filter.insert(&id(n), hash(n), at(0)));
    filter.reseed(at(0), seed.to_le_bytes());
    filter
}

fn received(field: &FilterField) -> ReceivedFilter {
    ReceivedFilter::parse(field, MAX).unwrap().unwrap()
}

fn compact(k: u32, bits: Vec<u8>) -> FilterField {
    FilterField::Compact { k, seed: *b"somebody", bits: bits.into() }
}

fn holds(filter: &RollingFilter, n: u64) -> bool {
    received(&filter.field()).chance(&hash(n)).is_some()
}

#[test]
fn no_false_negatives_and_about_one_percent_false_positives() {
    for count in [1, 10, 64, 500, 10_000] {
        let full = {
            // Filled up to its capacity, where the error rate is promised.
            let mut filter = summary(0..count, count);
            let capacity = count + (count / 16).max(8);
            (count..capacity).for_each(|n| filter.insert(&id(n), hash(n), at(0)));
            (filter, capacity)
        };
        let filter = received(&full.0.field());
        assert!((0..full.1).all(|n| filter.chance(&hash(n)).is_some()), "false negative among {count}");
        let tested = 100_000;
        let hits = (1_000_000..1_000_000 + tested).filter(|n| filter.chance(&hash(*n)).is_some()).count();
        let rate = hits as f64 / tested as f64;
        // Small filters scatter: their bits are few, and rounding up to whole bytes helps them.
        let range = if count >= 500 { 0.007..0.013 } else { 0.0..0.03 };
        assert!(range.contains(&rate), "{count} ids: false positive rate {rate}");
    }
}

#[test]
fn the_chance_told_is_the_rate_seen() {
    let filter = received(&summary(0..5_000, 1).field());
    let (mut hits, mut told) = (0, 0.0);
    for n in 1_000_000..1_200_000 {
        if let Some(chance) = filter.chance(&hash(n)) {
            hits += 1;
            told += chance;
        }
    }
    let (rate, told) = (f64::from(hits) / 200_000.0, told / f64::from(hits));
    assert!((told / rate - 1.0).abs() < 0.2, "told {told}, seen {rate}");
}

#[test]
fn differently_seeded_filters_are_independent_witnesses() {
    let (one, two) = (received(&summary(0..1_000, 1).field()), received(&summary(0..1_000, 2).field()));
    assert_ne!(one.witness(), two.witness());
    let mut counts = [0_u32; 3];
    for n in 1_000_000..1_500_000 {
        let hits = [one.chance(&hash(n)).is_some(), two.chance(&hash(n)).is_some()];
        counts[0] += u32::from(hits[0]);
        counts[1] += u32::from(hits[1]);
        counts[2] += u32::from(hits[0] && hits[1]);
    }
    let expected = f64::from(counts[0]) * f64::from(counts[1]) / 500_000.0;
    assert!(expected > 20.0);
    assert!((f64::from(counts[2]) - expected).abs() < 5.0 * expected.sqrt(), "{counts:?}, expected {expected}");
}

#[test]
fn an_all_ones_filter_proves_nothing() {
    for k in [1, 7, 64] {
        let filter = received(&compact(k, vec![0xff; 100]));
        assert!((0..1_000).all(|n| filter.chance(&hash(n)) == Some(1.0)));
    }
}

#[test]
fn a_half_empty_filter_proves_by_its_fill() {
    // Four random bits of each byte: a pattern would meet the regular steps between positions.
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let halves: Vec<u8> = (0..=255).filter(|byte: &u8| byte.count_ones() == 4).collect();
    let bits = (0..1_000).map(|_| halves[random.next_u32() as usize % halves.len()]).collect();
    let filter = received(&compact(10, bits));
    let chances: Vec<f64> = (0..100_000).filter_map(|n| filter.chance(&hash(n))).collect();
    // A hit with ten positions is accidental with chance 2^-10, or more when some coincide.
    assert!(chances.iter().all(|chance| *chance >= 0.5_f64.powi(10)));
    assert!(chances.iter().filter(|chance| **chance == 0.5_f64.powi(10)).count() > chances.len() / 2);
    assert!((60..200).contains(&chances.len()), "{} hits of 100,000", chances.len());
}

#[test]
fn absurd_filters_are_errors_and_no_filter_is_none() {
    let parse = |field: &FilterField| ReceivedFilter::parse(field, 100).map(|filter| filter.is_some());
    assert_eq!(parse(&FilterField::Absent), Ok(false));
    assert_eq!(parse(&FilterField::Unusable), Err(FilterError::Unusable));
    assert_eq!(parse(&compact(7, vec![])), Err(FilterError::NoBits));
    assert_eq!(parse(&compact(0, vec![1])), Err(FilterError::HashCount { found: 0, max: 64 }));
    assert_eq!(parse(&compact(1, vec![1])), Ok(true));
    assert_eq!(parse(&compact(64, vec![1])), Ok(true));
    assert_eq!(parse(&compact(65, vec![1])), Err(FilterError::HashCount { found: 65, max: 64 }));
    assert_eq!(parse(&compact(u32::MAX, vec![1])), Err(FilterError::HashCount { found: u32::MAX, max: 64 }));
    assert_eq!(parse(&compact(7, vec![1; 100])), Ok(true));
    assert_eq!(parse(&compact(7, vec![1; 101])), Err(FilterError::TooLarge { found: 101, max: 100 }));
}

#[test]
fn an_empty_window_sends_no_filter() {
    let mut filter = RollingFilter::new(RollingFilterConfig::default());
    assert_eq!(filter.field(), FilterField::Absent);
    assert!(!filter.needs_reseed());
    filter.reseed(at(0), [1; 8]);
    assert_eq!(filter.field(), FilterField::Absent);
    filter.insert(&id(1), hash(1), at(0));
    assert!(holds(&filter, 1));
    filter.remove(&id(1));
    assert!(filter.is_empty());
    assert_eq!(filter.field(), FilterField::Absent);
}

#[test]
fn without_a_seed_there_is_no_filter_and_one_is_asked_for() {
    let mut filter = RollingFilter::new(RollingFilterConfig::default());
    filter.insert(&id(1), hash(1), at(0));
    assert_eq!(filter.field(), FilterField::Absent);
    assert!(filter.needs_reseed());
    filter.reseed(at(0), [1; 8]);
    assert!(!filter.needs_reseed());
    assert!(holds(&filter, 1));
}

#[test]
fn a_reseed_is_due_after_a_16th_of_the_capacity() {
    for (held, due_after) in [(0, 4), (10, 4), (96, 6), (1_000, 66), (9_000, 597)] {
        let mut filter = summary(0..held, 1);
        filter.reseed(at(0), [8; 8]);
        for n in 10_000..10_000 + due_after {
            assert!(!filter.needs_reseed(), "{held} held, {} inserted", n - 10_000);
            filter.insert(&id(n), hash(n), at(0));
            filter.insert(&id(n), hash(n), at(1));
        }
        assert!(filter.needs_reseed(), "{held} held");
        filter.reseed(at(0), [9; 8]);
        assert!(!filter.needs_reseed());
    }
}

#[test]
fn a_removed_id_leaves_with_the_next_reseed() {
    let mut filter = summary(0..100, 1);
    filter.remove(&id(1_000));
    assert!(!filter.needs_reseed(), "an unknown id changes nothing");
    filter.remove(&id(50));
    assert!(filter.needs_reseed());
    assert_eq!((filter.len(), filter.last_heard(&id(50))), (99, None));
    filter.reseed(at(0), [7; 8]);
    assert!(!holds(&filter, 50), "seed chosen so that this is no false positive");
    assert!(holds(&filter, 51));
}

#[test]
fn ids_expire_but_the_newest_64_stay() {
    let mut filter = summary(0..200, 1);
    (200..210).for_each(|n| filter.insert(&id(n), hash(n), at(100)));
    filter.reseed(at(240), [2; 8]);
    assert_eq!(filter.len(), 210, "exactly one window old is not expired");
    filter.reseed(at(241), [2; 8]);
    assert_eq!(filter.len(), 64);
    assert_eq!(filter.last_heard(&id(145)), None);
    assert_eq!(filter.last_heard(&id(146)), Some(at(0)));
    assert_eq!(filter.last_heard(&id(209)), Some(at(100)));
    filter.reseed(at(1_000_000), [2; 8]);
    assert_eq!(filter.len(), 64);
}

#[test]
fn who_takes_no_new_seed_holds_no_expired_ids_either() {
    let mut filter = summary(0..200, 1);
    filter.insert(&id(200), hash(200), at(240));
    assert_eq!(filter.len(), 201);
    filter.insert(&id(201), hash(201), at(241));
    assert_eq!(filter.len(), 64);
    assert_eq!(filter.last_heard(&id(0)), None);
    assert!(holds(&filter, 0), "its bits stay until the next seed");
    (202..2_000).for_each(|n| filter.insert(&id(n), hash(n), at(n)));
    assert_eq!(filter.len(), 241, "those of one window");
}

#[test]
fn a_known_duplicate_stays_for_another_window() {
    let mut filter = summary(0..200, 1);
    assert!(filter.refresh(&id(3), at(200)));
    assert!(!filter.refresh(&id(1_000), at(200)));
    assert_eq!(filter.last_heard(&id(3)), Some(at(200)));
    assert!(filter.refresh(&id(3), at(100)), "time does not go back");
    assert_eq!(filter.last_heard(&id(3)), Some(at(200)));
    filter.reseed(at(300), [2; 8]);
    assert_eq!(filter.len(), 64);
    assert!(holds(&filter, 3));
}

#[test]
fn at_most_10_000_ids_and_the_oldest_leave() {
    let mut filter = summary(0..10_000, 1);
    assert_eq!(filter.len(), 10_000);
    filter.refresh(&id(0), at(1));
    (10_000..10_010).for_each(|n| filter.insert(&id(n), hash(n), at(2)));
    assert_eq!(filter.len(), 10_000);
    assert_eq!(filter.last_heard(&id(0)), Some(at(1)));
    assert_eq!(filter.last_heard(&id(1)), None);
    assert_eq!(filter.last_heard(&id(10)), None);
    assert_eq!(filter.last_heard(&id(11)), Some(at(0)));
    assert!(!filter.needs_reseed(), "a full window is not rebuilt at every insertion");
}

#[test]
fn sizes_on_the_wire() {
    let sizes = [64_u64, 200, 500, 1_000, 10_000].map(|count| {
        let FilterField::Compact { k, bits, .. } = summary(0..count, 1).field() else { panic!() };
        (count, k, bits.len())
    });
    assert_eq!(sizes, [(64, 7, 87), (200, 7, 255), (500, 7, 637), (1_000, 7, 1_273), (10_000, 7, 12_731)]);
    assert_eq!(summary(0..64, 1).field().encoded_len(Dialect::Lip109), 104);
}

#[test]
fn the_same_calls_give_the_same_bytes() {
    assert_eq!(summary(0..3_000, 5).field(), summary(0..3_000, 5).field());
    assert_ne!(summary(0..3_000, 5).field(), summary(0..3_000, 6).field());
}

#[test]
fn error_rates_beyond_reason_do_not_panic() {
    for error_rate in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1.0, 1e-300] {
        let mut filter = RollingFilter::new(RollingFilterConfig::default().tap_mut(|it| it.error_rate = error_rate));
        filter.insert(&id(1), hash(1), at(0));
        filter.reseed(at(0), [1; 8]);
        assert!(holds(&filter, 1));
    }
}

/// Not a benchmark: it fails when an insertion rebuilds the filter, or a test of an id walks it.
#[test]
fn insertions_and_tests_stay_cheap_in_a_full_window() {
    let hashes: Vec<_> = (0..30_000).map(|n| (id(n), hash(n))).collect();
    let start = Instant::now();
    let mut filter = RollingFilter::new(RollingFilterConfig::default());
    for (id, hash) in &hashes {
        filter.insert(id, *hash, at(0));
        if filter.needs_reseed() {
            filter.reseed(at(0), [1; 8]);
        }
    }
    let inserting = start.elapsed() / 30_000;
    let received = received(&filter.field());
    let start = Instant::now();
    let hits = (0..100).flat_map(|_| &hashes[..1_000]).filter(|(_, hash)| received.chance(hash).is_some()).count();
    let testing = start.elapsed() / 100_000;
    println!("an insertion {inserting:?}, a test {testing:?}, {hits} hits");
    assert!(inserting < Duration::from_micros(500));
    assert!(testing < Duration::from_micros(10));
}

/// What each layout costs, the least of twenty rounds, since others use the machine too:
/// `cargo test --release --test filter -- --ignored --nocapture costs`. Ids have 64 characters.
#[test]
#[ignore = "a measurement"]
fn costs_of_each_layout() {
    fn least<T>(parts: u32, mut work: impl FnMut() -> T) -> (T, Duration) {
        let round = |work: &mut dyn FnMut() -> T| {
            let start = Instant::now();
            let result = work();
            (result, start.elapsed() / parts)
        };
        (0..20).map(|_| round(&mut work)).min_by_key(|(_, took)| *took).unwrap()
    }
    for dialect in [Dialect::Lip109, Dialect::JsWaku, Dialect::NimSds] {
        let ids: Vec<MessageId> = (0..10_000).map(|n| MessageId::new(format!("{n:064x}"))).collect();
        let hashes = || ids.iter().map(|id| IdHash::in_dialect(id, dialect)).collect::<Vec<_>>();
        let (hashes, hashing) = least(10_000, hashes);
        let (mut filter, inserting) = least(10_000, || {
            let mut filter = RollingFilter::new(RollingFilterConfig::of(dialect));
            ids.iter().zip(&hashes).for_each(|(id, hash)| filter.insert(id, *hash, at(0)));
            filter
        });
        filter.reseed(at(0), [1; 8]);
        let (field, encoding) = least(1, || filter.field());
        let (_, copying) = least(1, || std::hint::black_box(vec![1_u8; field.len()]).clone());
        let (received, parsing) = least(1, || received(&field));
        let found = |hashes: &[IdHash]| hashes.iter().filter(|hash| received.chance(hash).is_some()).count();
        let (hits, hit) = least(10_000, || found(&hashes));
        let others: Vec<IdHash> = (10_000..20_000).map(|n| IdHash::in_dialect(&id(n), dialect)).collect();
        let (errors, miss) = least(10_000, || found(&others));
        println!(
            "{dialect:?}: hash {hashing:?}, insert {inserting:?}, hit {hit:?}, miss {miss:?}, field {encoding:?} \
             (a vector made and copied {copying:?}), parse {parsing:?} ({hits} hits, {errors} errors, {} bytes)",
            field.len(),
        );
    }
}
