//! docs/protocol.md section 10: asking for what is missing, and answering.

use std::time::Duration;

use bytes::Bytes;
use reliable_channel::channel::{Event, Fate, Input, Limit, TransmitKind};
use reliable_channel::state::Row;
use reliable_channel::types::{FilterField, HistoryEntry, MessageId, ParticipantId};
use tap::Tap as _;

use crate::harness::{
    Peer, answering, message, missing, peer, peer_with, repairs, requests, seconds, sync, t_req, t_resp, wake,
};

/// One of the vectors made by running @waku/sds.
struct Vector {
    participant: String,
    sender: String,
    id: String,
    t_min: u64,
    t_max: u64,
    groups: u32,
    request_wait: u64,
    response_wait: u64,
    in_group: bool,
}

fn vectors() -> Vec<Vector> {
    let file: serde_json::Value = serde_json::from_str(include_str!("../vectors/js/repair.json")).unwrap();
    let text = |vector: &serde_json::Value, name: &str| vector[name].as_str().unwrap().to_owned();
    let number = |vector: &serde_json::Value, name: &str| vector[name].as_u64().unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 27);
    vectors
        .iter()
        .map(|vector| Vector {
            participant: text(vector, "participant_id"),
            sender: text(vector, "sender_id"),
            id: text(vector, "message_id"),
            t_min: number(vector, "t_min_ms"),
            t_max: number(vector, "t_max_ms"),
            groups: u32::try_from(number(vector, "num_response_groups")).unwrap(),
            request_wait: number(vector, "t_req_ms") - number(vector, "now_ms"),
            response_wait: number(vector, "t_resp_ms") - number(vector, "now_ms"),
            in_group: vector["in_response_group"].as_bool().unwrap(),
        })
        .collect()
}

impl Vector {
    fn peer(&self) -> Peer {
        peer_with(&self.participant, |config| {
            config.t_min = std::time::Duration::from_millis(self.t_min);
            config.t_max = std::time::Duration::from_millis(self.t_max);
            config.response_groups = self.groups;
        })
    }
}

/// A peer that delivered "m" of bob's long enough ago to answer for it.
fn holder() -> Peer {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m", 1, &[]));
    alice.sleep(3_000);
    alice
}

#[test]
fn t_req_is_exactly_what_js_computes() {
    for vector in vectors() {
        let mut peer = vector.peer();
        peer.now = 12_345;
        peer.receive(&message("somebody", "dependant", 1, &[&vector.id]));
        assert_eq!(t_req(&peer, &vector.id), Some(12_345 + vector.request_wait), "{}", vector.id);
    }
}

#[test]
fn t_req_with_t_max_not_above_t_min_is_now_plus_t_min() {
    for t_max in [7, 3] {
        let mut alice = peer_with("alice", |config| (config.t_min, config.t_max) = (seconds(7), seconds(t_max)));
        alice.receive(&message("bob", "m2", 2, &["m1"]));
        assert_eq!(t_req(&alice, "m1"), Some(7_000));
    }
}

#[test]
fn t_resp_and_the_response_group_are_exactly_what_js_computes() {
    let mut outside = 0;
    for vector in vectors() {
        let mut peer = vector.peer();
        peer.receive(&message(&vector.sender, &vector.id, 1, &[]));
        peer.now = 600_000;
        peer.receive(&sync("asker", 2, &[], &[&vector.id]));
        let expected = vector.in_group.then_some(600_000 + vector.response_wait);
        assert_eq!(t_resp(&peer, &vector.id), expected, "{}", vector.id);
        outside += u32::from(!vector.in_group);
    }
    assert!(outside > 0, "some vector is outside the group");
}

#[test]
fn the_original_sender_answers_at_once() {
    let mut alice = peer("alice");
    let own = alice.send_as(Some("own"), "text");
    alice.sleep(3_000);
    alice.receive(&sync("bob", 3_000, &["own"], &["own"]));
    assert_eq!(t_resp(&alice, "own"), Some(3_000));
    let answer = wake(&mut alice).remove(0);
    assert_eq!((answer.kind, &answer.message.content), (TransmitKind::Repair, &own.content));
}

#[test]
fn with_one_response_group_everyone_answers() {
    for name in ["alice", "carol", "dave", "erin", "frank", "grace"] {
        let mut peer = peer(name);
        peer.receive(&message("bob", "m", 1, &[]));
        peer.sleep(3_000);
        peer.receive(&sync("asker", 2, &[], &["m"]));
        assert_eq!(answering(&peer), ["m"], "{name}");
    }
}

#[test]
fn response_groups_are_one_for_every_128_participants() {
    use reliable_channel::channel::response_groups;
    let groups = [0, 1, 127, 128, 255, 256, u32::MAX].map(response_groups);
    assert_eq!(groups, [1, 1, 1, 2, 2, 3, u32::MAX / 128 + 1]);
}

#[test]
fn a_pending_entry_keeps_its_t_resp_when_asked_again() {
    let mut alice = holder();
    alice.receive(&sync("carol", 2, &[], &["m"]));
    let due = t_resp(&alice, "m");
    assert!(due > Some(4_000));
    alice.sleep(500);
    alice.receive(&sync("dave", 3, &[], &["m"]));
    assert_eq!(t_resp(&alice, "m"), due);
    let asked = alice.events.iter().filter(|event| matches!(event, Event::RepairRequested { .. })).count();
    assert_eq!(asked, 1, "asked again is not news");
}

#[test]
fn the_sender_comes_from_our_own_log_and_not_from_the_request() {
    let mut honest = holder();
    honest.receive(&sync("carol", 2, &[], &["m"]));
    let mut lied_to = holder();
    let mut lie = sync("carol", 2, &[], &["m"]);
    lie.repair_request[0].sender = Some(ParticipantId::from("alice"));
    lied_to.receive(&lie);
    assert!(t_resp(&honest, "m") > Some(lied_to.now), "alice is not the sender");
    assert_eq!(t_resp(&lied_to, "m"), t_resp(&honest, "m"));
}

#[test]
fn missing_dependencies_enter_the_outgoing_repair_buffer() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m3", 3, &["m1", "m2", "m3"]));
    assert_eq!(missing(&alice), ["m1", "m2"]);
}

#[test]
fn for_a_parked_dependency_no_repair_is_asked() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    alice.receive(&message("bob", "m3", 3, &["m2"]));
    assert_eq!(missing(&alice), ["m1"]);
}

#[test]
fn a_request_sent_is_rearmed_between_w_and_2w_and_w_doubles_from_t_min_to_t_max() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    let mut spread = Vec::new();
    for w in [2_000, 4_000, 8_000, 10_000, 10_000, 10_000, 10_000] {
        alice.now = t_req(&alice, "m1").unwrap().max(alice.now + 1_000);
        let sent = wake(&mut alice);
        assert_eq!(requests(&sent[0].message), ["m1"]);
        let wait = t_req(&alice, "m1").unwrap() - alice.now;
        assert!((w..2 * w).contains(&wait), "{wait} is not in {w}..{}", 2 * w);
        spread.push(wait);
    }
    assert!(spread[4] != spread[5] && spread[5] != spread[6], "every attempt has its own wait");
    assert_eq!(alice.channel.requests()[0].sent, 7);
}

#[test]
fn a_request_heard_rearms_the_entry_and_does_not_double_w() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    for heard in 1..8 {
        alice.sleep(1_000);
        alice.receive(&sync("carol", 10 + heard, &[], &["m1"]));
        let wait = t_req(&alice, "m1").unwrap() - alice.now;
        assert!((2_000..4_000).contains(&wait), "{wait}");
        assert_eq!(alice.channel.requests()[0].heard, u32::try_from(heard).unwrap());
    }
    assert_eq!(alice.channel.requests()[0].sent, 0);
}

#[test]
fn participants_do_not_ask_again_all_at_once() {
    let waits: std::collections::BTreeSet<u64> = ["alice", "carol", "dave", "erin", "frank"]
        .into_iter()
        .map(|name| {
            let mut peer = peer(name);
            peer.receive(&message("bob", "m2", 2, &["m1"]));
            peer.receive(&sync("asker", 3, &[], &["m1"]));
            t_req(&peer, "m1").unwrap()
        })
        .collect();
    assert_eq!(waits.len(), 5);
}

#[test]
fn an_entry_ends_when_the_message_arrives_also_when_it_is_parked() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m3", 3, &["m1", "m2"]));
    alice.receive(&message("bob", "m1", 1, &[]));
    assert_eq!(missing(&alice), ["m2"]);
    alice.receive(&message("bob", "m2", 2, &["m0"]));
    assert_eq!(missing(&alice), ["m0"]);
}

#[test]
fn an_entry_ends_when_it_is_declared_met() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    alice.input(Input::DependenciesMet(vec![MessageId::from("m1")])).unwrap();
    assert_eq!(missing(&alice), Vec::<String>::new());
    assert_eq!(alice.delivered(), ["m2"]);
}

#[test]
fn only_delivered_messages_are_answered() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 1);
    alice.receive(&message("bob", "evicted", 1, &[]));
    alice.receive(&message("bob", "logged", 2, &[]));
    alice.receive(&message("bob", "parked", 4, &["nothing"]));
    alice.sleep(3_000);
    alice.receive(&sync("carol", 5, &[], &["evicted", "logged", "parked", "unknown"]));
    assert_eq!(answering(&alice), ["logged"]);
}

#[test]
fn a_response_is_cancelled_when_the_message_is_heard_as_a_duplicate() {
    let mut alice = holder();
    alice.receive(&sync("carol", 2, &[], &["m"]));
    assert_eq!(alice.fate(&message("bob", "m", 1, &[])), Fate::Duplicate);
    assert_eq!(answering(&alice), Vec::<String>::new());
    assert_eq!(repairs(&alice.run_for(120_000)), Vec::<String>::new());
}

#[test]
fn a_response_is_cancelled_when_an_own_message_echoes() {
    let mut alice = peer("alice");
    let own = alice.send_as(Some("own"), "text");
    alice.sleep(3_000);
    alice.receive(&sync("carol", 2, &[], &["own"]));
    assert_eq!(answering(&alice), ["own"]);
    assert_eq!(alice.fate(&own), Fate::Echo);
    assert_eq!(answering(&alice), Vec::<String>::new());
}

#[test]
fn only_the_message_itself_cancels_and_not_a_sync_an_ephemeral_or_a_conflicting_one_under_its_id() {
    let mut alice = holder();
    alice.receive(&sync("carol", 2, &[], &["m"]));
    let due = t_resp(&alice, "m");
    assert!(due.is_some());
    let fake_sync = message("mallory", "m", 1, &[]).tap_mut(|it| it.content = Bytes::new());
    let fake_ephemeral = message("mallory", "m", 1, &[]).tap_mut(|it| it.lamport = None);
    let conflicting = message("bob", "m", 1, &[]).tap_mut(|it| it.content = Bytes::from("other"));
    for (fake, fate) in [(fake_sync, Fate::Sync), (fake_ephemeral, Fate::Ephemeral), (conflicting, Fate::Conflict)] {
        assert_eq!(alice.fate(&fake), fate);
        assert_eq!(t_resp(&alice, "m"), due);
    }
}

#[test]
fn a_sync_or_an_ephemeral_message_under_a_missing_id_does_not_end_its_request() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    alice.receive(&message("mallory", "m1", 1, &[]).tap_mut(|it| it.content = Bytes::new()));
    alice.receive(&message("mallory", "m1", 1, &[]).tap_mut(|it| it.lamport = None));
    assert_eq!(missing(&alice), ["m1"]);
}

#[test]
fn an_id_heard_is_not_answered_for_half_of_t_min() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m", 1, &[]));
    alice.now = 10_000;
    alice.receive(&message("bob", "m", 1, &[]));
    alice.now = 10_999;
    alice.receive(&sync("carol", 2, &[], &["m"]));
    assert_eq!(answering(&alice), Vec::<String>::new());
    alice.now = 11_000;
    alice.receive(&sync("carol", 3, &[], &["m"]));
    assert_eq!(answering(&alice), ["m"]);
}

#[test]
fn an_id_answered_is_not_answered_again_for_half_of_t_min() {
    let mut alice = peer("alice");
    alice.send_as(Some("own"), "text");
    alice.now = 3_000;
    alice.receive(&sync("carol", 2, &["own"], &["own"]));
    assert_eq!(repairs(&wake(&mut alice)), ["own"]);
    alice.now = 3_999;
    alice.receive(&sync("carol", 3, &[], &["own"]));
    assert_eq!(answering(&alice), Vec::<String>::new());
    alice.now = 4_000;
    alice.receive(&sync("carol", 4, &[], &["own"]));
    assert_eq!(repairs(&wake(&mut alice)), ["own"]);
}

#[test]
fn an_answer_goes_out_at_its_t_resp_and_once() {
    let mut alice = holder();
    alice.receive(&sync("carol", 2, &[], &["m"]));
    let due = t_resp(&alice, "m").unwrap();
    assert_eq!(repairs(&alice.run_for(due - alice.now - 1)), Vec::<String>::new());
    assert_eq!(repairs(&alice.run_for(1)), ["m"]);
    assert_eq!(alice.events.iter().filter(|event| matches!(event, Event::RepairAnswered { .. })).count(), 1);
    assert_eq!(repairs(&alice.run_for(600_000)), Vec::<String>::new());
}

#[test]
fn others_messages_are_rebroadcast_unchanged_and_without_a_filter() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m1", 1, &[]));
    let mut original = message("bob", "m2", 2, &["m1", "m1"]);
    original.causal_history[0].hint = Some(Bytes::from("where to find it"));
    original.causal_history[1].sender = Some(ParticipantId::from("whoever"));
    let mut sent = original.clone();
    sent.filter = FilterField::Compact { k: 1, seed: [7; 8], bits: Bytes::from_static(&[1, 2]) };
    sent.repair_request = vec![HistoryEntry::new("m0")];
    alice.receive(&sent);
    alice.sleep(3_000);
    alice.receive(&sync("carol", 3, &[], &["m2"]));
    let answer = alice.run_for(60_000).into_iter().find(|transmit| transmit.kind == TransmitKind::Repair);
    assert_eq!(answer.unwrap().message, original);
}

#[test]
fn at_most_16_requests_are_taken_from_one_message() {
    let mut alice = peer("alice");
    let ids: Vec<String> = (0..17).map(|n| format!("m{n:02}")).collect();
    ids.iter().for_each(|id| drop(alice.receive(&message("bob", id, 1, &[]))));
    alice.sleep(3_000);
    alice.take_events();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    alice.receive(&sync("carol", 2, &[], &ids));
    let mut pending = answering(&alice);
    pending.sort();
    assert_eq!(pending, ids[..16]);
    let limit = |event: &&Event| matches!(event, Event::LimitReached { limit: Limit::RequestsPerMessage, .. });
    assert_eq!(alice.events.iter().filter(limit).count(), 1);
    assert_eq!(alice.channel.stats().limits_hit, 1);
}

#[test]
fn a_request_repeated_within_one_message_is_heard_once() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    alice.receive(&sync("carol", 3, &[], &["m1", "m1", "m1"]));
    assert_eq!(alice.channel.requests()[0].heard, 1);
}

#[test]
fn at_most_1_000_responses_pend() {
    let mut alice = peer_with("alice", |config| config.max_message_history = 2_000);
    for n in 0..1_001 {
        let sent = message("bob", &format!("m{n:04}"), 1, &[]);
        let context = alice.context();
        let step = alice.channel.handle(&context, Input::Receive(sent));
        assert!(step.outcome.is_ok());
    }
    // What was saved meanwhile is taken over in one piece.
    alice.saved = alice.channel.data();
    alice.sleep(3_000);
    for asked in (0..1_001).collect::<Vec<_>>().chunks(16) {
        let ids: Vec<String> = asked.iter().map(|n| format!("m{n:04}")).collect();
        alice.receive(&sync("carol", 2, &[], &ids.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    assert_eq!(alice.channel.responses().len(), 1_000);
    assert_eq!(t_resp(&alice, "m1000"), None);
    let refused = Event::LimitReached {
        limit: Limit::RepairResponses,
        id: Some(MessageId::from("m1000")),
        by: Some(ParticipantId::from("carol")),
    };
    assert_eq!(alice.events.iter().filter(|event| **event == refused).count(), 1);
}

#[test]
fn answers_that_pend_keep_no_more_than_the_log_may_hold_once_more() {
    let mut alice = peer_with("alice", |config| {
        config.max_log_bytes = 100_000;
        config.repair_bytes_per_second = 1;
    });
    for n in 0..100 {
        let (id, asked) = (format!("m{n}"), format!("m{}", n.max(5) - 5));
        alice.receive(&message("bob", &id, n, &[]).tap_mut(|it| it.content = vec![b'x'; 10_000].into()));
        alice.receive(&sync("eve", n, &[], &[&asked]));
        alice.run_for(600);
    }
    assert!(alice.channel.stats().log_bytes < 220_000, "{}", alice.channel.stats().log_bytes);
    assert!(
        alice.events.iter().any(|event| matches!(event, Event::LimitReached { limit: Limit::RepairResponses, .. }))
    );
    alice.reboot();
    assert!(alice.channel.stats().log_bytes < 220_000);
}

#[test]
fn answers_are_paced_and_may_go_into_debt_by_one_message() {
    let mut alice = peer_with("alice", |config| config.repair_bytes_per_second = 1_000);
    let mut due = Vec::new();
    for n in 0..4 {
        let id = format!("own{n}");
        alice.send_as(Some(&id), &"x".repeat(2_000));
        alice.receive(&sync("bob", 1, &[&id], &[]));
        due.push(id);
    }
    alice.sleep(3_000);
    alice.receive(&sync("carol", 2, &[], &due.iter().map(String::as_str).collect::<Vec<_>>()));
    // A second's worth is at hand: one message goes out at once and leaves a debt of more than a second.
    assert_eq!(repairs(&wake(&mut alice)).len(), 1);
    assert_eq!(repairs(&alice.run_for(1_000)).len(), 0);
    let mut times = Vec::new();
    for _ in 0..100 {
        times.extend(repairs(&alice.run_for(100)).iter().map(|_| alice.now - 3_000));
    }
    // Each is 2,000 bytes of content and less than 300 of envelope.
    assert_eq!(times.len(), 3, "{times:?}");
    assert!((1_000..1_400).contains(&times[0]), "{times:?}");
    assert!((3_000..3_700).contains(&times[1]), "{times:?}");
    assert!((5_000..6_000).contains(&times[2]), "{times:?}");
}

#[test]
fn a_large_request_is_answered_at_no_more_than_the_pace() {
    let mut alice = peer("alice");
    for n in 0..64 {
        alice.send_as(Some(&format!("own{n}")), &"x".repeat(65_536));
        alice.receive(&sync("bob", 1, &[&format!("own{n}")], &[]));
    }
    alice.sleep(3_000);
    for chunk in (0..64).collect::<Vec<_>>().chunks(16) {
        let ids: Vec<String> = chunk.iter().map(|n| format!("own{n}")).collect();
        alice.receive(&sync("mallory", 2, &[], &ids.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    let bytes = |transmitted: Vec<reliable_channel::channel::Transmit>| -> usize {
        transmitted.iter().map(|transmit| transmit.message.content.len()).sum()
    };
    let first = bytes(alice.run_for(10_000));
    assert!(first <= 11 * (256 << 10) + 65_536, "{first} in ten seconds");
    let all = first + bytes(alice.run_for(10_000));
    assert_eq!(all, 64 * 65_536, "nothing is forgotten");
}

#[test]
fn requests_due_go_out_lowest_t_req_first_and_at_most_three_in_a_message() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m9", 9, &["m1", "m2", "m3", "m4", "m5"]));
    let order: Vec<String> = alice.channel.requests().iter().map(|request| request.entry.id.to_string()).collect();
    alice.now = 61_000;
    assert_eq!(requests(&wake(&mut alice)[0].message), order[..3]);
    alice.now += 1_000;
    assert_eq!(requests(&wake(&mut alice)[0].message), order[3..]);
}

#[test]
fn a_missing_message_is_asked_for_until_it_comes() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    let asked = alice.run_for(1_200_000).iter().filter(|sent| requests(&sent.message) == ["m1"]).count();
    assert!(asked > 10, "asked {asked} times in 20 minutes");
    alice.receive(&message("bob", "m1", 1, &[]));
    assert_eq!(alice.delivered(), ["m1", "m2"]);
}

/// T_req and the requests counted of the only entry that was saved.
fn saved_request(peer: &Peer) -> (u32, u32) {
    let request = peer.saved.rows.iter().find_map(|row| match row {
        Row::Request(request) => Some(request),
        _ => None,
    });
    request.map(|request| (request.sent, request.heard)).unwrap()
}

#[test]
fn a_request_sent_or_heard_is_saved_with_the_next_change() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    let commits = alice.commits.len();
    alice.receive(&sync("carol", 3, &[], &["m1"]));
    assert_eq!((alice.commits.len(), saved_request(&alice)), (commits, (0, 0)));
    alice.receive(&message("bob", "m3", 3, &[]));
    assert_eq!((alice.commits.len(), saved_request(&alice)), (commits + 1, (0, 1)));
    // A crash forgets what was heard since, and nothing else.
    alice.receive(&sync("carol", 4, &[], &["m1"]));
    alice.restart();
    assert_eq!(alice.channel.requests()[0].heard, 1);
    alice.receive(&sync("carol", 5, &[], &["m1"]));
    alice.input(Input::Checkpoint).unwrap();
    assert_eq!(saved_request(&alice), (0, 2), "before it is closed, all is saved");
}

#[test]
fn one_commit_takes_few_of_the_requests_heard_along() {
    let mut alice = peer("alice");
    let names: Vec<String> = (0..16).map(|n| format!("missing {n:0200}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    alice.receive(&message("bob", "first", 1, &[]));
    alice.receive(&message("bob", "m", 2, &names));
    alice.receive(&sync("carol", 3, &[], &names));
    let rows = |peer: &Peer| peer.commits.last().unwrap().history.put.len();
    alice.receive(&message("bob", "other", 4, &[]));
    assert_eq!(rows(&alice), 1 + 1, "the message, and of 16 entries what fits into 512 bytes");
    alice.input(Input::Checkpoint).unwrap();
    assert_eq!(rows(&alice), 15);
}

#[test]
fn a_request_is_never_rearmed_by_less_than_100_ms() {
    let mut alice = peer_with("alice", |config| (config.t_min, config.t_max) = (Duration::ZERO, seconds(1)));
    alice.receive(&message("bob", "m2", 2, &["m1"]));
    for _ in 0..10 {
        alice.receive(&sync("carol", 5, &[], &["m1"]));
        let wait = t_req(&alice, "m1").unwrap() - alice.now;
        assert!((100..200).contains(&wait), "{wait} ms");
    }
}
