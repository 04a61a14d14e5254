//! What a channel holds in memory, and what an operation allocates, counted by the allocator: no clock, no sampling.
//!
//! One test alone, for the allocator counts the whole process. `cargo test --test memory -- --nocapture` prints it.

#![allow(clippy::unwrap_used)]

#[path = "../benches/fixtures/mod.rs"]
mod fixtures;

use std::alloc::System;

use bytes::Bytes;
use fixtures::{HISTORY, Peer, content};
use reliable_channel::types::Dialect;
use reliable_channel::wire;
use reliable_channel::{Channel, Input};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Held by what `make` makes, in bytes, that itself included.
fn held<T>(make: impl FnOnce() -> T) -> (T, usize) {
    let region = Region::new(ALLOCATOR);
    let made = make();
    let change = region.change();
    (made, size_of::<Channel>() + change.bytes_allocated - change.bytes_deallocated)
}

/// So many messages of the other side, encoded.
fn packets(count: usize) -> Vec<Bytes> {
    let mut peer = Peer::new(|_| {});
    (0..count).map(|_| wire::encode(&peer.next_received(), Dialect::Lip109).unwrap()).collect()
}

/// A channel that has received all of them, a second apart, and sent a sync message every minute.
fn after(packets: &[Bytes]) -> Peer {
    let mut peer = Peer::new(|_| {});
    for minute in packets.chunks(60) {
        drop(peer.handle(Input::SendSync));
        for packet in minute {
            peer.pass(1_000);
            // A network gives each packet memory of its own.
            assert!(peer.unwrap(&Bytes::copy_from_slice(packet)).outcome.is_ok());
        }
    }
    peer
}

/// Allocations of one operation, at most so many in a hundred.
fn allocations(mut operation: impl FnMut()) -> usize {
    let each = (0..100).map(|_| {
        let region = Region::new(ALLOCATOR);
        operation();
        let change = region.change();
        change.allocations + change.reallocations
    });
    let mut each: Vec<usize> = each.collect();
    each.sort_unstable();
    each[50]
}

#[test]
fn channels_and_operations_stay_within_their_memory() {
    let packets = packets(11 * HISTORY);
    let bound = |what: &str, found: usize, bound: usize| {
        println!("{what}: {found}, at most {bound}");
        assert!(found <= bound, "{what}: {found}, {bound} expected");
    };

    let (_idle, idle) = held(|| after(&[]));
    bound("an idle channel", idle, 4 << 10);
    let (_full, full) = held(|| after(&packets[..HISTORY]));
    bound("a channel with 1,000 messages of 100 B", full, 1 << 20);
    let (_old, old) = held(|| after(&packets));
    bound("the same after 10,000 more, which left stubs", old, 4 << 20);

    #[cfg(feature = "manager")]
    {
        use reliable_channel::store::NoPersistence;
        let (_manager, idle) = held(|| fixtures::managed::Managed::new(std::sync::Arc::new(NoPersistence), 10_000));
        bound("a manager of 10,000 idle channels", idle, 64 << 20);
    }

    let mut peer = Peer::with_unacknowledged(0);
    let mut made = Vec::with_capacity(100);
    // The clock stands still meanwhile: making a new id must not go through all made before.
    bound("allocations of a wrap", allocations(|| made.push(peer.wrap(content()))), 20);
    let mut peer = Peer::with_unacknowledged(0);
    let packets = (0..100).map(|_| wire::encode(&peer.next_received(), Dialect::Lip109).unwrap());
    let packets: Vec<Bytes> = packets.collect();
    let mut packets = packets.iter();
    let mut steps = Vec::with_capacity(100);
    bound("allocations of an unwrap", allocations(|| steps.push(peer.unwrap(packets.next().unwrap()))), 20);
}
