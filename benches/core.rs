//! A channel alone: wrap, unwrap and reverse delivery. `cargo bench --bench core`.
//!
//! Each operation is timed alone, from content to bytes or from bytes to step, at a full log of 1,000 messages; what
//! brings the state back, such as acknowledging one message after each one sent, is not timed.

#![allow(missing_docs, clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod fixtures;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fixtures::{Peer, content, deliver_reversed, reversed_chain};
use reliable_channel::types::Dialect;
use reliable_channel::wire;

const UNACKNOWLEDGED: [usize; 5] = [0, 50, 200, 1_000, 10_000];

fn wrap(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core/wrap");
    for open in UNACKNOWLEDGED {
        let mut peer = Peer::with_unacknowledged(open);
        group.bench_function(BenchmarkId::from_parameter(open), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    peer.pass(1_000);
                    let content = content();
                    let start = Instant::now();
                    let made = black_box(peer.wrap(content));
                    total += start.elapsed();
                    peer.sent(&made.0);
                    peer.acknowledge();
                }
                total
            });
        });
    }
}

fn unwrap(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core/unwrap");
    for open in UNACKNOWLEDGED {
        let mut peer = Peer::with_unacknowledged(open);
        group.bench_function(BenchmarkId::from_parameter(open), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    let bytes = wire::encode(&peer.next_received(), Dialect::Lip109).unwrap();
                    let start = Instant::now();
                    let step = black_box(peer.unwrap(&bytes));
                    total += start.elapsed();
                    assert!(step.outcome.is_ok());
                }
                total
            });
        });
    }
}

fn reverse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core/reverse");
    group.sample_size(10);
    for length in [100, 1_000, 5_000, 50_000] {
        let messages = reversed_chain(length);
        group.throughput(Throughput::Elements(length));
        group.bench_function(BenchmarkId::from_parameter(length), |bencher| {
            bencher.iter_batched(|| messages.clone(), deliver_reversed, BatchSize::PerIteration);
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    targets = wrap, unwrap, reverse
}
criterion_main!(benches);
