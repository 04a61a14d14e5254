//! `chat --nats`, `peer --nats` and `archive --nats`, with a server of the test's own.

#![cfg(all(unix, feature = "nats"))]
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // tests, of real servers that take real time

mod common;
#[path = "../../nats/tests/common/mod.rs"]
mod servers;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use common::lines::Program;
use common::run;
use common::terminal::Terminal;
use serde_json::json;
use servers::{BOTH, Generation, Server, free_port};

/// A chat in lines.
fn chat(home: &Path, url: &str, name: &str) -> Terminal {
    Terminal::open(home, &["chat", "--plain", "--nats", url, "--name", name])
}

#[test]
fn two_chat_over_a_server_that_comes_late_and_is_gone_for_a_while() {
    let program = program_or_skip!(Generation::Newer);
    let (home, port) = (tempfile::tempdir().unwrap(), free_port());
    let url = format!("nats://127.0.0.1:{port}");
    let mut alice = chat(home.path(), &url, "alice");
    alice.types("is anybody there?");
    alice.shows("the network is not there");
    let mut server = Server::on(&program, port);
    alice.shows("\u{2713} is anybody there?");
    let mut bob = chat(home.path(), &url, "bob");
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
    let archive = run(&["archive", "--channel", "c", "--data", data, "--nats", &server.url()], b"");
    archive.failed(1, "refuses these credentials");
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

/// With the messages in the member's own store, and in a stream.
#[test]
fn an_archive_keeps_what_is_said_and_sends_it_when_nobody_else_is_there() {
    for (generation, jetstream) in BOTH.into_iter().zip([&["--jetstream"][..], &[][..]]) {
        let server = Server::start(&program_or_skip!(generation));
        let (home, data, url) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), server.url());
        let args = ["archive", "--channel", "lobby", "--nats", &url, "--data", data.path().to_str().unwrap()];
        let mut archive = Terminal::open(home.path(), &[&args[..], jetstream].concat());
        archive.shows("keeps lobby in");
        let mut alice = chat(home.path(), &url, "alice");
        for line in ["one", "two", "three"] {
            alice.types(line);
            alice.shows(&format!("\u{2713}\u{2713} {line} (archive)"));
        }
        alice.kill();
        // The chat's own stream forgets all, and the archive starts again.
        let (code, notes) = archive.interrupted();
        assert_eq!(code, Some(0), "{notes}");
        purge(&server);
        let mut archive = Terminal::open(home.path(), &[&args[..], jetstream].concat());
        archive.shows("keeps lobby in");
        let mut bob = chat(home.path(), &url, "bob");
        bob.types("is anybody there?");
        for line in ["one", "two", "three"] {
            bob.shows(&format!("<alice> {line}"));
        }
        assert_eq!(archive.interrupted().0, Some(0));
    }
}

/// Empties the stream of what was said, in the words of the protocol.
fn purge(server: &Server) {
    let mut server = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    server.write_all(b"CONNECT {}\r\nSUB a 1\r\nPUB $JS.API.STREAM.PURGE.rc a 0\r\n\r\n").unwrap();
    let answer = BufReader::new(server).lines().map(Result::unwrap).find(|line| line.starts_with("{\"type\""));
    assert!(answer.unwrap().contains("\"success\":true"));
}
