//! docs/protocol.md section 13: digests, and sessions with one who holds more.

use std::collections::BTreeMap;

use reliable_channel::channel::{Config, DeliveryState, Event, Fate, SyncStatus, Transmit, TransmitKind};
use reliable_channel::types::{CatchUpField, Digest, DigestRange, Frame, FrameBody, Lamport, Message, RunningTime};
use tap::Tap as _;

use crate::harness::{self, EPOCH, Peer, chain, message, sync};

/// How long a packet takes, in milliseconds.
const DELAY: u64 = 50;

/// A participant that catches up.
pub(crate) fn peer_with(name: &str, change: impl FnOnce(&mut Config)) -> Peer {
    harness::peer_with(name, |config| {
        config.catch_up = true;
        change(config);
    })
}

/// Peers on a network that everybody hears, or not.
pub(crate) struct Net {
    pub(crate) peers: Vec<Peer>,
    /// By arrival.
    queue: BTreeMap<(u64, u64), (usize, Message)>,
    packets: u64,
    pub(crate) now: u64,
    /// Nothing of theirs gets through, in either direction.
    pub(crate) away: Vec<bool>,
    /// What went out: by whom, when.
    pub(crate) sent: Vec<(usize, u64, Transmit)>,
    /// What is lost, of what goes out.
    pub(crate) lost: fn(&Transmit, u64) -> bool,
}

impl Net {
    pub(crate) fn new(names: &[&str], change: impl Fn(&mut Config)) -> Self {
        let peers: Vec<Peer> = names.iter().map(|name| peer_with(name, &change)).collect();
        let away = vec![false; peers.len()];
        let (queue, sent) = (BTreeMap::new(), Vec::new());
        Self { peers, queue, packets: 0, now: 0, away, sent, lost: |_, _| false }
    }

    fn spread(&mut self, from: usize, transmit: Transmit) {
        self.packets += 1;
        if !self.away[from] && !(self.lost)(&transmit, self.packets) {
            for to in (0..self.peers.len()).filter(|to| *to != from && !self.away[*to]) {
                self.packets += 1;
                self.queue.insert((self.now + DELAY, self.packets), (to, transmit.message.clone()));
            }
        }
        self.sent.push((from, self.now, transmit));
    }

    pub(crate) fn say(&mut self, from: usize, text: &str) {
        let peer = &mut self.peers[from];
        peer.now = self.now;
        let outcome = peer.input(reliable_channel::channel::Input::Send { content: text.to_owned().into(), id: None });
        outcome.unwrap();
        self.collect(from);
    }

    pub(crate) fn collect(&mut self, from: usize) {
        for transmit in std::mem::take(&mut self.peers[from].transmitted) {
            self.spread(from, transmit);
        }
    }

    pub(crate) fn run_for(&mut self, millis: u64) {
        let end = self.now + millis;
        loop {
            let arrival = self.queue.first_key_value().map(|((at, _), _)| *at);
            let due = |peer: &Peer| peer.channel.poll_timeout().map(RunningTime::as_millis);
            let timer = self.peers.iter().enumerate().filter_map(|(at, peer)| Some((due(peer)?, at))).min();
            let next = arrival.into_iter().chain(timer.map(|(due, _)| due)).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let ((_, _), (to, message)) = self.queue.pop_first().unwrap();
                if !self.away[to] {
                    self.peers[to].now = self.now;
                    // What is refused is refused.
                    drop(self.peers[to].input(reliable_channel::channel::Input::Receive(message)));
                    self.collect(to);
                }
            } else if let Some((_, at)) = timer {
                self.peers[at].now = self.now;
                self.peers[at].input(reliable_channel::channel::Input::Timeout).unwrap();
                self.collect(at);
            }
        }
        self.now = end;
    }

    /// Alice says so much, one message a second.
    pub(crate) fn talk(&mut self, messages: usize) {
        for n in 0..messages {
            self.say(0, &format!("{n} of {}", self.now));
            self.run_for(1_000);
        }
    }

    fn of_catch_up(&self) -> impl Iterator<Item = &(usize, u64, Transmit)> {
        self.sent.iter().filter(|(_, _, sent)| sent.kind == TransmitKind::CatchUp)
    }

    fn frames(&self) -> impl Iterator<Item = (usize, u64, &Frame)> {
        self.of_catch_up().filter_map(|(from, at, sent)| match &sent.message.catch_up {
            CatchUpField::Frame(frame) => Some((*from, *at, &**frame)),
            _ => None,
        })
    }

    /// Messages sent for catch-up.
    fn bodies(&self) -> usize {
        self.of_catch_up().filter(|(_, _, sent)| sent.message.lamport.is_some()).count()
    }
}

/// Two or more who have talked for two minutes, of whom bob then missed so many messages.
fn after_missing(names: &[&str], missed: usize, change: impl Fn(&mut Config)) -> Net {
    let mut net = Net::new(names, change);
    for _ in 0..24 {
        (0..names.len()).for_each(|at| net.say(at, "hello"));
        net.run_for(5_000);
    }
    net.away[1] = true;
    net.talk(missed);
    net.away[1] = false;
    net.sent.clear();
    net.peers.iter_mut().for_each(|peer| drop(peer.take_events()));
    net
}

pub(crate) fn digest_of(message: &Message) -> Option<&Digest> {
    if let CatchUpField::Digest(digest) = &message.catch_up { Some(digest) } else { None }
}

#[test]
fn whoever_was_away_has_everything_within_seconds_and_each_message_is_sent_once() {
    let mut net = after_missing(&["alice", "bob"], 300, |_| {});
    net.say(0, "back?");
    net.run_for(5_000);
    let missed: Vec<String> = net.peers[0].log();
    assert_eq!(net.peers[1].log(), missed);
    assert_eq!(net.peers[1].delivered(), missed[missed.len() - 301..], "in causal order");
    // Alice sends the last ones again by herself: nobody has acknowledged them.
    let ids: Vec<_> =
        net.of_catch_up().filter(|(_, _, it)| it.message.lamport.is_some()).map(|(_, _, it)| &it.message.id).collect();
    assert!(
        (290..=300).contains(&ids.len())
            && ids.is_sorted_by_key(|id| missed.iter().position(|it| *it == id.to_string())),
        "{ids:?}"
    );
    let (frames, repairs) =
        (net.frames().count(), net.sent.iter().filter(|(_, _, it)| it.kind == TransmitKind::Repair));
    assert!(frames <= 8, "{frames} frames");
    assert_eq!(repairs.count(), 0);
    assert_eq!(net.peers[1].channel.sync_status(), SyncStatus::InSync);
}

#[test]
fn the_application_hears_how_far_it_is_and_the_end() {
    let mut net = after_missing(&["alice", "bob"], 300, |_| {});
    net.say(0, "back?");
    net.run_for(10_000);
    let told = net.peers[1].take_events().into_iter();
    let told: Vec<SyncStatus> =
        told.filter_map(|it| if let Event::SyncStatus(it) = it { Some(it) } else { None }).collect();
    assert!(matches!(told.first(), Some(SyncStatus::Syncing { missing: 1.., .. })), "{told:?}");
    assert_eq!(told.last(), Some(&SyncStatus::InSync));
    let told = net.peers[0].take_events();
    assert!(!told.iter().any(|event| matches!(event, Event::SyncStatus(_))), "whoever helps is not behind: {told:?}");
}

#[test]
fn both_sides_of_a_partition_get_what_the_other_said() {
    let mut net = after_missing(&["alice", "bob"], 0, |_| {});
    net.away = vec![true, true];
    for n in 0..100 {
        net.say(0, &format!("a{n}"));
        net.say(1, &format!("b{n}"));
        net.run_for(1_000);
    }
    net.away = vec![false, false];
    net.say(0, "together");
    net.run_for(1_000);
    net.say(1, "again");
    net.run_for(8_000);
    assert_eq!(net.peers[0].log(), net.peers[1].log());
    assert_eq!(net.peers[0].log().len(), 48 + 202);
}

#[test]
fn what_is_lost_on_the_way_is_asked_for_again() {
    let mut net = after_missing(&["alice", "bob"], 200, |_| {});
    net.lost = |sent, packet| sent.kind == TransmitKind::CatchUp && packet % 5 == 0;
    net.say(0, "back?");
    net.run_for(20_000);
    assert_eq!(net.peers[1].log(), net.peers[0].log());
    assert_eq!(net.sent.iter().filter(|(_, _, it)| it.kind == TransmitKind::Repair).count(), 0, "repair rests");
}

#[test]
fn a_source_that_does_not_answer_is_left_for_another() {
    let mut net = after_missing(&["alice", "bob", "carol"], 100, |_| {});
    // Alice was heard last, and her frames are lost.
    net.lost = |sent, _| sent.kind == TransmitKind::CatchUp && sent.message.sender.as_bytes() == b"alice";
    net.say(0, "back?");
    net.run_for(30_000);
    assert_eq!(net.peers[1].log(), net.peers[0].log());
    assert!(net.frames().any(|(from, _, _)| from == 2), "carol has answered");
}

#[test]
fn where_nobody_answers_the_session_ends_and_repair_goes_on() {
    let mut net = after_missing(&["alice", "bob"], 20, |_| {});
    net.lost = |sent, _| sent.kind == TransmitKind::CatchUp;
    net.say(0, "back?");
    net.run_for(60_000);
    assert_eq!(net.peers[1].channel.sync_status(), SyncStatus::Behind);
    assert_eq!(net.peers[1].log(), net.peers[0].log(), "by repair");
    let asked = net.frames().filter(|(from, _, _)| *from == 1).count();
    assert!(asked <= 12, "{asked} frames: tries come more rarely");
}

#[test]
fn a_member_without_catch_up_says_no_digest_and_is_sent_no_frame() {
    let mut net = Net::new(&["alice", "bob"], |_| {});
    net.peers[0] = peer_with("alice", |config| config.catch_up = false);
    net.talk(60);
    net.away[1] = true;
    net.talk(100);
    net.away[1] = false;
    net.talk(10);
    assert!(net.sent.iter().all(|(from, _, sent)| *from == 1 || digest_of(&sent.message).is_none()));
    assert_eq!(net.frames().count(), 0);
}

#[test]
fn every_third_sync_message_has_a_digest_and_none_in_the_first_twenty_seconds() {
    let mut alice = peer_with("alice", |_| {});
    chain(5).iter().for_each(|message| drop(alice.receive(message)));
    assert!(digest_of(&alice.send_sync()).is_none());
    alice.run_for(30_000);
    let has: Vec<bool> = (0..9).map(|_| digest_of(&alice.send_sync()).is_some()).collect();
    assert_eq!(has.iter().filter(|has| **has).count(), 3, "{has:?}");
    let first = has.iter().position(|has| *has).unwrap();
    assert!(has[first + 3] && !has[first + 1] && !has[first + 2], "{has:?}");
}

/// Alice with ten messages of bob, and her digest.
fn alice_with_digest() -> (Peer, Digest) {
    let mut alice = peer_with("alice", |_| {});
    chain(10).iter().for_each(|message| drop(alice.receive(message)));
    alice.run_for(30_000);
    let digest = (0..3).find_map(|_| digest_of(&alice.send_sync()).cloned());
    (alice, digest.unwrap())
}

#[test]
fn a_digest_counts_what_is_delivered_up_to_what_came_twenty_seconds_ago() {
    let (mut alice, digest) = alice_with_digest();
    assert_eq!((digest.upper, digest.short.count, digest.long), (Lamport(EPOCH + 10), 10, None));
    alice.receive(&message("bob", "new", 40_000, &["m10"]));
    alice.receive(&message("bob", "old", 5, &[]));
    let digest = (0..3).find_map(|_| digest_of(&alice.send_sync()).cloned()).unwrap();
    assert_eq!((digest.upper, digest.short.count), (Lamport(EPOCH + 10), 11));
}

#[test]
fn a_digest_does_not_reach_above_what_was_parked_within_a_minute() {
    let (mut alice, _) = alice_with_digest();
    alice.receive(&message("bob", "parked", 8, &["unknown"]));
    let digest = |alice: &mut Peer| (0..3).find_map(|_| digest_of(&alice.send_sync()).cloned()).unwrap();
    assert_eq!(digest(&mut alice).upper, Lamport(EPOCH + 7));
    alice.run_for(61_000);
    assert_eq!(digest(&mut alice).upper, Lamport(EPOCH + 10));
}

/// A sync message of carol that says nothing but a digest.
fn saying(digest: Digest, lamport: u64) -> Message {
    sync("carol", lamport, &[], &[]).tap_mut(|it| it.catch_up = CatchUpField::Digest(Box::new(digest)))
}

#[test]
fn an_equal_digest_acknowledges_what_it_covers_and_nothing_else() {
    let mut alice = peer_with("alice", |_| {});
    let first = alice.send("first");
    alice.run_for(25_000);
    let digest = (0..3).find_map(|_| digest_of(&alice.send_sync()).cloned()).unwrap();
    let second = alice.send("second");
    let other = digest.clone().tap_mut(|it| it.short.fingerprint[0] ^= 1);
    alice.receive(&saying(other, 26_000));
    assert_eq!(alice.channel.delivery_state(&first.id), Some(DeliveryState::Unacknowledged));
    alice.receive(&saying(digest, 26_001));
    assert_eq!(alice.channel.delivery_state(&first.id), Some(DeliveryState::Acknowledged));
    assert_eq!(alice.channel.delivery_state(&second.id), Some(DeliveryState::Unacknowledged));
}

pub(crate) fn frames(out: &[Transmit]) -> Vec<&Frame> {
    out.iter()
        .filter_map(|sent| if let CatchUpField::Frame(frame) = &sent.message.catch_up { Some(&**frame) } else { None })
        .collect()
}

#[test]
fn a_difference_counts_at_once_for_who_is_behind_and_else_when_it_lasts_twenty_seconds() {
    let (mut alice, digest) = alice_with_digest();
    let of = |count| digest.clone().tap_mut(|it| it.short = DigestRange::new(it.short.lower, count, [7; 16]));
    alice.receive(&saying(of(13), 31_000));
    assert_eq!(frames(&alice.run_for(10_000)).len(), 0, "three more may be on their way");
    alice.receive(&saying(of(13), 41_000));
    assert_eq!(frames(&alice.run_for(10_000)).len(), 0);
    alice.receive(&saying(of(13), 51_000));
    assert_eq!(frames(&alice.run_for(3_500))[0].to.as_bytes(), b"carol");

    let (mut alice, _) = alice_with_digest();
    alice.receive(&saying(of(14), 31_000));
    assert_eq!(frames(&alice.run_for(600)).len(), 1, "four more are not");
}

#[test]
fn what_reaches_below_our_floor_is_not_compared() {
    let (mut alice, digest) = alice_with_digest();
    alice.restart_with(|config| config.max_message_history = 5);
    alice.run_for(30_000);
    alice.receive(&saying(digest.tap_mut(|it| it.short.fingerprint = [7; 16]), 90_000));
    alice.receive(&message("carol", "c", 90_001, &["m10"]));
    assert_eq!(frames(&alice.run_for(60_000)).len(), 0);
}

#[test]
fn unequal_logs_have_no_body_fetched_twice() {
    let mut net = Net::new(&["alice", "bob"], |_| {});
    net.peers[1] = peer_with("bob", |config| config.max_message_history = 50);
    net.talk(400);
    net.run_for(600_000);
    assert_eq!(net.bodies(), 0, "{:?}", net.frames().collect::<Vec<_>>());
}

/// Bob refuses a large message, which alice has for ever.
#[test]
fn what_stays_different_is_compared_away_and_fetched_no_more() {
    let mut net = after_missing(&["alice", "bob"], 0, |_| {});
    net.peers[1].restart_with(|config| config.limits.max_content_bytes = 100);
    net.say(0, &"large ".repeat(30));
    let large = net.sent.last().unwrap().2.message.id.clone();
    net.talk(3);
    net.run_for(60 * 60_000);
    net.sent.clear();
    net.talk(3);
    let small = net.sent.iter().find(|(_, _, sent)| sent.kind == TransmitKind::Content).unwrap().2.message.id.clone();
    net.run_for(60 * 60_000);
    assert_eq!((net.frames().count(), net.bodies()), (0, 0));
    assert_eq!(net.peers[0].channel.delivery_state(&small), Some(DeliveryState::Acknowledged));
    assert_ne!(net.peers[0].channel.delivery_state(&large), Some(DeliveryState::Acknowledged));
    assert_eq!(net.peers[1].log().len() + 1, net.peers[0].log().len());
}

/// A frame of carol to alice.
pub(crate) fn framed(session: u64, body: FrameBody) -> Message {
    let frame = Frame::new(session, "alice".into(), Lamport(0), body);
    Message::new(format!("f{session}").into(), "carol".into(), "c".into())
        .tap_mut(|it| it.catch_up = CatchUpField::Frame(Box::new(frame)))
}

#[test]
fn questions_beyond_the_budget_are_told_so_once_a_second() {
    let (mut alice, _) = alice_with_digest();
    let mut said = Vec::new();
    for n in 0..1_000 {
        assert_eq!(alice.fate(&framed(n, FrameBody::Fetch { rids: vec![[1; 32]] })), Fate::Frame);
        said.append(&mut alice.transmitted);
    }
    let busy = frames(&said).iter().filter(|frame| matches!(frame.body, FrameBody::Busy { .. })).count();
    assert_eq!((said.len(), busy), (65, 1));
    assert!(said.iter().all(|sent| sent.to == Some("carol".into())));
}

#[test]
fn frames_that_go_out_together_have_ids_of_their_own() {
    let (mut alice, _) = alice_with_digest();
    // Version 1; up to the end of time; a list of no ids.
    let (upper, message) = (Lamport(u64::MAX), b"\x61\0\0\x02\0".as_slice().into());
    alice.receive(&framed(7, FrameBody::Reconcile { rules: 1, upper, answer: false, push: 9_999, message }));
    let said: Vec<_> = alice.transmitted.iter().filter(|sent| sent.message.lamport.is_none()).collect();
    assert_eq!((said.len(), alice.transmitted.len()), (2, 12), "an answer, ten messages, and that these are all");
    assert_ne!(said[0].message.id, said[1].message.id);
}

#[test]
fn answers_that_were_not_asked_for_change_nothing() {
    let (mut alice, _) = alice_with_digest();
    let before = alice.saved.clone();
    let reconcile = |answer, message: &'static [u8]| FrameBody::Reconcile {
        rules: 1,
        upper: Lamport(u64::MAX),
        answer,
        push: 9,
        message: message.into(),
    };
    for (session, body) in [
        reconcile(true, b"\x61"),
        reconcile(false, b"no negentropy"),
        FrameBody::End { sent: 3, gone: vec![[1; 32]], more: true, evicted: Vec::new() },
        FrameBody::Busy { retry_after_ms: u64::MAX },
        FrameBody::Cancel { reason: 1 },
        FrameBody::Unknown,
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(alice.fate(&framed(session as u64, body)), Fate::Frame);
    }
    assert_eq!((alice.transmitted.len(), &alice.saved), (0, &before));
}

#[test]
fn other_rules_are_refused() {
    let (mut alice, _) = alice_with_digest();
    let (upper, message) = (Lamport(u64::MAX), "".into());
    alice.receive(&framed(7, FrameBody::Reconcile { rules: 2, upper, answer: false, push: 0, message }));
    let said = std::mem::take(&mut alice.transmitted);
    assert_eq!(frames(&said)[0].body, FrameBody::Cancel { reason: 1 });
}

/// Carol claims four messages that nobody has: alice asks, and is given nothing, or something else.
#[test]
fn a_liar_is_asked_a_few_times_and_then_left() {
    let (mut alice, digest) = alice_with_digest();
    let lie = digest.tap_mut(|it| it.short = DigestRange::new(it.short.lower, 14, [7; 16]));
    let mut asked = 0;
    for round in 0..200_u64 {
        alice.receive(&saying(lie.clone(), 31_000 + round * 2_000));
        let out = alice.run_for(2_000);
        for frame in frames(&out) {
            asked += 1;
            let body = match &frame.body {
                FrameBody::Reconcile { .. } => FrameBody::Reconcile {
                    rules: 1,
                    upper: Lamport(u64::MAX),
                    answer: true,
                    push: 0,
                    // Version 1; up to the end of time; a list of one id.
                    message: [vec![0x61, 0, 0, 2, 1], vec![round as u8; 32]].concat().into(),
                },
                _ => FrameBody::End { sent: 1, gone: Vec::new(), more: false, evicted: Vec::new() },
            };
            alice.receive(&framed(frame.session, body));
        }
    }
    // Sixteen a session, and five seconds between two at first, then twice as long each time.
    assert!((16..=7 * 16).contains(&asked), "{asked} frames in 400 s");
    assert_eq!(alice.log().len(), 10);
}

#[test]
fn messages_too_small_for_frames_have_digests_and_no_frames() {
    let mut net = after_missing(&["alice", "bob"], 30, |config| config.max_transmit_bytes = Some(2_048));
    net.say(0, "back?");
    net.run_for(120_000);
    assert_eq!(net.frames().count(), 0);
    let digests: Vec<_> = net.sent.iter().filter_map(|(_, _, sent)| digest_of(&sent.message)).collect();
    assert!(!digests.is_empty() && digests.iter().all(|digest| !digest.frames));
    assert_eq!(net.peers[1].log(), net.peers[0].log());
}

#[test]
fn what_has_left_all_logs_is_not_waited_for_and_told_as_one_gap() {
    let short = |config: &mut Config| config.max_message_history = 100;
    let mut net = after_missing(&["alice", "bob", "carol"], 300, short);
    net.say(0, "back?");
    net.run_for(10_000);
    let told = net.peers[1].take_events().into_iter();
    let gaps = told.filter(|event| matches!(event, Event::HistoryGap { .. })).count();
    assert_eq!((net.peers[1].log(), gaps), (net.peers[0].log(), 1));
    let ids = net.frames().filter(|(_, _, frame)| matches!(frame.body, FrameBody::FetchIds { .. }));
    assert_eq!(ids.map(|(_, _, frame)| frame.to.clone()).collect::<std::collections::BTreeSet<_>>().len(), 2);
}

#[test]
fn who_asks_catches_up_without_a_gap_and_hears_how_it_ended() {
    let mut net = Net::new(&["alice", "bob"], |_| ());
    for n in 0..30 {
        net.say(0, &format!("early {n}"));
        net.run_for(1_000);
    }
    net.run_for(600_000);
    net.peers[1].events.clear();
    let status = |net: &mut Net| -> Vec<SyncStatus> {
        let told = std::mem::take(&mut net.peers[1].events).into_iter();
        told.filter_map(|it| if let Event::SyncStatus(it) = it { Some(it) } else { None }).collect()
    };
    let ask = |net: &mut Net| {
        net.peers[1].now = net.now;
        net.peers[1].input(reliable_channel::channel::Input::CatchUp).unwrap();
        net.collect(1);
    };
    ask(&mut net);
    // Twice at once is once.
    ask(&mut net);
    net.run_for(5_000);
    assert_eq!(status(&mut net), [SyncStatus::Syncing { received: 0, missing: 0 }, SyncStatus::InSync]);
    let missed = |transmit: &Transmit, _| transmit.kind == TransmitKind::Content;
    net.lost = missed;
    net.say(0, "nobody hears this");
    net.lost = |_, _| false;
    assert!(net.peers[1].channel.requests().is_empty(), "and nothing shows that it is missing");
    ask(&mut net);
    net.run_for(1_000);
    assert_eq!(net.peers[1].channel.log().next_back().unwrap().body.content, "nobody hears this");
    assert_eq!(status(&mut net).last(), Some(&SyncStatus::InSync));
    // Nobody answers.
    net.away[0] = true;
    ask(&mut net);
    net.run_for(60_000);
    assert_eq!(status(&mut net).last(), Some(&SyncStatus::Behind));
}

#[test]
fn who_asks_with_nobody_there_hears_nothing() {
    let mut bob = peer_with("bob", |_| ());
    bob.input(reliable_channel::channel::Input::CatchUp).unwrap();
    assert_eq!((bob.transmitted.len(), bob.events.len()), (0, 0));
    let mut off = harness::peer_with("off", |config| config.catch_up = false);
    off.input(reliable_channel::channel::Input::CatchUp).unwrap();
    assert_eq!((off.transmitted.len(), off.events.len(), off.channel.sync_status()), (0, 0, SyncStatus::InSync));
}

#[test]
fn who_hears_nobody_else_is_caught_up_with_all_the_same() {
    // News: one speaks, the others never do.
    let mut net = Net::new(&["alice", "bob"], |_| ());
    for n in 0..504 {
        net.away[1] = (120..490).contains(&n);
        net.say(0, &format!("news {n}"));
        net.run_for(1_000);
    }
    assert_eq!(net.peers[1].channel.log().count(), 504);
    assert!(net.frames().any(|(by, _, _)| by == 0), "alice answered");
}
