//! `chat` on the screen of a terminal: tmux types and looks.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::multicast;

/// How often a screen is looked at: in all as long as a resend, and what follows it, may take.
const LOOKS: u32 = 3_000;
/// How long it is left alone between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// A tmux server of this test alone, which ends with it.
struct Tmux {
    socket: tempfile::TempDir,
    port: u16,
}

impl Tmux {
    /// None where there is no tmux, or no multicast: that is said.
    fn start() -> Option<Self> {
        let version = Command::new("tmux").arg("-V").output();
        let required = std::env::var("RC_TERMINAL").is_ok_and(|value| value == "required");
        assert!(version.is_ok() || !required, "there is no tmux, and it is required");
        if let Some(error) = multicast::is_there().err().or(version.err()) {
            multicast::skipped("chat in a terminal, which takes tmux and multicast", &error);
            return None;
        }
        Some(Self { socket: tempfile::tempdir().unwrap(), port: multicast::free_port() })
    }

    fn tmux(&self, args: &[&str]) -> String {
        let socket = self.socket.path().join("socket");
        let output = Command::new("tmux").arg("-S").arg(socket).args(["-f", "/dev/null"]).args(args).output().unwrap();
        assert!(output.status.success(), "tmux {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// tmux misses the end of a program now and then, and notices it when another one ends.
    fn counts_its_dead(&self) {
        std::thread::sleep(PAUSE);
        self.tmux(&["run-shell", "true"]);
    }

    /// Opens a terminal of 60 times 12 characters in which somebody chats.
    fn chat(&self, home: &Path, name: &str, run: u32) -> Terminal<'_> {
        let pane = format!("{name}{run}");
        let program = env!("CARGO_BIN_EXE_reliable-channel");
        let port = self.port.to_string();
        let data = home.join(name);
        let new = ["new-session", "-d", "-s", &pane, "-x", "60", "-y", "12"];
        let chat = [program, "chat", "--interface", "127.0.0.1", "--port", &port, "--name", name, "--data"];
        let keep = [";", "set-option", "-w", "remain-on-exit", "on"];
        let all: Vec<&str> = new.into_iter().chain(chat).chain([data.to_str().unwrap()]).chain(keep).collect();
        self.tmux(&all);
        Terminal { tmux: self, pane }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let socket = self.socket.path().join("socket");
        let _ = Command::new("tmux").arg("-S").arg(socket).arg("kill-server").output();
    }
}

struct Terminal<'a> {
    tmux: &'a Tmux,
    pane: String,
}

impl Terminal<'_> {
    fn screen(&self) -> String {
        self.tmux.tmux(&["capture-pane", "-p", "-t", &self.pane])
    }

    /// Waits until all of this is on the screen at once.
    #[track_caller]
    fn shows(&self, parts: &[&str]) -> String {
        for _ in 0..LOOKS {
            let screen = self.screen();
            if parts.iter().all(|part| screen.contains(part)) {
                return screen;
            }
            std::thread::sleep(PAUSE);
        }
        panic!("not all of {parts:?} on the screen of {}:\n{}", self.pane, self.screen());
    }

    fn types(&self, text: &str) {
        self.tmux.tmux(&["send-keys", "-t", &self.pane, "-l", "--", text]);
        self.key("Enter");
    }

    fn key(&self, key: &str) {
        self.tmux.tmux(&["send-keys", "-t", &self.pane, key]);
    }

    fn asks(&self, what: &str) -> String {
        self.tmux.tmux(&["display-message", "-p", "-t", &self.pane, what]).trim().to_owned()
    }

    /// Kills it, as a power cut would, and waits until nothing is left of it.
    fn kill(self) {
        let pid = self.asks("#{pane_pid}");
        let sends = |signal: &str| {
            let command = format!("kill -{signal} {pid} 2>/dev/null");
            Command::new("sh").args(["-c", &command]).status().unwrap().success()
        };
        assert!(sends("9"));
        for _ in 0..LOOKS {
            if !sends("0") {
                return;
            }
            self.tmux.counts_its_dead();
        }
        panic!("{} outlives its end", self.pane);
    }

    /// Waits until the program has ended by itself. Gives its exit code, which tmux has later than the end of what
    /// the program writes.
    #[track_caller]
    fn ends(&self) -> String {
        for _ in 0..LOOKS {
            let code = self.asks("#{pane_dead_status}");
            if !code.is_empty() {
                return code;
            }
            self.tmux.counts_its_dead();
        }
        panic!("{} does not end:\n{}", self.pane, self.screen());
    }
}

#[test]
fn two_terminals_talk_and_one_that_was_killed_shows_what_was_said_before_and_meanwhile() {
    let Some(tmux) = Tmux::start() else { return };
    let home = tempfile::tempdir().unwrap();
    let alice = tmux.chat(home.path(), "alice", 1);
    alice.shows(&["lobby \u{b7} you are alice \u{b7} heard: nobody yet", "Ctrl-D leaves"]);
    let bob = tmux.chat(home.path(), "bob", 1);
    bob.shows(&["you are bob"]);
    alice.types("hello");
    bob.shows(&["<alice> hello", "heard: alice"]);
    bob.types("hi, alice");
    alice.shows(&["<alice> hello  \u{2713}\u{2713} bob", "<bob> hi, alice", "heard: bob"]);

    alice.kill();
    bob.types("are you there?");
    bob.shows(&["<bob> are you there?  \u{2713}"]);
    let alice = tmux.chat(home.path(), "alice", 2);
    alice.shows(&["<alice> hello  \u{2713}\u{2713}", "<bob> hi, alice"]);
    alice.shows(&["<bob> are you there?"]);
    alice.types("again");
    bob.shows(&["<bob> are you there?  \u{2713}\u{2713} alice", "<alice> again"]);

    // Twelve lines are less than all that follows.
    for number in 1..=12 {
        bob.types(&format!("number {number}"));
    }
    alice.shows(&["<bob> number 12"]);
    alice.key("PageUp");
    let screen = alice.shows(&["newer ones below", "<bob> number 1\n"]);
    assert!(!screen.contains("number 12"), "{screen}");
    alice.key("End");
    alice.shows(&["<bob> number 12"]);

    alice.key("C-d");
    assert_eq!(alice.ends(), "0");
}
