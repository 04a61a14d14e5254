//! Ten thousand channels in one manager: opening them, waking all of them with nothing due, and one message in each.
//! `cargo bench --bench channels`. Between deadlines an idle channel takes no time at all: one task sleeps for all.

#![allow(missing_docs, clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod fixtures;

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use fixtures::managed::Managed;
use reliable_channel::store::NoPersistence;

const CHANNELS: usize = 10_000;

fn channels(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("channels/10000");
    group.sample_size(10);
    group.bench_function("open", |bencher| {
        bencher.iter_with_large_drop(|| Managed::new(Arc::new(NoPersistence), CHANNELS));
    });
    let mut managed = Managed::new(Arc::new(NoPersistence), CHANNELS);
    group.bench_function("idle, all swept", |bencher| {
        bencher.iter(|| managed.runtime.block_on(managed.manager.sweep_all()).unwrap());
    });
    group.bench_function("busy, a message in each", |bencher| {
        bencher.iter_custom(|iterations| {
            let mut total = Duration::ZERO;
            for _ in 0..iterations {
                managed.pass(Duration::from_secs(1));
                let packets = managed.packets();
                let start = Instant::now();
                managed.unwrap(packets);
                total += start.elapsed();
            }
            total
        });
    });
}

criterion_group!(benches, channels);
criterion_main!(benches);
