//! `archive`: a member that keeps what is said, over real sockets.

#![allow(clippy::unwrap_used)] // helpers of tests are tests
#![cfg(unix)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use common::multicast::{self, free_port};
use reliable_channel::store::{Archive, RedbPersistence};

struct Program {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Program {
    fn start(port: u16, args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_reliable-channel"))
            .args(args)
            .args(["--interface", "127.0.0.1", "--port", &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    /// The next line with this in it.
    fn shows(&mut self, part: &str) {
        let mut line = String::new();
        while !line.contains(part) {
            line.clear();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "it ended without {part:?}");
        }
    }

    fn ends(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_said_is_kept_until_it_is_interrupted() {
    if let Err(error) = multicast::is_there() {
        return multicast::skipped("archive, because this machine carries no multicast", &error);
    }
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let (kept, alice) = (dir.path().join("kept"), dir.path().join("alice"));
    let (kept, alice) = (kept.to_str().unwrap(), alice.to_str().unwrap());
    let mut archive = Program::start(port, &["archive", "--channel", "lobby", "--data", kept]);
    archive.shows("keeps lobby in ");
    let mut alice = Program::start(port, &["chat", "--plain", "--name", "alice", "--data", alice]);
    writeln!(alice.child.stdin.as_mut().unwrap(), "hello").unwrap();
    alice.shows("\u{2713}\u{2713} hello (archive)");
    assert_eq!(archive.ends(), Some(0));
    let store = RedbPersistence::open_read_only(kept).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let page = runtime.block_on(store.page(&"lobby".into(), None, 9)).unwrap();
    assert_eq!(page.iter().map(|body| body.content.clone()).collect::<Vec<_>>(), ["hello"]);
}
