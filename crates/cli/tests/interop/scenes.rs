//! One thing at a time: acknowledgements, repair, sync and ephemeral messages, in both directions.

use serde_json::{Value, json};

use crate::bytes::{CAUSAL_HISTORY, FILTER, with_filter, without};
use crate::common::lines::{Program, all, only, out};
use crate::js::{JS, LIP109, NOW, driver, member, peer};

/// The two, at the same time.
struct Pair {
    ours: Program,
    js: Program,
}

impl Pair {
    fn new() -> Option<Self> {
        Some(Self { js: driver(&[])?, ours: peer(NOW, &[]) })
    }

    fn at(&mut self, ms: u64) {
        self.ours.tell(json!({"cmd": "clock", "ms": NOW + ms}));
        self.js.tell(json!({"cmd": "clock", "ms": NOW + ms}));
    }
}

/// Sends a text; gives its id and the message.
fn send(from: &mut Program, text: &str) -> (Value, String) {
    let told = from.tell(json!({"cmd": "send", "text": text}));
    (told[0]["id"].clone(), out(&told, "content"))
}

#[track_caller]
fn receive(at: &mut Program, hex: &str) -> Vec<Value> {
    at.tell(json!({"cmd": "receive", "hex": hex}))
}

fn sync(from: &mut Program) -> String {
    out(&from.tell(json!({"cmd": "sync"})), "sync")
}

fn sweep(of: &mut Program) -> Vec<Value> {
    of.tell(json!({"cmd": "sweep"}))
}

fn texts(told: &[Value]) -> Vec<&str> {
    all(told, "delivered").iter().map(|delivered| delivered["text"].as_str().unwrap()).collect()
}

/// The first message of this kind.
#[track_caller]
fn going_out(told: &[Value], kind: &str) -> String {
    let found = told.iter().find(|told| told["ev"] == "out" && told["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} in {told:#?}"))["hex"].as_str().unwrap().to_owned()
}

#[test]
fn causal_history_alone_acknowledges_in_both_directions() {
    let Some(Pair { mut ours, mut js }) = Pair::new() else { return };
    let (first, hex) = send(&mut ours, "first");
    assert_eq!(texts(&receive(&mut js, &without(&hex, FILTER))), ["first"]);
    let (second, hex) = send(&mut js, "second");
    let told = receive(&mut ours, &without(&hex, FILTER));
    assert_eq!(only(&told, "acked"), &json!({"ev": "acked", "id": first, "by": "js"}));
    assert_eq!(texts(&told), ["second"]);
    let (_, hex) = send(&mut ours, "third");
    let told = receive(&mut js, &without(&hex, FILTER));
    assert_eq!(only(&told, "acked"), &json!({"ev": "acked", "id": second}));
}

#[test]
fn filters_alone_acknowledge_in_both_directions() {
    let Some(Pair { mut ours, mut js }) = Pair::new() else { return };
    let (first, hex) = send(&mut ours, "first");
    let (unheard, _) = send(&mut ours, "unheard");
    receive(&mut js, &hex);
    let told = receive(&mut ours, &without(&sync(&mut js), CAUSAL_HISTORY));
    assert_eq!(only(&told, "acked"), &json!({"ev": "acked", "id": first, "by": "js"}));
    assert_eq!(ours.state()["outgoing"], json!([unheard]));

    let (second, hex) = send(&mut js, "second");
    let (unheard, _) = send(&mut js, "unheard by us");
    receive(&mut ours, &hex);
    // js believes the second filter, whatever it is worth.
    let told = receive(&mut js, &without(&sync(&mut ours), CAUSAL_HISTORY));
    assert_eq!(only(&told, "possibly_acked"), &json!({"ev": "possibly_acked", "id": second, "count": 1}));
    let (_, hex) = send(&mut ours, "third");
    let told = receive(&mut js, &without(&hex, CAUSAL_HISTORY));
    assert_eq!(only(&told, "acked"), &json!({"ev": "acked", "id": second}));
    assert_eq!(js.state()["outgoing"], json!([unheard]));
}

#[test]
fn js_asks_for_what_it_misses_and_is_answered() {
    let Some(mut pair) = Pair::new() else { return };
    let (lost, _) = send(&mut pair.ours, "lost");
    let (_, hex) = send(&mut pair.ours, "second");
    assert_eq!(only(&receive(&mut pair.js, &hex), "missing")["ids"], json!([lost]));
    pair.at(120_000);
    let request = sync(&mut pair.js);
    let told = receive(&mut pair.ours, &request);
    assert_eq!(only(&told, "repair_requested"), &json!({"ev": "repair_requested", "id": lost, "by": "js"}));
    let told = sweep(&mut pair.ours);
    assert_eq!(only(&told, "repair_answered")["id"], lost);
    assert_eq!(texts(&receive(&mut pair.js, &going_out(&told, "repair"))), ["lost"]);
    assert_eq!(texts(&sweep(&mut pair.js)), ["second"]);
}

#[test]
fn we_ask_for_what_we_miss_and_js_answers() {
    let Some(mut pair) = Pair::new() else { return };
    let (lost, _) = send(&mut pair.js, "lost");
    let (_, hex) = send(&mut pair.js, "second");
    assert_eq!(only(&receive(&mut pair.ours, &hex), "missing")["ids"], json!([lost]));
    pair.at(120_000);
    let told = sweep(&mut pair.ours);
    let told = receive(&mut pair.js, &out(&told, "sync"));
    assert_eq!(only(&told, "repair_requested"), &json!({"ev": "repair_requested", "ids": [lost], "by": "rust"}));
    let answer = going_out(&sweep(&mut pair.js), "repair");
    assert_eq!(texts(&receive(&mut pair.ours, &answer)), ["lost", "second"]);
}

/// A fault of js that ours makes up for: it never asks again.
#[test]
fn js_asks_once_and_our_resend_brings_what_it_misses() {
    let Some(mut pair) = Pair::new() else { return };
    let (lost, _) = send(&mut pair.ours, "lost");
    let (_, hex) = send(&mut pair.ours, "second");
    receive(&mut pair.js, &hex);
    pair.at(120_000);
    sync(&mut pair.js);
    assert_eq!(pair.js.state()["repair_out"][0]["requested"], json!(true));
    pair.at(60 * 60 * 1_000);
    let (_, hex) = send(&mut pair.js, "an hour later");
    let told = receive(&mut pair.ours, &hex);
    assert_eq!(all(&told, "repair_requested"), [] as [&Value; 0]);
    let told = sweep(&mut pair.ours);
    let again = told.iter().find(|told| told["kind"] == "resend" && told["id"] == lost).unwrap();
    assert_eq!(texts(&receive(&mut pair.js, again["hex"].as_str().unwrap())), ["lost"]);
}

#[test]
fn each_rebroadcasts_a_third_participants_message_for_the_other() {
    let Some(mut pair) = Pair::new() else { return };
    let mut carol = member("carol", JS, NOW, &[]);
    let (for_js, hex) = send(&mut carol, "only js hears this");
    receive(&mut pair.js, &hex);
    let (_, hex) = send(&mut pair.js, "js answers carol");
    assert_eq!(only(&receive(&mut pair.ours, &hex), "missing")["ids"], json!([for_js]));
    pair.at(120_000);
    receive(&mut pair.js, &out(&sweep(&mut pair.ours), "sync"));
    // Others than the sender wait up to T_max.
    pair.at(240_000);
    let answer = going_out(&sweep(&mut pair.js), "repair");
    assert_eq!(texts(&receive(&mut pair.ours, &answer)), ["only js hears this", "js answers carol"]);

    carol.tell(json!({"cmd": "clock", "ms": NOW + 240_000}));
    let (for_us, hex) = send(&mut carol, "only we hear this");
    receive(&mut pair.ours, &hex);
    let (_, hex) = send(&mut pair.ours, "we answer carol");
    assert_eq!(only(&receive(&mut pair.js, &hex), "missing")["ids"], json!([for_us]));
    pair.at(360_000);
    receive(&mut pair.ours, &sync(&mut pair.js));
    pair.at(480_000);
    let answer = going_out(&sweep(&mut pair.ours), "repair");
    assert_eq!(texts(&receive(&mut pair.js, &answer)), ["only we hear this"]);
    assert_eq!(texts(&sweep(&mut pair.js)), ["we answer carol"]);
}

#[test]
fn sync_messages_are_heard_in_both_directions() {
    let Some(Pair { mut ours, mut js }) = Pair::new() else { return };
    // With nothing to say neither speaks.
    for of in [&mut ours, &mut js] {
        assert_eq!(of.tell(json!({"cmd": "sync"})), [] as [Value; 0]);
    }
    send(&mut ours, "one");
    send(&mut js, "two");
    let told = receive(&mut js, &sync(&mut ours));
    assert_eq!(only(&told, "sync_received")["sender"], "rust");
    let told = receive(&mut ours, &sync(&mut js));
    assert_eq!(only(&told, "sync_received")["sender"], "js");
    // Each has told the other what it missed, and neither has logged the message that told it.
    assert_eq!([ours.state()["log"].as_array().unwrap().len(), js.state()["log"].as_array().unwrap().len()], [1, 1]);
    assert_eq!(ours.state()["repair_out"][0]["id"], js.state()["log"][0]);
    assert_eq!(js.state()["repair_out"][0]["id"], ours.state()["log"][0]);
}

#[test]
fn ephemeral_messages_are_heard_in_both_directions() {
    let Some(Pair { mut ours, mut js }) = Pair::new() else { return };
    let typing = json!({"cmd": "ephemeral", "text": "typing"});
    let told = |sender| json!({"ev": "ephemeral", "text": "typing", "hex": "747970696e67", "sender": sender});
    let hex = out(&ours.tell(typing.clone()), "ephemeral");
    assert_eq!(receive(&mut js, &hex), [told("rust")]);
    let hex = out(&js.tell(typing), "ephemeral");
    assert_eq!(receive(&mut ours, &hex), [told("js")]);
    assert_eq!((&ours.state()["log"], &js.state()["log"]), (&json!([]), &json!([])));
}

/// js skips the two fields that it does not know. What it says has none, and is refused.
#[test]
fn js_reads_signed_messages_and_we_refuse_what_it_does_not_sign() {
    let Some(mut js) = driver(&[]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    for dialect in [JS, LIP109] {
        let mut ours = member("rust", dialect, NOW, &["--key", key.to_str().unwrap()]);
        let (_, first) = send(&mut ours, &format!("first in {dialect}"));
        let (_, second) = send(&mut ours, &format!("second in {dialect}"));
        // Field 103, of 64 bytes.
        assert!(first.contains("ba0640") && second.contains("ba0640"), "{first}");
        assert_eq!(texts(&receive(&mut js, &first)), [format!("first in {dialect}")]);
        assert_eq!(texts(&receive(&mut js, &second)), [format!("second in {dialect}")]);
        let typing = out(&ours.tell(json!({"cmd": "ephemeral", "text": "typing"})), "ephemeral");
        assert_eq!(only(&receive(&mut js, &typing), "ephemeral")["text"], "typing");
        let sync = sync(&mut ours);
        assert!(only(&receive(&mut js, &sync), "sync_received")["sender"].as_str().unwrap().starts_with("rust/"));
        let (_, answer) = send(&mut js, &format!("answer in {dialect}"));
        let told = ours.ask(json!({"cmd": "receive", "hex": answer}));
        assert_eq!(only(&told, "not_authentic")["why"], "not signed");
        assert_eq!((texts(&told), all(&told, "error").len()), (vec![], 1));
    }
}

/// Faults of js that the lossy conversation counts, and the one that no message of ours may wake.
#[test]
fn js_has_the_faults_we_know() {
    let Some(mut js) = driver(&[]) else { return };
    let mut ours = peer(NOW, &["--causal", "0"]);
    let (first, hex) = send(&mut ours, "first");
    let short = js.ask(json!({"cmd": "receive", "hex": with_filter(&hex, &[0; 8])}));
    assert_eq!((all(&short, "delivered").len(), all(&short, "error").len()), (0, 1), "a short filter: {short:#?}");
    for _ in 0..2 {
        assert_eq!(only(&receive(&mut js, &hex), "delivered")["id"], first);
    }
    let (second, _) = send(&mut ours, "second");
    let (_, third) = send(&mut ours, "third");
    assert_eq!(only(&receive(&mut js, &third), "missing")["ids"], json!([second]));
    // The fourth names the third alone, which only waits.
    let (_, fourth) = send(&mut ours, "fourth");
    assert_eq!(texts(&receive(&mut js, &fourth)), ["fourth"]);
}
