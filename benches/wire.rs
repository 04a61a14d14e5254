//! Messages to bytes and back, in every dialect. `cargo bench --bench wire`.
//!
//! The message is one of a busy channel: 100 B of content, one named dependency, a filter over 240 ids.

#![allow(missing_docs, clippy::unwrap_used)]

mod fixtures;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use fixtures::Peer;
use reliable_channel::types::{Dialect, Limits};
use reliable_channel::wire;

const DIALECTS: [Dialect; 1] = [Dialect::Lip109];

fn wire_benches(criterion: &mut Criterion) {
    let message = Peer::with_unacknowledged(0).next_received();
    let limits = Limits::default();
    for dialect in DIALECTS {
        let bytes = wire::encode(&message, dialect).unwrap();
        let mut group = criterion.benchmark_group(format!("wire/{dialect:?}"));
        group.bench_function("encode", |bencher| bencher.iter(|| wire::encode(&message, dialect)));
        group.bench_function("decode", |bencher| bencher.iter(|| wire::decode(&bytes, &limits)));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_secs(1));
    targets = wire_benches
}
criterion_main!(benches);
