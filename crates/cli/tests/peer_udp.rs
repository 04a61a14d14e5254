//! `peer --udp`: two programs over real sockets of one machine.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::collections::BTreeSet;
use std::net::UdpSocket;

use common::lines::{Program, all};
use common::multicast::{self, free_port};
use common::run;
use serde_json::json;

/// The options of a peer on this machine.
fn on(port: u16) -> Vec<String> {
    ["--udp", "--interface", "127.0.0.1", "--port", &port.to_string()].map(ToOwned::to_owned).to_vec()
}

fn peer(sender: &str, options: &[String]) -> Program {
    let of = ["--channel", "c", "--sender", sender].into_iter();
    let mut peer = Program::peer(&of.chain(options.iter().map(String::as_str)).collect::<Vec<_>>());
    peer.until("ready");
    peer
}

fn can_meet() -> bool {
    let there = multicast::is_there();
    if let Err(error) = &there {
        multicast::skipped("peer --udp, because this machine carries no multicast", error);
    }
    there.is_ok()
}

#[test]
fn two_peers_hear_each_other_over_multicast_and_what_was_missed_is_repaired() {
    if !can_meet() {
        return;
    }
    let options = on(free_port());
    let mut alice = peer("alice", &options);
    // Nobody hears the first one.
    alice.tell(json!({"cmd": "send", "text": "one"}));
    let mut bob = peer("bob", &[&options[..], &["--tmin", "0", "--tmax", "1"].map(ToOwned::to_owned)].concat());
    let said = alice.tell(json!({"cmd": "send", "text": "two"}));
    assert_eq!(all(&said, "out").len(), 1, "what is published is told, too: {said:?}");
    // One of them he hears, and the other he asks for, unless it is sent again before.
    let (mut heard, mut answered) = (Vec::new(), Vec::new());
    while all(&heard, "delivered").len() < 2 {
        heard.extend(bob.tell(json!({"cmd": "sweep"})));
        answered.extend(alice.tell(json!({"cmd": "sweep"})));
    }
    let texts: BTreeSet<_> = all(&heard, "delivered").iter().map(|told| told["text"].to_string()).collect();
    assert_eq!(texts, BTreeSet::from(["\"one\"", "\"two\""].map(ToOwned::to_owned)), "{heard:?}");
    bob.tell(json!({"cmd": "send", "text": "three"}));
    answered.extend(alice.until("delivered"));
    assert_eq!(answered.last().unwrap()["text"], "three");
    assert!(!all(&answered, "acked").is_empty(), "{answered:?}");
    assert_eq!((alice.end(), bob.end()), (0, 0));
}

#[test]
fn what_no_datagrams_carry_is_refused_and_changes_nothing() {
    if !can_meet() {
        return;
    }
    let mut alice = peer("alice", &on(free_port()));
    let told = alice.ask(json!({"cmd": "send", "text": "x".repeat(70_000)}));
    assert_eq!(told.len(), 1, "{:?}", told.iter().map(|told| &told["ev"]).collect::<Vec<_>>());
    assert!(told[0]["message"].as_str().unwrap().contains("65536"), "{}", told[0]);
    assert_eq!(alice.state()["log"], json!([]));
}

#[test]
fn what_cannot_be_joined_is_one_line() {
    let peer = |more: &[&str]| run(&[&["peer", "--channel", "c", "--sender", "a"], more].concat(), b"");
    peer(&["--port", "4000"]).failed(2, "--udp");
    peer(&["--udp", "--nats", "nats://127.0.0.1:1"]).failed(2, "cannot be used with");
    peer(&["--udp", "--interface", "192.0.2.77"]).failed(1, "choose another --interface");
    let owner = UdpSocket::bind("0.0.0.0:0").unwrap();
    let taken = owner.local_addr().unwrap().port().to_string();
    peer(&["--udp", "--port", &taken]).failed(1, "all members can use another port");
}
