//! docs/protocol.md section 13.6: what an archive keeps beyond the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use reliable_channel::channel::{ArchiveRead, Event, ForArchive, Input, Join, item_of};
use reliable_channel::reconcile::Item;
use reliable_channel::state::Body;
use reliable_channel::types::{FrameBody, ParticipantId};

use crate::harness::{Peer, chain, message};
use crate::section_13_catch_up::{Net, digest_of, framed, frames, peer_with};

/// An archive in memory.
pub(crate) type Kept = BTreeMap<[u8; 32], Arc<Body>>;

/// Does what a channel asks of its archive.
fn serve(peer: &mut Peer, kept: &mut Kept) {
    for asked in std::mem::take(&mut peer.archive) {
        let input = match asked {
            ForArchive::Keep(body) => {
                let item = item_of(&"c".into(), &body);
                kept.insert(item.rid.0, body);
                Input::Archived { items: vec![item], whole: false }
            }
            ForArchive::Read(read) => {
                let bodies = read.items.iter().filter_map(|item| kept.get(&item.rid.0).cloned()).collect();
                let looked = read.items.len();
                Input::FromArchive { read, bodies, looked, failed: false }
            }
            _ => continue,
        };
        peer.input(input).unwrap();
    }
}

fn says_that_there_is_one(peer: &mut Peer) {
    peer.input(Input::Archived { items: Vec::new(), whole: true }).unwrap();
}

fn kept(peer: &mut Peer) -> Vec<String> {
    let asked = std::mem::take(&mut peer.archive).into_iter();
    asked.filter_map(|it| if let ForArchive::Keep(body) = it { Some(body.key.id.to_string()) } else { None }).collect()
}

/// Alice, whose archive has the messages 1 to 30 of a chain, and whose log those from 21 on.
pub(crate) fn alice_with_archive() -> (Peer, Kept, Vec<Item>) {
    let mut alice = peer_with("alice", |config| config.max_message_history = 10);
    says_that_there_is_one(&mut alice);
    let mut archive = Kept::new();
    for message in chain(30) {
        alice.receive(&message);
        serve(&mut alice, &mut archive);
    }
    alice.run_for(1_000);
    let mut items: Vec<Item> = archive.values().map(|body| item_of(&"c".into(), body)).collect();
    items.sort();
    assert_eq!(items.len(), 30);
    (alice, archive, items)
}

pub(crate) fn fetch(alice: &mut Peer, number: u64, items: &[Item]) -> Vec<ArchiveRead> {
    alice.receive(&framed(number, FrameBody::Fetch { rids: items.iter().map(|item| item.rid.0).collect() }));
    let asked = std::mem::take(&mut alice.archive).into_iter();
    asked.filter_map(|it| if let ForArchive::Read(read) = it { Some(read) } else { None }).collect()
}

/// What an archive's answer led to: messages sent, and what the `End` says of others.
pub(crate) fn answer(
    alice: &mut Peer,
    read: ArchiveRead,
    bodies: Vec<Arc<Body>>,
    looked: usize,
    failed: bool,
) -> (usize, usize, bool) {
    alice.input(Input::FromArchive { read, bodies, looked, failed }).unwrap();
    let sent = std::mem::take(&mut alice.transmitted);
    assert!(sent.iter().all(|sent| sent.to == Some(ParticipantId::from("carol"))));
    let bodies = sent.iter().filter(|sent| sent.message.lamport.is_some()).count();
    match &frames(&sent)[..] {
        [frame] => match &frame.body {
            FrameBody::End { sent, gone, more, .. } => {
                assert_eq!(*sent, bodies as u64);
                (bodies, gone.len(), *more)
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_has_left_all_logs_comes_from_an_archive() {
    let mut net = Net::new(&["alice", "bob", "carol"], |config| config.max_message_history = 50);
    let mut kept = Kept::new();
    says_that_there_is_one(&mut net.peers[0]);
    let run = |net: &mut Net, kept: &mut Kept, millis: u64| {
        for _ in 0..millis / 100 {
            net.run_for(100);
            while !net.peers[0].archive.is_empty() {
                serve(&mut net.peers[0], kept);
                net.collect(0);
            }
        }
    };
    for n in 0..40 {
        net.say(2, &format!("early {n}"));
        run(&mut net, &mut kept, 1_000);
    }
    run(&mut net, &mut kept, 60_000);
    net.away[1] = true;
    for n in 0..300 {
        net.say(2, &format!("missed {n}"));
        run(&mut net, &mut kept, 1_000);
    }
    net.away[1] = false;
    net.say(2, "back?");
    run(&mut net, &mut kept, 20_000);
    assert_eq!(net.peers[1].delivered().len(), 341);
}

#[test]
fn who_does_not_know_of_an_archive_hears_of_it_before_a_gap_is_told() {
    let names = ["alice", "bob", "carol", "dave", "erin"];
    let mut net = Net::new(&names, |config| config.max_message_history = 50);
    let mut kept = Kept::new();
    says_that_there_is_one(&mut net.peers[0]);
    let run = |net: &mut Net, kept: &mut Kept, millis: u64| {
        for _ in 0..millis / 10 {
            net.run_for(10);
            while !net.peers[0].archive.is_empty() {
                serve(&mut net.peers[0], kept);
                net.collect(0);
            }
        }
    };
    for n in 0..60 {
        net.say(2 + n % 3, &format!("early {n}"));
        run(&mut net, &mut kept, 1_000);
    }
    net.away[1] = true;
    for n in 0..300 {
        net.say(2 + n % 3, &format!("missed {n}"));
        run(&mut net, &mut kept, 1_000);
    }
    // A new process knows nobody.
    net.peers[1].now = net.now;
    net.peers[1].restart();
    net.away[1] = false;
    for _ in 0..3 {
        net.peers[2].now = net.now;
        net.peers[2].input(Input::SendSync).unwrap();
        net.collect(2);
    }
    run(&mut net, &mut kept, 20_000);
    let told = net.peers[1].take_events();
    let delivered = told.iter().filter(|event| matches!(event, Event::MessageDelivered(_))).count();
    let gaps = told.iter().filter(|event| matches!(event, Event::HistoryGap { .. })).count();
    assert_eq!((delivered, gaps), (300, 0));
}

#[test]
fn an_archive_is_given_what_the_log_has_and_what_enters_it_but_nothing_that_may_be_taken_back() {
    let mut alice = peer_with("alice", |_| {});
    chain(3).iter().for_each(|message| drop(alice.receive(message)));
    let open = alice.send("open");
    alice.run_for(5_000);
    assert_eq!(kept(&mut alice), [""; 0], "nothing is given where no archive was named");
    says_that_there_is_one(&mut alice);
    alice.run_for(1_000);
    assert_eq!(kept(&mut alice), ["m1", "m2", "m3"]);
    alice.receive(&message("bob", "m4", 40, &["m3"]));
    assert_eq!(kept(&mut alice), ["m4"]);
    alice.receive(&message("bob", "m5", 90_000, &["m4", &open.id.to_string()]));
    assert_eq!(kept(&mut alice), [&open.id.to_string(), "m5"], "it was acknowledged");
}

#[test]
fn the_history_of_a_newcomer_which_lies_below_its_set_is_given_too() {
    let mut alice = peer_with("alice", |config| config.join = Join::Recent(100));
    chain(10).iter().rev().for_each(|message| drop(alice.receive(message)));
    assert_eq!(alice.log().len(), 10);
    alice.restart();
    says_that_there_is_one(&mut alice);
    alice.run_for(1_000);
    assert_eq!(kept(&mut alice), alice.log());
}

#[test]
fn what_an_archive_has_already_is_not_given_to_it_again() {
    let (mut alice, _, items) = alice_with_archive();
    alice.restart();
    alice.input(Input::Archived { items: items[..25].to_vec(), whole: false }).unwrap();
    alice.run_for(1_000);
    assert_eq!(kept(&mut alice), [""; 0], "not all was named yet");
    alice.input(Input::Archived { items: items[27..].to_vec(), whole: true }).unwrap();
    alice.run_for(1_000);
    assert_eq!(kept(&mut alice), ["m26", "m27"]);
    assert_eq!(fetch(&mut alice, 1, &items).len(), 1);
}

#[test]
fn digests_say_that_there_is_an_archive_and_cover_the_log_alone() {
    let (mut alice, ..) = alice_with_archive();
    alice.run_for(30_000);
    let digest = (0..3).find_map(|_| digest_of(&alice.send_sync()).cloned()).unwrap();
    assert_eq!((digest.archive, digest.short.count, digest.long), (true, 10, None));
}

#[test]
fn what_an_archive_has_lost_is_gone_and_what_it_cannot_read_now_is_asked_for_again() {
    let (mut alice, archive, items) = alice_with_archive();
    let body = |item: &Item| archive[&item.rid.0].clone();
    let mut number = 0;
    let mut ask = |alice: &mut Peer, items: &[Item]| {
        number += 1;
        fetch(alice, number, items).pop().expect("a question to the archive")
    };
    let read = ask(&mut alice, &items[..20]);
    assert_eq!(read.items, items[..20]);
    assert_eq!(answer(&mut alice, read, items[..20].iter().map(body).collect(), 20, false), (20, 0, false));
    // It fails after the first: what was not looked at is said to be gone, and is not forgotten.
    let read = ask(&mut alice, &items[..3]);
    assert_eq!(answer(&mut alice, read, vec![body(&items[0])], 1, true), (1, 2, false));
    // There was no room for more.
    let read = ask(&mut alice, &items[..3]);
    assert_eq!(answer(&mut alice, read, vec![body(&items[0])], 1, false), (1, 0, true));
    // One is not there any more, one is another message.
    let read = ask(&mut alice, &items[..3]);
    assert_eq!(answer(&mut alice, read, vec![body(&items[0]), body(&items[9])], 3, false), (1, 2, false));
    let read = ask(&mut alice, &items[..4]);
    assert_eq!(read.items, [items[0], items[3]], "what was lost is not looked for again");
    assert_eq!(answer(&mut alice, read, Vec::new(), 0, true), (0, 4, false));
}

#[test]
fn at_most_sixteen_questions_wait_for_an_archive() {
    let (mut alice, archive, items) = alice_with_archive();
    let mut reads: Vec<ArchiveRead> = (0..17).flat_map(|n| fetch(&mut alice, n, &items[..1])).collect();
    assert_eq!(reads.len(), 16);
    let said = std::mem::take(&mut alice.transmitted);
    assert!(matches!(frames(&said)[..], [frame] if matches!(frame.body, FrameBody::Busy { .. })));
    let (read, body) = (reads.remove(0), archive[&items[0].rid.0].clone());
    assert_eq!(answer(&mut alice, read, vec![body], 1, false), (1, 0, false));
    assert_eq!(fetch(&mut alice, 18, &items[..1]).len(), 1);
}

#[test]
fn an_archive_sends_no_more_at_once_than_a_mebibyte() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 1);
    says_that_there_is_one(&mut alice);
    let mut archive = Kept::new();
    for n in 0..5 {
        let mut large = message("bob", &format!("m{n}"), n, &[]);
        large.content = vec![b'x'; 400 << 10].into();
        alice.receive(&large);
        serve(&mut alice, &mut archive);
    }
    let items: Vec<Item> =
        archive.values().map(|body| item_of(&"c".into(), body)).filter(|it| it.lamport.0 % 10 < 4).collect();
    let read = fetch(&mut alice, 1, &items).pop().unwrap();
    let bodies = archive.values().cloned().collect();
    let looked = read.items.len();
    assert_eq!((looked, answer(&mut alice, read, bodies, looked, false)), (4, (3, 0, true)));
}
