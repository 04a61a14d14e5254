//! Steps of an operation do not grow faster than the logarithm of what a channel holds.
//!
//! Counted by [`Stats::work`](reliable_channel::channel::Stats): map operations, filter tests, rows. What no one counted
//! there, `.ci/run counts` finds: it compares instructions across the same sizes.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

#[path = "../benches/fixtures/mod.rs"]
mod fixtures;

use fixtures::hostile::{KINDS, OPEN};
use fixtures::{Peer, content};

const OPERATIONS: u64 = 64;

/// Steps of a wrap and of an unwrap, means over some.
fn steps(mut peer: Peer) -> (f64, f64) {
    let start = peer.channel.stats().work;
    for _ in 0..OPERATIONS {
        peer.pass(1_000);
        let (step, _) = peer.wrap(content());
        peer.sent(&step);
    }
    let wrapped = peer.channel.stats().work;
    // The seed is heard before: the first filter under it is tested against everything open.
    peer.reseed_other();
    let message = peer.next_received();
    peer.receive(message);
    let before = peer.channel.stats().work;
    for _ in 0..4 {
        let message = peer.next_received();
        peer.receive(message);
    }
    ((wrapped - start) as f64 / OPERATIONS as f64, (peer.channel.stats().work - before) as f64 / 4.0)
}

/// The largest takes at most what the logarithm allows from the smallest, a quarter more, and so much for each.
fn assert_logarithmic(sizes: [usize; 3], for_each: f64, make: fn(usize) -> Peer) {
    let found = sizes.map(|size| steps(make(size)));
    println!("{sizes:?}: {found:?}");
    let (small, large) = (sizes[0] as f64, sizes[2] as f64);
    let allowed = |small_steps: f64| small_steps * large.ln() / small.ln() * 1.25 + for_each * (large - small);
    assert!(found[2].0 <= allowed(found[0].0), "wrap: {sizes:?} {found:?}");
    assert!(found[2].1 <= allowed(found[0].1), "unwrap: {sizes:?} {found:?}");
}

#[test]
fn history_does_not_make_operations_dearer() {
    assert_logarithmic([1_000, 10_000, 100_000], 0.0, Peer::with_history);
}

/// Each position that a filter gains is watched for by one in some hundred open messages.
#[test]
fn unacknowledged_messages_hardly_make_operations_dearer() {
    assert_logarithmic([100, 1_000, 10_000], 0.01, Peer::with_unacknowledged);
}

#[test]
fn waiting_messages_do_not_make_operations_dearer() {
    assert_logarithmic([100, 1_000, 10_000], 0.0, Peer::with_parked);
}

/// Steps that a packet may take however small it is, and for each of its bytes: 64 tests of a filter, and what else it names.
const FOR_A_PACKET: u64 = 3_000;
const FOR_A_BYTE: u64 = 70;
/// Steps of a timeout, and what a packet may set going at once: a slice and the last thing begun in it.
const AT_ONCE: u64 = 20_000;

/// The attacks that `benches/hostile.rs` measures with a clock.
#[test]
fn what_a_stranger_sends_costs_no_more_steps_than_its_bytes_pay_for() {
    for (name, make) in KINDS {
        let (mut packets, mut bytes, mut all, mut largest) = (0, 0, 0, (0, 0));
        make(OPEN).run(|len, peer, happen| {
            let before = peer.channel.stats().work;
            drop(happen(peer));
            let steps = peer.channel.stats().work - before;
            let len = len as u64;
            assert!(steps <= AT_ONCE + len * FOR_A_BYTE, "{name}: {steps} steps at once, by {len} bytes");
            (packets, bytes, all) = (packets + u64::from(len > 0), bytes + len, all + steps);
            largest = largest.max((steps, len));
        });
        println!("{name}: {packets} packets, {bytes} bytes, {all} steps, {largest:?} at most");
        assert!(
            all <= packets * FOR_A_PACKET + bytes * FOR_A_BYTE,
            "{name}: {all} steps by {packets} of {bytes} bytes"
        );
    }
}
