//! The set index and reconciliation, at 100,000 and 1,000,000 messages, beside the negentropy crate.
//!
//! `cargo bench --bench reconcile`; docs/performance.md has the figures.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use reliable_channel::reconcile::{Item, Options, Rid, SetIndex, initiate, refine, respond};
use reliable_channel::types::Lamport;

const SIZES: [u64; 2] = [100_000, 1_000_000];

fn items(count: u64) -> Vec<Item> {
    let mut rng = ChaCha8Rng::seed_from_u64(count);
    let mut item = |time| {
        let mut rid = [0; 32];
        rng.fill_bytes(&mut rid);
        Item { lamport: Lamport(time), rid: Rid(rid) }
    };
    (0..count).map(|time| item(1_700_000_000_000 + time * 1_000)).collect()
}

fn index(c: &mut Criterion) {
    let mut group = c.benchmark_group("set index");
    for size in SIZES {
        let items = items(size);
        let set: SetIndex = items.iter().copied().collect();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        group.bench_function(BenchmarkId::new("append", size), |b| {
            let (mut set, mut next) = (set.clone(), *items.last().expect("some"));
            b.iter(|| {
                next.lamport.0 += 1_000;
                set.insert(black_box(next))
            });
        });
        group.bench_function(BenchmarkId::new("insert anywhere", size), |b| {
            let mut set = set.clone();
            b.iter_batched(
                || {
                    let mut item = items[(rng.next_u64() % size) as usize];
                    item.lamport.0 += 1 + rng.next_u64() % 999;
                    item
                },
                |item| set.insert(black_box(item)),
                BatchSize::SmallInput,
            );
        });
        group.bench_function(BenchmarkId::new("append and drop the oldest", size), |b| {
            let (mut set, mut next) = (set.clone(), *items.last().expect("some"));
            b.iter(|| {
                next.lamport.0 += 1_000;
                set.insert(black_box(next));
                let first = set.first().expect("some");
                set.remove(&first)
            });
        });
        group.bench_function(BenchmarkId::new("fingerprint of a range", size), |b| {
            let (from, to) = (size as usize / 7, size as usize * 6 / 7);
            b.iter(|| set.summary(black_box(from..to)).fingerprint());
        });
    }
    group.finish();
}

/// A hundred differences, scattered: found from the first message to the last.
fn scattered(c: &mut Criterion) {
    let mut group = c.benchmark_group("100 scattered differences");
    group.sample_size(10);
    for size in SIZES {
        let items = items(size);
        let ours: SetIndex = items.iter().copied().collect();
        let left_out = |place: usize| place % (size as usize / 100) == 17;
        let kept: Vec<Item> =
            items.iter().enumerate().filter(|(place, _)| !left_out(*place)).map(|(_, item)| *item).collect();
        let theirs: SetIndex = kept.iter().copied().collect();
        let (frames, bytes) = exchange(&ours, &theirs);
        println!("{size}: {frames} round trips, {bytes} bytes");
        group.bench_function(BenchmarkId::new("ours", size), |b| b.iter(|| exchange(&ours, &theirs)));

        let (our_storage, their_storage) = (storage(&items), storage(&kept));
        let (frames, bytes) = exchange_of_crate(&our_storage, &their_storage);
        println!("{size}: {frames} round trips, {bytes} bytes with the crate");
        group.bench_function(BenchmarkId::new("negentropy crate", size), |b| {
            b.iter(|| exchange_of_crate(&our_storage, &their_storage));
        });
    }
    group.finish();
}

fn exchange(ours: &SetIndex, theirs: &SetIndex) -> (usize, usize) {
    let options = Options::default();
    let (mut frames, mut bytes, mut found) = (0, 0, 0);
    let mut next = Some(initiate(ours, &options));
    while let Some(message) = next {
        let answer = respond(theirs, &options, &message).expect("a valid message");
        let result = refine(ours, &options, &answer.message).expect("a valid message");
        (frames, bytes) = (frames + 1, bytes + message.len() + answer.message.len());
        found += result.only_here.len();
        next = result.next;
    }
    assert_eq!(found, 100);
    (frames, bytes)
}

fn storage(items: &[Item]) -> NegentropyStorageVector {
    let mut storage = NegentropyStorageVector::new();
    items.iter().for_each(|item| storage.insert(item.lamport.0, Id::from_byte_array(item.rid.0)).expect("not sealed"));
    storage.seal().expect("not sealed");
    storage
}

fn exchange_of_crate(ours: &NegentropyStorageVector, theirs: &NegentropyStorageVector) -> (usize, usize) {
    let mut client = Negentropy::borrowed(ours, 0).expect("no limit");
    let mut server = Negentropy::borrowed(theirs, 0).expect("no limit");
    let (mut have, mut need) = (Vec::new(), Vec::new());
    let (mut frames, mut bytes) = (0, 0);
    let mut next = Some(client.initiate().expect("sealed"));
    while let Some(message) = next {
        let answer = server.reconcile(&message).expect("a valid message");
        (frames, bytes) = (frames + 1, bytes + message.len() + answer.len());
        next = client.reconcile_with_ids(&answer, &mut have, &mut need).expect("a valid message");
    }
    assert_eq!(have.len(), 100);
    (frames, bytes)
}

criterion_group!(benches, index, scattered);
criterion_main!(benches);
