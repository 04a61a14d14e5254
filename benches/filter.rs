//! Filters: insertion, look-up, encoding, decoding, in every dialect. `cargo bench --bench filter`.
//!
//! A filter holds the 240 ids of a busy window. `insert` is one id into ours, its share of building anew included.

#![allow(missing_docs, clippy::unwrap_used)]

mod fixtures;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use fixtures::ids;
use reliable_channel::filter::{IdHash, ReceivedFilter, RollingFilter, RollingFilterConfig};
use reliable_channel::types::RunningTime;

const WINDOW: u64 = 240;
const MAX_BYTES: usize = 64 << 10;

fn filter(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("filter/Lip109");
    let hashed: Vec<_> = ids(100_000).into_iter().map(|id| (IdHash::of(&id), id)).collect();
    let mut full = RollingFilter::new(RollingFilterConfig::default());
    let mut at = 0_u64;
    let insert = |filter: &mut RollingFilter, at: &mut u64| {
        let (hash, id) = &hashed[(*at % 100_000) as usize];
        *at += 1;
        let now = RunningTime::from_millis(*at * 1_000);
        filter.insert(id, *hash, now);
        if filter.needs_reseed() {
            filter.reseed(now, at.to_be_bytes());
        }
    };
    (0..WINDOW).for_each(|_| insert(&mut full, &mut at));
    group.bench_function("hash", |bencher| bencher.iter(|| IdHash::of(black_box(&hashed[0].1))));
    let mut growing = full.clone();
    group.bench_function("insert", |bencher| bencher.iter(|| insert(&mut growing, &mut at)));
    group.bench_function("encode", |bencher| bencher.iter(|| full.field()));
    let field = full.field();
    group.bench_function("decode", |bencher| bencher.iter(|| ReceivedFilter::parse(&field, MAX_BYTES)));
    let received = ReceivedFilter::parse(&field, MAX_BYTES).unwrap().unwrap();
    for (name, (hash, _)) in [("look-up, hit", &hashed[0]), ("look-up, miss", &hashed[WINDOW as usize])] {
        assert_eq!(received.chance(hash).is_some(), name.ends_with("hit"));
        group.bench_function(name, |bencher| bencher.iter(|| received.chance(black_box(hash))));
    }
    let reseed = |mut filter: RollingFilter| {
        filter.reseed(RunningTime::from_millis(WINDOW * 1_000), [1; 8]);
        // Dropped outside of the measurement.
        filter
    };
    group.bench_function("reseed", |bencher| bencher.iter_batched(|| full.clone(), reseed, BatchSize::SmallInput));
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_secs(1));
    targets = filter
}
criterion_main!(benches);
