//! The programs in `tests/c`, compiled by the C compiler and run as processes: the interface as a host sees it.
//!
//! Each is linked with `libsds.so`, one of them with `libsds.a` too. Without a C compiler they are skipped, and say so;
//! with `RC_FFI=required` they must run. `RC_FFI_RUNNER` is put before each program, such as `valgrind --error-exitcode=9`.
//! `RC_FFI_LINK` is linked in place of `libsds.so`, and `RC_FFI_CFLAGS` given to the compiler.

#![allow(clippy::unwrap_used)]

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn the_scenarios_of_the_go_bindings_hold() {
    run("scenarios", &Link::Shared, &[], "11 scenarios");
}

#[test]
fn the_static_library_does_the_same() {
    run("scenarios", &Link::Static, &[], "11 scenarios");
}

#[test]
fn wrong_use_is_an_error_and_callbacks_may_call_in() {
    run("edges", &Link::Shared, &[], "13 edges");
}

#[test]
fn what_counts_as_sent_is_said_by_the_environment() {
    run("sent", &Link::Shared, &["10"], "10 of 30");
    run_with(&[("LIBSDS_MESSAGE_SENT", "nim")], "sent", &Link::Shared, &["30"], "30 of 30");
}

#[test]
fn threads_call_while_managers_end_and_begin() {
    let calls = env::var("RC_FFI_CALLS").unwrap_or_else(|_| "500".into());
    let threads = env::var("RC_FFI_THREADS").unwrap_or_else(|_| "8".into());
    run("churn", &Link::Shared, &[&threads, &calls], "at the end");
    if let Some(said) = run("rc_churn", &Link::Shared, &[&threads, &calls], "at the end") {
        println!("{said}");
    }
}

/// Under a checker there are fewer of them, or each takes more.
#[test]
fn a_thousand_managers_have_no_thread_and_no_descriptor() {
    let count = if words("RC_FFI_RUNNER").is_empty() { "1000" } else { "100" };
    let most = if words("RC_FFI_RUNNER").is_empty() && words("RC_FFI_LINK").is_empty() { "100" } else { "0" };
    if let Some(said) = run("many", &Link::Shared, &[count, most], "managers of libsds.h") {
        println!("{said}");
    }
}

/// For a while, when asked: `RC_FFI_SECONDS=3600 cargo test --release -p reliable-channel-ffi churn`. With `RC_FFI_PAUSE`, each
/// thread rests so many microseconds between two calls.
#[test]
fn churn_for_some_seconds_takes_no_more_and_more() {
    let Ok(seconds) = env::var("RC_FFI_SECONDS") else {
        skipped("churn for a while, because nobody said for how long (RC_FFI_SECONDS)");
        return;
    };
    let pause = env::var("RC_FFI_PAUSE").unwrap_or_else(|_| "0".into());
    let Some(said) = run("churn", &Link::Shared, &["8", "0", &seconds, &pause], "at the end") else { return };
    println!("{said}");
    let taken: Vec<[u64; 3]> = said.lines().map(numbers).collect();
    // From the third tenth on, when all that is kept for a while is there.
    let (settled, late) = (&taken[2..5], &taken[6..9]);
    let most = |of: &[[u64; 3]], at: usize| of.iter().map(|taken| taken[at]).max().unwrap();
    assert!(most(late, 0) < most(settled, 0) + 16 * 1024, "memory grows: {said}");
    // The callers, a callback in progress for each of 16 managers, and as many for those that have just ended.
    assert!(most(late, 1) <= 8 + 2 * 16 + 2, "threads grow: {said}");
    assert_eq!(most(late, 2), taken[0][2], "descriptors: {said}");
}

/// Kilobytes, threads and descriptors of a line.
fn numbers(line: &str) -> [u64; 3] {
    let numbers = line.rsplit(';').next().unwrap().split_whitespace().filter_map(|word| word.parse().ok());
    numbers.collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn the_c_interface_keeps_what_its_header_says() {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = folder.path().join("snapshot");
    std::fs::write(&snapshot, saved_by_nim()).unwrap();
    let arguments = [folder.path().to_str().unwrap(), snapshot.to_str().unwrap(), "channel-1", "alice"];
    let said = run("rc_scenarios", &Link::Shared, &arguments, "12 scenarios");
    assert!(said.is_none_or(|said| said.contains("2 messages of nim-sds")));
}

fn saved_by_nim() -> Vec<u8> {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/nim/snapshots.json");
    let all: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(vectors).unwrap()).unwrap();
    let whole = all["vectors"].as_array().unwrap().iter().find(|vector| vector["name"] == "meta + 2 history").unwrap();
    hex::decode(whole["hex"].as_str().unwrap()).unwrap()
}

#[test]
fn the_example_in_c_ends_well() {
    run("../../examples/talk", &Link::Shared, &[], "are you there?");
}

#[test]
fn the_example_in_cpp_ends_well() {
    run("../../examples/talk.cpp", &Link::Shared, &[], "bob has it");
}

enum Link {
    Shared,
    Static,
}

fn run(name: &str, link: &Link, arguments: &[&str], says: &str) -> Option<String> {
    run_with(&[], name, link, arguments, says)
}

/// Compiles a program and runs it in this environment; it must end well and say this. `None` where it was skipped.
fn run_with(environment: &[(&str, &str)], name: &str, link: &Link, arguments: &[&str], says: &str) -> Option<String> {
    let (variable, default, standard) =
        if name.ends_with(".cpp") { ("CXX", "c++", "-std=c++17") } else { ("CC", "cc", "-std=c11") };
    let source = if name.ends_with(".cpp") { name.to_owned() } else { format!("{name}.c") };
    let compiler = env::var(variable).unwrap_or_else(|_| default.into());
    if Command::new(&compiler).arg("--version").output().is_err() {
        assert!(env::var("RC_FFI").as_deref() != Ok("required"), "there is no compiler for it ({compiler})");
        skipped(&format!("{source}, because there is no compiler for it ({compiler})"));
        return None;
    }
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    let libraries = libraries();
    let mut command = Command::new(&compiler);
    command.args([standard, "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-g", "-O1", "-pthread"]);
    command.args(words("RC_FFI_CFLAGS"));
    command.arg("-I").arg(package.join("include"));
    command.arg("-o").arg(&program).arg(package.join("tests/c").join(source));
    let linked = words("RC_FFI_LINK");
    match link {
        _ if !linked.is_empty() => {
            command.args(linked);
        }
        Link::Shared => {
            command.arg(libraries.join("libsds.so")).arg(format!("-Wl,-rpath,{}", libraries.display()));
        }
        Link::Static => {
            command.arg(libraries.join("libsds.a"));
        }
    }
    let compiled = command.args(["-ldl", "-lm"]).output().unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));

    let mut runner = words("RC_FFI_RUNNER").into_iter();
    let mut command = match runner.next() {
        Some(first) => {
            let mut command = Command::new(first);
            command.args(runner).arg(&program);
            command
        }
        None => Command::new(&program),
    };
    let ran = command.args(arguments).envs(environment.iter().copied()).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{name}: {}\n{said}{}", ran.status, String::from_utf8_lossy(&ran.stderr));
    assert!(said.contains(says), "{name} said: {said}");
    Some(said)
}

fn skipped(what: &str) {
    // Not `eprintln!`, which a test that passes keeps to itself.
    let _ = writeln!(io::stderr(), "SKIPPED: {what}");
}

/// Where cargo put the libraries of this package: beside the test.
fn libraries() -> PathBuf {
    env::current_exe().unwrap().parent().unwrap().to_owned()
}

fn words(variable: &str) -> Vec<String> {
    env::var(variable).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}
