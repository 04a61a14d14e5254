//! Two channels in conversation, in each dialect: one wraps, the other unwraps. `cargo bench --bench dialects`.
//!
//! Why apart from `core`: there the other side is made by hand and speaks our dialect alone. How it moves: the speaker
//! sends 100 B, timed from content to bytes; the listener takes the bytes in, timed from bytes to step, and answers,
//! which is not timed and acknowledges what was sent. Logs are full; one second passes between messages.

#![allow(missing_docs, clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod fixtures;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fixtures::{CHANNEL, HISTORY, content, context};
use reliable_channel::channel::{Channel, Config, Input, Step};
use reliable_channel::types::Dialect;
use reliable_channel::wire;
use tap::Tap as _;

/// Two participants of one channel.
struct Talk {
    speaker: Channel,
    listener: Channel,
    now: u64,
}

impl Talk {
    fn with_full_logs(dialect: Dialect) -> Self {
        let member = |name: &str, entropy| {
            let config = Config::of(dialect).tap_mut(|it| it.max_resend_attempts = u32::MAX);
            Channel::new(CHANNEL, name, Arc::new(config), &context(0, entropy)).unwrap()
        };
        let mut talk = Self { speaker: member("alice_01", 1), listener: member("bobby_01", 2), now: 0 };
        while talk.listener.stats().log_len < HISTORY || talk.now < 2_000 * HISTORY as u64 {
            talk.turn();
        }
        talk
    }

    /// A message and its answer; how long the message took to make, and to be taken in.
    fn turn(&mut self) -> [Duration; 2] {
        let content = content();
        self.now += 1_000;
        let start = Instant::now();
        let bytes = black_box(wrap(&mut self.speaker, content, self.now));
        let wrapped = start.elapsed();
        let start = Instant::now();
        let step = black_box(unwrap(&mut self.listener, &bytes, self.now));
        let unwrapped = start.elapsed();
        assert!(step.outcome.is_ok());
        self.now += 1_000;
        let answer = wrap(&mut self.listener, fixtures::content(), self.now);
        assert!(unwrap(&mut self.speaker, &answer, self.now).outcome.is_ok());
        [wrapped, unwrapped]
    }
}

fn wrap(channel: &mut Channel, content: Bytes, now: u64) -> Bytes {
    let step = channel.handle(&context(now, now), Input::Send { content, id: None });
    wire::encode(&step.transmit[0].message, channel.config().dialect).unwrap()
}

fn unwrap(channel: &mut Channel, bytes: &Bytes, now: u64) -> Step {
    let (message, _) = wire::decode(bytes, &channel.config().limits).unwrap();
    channel.handle(&context(now, now), Input::Receive(message))
}

fn dialects(criterion: &mut Criterion) {
    for dialect in [Dialect::Lip109, Dialect::JsWaku, Dialect::NimSds] {
        let mut talk = Talk::with_full_logs(dialect);
        let mut group = criterion.benchmark_group(format!("dialect/{dialect:?}"));
        for (part, name) in ["wrap", "unwrap"].into_iter().enumerate() {
            group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
                bencher.iter_custom(|iterations| (0..iterations).map(|_| talk.turn()[part]).sum());
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_secs(1));
    targets = dialects
}
criterion_main!(benches);
