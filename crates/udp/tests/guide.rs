//! docs/build-a-chat.md: its blocks are examples/chat.rs, and that program chats.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

#[allow(dead_code, reason = "`main` is not called here")]
#[path = "../examples/chat.rs"]
mod chat;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reliable_channel::transport::MemoryNetwork;
use tokio::io::{AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

#[test]
fn the_blocks_of_the_guide_are_the_program() {
    let guide = include_str!("../../../docs/build-a-chat.md");
    let blocks: Vec<&str> = guide.split("```rust\n").skip(1).map(|block| block.split_once("```").unwrap().0).collect();
    let (header, program) = include_str!("../examples/chat.rs").split_once("\n\n").unwrap();
    assert!(header.starts_with("//!"), "{header}");
    assert_eq!(blocks.join("\n"), program);
    let lines = format!("in {} lines", program.lines().count());
    assert!(guide.contains(&lines), "the program is one {lines}");
}

/// A chat that runs, its keyboard and its screen.
struct Running {
    keyboard: DuplexStream,
    screen: UnboundedReceiver<String>,
    shown: Vec<String>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(name: &'static str, folder: PathBuf, network: &MemoryNetwork, key: u8) -> Self {
        let (keyboard, typed) = duplex(1_000);
        let (shows, screen) = unbounded_channel();
        let member = network.member();
        let task = tokio::spawn(async move {
            let show = move |line| drop(shows.send(line));
            chat::chat(name, Path::new(&folder), member, [key; 32], BufReader::new(typed), show).await.unwrap();
        });
        Self { keyboard, screen, shown: Vec::new(), task }
    }

    async fn says(&mut self, line: &str) {
        self.keyboard.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Waits until a line with this in it is shown, or was.
    async fn shows(&mut self, part: &str) -> String {
        // As long as what is asked for may take.
        let patience = tokio::time::sleep(Duration::from_secs(60));
        tokio::pin!(patience);
        loop {
            if let Some(line) = self.shown.iter().find(|line| line.contains(part)) {
                return line.clone();
            }
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_chat_send_a_file_come_back_and_come_late_and_who_has_no_key_hears_nothing() {
    let folders = tempfile::tempdir().unwrap();
    let folder = |name: &str| folders.path().join(name);
    let network = MemoryNetwork::new();
    let mut alice = Running::start("alice", folder("alice"), &network, 1);
    let mut bob = Running::start("bob", folder("bob"), &network, 1);
    let mut mallory = Running::start("mallory", folder("mallory"), &network, 2);

    alice.says("hello").await;
    bob.shows("  alice: hello").await;
    bob.says("hi alice").await;
    alice.shows("  bob: hi alice").await;
    alice.says("").await;
    alice.shows("! not sent: content is empty").await;
    mallory.says("let me in").await;
    mallory.shows("\u{2713} ").await;

    let photo = folders.path().join("..photo.jpg");
    fs::write(&photo, vec![7; 300_000]).unwrap();
    alice.says("/file nowhere").await;
    alice.shows("! not sent: No such file").await;
    alice.says(&format!("/file {}", photo.display())).await;
    let line = bob.shows("  alice sends ").await;
    let kept = line.trim_start_matches("  alice sends ");
    assert!(Path::new(kept).starts_with(folder("bob")) && kept.ends_with("-..photo.jpg"), "{kept}");
    assert_eq!(fs::read(kept).unwrap(), fs::read(&photo).unwrap());
    bob.ends().await;
    alice.says("meanwhile").await;

    let mut bob = Running::start("bob", folder("bob"), &network, 1);
    bob.shows("  bob: hi alice").await;
    bob.shows(&line).await;
    bob.shows("  alice: meanwhile").await;
    let mut carol = Running::start("carol", folder("carol"), &network, 1);
    carol.says("here I am").await;
    alice.shows("  carol: here I am").await;
    alice.says("welcome").await;
    carol.shows("  alice: welcome").await;
    carol.shows("  alice: hello (history)").await;
    alice.shows("\u{2713}\u{2713}").await;
    for chat in [alice, bob, carol] {
        assert!(!chat.shown.iter().any(|line| line.contains("let me in")), "{:#?}", chat.shown);
        chat.ends().await;
    }
    assert!(!mallory.shown.iter().any(|line| line.contains("hello")), "{:#?}", mallory.shown);
    mallory.ends().await;
}
