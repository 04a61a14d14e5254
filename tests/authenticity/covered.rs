//! What a signature covers: everything. Each byte of a signed packet is changed, and nothing that was changed is believed.

use bytes::Bytes;
use reliable_channel::authenticity::message_statement;
use reliable_channel::channel::{Fate, Input, Outcome};
use reliable_channel::types::{
    CatchUpField, Dialect, Frame, FrameBody, HistoryEntry, Lamport, Limits, Message, MessageId,
};
use reliable_channel::wire;
use sha2::{Digest as _, Sha256};

use crate::harness::{Keys, Member, keys_of, member};

/// Signs a message made by hand as its sender.
pub fn sign(name: &str, message: &mut Message) {
    let content_hash = Sha256::digest(&message.content).into();
    message.sender_signature = Some(keys_of(name).sign(&message_statement(message, &content_hash)));
}

pub fn fetch_ids(to: &str, ids: &[MessageId]) -> CatchUpField {
    CatchUpField::Frame(Box::new(Frame::new(7, to.into(), Lamport(0), FrameBody::FetchIds { ids: ids.to_vec() })))
}

/// Bob, who has heard alice, and alice, whose next messages carry all that a message can.
fn pair() -> (Member, Member) {
    let (mut alice, mut bob) = (member("alice", Keys::With), member("bob", Keys::With));
    let first = alice.send("first");
    bob.receive(&first).unwrap();
    let answer = bob.send("answer");
    alice.receive(&answer).unwrap();
    (alice, bob)
}

/// One of each sort that alice can send.
fn messages(alice: &mut Member) -> Vec<(&'static str, Message)> {
    let mut carol = member("carol", Keys::With);
    let _missed = carol.send("missed");
    let next = carol.send("next");
    alice.receive(&next).unwrap();
    let hinted = alice.channel.log().next().unwrap().body.key.id.clone();
    alice.input(Input::SetHint { id: hinted, hint: Bytes::from_static(b"hint") }).unwrap();
    alice.now += 60_000;
    let sync = alice.send_sync();
    assert!(matches!(sync.catch_up, CatchUpField::Digest(_)) && !sync.repair_request.is_empty());
    alice.now += 60_000;
    let content = alice.send("content");
    assert!(content.filter.len() > 8 && !content.repair_request.is_empty() && content.author_signature.is_some());
    assert!(content.causal_history.iter().any(|entry| entry.hint.is_some()));
    alice.input(Input::SendEphemeral { content: "typing".into() }).unwrap();
    let ephemeral = alice.transmitted.pop().unwrap().message;
    let mut all = vec![("sync", sync), ("content", content), ("ephemeral", ephemeral)];
    let id = MessageId::from("m");
    let bodies = [
        FrameBody::Reconcile { rules: 1, upper: Lamport(9), answer: false, push: 3, message: vec![0x61; 9].into() },
        FrameBody::Fetch { rids: vec![[3; 32], [4; 32]] },
        FrameBody::FetchIds { ids: vec![id.clone(), "n".into()] },
        FrameBody::End { sent: 3, gone: vec![[3; 32]], more: true, evicted: vec![id] },
        FrameBody::Busy { retry_after_ms: 3 },
        FrameBody::Cancel { reason: 1 },
    ];
    for body in bodies {
        let mut message = Message::new("frame".into(), "alice".into(), "c".into());
        message.catch_up = CatchUpField::Frame(Box::new(Frame::new(7, "bob".into(), Lamport(1), body)));
        sign("alice", &mut message);
        all.push(("frame", message));
    }
    all
}

#[test]
fn each_sort_of_message_is_believed_as_it_was_sent() {
    let (mut alice, mut bob) = pair();
    for (sort, message) in messages(&mut alice) {
        bob.receive(&message).unwrap_or_else(|error| panic!("{sort}: {error}"));
    }
    assert_eq!(bob.channel.stats().forgeries, 0);
}

#[test]
fn nothing_that_was_changed_on_the_way_is_believed() {
    let (mut alice, mut bob) = pair();
    let mut believed = 0;
    for (sort, message) in messages(&mut alice) {
        let bytes = wire::encode(&message, Dialect::Lip109).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1 << (at % 8);
            let Ok((changed, Dialect::Lip109)) = wire::decode(&changed.into(), &Limits::default()) else { continue };
            if changed == message {
                // A number that is only asked whether it is 0.
                assert_eq!(sort, "frame", "byte {at} is in no field");
                continue;
            }
            let before = (bob.channel.stats().forgeries, bob.channel.responses().len());
            let taken = bob.input(Input::Receive(changed));
            let after = (bob.channel.stats().forgeries, bob.channel.responses().len());
            match taken {
                Err(_) => {}
                Ok(Outcome::Received(received)) => {
                    // What its author said is as it was; the rest was dropped, and counted.
                    assert!(matches!(received.fate, Fate::Delivered | Fate::Duplicate), "{sort}: {received:?}");
                    assert_eq!((sort, after), ("content", (before.0 + 1, before.1)), "byte {at}");
                    believed += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(believed > 50, "changes beside the body were met: {believed}");
    let contents: Vec<_> = bob.channel.log().map(|logged| logged.body.content.clone()).collect();
    assert_eq!(contents, ["first", "answer", "content"], "nothing else was taken in");
}

/// Two messages whose fields run together the same way are told apart.
#[test]
fn fields_do_not_run_together() {
    let statement = |change: fn(&mut Message)| {
        let mut message = Message::new("id".into(), "alice".into(), "c".into());
        message.lamport = Some(Lamport(1));
        change(&mut message);
        message_statement(&message, &[0; 32])
    };
    let statements = [
        statement(|_| {}),
        statement(|message| message.id = "i".into()),
        statement(|message| message.lamport = None),
        statement(|message| message.causal_history = vec![HistoryEntry::new("x")]),
        statement(|message| message.repair_request = vec![HistoryEntry::new("x")]),
    ];
    let different: std::collections::BTreeSet<_> = statements.iter().collect();
    assert_eq!(different.len(), statements.len());
}
