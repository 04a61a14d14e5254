//! What goes by itself, under a clock that the test sets.
#![allow(unsafe_code, reason = "a callback as C has it")]

use std::ffi::{c_char, c_int, c_void};
use std::slice;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reliable_channel::channel::DeliveryState;
use reliable_channel::manager::ManualClock;
use reliable_channel::types::{FilterField, HistoryEntry, Limits, WallTime};
use serde_json::{Value, json};
use tap::Tap as _;

use super::*;

unsafe extern "C" fn hear(_: c_int, text: *const c_char, len: usize, events: *mut c_void) {
    // SAFETY: the text has `len` bytes during the call.
    let text = unsafe { slice::from_raw_parts(text.cast::<u8>(), len) };
    // SAFETY: leaked by the test.
    let events = unsafe { &*events.cast::<Sender<Value>>() };
    // Nobody hears it any more where the test has ended.
    let _ = events.send(serde_json::from_slice(text).unwrap());
}

/// A manager with its periodic tasks, that has sent `first` to `room`.
struct Scene {
    manager: Manager,
    clock: ManualClock,
    events: Receiver<Value>,
    first: Message,
}

impl Scene {
    fn new() -> Self {
        Self::with(Sent::Acknowledged)
    }

    fn with(sent: Sent) -> Self {
        let clock = ManualClock::new(WallTime::from_millis(1_790_000_000_000));
        let manager = Manager::with(Arc::new(clock.clone()), sent).unwrap();
        let (sender, events) = mpsc::channel();
        let sender: &mut Sender<Value> = Box::leak(Box::new(sender));
        manager.hear(Callback::new(Some(hear), std::ptr::from_mut(sender).cast()));
        let wrapped = manager.wrap(&"room".into(), &"first".into(), &"what got lost".into()).unwrap();
        manager.start_periodic_tasks().unwrap();
        let decimals = std::str::from_utf8(wrapped.as_bytes()).unwrap();
        let bytes: Bytes = decimals.split(',').map(|byte| byte.parse::<u8>().unwrap()).collect();
        let scene = Self { manager, clock, events, first: decoded(bytes) };
        assert_eq!(scene.next(), json!({ "eventType": "periodic_sync" }));
        scene
    }

    fn next(&self) -> Value {
        self.events.recv_timeout(Duration::from_secs(60)).expect("an event")
    }
}

fn decoded(bytes: Bytes) -> Message {
    wire::decode(&bytes, &Limits::default()).unwrap().0
}

#[test]
fn what_somebody_asks_for_is_told_to_be_broadcast() {
    let scene = Scene::new();
    scene.clock.advance(Duration::from_secs(20));
    let wanted = HistoryEntry::new("first").tap_mut(|it| it.sender = Some(scene.first.sender.clone()));
    let asking = scene.first.clone().tap_mut(|it| {
        it.id = "asking".into();
        it.sender = "bob".into();
        it.content = "who has it?".into();
        it.filter = FilterField::Absent;
        it.repair_request = vec![wanted];
    });
    scene.manager.unwrap(&wire::encode(&asking, Dialect::NimSds).unwrap()).unwrap();
    assert_eq!(scene.next()["messageId"], "asking");
    let ready = scene.next();
    assert_eq!((&ready["eventType"], &ready["channelId"]), (&json!("repair_ready"), &json!("room")));
    let again = decoded(STANDARD.decode(ready["message"].as_str().unwrap()).unwrap().into());
    let fields = |message: &Message| (message.id.clone(), message.sender.clone(), message.content.clone());
    assert_eq!(fields(&again), fields(&scene.first));
}

/// What is told after the first message was given up: of it, or of the next thing that happens.
fn told_after_giving_up(scene: &Scene) -> Value {
    for _ in 0..5 {
        scene.clock.advance(Duration::from_secs(90));
        let ready = scene.next();
        assert_eq!(ready["eventType"], "repair_ready");
        let again = decoded(STANDARD.decode(ready["message"].as_str().unwrap()).unwrap().into());
        assert_eq!((again.id, again.content), (scene.first.id.clone(), scene.first.content.clone()));
    }
    scene.clock.advance(Duration::from_secs(600));
    let state = || scene.manager.inner.delivery_state(&"room".into(), &"first".into()).unwrap();
    while state() != Some(DeliveryState::Failed) {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Whatever there was to tell of it comes before this.
    let last = scene.first.clone().tap_mut(|it| {
        it.id = "last".into();
        it.sender = "bob".into();
        it.filter = FilterField::Absent;
    });
    scene.manager.unwrap(&wire::encode(&last, Dialect::NimSds).unwrap()).unwrap();
    scene.next()
}

#[test]
fn what_nobody_acknowledges_is_told_again_five_times_and_giving_up_is_not_sent() {
    let told = told_after_giving_up(&Scene::new());
    assert_eq!((&told["eventType"], &told["messageId"]), (&json!("message_ready"), &json!("last")));
}

#[test]
fn where_that_is_asked_for_giving_up_is_told_as_sent() {
    let told = told_after_giving_up(&Scene::with(Sent::as_nim()));
    assert_eq!((&told["eventType"], &told["messageId"]), (&json!("message_sent"), &json!("first")));
}
