//! Generates the protobuf types of the library: `cargo run -p reliable-channel-codegen`, after a change in `proto/`.
//!
//! prost-build is fed by protox, so that nobody needs protoc. The result is committed, in the module that reads and writes
//! it; the test here fails where it is not what the schemas say.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use prost_build::Module;

/// The schemas, `proto/NAME.proto`; each becomes what [`committed`] says.
const SCHEMAS: [&str; 4] = ["lip109", "nim", "segment", "snapshot"];

fn main() -> anyhow::Result<()> {
    for name in SCHEMAS {
        let path = committed(name);
        fs::write(&path, generate(name)?).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The source of the types of one schema.
fn generate(name: &str) -> anyhow::Result<String> {
    let schema = format!("proto/{name}.proto");
    let descriptors = protox::compile([&schema], [root()])?;
    let modules = descriptors.file.into_iter().map(|file| (Module::from_protobuf_package_name(file.package()), file));
    let sources = prost_build::Config::new().bytes(["."]).generate(modules.collect())?;
    let source = sources.into_values().next().context("nothing was generated")?;
    Ok(format!(
        "//! Types of `{schema}`, made by `cargo run -p reliable-channel-codegen`: change the schema.\n\n{source}"
    ))
}

fn committed(name: &str) -> PathBuf {
    let folder = root().join("src");
    match name {
        "segment" => folder.join("segment/generated.rs"),
        _ => folder.join("wire/generated").join(name).with_extension("rs"),
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[cfg(test)]
mod tests {
    use super::{SCHEMAS, committed, generate};

    #[test]
    fn what_is_committed_is_what_the_schemas_say() {
        for name in SCHEMAS {
            let found = std::fs::read_to_string(committed(name)).unwrap();
            let generated = generate(name).unwrap();
            assert!(
                found == generated,
                "{} is not what proto/{name}.proto says; see its top",
                committed(name).display()
            );
        }
    }

    #[test]
    fn every_schema_is_generated() {
        let mut schemas: Vec<_> = std::fs::read_dir(super::root().join("proto"))
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        schemas.sort();
        assert_eq!(schemas, SCHEMAS);
    }
}
