//! docs/protocol.md section 10: what is lost, and cycles.

use std::time::Duration;

use bytes::Bytes;
use reliable_channel::channel::{Config, Delivery, Event, Fate, Input, Limit};
use reliable_channel::state::{MarkKind, Row};
use reliable_channel::types::{Dialect, Message, MessageId};
use tap::Tap as _;

use crate::harness::{Peer, chain, message, missing, peer, peer_with, repairs, seconds, sync, t_req, wake};

const MINUTE: u64 = 60_000;

fn lost(peer: &Peer) -> Vec<String> {
    let told = peer.events.iter().filter_map(|event| match event {
        Event::DependencyLost { id } => Some(id.to_string()),
        _ => None,
    });
    told.collect()
}

fn deliveries(peer: &Peer) -> Vec<Delivery> {
    let told = peer.events.iter().filter_map(|event| match event {
        Event::MessageDelivered(delivery) => Some(delivery.clone()),
        _ => None,
    });
    told.collect()
}

fn marks(peer: &Peer) -> Vec<(String, MarkKind)> {
    let rows = peer.channel.data().rows;
    let marks = rows.into_iter().filter_map(|row| match row {
        Row::Mark(mark) => Some((mark.id.to_string(), mark.kind)),
        _ => None,
    });
    marks.collect()
}

/// A peer that gave "m1" up, which "m2" had waited for.
fn after_loss() -> Peer {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    alice.run_for(32 * MINUTE);
    assert_eq!(alice.delivered(), ["m2"]);
    alice
}

#[test]
fn a_message_waits_at_most_lost_timeout_and_never_less() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    alice.run_for(30 * MINUTE - 1);
    assert_eq!(alice.delivered(), Vec::<String>::new());
    alice.run_for(6_000);
    assert_eq!(lost(&alice), ["m1"]);
    assert_eq!(alice.delivered(), ["m2"]);
}

#[test]
fn nothing_is_lost_before_three_requests_were_sent_or_heard() {
    let mut alice = peer_with("alice", |config| {
        (config.t_min, config.t_max) = (seconds(5), Duration::from_millis(1));
        config.lost_timeout = seconds(1);
    });
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    for n in 1..=2 {
        alice.now = t_req(&alice, "m1").unwrap();
        wake(&mut alice);
        alice.sleep(2_000);
        wake(&mut alice);
        assert_eq!((lost(&alice).len(), alice.channel.requests()[0].sent), (0, n));
    }
    alice.receive(&sync("carol", 3, &[], &["m1"]));
    wake(&mut alice);
    assert_eq!(lost(&alice), ["m1"]);
}

/// Simulation seed 8846: at the bottom of a chain that had waited for long, a message was given up after three requests
/// within 20 s, and the answer came 0.8 s later.
#[test]
fn what_was_named_late_is_asked_for_as_long_as_an_answer_may_take() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m3", 3, &["m2"]));
    alice.run_for(30 * MINUTE - 1_000);
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    for _ in 0..3 {
        alice.receive(&sync("carol", 3, &[], &["m1"]));
    }
    alice.run_for(39_000);
    assert_eq!(lost(&alice), Vec::<String>::new());
    alice.run_for(7_000);
    assert_eq!(lost(&alice), ["m1"]);
    assert_eq!(alice.delivered(), ["m2", "m3"]);
}

#[test]
fn the_wait_is_running_time_and_not_time_asleep() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    alice.run_for(10 * MINUTE);
    alice.sleep(24 * 60 * MINUTE);
    alice.run_for(5 * MINUTE);
    assert_eq!(alice.delivered(), Vec::<String>::new());
    alice.run_for(20 * MINUTE);
    assert_eq!(alice.delivered(), ["m2"]);
}

#[test]
fn an_idle_channel_also_waits_no_longer_than_lost_timeout() {
    // Syncs come ever more rarely and nothing is asked for: the timer alone must do it.
    let mut alice = peer("alice");
    alice.run_for(3 * 60 * MINUTE);
    alice.receive(&message("bob", "a", 1, &["b"]));
    alice.receive(&message("bob", "b", 2, &["a"]));
    assert_eq!(missing(&alice), Vec::<String>::new());
    alice.run_for(31 * MINUTE);
    assert_eq!(alice.delivered(), ["a", "b"]);
}

#[test]
fn the_wait_is_saved() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    for _ in 0..29 {
        alice.run_for(MINUTE);
        assert_eq!(alice.channel.incoming().len() + alice.channel.log().count(), 1);
        alice.sleep(12 * 60 * MINUTE);
        alice.restart();
    }
    // Running for a minute at a time gives back what was not saved at each end, but never all.
    for _ in 0..45 {
        alice.run_for(MINUTE);
        alice.restart();
    }
    assert_eq!(alice.log(), ["m2"]);
}

#[test]
fn what_waited_is_delivered_in_causal_order_marked_with_what_it_misses() {
    let mut alice = peer("alice");
    // "z1" and "z2" miss something each; "a" waits for both, "b" for "a".
    alice.receive(&message("bob", "b", 2, &["a"]));
    alice.receive(&message("bob", "a", 1, &["z2", "z1"]));
    alice.receive(&message("bob", "z2", 7, &["z1", "lost2", "lost1", "lost2"]));
    alice.receive(&message("bob", "z1", 9, &["lost1"]));
    alice.run_for(32 * MINUTE);
    let mut told = lost(&alice);
    told.sort();
    assert_eq!(told, ["lost1", "lost2"]);
    let told: Vec<(String, Vec<String>)> = deliveries(&alice)
        .into_iter()
        .map(|told| (told.body.key.id.to_string(), told.missing.iter().map(MessageId::to_string).collect()))
        .collect();
    let expected = [("z1", vec!["lost1"]), ("z2", vec!["lost1", "lost2"]), ("a", vec![]), ("b", vec![])];
    assert_eq!(told.len(), 4);
    for ((id, missing), (expected_id, expected_missing)) in told.iter().zip(expected) {
        assert_eq!((id.as_str(), missing.len()), (expected_id, expected_missing.len()));
        assert_eq!(*missing, expected_missing);
    }
    assert_eq!(alice.channel.stats().lost, 2);
}

#[test]
fn dependency_lost_is_told_once_and_before_what_it_releases() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    alice.receive(&message("bob", "m3", 3, &["m1"]));
    alice.take_events();
    alice.run_for(60 * MINUTE);
    assert_eq!(alice.events[0], Event::DependencyLost { id: MessageId::from("m1") });
    assert_eq!(alice.delivered(), ["m2", "m3"]);
    assert_eq!(lost(&alice).len(), 1);
}

#[test]
fn an_entry_ends_when_the_message_is_lost() {
    let mut alice = after_loss();
    assert_eq!(missing(&alice), Vec::<String>::new());
    assert!(alice.run_for(60 * MINUTE).iter().all(|sent| sent.message.repair_request.is_empty()));
}

#[test]
fn a_mark_meets_dependencies() {
    let mut alice = after_loss();
    assert_eq!(marks(&alice), [("m1".to_owned(), MarkKind::Lost)]);
    assert_eq!(alice.fate(&message("bob", "m3", 3, &["m1"])), Fate::Delivered);
    alice.input(Input::DependenciesMet(vec![MessageId::from("m0")])).unwrap();
    assert_eq!(alice.fate(&message("bob", "m4", 4, &["m0"])), Fate::Delivered);
    let told = deliveries(&alice);
    assert_eq!(told[0].missing, [MessageId::from("m1")]);
    assert_eq!(told[1].missing, [], "declared met is not lost");
}

#[test]
fn marks_are_saved() {
    let mut alice = after_loss();
    alice.input(Input::DependenciesMet(vec![MessageId::from("m0")])).unwrap();
    let before = marks(&alice);
    alice.restart();
    assert_eq!(marks(&alice), before);
    assert_eq!(alice.fate(&message("bob", "m3", 3, &["m1", "m0"])), Fate::Delivered);
}

#[test]
fn what_arrives_after_being_lost_is_no_duplicate_but_delivered_late() {
    let mut alice = after_loss();
    // Above everything in the log, so that nothing but the loss makes it late.
    assert_eq!(alice.fate(&message("bob", "m1", 9, &[])), Fate::Delivered);
    assert!(deliveries(&alice)[0].late);
    assert_eq!(marks(&alice), []);
    assert_eq!(alice.fate(&message("bob", "m1", 9, &[])), Fate::Duplicate);
    alice.sleep(3_000);
    alice.receive(&sync("carol", 10, &[], &["m1"]));
    assert_eq!(repairs(&alice.run_for(MINUTE)), ["m1"]);
}

#[test]
fn what_arrives_after_being_declared_met_is_delivered_late() {
    let mut alice = peer("alice");
    alice.input(Input::DependenciesMet(vec![MessageId::from("m1")])).unwrap();
    assert_eq!(alice.fate(&message("bob", "m1", 1, &[])), Fate::Delivered);
    assert!(deliveries(&alice)[0].late);
}

#[test]
fn a_marked_dependency_is_met_also_while_it_is_parked_itself() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m3", 3, &["m1", "m2"]));
    alice.input(Input::DependenciesMet(vec![MessageId::from("m1")])).unwrap();
    assert!(matches!(alice.fate(&message("bob", "m1", 1, &["m0"])), Fate::Parked { .. }));
    alice.restart();
    alice.receive(&message("bob", "m2", 2, &[]));
    assert_eq!(alice.delivered(), ["m2", "m3"], "before and after a restart alike");
    assert_eq!(alice.fate(&message("bob", "m4", 4, &["m1"])), Fate::Delivered);
}

#[test]
fn a_marked_message_that_gives_way_stays_in_repair_after_a_restart() {
    let mut alice = peer("alice");
    alice.input(Input::DependenciesMet(vec![MessageId::from("m1")])).unwrap();
    alice.receive(&message("bob", "m1", 1, &["m0"]));
    alice.input(Input::Shrink { log_bytes: usize::MAX, parked_bytes: 0 }).unwrap();
    assert_eq!(missing(&alice), ["m1"]);
    alice.restart();
    assert_eq!(missing(&alice), ["m1"]);
    assert_eq!(alice.events, []);
}

#[test]
fn marks_are_bounded_and_the_oldest_gives_way_and_is_reported() {
    let mut alice = peer_with("alice", |config| config.limits.max_marks = 3);
    for id in ["m1", "m2", "m3", "m1", "m4"] {
        alice.input(Input::DependenciesMet(vec![MessageId::from(id)])).unwrap();
    }
    let kept: Vec<String> = marks(&alice).into_iter().map(|(id, _)| id).collect();
    assert_eq!(kept, ["m1", "m3", "m4"], "m1 was marked again after m2");
    let limit = Event::LimitReached { limit: Limit::Marks, id: Some(MessageId::from("m2")), by: None };
    assert_eq!(alice.events, [limit]);
    assert_eq!(alice.channel.stats().limits_hit, 1);
    alice.restart();
    alice.input(Input::DependenciesMet(vec![MessageId::from("m5")])).unwrap();
    let kept: Vec<String> = marks(&alice).into_iter().map(|(id, _)| id).collect();
    assert_eq!(kept, ["m1", "m4", "m5"], "their order is saved");
}

#[test]
fn two_messages_that_wait_for_each_other_are_delivered_after_lost_timeout() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "a", 2, &["b"]));
    alice.receive(&message("bob", "b", 1, &["a"]));
    alice.run_for(30 * MINUTE - 1);
    assert_eq!(alice.delivered(), Vec::<String>::new());
    alice.run_for(2 * MINUTE);
    assert_eq!(alice.delivered(), ["b", "a"], "the lowest first");
}

#[test]
fn what_waits_for_a_cycle_is_delivered_after_it_in_causal_order() {
    let mut alice = peer("alice");
    // "m0" and "m1" sort lowest but depend on both cycles; the cycle of "a" depends on the cycle of "x".
    alice.receive(&message("bob", "m0", 0, &["m1", "a"]));
    alice.receive(&message("bob", "m1", 1, &["b", "y"]));
    alice.receive(&message("bob", "a", 2, &["b", "bridge"]));
    alice.receive(&message("bob", "b", 3, &["a"]));
    alice.receive(&message("bob", "bridge", 0, &["x"]));
    alice.receive(&message("bob", "x", 9, &["y"]));
    alice.receive(&message("bob", "y", 8, &["x"]));
    alice.run_for(32 * MINUTE);
    assert_eq!(alice.delivered(), ["y", "x", "bridge", "a", "b", "m1", "m0"]);
}

#[test]
fn a_cycle_is_not_held_up_by_what_waits_for_it_and_for_something_that_may_still_come() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "a", 8, &["b"]));
    alice.receive(&message("bob", "b", 9, &["a"]));
    alice.run_for(29 * MINUTE);
    alice.receive(&message("bob", "m1", 1, &["a", "missing"]));
    alice.run_for(2 * MINUTE);
    assert_eq!(alice.delivered(), ["a", "b"]);
    alice.receive(&message("bob", "missing", 2, &[]));
    assert_eq!(alice.delivered(), ["missing", "m1"]);
}

#[test]
fn a_cycle_that_misses_something_waits_for_that_first() {
    let mut alice = peer_with("alice", |config| config.lost_timeout = seconds(20));
    alice.receive(&message("bob", "a", 1, &["b"]));
    alice.receive(&message("bob", "b", 2, &["a", "missing"]));
    alice.run_for(21_000);
    assert_eq!(alice.delivered(), Vec::<String>::new());
    alice.run_for(5 * MINUTE);
    assert_eq!(lost(&alice), ["missing"]);
    assert_eq!(alice.delivered(), ["a", "b"]);
}

/// Parks messages without looking at what was saved, which would cost more than the channel itself.
fn park(peer: &mut Peer, messages: impl IntoIterator<Item = Message>) {
    for message in messages {
        let context = peer.context();
        let step = peer.channel.handle(&context, Input::Receive(message));
        assert!(step.outcome.is_ok());
    }
    peer.saved = peer.channel.data();
}

fn work_of(messages: Vec<Message>) -> (u64, Vec<String>) {
    let count = messages.len();
    let mut alice = peer("alice");
    park(&mut alice, messages);
    assert_eq!(alice.channel.stats().parked_len, count);
    alice.run_for(32 * MINUTE);
    (alice.channel.stats().work, alice.delivered())
}

fn ring(len: usize) -> Vec<Message> {
    let name = |n: usize| format!("m{:05}", n % len);
    (0..len).map(|n| message("bob", &name(n), 1, &[&name(n + 1)])).collect()
}

fn complete(len: usize) -> Vec<Message> {
    let names: Vec<String> = (0..len).map(|n| format!("m{n:05}")).collect();
    let others: Vec<&str> = names.iter().map(String::as_str).collect();
    names.iter().map(|name| message("bob", name, 1, &others)).collect()
}

#[test]
fn a_ring_of_5000_messages_ends_the_same_way_at_linear_cost() {
    let (small, delivered) = work_of(ring(500));
    assert_eq!(delivered.len(), 500);
    let (large, delivered) = work_of(ring(5_000));
    assert_eq!(delivered.len(), 5_000);
    assert_eq!(delivered[0], "m00000");
    assert!(large < 12 * small, "{small} units for 500, {large} for 5,000");
}

/// Messages that wait one for the other, the first of them for one that never comes and was asked for too seldom.
fn work_of_hopeful_chain(len: u64, parked_apart: u64) -> u64 {
    let mut alice = peer_with("alice", |config| {
        config.lost_timeout = seconds(4);
        config.t_min = seconds(600);
        config.t_max = seconds(600);
    });
    for message in chain(len + 1).into_iter().skip(1) {
        alice.now += parked_apart;
        let context = alice.context();
        assert!(alice.channel.handle(&context, Input::Receive(message)).outcome.is_ok());
    }
    alice.saved = alice.channel.data();
    let before = alice.channel.stats().work;
    alice.sleep(4_000 - (len * parked_apart).min(4_000) + 1);
    alice.run_for(2_000 + len * parked_apart);
    assert_eq!(alice.channel.stats().parked_len as u64, len);
    alice.channel.stats().work - before
}

#[test]
fn a_chain_that_waits_on_for_what_may_still_come_costs_each_look_no_more_than_its_length() {
    for parked_apart in [0, 1] {
        let (small, large) = (work_of_hopeful_chain(200, parked_apart), work_of_hopeful_chain(2_000, parked_apart));
        assert!(large < 40 * small, "{small} units for 200, {large} for 2,000");
        assert!(large < 10 * 2_000, "{large}");
    }
}

#[test]
fn a_complete_graph_of_300_messages_ends_the_same_way_at_the_cost_of_its_edges() {
    let (small, delivered) = work_of(complete(30));
    assert_eq!(delivered.len(), 30);
    let (large, delivered) = work_of(complete(300));
    assert_eq!(delivered.len(), 300);
    assert!(delivered.is_sorted(), "the lowest first");
    assert!(large < 110 * small, "{small} units for 900 edges, {large} for 90,000");
    assert!(large < 10 * 300 * 300, "{large}");
}

#[test]
fn a_self_reference_is_ignored() {
    let mut alice = peer("alice");
    assert_eq!(alice.fate(&message("bob", "m1", 1, &["m1"])), Fate::Delivered);
    let name = "sync-bob-2";
    alice.receive(&sync("bob", 2, &[name], &[]));
    assert_eq!(missing(&alice), Vec::<String>::new());
    assert_eq!(alice.fate(&message("bob", "s", 3, &["s"]).tap_mut(|it| it.content = Bytes::new())), Fate::Sync);
    assert_eq!(missing(&alice), Vec::<String>::new());
}

/// How often "m1" is asked for, and when it is given up, while somebody names new messages that do not exist every
/// `every` milliseconds, as `flood` makes them. In two hours, with a restart after ten minutes.
fn asked_for_under(every: u64, flood: impl Fn(u64) -> Message) -> (usize, Option<u64>) {
    let mut alice = peer_with("alice", |config| config.wait_timeout = Duration::MAX);
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    let mut asked = 0;
    for turn in 0..(120 * MINUTE / every) {
        alice.receive(&flood(turn));
        let sent = alice.run_for(every);
        let requests = sent.iter().flat_map(|sent| &sent.message.repair_request);
        asked += requests.filter(|entry| entry.id == MessageId::from("m1")).count();
        if lost(&alice).contains(&"m1".to_owned()) {
            assert_eq!(alice.delivered(), ["m2"]);
            return (asked, Some((turn + 1) * every));
        }
        if turn == 10 * MINUTE / every {
            alice.restart();
        }
    }
    (asked, None)
}

#[test]
fn who_names_messages_that_do_not_exist_pushes_out_none_that_others_wait_for() {
    let fakes = |turn: u64| -> Vec<String> { (0..256).map(|n| format!("fake {turn} {n}")).collect() };
    let names = |ids: &[String], flood: &dyn Fn(&[&str]) -> Message| -> Message {
        flood(&ids.iter().map(String::as_str).collect::<Vec<_>>())
    };
    for every in [60_000, 300_000, 420_000] {
        let by_sync = |turn| names(&fakes(turn), &|ids| sync("mallory", 3 + turn, ids, &[]));
        let by_content =
            |turn| names(&fakes(turn), &|ids| message("mallory", &format!("content {turn}"), 3 + turn, ids));
        for (asked, given_up) in [asked_for_under(every, by_sync), asked_for_under(every, by_content)] {
            assert!(asked >= 5, "asked for {asked} times with fakes every {every} ms");
            assert!(given_up.is_some_and(|at| at <= 37 * MINUTE), "given up at {given_up:?} ms");
        }
    }
}

#[test]
fn the_age_is_saved_every_ten_seconds_while_something_is_waited_for() {
    let mut alice = peer_with("alice", |config| {
        *config = Config::of(Dialect::NimSds).tap_mut(|it| it.join = config.join);
    });
    alice.receive(&message("bob", "m2", 2_000, &["m1"]));
    let commits = alice.commits.len();
    for (pause, saved) in [(9_999, 0), (1, 1), (9_999, 1), (1, 2)] {
        alice.sleep(pause);
        wake(&mut alice);
        assert_eq!(alice.commits.len() - commits, saved);
    }
    assert_eq!(alice.saved.meta.as_ref().map(|meta| meta.age_ms), Some(20_000));
}
