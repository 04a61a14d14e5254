//! docs/protocol.md section 15.3: what is stable.

use reliable_channel::channel::{ChannelError, Event, Input};
use reliable_channel::types::{CatchUpField, Lamport, Message};

use crate::harness::Peer;
use crate::section_13_catch_up::Net;
use crate::section_15_members::{members, set, to_all};

const ALL: [&str; 3] = ["alice", "bob", "carol"];

fn newest(peer: &Peer) -> Option<Lamport> {
    peer.channel.log().last().map(|logged| logged.body.key.lamport)
}

fn stable(net: &Net) -> Vec<Option<Lamport>> {
    net.peers.iter().map(|peer| peer.channel.stable_up_to()).collect()
}

/// Everybody says something, every five seconds.
fn talk(net: &mut Net, rounds: usize) {
    for _ in 0..rounds {
        for at in 0..net.peers.len() {
            if !net.away[at] {
                net.say(at, "hello");
            }
            net.run_for(1_700);
        }
    }
}

#[test]
fn what_all_members_have_is_stable_once_each_has_said_so() {
    let mut net = members(&ALL, |_| {});
    talk(&mut net, 12);
    net.run_for(120_000);
    let all = newest(&net.peers[0]);
    assert_eq!(stable(&net), [all; 3]);
    let told = |event: &Event| if let Event::Stable { up_to } = event { Some(*up_to) } else { None };
    let told: Vec<Lamport> = net.peers[0].events.iter().filter_map(told).collect();
    assert!(told.is_sorted() && told.last().copied() == all, "{told:?}");
    assert_eq!(to_all(&net.peers[0]).len(), 12);
    net.peers[0].restart();
    assert_eq!(net.peers[0].channel.stable_up_to(), all, "it is saved");
}

#[test]
fn nothing_is_stable_where_senders_are_not_authenticated() {
    let mut net = members(&ALL, |config| config.authenticated_senders = false);
    talk(&mut net, 12);
    net.run_for(120_000);
    assert_eq!(stable(&net), [None; 3]);
}

#[test]
fn one_who_is_away_stalls_stability_until_it_is_removed_and_is_named() {
    let mut net = members(&ALL, |_| {});
    talk(&mut net, 12);
    net.run_for(120_000);
    let before = stable(&net);
    net.away[2] = true;
    talk(&mut net, 40);
    net.run_for(1_000_000);
    assert_eq!(stable(&net), before);
    let waits = |event: &Event| matches!(event, Event::StabilityWaits { member } if *member == "carol".into());
    assert_eq!(net.peers[0].events.iter().filter(|event| waits(event)).count(), 1);
    let bob = |event: &Event| matches!(event, Event::StabilityWaits { member } if *member == "bob".into());
    assert!(!net.peers[0].events.iter().any(bob));
    for at in 0..2 {
        set(&mut net.peers[at], 2, &["alice", "bob"]).unwrap();
    }
    assert_eq!(net.peers[0].channel.stable_up_to(), newest(&net.peers[0]), "at once");
}

#[test]
fn who_comes_back_lets_stability_go_on() {
    let mut net = members(&ALL, |_| {});
    talk(&mut net, 12);
    net.run_for(120_000);
    net.away[2] = true;
    talk(&mut net, 20);
    net.away[2] = false;
    net.run_for(600_000);
    assert_eq!(stable(&net), [newest(&net.peers[0]); 3]);
}

#[test]
fn a_message_that_only_one_has_keeps_what_lies_above_from_being_stable() {
    let mut net = members(&ALL, |_| {});
    talk(&mut net, 12);
    net.run_for(120_000);
    // What alice says now reaches nobody.
    net.away[0] = true;
    net.say(0, "unheard");
    let unheard = newest(&net.peers[0]).unwrap();
    talk(&mut net, 20);
    for at in 1..3 {
        let stable = net.peers[at].channel.stable_up_to();
        assert!(stable < Some(unheard), "{stable:?} {unheard:?}");
    }
    net.away[0] = false;
    net.run_for(600_000);
    assert_eq!(stable(&net), [newest(&net.peers[1]); 3]);
}

#[test]
fn a_member_that_joins_later_has_its_part_from_then_on() {
    let mut net = members(&ALL, |config| config.join = reliable_channel::channel::Join::FromNow);
    net.away[2] = true;
    for at in 0..2 {
        set(&mut net.peers[at], 2, &["alice", "bob"]).unwrap();
    }
    talk(&mut net, 12);
    net.run_for(60_000);
    net.away[2] = false;
    for at in 0..3 {
        set(&mut net.peers[at], 3, &ALL).unwrap();
    }
    talk(&mut net, 12);
    net.run_for(300_000);
    assert!(net.peers[2].channel.log().count() < net.peers[0].channel.log().count());
    let all = newest(&net.peers[0]);
    // Though all is fewer messages than a short range has, and theirs begin before its own.
    assert_eq!(stable(&net), [all; 3]);
}

#[test]
fn a_member_that_sends_below_what_it_vouched_for_is_told_and_its_message_marked() {
    let mut net = members(&["alice", "bob"], |_| {});
    talk(&mut net, 12);
    net.run_for(120_000);
    let stable = net.peers[0].channel.stable_up_to().unwrap();
    let forged = |id: &str, sender: &str| {
        crate::harness::message(sender, id, 0, &[]).tap(|message| message.lamport = Some(Lamport(stable.0 - 1)))
    };
    net.peers[0].take_events();
    net.peers[0].receive(&forged("x", "bob"));
    net.peers[0].receive(&forged("y", "dave"));
    let broken = |event: &Event| {
        if let Event::StabilityBroken { id, sender } = event {
            Some((id.to_string(), sender.to_string()))
        } else {
            None
        }
    };
    let told: Vec<_> = net.peers[0].events.iter().filter_map(broken).collect();
    assert_eq!(told, [("x".to_owned(), "bob".to_owned())], "dave never vouched for anything");
    let marked = |peer: &Peer| {
        let marked = peer.channel.log().filter(|logged| logged.below_stable);
        marked.map(|logged| logged.body.key.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(marked(&net.peers[0]), ["x", "y"]);
    net.peers[0].restart();
    assert_eq!(marked(&net.peers[0]), ["x", "y"]);
    assert_eq!(net.peers[0].channel.stable_up_to(), Some(stable), "it is not taken back");
}

trait Tap: Sized {
    fn tap(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}
impl Tap for Message {}

fn digests(net: &Net) -> usize {
    net.sent.iter().filter(|(_, _, sent)| matches!(sent.message.catch_up, CatchUpField::Digest(_))).count()
}

#[test]
fn whoever_holds_what_its_last_digest_does_not_cover_says_one_within_a_minute_until_all_is_stable() {
    let mut net = members(&ALL, |config| config.sync_interval = std::time::Duration::from_secs(900));
    talk(&mut net, 12);
    net.run_for(600_000);
    assert_eq!(stable(&net), [newest(&net.peers[0]); 3]);
    net.sent.clear();
    net.run_for(3_600_000);
    assert!(digests(&net) <= 3 * 5, "{} in an hour of silence", digests(&net));
    net.sent.clear();
    // Others talk all the time, and carol says nothing.
    for _ in 0..60 {
        net.say(0, "hello");
        net.run_for(1_000);
        net.say(1, "hello");
        net.run_for(1_000);
    }
    let of_carol = |(from, _, sent): &&(usize, u64, reliable_channel::channel::Transmit)| {
        *from == 2 && matches!(sent.message.catch_up, CatchUpField::Digest(_))
    };
    assert!(net.sent.iter().filter(of_carol).count() >= 2);
}

#[test]
fn without_members_a_digest_says_nothing_of_them_and_none_is_owed() {
    let mut net = Net::new(&["alice", "bob"], |_| {});
    talk(&mut net, 12);
    let said = net.sent.iter().filter_map(|(_, _, sent)| match &sent.message.catch_up {
        CatchUpField::Digest(digest) => Some(digest.stable),
        _ => None,
    });
    let said: Vec<_> = said.collect();
    assert!(!said.is_empty() && said.iter().all(Option::is_none));
    net.peers[0].input(Input::Timeout).unwrap();
}

#[test]
fn a_digest_is_owed_of_what_was_there_before_the_set() {
    let mut net = Net::new(&["alice", "bob"], |config| config.authenticated_senders = true);
    talk(&mut net, 12);
    net.run_for(3_600_000);
    net.sent.clear();
    for at in 0..2 {
        set(&mut net.peers[at], 1, &["alice", "bob"]).unwrap();
    }
    net.run_for(200_000);
    assert_eq!(stable(&net), [newest(&net.peers[0]); 2]);
}

#[test]
fn where_a_digest_does_not_fit_no_sync_message_goes_out_every_minute() {
    let mut net = members(&["alice", "bob"], |config| config.max_transmit_bytes = Some(250));
    talk(&mut net, 12);
    net.run_for(3_600_000);
    assert_eq!(digests(&net), 0);
    net.sent.clear();
    net.run_for(3_600_000);
    assert!(net.sent.len() <= 2 * 2 * 6, "{} in an hour of silence", net.sent.len());
}

#[test]
fn an_own_message_of_which_a_digest_has_spoken_is_not_taken_back() {
    let mut net = members(&["alice", "bob"], |_| {});
    talk(&mut net, 1);
    net.away[0] = true;
    let last = |net: &Net| net.peers[0].channel.log().last().unwrap().body.key.id.clone();
    net.say(0, "soon regretted");
    let early = last(&net);
    net.peers[0].input(Input::Withdraw(early)).unwrap();
    net.say(0, "regretted late");
    let late = last(&net);
    net.run_for(120_000);
    let refused = net.peers[0].input(Input::Withdraw(late.clone())).unwrap_err();
    assert_eq!(refused, ChannelError::AcknowledgedAlready(late.clone()), "others may see it as stable");
    net.peers[0].restart();
    assert!(net.peers[0].input(Input::Withdraw(late)).is_err());
}
