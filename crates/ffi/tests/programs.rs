//! The programs in `tests/c`, compiled by the C compiler and run as processes: the interface as a host sees it.
//!
//! Each is linked with `libsds.so`, one of them with `libsds.a` too. Without a C compiler they are skipped, and say so;
//! with `RC_FFI=required` they must run. `RC_FFI_RUNNER` is put before each program, such as `valgrind --error-exitcode=9`.
//! `RC_FFI_LINK` is linked in place of `libsds.so`, and `RC_FFI_CFLAGS` given to the compiler.

#![allow(clippy::unwrap_used)]

use std::env;
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
    run("edges", &Link::Shared, &[], "12 edges");
}

#[test]
fn threads_call_while_managers_end_and_begin() {
    let calls = env::var("RC_FFI_CALLS").unwrap_or_else(|_| "500".into());
    let threads = env::var("RC_FFI_THREADS").unwrap_or_else(|_| "8".into());
    run("churn", &Link::Shared, &[&threads, &calls], "at the end");
}

/// For a while, when asked: `RC_FFI_SECONDS=3600 cargo test --release -p reliable-channel-ffi churn`.
#[test]
fn churn_for_some_seconds_takes_no_more_and_more() {
    let Ok(seconds) = env::var("RC_FFI_SECONDS") else {
        println!("SKIPPED: without RC_FFI_SECONDS nobody said for how long");
        return;
    };
    let Some(said) = run("churn", &Link::Shared, &["8", "0", &seconds], "at the end") else { return };
    println!("{said}");
    let numbers = |line: &str| -> Vec<u64> {
        line.rsplit(';').next().unwrap().split_whitespace().filter_map(|word| word.parse().ok()).collect()
    };
    let [first, last] =
        ["after a tenth", "at the end"].map(|when| numbers(said.lines().find(|line| line.starts_with(when)).unwrap()));
    let ([first_kb, ..], [last_kb, _, last_descriptors]) = (&first[..], &last[..]) else { panic!("{said}") };
    assert!(*last_kb < first_kb + 48 * 1024, "{said}");
    assert_eq!(*last_descriptors, first[2], "{said}");
}

#[test]
fn the_c_interface_keeps_what_its_header_says() {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = folder.path().join("snapshot");
    std::fs::write(&snapshot, saved_by_nim()).unwrap();
    let arguments = [folder.path().to_str().unwrap(), snapshot.to_str().unwrap(), "channel-1", "alice"];
    let said = run("rc_scenarios", &Link::Shared, &arguments, "10 scenarios");
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

/// Compiles and runs a program; it must end well and say this. `None` where it was skipped.
fn run(name: &str, link: &Link, arguments: &[&str], says: &str) -> Option<String> {
    let (variable, default, standard) =
        if name.ends_with(".cpp") { ("CXX", "c++", "-std=c++17") } else { ("CC", "cc", "-std=c11") };
    let source = if name.ends_with(".cpp") { name.to_owned() } else { format!("{name}.c") };
    let compiler = env::var(variable).unwrap_or_else(|_| default.into());
    if Command::new(&compiler).arg("--version").output().is_err() {
        assert!(env::var("RC_FFI").as_deref() != Ok("required"), "there is no compiler for it ({compiler})");
        println!("SKIPPED: {source}, because there is no compiler for it ({compiler})");
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
    let ran = command.args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{name}: {}\n{said}{}", ran.status, String::from_utf8_lossy(&ran.stderr));
    assert!(said.contains(says), "{name} said: {said}");
    Some(said)
}

/// Where cargo put the libraries of this package: beside the test.
fn libraries() -> PathBuf {
    env::current_exe().unwrap().parent().unwrap().to_owned()
}

fn words(variable: &str) -> Vec<String> {
    env::var(variable).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}
