//! Signed messages that were changed on the way: nothing that was changed is believed.
//!
//! Input: which message (1 byte: content, sync, ephemeral, frame), then changes of its packet, in order: where (2 bytes,
//! from the end of the packet where the highest bit is set) and what is turned over there (1 byte; 0 cuts the packet off).

use std::sync::Arc;

use arbitrary::Unstructured;
use sha2::{Digest as _, Sha256};

use crate::authenticity::{Authenticator, SharedAuthenticator, message_statement};
use crate::channel::{Channel, Config, Context, Input, Outcome};
use crate::types::{
    CatchUpField, Dialect, Frame, FrameBody, Lamport, Limits, Message, ParticipantId, RunningTime, Signature, WallTime,
};
use crate::wire;

/// The body of the target `signed`.
pub fn signed(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let sort = input.arbitrary::<u8>().unwrap_or_default();
    let (mut alice, mut bob) = (member("alice"), member("bob"));
    let first = sent(&mut alice, 1, Input::Send { content: "first".into(), id: None });
    receive(&mut bob, 2, first).expect("it is signed");
    let message = match sort % 4 {
        0 => sent(&mut alice, 60_000, Input::Send { content: "content".into(), id: None }),
        1 => sent(&mut alice, 60_000, Input::SendSync),
        2 => sent(&mut alice, 60_000, Input::SendEphemeral { content: "typing".into() }),
        _ => frame(),
    };
    let mut packet = wire::encode(&message, Dialect::Lip109).expect("ids are text").to_vec();
    while let Ok((place, change)) = input.arbitrary::<(u16, u8)>() {
        if packet.is_empty() || input.is_empty() && change == 0 {
            break;
        }
        let at = usize::from(place & 0x7fff) % packet.len();
        let at = if place & 0x8000 == 0 { at } else { packet.len() - 1 - at };
        if change == 0 { packet.truncate(at) } else { packet[at] ^= change }
    }
    let Ok((changed, _)) = wire::decode(&packet.into(), &Limits::default()) else { return };
    let same = changed == message;
    let (events, taken) = match receive(&mut bob, 60_001, changed) {
        Ok(taken) => taken,
        Err(refused) => return assert!(!same, "it was not changed, and is refused: {refused}"),
    };
    if same {
        return;
    }
    assert_eq!((sort % 4, events), (0, 0), "only what an author signed is taken from somebody else: {taken:?}");
    let log: Vec<_> = bob.log().map(|logged| (&logged.body.key.id, &logged.body.content)).collect();
    assert!(log.len() == 2 && log[1] == (&message.id, &message.content), "as its author said it: {log:?}");
    assert!(bob.responses().is_empty() && bob.outgoing().is_empty());
}

fn member(name: &str) -> Channel {
    let config = Config { authenticator: Some(SharedAuthenticator::new(Keys(name.into()))), ..Config::default() };
    Channel::new("c", name, Arc::new(config), &at(0)).expect("the options are valid")
}

fn at(ms: u64) -> Context {
    Context::new(WallTime::from_millis(1_700_000_000_000 + ms), RunningTime::from_millis(ms), ms)
}

fn sent(channel: &mut Channel, ms: u64, input: Input) -> Message {
    let mut step = channel.handle(&at(ms), input);
    step.transmit.pop().expect("there is something to say").message
}

/// How many events but deliveries it led to, and what became of it.
fn receive(channel: &mut Channel, ms: u64, message: Message) -> Result<(usize, Outcome), String> {
    use crate::channel::Event;
    let step = channel.handle(&at(ms), Input::Receive(message));
    let known = |event: &&Event| {
        !matches!(event, Event::MessageDelivered(_) | Event::Joined { .. } | Event::NotAuthentic { .. })
    };
    let events = step.events.iter().filter(known).count();
    step.outcome.map(|outcome| (events, outcome)).map_err(|error| error.to_string())
}

fn frame() -> Message {
    let mut message = Message::new("frame".into(), "alice".into(), "c".into());
    let body = FrameBody::FetchIds { ids: vec!["m".into(), "n".into()] };
    message.catch_up = CatchUpField::Frame(Box::new(Frame::new(7, "bob".into(), Lamport(1), body)));
    let content_hash = Sha256::digest(&message.content).into();
    message.sender_signature = Some(Keys("alice".into()).sign(&message_statement(&message, &content_hash)));
    message
}

/// Cheap signatures, which a fuzzer does not make: each member's secret is its name.
struct Keys(ParticipantId);

impl Authenticator for Keys {
    fn sign(&self, bytes: &[u8]) -> Signature {
        code(&self.0, bytes)
    }

    fn verify(&self, sender: &ParticipantId, bytes: &[u8], signature: &Signature) -> bool {
        code(sender, bytes) == *signature
    }
}

fn code(sender: &ParticipantId, bytes: &[u8]) -> Signature {
    let mut hash = Sha256::new();
    hash.update([u8::try_from(sender.len()).unwrap_or(u8::MAX)]);
    hash.update(sender.as_bytes());
    hash.update(bytes);
    Signature::new(hash.finalize())
}
