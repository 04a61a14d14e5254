//! `peer`: a channel over pipes, as another program sees it. The clock stands, so nothing here depends on time.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use common::lines::{Program, all, only, out};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

const NOW: u64 = 1_700_000_000_000;

fn peer(sender: &str, more: &[&str]) -> Program {
    let now = NOW.to_string();
    let args = [&["--channel", "lobby", "--sender", sender, "--now", &now], more].concat();
    let mut peer = Program::peer(&args);
    peer.until("ready");
    peer
}

fn send(text: &str) -> Value {
    json!({"cmd": "send", "text": text})
}

fn receive(hex: &str) -> Value {
    json!({"cmd": "receive", "hex": hex})
}

fn at(ms: u64) -> Value {
    json!({"cmd": "clock", "ms": NOW + ms})
}

fn sweep() -> Value {
    json!({"cmd": "sweep"})
}

#[test]
fn two_exchange_a_message_and_its_acknowledgement() {
    let (mut alice, mut bob) = (peer("alice", &[]), peer("bob", &[]));
    let sent = alice.tell(send("hi"));
    let told = bob.tell(receive(&out(&sent, "content")));
    let id = &sent[0]["id"];
    let delivered = json!({"ev": "delivered", "id": id, "text": "hi", "hex": "6869", "sender": "alice",
        "lamport": NOW + 1, "late": false, "history": false, "missing": []});
    assert_eq!(told, [json!({"ev": "joined", "id": id, "history": 100}), delivered]);
    let told = bob.tell(send("hello"));
    let told = alice.tell(receive(&out(&told, "content")));
    assert_eq!(only(&told, "acked"), &json!({"ev": "acked", "id": id, "by": "bob"}));
    assert_eq!(only(&told, "delivered")["text"], "hello");
    let (ours, theirs) = (alice.state(), bob.state());
    assert_eq!((&ours["log"], &ours["outgoing"]), (&theirs["log"], &json!([])));
    assert_eq!((ours["log"].as_array().unwrap().len(), alice.end(), bob.end()), (2, 0, 0));
}

#[test]
fn a_duplicate_an_echo_and_an_ephemeral_message_are_told() {
    let (mut alice, mut bob) = (peer("alice", &[]), peer("bob", &[]));
    let sent = alice.tell(json!({"cmd": "send", "hex": "ff00", "id": "one", "hint": "shelf 3"}));
    let hex = out(&sent, "content");
    let told = bob.tell(receive(&hex));
    let delivered = only(&told, "delivered");
    assert_eq!((&delivered["id"], &delivered["hex"], delivered.get("text")), (&json!("one"), &json!("ff00"), None));
    assert_eq!(bob.tell(receive(&hex)), [json!({"ev": "duplicate", "id": "one"})]);
    assert_eq!(alice.tell(receive(&hex)), [json!({"ev": "echo", "id": "one"})]);
    let hex = out(&alice.tell(json!({"cmd": "ephemeral", "text": "typing"})), "ephemeral");
    let told = json!({"ev": "ephemeral", "text": "typing", "hex": "747970696e67", "sender": "alice"});
    assert_eq!(bob.tell(receive(&hex)), [told]);
}

#[test]
fn time_passes_by_command_alone() {
    let mut alice = peer("alice", &[]);
    let sent = alice.tell(send("hi"));
    assert_eq!(alice.tell(sweep()), [] as [Value; 0]);
    assert_eq!(alice.tell(at(20_000)), [] as [Value; 0]);
    let again = alice.tell(sweep());
    assert_eq!((out(&again, "resend").is_empty(), &again[0]["id"]), (false, &sent[0]["id"]));
    // The clock of the machine would have made it another Lamport time.
    alice.tell(send("more"));
    assert_eq!(alice.state()["lamport"], NOW + 20_000);
}

#[test]
fn what_is_missing_is_told_asked_for_and_answered() {
    let timing = ["--tmin", "1000", "--tmax", "3000", "--backfill", "100"];
    let (mut alice, mut bob) = (peer("alice", &timing), peer("bob", &timing));
    let lost = alice.tell(send("one"));
    let second = alice.tell(send("two"));
    let told = bob.tell(receive(&out(&second, "content")));
    let entries = json!([{"id": lost[0]["id"], "sender": "alice"}]);
    let missing = json!({"ev": "missing", "id": second[0]["id"], "ids": [lost[0]["id"]], "entries": entries});
    assert_eq!(only(&told, "missing"), &missing);
    let state = bob.state();
    assert_eq!((&state["incoming"], &state["log"]), (&json!([second[0]["id"]]), &json!([])));
    let t_req = state["repair_out"][0]["t_req"].as_u64().unwrap();
    assert!((NOW + 1_000..NOW + 3_000).contains(&t_req), "{t_req}");

    bob.tell(at(t_req - NOW - 1));
    let before = bob.tell(sweep());
    assert!(all(&before, "out").is_empty() || bob.state()["repair_out"][0]["t_req"] == t_req, "{before:?}");
    bob.tell(at(t_req - NOW));
    let request = out(&bob.tell(sweep()), "sync");
    // Bob asks two seconds after; half of T_min has passed since Alice sent it.
    alice.tell(at(t_req - NOW));
    let told = alice.tell(receive(&request));
    assert_eq!(only(&told, "repair_requested"), &json!({"ev": "repair_requested", "id": lost[0]["id"], "by": "bob"}));
    let answer = alice.tell(sweep());
    assert_eq!(only(&answer, "repair_answered")["id"], lost[0]["id"]);
    let answer = answer.iter().find(|told| told["kind"] == "repair").unwrap()["hex"].as_str().unwrap().to_owned();
    let told = bob.tell(receive(&answer));
    let texts: Vec<_> = all(&told, "delivered").iter().map(|delivered| delivered["text"].clone()).collect();
    assert_eq!(texts, ["one", "two"]);
}

#[test]
fn what_is_declared_met_or_lost_is_not_waited_for() {
    let mut alice = peer("alice", &[]);
    let gone = alice.tell(send("gone"));
    let first = out(&alice.tell(send("first")), "content");
    let mut bob = peer("bob", &["--backfill", "9"]);
    assert_eq!(only(&bob.tell(receive(&first)), "missing")["ids"], json!([gone[0]["id"]]));
    let told = bob.tell(json!({"cmd": "met", "ids": [gone[0]["id"]]}));
    assert_eq!(only(&told, "delivered")["text"], "first");

    let mut carol = peer("carol", &["--backfill", "9", "--lost", "60000", "--tmin", "1000", "--tmax", "2000"]);
    carol.tell(receive(&first));
    let mut lost = Vec::new();
    for second in 1..=120 {
        carol.tell(at(second * 1_000));
        lost.extend(carol.tell(sweep()));
    }
    assert_eq!(only(&lost, "lost"), &json!({"ev": "lost", "ids": [gone[0]["id"]]}));
    assert_eq!(
        (&only(&lost, "delivered")["text"], &only(&lost, "delivered")["missing"]),
        (&json!("first"), &json!([gone[0]["id"]]))
    );
}

#[test]
fn what_was_saved_is_there_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let data = ["--data", dir.path().to_str().unwrap()];
    let mut alice = peer("alice", &data);
    let sent = alice.tell(send("hi"));
    let before = alice.state();
    alice.kill();

    let mut alice = peer("alice", &data);
    assert_eq!(alice.state(), before);
    assert_eq!(before["outgoing"], json!([sent[0]["id"]]));
    alice.tell(at(20_000));
    let again = alice.tell(sweep());
    assert_eq!((&only(&again, "out")["kind"], &again[0]["id"]), (&json!("resend"), &sent[0]["id"]));
    assert_eq!(alice.end(), 0);
}

#[test]
fn every_engine_keeps_the_channel_and_none_opens_the_store_of_another() {
    for (engine, durability, another) in
        [("redb", "batched", "sled"), ("sled", "immediate", "sqlite"), ("sqlite", "os", "redb")]
    {
        let dir = tempfile::tempdir().unwrap();
        let options = ["--data", dir.path().to_str().unwrap(), "--store", engine, "--durability", durability];
        let mut alice = peer("alice", &options);
        alice.tell(send("hi"));
        let before = alice.state();
        assert_eq!(alice.end(), 0);
        let mut alice = peer("alice", &options);
        assert_eq!(alice.state(), before, "{engine}");
        assert_eq!(alice.end(), 0);

        let other = ["peer", "--channel", "lobby", "--sender", "alice", options[0], options[1], "--store", another];
        common::run(&other, b"").failed(1, &format!("it is one of {engine}"));
    }
}

#[test]
fn a_bad_line_is_an_error_told_and_the_next_is_read() {
    let mut alice = peer("alice", &[]);
    for (line, says) in [
        (&b"hello"[..], "not a JSON object"),
        (b"[1]", "not a JSON object"),
        (b"{", "not a JSON object"),
        (b"\xff\xfe", "must be UTF-8"),
        (b"{}", "missing field `cmd`"),
        (br#"{"cmd":"fly"}"#, "unknown variant `fly`"),
        (br#"{"cmd":"send"}"#, "either text or hex"),
        (br#"{"cmd":"send","text":"a","hex":"61"}"#, "either text or hex"),
        (br#"{"cmd":"send","text":"a","idd":"x"}"#, "unknown field `idd`"),
        (br#"{"cmd":"sync","now":1}"#, "unknown field `now`"),
        (br#"{"cmd":"quit","text":"a"}"#, "unknown field `text`"),
        (br#"{"cmd":"met","ids":[{"id_hex":"ff","id":"a"}]}"#, "with id_hex alone"),
        (br#"{"cmd":"send","hex":"6"}"#, "hex: "),
        (br#"{"cmd":"send","text":""}"#, "content is empty"),
        (br#"{"cmd":"send","text":"a","id":""}"#, "an id must have"),
        (br#"{"cmd":"receive","hex":"00"}"#, ""),
        (br#"{"cmd":"receive","hex":"zz"}"#, "hex: "),
        (br#"{"cmd":"sync","seq":-1}"#, "seq must be"),
        (br#"{"cmd":"clock"}"#, "missing field `ms`"),
        (br#"{"cmd":"met","ids":[""]}"#, "an id must have"),
    ] {
        alice.write(line);
        let told = alice.until("done");
        let line = String::from_utf8_lossy(line);
        assert_eq!((told.len(), &told[1]), (2, &json!({"ev": "done"})), "{line}");
        let message = told[0]["message"].as_str().unwrap();
        assert!(told[0]["ev"] == "error" && message.contains(says), "{line}: {message}");
    }
    alice.write(br#"{"cmd":"fly","seq":7}"#);
    assert_eq!(alice.until("done")[1], json!({"ev": "done", "seq": 7}));
    alice.write(&[b'x'; 6 << 20]);
    assert!(alice.until("done")[0]["message"].as_str().unwrap().contains("at most"));
    assert!(!out(&alice.tell(send("still here")), "content").is_empty());
    assert_eq!(alice.tell(json!({"cmd": "quit"})), [] as [Value; 0]);
    assert_eq!(alice.end(), 0);
}

/// Commands and messages with a byte changed, cut out or put in.
#[test]
fn whatever_a_line_holds_it_is_answered() {
    let mut chance = ChaCha8Rng::seed_from_u64(1);
    let (mut alice, mut bob) = (peer("alice", &[]), peer("bob", &[]));
    let mut refused = 0;
    for round in 0..800_u32 {
        let hex = out(&alice.tell(send(&format!("{round}"))), "content");
        let mut line = match round % 4 {
            0 => json!({"cmd": "send", "hex": "00ff", "id": "a", "hint": "b", "seq": round}).to_string(),
            1 => json!({"cmd": "met", "ids": ["a", {"id_hex": "ff"}], "seq": round}).to_string(),
            2 => String::new(),
            _ => json!({"cmd": "clock", "ms": NOW, "seq": round}).to_string(),
        }
        .into_bytes();
        let whole = line.is_empty();
        let (mut message, target) = (hex::decode(hex).unwrap(), chance.next_u64());
        let victim = if whole { &mut message } else { &mut line };
        let at = usize::try_from(target % victim.len() as u64).unwrap();
        match target >> 60 & 3 {
            0 => drop(victim.remove(at)),
            1 => victim.insert(at, (target >> 32) as u8),
            _ => victim[at] ^= 1 << (target >> 40 & 7),
        }
        if whole {
            line = receive(&hex::encode(message)).to_string().into_bytes();
        }
        // A line break makes two lines of one, and an empty one is none.
        line.retain(|byte| *byte != b'\n');
        bob.write(&line);
        let told = bob.until("done");
        refused += usize::from(!all(&told, "error").is_empty());
    }
    assert!((200..800).contains(&refused), "{refused}");
    assert_eq!(bob.end(), 0);
}

#[test]
fn in_the_nim_dialect_names_need_not_be_text_and_there_are_no_sync_messages() {
    let nim = ["--dialect", "nim"];
    let (mut alice, mut bob) = (peer("alice", &nim), peer("bob", &nim));
    let sent = alice.tell(json!({"cmd": "send", "text": "hi", "id_hex": "ff01"}));
    let told = bob.tell(receive(&out(&sent, "content")));
    let delivered = only(&told, "delivered");
    assert_eq!((&delivered["id_hex"], delivered.get("id")), (&json!("ff01"), None));
    assert_eq!(delivered["lamport"].as_u64().unwrap() % 1_000, 0);
    assert_eq!(bob.state()["log"], json!([{"id_hex": "ff01"}]));
    let told = alice.tell(receive(&out(&bob.tell(send("hello")), "content")));
    assert_eq!(only(&told, "acked"), &json!({"ev": "acked", "id_hex": "ff01", "by": "bob"}));
    assert!(all(&alice.ask(json!({"cmd": "sync"})), "out").is_empty());
    assert_eq!(all(&alice.ask(json!({"cmd": "ephemeral", "text": "typing"})), "error").len(), 1);
}

#[test]
fn the_other_network_is_told_once_and_understood() {
    let (mut js, mut nim) = (peer("alice", &["--dialect", "js"]), peer("bob", &["--dialect", "nim"]));
    for round in 0..2 {
        let told = nim.ask(receive(&out(&js.tell(send(&format!("from js {round}"))), "content")));
        assert_eq!((all(&told, "foreign_dialect").len(), all(&told, "delivered").len()), (1 - round, 1), "{told:#?}");
        let told = js.ask(receive(&out(&nim.tell(send(&format!("from nim {round}"))), "content")));
        assert_eq!((all(&told, "foreign_dialect").len(), all(&told, "delivered").len()), (1 - round, 1), "{told:#?}");
    }
}

#[test]
fn the_clock_of_the_machine_is_not_set() {
    let mut alice = Program::peer(&["--channel", "lobby", "--sender", "alice"]);
    alice.until("ready");
    let told = alice.ask(at(0));
    assert!(only(&told, "error")["message"].as_str().unwrap().contains("--now"), "{told:?}");
    assert_eq!(alice.tell(send("hi")).len(), 1);
}

#[test]
fn the_same_commands_at_the_same_time_give_the_same_bytes() {
    let run = || {
        let mut alice = peer("alice", &[]);
        (alice.tell(send("hi")), alice.tell(json!({"cmd": "sync"})))
    };
    assert_eq!(run(), run());
}

#[test]
fn options_that_make_no_sense_are_one_line() {
    common::run(&["peer", "--channel", "a"], b"").failed(2, "--sender");
    common::run(&["peer", "--channel", "a", "--sender", "b", "--dialect", "klingon"], b"").failed(2, "klingon");
    common::run(&["peer", "--channel", "a", "--sender", "b", "--groups", "0"], b"").failed(2, "--groups");
    common::run(&["peer", "--channel", "", "--sender", "b"], b"").failed(1, "channel id");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("channels.redb"), "hello, I am no store").unwrap();
    let data = dir.path().to_str().unwrap();
    common::run(&["peer", "--channel", "a", "--sender", "b", "--data", data], b"").failed(1, "is damaged");
    let fresh = tempfile::tempdir().unwrap();
    let data = fresh.path().to_str().unwrap();
    let os = ["peer", "--channel", "a", "--sender", "b", "--data", data, "--durability", "os"];
    common::run(&os, b"").failed(1, "SQLite alone, --store sqlite");
}

#[test]
fn an_own_message_is_sent_again_or_taken_back_when_asked() {
    let mut alice = peer("alice", &[]);
    let first = alice.tell(json!({"cmd": "send", "text": "one", "id": "m1"}));
    alice.tell(json!({"cmd": "send", "text": "two", "id": "m2"}));
    assert!(alice.tell(json!({"cmd": "resend", "id": "m1"})).is_empty());
    let resent = alice.tell(sweep());
    assert_eq!((&resent[0]["kind"], &resent[0]["id"]), (&json!("resend"), &json!("m1")), "{resent:?}");
    assert!(alice.tell(json!({"cmd": "withdraw", "id_hex": "6d31"})).is_empty());
    let state = alice.state();
    assert_eq!((&state["log"], &state["outgoing"]), (&json!(["m2"]), &json!(["m2"])));
    assert_eq!(alice.tell(receive(&out(&first, "content"))), [json!({"ev": "echo", "id": "m1"})]);
    for command in ["resend", "withdraw"] {
        let told = alice.ask(json!({"cmd": command, "id": "m1"}));
        assert_eq!(told, [json!({"ev": "error", "message": "message m1 is not known"})]);
        let told = alice.ask(json!({"cmd": command}));
        assert_eq!(told, [json!({"ev": "error", "message": "either id or id_hex is needed"})]);
    }
    assert_eq!(alice.end(), 0);
}

/// Everything that goes out reaches the other, and what that answers, until nobody says anything any more.
fn talk(peers: &mut [&mut Program; 2], from: usize, told: &[Value]) -> Vec<Value> {
    let mut queue: Vec<(usize, Value)> = told.iter().map(|told| (from, told.clone())).collect();
    let mut all = Vec::new();
    while !queue.is_empty() {
        let (from, told) = queue.remove(0);
        if told["ev"] == "out" {
            let to = 1 - from;
            let led_to = peers[to].tell(receive(told["hex"].as_str().unwrap()));
            queue.extend(led_to.into_iter().map(|told| (to, told)));
        }
        all.push(json!({"by": from, "told": told}));
    }
    all
}

#[test]
fn what_was_missed_is_fetched_on_command_and_read_page_by_page() {
    let (mut alice, mut bob) = (peer("alice", &[]), peer("bob", &[]));
    let first = alice.tell(send("first"));
    bob.tell(receive(&out(&first, "content")));
    for number in 1..=120 {
        alice.tell(send(&format!("number {number}")));
    }
    assert_eq!(bob.tell(json!({"cmd": "catch_up"})), [] as [Value; 0], "nobody was heard who could be asked");
    // Bob hears what Alice has, in a sync message with a digest.
    alice.tell(at(60_000));
    let sync = alice.tell(json!({"cmd": "sync"}));
    bob.tell(at(60_000));
    bob.tell(receive(&out(&sync, "sync")));
    assert_eq!(bob.state()["log"].as_array().unwrap().len(), 1);

    let asked = bob.tell(json!({"cmd": "catch_up"}));
    let told = json!({"ev": "sync_status", "state": "syncing", "received": 0, "missing": 0});
    assert_eq!(only(&asked, "sync_status"), &told);
    assert_eq!((&only(&asked, "out")["kind"], &only(&asked, "out")["to"]), (&json!("catch_up"), &json!("alice")));
    talk(&mut [&mut alice, &mut bob], 1, &asked);
    bob.tell(at(61_000));
    let more = bob.tell(sweep());
    talk(&mut [&mut alice, &mut bob], 1, &more);
    assert_eq!(bob.tell(json!({"cmd": "status"})), [json!({"ev": "sync_status", "state": "in_sync"})]);
    assert_eq!(bob.state()["log"], alice.state()["log"]);

    let mut texts = Vec::new();
    let (mut before, mut pages) = (Value::Null, 0);
    loop {
        let mut command = json!({"cmd": "history"});
        if before != Value::Null {
            command["before"] = before.clone();
        }
        let told = bob.tell(command);
        let page = only(&told, "history");
        let messages = page["messages"].as_array().unwrap();
        texts.extend(messages.iter().map(|message| message["text"].as_str().unwrap().to_owned()));
        pages += 1;
        if page["more"] == false {
            break;
        }
        before = messages.last().unwrap()["id"].clone();
    }
    texts.reverse();
    let said: Vec<String> = (1..=120).map(|number| format!("number {number}")).collect();
    assert_eq!((texts[0].as_str(), &texts[1..], pages), ("first", &said[..], 3));
    let told = bob.ask(json!({"cmd": "history", "before": "nobody said it", "limit": 1}));
    assert_eq!(only(&told, "error")["message"], "before is not in the log");
}

#[test]
fn who_has_a_key_believes_whoever_has_one_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let key = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (alice_key, bob_key) = (key("alice"), key("bob"));
    let (mut alice, mut bob) = (peer("alice", &["--key", &alice_key]), peer("bob", &["--key", &bob_key]));
    let hex = out(&alice.tell(send("hi")), "content");
    let told = bob.tell(receive(&hex));
    let sender = only(&told, "delivered")["sender"].as_str().unwrap().to_owned();
    assert_eq!((&sender[..6], sender.len()), ("alice/", 6 + 43));

    // Under alice's name, without her key and with another one.
    let mut stranger = peer(&sender, &[]);
    let forged = out(&stranger.tell(send("it is me")), "content");
    let told = bob.ask(receive(&forged));
    let refused = json!({"ev": "not_authentic", "id": only(&told, "not_authentic")["id"], "sender": sender,
        "why": "not signed", "count": 1});
    assert_eq!((only(&told, "not_authentic"), all(&told, "error").len()), (&refused, 1));
    assert_eq!(bob.state()["log"].as_array().unwrap().len(), 1);

    // The key is kept, for its owner alone.
    let mut again = peer("alice", &["--key", &alice_key]);
    let hex = out(&again.tell(send("again")), "content");
    assert_eq!(only(&bob.tell(receive(&hex)), "delivered")["sender"], sender);
}

#[cfg(unix)]
#[test]
fn a_key_is_made_for_its_owner_alone_and_refused_where_others_may_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let args = ["peer", "--channel", "lobby", "--sender", "alice", "--key", path.to_str().unwrap()];
    assert_eq!(common::run(&args, b"").code, 0);
    let made = std::fs::metadata(&path).unwrap();
    assert_eq!((made.len(), made.permissions().mode() & 0o777), (32, 0o600));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    common::run(&args, b"").failed(1, "others may read the key");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, [7; 31]).unwrap();
    common::run(&args, b"").failed(1, "it has 31 bytes, a key has 32");
}
