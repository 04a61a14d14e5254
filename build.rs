//! Generates Rust types from `proto/`, without a `protoc` on the user's machine.

use std::error::Error;

const PROTOS: &[&str] = &["proto/lip109.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["."])?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}
