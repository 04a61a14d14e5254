//! Conversations between `peer` and a real @waku/sds `MessageChannel` (the driver in `tests/interop/js`).
//!
//! What: the live test against the other implementation. Why: vectors show that bytes agree, this shows that two
//! programs get along. How it moves: both sides speak JSON lines, both clocks and the network between them are the
//! test's, so every conversation is fast and ends the same each time. Nothing is downloaded here: where node or the
//! packages are missing each test says so on stderr and passes, or fails where `RC_INTEROP=required`.
//!
//! What is known of @waku/sds 0.0.8, counted and not held against it (docs/interop.md): it delivers what it gets twice
//! twice, delivers a message before what it depends on when that is parked, and asks once for a missing message.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod bytes;
#[path = "../common/mod.rs"]
mod common;
mod js;
mod kinds;
mod lossy;
mod network;
mod scenes;
