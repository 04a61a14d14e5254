//! Segments of payloads that never become whole take no more memory than the bounds, counted by the allocator.
//!
//! One test alone, for the allocator counts the whole process.
#![allow(clippy::unwrap_used)]

use std::alloc::System;

use bytes::Bytes;
use reliable_channel::segment::{Bounds, Reassembly};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SEGMENTS: u32 = 100_000;

#[test]
fn a_hundred_thousand_hostile_segments_bound_memory() {
    let content = |number: u32| {
        let mut bytes = vec![0x0a, 32];
        bytes.extend(number.to_be_bytes().repeat(8));
        // Of 255 data segments, with 10 KB of payload.
        bytes.extend([0x18, 0xff, 1, 0x22, 0x90, 0x4e]);
        bytes.resize(bytes.len() + 10_000, 7);
        Bytes::from(bytes)
    };
    for names in [1, 300, SEGMENTS] {
        let region = Region::new(ALLOCATOR);
        let bounds = Bounds::of_bytes(4 << 20);
        let mut reassembly = Reassembly::new(bounds);
        let (mut given_up, mut most) = (0, 0);
        for number in 0..SEGMENTS {
            let taken = reassembly.take(&format!("stranger {}", number % names).into(), &content(number), ());
            given_up += taken.abandoned.len();
            assert!(reassembly.len() <= bounds.max_open && reassembly.bytes() <= bounds.max_bytes);
            if number.is_multiple_of(1_000) {
                let change = region.change();
                most = most.max(change.bytes_allocated.saturating_sub(change.bytes_deallocated));
            }
        }
        assert_eq!(given_up, SEGMENTS as usize - reassembly.len());
        assert!(most <= 5 << 20, "{most} bytes are held, of {names} senders");
    }
}
