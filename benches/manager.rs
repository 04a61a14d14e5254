//! A manager: wrap and unwrap on each store, with 1 and 64 channels at once.
//! `cargo bench --all-features --bench manager`.
//!
//! Logs are full, a second passes between operations, and each operation is acknowledged before the next, untimed. With
//! 64 channels the time is that of one operation, of 64 that run at once. `two threads` is the same work on two channels
//! from one thread and from two: without a lock between channels it takes half as long, where two cores are free.

#![allow(missing_docs, clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod fixtures;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fixtures::managed::Managed;
use reliable_channel::store::{
    Durability, MemoryPersistence, NoPersistence, Persistence, RedbPersistence, SledPersistence, SqlitePersistence,
};
use tempfile::TempDir;

const CHANNELS: [usize; 2] = [1, 64];
type Open = fn(&TempDir, Durability) -> Arc<dyn Persistence>;
const ENGINES: [(&str, Open); 3] = [
    ("redb", |dir, durability| Arc::new(RedbPersistence::open_with(dir, durability).unwrap())),
    ("sled", |dir, durability| Arc::new(SledPersistence::open_with(dir, durability).unwrap())),
    ("sqlite", |dir, durability| Arc::new(SqlitePersistence::open_with(dir, durability).unwrap())),
];
/// Time between operations, and between those of a burst, in which our filter comes to hold 10,000 ids.
const PACES: [(&str, Duration); 2] = [("steady", Duration::from_secs(1)), ("burst", Duration::ZERO)];

fn memory(criterion: &mut Criterion) {
    for channels in CHANNELS {
        for (pace, time) in PACES {
            bench(criterion, &format!("manager/memory/{pace}"), channels, time, &|| Arc::new(MemoryPersistence::new()));
        }
    }
}

fn on_disk(criterion: &mut Criterion) {
    let batched = Durability::Batched { max_delay: Duration::from_millis(50) };
    for (promise, durability) in [("durable", Durability::Immediate), ("batched", batched)] {
        for (name, open) in ENGINES {
            for channels in CHANNELS {
                let dir = tempfile::tempdir().unwrap();
                let store = || open(&dir, durability);
                bench(criterion, &format!("manager/{name}/{promise}"), channels, Duration::from_secs(1), &store);
            }
        }
    }
}

fn bench(
    criterion: &mut Criterion,
    name: &str,
    channels: usize,
    pace: Duration,
    store: &dyn Fn() -> Arc<dyn Persistence>,
) {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20);
    let mut managed = Managed::full(store(), channels);
    group.bench_function(BenchmarkId::new("wrap", channels), |bencher| {
        bencher.iter_custom(|iterations| {
            let mut total = Duration::ZERO;
            for _ in 0..iterations {
                managed.pass(pace);
                let start = Instant::now();
                let ids = black_box(managed.wrap());
                total += start.elapsed();
                managed.acknowledge(ids);
            }
            total / u32::try_from(channels).unwrap()
        });
    });
    group.bench_function(BenchmarkId::new("unwrap", channels), |bencher| {
        bencher.iter_custom(|iterations| {
            let mut total = Duration::ZERO;
            for _ in 0..iterations {
                managed.pass(pace);
                let packets = managed.packets();
                let start = Instant::now();
                managed.unwrap(packets);
                total += start.elapsed();
            }
            total / u32::try_from(channels).unwrap()
        });
    });
}

/// Both times are those of 1,000 messages taken in by each of two channels.
fn two_threads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("manager/two threads");
    group.sample_size(20);
    for threads in [1, 2] {
        let mut managed = Managed::full(Arc::new(NoPersistence), 2);
        group.bench_function(BenchmarkId::from_parameter(threads), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    total += managed.two_channels(1_000, threads == 2);
                }
                total
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    targets = memory, on_disk, two_threads
}
criterion_main!(benches);
