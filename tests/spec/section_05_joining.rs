//! docs/protocol.md section 5: joining, and the saved horizon.

use reliable_channel::channel::{Event, Fate, Input, Join, TransmitKind};
use reliable_channel::types::{Lamport, Message, MessageId};
use tap::Tap as _;

use crate::harness::{
    EPOCH, Peer, chain, filter_of, history, ids, message, parked_for, peer_with, requests, seconds, sync,
};

fn newcomer(join: Join) -> Peer {
    peer_with("alice", |config| config.join = join)
}

fn horizon(peer: &Peer) -> Option<Lamport> {
    peer.channel.meta().horizon
}

/// As its sender sends it now: with a filter.
fn live(message: Message) -> Message {
    message.tap_mut(|it| it.filter = filter_of(&["another"], 7))
}

/// The ids shown since the last call, and whether each was history.
fn shown(peer: &mut Peer) -> Vec<(String, bool)> {
    let told = peer.take_events();
    let shown = told.into_iter().filter_map(|event| match event {
        Event::MessageDelivered(delivery) => Some((delivery.body.key.id.to_string(), delivery.history)),
        _ => None,
    });
    shown.collect()
}

fn told<const N: usize>(expected: [(&str, bool); N]) -> Vec<(String, bool)> {
    expected.map(|(id, history)| (id.to_owned(), history)).to_vec()
}

#[test]
fn a_newcomer_shows_the_first_message_it_hears_at_once_and_its_horizon_lies_just_below() {
    for join in [Join::FromNow, Join::Recent(5), Join::default()] {
        let mut alice = newcomer(join);
        assert_eq!(alice.fate(&live(message("bob", "first", 50, &["old", "older"]))), Fate::Delivered);
        assert_eq!(horizon(&alice), Some(Lamport(EPOCH + 49)));
        let fetched = if join == Join::FromNow { vec![] } else { ids(["old", "older"]) };
        assert_eq!(crate::harness::missing(&alice), fetched);
        assert_eq!(shown(&mut alice), told([("first", false)]));
    }
}

#[test]
fn joining_is_told_before_the_first_message() {
    let mut alice = newcomer(Join::Recent(5));
    alice.receive(&live(message("bob", "first", 50, &[])));
    assert_eq!(alice.events[0], Event::Joined { first: "first".into(), history: 5 });
    assert!(matches!(alice.events[1], Event::MessageDelivered(_)));
    alice.receive(&live(message("bob", "second", 60, &[])));
    assert_eq!(alice.events.iter().filter(|event| matches!(event, Event::Joined { .. })).count(), 1);
}

#[test]
fn news_waits_for_news_and_never_for_what_the_first_message_named() {
    for restarted in [false, true] {
        let mut alice = newcomer(Join::Recent(5));
        alice.receive(&live(message("bob", "first", 50, &["old"])));
        if restarted {
            alice.restart();
        }
        assert_eq!(alice.fate(&live(message("bob", "second", 60, &["first", "old"]))), Fate::Delivered);
        assert_eq!(alice.fate(&live(message("bob", "third", 70, &["unknown"]))), parked_for(&["unknown"]));
    }
}

#[test]
fn news_waits_for_what_only_history_names_or_what_lowered_the_horizon() {
    // Of a liar, or of somebody whose clock was set back.
    let liars = [message("mallory", "lie", 10, &["news"]), live(message("mallory", "lie", 10, &["news"]))];
    for (lie, before) in liars.iter().flat_map(|lie| [(lie, false), (lie, true)]) {
        let mut alice = newcomer(Join::Recent(5));
        alice.receive(&live(message("bob", "first", 50, &["old"])));
        if before {
            alice.receive(lie);
        }
        assert_eq!(alice.fate(&live(message("bob", "later", 70, &["news"]))), parked_for(&["news"]));
        if !before {
            alice.receive(lie);
        }
        alice.restart();
        assert_eq!(alice.log().last(), Some(&"first".to_owned()));
        alice.receive(&live(message("bob", "news", 60, &[])));
        assert_eq!(alice.log()[1..], ["first", "news", "later"], "{lie:?} {before}");
    }
}

#[test]
fn recent_messages_are_fetched_in_the_background_and_shown_in_causal_order_as_history() {
    for restarted in [false, true] {
        let mut alice = newcomer(Join::Recent(3));
        let messages = chain(9);
        assert_eq!(alice.fate(&live(messages[8].clone())), Fate::Delivered);
        shown(&mut alice);
        for n in [7, 6] {
            assert_eq!(alice.fate(&messages[n]), parked_for(&[&format!("m{n}")]));
            if restarted {
                alice.restart();
            }
        }
        assert_eq!(alice.asked(), ids(["m6"]));
        assert_eq!(alice.fate(&live(message("bob", "news", 100, &["m9", "m7"]))), Fate::Delivered);
        let last = alice.receive(&messages[5]);
        assert_eq!(last.released, ["m6", "m7", "m8"].map(MessageId::from));
        assert_eq!(alice.asked(), Vec::<String>::new(), "three were to be fetched");
        assert_eq!(shown(&mut alice), told([("news", false), ("m6", true), ("m7", true), ("m8", true)]));
        assert_eq!(alice.log(), ["m6", "m7", "m8", "m9", "news"]);
        assert_eq!(alice.fate(&messages[4]), Fate::Delivered, "what comes without being asked for is shown");
        assert_eq!(shown(&mut alice), told([("m5", true)]));
    }
}

#[test]
fn content_without_a_filter_is_put_aside_for_five_seconds() {
    let mut alice = newcomer(Join::FromNow);
    alice.run_for(60_011);
    assert_eq!(alice.fate(&message("bob", "answer", 10, &["old"])), parked_for(&[]));
    alice.run_for(4_999);
    assert_eq!((shown(&mut alice), horizon(&alice)), (vec![], None));
    alice.run_for(1);
    assert_eq!((shown(&mut alice), horizon(&alice)), (told([("answer", false)]), Some(Lamport(EPOCH + 9))));
}

#[test]
fn what_was_put_aside_and_gave_way_is_asked_for() {
    let mut alice = peer_with("alice", |config| {
        (config.join, config.limits.max_parked) = (Join::FromNow, 1);
    });
    alice.run_for(60_021);
    assert_eq!(alice.fate(&message("bob", "a", 10, &[])), parked_for(&[]));
    assert_eq!(alice.fate(&message("bob", "b", 20, &[])), Fate::GaveWay);
    assert_eq!(alice.asked(), ids(["b"]));
}

#[test]
fn who_has_received_nothing_sends_no_filter_and_is_shown_at_once() {
    let mut alice = newcomer(Join::FromNow);
    alice.run_for(60_010);
    assert_eq!(alice.fate(&message("bob", "second", 10, &["first"])), Fate::Delivered);
    assert_eq!(horizon(&alice), Some(Lamport(EPOCH + 9)));
}

#[test]
fn an_answer_to_somebody_far_behind_is_history_where_its_sender_is_heard_in_time() {
    let mut alice = newcomer(Join::FromNow);
    alice.run_for(60_011);
    alice.receive(&message("bob", "answer", 10, &["old"]));
    alice.run_for(2_000);
    assert_eq!(alice.fate(&live(message("bob", "now", 90, &["before"]))), Fate::Delivered);
    assert_eq!(shown(&mut alice), told([("now", false), ("answer", true)]));
    assert_eq!((horizon(&alice), alice.asked()), (Some(Lamport(EPOCH + 89)), vec![]));
}

#[test]
fn a_newcomer_asks_at_once_for_the_newest_message_a_sync_names_and_begins_with_it() {
    let mut alice = newcomer(Join::FromNow);
    alice.receive(&sync("bob", 90, &["newest", "older"], &[]));
    assert_eq!((horizon(&alice), alice.asked()), (None, ids(["newest"])));
    let out = alice.run_for(1);
    assert!(out.iter().any(|sent| requests(&sent.message) == ["newest"]), "{out:?}");
    assert_eq!(alice.fate(&message("bob", "newest", 80, &["older"])), Fate::Delivered);
    assert_eq!((horizon(&alice), alice.asked()), (Some(Lamport(EPOCH + 79)), vec![]));
}

#[test]
fn a_newcomer_that_hears_another_one_greets_later_and_only_if_it_hears_nothing() {
    for answered in [false, true] {
        let mut alice = newcomer(Join::default());
        alice.receive(&sync("bob", 10, &[], &[]));
        assert_eq!(alice.run_for(4_000).len(), 0, "what bob is answered serves alice");
        if answered {
            alice.receive(&live(message("carol", "first", 20, &[])));
            alice.take_events();
        }
        alice.receive(&sync("bob", 30, &[], &[]));
        let out = alice.run_for(8_000);
        let greetings = out.iter().filter(|sent| history(&sent.message).is_empty()).count();
        assert_eq!(greetings, usize::from(!answered), "{out:?}");
    }
}

#[test]
fn a_newcomer_says_that_it_is_there() {
    let mut alice = newcomer(Join::default());
    let out = alice.run_for(1_000);
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].kind, history(&out[0].message)), (TransmitKind::Sync, vec![]));
    alice.restart();
    assert_eq!(alice.run_for(1_000).len(), 1, "it has heard nothing yet");
    alice.receive(&live(message("bob", "first", 2_000, &[])));
    alice.run_for(10_000);
    alice.restart();
    assert_eq!(alice.run_for(900), []);
}

#[test]
fn history_is_shown_at_its_place_and_an_old_sync_message_asks_for_nothing() {
    for restarted in [false, true] {
        let mut alice = newcomer(Join::FromNow);
        alice.receive(&live(message("bob", "m", 50, &["old"])));
        if restarted {
            alice.restart();
        }
        assert_eq!(alice.fate(&message("bob", "below", 40, &["unknown"])), Fate::Delivered);
        assert_eq!(alice.fate(&message("bob", "z at", 50, &["another"])), parked_for(&["another"]));
        assert_eq!(alice.log(), ["below", "m"]);
        alice.receive(&sync("bob", 45, &["gone"], &[]));
        assert_eq!(alice.asked(), ["another"]);
    }
}

#[test]
fn what_is_sent_now_from_below_the_horizon_lowers_it_for_ten_minutes() {
    for (wait, history) in [(0, false), (10 * 60 * 1_000, true)] {
        let mut alice = newcomer(Join::FromNow);
        // Its sender's clock is 23 hours fast.
        alice.receive(&live(message("mallory", "first", 23 * 3_600_000, &[])));
        shown(&mut alice);
        for _ in 0..wait / 60_000 {
            alice.run_for(60_000);
            // Age counts while something happens.
            alice.receive(&sync("mallory", 40, &[], &[]));
        }
        assert_eq!(alice.fate(&live(message("bob", "second", 50, &["old"]))), Fate::Delivered);
        assert_eq!(shown(&mut alice), told([("second", history)]));
        let missed = alice.fate(&live(message("bob", "third", 60, &["missed"])));
        assert_eq!(missed, if history { Fate::Delivered } else { parked_for(&["missed"]) });
    }
}

#[test]
fn who_has_sent_something_chases_all_that_follows() {
    for restarted in [false, true] {
        let mut alice = newcomer(Join::default());
        let own = alice.send("I made a group");
        if restarted {
            alice.restart();
        }
        assert_eq!(alice.fate(&live(message("bob", "41", 50, &["40", "39"]))), parked_for(&["40", "39"]));
        assert_eq!(horizon(&alice), Some(Lamport(own.lamport.unwrap().0 - 1)));
        assert_eq!(alice.fate(&message("carol", "39", 30, &["38"])), parked_for(&["38"]));
    }
}

#[test]
fn a_founder_whose_clock_is_fast_misses_nothing_of_what_it_hears() {
    let mut alice = newcomer(Join::FromNow);
    alice.wall_offset += 10 * 3_600_000;
    alice.send("I made a group");
    alice.wall_offset = EPOCH;
    assert_eq!(alice.fate(&live(message("bob", "m2", 50, &["m1"]))), parked_for(&["m1"]));
    assert_eq!(horizon(&alice), Some(Lamport(EPOCH + 49)));
}

/// As shared between all founders of a group: nobody is told anything of 40 replies but the last one.
#[test]
fn a_founder_that_missed_forty_replies_gets_them_all() {
    let mut peers: Vec<Peer> = ["founder", "bob", "carol"]
        .iter()
        .map(|name| peer_with(name, |config| config.join = Join::default()))
        .collect();
    let hello = peers[0].send("I made a group");
    peers[1].receive(&hello);
    peers[2].receive(&hello);
    for n in 0..40 {
        peers.iter_mut().for_each(|peer| peer.sleep(1_000));
        let reply = peers[1 + n % 2].send(&format!("reply {n}"));
        peers[2 - n % 2].receive(&reply);
    }
    let last = peers[1].send("are you there?");
    peers[0].receive(&last);
    peers[2].receive(&last);
    for _ in 0..3_000 {
        let sent: Vec<(usize, Message)> =
            (0..3).flat_map(|at| peers[at].run_for(500).into_iter().map(move |sent| (at, sent.message))).collect();
        for (from, message) in &sent {
            peers.iter_mut().enumerate().filter(|(at, _)| at != from).for_each(|(_, peer)| drop(peer.receive(message)));
        }
        if peers[0].log().len() == 42 {
            break;
        }
    }
    assert_eq!((peers[0].log().len(), peers[0].log()), (42, peers[1].log()));
    assert_eq!(peers[0].delivered().len(), 41, "all but its own");
}

#[test]
fn founders_that_hear_a_later_message_first_fetch_the_earlier_ones_as_history() {
    let mut alice = newcomer(Join::default());
    alice.receive(&live(message("carol", "z", 50, &[])));
    alice.receive(&live(message("bob", "m", 90, &["z", "y2"])));
    assert_eq!(alice.fate(&message("bob", "y2", 40, &["y1"])), parked_for(&["y1"]));
    assert_eq!(alice.log(), ["z", "m"], "news does not wait for history");
    alice.receive(&message("bob", "y1", 30, &[]));
    assert_eq!(alice.log(), ["y1", "y2", "z", "m"]);
}

#[test]
fn backfill_shows_the_first_message_when_n_older_ones_are_there() {
    for restarted in [false, true] {
        let mut alice = newcomer(Join::Backfill(3));
        let messages = chain(9);
        assert_eq!(alice.fate(&live(messages[8].clone())), parked_for(&["m8"]));
        assert_eq!(alice.fate(&messages[7]), parked_for(&["m7"]));
        assert_eq!((horizon(&alice), alice.asked()), (Some(Lamport(EPOCH + 8)), ids(["m7"])));
        if restarted {
            alice.restart();
        }
        assert_eq!(alice.fate(&messages[6]), parked_for(&["m6"]));
        let last = alice.receive(&messages[5]);
        assert_eq!(last.released, ["m6", "m7", "m8", "m9"].map(MessageId::from));
        assert_eq!(alice.asked(), Vec::<String>::new());
        assert_eq!(alice.fate(&messages[4]), Fate::Delivered);
        assert_eq!(alice.log(), ["m5", "m6", "m7", "m8", "m9"]);
        assert_eq!(alice.fate(&message("bob", "n", 10, &["unknown"])), parked_for(&["unknown"]));
    }
}

#[test]
fn of_more_missing_than_is_left_to_fetch_only_so_many_are_asked_for() {
    let mut alice = newcomer(Join::Backfill(2));
    assert_eq!(alice.fate(&live(message("bob", "m", 50, &["a", "b", "c"]))), parked_for(&["a", "b"]));
    alice.receive(&message("bob", "a", 10, &["d"]));
    assert_eq!(alice.receive(&message("bob", "b", 20, &[])).released, ["b", "m"].map(MessageId::from));
    assert_eq!((alice.asked(), alice.channel.meta().backfill_left), (vec![], 0));
}

#[test]
fn a_message_is_fetched_once_however_often_it_is_named() {
    let mut alice = newcomer(Join::Recent(5));
    alice.receive(&live(message("bob", "m", 50, &["old"])));
    for n in 1..=5 {
        let named = ["old"];
        alice.receive(&live(message("bob", &format!("m{n}"), 50 + n, &named)));
        alice.receive(&sync("carol", 60 + n, &named, &[]));
    }
    assert_eq!((alice.asked(), alice.parked().len(), alice.channel.meta().backfill_left), (ids(["old"]), 0, 4));
}

#[test]
fn with_everything_to_be_chased_there_is_no_beginning() {
    let mut alice = newcomer(Join::Backfill(u64::MAX));
    assert_eq!(alice.fate(&message("bob", "m", 50, &["old"])), parked_for(&["old"]));
    assert_eq!((horizon(&alice), alice.channel.poll_timeout().is_some()), (None, true));
    alice.input(Input::Timeout).unwrap();
    assert_eq!(alice.asked(), ids(["old"]));
}

#[test]
fn a_newcomer_is_put_off_by_ten_seconds_at_most() {
    let mut alice = peer_with("alice", |config| {
        (config.join, config.t_max) = (Join::default(), seconds(60));
    });
    alice.receive(&sync("bob", 10, &[], &[]));
    let greetings = alice.times_of(TransmitKind::Sync, 11_000);
    assert!(matches!(greetings[..], [10_000..=11_000]), "{greetings:?}");
}

#[test]
fn a_newcomer_asks_for_one_message_at_a_time() {
    let mut alice = newcomer(Join::FromNow);
    alice.receive(&sync("bob", 90, &["newest", "older"], &[]));
    alice.receive(&sync("carol", 91, &["another", "older"], &[]));
    assert_eq!(alice.asked(), ["newest"]);
}

#[test]
fn history_that_arrives_unasked_takes_one_of_the_budget() {
    let mut alice = newcomer(Join::Recent(5));
    alice.receive(&live(message("bob", "first", 50, &[])));
    assert_eq!(alice.channel.meta().backfill_left, 5);
    alice.receive(&message("bob", "old", 10, &[]));
    assert_eq!(alice.channel.meta().backfill_left, 4);
    assert_eq!(shown(&mut alice), told([("first", false), ("old", true)]));
}

#[test]
fn a_clock_that_is_set_back_takes_the_horizon_along_so_that_what_follows_is_news() {
    const WRONG: u64 = 100 * 24 * 60 * 60 * 1_000;
    let mut alice = newcomer(Join::default());
    alice.wall_offset = EPOCH + WRONG;
    alice.send("under a wrong date");
    alice.receive(&live(message("bob", "answer", WRONG + 5, &[])));
    alice.wall_offset = EPOCH;
    let sent = alice.send("under the right one");
    assert_eq!(horizon(&alice), sent.lamport.map(|lamport| Lamport(lamport.0 - 1)));
    assert_eq!(alice.fate(&live(message("carol", "next", 60, &["unknown"]))), parked_for(&["unknown"]));
}

#[test]
fn what_a_lower_horizon_turns_into_news_waits_for_no_more_than_before() {
    let mut alice = newcomer(Join::Backfill(1));
    assert!(matches!(alice.fate(&live(message("bob", "first", 50, &["asked"]))), Fate::Parked { .. }));
    // History waits for what is asked for, and the budget has nothing left for the other.
    assert!(matches!(alice.fate(&message("bob", "history", 40, &["asked", "never asked"])), Fate::Parked { .. }));
    assert_eq!(alice.fate(&live(message("carol", "slow clock", 20, &[]))), Fate::Delivered);
    assert_eq!(horizon(&alice), Some(Lamport(EPOCH + 19)));
    assert_eq!(shown(&mut alice), told([("slow clock", false)]));
    alice.receive(&message("bob", "asked", 10, &[]));
    assert_eq!(shown(&mut alice), told([("asked", true), ("history", false), ("first", false)]));
}
