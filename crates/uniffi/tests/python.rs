//! The tests in Python, by the interpreter that `RC_PYTHON` names, which has the package and pytest. Without it they are skipped,
//! and say so.

#![allow(clippy::unwrap_used)] // these are tests

use std::env;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;

#[test]
fn the_tests_in_python_pass() {
    let Some(python) = env::var_os("RC_PYTHON") else {
        // Not `eprintln!`, which a test that passes keeps to itself.
        let why = "RC_PYTHON names no interpreter that has the package; `bash .ci/run python` makes one, by maturin";
        let _ = writeln!(io::stderr(), "SKIPPED: the tests of the Python package: {why}");
        return;
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut command = Command::new(python);
    command.current_dir(folder).args(["-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]);
    let ran = command.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    assert!(said.contains(" passed"), "{said}");
    println!("{said}");
}
