//! `chat --nats`, `peer --nats` and `archive --nats`, with a server of the test's own.

#![cfg(all(unix, feature = "nats"))]
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // tests, of real servers that take real time

mod common;
#[path = "../../nats/tests/common/mod.rs"]
mod servers;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use common::history;
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
    // It has said whose chat it is, for what is kept is shown before the server has answered.
    let [note, error] = chat.stderr.lines().collect::<Vec<_>>()[..] else { panic!("{}", chat.stderr) };
    assert!(note.starts_with("note: you are ") && error.starts_with("error: "), "{}", chat.stderr);
    assert!(error.contains("refuses these credentials") && chat.code == 1, "{error}");
    let archive = run(&["archive", "--channel", "c", "--data", data, "--nats", &server.url()], b"");
    archive.failed(1, "refuses these credentials");
    let peer = run(&["peer", "--channel", "c", "--sender", "a", "--nats", &server.url()], b"");
    peer.failed(1, "refuses these credentials");
}

/// A server that greets, and refuses who comes only when it is told to.
fn slow_to_refuse() -> (String, std::sync::mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (refuse, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let info = r#"INFO {"server_id":"A","version":"2.10.0","max_payload":1048576,"auth_required":true}"#;
        connection.write_all(format!("{info}\r\n").as_bytes()).unwrap();
        told.recv().unwrap();
        connection.write_all(b"-ERR 'Authorization Violation'\r\n").unwrap();
        // What it still says is read, or the system ends the connection before that line is.
        let _ = std::io::copy(&mut connection, &mut std::io::sink());
    });
    (format!("nats://127.0.0.1:{port}"), refuse)
}

#[test]
fn what_was_said_is_shown_before_the_server_has_answered() {
    let home = tempfile::tempdir().unwrap();
    history::keep(&home.path().join("data"), 3);
    let (url, refuse) = slow_to_refuse();
    let data = home.path().join("data");
    let args = ["chat", "--plain", "--nats", &url, "--name", "alice", "--data", data.to_str().unwrap()];
    let mut alice = Terminal::open(home.path(), &args);
    alice.shows("<bob> number 3");
    assert_eq!(alice.shown.len(), 3, "{:?}", alice.shown);
    // It has waited for that answer all the while: it is the first one's.
    refuse.send(()).unwrap();
    let (code, notes) = alice.ends();
    assert_eq!(code, Some(1), "{notes}");
    assert!(notes.lines().last().unwrap().contains("refuses these credentials"), "{notes}");
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
