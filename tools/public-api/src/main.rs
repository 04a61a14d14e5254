//! Lists what users of the library can name: `cargo run -p reliable-channel-public-api`, after a change of it.
//!
//! The listing is committed, in `docs/public-api.txt`, and the test here fails where it is not what the source says. What
//! serves tests alone is left out: the modules and items of feature `testing`.

mod bare;
mod expand;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use syn::{Item, Visibility};

use source::Module;

fn main() -> anyhow::Result<()> {
    fs::write(listing(), list(&crate_root())?).context("docs/public-api.txt")
}

/// The public items of the crate whose `lib.rs` this is, as Rust without bodies and documentation.
fn list(lib: &Path) -> anyhow::Result<String> {
    let root = Module::read_crate(lib)?;
    let items = public(&root, &root, &mut Vec::new())?;
    Ok(prettyplease::unparse(&syn::File { shebang: None, frontmatter: None, attrs: Vec::new(), items }))
}

/// What can be named in the module at this path: its public items, what it exports of others, and what these implement.
fn public(root: &Module, module: &Module, path: &mut Vec<String>) -> anyhow::Result<Vec<Item>> {
    let mut items = Vec::new();
    for item in &module.items {
        match item {
            Item::Use(line) if matches!(line.vis, Visibility::Public(_)) => {
                for (_, target) in source::leaves(&line.tree) {
                    match root.find(path, &target) {
                        // Listed there.
                        Some((place, _)) if root.is_public(&place) => items.push(bare::import(&target)?),
                        Some((place, found)) => items.extend(with_impls(root, &place, found)),
                        None => items.push(bare::import(&target)?),
                    }
                }
            }
            item if bare::is_public(item) => items.extend(with_impls(root, path, item)),
            _ => {}
        }
    }
    for child in module.children.iter().filter(|child| child.public) {
        path.push(child.name.clone());
        let inside = public(root, &child.module, path)?;
        path.pop();
        items.push(bare::module(&child.name, &child.attrs, inside)?);
    }
    Ok(items)
}

/// An item, and every implementation of it in the crate but those of private traits.
fn with_impls(root: &Module, place: &[String], item: &Item) -> Vec<Item> {
    let mut items = vec![bare::item(item)];
    let Some(name) = bare::type_name(item) else { return items };
    root.each(&mut Vec::new(), &mut |path, item| {
        let Item::Impl(block) = item else { return };
        let about = bare::self_name(block).filter(|own| *own == name).and_then(|own| root.find(path, &[own]));
        let of = bare::trait_path(block).and_then(|of| root.find(path, &of));
        if about.is_some_and(|(found, _)| found == place) && of.is_none_or(|(_, of)| bare::is_public(of)) {
            items.extend(bare::block(block));
        }
    });
    items
}

fn crate_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src/lib.rs")
}

fn listing() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/public-api.txt")
}

#[cfg(test)]
mod tests;
