//! `chat --nats` and `peer --nats`, with a server of the test's own.

#![cfg(feature = "nats")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // tests, of real servers that take real time

mod common;
#[path = "../../nats/tests/common/mod.rs"]
mod servers;

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use common::lines::Program;
use common::run;
use serde_json::json;
use servers::{Generation, Server, free_port};

/// A chat in lines.
struct Chat {
    child: Child,
    keyboard: ChildStdin,
    screen: Lines<BufReader<ChildStdout>>,
}

impl Chat {
    fn open(home: &Path, url: &str, name: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_reliable-channel"))
            .args(["chat", "--plain", "--nats", url, "--name", name])
            .env("XDG_DATA_HOME", home)
            .env("LOCALAPPDATA", home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let screen = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { keyboard: child.stdin.take().unwrap(), child, screen }
    }

    fn types(&mut self, line: &str) {
        writeln!(self.keyboard, "{line}").unwrap();
    }

    /// Waits for a line with this in it.
    #[track_caller]
    fn shows(&mut self, part: &str) {
        assert!(self.screen.by_ref().any(|line| line.unwrap().contains(part)), "no {part:?}");
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn two_chat_over_a_server_that_comes_late_and_is_gone_for_a_while() {
    let program = program_or_skip!(Generation::Newer);
    let (home, port) = (tempfile::tempdir().unwrap(), free_port());
    let url = format!("nats://127.0.0.1:{port}");
    let mut alice = Chat::open(home.path(), &url, "alice");
    alice.types("is anybody there?");
    alice.shows("the network is not there");
    let mut server = Server::on(&program, port);
    alice.shows("\u{2713} is anybody there?");
    let mut bob = Chat::open(home.path(), &url, "bob");
    bob.shows("<alice> is anybody there?");
    alice.shows("\u{2713}\u{2713} is anybody there? (bob)");
    server.kill();
    bob.shows("the network is not there");
    bob.types("hello");
    server.up();
    alice.shows("<bob> hello");
}

#[test]
fn wrong_credentials_are_one_line_and_no_chat() {
    let program = program_or_skip!(Generation::Newer);
    let server = Server::with(&program, "authorization { token: right }\n");
    let home = tempfile::tempdir().unwrap();
    let data = home.path().to_str().unwrap();
    let chat = run(&["chat", "--plain", "--data", data, "--nats", &server.url()], b"");
    chat.failed(1, "refuses these credentials");
    let peer = run(&["peer", "--channel", "c", "--sender", "a", "--nats", &server.url()], b"");
    peer.failed(1, "refuses these credentials");
}

#[test]
fn two_peers_hear_each_other_over_a_server() {
    let program = program_or_skip!(Generation::Older);
    let server = Server::start(&program);
    let peer = |sender| Program::peer(&["--channel", "c", "--sender", sender, "--nats", &server.url()]);
    let (mut alice, mut bob) = (peer("alice"), peer("bob"));
    for peer in [&mut alice, &mut bob] {
        peer.until("ready");
    }
    let said = alice.ask(json!({"cmd": "send", "text": "hello"}));
    assert!(said.iter().any(|told| told["ev"] == "out"), "{said:?}");
    let heard = bob.until("delivered");
    assert_eq!(heard.last().unwrap()["text"], "hello");
    bob.ask(json!({"cmd": "send", "text": "hi"}));
    let heard = alice.until("delivered");
    assert_eq!(heard.last().unwrap()["text"], "hi");
    assert!(heard.iter().any(|told| told["ev"] == "acked"), "{heard:?}");
}
