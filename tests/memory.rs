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
    // Of it some 1.8 KB are for catching up.
    bound("an idle channel", idle, (5 << 10) + 256);
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

    #[cfg(all(feature = "manager", feature = "testing"))]
    unread::stays_within_its_bounds(bound);

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

/// What an application does not read, and a store does not take.
#[cfg(all(feature = "manager", feature = "testing"))]
mod unread {
    use std::sync::Arc;

    use bytes::Bytes;
    use reliable_channel::ReliabilityManager;
    use reliable_channel::channel::Config;
    use reliable_channel::manager::ManagerBuilder;
    use reliable_channel::store::{FaultyPersistence, NoPersistence, PersistenceErrorKind};
    use tap::Tap as _;

    use super::held;

    /// Takes in so many messages of this size, of a participant who keeps few.
    async fn receive(manager: &ReliabilityManager, messages: usize, bytes: usize) {
        let config = Config::default().tap_mut(|it| {
            it.max_resend_attempts = 0;
            it.max_message_history = 1;
        });
        let mut bob = ReliabilityManager::builder("bob").config(config.clone()).build().unwrap();
        bob.ensure_channel("a").await.unwrap();
        for number in 0..messages {
            if number % 50 == 49 {
                // What it has open is not to be counted.
                bob = ReliabilityManager::builder("bob").config(config.clone()).build().unwrap();
                bob.ensure_channel("a").await.unwrap();
            }
            let packet = bob.wrap_outgoing("a", Bytes::from(vec![7; bytes])).await.unwrap().bytes;
            manager.unwrap_received(packet).await.unwrap();
        }
    }

    pub fn stays_within_its_bounds(bound: impl Fn(&str, usize, usize)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        let open = |builder: ManagerBuilder| {
            let manager = builder.build().unwrap();
            runtime.block_on(manager.ensure_channel("a")).unwrap();
            manager
        };
        let manager = open(ReliabilityManager::builder("alice"));
        manager.start_periodic_tasks();
        let ((), left) = held(|| {
            runtime.block_on(async {
                for number in 0..20_000 {
                    let channel = format!("channel {number}");
                    manager.ensure_channel(channel.as_str()).await.unwrap();
                    manager.wrap_outgoing(channel.as_str(), "due again in 5 s").await.unwrap();
                    manager.close_channel(channel.as_str()).await.unwrap();
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            });
        });
        bound("20,000 channels that were opened, used and closed", left, 256 << 10);
        drop(manager);

        let small = Config::default().tap_mut(|it| it.max_message_history = 10);

        let store = FaultyPersistence::new(Arc::new(NoPersistence));
        store.fail_writes(PersistenceErrorKind::StorageFull);
        let manager = open(ReliabilityManager::builder("alice").config(small.clone()).persistence(Arc::new(store)));
        let ((), owed) = held(|| runtime.block_on(receive(&manager, 20_000, 1_000)));
        bound("what is owed in an outage of 20,000 messages, of which the log keeps 10", owed, 3 << 20);

        let manager = open(ReliabilityManager::builder("alice").config(small));
        let (events, transmissions) = (manager.events(), manager.transmissions());
        let ((), unread) = held(|| runtime.block_on(receive(&manager, 300, 900_000)));
        bound("a stream of 300 files of 900 KB that nobody reads", unread, 96 << 20);
        drop((events, transmissions));

        let confirming = Config::default().tap_mut(|it| {
            it.confirm_deliveries = true;
            it.max_message_history = 10;
        });
        let manager = open(ReliabilityManager::builder("alice").config(confirming));
        let ((), unconfirmed) = held(|| runtime.block_on(receive(&manager, 300, 900_000)));
        bound("300 files of 900 KB that nobody confirms", unconfirmed, 96 << 20);
    }
}
