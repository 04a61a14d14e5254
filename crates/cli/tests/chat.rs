//! `chat --plain`: people in terminals of one machine, over real sockets.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // tests, one of which measures

mod common;

use std::net::UdpSocket;
use std::path::Path;
use std::time::Instant;

use common::history;
use common::multicast::{self, free_port};
use common::relay::Relay;
use common::run;
use common::terminal::Terminal;

/// Starts a chat of the group on this port; what the user has lies in this directory.
fn open(home: &Path, port: u16, more: &[&str]) -> Terminal {
    let port = port.to_string();
    Terminal::open(home, &[&["chat", "--plain", "--interface", "127.0.0.1", "--port", &port], more].concat())
}

/// Whether this machine carries multicast to itself; otherwise says so.
fn can_chat() -> bool {
    let there = multicast::is_there();
    if let Err(error) = &there {
        multicast::skipped("chat, because this machine carries no multicast", error);
    }
    there.is_ok()
}

#[test]
fn two_talk_and_who_is_killed_finds_the_history_and_what_was_missed() {
    if !can_chat() {
        return;
    }
    let (home, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut alice = open(home.path(), port, &["--name", "alice"]);
    let mut bob = open(home.path(), port, &["--name", "bob"]);
    alice.types("hello");
    alice.shows("\u{2713} hello");
    bob.shows("<alice> hello");
    alice.shows("\u{2713}\u{2713} hello (bob)");
    bob.types("hi alice");
    alice.shows("<bob> hi alice");
    alice.kill();
    bob.types("meanwhile");
    bob.shows("\u{2713} meanwhile");

    let mut alice = open(home.path(), port, &["--name", "alice"]);
    alice.shows("<bob> hi alice");
    assert_eq!(alice.shown, ["<alice> hello", "<bob> hi alice"]);
    alice.shows("<bob> meanwhile");
    bob.shows("\u{2713}\u{2713} meanwhile (alice)");
    let (code, notes) = alice.ends();
    assert_eq!(code, Some(0), "{notes}");
    assert!(notes.contains("note: you are alice in lobby"), "{notes}");
    assert_eq!(bob.ends().0, Some(0));
}

#[test]
fn terminals_without_a_name_are_two_people_and_channels_are_apart() {
    if !can_chat() {
        return;
    }
    let (home, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut one = open(home.path(), port, &[]);
    let mut apart = open(home.path(), port, &["--channel", "kitchen"]);
    let mut two = open(home.path(), port, &[]);
    // A message that is sent before the other has joined is heard later.
    one.types("\u{1b}[31mred\u{7}");
    let line = two.shows("red");
    assert!(line.starts_with("<alice-") && line.ends_with(" [31mred "), "{line:?}");
    two.types("heard");
    one.shows("> heard");
    let names = [&one, &two].map(|terminal| terminal.shown.iter().find(|line| line.starts_with('<')).cloned());
    assert_ne!(names[0].as_ref().unwrap().split('>').next(), names[1].as_ref().unwrap().split('>').next());
    apart.types("alone");
    apart.shows("\u{2713} alone");
    assert!(!apart.shown.iter().any(|line| line.starts_with('<')), "{:?}", apart.shown);
    let (code, notes) = apart.ends();
    assert_eq!(code, Some(0));
    assert!(notes.contains("nobody is known to have all that you said"), "{notes}");
}

#[test]
fn a_line_that_no_datagram_carries_arrives_whole() {
    if !can_chat() {
        return;
    }
    let (home, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut alice = open(home.path(), port, &["--name", "alice"]);
    let mut bob = open(home.path(), port, &["--name", "bob"]);
    let long = "x".repeat(200_000);
    alice.types(&long);
    assert!(bob.shows("<alice> x").ends_with(&long));
    alice.shows("\u{2713}\u{2713} x");
}

/// Bytes of which no two pieces are alike.
fn content(bytes: u32) -> Vec<u8> {
    (0..bytes).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Sends a file of so many bytes to somebody behind a network that loses a tenth. Gives the bytes on that network.
/// With `until_known` only once she knows that he has it.
fn sends_a_file(bytes: u32, about: &str, until_known: bool) -> u64 {
    let (home, ports) = (tempfile::tempdir().unwrap(), [free_port(), free_port()]);
    let path = home.path().join("a photo.jpg");
    std::fs::write(&path, content(bytes)).unwrap();
    let relay = Relay::start(ports, 10);
    let mut alice = open(home.path(), ports[0], &["--name", "alice"]);
    let mut bob = open(home.path(), ports[1], &["--name", "bob"]);
    alice.types("/file none.jpg");
    alice.shows("* not sent: there is no file none.jpg");
    alice.types("+ <bob> a photo.jpg, 1 bytes, in /etc/passwd");
    bob.shows("<alice> + <bob> a photo.jpg");
    alice.types(&format!("/file {}", path.display()));
    let line = bob.shows(&format!("+ <alice> {about}, in "));
    assert!(line.starts_with("+ <alice>"), "{line}");
    let kept = line.split_once(", in ").unwrap().1.to_owned();
    assert!(kept.starts_with(home.path().to_str().unwrap()) && kept.ends_with("a photo.jpg"), "{kept}");
    assert!(std::fs::read(&kept).unwrap() == content(bytes));
    if until_known {
        alice.shows(&format!("\u{2713}\u{2713} {about} (bob)"));
    }
    bob.kill();
    alice.kill();
    // Both have it still, and a text is still a text.
    let mut bob = open(home.path(), ports[1], &["--name", "bob"]);
    let mut alice = open(home.path(), ports[0], &["--name", "alice"]);
    bob.shows(&line);
    alice.shows(&format!("+ <alice> {about}"));
    alice.shows("<alice> + <bob>");
    relay.bytes()
}

#[test]
fn a_file_crosses_a_network_that_loses_a_tenth_and_is_there_after_a_restart() {
    if can_chat() {
        sends_a_file(300_000, "a photo.jpg, 300.0 kB", false);
    }
}

#[test]
#[ignore = "it measures"]
fn a_file_of_five_megabytes_takes_at_most_two_and_a_half_times_its_bytes() {
    if can_chat() {
        let bytes = sends_a_file(5_000_000, "a photo.jpg, 5.0 MB", true);
        println!("{bytes} bytes on the network, {:.2} times those of the file", bytes as f64 / 5e6);
        assert!(bytes < 12_500_000);
    }
}

#[test]
#[ignore = "it measures"]
fn the_first_screen_shows_a_history_of_five_thousand() {
    if !can_chat() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    history::keep(&data, 5_000);
    let mut times: Vec<_> = (0..20)
        .map(|_| {
            let began = Instant::now();
            let args = ["--name", "alice", "--data", data.to_str().unwrap()];
            let mut alice = open(home.path(), free_port(), &args);
            alice.shows("<bob> number 5000");
            let took = began.elapsed();
            alice.kill();
            took
        })
        .collect();
    times.sort();
    println!(
        "from the start to the last of the history: {:?} at best, {:?}, {:?} at worst",
        times[0], times[10], times[19]
    );
}

#[test]
fn every_error_is_one_line_that_says_what_to_do() {
    if !can_chat() {
        return;
    }
    let (home, port) = (tempfile::tempdir().unwrap(), free_port());
    let chat = |more: &[&str]| run(&[&["chat", "--plain"], more].concat(), b"");
    let data = home.path().join("data");
    let data = data.to_str().unwrap();
    let owner = UdpSocket::bind("0.0.0.0:0").unwrap();
    let taken = owner.local_addr().unwrap().port().to_string();
    chat(&["--data", data, "--name", "alice", "--port", &taken]).failed(1, "all members can use another port");
    chat(&["--data", data, "--name", "alice", "--interface", "192.0.2.77"]).failed(1, "no network interface carries");
    chat(&["--data", data, "--name", "bob"]).failed(1, "is alice's; leave out --name");
    let mut alice = open(home.path(), port, &["--data", data]);
    alice.types("hi");
    alice.shows("\u{2713} hi");
    chat(&["--data", data]).failed(1, "is in use");
    chat(&["--port", "0"]).failed(2, "--port");
    assert_eq!(alice.ends().0, Some(0));
}
