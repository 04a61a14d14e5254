//! What signatures cost: `cargo bench --bench authenticity --no-default-features --features ed25519`.
//!
//! ed25519-dalek alone, then [`Ed25519`] over the same bytes, then all that a content message of 100 bytes takes: hashing
//! it, and the signature. Last a channel's wrap and unwrap with and without.

#![allow(missing_docs, clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ed25519_dalek::{Signer as _, SigningKey};
use reliable_channel::authenticity::{Authenticator, Ed25519, SharedAuthenticator, body_statement};
use reliable_channel::channel::{Channel, Config, Context, Input};
use reliable_channel::types::{
    Dialect, HistoryEntry, Lamport, Limits, Message, ParticipantId, RunningTime, Signature, WallTime,
};
use reliable_channel::wire;
use sha2::{Digest as _, Sha256};

const SECRET: [u8; 32] = [7; 32];
const BYTES: [u8; 56] = [9; 56];

/// The statement of a content message of 100 bytes that names four others.
fn statement() -> Vec<u8> {
    let names: Vec<HistoryEntry> = (0..4).map(|n| HistoryEntry::new(format!("{n:064}"))).collect();
    let content_hash = Sha256::digest([1; 100]).into();
    let (channel, id, sender) = ("channel1".into(), "0".repeat(64).into(), "alice_01".into());
    body_statement(&channel, &id, &sender, Lamport(1_790_000_000_000), &names, &content_hash)
}

fn signing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("authenticity");
    let (dalek, ours) = (SigningKey::from_bytes(&SECRET), Ed25519::self_certifying(&SECRET));
    group.bench_function("sign, ed25519-dalek", |bencher| bencher.iter(|| dalek.sign(black_box(&BYTES))));
    group.bench_function("sign, Ed25519", |bencher| bencher.iter(|| ours.sign(black_box(&BYTES))));
    group.bench_function("sign, a message", |bencher| bencher.iter(|| ours.sign(&statement())));

    let (key, theirs, signature) = (dalek.verifying_key(), dalek.sign(&BYTES), ours.sign(&BYTES));
    group.bench_function("verify, ed25519-dalek", |bencher| {
        bencher.iter(|| key.verify_strict(black_box(&BYTES), &theirs).unwrap());
    });
    let public = ours.public_key();
    let known = Ed25519::with_keys(&SECRET, move |_| Some(public));
    let name = ParticipantId::from("alice_01");
    group.bench_function("verify, Ed25519 with keys", |bencher| {
        bencher.iter(|| assert!(known.verify(&name, black_box(&BYTES), &signature)));
    });
    let of_message = known.sign(&statement());
    group.bench_function("verify, a message with keys", |bencher| {
        bencher.iter(|| assert!(known.verify(&name, &statement(), &of_message)));
    });
    let certified = public.name("alice");
    group.bench_function("verify, Ed25519 by the name", |bencher| {
        bencher.iter(|| assert!(ours.verify(&certified, black_box(&BYTES), &signature)));
    });
}

fn member(name: &str, authenticator: Option<SharedAuthenticator>) -> Channel {
    let mut config = Config::default();
    config.authenticator = authenticator;
    Channel::new("channel1", name, Arc::new(config), &at(0)).unwrap()
}

fn at(ms: u64) -> Context {
    Context::new(WallTime::from_millis(1_790_000_000_000 + ms), RunningTime::from_millis(ms), ms)
}

/// Believes everything and signs nothing that costs: what is left is the channel's part.
struct Free;

impl Authenticator for Free {
    fn sign(&self, _: &[u8]) -> Signature {
        Signature::new([1; 64])
    }

    fn verify(&self, _: &ParticipantId, _: &[u8], _: &Signature) -> bool {
        true
    }
}

fn channels(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("authenticity");
    let public = Ed25519::self_certifying(&SECRET).public_key();
    let ed25519 = || SharedAuthenticator::new(Ed25519::with_keys(&SECRET, move |_| Some(public)));
    for (name, keys) in [("none", None), ("free", Some(SharedAuthenticator::new(Free))), ("Ed25519", Some(ed25519()))] {
        group.bench_function(format!("wrap, {name}"), |bencher| {
            let (mut alice, mut now) = (member("alice_01", keys.clone()), 0);
            bencher.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    now += 1_000;
                    let start = Instant::now();
                    let made = wrap(&mut alice, now);
                    total += start.elapsed();
                    let id = made.1.id;
                    let _ = alice.handle(&at(now), Input::Withdraw(id));
                }
                total
            });
        });
        group.bench_function(format!("unwrap, {name}"), |bencher| {
            let (mut alice, mut bob, mut now) = (member("alice_01", keys.clone()), member("bob_0001", keys.clone()), 0);
            bencher.iter_batched(
                || {
                    now += 1_000;
                    let (bytes, message) = wrap(&mut alice, now);
                    let _ = alice.handle(&at(now), Input::Withdraw(message.id));
                    (bytes, now)
                },
                |(bytes, now)| {
                    let (message, _) = wire::decode(&bytes, &Limits::default()).unwrap();
                    let step = bob.handle(&at(now), Input::Receive(message));
                    assert!(step.outcome.is_ok());
                    step
                },
                BatchSize::PerIteration,
            );
        });
    }
}

fn wrap(channel: &mut Channel, now: u64) -> (bytes::Bytes, Message) {
    let mut step = channel.handle(&at(now), Input::Send { content: vec![b'x'; 100].into(), id: None });
    let message = step.transmit.pop().unwrap().message;
    (wire::encode(&message, Dialect::Lip109).unwrap(), message)
}

criterion_group!(benches, signing, channels);
criterion_main!(benches);
