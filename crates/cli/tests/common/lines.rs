//! A program that is spoken to in lines of JSON: `peer`, or the driver of another implementation that speaks like it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// A running program. What it says on stderr goes where the test's own goes.
pub struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    seq: u64,
}

impl Program {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { stdin: child.stdin.take(), child, stdout, seq: 0 }
    }

    /// Starts `peer` with these arguments.
    pub fn peer(args: &[&str]) -> Self {
        Self::start(Command::new(env!("CARGO_BIN_EXE_reliable-channel")).arg("peer").args(args))
    }

    /// The next line it says; `None` when it has ended.
    pub fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line).unwrap();
        (read > 0).then(|| serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    /// Everything it says up to and with a line of this kind.
    #[track_caller]
    pub fn until(&mut self, ev: &str) -> Vec<Value> {
        let mut told = Vec::new();
        while told.last().is_none_or(|last: &Value| last["ev"] != ev) {
            match self.line() {
                Some(line) => told.push(line),
                None => panic!("it ended before saying {ev}, with {}; it said {told:#?}", self.child.wait().unwrap()),
            }
        }
        told
    }

    /// Writes a line as it is.
    pub fn write(&mut self, line: &[u8]) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(line).and_then(|()| stdin.write_all(b"\n")).and_then(|()| stdin.flush()).unwrap();
    }

    /// Gives a command and returns what it led to, without the closing `done`.
    #[track_caller]
    pub fn ask(&mut self, mut command: Value) -> Vec<Value> {
        self.seq += 1;
        command["seq"] = json!(self.seq);
        self.write(command.to_string().as_bytes());
        let mut told = self.until("done");
        assert_eq!(told.pop().unwrap(), json!({"ev": "done", "seq": self.seq}));
        told
    }

    /// As [`ask`](Self::ask), where an error is the test's fault.
    #[track_caller]
    pub fn tell(&mut self, command: Value) -> Vec<Value> {
        let told = self.ask(command);
        assert_eq!(told.iter().find(|told| told["ev"] == "error"), None);
        told
    }

    /// Its state.
    #[track_caller]
    pub fn state(&mut self) -> Value {
        self.tell(json!({"cmd": "state"})).remove(0)
    }

    /// Closes its input and waits for its end.
    pub fn end(mut self) -> i32 {
        self.stdin = None;
        assert_eq!(self.line(), None);
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of one kind.
pub fn all<'a>(told: &'a [Value], ev: &str) -> Vec<&'a Value> {
    told.iter().filter(|told| told["ev"] == ev).collect()
}

/// The only line of one kind.
#[track_caller]
pub fn only<'a>(told: &'a [Value], ev: &str) -> &'a Value {
    let found = all(told, ev);
    assert_eq!(found.len(), 1, "{ev} in {told:#?}");
    found[0]
}

/// The message that goes out, when it is one and of this kind.
#[track_caller]
pub fn out(told: &[Value], kind: &str) -> String {
    let out = only(told, "out");
    assert_eq!(out["kind"], kind, "{told:#?}");
    out["hex"].as_str().unwrap().to_owned()
}
