//! The author's signature goes with every copy; what has none goes nowhere.

use reliable_channel::channel::{Event, Fate, Input, Outcome};
use reliable_channel::state::Row;
use reliable_channel::types::{Message, Signature};

use crate::harness::{Keys, Member, forged_sync, keys_of, member};

/// What bob sends of alice's `message` to carol, who has heard the next one alone and asks for it.
fn copy_from(bob: &mut Member, carol: &mut Member, message: &Message) -> Option<Message> {
    for _ in 0..20 {
        for (_, asked) in carol.run_for(1_000) {
            let _ = bob.receive(&asked);
        }
        let sent = bob.run_for(1_000);
        for (_, answer) in &sent {
            if !answer.content.is_empty() && answer.id == message.id {
                return Some(answer.clone());
            }
        }
        sent.iter().for_each(|(_, message)| drop(carol.receive(message)));
    }
    None
}

/// Bob has two messages of alice's; carol has the second alone.
fn group(alice: Keys, bob: Keys) -> (Message, Message, Member, Member) {
    let mut alice = member("alice", alice);
    let (mut bob, mut carol) = (member("bob", bob), member("carol", Keys::With));
    let (first, second) = (alice.send("first"), alice.send("second"));
    bob.receive(&first).unwrap();
    bob.receive(&second).unwrap();
    let _ = carol.receive(&second);
    (first, second, bob, carol)
}

#[test]
fn a_repair_answer_carries_its_authors_signature() {
    let (first, _, mut bob, mut carol) = group(Keys::With, Keys::With);
    let copy = copy_from(&mut bob, &mut carol, &first).expect("bob answers");
    assert_eq!((copy.author_signature.clone(), copy.sender_signature.clone()), (first.author_signature, None));
    let Ok(Outcome::Received(received)) = carol.receive(&copy) else { panic!("carol takes it") };
    assert_eq!((received.fate, carol.delivered()), (Fate::Delivered, vec!["first".to_owned(), "second".to_owned()]));
    assert_eq!(carol.channel.stats().forgeries, 0);
}

#[test]
fn a_signature_survives_a_restart() {
    let (first, _, mut bob, mut carol) = group(Keys::With, Keys::With);
    bob.restart_with(|_| {});
    let copy = copy_from(&mut bob, &mut carol, &first).expect("bob answers");
    assert_eq!(copy.author_signature, first.author_signature);
    carol.receive(&copy).unwrap();
}

#[test]
fn who_checks_nothing_passes_signatures_on() {
    let (first, _, mut bob, mut carol) = group(Keys::With, Keys::Without);
    // Bob signs nothing, so that carol's requests reach him and his own words do not reach her.
    let copy = copy_from(&mut bob, &mut carol, &first).expect("bob answers");
    carol.receive(&copy).unwrap();
    assert_eq!(carol.delivered(), ["first", "second"]);
}

/// What was stored unsigned, or with a signature that is none, before there was an authenticator.
#[test]
fn what_is_stored_without_a_good_signature_is_not_served() {
    for stored in [None, Some(Signature::new([7; 64]))] {
        let (first, second, mut bob, _) = group(Keys::Without, Keys::Without);
        for row in &mut bob.saved.rows {
            if let Row::Message(logged) = row {
                let mut body = (*logged.body).clone();
                body.signature.clone_from(&stored);
                logged.body = body.into();
            }
        }
        bob.restart_with(|config| config.authenticator = Some(keys_of("bob")));
        // What was heard a moment ago is not answered.
        bob.now += 10_000;
        let mut carol = member("carol", Keys::With);
        let mine = carol.send("mine");
        bob.receive(&mine).unwrap();
        let names = [first.id.as_str().unwrap(), second.id.as_str().unwrap()];
        // Carol asks for them, by repair and by catch-up, as a peer of hers would.
        let mut asks = forged_sync("carol", 10, &[], &names);
        crate::covered::sign("carol", &mut asks);
        bob.receive(&asks).unwrap();
        assert_eq!(bob.channel.responses().len(), usize::from(stored.is_some()) * 2, "told apart when they are sent");
        let mut fetches = Message::new("frame".into(), "carol".into(), "c".into());
        fetches.catch_up = crate::covered::fetch_ids("bob", &[first.id.clone(), second.id.clone()]);
        crate::covered::sign("carol", &mut fetches);
        bob.receive(&fetches).unwrap();
        let mut sent: Vec<Message> = bob.transmitted.drain(..).map(|sent| sent.message).collect();
        sent.extend(bob.run_for(60_000).into_iter().map(|(_, message)| message));
        let served = |message: &&Message| !message.content.is_empty();
        assert_eq!(sent.iter().filter(served).count(), 0, "stored with {stored:?}");
        assert!(sent.iter().any(|message| message.sender_signature.is_some()), "it speaks, and says nothing of them");
    }
}

#[test]
fn what_was_sent_before_there_was_an_authenticator_is_signed_when_it_is_served() {
    let mut alice = member("alice", Keys::Without);
    let first = alice.send("first");
    assert_eq!(first.author_signature, None);
    alice.restart_with(|config| config.authenticator = Some(keys_of("alice")));
    let resent = alice.run_for(10_000).into_iter().map(|(_, message)| message).find(|it| it.id == first.id);
    let mut bob = member("bob", Keys::With);
    let Ok(Outcome::Received(received)) = bob.receive(&resent.expect("it is sent again")) else {
        panic!("bob takes it")
    };
    assert_eq!(received.fate, Fate::Delivered);
}

#[test]
fn a_message_that_named_a_withdrawn_one_is_signed_anew() {
    let mut alice = member("alice", Keys::With);
    let (first, second) = (alice.send("first"), alice.send("second"));
    alice.input(Input::Withdraw(first.id)).unwrap();
    let resent = alice.run_for(10_000).into_iter().map(|(_, message)| message).find(|it| it.id == second.id);
    let resent = resent.expect("it is sent again");
    assert_ne!(resent.causal_history, second.causal_history);
    let mut bob = member("bob", Keys::With);
    bob.receive(&resent).unwrap();
    assert_eq!(bob.delivered(), ["second"]);
}

/// A relayed message keeps its author's signature and loses what only its sender could say.
#[test]
fn a_relayed_message_is_a_copy() {
    let (mut alice, mut bob) = (member("alice", Keys::With), member("bob", Keys::With));
    let message = alice.send("hello");
    bob.input(Input::Relay(message.clone())).unwrap();
    let relayed = bob.transmitted.pop().unwrap().message;
    assert_eq!((&relayed.author_signature, &relayed.sender_signature), (&message.author_signature, &None));
    let mut carol = member("carol", Keys::With);
    carol.receive(&relayed).unwrap();
    assert!(!carol.was_told(|event| matches!(event, Event::NotAuthentic { .. })));
}

/// Two members catch up with signed copies.
#[test]
fn catch_up_brings_signed_copies() {
    let (mut alice, mut bob) = (member("alice", Keys::With), member("bob", Keys::With));
    let greeting = bob.send("here");
    alice.receive(&greeting).unwrap();
    let missed: Vec<Message> = (0..30).map(|n| alice.send(&format!("m{n}"))).collect();
    bob.receive(missed.last().unwrap()).unwrap();
    for _ in 0..300 {
        for (_, message) in alice.run_for(100) {
            bob.receive(&message).unwrap();
        }
        for (_, message) in bob.run_for(100) {
            alice.receive(&message).unwrap();
        }
        alice.transmitted.drain(..).for_each(|sent| drop(bob.receive(&sent.message)));
    }
    assert_eq!(bob.delivered().len(), 30);
    assert_eq!((alice.channel.stats().forgeries, bob.channel.stats().forgeries), (0, 0));
}
