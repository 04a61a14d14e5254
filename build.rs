//! Generates the protobuf types: prost-build fed by protox, so that nobody needs `protoc`.

const PROTOS: [&str; 1] = ["proto/snapshot.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for proto in PROTOS {
        println!("cargo:rerun-if-changed={proto}");
    }
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}
