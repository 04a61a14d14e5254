//! The listing is what the source says, and it says what it should.

use std::path::Path;

use super::source::Module;
use super::{bare, crate_root, list, listing};

#[test]
fn the_committed_listing_is_what_the_source_says() {
    let committed = std::fs::read_to_string(listing()).unwrap();
    let listed = list(&crate_root()).unwrap();
    let (was, is): (Vec<&str>, Vec<&str>) = (committed.lines().collect(), listed.lines().collect());
    let gone: Vec<_> = was.iter().filter(|line| !is.contains(line)).collect();
    let new: Vec<_> = is.iter().filter(|line| !was.contains(line)).collect();
    assert!(
        committed == listed,
        "the public API changed; if that is meant, `cargo run -p reliable-channel-public-api`, and a line in \
         CHANGELOG.md\ngone: {gone:#?}\nnew: {new:#?}"
    );
}

#[test]
fn what_is_private_is_left_out_and_what_is_exported_is_found() {
    let fixture = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixture/lib.rs"));
    let expected = "\
pub struct Exported(_);
impl Exported {
    pub fn len(&self) -> usize {}
}
impl Exported {
    pub async fn more(&self, sizes: &[usize]) -> Option<Fault> {}
}
#[must_use]
pub fn helper(of: &super::shown::Shown) -> bool {}
pub use shown::Shown;
pub use std::time::Duration;
pub mod shown {
    #[derive(Clone, Debug)]
    #[non_exhaustive]
    pub struct Shown {
        pub field: u8,
        _: _,
    }
    impl Shown {
        pub fn method(&self) -> u8 {}
    }
    impl Default for Shown {}
    #[derive(Debug, thiserror::Error)]
    pub enum Fault {
        Broken { at: usize },
    }
}
";
    assert_eq!(list(fixture).unwrap(), expected);
}

#[test]
fn every_type_of_channel_manager_and_store_has_an_example_or_a_link_to_one() {
    let root = Module::read_crate(&crate_root()).unwrap();
    let mut without = Vec::new();
    let mut seen = 0;
    root.each(&mut Vec::new(), &mut |place, item| {
        let asked = place.first().is_some_and(|top| ["channel", "manager", "store"].contains(&top.as_str()));
        if let Some(name) = bare::type_name(item).filter(|_| asked && bare::is_public(item)) {
            seen += 1;
            let docs = bare::documentation(item);
            if !["```", "#example", "examples/"].iter().any(|example| docs.contains(example)) {
                without.push(format!("{}::{name}", place.join("::")));
            }
        }
    });
    assert!(seen > 50, "the test is blind: it sees {seen} types");
    assert!(without.is_empty(), "no example, and no link to one: {without:#?}");
}
