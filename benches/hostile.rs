//! What each kind of hostile input costs: `cargo bench --features testing --bench hostile [PART OF A NAME]`.
//!
//! For each attack of `fixtures::hostile`: microseconds a byte beyond 50 a packet, with all that the packets lead to later;
//! the largest single step; and bytes to the store for each byte received, beyond 1 KiB a packet. Bounds are 2
//! microseconds, 10 ms and 20 bytes. Times are processor time, for these machines are shared, and a report, not a check:
//! `tests/growth.rs` counts instead.

#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod fixtures;

use std::sync::Arc;
use std::time::Duration;

use cpu_time::ThreadTime;
use fixtures::hostile::{KINDS, OPEN};
use reliable_channel::store::{FaultyPersistence, NoPersistence, Persistence};
use reliable_channel::types::ChannelId;

/// Microseconds that every packet may cost.
const FIXED_US: f64 = 50.0;
/// Bytes that every packet may have stored.
const FIXED_BYTES: f64 = 1_024.0;

fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    println!(
        "{:48} {:>8} {:>8} {:>10} {:>10} {:>10}",
        "attack", "packets", "bytes", "us/byte", "step, ms", "store/byte"
    );
    for (name, make) in KINDS.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| name.contains(only))) {
        let store = FaultyPersistence::new(Arc::new(NoPersistence));
        let channel = ChannelId::from(fixtures::CHANNEL);
        let (mut packets, mut bytes, mut total, mut largest) = (0, 0, Duration::ZERO, Duration::ZERO);
        make(OPEN).run(|len, peer, happen| {
            let start = ThreadTime::now();
            let step = happen(peer);
            let took = start.elapsed();
            packets += usize::from(len > 0);
            bytes += len;
            total += took;
            largest = largest.max(took);
            if !step.save.is_empty() {
                runtime.block_on(store.commit(&channel, &step.save)).unwrap();
            }
        });
        let count = packets as f64;
        let each = |all: f64, fixed: f64| ((all - count * fixed) / bytes as f64).max(0.0);
        let time = each(total.as_secs_f64() * 1e6, FIXED_US);
        let stored = each(store.counts().bytes as f64, FIXED_BYTES);
        let step = largest.as_secs_f64() * 1e3;
        println!("{name:48} {packets:>8} {bytes:>8} {time:>10.2} {step:>10.2} {stored:>10.2}");
    }
}
