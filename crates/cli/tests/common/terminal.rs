//! A terminal: the program, what is typed into it, and what it shows.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// The longest silence on a screen: as long as a resend, and what follows it, may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal in which the program runs.
pub struct Terminal {
    child: Child,
    keyboard: Option<ChildStdin>,
    screen: Receiver<String>,
    pub shown: Vec<String>,
    notes: Option<JoinHandle<String>>,
}

impl Terminal {
    /// Starts the program; what the user has lies in this directory.
    pub fn open(home: &Path, args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_reliable-channel"))
            .args(args)
            .env("XDG_DATA_HOME", home)
            .env("LOCALAPPDATA", home)
            .env("USER", "alice")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (shows, screen) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().try_for_each(|line| shows.send(line.unwrap())));
        let mut stderr = child.stderr.take().unwrap();
        let notes = std::thread::spawn(move || {
            let mut notes = String::new();
            stderr.read_to_string(&mut notes).unwrap();
            notes
        });
        Self { keyboard: child.stdin.take(), child, screen, shown: Vec::new(), notes: Some(notes) }
    }

    pub fn types(&mut self, line: &str) {
        writeln!(self.keyboard.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits until a line with this in it is shown, or was.
    #[track_caller]
    pub fn shows(&mut self, part: &str) -> String {
        loop {
            if let Some(line) = self.shown.iter().find(|line| line.contains(part)) {
                return line.clone();
            }
            match self.screen.recv_timeout(PATIENCE) {
                Ok(line) => self.shown.push(line),
                Err(error) => panic!("no {part:?}: {error}; shown: {:#?}", self.shown),
            }
        }
    }

    /// Ends the input. Gives the exit code and what was said on stderr.
    pub fn ends(mut self) -> (Option<i32>, String) {
        self.keyboard = None;
        let code = self.child.wait().unwrap().code();
        (code, self.notes.take().unwrap().join().unwrap())
    }

    /// Ends it as Ctrl-C does. Gives the exit code and what was said on stderr.
    #[cfg(unix)]
    pub fn interrupted(self) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        self.ends()
    }

    /// Kills it, as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
