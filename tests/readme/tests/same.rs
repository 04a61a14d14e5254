//! The README says what this package is: its first example is `src/main.rs`, and the dependencies printed above it are
//! those of `Cargo.toml`. That this package is built shows that the example compiles with them.

#![allow(clippy::unwrap_used)]

const README: &str = include_str!("../../../README.md");

/// The first block of the README in this language.
fn block(language: &str) -> &'static str {
    let (_, rest) = README.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
fn the_program_is_the_first_example() {
    let program = include_str!("../src/main.rs");
    let (header, program) = program.split_once("\n\n").unwrap();
    assert!(header.lines().all(|line| line.starts_with("//!")), "{header}");
    assert_eq!(program, block("rust"));
}

#[test]
fn the_dependencies_are_those_printed_above_it() {
    let dependencies = |toml: &'static str| {
        let (_, rest) = toml.split_once("[dependencies]\n").unwrap();
        rest.lines().take_while(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    // The one line that differs says where the library is before it is published.
    let here = r#"reliable-channel = { version = "0.1", path = "../.." }"#;
    let ours = dependencies(include_str!("../Cargo.toml")).into_iter();
    let ours: Vec<_> = ours.map(|line| if line == here { r#"reliable-channel = "0.1""# } else { line }).collect();
    assert_eq!(ours, dependencies(block("toml")));
}
