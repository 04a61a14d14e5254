//! Runs the program and looks at what it said.

#![allow(dead_code, clippy::unwrap_used)] // each test file uses its part; these are tests

pub mod history;
pub mod lines;
pub mod multicast;
pub mod relay;
pub mod terminal;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// How a run ended.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the program with these arguments and this input.
pub fn run(args: &[&str], input: &[u8]) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_reliable-channel"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Run {
    /// The one JSON object on stdout.
    pub fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{}\n{}", self.stdout, self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// The program failed with this code and one line, which says this.
    #[track_caller]
    pub fn failed(&self, code: i32, says: &str) {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "");
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        assert!(self.stderr.starts_with("error: ") && self.stderr.contains(says), "{}", self.stderr);
    }
}

/// A demo that was kept in `dir`.
pub fn keep_demo(dir: &Path, input: &str) {
    let run = run(&["demo", "--seed", "7", "--data", dir.to_str().unwrap(), "--json"], input.as_bytes());
    assert_eq!(run.code, 0, "{}", run.stderr);
}
