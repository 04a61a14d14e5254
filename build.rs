//! Generates Rust types from `proto/`: prost-build fed by protox, so that nobody needs `protoc`.

use std::error::Error;

const PROTOS: [&str; 3] = ["proto/lip109.proto", "proto/nim.proto", "proto/snapshot.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["."])?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}
