//! The protobuf types of `proto/`, as `tools/codegen` makes them; a test there compares both.

#![allow(missing_docs, unreachable_pub, dead_code, clippy::all, clippy::pedantic)]

#[rustfmt::skip]
pub(super) mod lip109;
#[rustfmt::skip]
pub(super) mod nim;
#[rustfmt::skip]
pub(crate) mod snapshot;
