//! Worlds under many seeds. `RC_SIM_SEEDS` sets how many (default 20).
#![cfg(feature = "testing")]

use std::time::Duration;

use reliable_channel::channel::{Event, Input};
use reliable_channel::sim::{Network, Options, World};

fn seeds() -> u64 {
    std::env::var("RC_SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(20)
}

#[test]
fn two_participants_on_a_perfect_network_agree() {
    let mut world = World::new(Options { participants: 2, ..Options::default() });
    for turn in 0..20 {
        world.send(turn % 2, format!("message {turn}"));
        world.run_for(Duration::from_millis(200));
    }
    assert!(world.run_until_converged(Duration::from_secs(1)));
    assert_eq!(world.node(0).log_ids().count(), 20);
    world.run_for(Duration::from_secs(60));
    let acknowledged =
        world.take_events(0).iter().filter(|event| matches!(event, Event::MessageAcknowledged { .. })).count();
    assert_eq!(acknowledged, 10);
}

#[test]
fn lossy_groups_converge() {
    for seed in 0..seeds() {
        let network = Network { loss: 0.3, duplicate: 0.1, delay_ms: (5, 400) };
        let mut world = World::new(Options { seed, participants: 5, network, ..Options::default() });
        for turn in 0..60usize {
            world.send(turn % 5, format!("message {turn}"));
            world.run_for(Duration::from_millis(100));
            if turn == 30 {
                world.restart(2);
            }
        }
        assert!(world.run_until_converged(Duration::from_secs(600)), "seed {seed}: no convergence");
        assert_eq!(world.node(0).log_ids().count(), 60, "seed {seed}");
        for node in world.nodes() {
            let mut ids = node.delivered.clone();
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), node.delivered.len(), "seed {seed}: delivered twice");
        }
    }
}

#[test]
fn the_saved_state_is_the_state() {
    for seed in 0..seeds() {
        let network = Network { loss: 0.4, duplicate: 0.2, delay_ms: (5, 900) };
        let mut world = World::new(Options { seed, participants: 3, network, ..Options::default() });
        for turn in 0..80usize {
            world.send(turn % 3, format!("message {turn}"));
            world.run_for(Duration::from_millis(250));
            for node in world.nodes() {
                assert_eq!(node.medium.load(), node.channel().data(), "seed {seed}, turn {turn}");
            }
        }
        let _ = world.input(0, Input::SendSync);
    }
}
