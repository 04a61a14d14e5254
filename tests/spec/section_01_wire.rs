//! docs/protocol.md section 1, as far as a channel keeps it; `tests/wire.rs` proves the bytes.

use bytes::Bytes;
use reliable_channel::channel::{Channel, ChannelError, Config, ConfigError, Fate, Input, RestoreError, TransmitKind};
use reliable_channel::types::{Dialect, FilterField, HistoryEntry, Limits, Message, MessageId};
use reliable_channel::wire::{self, WireError};
use tap::Tap as _;

use crate::harness::{Peer, chain, history, message, peer, peer_with, requests};

fn encode(message: &Message) -> Bytes {
    wire::encode(message, Dialect::Lip109).unwrap()
}

/// The field numbers of a message, in the order written.
fn fields(mut bytes: &[u8]) -> Vec<u64> {
    let mut numbers = Vec::new();
    while !bytes.is_empty() {
        let mut varint = || {
            let (mut value, mut shift) = (0, 0);
            loop {
                let byte = bytes[0];
                bytes = &bytes[1..];
                value |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    return value;
                }
            }
        };
        let tag = varint();
        let len = varint();
        if tag & 7 == 2 {
            bytes = &bytes[usize::try_from(len).unwrap()..];
        }
        numbers.push(tag >> 3);
    }
    numbers
}

/// Has much to say: a tail beyond its two heads, a filter, three due repair requests.
fn talkative(change: impl FnOnce(&mut Config)) -> Peer {
    let mut alice = peer_with("alice", |config| {
        config.causal_history_size = 4;
        change(config);
    });
    for (id, lamport, names) in [("a", 1, &[] as &[&str]), ("b", 2, &["a"]), ("c", 3, &["b"]), ("d", 4, &["b"])] {
        alice.receive(&message("bob", id, lamport, names));
    }
    alice.receive(&message("bob", "parked", 9, &["x1", "x2", "x3", "x4"]));
    alice.sleep(60_000);
    alice
}

#[test]
fn what_a_channel_sends_has_lip109_numbers_in_ascending_order_field_12_unset_and_our_filter_in_field_100() {
    let mut alice = talkative(|_| {});
    let content = fields(&encode(&alice.send("text")));
    assert_eq!(content, [1, 2, 3, 10, 11, 11, 11, 11, 13, 13, 13, 20, 100]);
    alice.sleep(60_000);
    let sync = fields(&encode(&alice.send_sync()));
    assert!(sync.is_sorted() && !sync.contains(&12) && !sync.contains(&20) && sync.ends_with(&[100]));
    alice.input(Input::SendEphemeral { content: "text".into() }).unwrap();
    assert_eq!(fields(&encode(&alice.transmitted.pop().unwrap().message)), [1, 2, 3, 20]);
}

#[test]
fn messages_and_causal_acknowledgements_are_exchanged_with_peers_whose_filter_is_in_field_12() {
    let mut alice = peer("alice");
    let own = alice.send("text").id.to_string();
    let from_js =
        message("js", "m", 1, &[&own]).tap_mut(|it| it.filter = FilterField::Unspecified(vec![0xff; 18_752].into()));
    assert_eq!(alice.fate(&from_js), Fate::Delivered);
    assert!(alice.channel.outgoing().is_empty());
    assert_eq!(alice.channel.stats().filters_ignored, 0, "it is no fault");
}

#[test]
fn field_12_acknowledges_nothing() {
    let mut alice = peer("alice");
    alice.send("text");
    let all_ones = FilterField::Unspecified(vec![0xff; 18_752].into());
    for n in 0..10 {
        alice.receive(&message("js", &format!("m{n}"), n, &[]).tap_mut(|it| it.filter = all_ones.clone()));
    }
    assert_eq!(alice.channel.outgoing()[0].state, reliable_channel::channel::DeliveryState::Unacknowledged);
}

#[test]
fn ids_have_1_to_256_bytes_both_ways() {
    let mut alice = peer("alice");
    for (len, fine) in [(0, false), (1, true), (256, true), (257, false)] {
        let id = "x".repeat(len);
        let received = alice.input(Input::Receive(message("bob", &id, 1, &[]))).is_ok();
        let id = MessageId::from("y".repeat(len).as_str());
        let sent = alice.input(Input::Send { content: "text".into(), id: Some(id) });
        assert_eq!((received, sent.is_ok()), (fine, fine), "{len}: {sent:?}");
        assert!(fine || matches!(sent, Err(ChannelError::InvalidId { max: 256 })));
    }
}

#[test]
fn ids_that_are_not_utf_8_are_refused_both_ways() {
    let bad = MessageId::new([b'a', 0xff]);
    let mut alice = peer("alice");
    let sent = alice.input(Input::Send { content: "text".into(), id: Some(bad.clone()) });
    assert!(matches!(sent, Err(ChannelError::InvalidId { .. })));
    let refused = wire::encode(&message("bob", "m", 1, &[]).tap_mut(|it| it.id = bad), Dialect::Lip109);
    assert!(matches!(refused, Err(WireError::NotUtf8 { .. })));
    let mut bytes = encode(&message("bob", "mmmm", 1, &[])).to_vec();
    let at = bytes.windows(4).position(|window| window == b"mmmm").unwrap();
    bytes[at] = 0xff;
    assert!(matches!(wire::decode(&bytes.into(), &Limits::default()), Err(WireError::NotUtf8 { .. })));
}

#[test]
fn the_kind_is_told_by_lamport_and_content_and_everything_else_is_malformed() {
    let whole = message("bob", "m", 1, &[]);
    let none = whole.clone().tap_mut(|it| it.lamport = None);
    let mut alice = peer("alice");
    let mut through_the_wire = |message: &Message| {
        let (message, _) = wire::decode(&encode(message), &Limits::default()).unwrap();
        alice.fate(&message)
    };
    assert_eq!(through_the_wire(&whole), Fate::Delivered);
    assert_eq!(through_the_wire(&none), Fate::Ephemeral);
    assert_eq!(through_the_wire(&whole.clone().tap_mut(|it| it.content = Bytes::new())), Fate::Sync);
    let mut absent_or_empty = encode(&whole.tap_mut(|it| it.content = Bytes::new())).to_vec();
    absent_or_empty.extend([20 << 3 & 0x7f | 2 | 0x80, 1, 0]);
    let (message, _) = wire::decode(&absent_or_empty.into(), &Limits::default()).unwrap();
    assert_eq!(alice.fate(&message), Fate::Sync);
    let neither = none.tap_mut(|it| it.content = Bytes::new());
    assert_eq!(wire::encode(&neither, Dialect::Lip109), Err(WireError::NoKind));
    assert_eq!(alice.refuse(&neither), ChannelError::NoKind);
}

/// A peer that can send so many bytes, and misses eleven messages that it may ask for now.
fn missing_much(max: usize) -> Peer {
    let mut alice = peer_with("alice", |config| config.max_transmit_bytes = Some(max));
    let ids: Vec<String> = (0..11).map(|n| format!("{n:064}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    alice.receive(&message("bob", &"a".repeat(64), 1, &[]));
    alice.receive(&message("bob", &"b".repeat(64), 2, &[]));
    alice.receive(&message("bob", &"c".repeat(64), 3, &ids));
    alice.sleep(20_000);
    alice
}

#[test]
fn where_filter_and_requests_do_not_fit_together_they_take_turns_beside_the_two_newest_heads() {
    let mut alice = missing_much(320);
    let syncs: Vec<Message> = (0..6).map(|_| alice.send_sync()).collect();
    for (turn, sync) in syncs.iter().enumerate() {
        assert!(encode(sync).len() <= 320);
        assert_eq!(history(sync), ["b".repeat(64), "a".repeat(64)]);
        let carries = (requests(sync).len(), sync.filter != FilterField::Absent);
        assert_eq!(carries, if turn % 2 == 0 { (1, false) } else { (0, true) }, "turn {turn}");
    }
    let asked: std::collections::BTreeSet<_> = syncs.iter().flat_map(requests).collect();
    assert_eq!(asked.len(), 3, "each time for another");
}

#[test]
fn content_leaves_its_requests_to_a_sync_message_rather_than_heads() {
    let mut alice = missing_much(300);
    let sent = alice.send_as(Some(&"d".repeat(64)), "text");
    assert_eq!((history(&sent).len(), requests(&sent).len()), (2, 0));
    assert_eq!(requests(&alice.send_sync()).len(), 0, "the filter's turn");
    assert_eq!(requests(&alice.send_sync()).len(), 1);
}

#[test]
fn a_sync_message_too_small_for_heads_and_a_request_takes_turns_with_both() {
    // 93 bytes are its own, 75 each head and each request.
    let mut alice = missing_much(170);
    let syncs: Vec<(usize, usize)> =
        (0..4).map(|_| alice.send_sync()).map(|sync| (history(&sync).len(), requests(&sync).len())).collect();
    assert_eq!(syncs, [(0, 1), (1, 0), (0, 1), (1, 0)]);
}

#[test]
fn further_heads_are_named_in_turn_also_in_small_sync_messages() {
    // More than `max_causal_heads`, and as many, which the packet has no room for.
    for heads in [20, 10] {
        let mut alice = peer_with("alice", |config| config.max_transmit_bytes = Some(380));
        let names: Vec<String> = (10..10 + heads).map(|n| format!("{n}").repeat(32)).collect();
        for (n, name) in names.iter().enumerate() {
            alice.receive(&message("bob", name, n as u64, &[]));
        }
        let mut named = std::collections::BTreeSet::new();
        for _ in 0..200 {
            alice.now += 7;
            let sync = alice.send_sync();
            assert_eq!(history(&sync)[..2], [&*names[heads - 1], &*names[heads - 2]]);
            named.extend(history(&sync));
        }
        assert_eq!(named.len(), heads);
    }
}

#[test]
fn where_no_request_is_due_a_further_head_takes_its_turn() {
    let mut alice = peer_with("alice", |config| config.max_transmit_bytes = Some(380));
    chain(60).iter().for_each(|message| drop(alice.receive(message)));
    let names: Vec<String> = (10..30).map(|n| format!("{n}").repeat(32)).collect();
    (100..).zip(&names).for_each(|(n, name)| drop(alice.receive(&message("bob", name, n, &["m60"]))));
    // Beside the two newest heads there is room for two more, or for the filter.
    let carried: Vec<_> = (0..4)
        .map(|_| alice.send_sync())
        .map(|sync| (history(&sync).iter().filter(|id| id.len() == 64).count(), sync.filter != FilterField::Absent))
        .collect();
    assert_eq!(carried, [(4, false), (2, true), (4, false), (2, true)]);
}

#[test]
fn the_tail_of_the_log_takes_what_room_is_left() {
    let whole = talkative(|_| {}).send_sync();
    let expected = [(3, true, 4), (3, true, 3)];
    let found: Vec<_> = [0, 1]
        .map(|less| talkative(|config| config.max_transmit_bytes = Some(encode(&whole).len() - less)))
        .map(|mut alice| alice.send_sync())
        .map(|sync| (requests(&sync).len(), sync.filter != FilterField::Absent, history(&sync).len()))
        .into();
    assert_eq!(found, expected);
}

#[test]
fn a_size_in_which_no_request_would_ever_fit_is_refused_at_opening() {
    let open = |max: usize| {
        let config = Config::default().tap_mut(|it| it.max_transmit_bytes = Some(max));
        Channel::new("c", "alice", config.into(), &peer("alice").context())
    };
    let Err(RestoreError::Config(ConfigError::TransmitTooSmall { max: 99, least })) = open(99) else {
        panic!("{:?}", open(99));
    };
    assert_eq!(least, 161);
    assert!(open(least - 1).is_err());
    assert!(open(least).is_ok());
    assert_eq!(requests(&missing_much(least).send_sync()).len(), 1);
}

#[test]
fn many_heads_of_others_do_not_keep_a_small_message_from_going_out() {
    let mut alice = peer_with("alice", |config| config.max_transmit_bytes = Some(300));
    let names: Vec<String> = (10..30).map(|n| format!("{n}").repeat(32)).collect();
    for (n, name) in names.iter().enumerate() {
        alice.receive(&message("bob", name, n as u64, &[]));
    }
    let sent = alice.send("x");
    assert_eq!(history(&sent), [&*names[19], &*names[18]], "the two newest heads always go out");
    let sync = alice.send_sync();
    assert_eq!(history(&sync)[0], sent.id.to_string());
    assert_eq!(history(&sync).len(), 2);
}

#[test]
fn of_the_repair_requests_those_with_the_highest_t_req_are_trimmed_first_and_stay_due() {
    let mut alice = missing_much(390);
    let due = alice.asked();
    let sync = alice.send_sync();
    assert_eq!(requests(&sync), due[..2]);
    assert_eq!(alice.asked()[0], due[2], "it is due still");
}

#[test]
fn content_that_cannot_fit_is_too_large_and_nothing_changes() {
    let mut alice = peer_with("alice", |config| config.max_transmit_bytes = Some(200));
    alice.receive(&message("bob", "m", 1, &[]));
    let before = alice.channel.data();
    let input = Input::Send { content: vec![b'x'; 200].into(), id: None };
    let refused = alice.input(input);
    assert!(matches!(refused, Err(ChannelError::TooLarge { what: "message", max: 200, .. })), "{refused:?}");
    let refused = alice.input(Input::SendEphemeral { content: vec![b'x'; 200].into() });
    assert!(matches!(refused, Err(ChannelError::TooLarge { .. })));
    assert_eq!((alice.channel.data(), alice.transmitted.len()), (before, 0));
    alice.send("short");
}

#[test]
fn a_resend_keeps_its_whole_causal_history_and_drops_requests_then_the_filter() {
    let whole = talkative(|_| {}).send_as(Some(&"i".repeat(100)), "text");
    let bare = whole.tap_mut(|it| {
        it.filter = FilterField::Absent;
        it.repair_request = vec![];
    });
    let mut alice = talkative(|_| {});
    let sent = alice.send_as(Some(&"i".repeat(100)), "text");
    alice.restart_with(|config| config.max_transmit_bytes = Some(encode(&bare).len() - 1));
    let resent = alice.run_for(10_000).into_iter().find(|sent| sent.kind == TransmitKind::Resend).unwrap().message;
    assert_eq!((resent.filter, resent.repair_request), (FilterField::Absent, vec![]));
    assert_eq!((resent.causal_history, resent.lamport), (sent.causal_history, sent.lamport));
}

#[test]
fn an_entry_carries_id_hint_and_sender_through_the_wire() {
    let mut alice = peer("alice");
    alice.receive(&message("bob", "m", 1, &[]));
    alice.set_hint("m", b"where");
    let (decoded, _) = wire::decode(&encode(&alice.send("text")), &Limits::default()).unwrap();
    let entry = HistoryEntry::new("m").tap_mut(|it| {
        it.hint = Some("where".into());
        it.sender = Some("bob".into());
    });
    assert_eq!(decoded.causal_history, [entry]);
}
