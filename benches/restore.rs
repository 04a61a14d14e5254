//! A channel opened again from the memory store: 1,000 and 100,000 messages. `cargo bench --bench restore`.

#![allow(missing_docs, clippy::unwrap_used)]

mod fixtures;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fixtures::{CHANNEL, Peer, context};
use reliable_channel::Channel;
use reliable_channel::channel::Config;
use reliable_channel::state::{Commit, HistoryUpdate};
use reliable_channel::store::{MemoryPersistence, Persistence};
use tap::Tap as _;

fn restore(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("restore/memory");
    group.sample_size(10);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for messages in [1_000, 100_000] {
        let config = Config::default().tap_mut(|it| {
            it.max_message_history = messages;
            it.max_log_bytes = usize::MAX;
        });
        let mut peer = Peer::new(|options| *options = config.clone());
        for _ in 0..messages {
            let message = peer.next_received();
            peer.receive(message);
        }
        let data = peer.channel.data();
        let history = HistoryUpdate { put: data.rows, delete: Vec::new() };
        let store = MemoryPersistence::new();
        let commit = Commit { meta: data.meta, history, hints: data.hints };
        runtime.block_on(store.commit(&CHANNEL.into(), &commit)).unwrap();
        let (config, context) = (Arc::new(config), context(200_000_000, 1));
        group.bench_function(BenchmarkId::from_parameter(messages), |bencher| {
            bencher.iter_with_large_drop(|| {
                let data = runtime.block_on(store.load_channel(&CHANNEL.into())).unwrap();
                let restored =
                    Channel::restore(CHANNEL.into(), "alice_01".into(), config.clone(), data, &context).unwrap();
                assert_eq!(restored.0.stats().log_len, messages);
                black_box(restored)
            });
        });
    }
}

criterion_group!(benches, restore);
criterion_main!(benches);
