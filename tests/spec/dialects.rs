//! docs/protocol.md sections 1, 2, 3, 7 and 10 in the dialects of js-waku and nim-sds.

use std::sync::Arc;

use bytes::Bytes;
use reliable_channel::channel::{
    Channel, ChannelError, Config, Context, DeliveryState, Event, Fate, FilterEvidence, Input, Join, RestoreError,
    TransmitKind, response_groups_in,
};
use reliable_channel::filter::{IdHash, RollingFilter, RollingFilterConfig};
use reliable_channel::types::{
    Dialect, FilterField, HistoryEntry, Lamport, Limits, Message, MessageId, ParticipantId, RunningTime, WallTime,
};
use reliable_channel::wire;
use serde_json::Value;
use tap::Tap as _;

use crate::harness::{EPOCH, Peer, ids, message, peer_with, requests, sync};

fn speaking(name: &str, dialect: Dialect) -> Peer {
    peer_with(name, |config| *config = Config::of(dialect).tap_mut(|it| it.join = Join::Backfill(u64::MAX)))
}

fn nim(name: &str) -> Peer {
    speaking(name, Dialect::NimSds)
}

fn js(name: &str) -> Peer {
    speaking(name, Dialect::JsWaku)
}

/// A message as another member of the same dialect reads it.
fn carried(message: &Message, dialect: Dialect) -> Message {
    wire::decode(&wire::encode(message, dialect).unwrap(), &Limits::default()).unwrap().0
}

/// A filter in a peer's layout that holds these ids among others.
fn filter_of(dialect: Dialect, ids: &[&MessageId], others: usize) -> FilterField {
    let mut filter = RollingFilter::new(RollingFilterConfig::of(dialect));
    let others = (0..others).map(|n| MessageId::from(format!("other {n}")));
    for id in ids.iter().map(|id| (*id).clone()).chain(others) {
        filter.insert(&id, IdHash::in_dialect(&id, dialect), RunningTime::default());
    }
    filter.field()
}

fn state(peer: &Peer, id: &MessageId) -> DeliveryState {
    peer.channel.delivery_state(id).unwrap()
}

#[test]
fn in_nim_sds_the_clock_counts_whole_seconds_and_own_messages_never_tie() {
    let mut alice = nim("alice");
    alice.now = 1_999;
    let sent: Vec<u64> = (0..4).map(|n| alice.send(&format!("{n}")).lamport.unwrap().0 - EPOCH).collect();
    assert_eq!(sent, [1_000, 2_000, 3_000, 4_000], "a second is gained with every message");
    alice.receive(&message("bob", "m", 9_999, &[]));
    assert_eq!(alice.channel.log().last().unwrap().body.key.lamport, Lamport(EPOCH + 9_000));
    assert_eq!(alice.send("next").lamport, Some(Lamport(EPOCH + 10_000)));
    alice.restart();
    assert_eq!(alice.send("after a restart").lamport, Some(Lamport(EPOCH + 11_000)));
}

#[test]
fn in_nim_sds_both_ends_log_the_same_order() {
    let (mut alice, mut bob) = (nim("alice"), nim("bob"));
    (alice.now, bob.now) = (700, 300);
    for turn in 0..20 {
        alice.send(&format!("a{turn}"));
        bob.send(&format!("b{turn}"));
    }
    let texts = |peer: &Peer| -> Vec<Message> {
        peer.channel
            .log()
            .map(|logged| {
                message("", logged.body.key.id.as_str().unwrap(), 0, &[]).tap_mut(|it| {
                    it.sender = logged.body.sender.clone();
                    it.causal_history = logged.body.causal_history.clone();
                    it.lamport = Some(logged.body.key.lamport);
                    it.content = logged.body.content.clone();
                })
            })
            .collect()
    };
    for message in texts(&alice) {
        bob.receive(&carried(&message, Dialect::NimSds));
    }
    for message in texts(&bob) {
        alice.input(Input::Receive(carried(&message, Dialect::NimSds))).unwrap();
    }
    assert_eq!(alice.log().len(), 40);
    assert_eq!(alice.log(), bob.log());
}

#[test]
fn nim_sds_has_a_drift_limit_of_ten_years_of_its_own() {
    let mut alice = nim("alice");
    let year = 365 * 24 * 60 * 60 * 1_000;
    assert_eq!(alice.fate(&message("bob", "far", 10 * year, &[])), Fate::Delivered);
    assert!(matches!(
        alice.refuse(&message("bob", "farther", 10 * year + 1_000, &[])),
        ChannelError::ClockDrift { .. }
    ));
    assert!(matches!(js("carol").refuse(&message("bob", "far", year, &[])), ChannelError::ClockDrift { .. }));
}

#[test]
fn in_nim_sds_no_sync_and_no_ephemeral_message_is_ever_sent() {
    let mut alice = nim("alice");
    alice.receive(&message("bob", "m2", 2_000, &["m1"]));
    alice.receive(&message("bob", "m3", 3_000, &[]));
    alice.input(Input::SendSync).unwrap();
    let refused = alice.input(Input::SendEphemeral { content: "text".into() });
    assert_eq!(refused, Err(ChannelError::NotInDialect { what: "ephemeral messages" }));
    let relayed = alice.input(Input::Relay(message("bob", "e", 0, &[]).tap_mut(|it| it.lamport = None)));
    assert_eq!(relayed, Err(ChannelError::NotInDialect { what: "sync and ephemeral messages" }));
    assert_eq!(alice.run_for(400_000), [], "a request waits for content to travel with");
    let sent = alice.send("content");
    assert_eq!(sent.repair_request.len(), 1);
    assert_eq!(sent.repair_request[0].id, "m1".into());
    let mut kinds: Vec<TransmitKind> = alice.run_for(3_600_000).into_iter().map(|sent| sent.kind).collect();
    kinds.dedup();
    assert_eq!(kinds, [TransmitKind::Resend]);
}

#[test]
fn in_nim_sds_requests_ride_on_what_is_relayed_and_on_no_resend() {
    let mut bridge = nim("bridge");
    bridge.send("own");
    bridge.receive(&message("bob", "m2", 2_000, &["m1"]));
    let resends = bridge.run_for(400_000);
    assert!(!resends.is_empty() && resends.iter().all(|sent| sent.message.repair_request.is_empty()));
    bridge.input(Input::Relay(message("carol", "m3", 3_000, &[]))).unwrap();
    let relayed = bridge.transmitted.pop().unwrap();
    assert_eq!((relayed.kind, requests(&relayed.message)), (TransmitKind::Relay, ids(["m1"])));
    // Sent a moment ago, it waits for its turn.
    bridge.input(Input::Relay(message("carol", "m4", 4_000, &[]))).unwrap();
    assert_eq!(requests(&bridge.transmitted.pop().unwrap().message), ids([]));
}

#[test]
fn in_nim_sds_nothing_is_given_up_as_lost() {
    let mut alice = nim("alice");
    alice.receive(&message("bob", "m2", 2_000, &["m1"]));
    for turn in 0..50 {
        alice.send(&format!("{turn}"));
        alice.run_for(3_600_000);
    }
    assert!(alice.channel.stats().requests_sent > 3);
    assert!(!alice.events.iter().any(|event| matches!(event, Event::DependencyLost { .. })));
    assert_eq!(alice.channel.incoming().len(), 1);
}

#[test]
fn empty_content_of_nim_sds_is_a_message_and_is_repaired_as_one() {
    let mut alice = nim("alice");
    let empty = message("bob", "m", 1_000, &[]).tap_mut(|it| {
        it.content = Bytes::new();
        it.filter = FilterField::NimSds(Bytes::new());
    });
    assert_eq!(alice.fate(&carried(&empty, Dialect::NimSds)), Fate::Delivered);
    alice.sleep(600_000);
    let asks = message("carol", "m2", 2_000, &["m"]).tap_mut(|it| it.repair_request = vec![HistoryEntry::new("m")]);
    alice.receive(&asks);
    let answer = alice.run_for(300_000).into_iter().find(|sent| sent.kind == TransmitKind::Repair).unwrap();
    let read = carried(&answer.message, Dialect::NimSds);
    assert_eq!((read.kind(), read), (empty.kind(), empty));
}

#[test]
fn in_nim_sds_ids_need_not_be_text_and_a_sender_may_be_nameless() {
    let mut alice = nim("alice");
    let raw = |bytes: &[u8]| MessageId::new(bytes);
    let odd = message("", "m", 1_000, &[]).tap_mut(|it| {
        it.id = raw(b"\xff");
        it.sender = ParticipantId::new(b"");
    });
    assert_eq!(alice.fate(&odd), Fate::Delivered);
    alice.input(Input::Send { content: "x".into(), id: Some(raw(b"\xfe")) }).unwrap();
    let sent = carried(&alice.transmitted.pop().unwrap().message, Dialect::NimSds);
    assert_eq!((sent.id, sent.causal_history[0].id.clone()), (raw(b"\xfe"), raw(b"\xff")));
    assert_eq!(sent.causal_history[0].sender, None);
    alice.restart();
    assert_eq!(alice.fate(&odd), Fate::Duplicate);
    // In the other family nobody could name it.
    let mut carol = js("carol");
    assert_eq!(
        carol.refuse(&message("bob", "m", 1, &[]).tap_mut(|it| it.id = raw(b"\xff"))),
        ChannelError::InvalidId { max: 256 }
    );
    assert!(matches!(carol.refuse(&message("", "m", 1, &[])), ChannelError::PeerLimit { .. }));
}

#[test]
fn each_dialect_sends_its_own_filter_and_reads_it_back() {
    for dialect in [Dialect::JsWaku, Dialect::NimSds] {
        let (mut alice, mut bob) = (speaking("alice", dialect), speaking("bob", dialect));
        let first = alice.send("text");
        assert!(carried(&first, dialect).filter.is_empty(), "nothing was received yet");
        bob.receive(&carried(&first, dialect));
        // As if bob had not named it.
        let answer = carried(&bob.send("answer"), dialect).tap_mut(|it| it.causal_history = vec![]);
        assert!(answer.filter.belongs_to(dialect) && answer.filter.len() >= 18_752);
        alice.receive(&answer);
        assert_eq!(state(&alice, &first.id), DeliveryState::Acknowledged, "one hit in a nearly empty filter proves it");
    }
}

#[test]
fn fixed_hashes_do_not_multiply_and_two_hits_are_enough_by_the_rule_of_js() {
    for dialect in [Dialect::JsWaku, Dialect::NimSds] {
        let hear = |evidence| {
            let mut alice = speaking("alice", dialect);
            alice.restart_with(|config| config.filter_evidence = evidence);
            let id = alice.send("text").id;
            // Half full: a hit is accidental with chance 1 in 1,000.
            let field = filter_of(dialect, &[&id], 9_990);
            let mut after = Vec::new();
            for n in 0..20 {
                let filter = field.clone();
                alice.receive(&message("bob", &format!("m{n}"), n * 1_000, &[]).tap_mut(|it| it.filter = filter));
                after.push(state(&alice, &id));
            }
            after
        };
        let by_chance = hear(FilterEvidence::Chance(1e-6));
        for (n, state) in by_chance.iter().enumerate() {
            let DeliveryState::PossiblyAcknowledged { chance } = state else { panic!("{dialect:?} {n}: {state:?}") };
            assert!(*chance > 1e-4, "{dialect:?} {n}: {chance}");
        }
        let by_hits = hear(FilterEvidence::Hits(2));
        assert!(matches!(by_hits[0], DeliveryState::PossiblyAcknowledged { .. }));
        assert_eq!(by_hits[1], DeliveryState::Acknowledged);
    }
}

#[test]
fn filters_of_another_dialect_are_neither_believed_nor_a_fault() {
    let dialects = [Dialect::Lip109, Dialect::JsWaku, Dialect::NimSds];
    for own in dialects {
        for foreign in dialects.into_iter().filter(|foreign| *foreign != own) {
            let mut alice = speaking("alice", own);
            let id = alice.send("text").id;
            let mut summary = RollingFilter::new(RollingFilterConfig::of(foreign));
            summary.insert(&id, IdHash::in_dialect(&id, foreign), RunningTime::default());
            summary.reseed(RunningTime::default(), *b"whatever");
            let heard = message("bob", "m", 1_000, &[]).tap_mut(|it| it.filter = summary.field());
            assert!(!heard.filter.is_empty());
            assert_eq!(alice.fate(&heard), Fate::Delivered);
            assert_eq!(state(&alice, &id), DeliveryState::Unacknowledged, "{own:?} heard {foreign:?}");
            assert_eq!(alice.channel.stats().filters_ignored, 0, "{own:?} heard {foreign:?}");
        }
    }
}

/// nim-sds's filter field with these words, k and m; a capacity and a rate as they come.
fn nim_field(words: usize, k: u64, m: u64) -> FilterField {
    let mut bytes = vec![0x0a];
    prost::encoding::encode_varint(words as u64 * 8, &mut bytes);
    bytes.extend(vec![0xff; words * 8]);
    for (tag, value) in [(0x10, u64::MAX), (0x18, u64::MAX), (0x20, k), (0x28, m)] {
        bytes.push(tag);
        prost::encoding::encode_varint(value, &mut bytes);
    }
    FilterField::NimSds(bytes.into())
}

#[test]
fn filters_that_kill_the_peers_are_ignored_and_counted_and_their_messages_taken_in() {
    let garbage = |bytes: &'static [u8]| FilterField::NimSds(Bytes::from_static(bytes));
    let for_nim = [
        nim_field(2, 0, 100),
        nim_field(2, 65, 100),
        nim_field(2, u64::MAX, 100),
        nim_field(2, 7, 0),
        nim_field(2, 7, 129),
        nim_field(0, 7, 1),
        nim_field(2, 7, 1 << 63),
        nim_field(2, 7, u64::MAX),
        nim_field(9_000, 7, 100),
        garbage(b"\xff"),
        garbage(b"\x0a\x08"),
        garbage(&[0x0a, 0]),
        FilterField::Unusable,
    ];
    let of_length = |len: usize| FilterField::Unspecified(vec![0xff; len].into());
    let for_js =
        [of_length(0), of_length(1), of_length(18_751), of_length(18_753), of_length(65_537), FilterField::Unusable];
    for (dialect, fields) in [(Dialect::NimSds, &for_nim[..]), (Dialect::JsWaku, &for_js[..])] {
        let mut alice = speaking("alice", dialect);
        let id = alice.send("text").id;
        for (n, filter) in fields.iter().enumerate() {
            let heard = message("bob", &format!("m{n}"), 1_000, &[]).tap_mut(|it| it.filter = filter.clone());
            assert_eq!(alice.fate(&heard), Fate::Delivered, "{dialect:?} {n}");
        }
        assert_eq!(alice.channel.stats().filters_ignored, fields.len() as u64, "{dialect:?}");
        assert_eq!(state(&alice, &id), DeliveryState::Unacknowledged);
    }
    // Full filters are well formed and prove nothing.
    let mut alice = nim("alice");
    let id = alice.send("text").id;
    alice.receive(&message("bob", "full", 1_000, &[]).tap_mut(|it| it.filter = nim_field(2, 64, 128)));
    assert_eq!((state(&alice, &id), alice.channel.stats().filters_ignored), (DeliveryState::Unacknowledged, 0));
    let mut alice = js("alice");
    let id = alice.send("text").id;
    alice.receive(&message("bob", "full", 1_000, &[]).tap_mut(|it| it.filter = of_length(18_752)));
    assert_eq!((state(&alice, &id), alice.channel.stats().filters_ignored), (DeliveryState::Unacknowledged, 0));
}

#[test]
fn in_nim_sds_a_filter_over_the_limit_makes_no_sync_message_of_empty_content() {
    let mut alice = nim("alice");
    let filter = FilterField::NimSds(vec![0; alice.channel.config().limits.max_filter_bytes + 1].into());
    let empty = message("bob", "m", 1_000, &[]).tap_mut(|it| {
        it.content = Bytes::new();
        it.filter = filter;
    });
    assert_eq!(alice.fate(&carried(&empty, Dialect::NimSds)), Fate::Delivered);
    assert_eq!(alice.channel.stats().filters_ignored, 1);
}

#[test]
fn messages_of_the_other_family_are_taken_in_when_they_parse() {
    let mut alice = nim("alice");
    let foreign = carried(&message("js", "m", 1_234, &[]), Dialect::JsWaku);
    assert_eq!(alice.fate(&foreign), Fate::Delivered);
    assert_eq!(alice.fate(&foreign), Fate::Duplicate);
    assert_eq!(alice.channel.log().next().unwrap().body.key.lamport, Lamport(EPOCH + 1_000), "as others will see it");
    assert_eq!(alice.fate(&carried(&sync("js", 2_000, &["m"], &[]), Dialect::JsWaku)), Fate::Sync);
    let ephemeral = message("js", "e", 0, &[]).tap_mut(|it| it.lamport = None);
    assert_eq!(alice.fate(&carried(&ephemeral, Dialect::JsWaku)), Fate::Ephemeral);

    let mut carol = js("carol");
    let foreign = carried(&message("nim", "m", 1_234, &[]), Dialect::NimSds);
    assert_eq!(carol.fate(&foreign), Fate::Delivered);
    assert_eq!(carol.channel.stats().filters_ignored, 0);
    // Logged, it could only be repaired as what it is not here: a sync message.
    let empty = carried(&message("nim", "m2", 2_000, &[]).tap_mut(|it| it.content = Bytes::new()), Dialect::NimSds);
    assert_eq!(carol.fate(&empty), Fate::Sync);
}

#[test]
fn a_channel_is_not_opened_in_a_dialect_of_the_other_family() {
    let mut alice = js("alice");
    alice.send("text");
    alice.restart_with(|config| config.dialect = Dialect::Lip109);
    assert_eq!(alice.log().len(), 1, "they share ids and time");
    alice.send("more");
    assert_eq!(alice.saved.meta.as_ref().unwrap().dialect, Dialect::Lip109);
    let context = Context::new(WallTime::from_millis(EPOCH), RunningTime::default(), 1);
    let config = Arc::new(Config::of(Dialect::NimSds));
    let refused = Channel::restore("c".into(), "alice".into(), config, alice.saved.clone(), &context).unwrap_err();
    assert_eq!(refused, RestoreError::Dialect { stored: Dialect::Lip109, configured: Dialect::NimSds });
}

#[test]
fn after_a_restart_the_filters_of_the_peers_hold_the_whole_log_again() {
    for dialect in [Dialect::JsWaku, Dialect::NimSds] {
        let mut alice = speaking("alice", dialect);
        for n in 0..200 {
            alice.receive(&message("bob", &format!("m{n}"), n * 1_000, &[]));
        }
        let before = alice.send("x").filter;
        alice.sleep(24 * 60 * 60 * 1_000);
        alice.restart();
        let own = alice.log().last().cloned().unwrap();
        assert_eq!(alice.send("y").filter, {
            let (FilterField::Unspecified(_) | FilterField::NimSds(_)) = before else { panic!() };
            let ids: Vec<MessageId> = (0..200).map(|n| format!("m{n}").into()).chain([own.into()]).collect();
            filter_of(dialect, &ids.iter().collect::<Vec<_>>(), 0)
        });
    }
}

#[test]
fn a_full_filter_rolls_and_never_says_yes_to_everything() {
    for (dialect, most) in [(Dialect::JsWaku, 10_000), (Dialect::NimSds, 12_000)] {
        let mut filter = RollingFilter::new(RollingFilterConfig::of(dialect));
        let id = |n: usize| MessageId::from(format!("m{n}"));
        for n in 0..50_000 {
            filter.insert(&id(n), IdHash::in_dialect(&id(n), dialect), RunningTime::default());
            assert!(filter.len() <= most);
            if n + 1 == most {
                assert_eq!(filter.len(), most);
            }
        }
        assert!(filter.len() >= 8_000);
        let parsed = reliable_channel::filter::ReceivedFilter::parse(&filter.field(), 64 << 10).unwrap().unwrap();
        let hit = |n| parsed.chance(&IdHash::in_dialect(&id(n), dialect)).is_some();
        assert!((50_000 - filter.len()..50_000).all(hit), "no false negatives");
        assert!((100_000..200_000).filter(|n| hit(*n)).count() < 200, "{dialect:?}");
    }
}

#[test]
fn a_removed_id_leaves_the_peers_filters_too() {
    for dialect in [Dialect::JsWaku, Dialect::NimSds] {
        let mut filter = RollingFilter::new(RollingFilterConfig::of(dialect));
        let (stays, goes) = (MessageId::from("stays"), MessageId::from("goes"));
        for id in [&stays, &goes] {
            filter.insert(id, IdHash::in_dialect(id, dialect), RunningTime::default());
        }
        filter.remove(&goes);
        assert!(filter.needs_reseed());
        filter.reseed(RunningTime::default(), *b"whatever");
        assert!(!filter.needs_reseed());
        assert_eq!(filter.field(), filter_of(dialect, &[&stays], 0));
    }
}

#[test]
fn timings_and_groups_of_nim_sds() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/nim/repair.json")).unwrap();
    let (mut asked, mut answered, mut outside) = (0, 0, 0);
    for vector in vectors["vectors"].as_array().unwrap() {
        let bytes = |key: &str| hex::decode(vector[key].as_str().unwrap()).unwrap();
        let number = |key: &str| vector[key].as_u64().unwrap();
        let (participant, sender, id) = (bytes("participant_hex"), bytes("sender_hex"), bytes("messageId_hex"));
        // We let no channel run without a name, a message without an id, or T_max of 0.
        if participant.is_empty() || id.is_empty() || number("tMax_ms") == 0 {
            continue;
        }
        for groups in [1, 2, 3, 5, 16, 128] {
            let config = Config::of(Dialect::NimSds).tap_mut(|it| {
                it.join = Join::Backfill(u64::MAX);
                it.t_min = std::time::Duration::from_millis(number("tMin_ms"));
                it.t_max = std::time::Duration::from_millis(number("tMax_ms"));
                it.response_groups = groups;
            });
            let context = |at| Context::new(WallTime::from_millis(EPOCH + at), RunningTime::from_millis(at), 1);
            let name = ParticipantId::new(&participant);
            let mut channel = Channel::new("c", &name, Arc::new(config), &context(0)).unwrap();
            let entry = || HistoryEntry::new(MessageId::new(&id));
            let asks = message("somebody", "dependant", 9_000, &[]).tap_mut(|it| it.causal_history = vec![entry()]);
            channel.handle(&context(0), Input::Receive(asks)).outcome.unwrap();
            let due = channel.requests()[0].due.as_millis();
            assert_eq!(due, number("tReq_ms"), "{vector}");
            asked += 1;

            let missing = message("", "content", 1_000, &[]).tap_mut(|it| {
                it.id = MessageId::new(&id);
                it.sender = ParticipantId::new(&sender);
            });
            channel.handle(&context(0), Input::Receive(missing)).outcome.unwrap();
            let later = 200_000_000;
            let asks = message("asker", "asks", 10_000, &[]).tap_mut(|it| it.repair_request = vec![entry()]);
            channel.handle(&context(later), Input::Receive(asks)).outcome.unwrap();
            let due = channel.responses().first().map(|response| response.due.as_millis() - later);
            let inside = vector["inResponseGroup"][groups.to_string()].as_bool().unwrap();
            assert_eq!(due, inside.then(|| number("tResp_ms")), "{groups} groups: {vector}");
            answered += u32::from(inside);
            outside += u32::from(!inside);
        }
    }
    assert!(asked > 100 && answered > 50 && outside > 50, "{asked} {answered} {outside}");
}

#[test]
fn response_groups_as_each_peer_counts_them() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/js/repair.json")).unwrap();
    for vector in vectors["update_response_groups"].as_array().unwrap() {
        let participants = vector["participants"].as_u64().unwrap() as u32;
        let groups = |dialect| u64::from(response_groups_in(dialect, participants));
        assert_eq!(groups(Dialect::JsWaku), vector["js_groups"].as_u64().unwrap(), "{participants}");
        assert_eq!(groups(Dialect::Lip109), vector["spec_groups"].as_u64().unwrap(), "{participants}");
    }
}

#[test]
fn defaults_are_those_the_peers_live_by() {
    let times = |dialect| (Config::of(dialect).t_min.as_secs(), Config::of(dialect).t_max.as_secs());
    assert_eq!(times(Dialect::Lip109), (2, 10));
    assert_eq!(times(Dialect::JsWaku), (30, 120));
    assert_eq!(times(Dialect::NimSds), (30, 300));
    assert_eq!(Config::of(Dialect::Lip109), Config::default());
}
