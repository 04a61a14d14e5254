//! `archive`: a member that keeps what is said, over real sockets.

#![allow(clippy::unwrap_used)] // helpers of tests are tests
#![cfg(unix)]

mod common;

use common::multicast::{self, free_port};
use common::run;
use common::terminal::Terminal;
use reliable_channel::store::{Archive, RedbPersistence};

#[test]
fn what_is_said_is_kept_until_it_is_interrupted() {
    if let Err(error) = multicast::is_there() {
        return multicast::skipped("archive, because this machine carries no multicast", &error);
    }
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port().to_string());
    let kept = dir.path().join("kept");
    let (kept, here) = (kept.to_str().unwrap(), ["--interface", "127.0.0.1", "--port", &port]);
    let archive = [&["archive", "--channel", "lobby", "--data", kept], &here[..]].concat();
    let mut archive = Terminal::open(dir.path(), &archive);
    archive.shows("keeps lobby in ");
    let mut alice = Terminal::open(dir.path(), &[&["chat", "--plain", "--name", "alice"], &here[..]].concat());
    alice.types("hello");
    alice.shows("\u{2713}\u{2713} hello (archive)");
    assert_eq!(archive.interrupted().0, Some(0));
    let store = RedbPersistence::open_read_only(kept).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let page = runtime.block_on(store.page(&"lobby".into(), None, 9)).unwrap();
    assert_eq!(page.iter().map(|body| body.content.clone()).collect::<Vec<_>>(), ["hello"]);
}

#[test]
fn a_network_that_cannot_be_joined_is_one_line_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let archive = ["archive", "--channel", "lobby", "--data", dir.path().to_str().unwrap()];
    run(&[&archive[..], &["--interface", "192.0.2.77"]].concat(), b"").failed(1, "or choose another --interface");
    run(&[&archive[..], &["--jetstream"]].concat(), b"").failed(2, "--nats");
}
