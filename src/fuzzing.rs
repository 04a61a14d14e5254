//! The bodies of the fuzz targets in `fuzz/`: arbitrary bytes in, a panic where a promise is broken.
//!
//! What: [`TARGETS`], one function for each kind of input that others may have made. Why in the library: the
//! same bodies replay the committed corpora in the ordinary tests (`tests/corpora.rs`), and a fuzz target is one
//! line. How it moves: a body reads its input as [`arbitrary`] does, from the front, zeros where it ends; what
//! each byte means is said at the top of its file, so that inputs can be written by hand.

mod channel;
mod filter;
mod interop;
mod segment;
mod signed;
mod snapshot;
#[cfg(feature = "redb")]
mod store;
mod wire;

pub use channel::channel;
pub use filter::filter;
pub use interop::interop;
pub use segment::segment;
pub use signed::signed;
pub use snapshot::snapshot;
#[cfg(feature = "redb")]
pub use store::store;
pub use wire::wire;

/// What a fuzz target runs on each input.
pub type Body = fn(&[u8]);

/// Every target by its name, which is also that of its folder in `fuzz/corpus`.
pub const TARGETS: &[(&str, Body)] = &[
    ("channel", channel),
    ("filter", filter),
    ("interop", interop),
    ("segment", segment),
    ("signed", signed),
    ("snapshot", snapshot),
    #[cfg(feature = "redb")]
    ("store", store),
    ("wire", wire),
];
