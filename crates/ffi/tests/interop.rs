//! A host of this library with others: nim-sds by what it wrote, and a manager of ours in nim-sds's dialect.
//!
//! The functions are called as C calls them.
#![allow(unsafe_code, reason = "C functions are called")]
#![allow(clippy::unwrap_used)]

use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use bytes::Bytes;
use reliable_channel::channel::{Config, Join};
use reliable_channel::manager::{Callbacks, ReliabilityManager};
use reliable_channel::types::{Dialect, Limits, Message};
use reliable_channel::wire;
use sds::abi::*;
use serde_json::{Value, json};
use tap::Tap as _;

unsafe extern "C" fn on_result(code: c_int, text: *const c_char, len: usize, results: *mut c_void) {
    // SAFETY: the text has `len` bytes during the call.
    let text = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) };
    // SAFETY: every call here passes such a vector and waits.
    let results = unsafe { &mut *results.cast::<Vec<(c_int, Vec<u8>)>>() };
    results.push((code, text.to_vec()));
}

unsafe extern "C" fn on_event(code: c_int, text: *const c_char, len: usize, events: *mut c_void) {
    assert_eq!(code, RET_OK);
    // SAFETY: the text has `len` bytes during the call.
    let text = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) };
    // SAFETY: it was passed with the callback, and lives until after the manager was cleaned up.
    let events = unsafe { &*events.cast::<Sender<Value>>() };
    events.send(serde_json::from_str(&String::from_utf8_lossy(text)).unwrap()).unwrap();
}

/// A manager behind its handle.
struct Host {
    ctx: *mut c_void,
    events: Receiver<Value>,
    sender: *mut Sender<Value>,
}

/// What a call answers.
fn asked(call: impl FnOnce(SdsCallBack, *mut c_void) -> c_int) -> Result<Vec<u8>, String> {
    let mut results: Vec<(c_int, Vec<u8>)> = Vec::new();
    assert_eq!(call(Some(on_result), (&raw mut results).cast()), RET_OK);
    let [(code, text)] = &results[..] else { panic!("{} results", results.len()) };
    if *code == RET_OK { Ok(text.clone()) } else { Err(String::from_utf8(text.clone()).unwrap()) }
}

impl Host {
    fn new() -> Self {
        let (sender, events) = mpsc::channel();
        let sender = Box::into_raw(Box::new(sender));
        let mut results: Vec<(c_int, Vec<u8>)> = Vec::new();
        // SAFETY: the callback takes what is passed with it.
        let ctx = unsafe { SdsNewReliabilityManager(Some(on_result), (&raw mut results).cast()) };
        assert_eq!(results, [(RET_OK, vec![])]);
        // SAFETY: the sender lives until after the manager was cleaned up.
        unsafe { SdsSetEventCallback(ctx, Some(on_event), sender.cast()) };
        Self { ctx, events, sender }
    }

    fn wrap(&self, channel: &str, id: &str, content: &str) -> Bytes {
        let (id, channel) = (CString::new(id).unwrap(), CString::new(channel).unwrap());
        let text = asked(|callback, data| {
            let start = content.as_ptr().cast_mut().cast();
            // SAFETY: all pointers are good for the time of the call.
            unsafe {
                SdsWrapOutgoingMessage(self.ctx, start, content.len(), id.as_ptr(), channel.as_ptr(), callback, data)
            }
        });
        let text = String::from_utf8(text.unwrap()).unwrap();
        text.split(',').map(|byte| byte.parse::<u8>().unwrap()).collect()
    }

    fn unwrap(&self, message: &[u8]) -> Result<Value, String> {
        let text = asked(|callback, data| {
            let start = message.as_ptr().cast_mut().cast();
            // SAFETY: the message is good for the time of the call.
            unsafe { SdsUnwrapReceivedMessage(self.ctx, start, message.len(), callback, data) }
        });
        text.map(|text| serde_json::from_str(&String::from_utf8_lossy(&text)).unwrap())
    }

    /// The next event of this kind; others before it are passed over.
    #[track_caller]
    fn event(&self, kind: &str) -> Value {
        loop {
            let event = self.events.recv_timeout(Duration::from_secs(60)).expect("such an event");
            if event["eventType"] == kind {
                return event;
            }
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // SAFETY: the callback takes what is passed with it.
        let done = asked(|callback, data| unsafe { SdsCleanupReliabilityManager(self.ctx, callback, data) });
        assert_eq!(done, Ok(vec![]));
        // SAFETY: made by `Box::into_raw`, and no callback uses it any more.
        drop(unsafe { Box::from_raw(self.sender) });
    }
}

fn decoded(bytes: &Bytes) -> Message {
    let (message, dialect) = wire::decode(bytes, &Limits::default()).unwrap();
    assert_eq!(dialect, Dialect::NimSds);
    message
}

fn vectors(name: &str) -> Value {
    let path = format!("{}/../../tests/vectors/nim/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn messages_of_nim_sds_are_unwrapped_as_nim_sds_unwraps_them() {
    let vectors = vectors("messages");
    let (mut same, mut refused) = (0, 0);
    for vector in vectors["vectors"].as_array().unwrap() {
        let host = Host::new();
        let (name, fields) = (&vector["name"], &vector["fields"]);
        let unhex = |value: &Value| hex::decode(value.as_str().unwrap()).unwrap();
        let unwrapped = host.unwrap(&unhex(&vector["serialized_hex"]));
        let seconds: i64 = fields["lamportTimestamp"].as_str().unwrap().parse().unwrap();
        // Times before 1970 and beyond ten years ahead, and ids without a byte.
        if !(0..2_100_000_000).contains(&seconds) || fields["messageId_hex"] == "" || fields["channelId_hex"] == "" {
            assert_eq!(
                unwrapped,
                Err("error processing UNWRAP_MESSAGE request: reDeserializationError".into()),
                "{name}"
            );
            refused += 1;
            continue;
        }
        let unwrapped = unwrapped.unwrap();
        assert_eq!(unwrapped["message"], json!(unhex(&fields["content_hex"])), "{name}");
        let channel = unhex(&fields["channelId_hex"]);
        assert_eq!(unwrapped["channelId"], String::from_utf8_lossy(&channel).as_ref(), "{name}");
        let named = fields["causalHistory"].as_array().unwrap();
        let missing = unwrapped["missingDeps"].as_array().unwrap();
        assert_eq!(missing.len(), named.len(), "{name}");
        for (entry, missing) in named.iter().zip(missing) {
            let id = unhex(&entry["messageId_hex"]);
            assert_eq!(missing["messageId"], String::from_utf8_lossy(&id).as_ref(), "{name}");
            assert_eq!(
                missing["retrievalHint"].as_str().unwrap().is_empty(),
                entry["retrievalHint_hex"] == "",
                "{name}"
            );
        }
        same += 1;
    }
    assert_eq!((same, refused), (6, 3));
}

#[test]
fn a_conversation_with_nim_sds_is_heard_once_and_in_order() {
    let recording = vectors("conversation");
    let host = Host::new();
    let packets: Vec<Bytes> =
        recording["packets"].as_array().unwrap().iter().map(|packet| stretched(packet.as_str().unwrap())).collect();
    let messages: Vec<Message> = packets.iter().map(decoded).collect();
    // In the worst order: from the last to the first.
    for (packet, message) in packets.iter().zip(&messages).rev() {
        assert_eq!(host.unwrap(packet).unwrap()["message"], json!(message.content.to_vec()));
    }
    let mut heard: Vec<String> = Vec::new();
    let expected: std::collections::BTreeSet<&str> =
        messages.iter().map(|message| message.id.as_str().unwrap()).collect();
    while heard.len() < expected.len() {
        let event = host.event("message_ready");
        let id = event["messageId"].as_str().unwrap().to_owned();
        let message = messages.iter().find(|message| message.id.as_str() == Some(&id)).unwrap();
        assert!(!heard.contains(&id), "{id} twice");
        for entry in &message.causal_history {
            assert!(heard.iter().any(|heard| entry.id.as_str() == Some(heard)), "{id} before {}", entry.id);
        }
        heard.push(id);
    }
    assert_eq!(expected.len(), 42);
}

/// Hex in which `(n)` stands for n bytes of 0.
fn stretched(packet: &str) -> Bytes {
    let mut bytes = Vec::new();
    for part in packet.split('(') {
        let hexes = match part.split_once(')') {
            Some((zeros, rest)) => {
                bytes.resize(bytes.len() + zeros.parse::<usize>().unwrap(), 0);
                rest
            }
            None => part,
        };
        bytes.extend(hex::decode(hexes).unwrap());
    }
    bytes.into()
}

#[test]
fn a_manager_of_ours_in_the_dialect_converses_with_a_host() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let host = Host::new();
        let (told, acknowledged) = mpsc::channel();
        let config = Config::of(Dialect::NimSds).tap_mut(|it| it.join = Join::Backfill(u64::MAX));
        let callbacks = Callbacks::new().on_message_acknowledged(move |_, id, by| {
            told.send((id.to_string(), by.to_string())).unwrap();
        });
        let bob = ReliabilityManager::builder("bob").config(config).callbacks(callbacks).build().unwrap();
        bob.ensure_channel("room").await.unwrap();

        let first = host.wrap("room", "first", "from the host");
        let second = bob.wrap_outgoing_with_id("room", "second", "from bob").await.unwrap().bytes;
        assert_eq!(bob.unwrap_received(first.clone()).await.unwrap().message.content, "from the host");
        let third = bob.wrap_outgoing_with_id("room", "third", "an answer").await.unwrap().bytes;

        let waits = host.unwrap(&third).unwrap();
        assert_eq!(waits["missingDeps"], json!([{ "messageId": "second", "retrievalHint": "" }]));
        assert_eq!(host.event("message_sent")["messageId"], "first");
        assert_eq!(host.event("missing_dependencies")["messageId"], "third");
        host.unwrap(&second).unwrap();
        assert_eq!(host.event("message_ready")["messageId"], "second");
        assert_eq!(host.event("message_ready")["messageId"], "third");

        let fourth = host.wrap("room", "fourth", "thanks");
        bob.unwrap_received(fourth).await.unwrap();
        let participant = decoded(&first).sender.to_string();
        assert_eq!(participant.len(), 32, "a name that nobody else has");
        let mut heard: Vec<_> = (0..2).map(|_| acknowledged.recv_timeout(Duration::from_secs(60)).unwrap()).collect();
        heard.sort();
        assert_eq!(heard, [("second".into(), participant.clone()), ("third".into(), participant)]);
    });
}

#[test]
fn a_handle_is_no_pointer() {
    let host = Host::new();
    assert_ne!(host.ctx, ptr::null_mut());
    assert_eq!(host.ctx.addr() % 2, 1);
}
