//! The driver of the other implementation, where it can be run.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use reliable_channel::types::Dialect;

use crate::common::lines::Program;

/// Both clocks begin here.
pub const NOW: u64 = 1_700_000_000_000;
pub const CHANNEL: &str = "lobby";

/// Dialects as `peer` names them.
pub const JS: &str = "js";
pub const LIP109: &str = "lip109";

/// The first, as the library has it.
pub const LIBRARY_DIALECT: Dialect = Dialect::JsWaku;

/// The driver as the participant `js`; `None`, and a line on stderr, where it cannot be run.
pub fn driver(more: &[&str]) -> Option<Program> {
    let dir = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/js"));
    let missing = if !node_runs() {
        "node does not run"
    } else if !dir.join("node_modules/@waku/sds").exists() {
        "tests/interop/js/node_modules is missing, `npm ci` in tests/interop/js makes it"
    } else {
        let mut command = Command::new("node");
        command.arg(dir.join("driver.mjs")).args(["--channel", CHANNEL, "--sender", "js", "--now", &NOW.to_string()]);
        let mut program = Program::start(command.args(more));
        program.until("ready");
        return Some(program);
    };
    assert_ne!(std::env::var("RC_INTEROP").as_deref(), Ok("required"), "{missing}");
    let test = std::thread::current().name().unwrap_or("interop").to_owned();
    // Not by a macro: those are silent in tests that pass.
    std::io::stderr().write_all(format!("SKIPPED {test} against @waku/sds: {missing}\n").as_bytes()).unwrap();
    None
}

/// Our side, as the participant `rust`.
pub fn peer(now: u64, more: &[&str]) -> Program {
    member("rust", JS, now, more)
}

/// A participant of ours: a founding member, which takes nothing it never heard for met.
pub fn member(sender: &str, dialect: &str, now: u64, more: &[&str]) -> Program {
    let (now, all) = (now.to_string(), u64::MAX.to_string());
    let args = ["--channel", CHANNEL, "--sender", sender, "--dialect", dialect, "--now", &now, "--backfill", &all];
    let mut peer = Program::peer(&[&args, more].concat());
    peer.until("ready");
    peer
}

fn node_runs() -> bool {
    let run = Command::new("node").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}
