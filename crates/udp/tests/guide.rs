//! docs/build-a-chat.md: its blocks are examples/chat.rs, and that program chats.

#![cfg(all(feature = "manager", feature = "redb"))]
#![allow(clippy::unwrap_used)] // helpers of tests are tests

#[allow(dead_code, reason = "`main` is not called here")]
#[path = "../examples/chat.rs"]
mod chat;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chat::Network;
use tokio::io::{AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

#[test]
fn the_blocks_of_the_guide_are_the_program() {
    let guide = include_str!("../docs/build-a-chat.md");
    let blocks: Vec<&str> = guide.split("```rust\n").skip(1).map(|block| block.split_once("```").unwrap().0).collect();
    let (header, program) = include_str!("../examples/chat.rs").split_once("\n\n").unwrap();
    assert!(header.starts_with("//!"), "{header}");
    assert_eq!(blocks.join("\n"), program);
}

/// A chat that runs, its keyboard and its screen.
struct Running {
    keyboard: DuplexStream,
    screen: UnboundedReceiver<String>,
    shown: Vec<String>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(name: &'static str, folder: PathBuf, socket: UdpSocket, peer: SocketAddr) -> Self {
        let (keyboard, typed) = duplex(1_000);
        let (shows, screen) = unbounded_channel();
        let network = Arc::new(Network { socket, peers: vec![peer] });
        let task = tokio::spawn(async move {
            let show = move |line| drop(shows.send(line));
            chat::chat(name, Path::new(&folder), network, BufReader::new(typed), show).await.unwrap();
        });
        Self { keyboard, screen, shown: Vec::new(), task }
    }

    async fn says(&mut self, line: &str) {
        self.keyboard.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Waits until a line with this in it is shown, or was.
    async fn shows(&mut self, part: &str) {
        // As long as a resend and what follows it take, for a packet may be lost.
        let patience = tokio::time::sleep(Duration::from_secs(60));
        tokio::pin!(patience);
        while !self.shown.iter().any(|line| line.contains(part)) {
            tokio::select! {
                line = self.screen.recv() => self.shown.push(line.unwrap()),
                () = &mut patience => panic!("no {part:?} on the screen: {:#?}", self.shown),
            }
        }
    }

    async fn ends(self) {
        drop(self.keyboard);
        self.task.await.unwrap();
    }
}

async fn bind() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_chat_and_one_that_comes_back_finds_its_log() {
    let folders = tempfile::tempdir().unwrap();
    let folder = |name: &str| folders.path().join(name);
    let (alices, bobs) = (bind().await, bind().await);
    let (alice_at, bob_at) = (alices.local_addr().unwrap(), bobs.local_addr().unwrap());
    let mut alice = Running::start("alice", folder("alice"), alices, bob_at);
    let mut bob = Running::start("bob", folder("bob"), bobs, alice_at);

    alice.says("hello").await;
    bob.shows("  alice: hello").await;
    bob.says("hi alice").await;
    alice.shows("\u{2713}\u{2713}").await;
    alice.shows("  bob: hi alice").await;
    alice.says("").await;
    alice.shows("! not sent: content is empty").await;
    bob.ends().await;
    alice.ends().await;

    let mut alice = Running::start("alice", folder("alice"), bind().await, bob_at);
    alice.shows("  alice: hello").await;
    alice.shows("  bob: hi alice").await;
    alice.ends().await;
}
