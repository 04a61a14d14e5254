//! `include/reliable_channel.h` is what cbindgen makes of `src/rc`. `RC_HEADER=write` writes it.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::{env, fs};

/// In the order in which a reader wants them.
const FILES: [&str; 8] = ["types", "code", "options", "network", "event", "calls", "channels", "look"];
const LATER: [&str; 2] = ["hear", "import"];

#[test]
fn the_header_is_made_of_the_source() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(package.join("cbindgen.toml")).unwrap();
    let sources = FILES.iter().chain(&LATER).map(|name| package.join(format!("src/rc/{name}.rs")));
    let builder = sources.fold(cbindgen::Builder::new(), cbindgen::Builder::with_src);
    let mut made = Vec::new();
    builder.with_config(config).generate().unwrap().write(&mut made);
    // What Rust's documentation has under a heading of its own is a promise like any other.
    let made = String::from_utf8(made).unwrap().replace("\n//\n// # Safety\n", "\n//\n");
    assert!(made.contains("rc_code rc_next_event("), "the test is blind:\n{made}");

    let path = package.join("include/reliable_channel.h");
    if env::var("RC_HEADER").is_ok_and(|what| what == "write") {
        fs::write(&path, &made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let differs = committed.lines().zip(made.lines()).position(|(one, other)| one != other);
    let line = differs.unwrap_or_else(|| committed.lines().count().min(made.lines().count())) + 1;
    assert!(
        committed == made,
        "include/reliable_channel.h differs from line {line} on; \
         RC_HEADER=write cargo test -p reliable-channel-ffi --test header writes it"
    );
}

#[test]
fn every_file_with_functions_is_in_the_header() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in fs::read_dir(package.join("src/rc")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let exports = fs::read_to_string(&path).unwrap().contains("no_mangle");
        assert_eq!(exports, FILES.iter().chain(&LATER).any(|known| *known == name), "{name}");
    }
}
