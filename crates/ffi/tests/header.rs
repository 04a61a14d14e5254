//! `include/reliable_channel.h` is what cbindgen makes of `src/rc`; `RC_HEADER=write` writes it. `include/libsds.h` is written by
//! hand, as nim-sds has it, and declares what cbindgen sees in `src/abi.rs`.

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

#[test]
fn the_header_of_nim_sds_declares_what_the_source_has() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config = cbindgen::Config::from_file(package.join("cbindgen.toml")).unwrap();
    (config.header, config.trailer, config.documentation) = (None, None, false);
    let mut made = Vec::new();
    let builder = cbindgen::Builder::new().with_src(package.join("src/abi.rs")).with_config(config);
    builder.generate().unwrap().write(&mut made);
    let made = declarations(&String::from_utf8(made).unwrap());
    let by_hand = declarations(&fs::read_to_string(package.join("include/libsds.h")).unwrap());
    assert_eq!(by_hand.iter().filter(|declared| !declared.starts_with("typedef")).count(), 9, "{by_hand:#?}");
    assert_eq!(by_hand, made);
}

/// Functions and types of functions in a header, sorted, without comments, spaces and names of parameters.
fn declarations(header: &str) -> Vec<String> {
    let mut code = String::new();
    let mut rest = header;
    while let Some((before, comment)) = rest.split_once("/*") {
        code.push_str(before);
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    code.push_str(rest);
    let lines = code.lines().map(|line| line.split_once("//").map_or(line, |(before, _)| before));
    let code: Vec<&str> = lines.filter(|line| !line.starts_with('#') && !line.contains("extern \"C\"")).collect();
    let code = code.join(" ");
    let functions = code.split(';').filter_map(|declared| declared.trim().strip_suffix(')')?.rsplit_once('('));
    let mut found: Vec<String> = functions
        .map(|(what, parameters)| {
            let types: Vec<String> = parameters.split(',').map(type_of).collect();
            format!("{}({})", what.split_whitespace().collect::<String>(), types.join(","))
        })
        .collect();
    found.sort();
    found
}

/// `const char* text` as `constchar*`.
fn type_of(parameter: &str) -> String {
    let parameter = parameter.trim();
    let name = parameter.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1);
    let of_type = if name == 0 || name == parameter.len() { parameter } else { &parameter[..name] };
    of_type.split_whitespace().collect()
}
