//! The bridge of `examples/bridge`: what it carries, and what it must never do.

#![cfg(feature = "manager")]
#![allow(clippy::unwrap_used)] // helpers of tests are tests

#[path = "../examples/bridge/bridge.rs"]
mod bridge;
#[path = "../examples/bridge/crossing.rs"]
mod crossing;
#[path = "../examples/bridge/repeats.rs"]
mod repeats;
#[path = "../examples/bridge/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bridge::Side;
use reliable_channel::MessageId;
use reliable_channel::types::Message;
use world::{Broadcast, World};

const NIM: &[&str] = &["nora", "nils"];
const JS: &[&str] = &["jane", "jack"];

async fn world(seed: u64) -> World {
    World::new(seed, NIM, JS).await.unwrap()
}

async fn seconds(world: &mut World, seconds: u64) {
    world.run(Duration::from_secs(seconds)).await.unwrap();
}

/// Says it and lets it be heard.
async fn say(world: &mut World, name: &'static str, text: &str) -> MessageId {
    let id = world.say(name, text, None).unwrap();
    seconds(world, 2).await;
    id
}

/// The message as the first of this side heard it.
fn heard(world: &World, side: Side, id: &MessageId) -> Message {
    let found = world.broadcasts.iter().find(|sent| sent.side == side && sent.message.id == *id);
    found.unwrap().message.clone()
}

fn by_bridge(sent: &&Broadcast) -> bool {
    sent.by.is_none() && !sent.message.content.is_empty()
}

#[tokio::test]
async fn id_sender_content_and_causal_history_are_kept() {
    let mut world = world(1).await;
    let question = say(&mut world, "nora", "what time is it?").await;
    let answer = say(&mut world, "jane", "noon").await;
    for (id, from, to) in [(&question, Side::Nim, Side::Js), (&answer, Side::Js, Side::Nim)] {
        let (sent, carried) = (heard(&world, from, id), heard(&world, to, id));
        assert_eq!(
            (carried.sender, carried.content, carried.causal_history),
            (sent.sender, sent.content, sent.causal_history),
        );
    }
    let named: Vec<_> = heard(&world, Side::Nim, &answer).causal_history.into_iter().map(|entry| entry.id).collect();
    assert_eq!(named, [question]);
    for member in world.members.values() {
        assert_eq!(member.read(), ["nora: what time is it?", "jane: noon"]);
    }
}

#[tokio::test]
async fn an_answer_acknowledges_across() {
    for (asks, answers) in [("nora", "jane"), ("jane", "nora")] {
        let mut world = World::new(1, &["nora"], &["jane"]).await.unwrap();
        // Else jane would know from the bridge itself, which has the message too.
        world.bridge_syncs = false;
        let question = say(&mut world, asks, "anybody?").await;
        assert_eq!(world.members[asks].acknowledged, []);
        say(&mut world, answers, "somebody").await;
        assert_eq!(world.members[asks].acknowledged, [(question, answers.into())]);
    }
}

#[tokio::test]
async fn nothing_goes_round_and_nothing_is_carried_twice() {
    let mut world = world(2).await;
    for turn in 0..5 {
        say(&mut world, NIM[turn % 2], &format!("nim {turn}")).await;
        say(&mut world, JS[turn % 2], &format!("js {turn}")).await;
    }
    seconds(&mut world, 600).await;
    let mut carried: BTreeMap<_, BTreeSet<Side>> = BTreeMap::new();
    for sent in world.broadcasts.iter().filter(by_bridge) {
        carried.entry(sent.message.id.clone()).or_default().insert(sent.side);
    }
    assert_eq!(carried.len(), 10);
    for (id, sides) in carried {
        let from_nim = NIM.iter().any(|name| heard(&world, Side::Nim, &id).sender.as_str() == Some(name));
        assert_eq!(sides, BTreeSet::from([if from_nim { Side::Js } else { Side::Nim }]), "{id}");
    }
    for member in world.members.values() {
        let ids: BTreeSet<_> = member.delivered.iter().map(|delivery| &delivery.body.key.id).collect();
        assert_eq!(ids.len(), member.delivered.len());
    }
    let counts = world.bridge.as_ref().unwrap().counts;
    assert_eq!((counts.carried, counts.conflicts), (10, 0));
    // It ends: nothing is repeated for ever.
    let before = world.broadcasts.iter().filter(by_bridge).count();
    seconds(&mut world, 600).await;
    assert_eq!(world.broadcasts.iter().filter(by_bridge).count(), before);
}

#[tokio::test]
async fn what_nobody_there_has_named_is_repeated() {
    for (says, hears) in [("jane", "nora"), ("nora", "jane")] {
        let mut world = World::new(3, &["nora"], &["jane"]).await.unwrap();
        world.bridge_syncs = false;
        world.say(says, "the first time it is lost", None).unwrap();
        // On its way to the bridge already: what the bridge says now reaches nobody.
        world.loss_percent = 100;
        seconds(&mut world, 2).await;
        world.loss_percent = 0;
        assert_eq!(world.members[hears].log(), []);
        seconds(&mut world, 5).await;
        assert_eq!(world.members[hears].log().len(), 1);
    }
}

#[tokio::test]
async fn a_packet_heard_again_is_not_carried_again() {
    let mut world = World::new(3, &["nora"], &["jane"]).await.unwrap();
    let id = say(&mut world, "nora", "once").await;
    let packet = reliable_channel::wire::encode(&heard(&world, Side::Nim, &id), Side::Nim.dialect()).unwrap();
    // What went out for it so far; the rest of the time it is silent.
    say(&mut world, "jane", "heard").await;
    let before = world.broadcasts.iter().filter(by_bridge).count();
    let bridge = world.bridge.as_mut().unwrap();
    bridge.receive(Side::Nim, packet).await.unwrap();
    assert_eq!(bridge.next_packet(), None);
    assert_eq!((bridge.counts.carried, world.broadcasts.iter().filter(by_bridge).count()), (2, before));
}

#[tokio::test]
async fn what_cannot_be_said_there_is_counted_and_what_follows_goes_on() {
    let mut world = world(4).await;
    let odd = MessageId::new([0xff, 0x01]);
    world.say("nora", "under an odd name", Some(odd.clone())).unwrap();
    seconds(&mut world, 2).await;
    let next = say(&mut world, "nils", "an answer to it").await;
    world.mention("jane", "is typing").unwrap();
    seconds(&mut world, 2).await;
    assert_eq!(world.members["jane"].read(), ["nils: an answer to it"]);
    assert_eq!(world.members["nils"].read(), ["nora: under an odd name", "nils: an answer to it"]);
    assert_eq!(heard(&world, Side::Js, &next).causal_history, []);
    let counts = world.bridge.as_ref().unwrap().counts;
    assert_eq!((counts.carried, counts.unmappable, counts.references_left_out, counts.ephemeral), (1, 1, 1, 1));
}

/// Nim counts seconds: a question and its answer of one second could change places.
#[tokio::test]
async fn an_answer_sorts_after_its_question_on_both_sides() {
    let mut world = World::new(5, &["nora"], &["jane", "jack"]).await.unwrap();
    let mut order = Vec::new();
    for turn in 0..6 {
        order.push(world.say(JS[turn % 2], &format!("{turn}"), None).unwrap());
        world.run(Duration::from_millis(100)).await.unwrap();
        while world.members[JS[(turn + 1) % 2]].channel.log().count() <= turn {
            world.run(Duration::from_millis(100)).await.unwrap();
        }
    }
    seconds(&mut world, 5).await;
    for member in world.members.values() {
        assert_eq!(member.log(), order);
    }
    let packed = order.iter().map(|id| heard(&world, Side::Nim, id).lamport.unwrap().0).collect::<Vec<_>>();
    assert!(packed.iter().all(|lamport| lamport % 1_000 == 0), "{packed:?}");
}

#[tokio::test]
async fn a_restart_loses_nothing_and_doubles_nothing() {
    let mut world = world(6).await;
    for turn in 0..12 {
        let side = if turn % 2 == 0 { NIM } else { JS };
        world.say(side[turn / 2 % 2], &format!("{turn}"), None).unwrap();
        world.run(Duration::from_millis(700)).await.unwrap();
        if turn % 3 == 2 {
            // Ended in order, or dropped with whatever it was about to do.
            match world.bridge.take() {
                Some(bridge) if turn % 2 == 0 => bridge.close().await,
                _ => {}
            }
            world.run(Duration::from_secs(20)).await.unwrap();
            world.start_bridge().await.unwrap();
        }
    }
    seconds(&mut world, 900).await;
    assert_everybody_has(&world, 12, "restart");
}

#[tokio::test]
async fn what_was_saved_there_and_never_went_out_goes_out_after_a_restart() {
    for (says, hears, side) in [("nora", "jane", Side::Nim), ("jane", "nora", Side::Js)] {
        let mut world = World::new(7, &["nora"], &["jane"]).await.unwrap();
        world.bridge_syncs = false;
        world.bridge_hears = false;
        let id = say(&mut world, says, "just before the crash").await;
        let packet = reliable_channel::wire::encode(&heard(&world, side, &id), side.dialect()).unwrap();
        world.bridge.take().unwrap().receive(side, packet).await.unwrap();
        world.start_bridge().await.unwrap();
        seconds(&mut world, 2).await;
        assert_eq!(world.members[hears].log(), [id]);
    }
}

/// The bridge ends at every point at which either of its stores may have stopped, and begins again with what is there.
#[cfg(feature = "testing")]
#[tokio::test]
async fn a_crash_at_any_write_is_made_up_for() {
    use reliable_channel::store::FaultyPersistence;
    use std::sync::Arc;

    for at in 0..2 {
        for after in 1.. {
            let mut world = World::new(7, &["nora"], &["jane"]).await.unwrap();
            let kept = world.stores[at].clone();
            let faulty = Arc::new(FaultyPersistence::new(kept.clone()));
            faulty.crash_after(after);
            world.bridge = None;
            world.stores[at] = faulty;
            world.start_bridge().await.unwrap();
            for turn in 0..8 {
                world.say(if turn % 2 == 0 { "nora" } else { "jane" }, &format!("{turn}"), None).unwrap();
                seconds(&mut world, 1).await;
            }
            if world.bridge.is_some() {
                assert!(after > 6, "only {after} writes were looked at");
                break;
            }
            world.stores[at] = kept;
            world.start_bridge().await.unwrap();
            seconds(&mut world, 600).await;
            assert_everybody_has(&world, 8, &format!("store {at} stopped after {after} writes"));
        }
    }
}

/// The nim network has no sync messages to ask with: what the bridge misses there it asks for in what it relays.
#[tokio::test]
async fn the_bridge_asks_for_what_it_missed_in_the_nim_network() {
    let mut world = world(8).await;
    world.bridge_hears = false;
    let missed = say(&mut world, "nora", "the bridge does not hear this").await;
    say(&mut world, "nils", "but we do").await;
    seconds(&mut world, 120).await;
    world.bridge_hears = true;
    let answer = say(&mut world, "nora", "and go on").await;
    assert_eq!(world.members["jane"].read(), [""; 0]);
    // T_req is 30 to 300 seconds away, T_resp up to 300.
    seconds(&mut world, 300).await;
    let carrier = say(&mut world, "jane", "anything new?").await;
    let asked = |id: &MessageId| heard(&world, Side::Nim, id).repair_request.into_iter().map(|entry| entry.id);
    assert!(asked(&carrier).count() > 0 && heard(&world, Side::Js, &carrier).repair_request.is_empty());
    seconds(&mut world, 300).await;
    for turn in 0..3 {
        say(&mut world, "jane", &format!("hello? {turn}")).await;
        seconds(&mut world, 600).await;
    }
    let log = world.members["jane"].log();
    assert!(log.contains(&missed) && log.contains(&answer));
    assert_everybody_has(&world, 7, "asked by relay");
}

/// In the nim network nobody asks while nobody speaks, so people go on talking until all have heard what was said.
#[tokio::test]
async fn on_networks_that_lose_a_fifth_everybody_ends_with_everything() {
    for seed in 0..10 {
        let mut world = world(100 + seed).await;
        world.loss_percent = 20;
        for turn in 0..40 {
            let side = if turn % 2 == 0 { NIM } else { JS };
            world.say(side[turn / 2 % 2], &format!("{turn}"), None).unwrap();
            world.run(Duration::from_millis(900)).await.unwrap();
        }
        let mut said = 40;
        while !everybody_has(&world, said) {
            assert!(said < 400, "seed {seed}");
            for name in ["nora", "jane", "nils", "jack"] {
                world.say(name, &format!("{said}: still there?"), None).unwrap();
                seconds(&mut world, 60).await;
                said += 1;
            }
            seconds(&mut world, 300).await;
        }
        println!("seed {seed}: {said} messages until everybody had all");
        assert_everybody_has(&world, said, &format!("seed {seed}"));
    }
}

fn everybody_has(world: &World, messages: usize) -> bool {
    world.members.values().all(|member| member.log().len() == messages)
}

/// On each side one order; on both sides the same messages.
#[track_caller]
fn assert_everybody_has(world: &World, messages: usize, what: &str) {
    let logs = |side| world.members.values().filter(move |member| member.side == side).map(world::Member::log);
    for side in Side::BOTH {
        for log in logs(side) {
            assert_eq!((log.len(), Some(&log)), (messages, logs(side).next().as_ref()), "{what}: {side:?}");
        }
    }
    // What was carried once is never said otherwise.
    assert_eq!(world.bridge.as_ref().unwrap().counts.conflicts, 0, "{what}");
    let [nim, js] = Side::BOTH.map(|side| logs(side).next().unwrap().into_iter().collect::<BTreeSet<_>>());
    assert_eq!(nim, js, "{what}");
}
