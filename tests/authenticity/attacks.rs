//! What one stranger can do to a channel that checks nothing, and what is left of it where everybody signs: a counter.

use reliable_channel::channel::{ChannelError, DeliveryState, Event, Fate, Forgery, Outcome};
use reliable_channel::filter::{IdHash, RollingFilter, RollingFilterConfig};
use reliable_channel::types::{
    CatchUpField, Digest, DigestRange, FilterField, Frame, FrameBody, Lamport, Message, MessageId, RunningTime,
    Signature,
};

use crate::harness::{EPOCH, Keys, Member, forged, forged_sync, keys_of, member, member_with};

/// Alice and bob, who have heard each other, and what alice has sent last, which bob has.
fn pair(keys: Keys) -> (Member, Member, Message) {
    let (mut alice, mut bob) = (member("alice", keys), member("bob", keys));
    for turn in 0..3 {
        let sent = alice.send(&format!("a{turn}"));
        bob.receive(&sent).unwrap();
        let sent = bob.send(&format!("b{turn}"));
        alice.receive(&sent).unwrap();
        (alice.now, bob.now) = (alice.now + 10, bob.now + 10);
    }
    let last = alice.send("last");
    bob.receive(&last).unwrap();
    (alice, bob, last)
}

fn filter_of(ids: &[&MessageId]) -> FilterField {
    let mut filter = RollingFilter::new(RollingFilterConfig::default());
    ids.iter().for_each(|id| filter.insert(id, IdHash::of(id), RunningTime::from_millis(0)));
    filter.reseed(RunningTime::from_millis(0), *b"stranger");
    filter.field()
}

fn frame(sender: &str, to: &str, body: FrameBody) -> Message {
    let mut message = Message::new("frame".into(), sender.into(), "c".into());
    message.catch_up = CatchUpField::Frame(Box::new(Frame::new(7, to.into(), Lamport(0), body)));
    message
}

/// Each thing that a stranger may send to alice, who waits for `last` to be acknowledged.
fn everything(last: &Message) -> Vec<(&'static str, Message)> {
    let at = last.lamport.unwrap().0 - EPOCH;
    let id = last.id.as_str().unwrap();
    let digest = {
        let range = DigestRange::new(Lamport(EPOCH - 1), 7, [9; 16]);
        let mut message = forged_sync("bob", at + 1, &[], &[]);
        message.catch_up = CatchUpField::Digest(Box::new(Digest::new(Lamport(EPOCH + at), range, None, true)));
        message
    };
    let mut ephemeral = forged("bob", "ephemeral", 0, &[]);
    ephemeral.lamport = None;
    let mut with_filter = forged_sync("bob", at + 2, &[], &[]);
    with_filter.filter = filter_of(&[&last.id]);
    let mut badly_signed = forged("bob", "badly signed", at + 1, &[]);
    badly_signed.author_signature = Some(Signature::new([7; 64]));
    badly_signed.sender_signature = Some(Signature::new([7; 64]));
    vec![
        ("content under a member's name", forged("bob", "news", at + 1, &[])),
        ("content under a name of its own", forged("mallory", "hello", at + 1, &[])),
        ("content in the victim's own name", forged("alice", "I owe mallory money", at + 1, &[])),
        ("content with a signature made up", badly_signed),
        ("content that waits for what does not exist", forged("bob", "waits", at + 1, &["no such message"])),
        ("content that names the victim's message", forged("bob", "names", at + 1, &[id])),
        ("content an hour ahead", forged("bob", "ahead", 3_600_000, &[])),
        ("a sync message that names the victim's message", forged_sync("bob", at + 1, &[id], &[])),
        ("a sync message that names what does not exist", forged_sync("bob", at + 1, &["no such message"], &[])),
        ("a request for an old message", forged_sync("bob", at + 1, &[], &[id])),
        ("a filter that holds the victim's message", with_filter),
        ("a digest", digest),
        ("an ephemeral message", ephemeral),
        ("a question of catch-up", frame("bob", "alice", FrameBody::FetchIds { ids: vec![last.id.clone()] })),
    ]
}

/// All of a channel that anybody could notice.
fn state(member: &Member) -> String {
    let channel = &member.channel;
    let mut data = channel.data();
    if let Some(meta) = &mut data.meta {
        meta.age_ms = 0;
    }
    let (requests, responses, incoming) = (channel.requests(), channel.responses(), channel.incoming());
    format!("{data:?} {requests:?} {responses:?} {incoming:?} {:?} {:?}", channel.outgoing(), channel.poll_timeout())
}

#[test]
fn nothing_that_a_stranger_sends_changes_more_than_a_counter() {
    let (_, _, last) = pair(Keys::With);
    for (what, message) in everything(&last) {
        let (mut alice, _, _) = pair(Keys::With);
        let before = (state(&alice), alice.channel.stats().forgeries, alice.events.len());
        let outcome = alice.receive(&message);
        let why = if message.sender_signature.is_some() { Forgery::BadSignature } else { Forgery::Unsigned };
        assert_eq!(outcome, Err(ChannelError::NotAuthentic { sender: message.sender.clone(), why }), "{what}");
        let after = (state(&alice), alice.channel.stats().forgeries, alice.events.len());
        assert_eq!(after, (before.0, before.1 + 1, before.2 + 1), "{what}");
        assert!(alice.transmitted.is_empty(), "{what} was answered");
        let (id, sender) = (message.id, message.sender);
        assert_eq!(alice.events.last(), Some(&Event::NotAuthentic { id, sender, why, count: 1 }), "{what}");
    }
}

#[test]
fn without_an_authenticator_each_of_it_changes_something() {
    let (_, _, last) = pair(Keys::Without);
    for (what, message) in everything(&last) {
        let (mut alice, _, _) = pair(Keys::Without);
        let (before, told) = (state(&alice), alice.events.len());
        alice.receive(&message).unwrap();
        let changed = state(&alice) != before || alice.events.len() > told || !alice.transmitted.is_empty();
        assert!(changed, "{what} does nothing: the test above proves nothing");
    }
}

/// 1 kB/s of requests for what bob misses keep bob from asking for it himself.
fn repaired_after(keys: Keys) -> Option<u64> {
    let (mut alice, mut bob, _) = pair(keys);
    let missed = alice.send("missed");
    let next = alice.send("next");
    bob.receive(&next).unwrap();
    let start = bob.now;
    let id = missed.id.as_str().unwrap();
    for second in 0..300 {
        let flood = forged_sync("mallory", 1_000 + second, &[], &[id]);
        let _ = bob.receive(&flood);
        for (at, message) in bob.run_for(1_000) {
            if message.repair_request.iter().any(|entry| entry.id == missed.id) {
                return Some(at - start);
            }
        }
    }
    None
}

#[test]
fn an_honest_repair_is_not_pushed_away() {
    assert_eq!(repaired_after(Keys::Without), None, "the attack works where nothing is checked");
    let asked = repaired_after(Keys::With).expect("bob asks");
    assert!(asked < 10_000, "after {asked} ms");
}

/// So many messages dated an hour ahead, and what is left of a history of six.
fn history_after_a_flood(keys: Keys) -> (usize, usize) {
    let (_, mut bob, _) = pair(keys);
    let before: Vec<_> = bob.channel.log().map(|logged| logged.body.key.clone()).collect();
    for n in 0..1_100 {
        let _ = bob.receive(&forged("mallory", &format!("m{n}"), 3_600_000 + n, &[]));
    }
    let left = before.iter().filter(|key| bob.channel.log().any(|logged| logged.body.key == **key)).count();
    (before.len(), left)
}

#[test]
fn nobody_forgets_its_history() {
    assert_eq!(history_after_a_flood(Keys::Without), (7, 0));
    assert_eq!(history_after_a_flood(Keys::With), (7, 7));
}

/// A stranger takes a message's id before bob has heard the message: what bob makes of the honest one, and what alice is
/// told of it.
fn squatted(keys: Keys) -> (Fate, Option<DeliveryState>, Vec<String>) {
    let (mut alice, mut bob, _) = pair(keys);
    let honest = alice.send("honest");
    let mut squatter = honest.clone();
    squatter.content = "not what alice said".into();
    let _ = bob.receive(&squatter);
    let Outcome::Received(received) = bob.receive(&honest).unwrap() else { panic!("it was received") };
    let sync = bob.send_sync();
    alice.receive(&sync).unwrap();
    (received.fate, alice.channel.delivery_state(&honest.id), bob.delivered().split_off(4))
}

#[test]
fn nobody_takes_an_id_before_its_owner_does() {
    let acknowledged = Some(DeliveryState::Acknowledged);
    let squatter = vec!["not what alice said".to_owned()];
    assert_eq!(
        squatted(Keys::Without),
        (Fate::Conflict, acknowledged.clone(), squatter),
        "and alice believes it arrived"
    );
    assert_eq!(squatted(Keys::With), (Fate::Delivered, acknowledged, vec!["honest".to_owned()]));
}

/// Whether bob acknowledges what alice sent, after a stranger has told bob, in carol's name, that carol did.
fn acknowledges(keys: Keys) -> bool {
    let few = |config: &mut reliable_channel::channel::Config| config.catch_up = false;
    let (mut alice, mut bob) = (member_with("alice", keys, few), member_with("bob", keys, few));
    let first = alice.send("first");
    bob.receive(&first).unwrap();
    let _ = bob.receive(&forged_sync("carol", 1, &[first.id.as_str().unwrap()], &[]));
    let sent = bob.run_for(4_000);
    sent.iter().any(|(_, message)| message.causal_history.iter().any(|entry| entry.id == first.id))
}

#[test]
fn acknowledgements_are_not_silenced() {
    assert!(!acknowledges(Keys::Without));
    assert!(acknowledges(Keys::With));
}

#[test]
fn nothing_is_delivered_in_the_victims_own_name() {
    for (keys, delivered) in [(Keys::Without, true), (Keys::With, false)] {
        let (mut alice, _, last) = pair(keys);
        let at = last.lamport.unwrap().0 - EPOCH;
        let _ = alice.receive(&forged("alice", "I owe mallory money", at + 1, &[]));
        assert_eq!(alice.delivered().contains(&"I owe mallory money".to_owned()), delivered);
        assert_eq!(alice.was_told(|event| matches!(event, Event::SharedIdentity { .. })), delivered);
    }
}

/// A genuine message with a filter, requests and a causal history of the stranger's on it.
#[test]
fn a_genuine_message_carries_nothing_that_its_sender_did_not_say() {
    for keys in [Keys::Without, Keys::With] {
        let (mut alice, mut bob, _) = pair(keys);
        let mine = alice.send("mine");
        // What was heard a moment ago is not answered.
        (alice.now, bob.now) = (alice.now + 10_000, bob.now + 10_000);
        let mut replayed = bob.send("genuine");
        replayed.filter = filter_of(&[&mine.id]);
        replayed.repair_request = vec![reliable_channel::types::HistoryEntry::new(mine.id.clone())];
        let before = alice.channel.responses().len();
        let Outcome::Received(received) = alice.receive(&replayed).unwrap() else { panic!("it was received") };
        assert_eq!(received.fate, Fate::Delivered, "what its author signed is good");
        let believed = keys == Keys::Without;
        let acknowledged = alice.channel.delivery_state(&mine.id) != Some(DeliveryState::Unacknowledged);
        assert_eq!((acknowledged, alice.channel.responses().len() > before), (believed, believed));
        let told = |event: &Event| matches!(event, Event::NotAuthentic { why: Forgery::Claims, count: 1, .. });
        assert_eq!((alice.was_told(told), alice.channel.stats().forgeries), (!believed, u64::from(!believed)));
    }
}

/// A member's own key does not make it speak for another.
#[test]
fn a_member_does_not_speak_in_the_name_of_another() {
    let (mut alice, mut bob, _) = pair(Keys::With);
    let mut message = bob.send("from bob");
    message.sender = "carol".into();
    let refused = alice.receive(&message).unwrap_err();
    assert_eq!(refused, ChannelError::NotAuthentic { sender: "carol".into(), why: Forgery::BadSignature });
}

/// What was said once counts once: a doubled sync, ephemeral message or frame is a duplicate.
#[test]
fn what_carries_no_content_counts_once() {
    let (mut alice, mut bob, _) = pair(Keys::With);
    bob.input(reliable_channel::channel::Input::SendEphemeral { content: "typing".into() }).unwrap();
    let ephemeral = bob.transmitted.pop().unwrap().message;
    for (message, first) in [(bob.send_sync(), Fate::Sync), (ephemeral, Fate::Ephemeral)] {
        let fates = [(); 2].map(|()| match alice.receive(&message) {
            Ok(Outcome::Received(received)) => received.fate,
            other => panic!("{other:?}"),
        });
        assert_eq!(fates, [first, Fate::Duplicate]);
    }
    assert_eq!(alice.channel.stats().forgeries, 0);
}

/// An acknowledgement that was lost is given again when the message is, be it the same to the last byte.
#[test]
fn a_resend_is_acknowledged_once_more() {
    let (mut alice, mut bob, _) = pair(Keys::With);
    let message = alice.send("again");
    bob.receive(&message).unwrap();
    let acknowledged = |sent: Vec<(u64, Message)>| {
        sent.iter().any(|(_, sync)| sync.causal_history.iter().any(|entry| entry.id == message.id))
    };
    assert!(acknowledged(bob.run_for(5_000)));
    bob.run_for(60_000);
    bob.receive(&message).unwrap();
    assert!(acknowledged(bob.run_for(4_500)));
}

/// A flood of forgeries is told of once a second, with how many there were.
#[test]
fn a_flood_is_told_of_once_a_second() {
    let (mut alice, _, _) = pair(Keys::With);
    alice.events.clear();
    for n in 0..25 {
        let _ = alice.receive(&forged("bob", &format!("m{n}"), 100, &[]));
        alice.now += 100;
    }
    let counts: Vec<u64> = alice
        .events
        .iter()
        .map(|event| match event {
            Event::NotAuthentic { count, .. } => *count,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(counts, [1, 10, 10], "the last four are told with the next one");
    assert_eq!(alice.channel.stats().forgeries, 25);
}

#[test]
fn nothing_of_an_authenticator_is_printed() {
    let mut config = reliable_channel::channel::Config::default();
    config.authenticator = Some(keys_of("alice"));
    assert!(format!("{config:?}").contains("authenticator: Some(SharedAuthenticator(..))"));
    let alice = reliable_channel::authenticity::Ed25519::self_certifying(&[0xAB; 32]);
    let shown = format!("{alice:?}");
    assert!(shown.starts_with("Ed25519 { public_key: PublicKey(") && !shown.to_lowercase().contains("abab"));
    assert!(!shown.contains("171, 171"), "{shown}");
}
