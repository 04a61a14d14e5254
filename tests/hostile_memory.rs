//! Messages that wait take no more memory than they are counted for, counted by the allocator.
//!
//! One test alone, for the allocator counts the whole process. `cargo test --test hostile_memory -- --nocapture` prints it.

#![allow(clippy::unwrap_used)]

#[path = "../benches/fixtures/mod.rs"]
mod fixtures;

use std::alloc::System;

use fixtures::hostile::KINDS;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// `Limits::max_parked_bytes`, and what is bounded by its number: requests, names, the filter, the index of ids.
const PARKED: usize = 64 << 20;
const BESIDES: usize = 8 << 20;

#[test]
fn a_full_incoming_buffer_takes_no_more_than_its_bytes() {
    for part in ["content that names what does not exist", "messages that wait for the same", "wait for each other"] {
        let (_, make) = KINDS.iter().find(|(name, _)| name.contains(part)).unwrap();
        let attack = make(10_000);
        let region = Region::new(ALLOCATOR);
        let (mut counted, mut held) = (0, 0);
        let peer = attack.run(|_, peer, happen| {
            drop(happen(peer));
            let stats = peer.channel.stats();
            if stats.parked_bytes >= counted {
                let change = region.change();
                (counted, held) = (stats.parked_bytes, change.bytes_allocated.saturating_sub(change.bytes_deallocated));
            }
        });
        println!("{part}: {held} bytes held, {counted} counted as waiting");
        assert!(held <= PARKED + BESIDES, "{part}: {held} bytes are held");
        assert!(held <= counted + counted / 4 + BESIDES, "{part}: {held} bytes are held, {counted} are counted");
        drop(peer);
    }
}
